"""PI decoder: the encoder's feature map back to PI maps (section 3.1, stage 3)."""

import flax.linen as nn
import jax

from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.layers import (
    Pointwise,
    SeparableBlock,
    batch_norm,
    norm_swish,
    prior_logit,
    upcast,
)
from piapdf_jax.models.parts import apply_module, init_module
from piapdf_jax.models.resizing import resize, upsample
from piapdf_jax.types import BatchStats, Part


class PIDecoder(nn.Module):
    """Features to PI logits: [B, h, w, F] -> [B, S, S, num_maps] for any h, w and output size S.

    A 1x1 convolution, then for each width: enlarge to the next of the sizes ``output_size / stride
    / 2^i``, and filter with a separable block. It is thrown away after training.

    Attributes:
        num_maps: K.
        output_size: side of the maps.
        widths: channels of each enlarged map, coarse to fine.
        stride: the finest map filtered is ``output_size / stride``; its logits are enlarged
            bilinearly.
        prior: prior probability of a positive pixel at initialization.
        momentum: of the running statistics.
    """

    num_maps: int
    output_size: int
    widths: tuple[int, ...] = (256, 128, 64, 32, 16)
    stride: int = 1
    prior: float = 0.05
    momentum: float = 0.99

    @nn.compact
    def __call__(self, features: jax.Array, *, mode: str) -> jax.Array:
        """Draws the maps of features.

        Args:
            features: [B, h, w, F] float32.
            mode: see ``layers.Mode``; nothing here is random.

        Returns:
            [B, output_size, output_size, num_maps] float32 logits.
        """
        x = Pointwise(self.widths[0], name="reduce")(features)
        x = norm_swish(batch_norm("reduce_norm", mode=mode, momentum=self.momentum), x)
        finest = -(-self.output_size // self.stride)
        for i, width in enumerate(self.widths):
            size = -(-finest // 2 ** (len(self.widths) - 1 - i))
            x = upsample(x, size, size)
            x = SeparableBlock(width, momentum=self.momentum, name=f"up{i}")(x, mode=mode)
        logits = upcast(Pointwise(self.num_maps, use_bias=True, name="maps")(x))
        return resize(logits + prior_logit(self.prior), self.output_size, self.output_size)


def init_decoder(
    config: ModelConfig,
    key: jax.Array,
    *,
    feature_shape: tuple[int, int, int],
    image_size: int,
    num_maps: int,
) -> Part:
    """Returns a fresh decoder.

    Args:
        config: sizes.
        key: typed key, a concrete one.
        feature_shape: [h, w, F] of the encoder's feature map.
        image_size: S, side of the maps in px.
        num_maps: K.
    """
    return init_module(_module(config, num_maps, image_size), key, *feature_shape)


def decoder_apply(
    config: ModelConfig,
    part: Part,
    features: jax.Array,
    *,
    image_size: int,
    mode: str,
) -> tuple[jax.Array, BatchStats]:
    """Draws PI maps from the encoder's features.

    Args:
        config: sizes.
        part: a decoder.
        features: [B, h, w, F] float32.
        image_size: S, side of the maps.
        mode: ``train``, ``feedback`` or ``eval``, see ``layers.Mode``.

    Returns:
        (PI logits [B, S, S, K] float32, batch statistics after the pass).
    """
    num_maps = part[0]["maps"]["kernel"].shape[-1]
    return apply_module(_module(config, num_maps, image_size), part, features, mode, None)


def _module(config: ModelConfig, num_maps: int, image_size: int) -> PIDecoder:
    return PIDecoder(
        num_maps,
        image_size,
        config.decoder_widths,
        config.decoder_stride,
        config.pi_prior,
        config.momentum,
    )
