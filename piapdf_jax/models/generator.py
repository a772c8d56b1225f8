"""PI generator as a part: RGB image to PI logits, and the gray image seen through its maps (section 3.1)."""

import jax
import jax.numpy as jnp

from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.dw_unet import DWUNet
from piapdf_jax.models.inputs import cast_to_compute_dtype, normalize
from piapdf_jax.models.parts import apply_module, init_module
from piapdf_jax.types import BatchStats, Part

#: Weights of red, green and blue in a gray image (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


def init_generator(config: ModelConfig, key: jax.Array, *, image_size: int, num_maps: int) -> Part:
    """Returns a fresh generator.

    Args:
        config: sizes.
        key: typed key, a concrete one.
        image_size: S, side of images and PI maps in px.
        num_maps: K.
    """
    return init_module(_module(config, num_maps), key, image_size, image_size, 3)


def generator_apply(
    config: ModelConfig, part: Part, images: jax.Array, *, mode: str
) -> tuple[jax.Array, BatchStats]:
    """Draws PI maps of images.

    Args:
        config: sizes.
        part: the generator.
        images: [B, S, S, 3] float32 in [0, 1].
        mode: ``train``, ``feedback`` or ``eval``, see ``layers.Mode``.

    Returns:
        (PI logits [B, S, S, K] float32, batch statistics after the pass; in ``eval`` those of the
        part).
    """
    module = _module(config, part[0]["maps"]["kernel"].shape[-1])
    inputs = cast_to_compute_dtype(config, normalize(config, images))
    return apply_module(module, part, inputs, mode, None)


def gray_times_maps(images: jax.Array, pi_probs: jax.Array) -> jax.Array:
    """Computes the input of PI stage 2: the gray image seen through each PI map (section 3.1, stage 2).

    Args:
        images: [B, S, S, 3] float32 in [0, 1].
        pi_probs: [B, S, S, K] float32 in [0, 1], soft maps.

    Returns:
        [B, S, S, K] float32 in [0, 1].
    """
    return (images @ jnp.asarray(LUMA, images.dtype))[..., None] * pi_probs


def _module(config: ModelConfig, num_maps: int) -> DWUNet:
    return DWUNet(
        num_maps,
        config.unet_widths,
        config.unet_blocks,
        config.unet_stem_stride,
        config.pi_prior,
        config.momentum,
    )
