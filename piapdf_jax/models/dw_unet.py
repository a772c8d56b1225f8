"""PI generator: a U-Net of depthwise separable convolutions, and the plain one (section 3.1)."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from piapdf_jax.models.layers import (
    FullBlock,
    Pointwise,
    SeparableBlock,
    batch_norm,
    conv,
    norm_swish,
    prior_logit,
    wide,
)
from piapdf_jax.models.resizing import resize, upsample


class UNet(nn.Module):
    """Images to PI logits: [B, H, W, 3] -> [B, H, W, num_maps], for any H and W.

    Level by level a strided block halves the map; on the way back the map is enlarged, joined with
    the one of the same size on the way down, and filtered. Its blocks are full 3x3 convolutions:
    it is what ``DWUNet`` is compared with.

    Attributes:
        num_maps: K, one map an action unit.
        widths: channels of each level; the last one is the bottom.
        blocks: of each level, on either way.
        stem_stride: 1, or 2 and more to work at a part of the resolution and enlarge the logits at
            the end.
        prior: share of positive pixels that the network says at its start. PI maps are mostly 0; a
            start at one half would spend the first steps on that.
        momentum: of the running statistics.

    Reference: Ronneberger et al., U-Net, 2015; Howard et al., MobileNets, 2017.
    """

    #: What filters: [B, H, W, C] -> [B, H / stride, W / stride, features].
    block: ClassVar[type[FullBlock] | type[SeparableBlock]] = FullBlock

    num_maps: int
    widths: tuple[int, ...] = (32, 64, 128, 256, 512)
    blocks: int = 2
    stem_stride: int = 1
    prior: float = 0.05
    momentum: float = 0.99

    @nn.compact
    def __call__(self, images: jax.Array, *, mode: str) -> jax.Array:
        """Draw the maps of images [B, H, W, 3] float32, normalized or in [0, 1].

        Args:
            images: see above.
            mode: see ``layers.Mode``; nothing here is random.

        Returns:
            [B, H, W, num_maps] float32 logits.
        """
        momentum = self.momentum
        # As wide as its stride needs for windows that overlap.
        stem = conv(self.widths[0], max(3, 2 * self.stem_stride - 1), self.stem_stride, name="stem")
        x = stem(images)
        x = norm_swish(batch_norm("stem_norm", mode=mode, momentum=momentum), x)
        skips = []
        for level, width in enumerate(self.widths):
            for i in range(self.blocks):
                stride = 2 if level and i == 0 else 1
                name = f"down{level}_{i}"
                x = self.block(width, stride=stride, momentum=momentum, name=name)(x, mode=mode)
            skips.append(x)
        skips.pop()
        for level in reversed(range(len(self.widths) - 1)):
            # The 1x1 convolution first: it is cheaper before the map is enlarged than after.
            x = Pointwise(self.widths[level], name=f"lift{level}")(x)
            x = upsample(x, skips[level].shape[1], skips[level].shape[2])
            x = jnp.concatenate([x, skips[level]], -1)
            for i in range(self.blocks):
                width, name = self.widths[level], f"up{level}_{i}"
                x = self.block(width, momentum=momentum, name=name)(x, mode=mode)
        logits = wide(Pointwise(self.num_maps, use_bias=True, name="maps")(x))
        # A constant beside a bias that starts at 0 is the same as a bias that starts there.
        return resize(logits + prior_logit(self.prior), images.shape[1], images.shape[2])


class DWUNet(UNet):
    """The PI generator: ``UNet`` with separable blocks; only its stem is a full convolution.

    Of the weights and multiply-adds of a full 3x3 layer a separable one has 1 / 9 + 1 / C_out.
    """

    block = SeparableBlock
