"""ResNet as a list of operations: a walk over its blocks, BatchNorm folded into its convolution."""

from piapdf_jax.export.folding import Variables, fold
from piapdf_jax.export.operations import Conv, MaxPool, Operation, Relu, Residual
from piapdf_jax.models.resnet import (
    POOL,
    POOL_PADDING,
    POOL_STRIDE,
    Bottleneck,
    ResNetConfig,
    bottlenecks,
)
from piapdf_jax.types import Part


def resnet_operations(config: ResNetConfig, part: Part) -> list[Operation]:
    """Lists the operations of a ResNet: normalized RGB [B, H, W, 3] to features [B, h, w, F], of any side."""
    params, stats = part
    epsilon = config.conventions.epsilon
    found = [_conv(params, stats, "stem", epsilon, stride=2), Relu()]
    found.append(MaxPool(POOL, POOL_STRIDE, POOL_PADDING))
    for block in bottlenecks(config):
        found += [_residual(block, params[block.name], stats[block.name], epsilon), Relu()]
    return found


def _residual(block: Bottleneck, params: Variables, stats: Variables, epsilon: float) -> Residual:
    reduce, conv, expand = (
        _conv(params, stats, name, epsilon, stride=stride)
        for name, stride in (("reduce", 1), ("conv", block.stride), ("expand", 1))
    )
    shortcut: tuple[Conv, ...] = ()
    if block.projected:
        shortcut = (_conv(params, stats, "shortcut", epsilon, stride=block.stride),)
    return Residual((reduce, Relu(), conv, Relu(), expand), shortcut)


def _conv(params: Variables, stats: Variables, name: str, epsilon: float, *, stride: int) -> Conv:
    kernel, bias = fold(params, stats, name, epsilon)
    padding = (kernel.shape[0] // 2,) * 2
    return Conv(kernel, bias, stride, (padding, padding))
