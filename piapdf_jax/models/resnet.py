"""ResNet of bottleneck blocks, such as ResNet-50, in the variant v1.5.

v1.5 puts the stride of a block into its 3x3 convolution, the paper into the first 1x1; torchvision, timm and NVIDIA
call v1.5 ResNet-50. Padding and BatchNorm are PyTorch's. The last scale of a block starts at 1, as in torchvision
(``zero_init_residual=False``); timm starts it at 0, so that a block is at first its shortcut.

Reference: He et al., Deep Residual Learning for Image Recognition, 2015.
"""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from piapdf_jax.models.layers import (
    CONVENTIONS,
    BatchNorm,
    PaddingAndBatchNorm,
    Pointwise,
    conv,
    convention_norm,
)
from piapdf_jax.models.stochastic_depth import stochastic_depth, stochastic_depth_draws

#: A block's output has this many times the channels of its 3x3 convolution.
EXPANSION = 4
STEM_KERNEL = 7
#: Of the max pooling behind the stem, and what it adds on every side.
POOL, POOL_STRIDE, POOL_PADDING = 3, 2, 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Numbers of one ResNet.

    Attributes:
        blocks: bottleneck blocks by stage; (3, 4, 6, 3) is ResNet-50.
        width: channels of the stem, and of the 3x3 convolutions of the first stage; each stage doubles them.
        stochastic_depth: chance to drop the last block's branch; grows linearly from 0 at the first block.
        bn_momentum: share of the old running statistics that a step keeps; None is PyTorch's 0.9.
    """

    blocks: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    stochastic_depth: float = 0.0
    bn_momentum: float | None = None

    @property
    def conventions(self) -> PaddingAndBatchNorm:
        """Padding and BatchNorm as numbers."""
        found = CONVENTIONS["pytorch"]
        return found if self.bn_momentum is None else found._replace(momentum=self.bn_momentum)

    @property
    def out_features(self) -> int:
        """Channels of the features, F."""
        return EXPANSION * self.width * 2 ** (len(self.blocks) - 1)


class Bottleneck(NamedTuple):
    """One block: channels of its 3x3 convolution, its stride, and whether a 1x1 convolution is its shortcut."""

    name: str
    width: int
    stride: int
    projected: bool


def bottlenecks(config: ResNetConfig) -> list[Bottleneck]:
    """Returns the blocks of a network in order."""
    return [
        Bottleneck(
            f"block{stage + 1}_{block + 1}",
            config.width * 2**stage,
            stride=2 if stage and not block else 1,
            projected=not block,
        )
        for stage, count in enumerate(config.blocks)
        for block in range(count)
    ]


def feature_side(config: ResNetConfig, size: int) -> int:
    """Returns the side of the features of an image of some side: halved, rounded up, by each stride of 2."""
    for _ in range(len(config.blocks) + 1):
        size = -(-size // 2)
    return size


class ResNetBlock(nn.Module):
    """Bottleneck block: 1x1, 3x3 and 1x1 convolution, then the shortcut is added."""

    block: Bottleneck
    drop_path_rate: float
    convention: PaddingAndBatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, drop_path_noise: jax.Array | None, *, mode: str) -> jax.Array:
        """Filters [B, H, W, C]; drop_path_noise [B] are the draws of stochastic depth, None for none."""
        block, shortcut = self.block, x

        def norm(name: str) -> BatchNorm:
            return convention_norm(name, self.convention, mode)

        x = nn.relu(norm("reduce_norm")(Pointwise(block.width, name="reduce")(x)))
        x = conv(block.width, 3, block.stride, self.convention.padding, name="conv")(x)
        x = nn.relu(norm("conv_norm")(x))
        x = norm("expand_norm")(Pointwise(EXPANSION * block.width, name="expand")(x))
        if block.projected:
            seen = shortcut[:, :: block.stride, :: block.stride]
            shortcut = Pointwise(EXPANSION * block.width, name="shortcut")(seen)
            shortcut = norm("shortcut_norm")(shortcut)
        if drop_path_noise is not None:
            x = stochastic_depth(x, drop_path_noise, self.drop_path_rate)
        return nn.relu(shortcut + x)


class ResNet(nn.Module):
    """ResNet without its classifier: images [B, H, W, C] -> features [B, H / 32, W / 32, F].

    Any number of input channels: the stem takes as many as it gets. Rectangular images are fine.
    """

    config: ResNetConfig

    @nn.compact
    def __call__(self, images: jax.Array, *, mode: str) -> jax.Array:
        """Encodes images.

        Args:
            images: [B, H, W, C] of the compute dtype, normalized.
            mode: see ``layers.Mode``; ``train`` draws from the random stream ``dropout`` where stochastic depth is on.

        Returns:
            [B, h, w, F] of the same dtype, h being H halved by the stem, the pooling and each stage but the first,
            rounded up.
        """
        config, table = self.config, bottlenecks(self.config)
        convention = config.conventions
        x = conv(config.width, STEM_KERNEL, 2, convention.padding, name="stem")(images)
        x = nn.relu(convention_norm("stem_norm", convention, mode)(x))
        sides: Any = ((POOL_PADDING, POOL_PADDING),) * 2
        x = nn.max_pool(x, (POOL, POOL), (POOL_STRIDE, POOL_STRIDE), sides)
        rate = config.stochastic_depth
        draws = stochastic_depth_draws(self, len(table), x.shape[0], rate=rate, mode=mode)
        for i, block in enumerate(table):
            made = ResNetBlock(block, rate * i / len(table), convention, name=block.name)
            x = made(x, draws[i], mode=mode)
        return x
