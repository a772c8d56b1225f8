"""BatchNorm of the running statistics, folded into the convolution before it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

#: Parameters or running statistics of a network: arrays by name, nested.
Variables = Mapping[str, Any]


class Folded(NamedTuple):
    """A convolution with bias, float32: kernel [k, l, C, D] or, depthwise, [k, l, 1, C], and bias [D]."""

    kernel: np.ndarray
    bias: np.ndarray


def fold(params: Variables, stats: Variables, name: str, epsilon: float) -> Folded:
    """Folds a normalization into its convolution, in float64 until the end.

    Args:
        params: of the network or a block, with the convolution ``name`` and its ``name_norm``.
        stats: running statistics of the same.
        name: of the convolution; its kernel is [k, l, C, D], or [k, l, C] for a depthwise one.
        epsilon: added to the variance.
    """
    kernel = np.asarray(params[name]["kernel"], np.float64)
    if kernel.ndim == 3:
        kernel = kernel[:, :, None]
    norm, seen = (
        {leaf: np.asarray(value, np.float64) for leaf, value in found[f"{name}_norm"].items()}
        for found in (params, stats)
    )
    scale = norm["scale"] / np.sqrt(seen["var"] + epsilon)
    bias = norm["bias"] - seen["mean"] * scale
    return Folded((kernel * scale).astype(np.float32), bias.astype(np.float32))
