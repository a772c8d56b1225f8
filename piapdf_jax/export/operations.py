"""Operations on NumPy arrays. A light detector is a list of them, from which the writers of all formats work."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Resize(NamedTuple):
    """``rows @ x @ columns.T`` along height and width: [out, in] each."""

    rows: np.ndarray
    columns: np.ndarray


class Normalize(NamedTuple):
    """``x * scale + shift`` by channel [3]."""

    scale: np.ndarray
    shift: np.ndarray


class Conv(NamedTuple):
    """A convolution with bias.

    Attributes:
        kernel: [k, l, in / groups, out].
        bias: [out].
        stride: along both axes.
        padding: zeros before and after, along height and along width.
        groups: 1, or the number of channels for a depthwise one.
    """

    kernel: np.ndarray
    bias: np.ndarray
    stride: int = 1
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    groups: int = 1


class Swish(NamedTuple):
    """``x * sigmoid(x)``."""


class Relu(NamedTuple):
    """``max(x, 0)``."""


class MaxPool(NamedTuple):
    """The largest value of each channel in square windows; what is added on every side is in no window the largest.

    Attributes:
        size: of the window.
        stride: along both axes.
        padding: on every side.
    """

    size: int
    stride: int
    padding: int


class SqueezeExcite(NamedTuple):
    """``x * sigmoid(expand(swish(reduce(mean of x over pixels))))``, both 1x1 convolutions."""

    reduce: Conv
    expand: Conv


class Residual(NamedTuple):
    """``shortcut(x) + branch(x)``; a shortcut of no operations is x itself."""

    branch: tuple["Operation", ...]
    shortcut: tuple["Operation", ...] = ()


class Mean(NamedTuple):
    """Mean over pixels: [B, h, w, F] -> [B, F]."""


class Dense(NamedTuple):
    """``x @ kernel + bias``: kernel [F, C]."""

    kernel: np.ndarray
    bias: np.ndarray


class Sigmoid(NamedTuple):
    """Logits to probabilities."""


Operation = (
    Resize
    | Normalize
    | Conv
    | Swish
    | Relu
    | MaxPool
    | SqueezeExcite
    | Residual
    | Mean
    | Dense
    | Sigmoid
)


def count_parameters(operations: Sequence[Operation]) -> int:
    """Returns how many numbers of a list are parameters: kernels and biases, not the resize and normalization."""
    count = 0
    for operation in operations:
        if isinstance(operation, (Conv, Dense)):
            count += operation.kernel.size + operation.bias.size
        elif isinstance(operation, SqueezeExcite):
            count += count_parameters(operation)
        elif isinstance(operation, Residual):
            count += count_parameters(operation.branch) + count_parameters(operation.shortcut)
    return count
