"""The networks of the method in PyTorch, as small as can be; channels first.

Submodules are called as in Flax, so that weights go over by name. EfficientNet is that of
``efficientnet-pytorch``.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

EPSILON, MOMENTUM = 1e-3, 0.01


def same(x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:
    """Zeros around x for SAME padding that is not the same on all sides, as TensorFlow has it."""
    pads = []
    for size in (x.shape[3], x.shape[2]):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(x, pads)


class Convolution(nn.Conv2d):
    """Without bias, SAME padding; stride 1 pads inside the convolution, which copies nothing."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve [B, C, H, W]."""
        if self.stride[0] > 1:
            x = same(x, self.kernel_size[0], self.stride[0])
        return super().forward(x)


def norm(channels: int) -> nn.BatchNorm2d:
    """BatchNorm as TensorFlow's networks have it."""
    return nn.BatchNorm2d(channels, EPSILON, MOMENTUM)


class SeparableBlock(nn.Module):
    """Depthwise and 1x1 convolution, each with BatchNorm and SiLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.depthwise = Convolution(inputs, inputs, 3, stride, inputs)
        self.depthwise_norm = norm(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.pointwise_norm = norm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Filter [B, C, H, W]."""
        x = functional.silu(self.depthwise_norm(self.depthwise(x)))
        return functional.silu(self.pointwise_norm(self.pointwise(x)))


def resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear, antialiased where it shrinks; nothing where the size is right."""
    if tuple(x.shape[2:]) == size:
        return x
    shrinks = size[0] < x.shape[2]
    return functional.interpolate(x, size, mode="bilinear", antialias=shrinks)


def upsample(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Nearest neighbor where both factors are whole, else bilinear."""
    if size[0] % x.shape[2] or size[1] % x.shape[3]:
        return resize(x, size)
    return functional.interpolate(x, size, mode="nearest")


def prior_logit(prior: float) -> float:
    """Logit of a share of positives."""
    return float(torch.logit(torch.tensor(prior, dtype=torch.float64)))


class DWUNet(nn.Module):
    """As ``piapdf_jax.models.dw_unet.DWUNet``."""

    def __init__(self, maps: int, sizes: SimpleNamespace):
        super().__init__()
        widths, self.blocks, stride = sizes.unet_widths, sizes.unet_blocks, sizes.unet_stem_stride
        self.levels, self.prior = len(widths), prior_logit(sizes.pi_prior)
        self.stem = Convolution(3, widths[0], max(3, 2 * stride - 1), stride)
        self.stem_norm = norm(widths[0])
        inputs = widths[0]
        for level, width in enumerate(widths):
            for i in range(self.blocks):
                block = SeparableBlock(inputs, width, 2 if level and i == 0 else 1)
                self.add_module(f"down{level}_{i}", block)
                inputs = width
        for level in reversed(range(self.levels - 1)):
            self.add_module(f"lift{level}", nn.Conv2d(inputs, widths[level], 1, bias=False))
            inputs = 2 * widths[level]
            for i in range(self.blocks):
                self.add_module(f"up{level}_{i}", SeparableBlock(inputs, widths[level]))
                inputs = widths[level]
        self.maps = nn.Conv2d(inputs, maps, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, K, H, W] of normalized images [B, 3, H, W]."""
        x, skips = functional.silu(self.stem_norm(self.stem(images))), []
        for level in range(self.levels):
            x = self._level(f"down{level}", x)
            skips.append(x)
        for level in reversed(range(self.levels - 1)):
            x = upsample(self.get_submodule(f"lift{level}")(x), tuple(skips[level].shape[2:]))
            x = self._level(f"up{level}", torch.cat([x, skips[level]], 1))
        return resize(self.maps(x) + self.prior, tuple(images.shape[2:]))

    def _level(self, name: str, x: torch.Tensor) -> torch.Tensor:
        for i in range(self.blocks):
            x = self.get_submodule(f"{name}_{i}")(x)
        return x


class PIDecoder(nn.Module):
    """As ``piapdf_jax.models.decoder.PIDecoder``."""

    def __init__(self, maps: int, side: int, features: int, sizes: SimpleNamespace):
        super().__init__()
        widths, self.side, self.prior = sizes.decoder_widths, side, prior_logit(sizes.pi_prior)
        finest = -(-side // sizes.decoder_stride)
        self.sides = [-(-finest // 2 ** (len(widths) - 1 - i)) for i in range(len(widths))]
        self.reduce = nn.Conv2d(features, widths[0], 1, bias=False)
        self.reduce_norm = norm(widths[0])
        for i, width in enumerate(widths):
            self.add_module(f"up{i}", SeparableBlock(widths[max(i - 1, 0)], width))
        self.maps = nn.Conv2d(widths[-1], maps, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [B, K, S, S] of features [B, F, h, w]."""
        x = functional.silu(self.reduce_norm(self.reduce(features)))
        for i, side in enumerate(self.sides):
            x = self.get_submodule(f"up{i}")(upsample(x, (side, side)))
        return resize(self.maps(x) + self.prior, (self.side, self.side))


def efficientnet(outputs: int, sizes: SimpleNamespace, *, random: bool = True) -> Any:
    """EfficientNet of ``efficientnet-pytorch`` with a classifier.

    Its swish is PyTorch's own SiLU: the library's own one, which saves memory, is slower.

    Args:
        outputs: of the classifier.
        sizes: width, depth, dropout and stochastic depth.
        random: False turns dropout and stochastic depth off.
    """
    from efficientnet_pytorch import EfficientNet, utils

    # image_size None pads each image by its own size.
    blocks, options = utils.efficientnet(
        width_coefficient=sizes.width,
        depth_coefficient=sizes.depth,
        image_size=None,
        dropout_rate=sizes.dropout if random else 0.0,
        drop_connect_rate=sizes.stochastic_depth if random else 0.0,
        num_classes=outputs,
    )
    # A stride that is a list is not equal to 1, so narrow networks would lose residual branches.
    blocks = [block._replace(stride=block.stride[0]) for block in blocks]
    network = EfficientNet(blocks, options)
    network.set_swish(memory_efficient=False)
    return network


def timm_efficientnet(outputs: int, sizes: SimpleNamespace) -> Any:
    """Timm's ``tf_efficientnet_b1`` with dropout and stochastic depth, random weights."""
    import timm

    return timm.create_model(
        "tf_efficientnet_b1",
        num_classes=outputs,
        drop_rate=sizes.dropout,
        drop_path_rate=sizes.stochastic_depth,
    )
