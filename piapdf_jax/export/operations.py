"""Encoder and AU head as a list of operations on NumPy arrays, BatchNorm folded into its convolution.

A walk over EfficientNet's block table, once; what writes a file for another runtime walks the list.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from piapdf_jax.models.config import ModelConfig, encoder_of
from piapdf_jax.models.efficientnet import EfficientNetConfig, blocks
from piapdf_jax.models.efficientnet_encoder import EfficientNetEncoder
from piapdf_jax.models.layers import Convention
from piapdf_jax.models.resizing import interpolation


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


class SqueezeExcite(NamedTuple):
    """``x * sigmoid(expand(swish(reduce(mean of x over pixels))))``, both 1x1 convolutions."""

    reduce: Conv
    expand: Conv


class Residual(NamedTuple):
    """``x + branch(x)``."""

    branch: tuple[Any, ...]


class Mean(NamedTuple):
    """Mean over pixels: [B, h, w, F] -> [B, F]."""


class Dense(NamedTuple):
    """``x @ kernel + bias``: kernel [F, C]."""

    kernel: np.ndarray
    bias: np.ndarray


class Sigmoid(NamedTuple):
    """Logits to probabilities."""


Operation = Resize | Normalize | Conv | Swish | SqueezeExcite | Residual | Mean | Dense | Sigmoid
Part = tuple[Any, Any]


def light_detector(
    config: ModelConfig, encoder: Part, head: Part, *, image_size: int
) -> list[Operation]:
    """Lists the operations of encoder and AU head.

    Args:
        config: sizes of the networks; the list computes in float32 whatever ``compute_dtype`` says.
        encoder: (parameters, running statistics) for RGB.
        head: of the action units.
        image_size: side S of the images.

    Returns:
        Operations from RGB images [B, S, S, 3] float32 in [0, 1] to probabilities [B, C], arrays float32.
    """
    side = config.encoder_size
    found: list[Operation] = []
    if side != image_size:
        matrix = interpolation(image_size, side).astype(np.float32)
        found.append(Resize(matrix, matrix))
    mean, std = (np.array(v, np.float64) for v in config.normalization)
    found.append(Normalize((1 / std).astype(np.float32), (-mean / std).astype(np.float32)))
    made = encoder_of(config)
    assert isinstance(made, EfficientNetEncoder)
    found += _encoder(made.config, encoder, side)
    kernel, bias = (np.asarray(head[0]["dense"][name], np.float32) for name in ("kernel", "bias"))
    return [*found, Mean(), Dense(kernel, bias), Sigmoid()]


def count_parameters(operations: Sequence[Any]) -> int:
    """Returns how many numbers of a list are parameters: kernels and biases, not the resize and normalization."""
    count = 0
    for operation in operations:
        if isinstance(operation, (Conv, Dense)):
            count += operation.kernel.size + operation.bias.size
        elif isinstance(operation, (SqueezeExcite, Residual)):
            inside = operation.branch if isinstance(operation, Residual) else operation
            count += count_parameters(inside)
    return count


def _encoder(config: EfficientNetConfig, part: Part, side: int) -> list[Operation]:
    walk = _Walk(part, config.conventions, side)
    found = walk.conv("stem", stride=2, activate=True)
    for name, row in blocks(config):
        before = (walk.side, walk.channels)
        inside = walk.block(name, row)
        same = before == (walk.side, walk.channels)
        found += [Residual(tuple(inside))] if same else inside
    return found + walk.conv("head", activate=True)


class _Walk:
    """Follows side and channels through the network, on which padding and skips depend."""

    def __init__(self, part: Part, convention: Convention, side: int):
        self._params, self._stats = part
        self._convention = convention
        self.side, self.channels = side, 0

    def block(self, name: str, row: Any) -> list[Operation]:
        """An inverted residual block without its skip."""
        found = self.conv("expand", block=name, activate=True) if row.expand != 1 else []
        found += self.conv("depthwise", block=name, stride=row.stride, activate=True)
        gate = self._params[name]["squeeze_excite"]
        found.append(SqueezeExcite(_plain(gate["reduce"]), _plain(gate["expand"])))
        return found + self.conv("project", block=name)

    def conv(
        self, name: str, *, block: str | None = None, stride: int = 1, activate: bool = False
    ) -> list[Operation]:
        """A convolution and its BatchNorm as one, in float64 until the end."""
        params = self._params if block is None else self._params[block]
        stats = self._stats if block is None else self._stats[block]
        kernel = np.asarray(params[name]["kernel"], np.float64)
        depthwise = kernel.ndim == 3
        if depthwise:
            kernel = kernel[:, :, None]
        norm, seen = params[f"{name}_norm"], stats[f"{name}_norm"]
        scale = np.asarray(norm["scale"], np.float64) / np.sqrt(
            np.asarray(seen["var"], np.float64) + self._convention.epsilon
        )
        bias = np.asarray(norm["bias"], np.float64) - np.asarray(seen["mean"], np.float64) * scale
        padding = self._padding(kernel.shape[0], stride)
        groups = kernel.shape[-1] if depthwise else 1
        self.side, self.channels = -(-self.side // stride), kernel.shape[-1]
        made = Conv(
            (kernel * scale).astype(np.float32),
            bias.astype(np.float32),
            stride,
            (padding, padding),
            groups,
        )
        return [made, Swish()] if activate else [made]

    def _padding(self, kernel: int, stride: int) -> tuple[int, int]:
        if kernel == 1:
            return 0, 0
        if self._convention.padding == "SYMMETRIC":
            return kernel // 2, kernel // 2
        # TensorFlow's: what the last window lacks, the larger half at the end.
        lacking = max((-(-self.side // stride) - 1) * stride + kernel - self.side, 0)
        return lacking // 2, lacking - lacking // 2


def _plain(params: Any) -> Conv:
    kernel, bias = (np.asarray(params[name], np.float32) for name in ("kernel", "bias"))
    return Conv(kernel, bias)
