"""EfficientNet: its block table as data, B0 to B7 and three small ones by coefficients.

Reference: Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks,
    2019.
Padding and BatchNorm are those of the library whose weights it takes, see ``layers.CONVENTIONS``.
"""

import dataclasses
import math
from typing import NamedTuple

import flax.linen as nn
import jax

from piapdf_jax.models.layers import (
    CONVENTIONS,
    BatchNorm,
    Depthwise,
    PaddingAndBatchNorm,
    Pointwise,
    SqueezeExcite,
    conv,
    convention_norm,
    norm_swish,
)
from piapdf_jax.models.stochastic_depth import stochastic_depth, stochastic_depth_draws


class BlockArgs(NamedTuple):
    """One row of the block table: blocks of one width; the first of them has the stride."""

    expand: int
    kernel_size: int
    stride: int
    channels: int
    repeats: int


#: Table 1 of the paper, B0.
BLOCK_TABLE = (
    BlockArgs(1, 3, 1, 16, 1),
    BlockArgs(6, 3, 2, 24, 2),
    BlockArgs(6, 5, 2, 40, 2),
    BlockArgs(6, 3, 2, 80, 3),
    BlockArgs(6, 5, 1, 112, 3),
    BlockArgs(6, 5, 2, 192, 4),
    BlockArgs(6, 3, 1, 320, 1),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
#: Channels of the squeeze as a share of the block's input channels.
SQUEEZE_RATIO = 0.25


class Coefficients(NamedTuple):
    """Scaling of one EfficientNet; resolution is the side in px that it is made for."""

    width: float
    depth: float
    resolution: int
    dropout: float


COEFFICIENTS = {
    "b0": Coefficients(1.0, 1.0, 224, 0.2),
    "b1": Coefficients(1.0, 1.1, 240, 0.2),
    "b2": Coefficients(1.1, 1.2, 260, 0.3),
    "b3": Coefficients(1.2, 1.4, 300, 0.3),
    "b4": Coefficients(1.4, 1.8, 380, 0.4),
    "b5": Coefficients(1.6, 2.2, 456, 0.4),
    "b6": Coefficients(1.8, 2.6, 528, 0.5),
    "b7": Coefficients(2.0, 3.1, 600, 0.5),
    "small": Coefficients(0.5, 0.34, 112, 0.1),
    "tiny": Coefficients(0.25, 0.2, 96, 0.1),
    "nano": Coefficients(0.25, 0.35, 32, 0.1),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EfficientNetConfig:
    """Numbers of one EfficientNet.

    Attributes:
        width: factor of all channel counts.
        depth: factor of all repeats.
        rows: how many rows of the block table are built; 7 is the whole network.
        features: channels of the last 1x1 convolution, F; None scales 1280 by the width.
        stochastic_depth: chance to drop the last block's branch; grows linearly from 0 at the first
            block.
        convention: padding and BatchNorm, a key of ``layers.CONVENTIONS``.
        bn_momentum: of the running statistics; None takes the convention's.
    """

    width: float = 1.0
    depth: float = 1.0
    rows: int = len(BLOCK_TABLE)
    features: int | None = None
    stochastic_depth: float = 0.2
    convention: str = "tensorflow"
    bn_momentum: float | None = None

    @property
    def conventions(self) -> PaddingAndBatchNorm:
        """Padding and BatchNorm as numbers.

        Raises:
            ValueError: for a name that is none of ``layers.CONVENTIONS``.
        """
        if self.convention not in CONVENTIONS:
            raise ValueError(
                f"convention {self.convention!r} is not one of {', '.join(CONVENTIONS)}."
            )
        found = CONVENTIONS[self.convention]
        return found if self.bn_momentum is None else found._replace(momentum=self.bn_momentum)

    @property
    def out_features(self) -> int:
        """Channels of the features, F."""
        return self.features or round_channels(HEAD_CHANNELS, self.width)


def round_channels(channels: int, width: float) -> int:
    """Returns the scaled channel count: the nearest multiple of 8, and at least 90% of what was asked."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8


def blocks(config: EfficientNetConfig) -> list[tuple[str, BlockArgs]]:
    """Returns the blocks of a network in order.

    Args:
        config: width, depth and rows.

    Returns:
        (name, row with scaled channels, the block's own stride and repeats 1), one for each block.
    """
    table = []
    for i, row in enumerate(BLOCK_TABLE[: config.rows]):
        channels = round_channels(row.channels, config.width)
        for j in range(math.ceil(config.depth * row.repeats)):
            stride = row.stride if j == 0 else 1
            table.append(
                (f"block{i + 1}_{j + 1}", row._replace(channels=channels, stride=stride, repeats=1))
            )
    return table


def feature_side(config: EfficientNetConfig, size: int) -> int:
    """Returns the side of the features of an image of some side: halved, rounded up, by each stride of 2."""
    for stride in (2, *(row.stride for _, row in blocks(config))):
        size = -(-size // stride)
    return size


class MBConv(nn.Module):
    """Inverted residual block: expand, depthwise, squeeze-excite, project, add if shapes agree."""

    row: BlockArgs
    drop_path_rate: float
    convention: PaddingAndBatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, drop_path_noise: jax.Array | None, *, mode: str) -> jax.Array:
        """Filters [B, H, W, C]; drop_path_noise [B] are the draws of stochastic depth, None for none."""
        row, skip = self.row, x

        def norm(name: str) -> BatchNorm:
            return convention_norm(name, self.convention, mode)

        if row.expand != 1:
            x = Pointwise(x.shape[-1] * row.expand, name="expand")(x)
            x = norm_swish(norm("expand_norm"), x)
        padding = self.convention.padding
        x = Depthwise(row.kernel_size, row.stride, padding, name="depthwise")(x)
        x = norm_swish(norm("depthwise_norm"), x)
        reduced_channels = max(1, int(skip.shape[-1] * SQUEEZE_RATIO))
        x = SqueezeExcite(reduced_channels, name="squeeze_excite")(x)
        x = norm("project_norm")(Pointwise(row.channels, name="project")(x))
        if x.shape != skip.shape:
            return x
        if drop_path_noise is not None:
            x = stochastic_depth(x, drop_path_noise, self.drop_path_rate)
        return skip + x


class EfficientNet(nn.Module):
    """EfficientNet without its classifier: images [B, H, W, C] -> features [B, H / 32, W / 32, F].

    Any number of input channels: the stem takes as many as it gets. Rectangular images are fine.
    """

    config: EfficientNetConfig

    @nn.compact
    def __call__(self, images: jax.Array, *, mode: str) -> jax.Array:
        """Encodes images.

        Args:
            images: [B, H, W, C] float32, normalized.
            mode: see ``layers.Mode``; ``train`` draws from the random stream ``dropout``.

        Returns:
            [B, h, w, F] float32, h being H halved by the stem and by each row of stride 2, rounded
            up.
        """
        config, table = self.config, blocks(self.config)
        convention = config.conventions
        width, padding = round_channels(STEM_CHANNELS, config.width), convention.padding
        x = conv(width, stride=2, padding=padding, name="stem")(images)
        x = norm_swish(convention_norm("stem_norm", convention, mode), x)
        rate = config.stochastic_depth
        draws = stochastic_depth_draws(self, len(table), x.shape[0], rate=rate, mode=mode)
        for i, (name, row) in enumerate(table):
            block = MBConv(row, rate * i / len(table), convention, name=name)
            x = block(x, draws[i], mode=mode)
        x = Pointwise(config.out_features, name="head")(x)
        return norm_swish(convention_norm("head_norm", convention, mode), x)
