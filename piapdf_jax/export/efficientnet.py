"""EfficientNet as a list of operations: a walk over its block table, BatchNorm folded into its convolution."""

from typing import Any

import numpy as np

from piapdf_jax.export.folding import Variables, fold
from piapdf_jax.export.operations import Conv, Operation, Residual, SqueezeExcite, Swish
from piapdf_jax.models.efficientnet import EfficientNetConfig, blocks
from piapdf_jax.models.layers import PaddingAndBatchNorm
from piapdf_jax.types import Part


def efficientnet_operations(config: EfficientNetConfig, part: Part, side: int) -> list[Operation]:
    """Lists the operations of an EfficientNet: normalized RGB [B, side, side, 3] to features [B, h, w, F]."""
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

    def __init__(self, part: Part, convention: PaddingAndBatchNorm, side: int):
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
        """A convolution and its BatchNorm as one."""
        params, stats = (
            found if block is None else found[block] for found in (self._params, self._stats)
        )
        kernel, bias = fold(params, stats, name, self._convention.epsilon)
        padding = self._padding(kernel.shape[0], stride)
        groups = kernel.shape[-1] if np.ndim(params[name]["kernel"]) == 3 else 1
        self.side, self.channels = -(-self.side // stride), kernel.shape[-1]
        made = Conv(kernel, bias, stride, (padding, padding), groups)
        return [made, Swish()] if activate else [made]

    def _padding(self, kernel: int, stride: int) -> tuple[int, int]:
        if kernel == 1:
            return 0, 0
        if self._convention.padding == "SYMMETRIC":
            return kernel // 2, kernel // 2
        # TensorFlow's: what the last window lacks, the larger half at the end.
        lacking = max((-(-self.side // stride) - 1) * stride + kernel - self.side, 0)
        return lacking // 2, lacking - lacking // 2


def _plain(params: Variables) -> Conv:
    kernel, bias = (np.asarray(params[name], np.float32) for name in ("kernel", "bias"))
    return Conv(kernel, bias)
