"""Depthwise and 1x1 convolution, channels last.

The depthwise convolution y = x * w is linear in x and in w, and so is its filter gradient. Two
primitives hold all of its derivatives, because each is the other's transpose:

    ``convolve(x, w) = y``,    y[i] = sum_u x[s i + u - p] w[u]
    ``correlate(x, y) = w``,   w[u] = sum_i x[s i + u - p] y[i]

The transpose of ``convolve`` in x is ``convolve`` of y with the mirrored w, stride and dilation
exchanged; in w it is ``correlate``. That of ``correlate`` in y is ``convolve``. Every derivative in
every mode is one of the two, so each has one fast form a platform, which is chosen when a function
is lowered for that platform.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from piapdf_jax.models.depthwise_forms import (
    Window,
    grouped,
    grouped_gradient,
    row_by_row,
    shifted_sum,
)


def depthwise(
    x: jax.Array, w: jax.Array, *, stride: int = 1, padding: str | int = "SAME"
) -> jax.Array:
    """Convolves every channel with a filter of its own.

    ``y[b, i, j, c] = sum_{u,v} x[b, s i + u - p, s j + v - q, c] w[u, v, c]``, x being zero
    outside. Differentiable in both modes, to any order. Sums are taken in float32 at least.

    Args:
        x: [B, H, W, C] floats.
        w: [k, l, C], of the same dtype.
        stride: s, the same along both axes.
        padding: ``"SAME"`` as TensorFlow has it (the output has ceil(H / s) rows, and of an odd
            number of padding rows the last side gets one more), ``"VALID"``, or the number of
            zeros on every side, as PyTorch has it.

    Returns:
        [B, H', W', C] of the same dtype.

    Raises:
        ValueError: for another padding or for shapes that do not fit.
    """
    if x.ndim != 4 or w.ndim != 3 or x.shape[-1] != w.shape[-1]:
        raise ValueError(
            f"depthwise takes x [B, H, W, C] and w [k, l, C], not {x.shape} and {w.shape}."
        )
    rows = zeros_around(x.shape[1], w.shape[0], stride, padding)
    columns = zeros_around(x.shape[2], w.shape[1], stride, padding)
    window = Window((w.shape[0], w.shape[1]), stride, 1, (rows, columns))
    return _convolve_p.bind(x, w, window=window)


def pointwise(x: jax.Array, w: jax.Array) -> jax.Array:
    """Computes a 1x1 convolution: ``y[..., d] = sum_c x[..., c] w[c, d]``.

    Args:
        x: [..., C] floats.
        w: [C, D], of the same dtype.

    Returns:
        [..., D].
    """
    # One large matrix product; a convolution of size 1 and a dot_general over four axes both train
    # slower on CPU.
    return (x.reshape(-1, x.shape[-1]) @ w).reshape(*x.shape[:-1], w.shape[-1])


def zeros_around(size: int, kernel: int, stride: int, padding: str | int) -> tuple[int, int]:
    """Counts the zeros before and after one axis.

    Args:
        size: of the axis.
        kernel: of the filter along it.
        stride: of the filter along it.
        padding: see ``depthwise``.

    Returns:
        (before, after).

    Raises:
        ValueError: for another padding, or a filter that does not fit.
    """
    before = after = padding
    if padding == "SAME":
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        before, after = total // 2, total - total // 2
    elif padding == "VALID":
        before = after = 0
    if not isinstance(before, int) or not isinstance(after, int) or size + before + after < kernel:
        raise ValueError(
            f"padding {padding!r} with a side of {size} and a kernel of {kernel} is not known."
        )
    return before, after


#: Names of the two primitives in a jaxpr.
CONVOLVE, CORRELATE = "depthwise", "depthwise_filter_gradient"
_convolve_p, _correlate_p = Primitive(CONVOLVE), Primitive(CORRELATE)


@_convolve_p.def_abstract_eval
def _(x: Any, w: Any, *, window: Window) -> Any:
    return x.update(shape=(x.shape[0], *window.sides(x.shape), x.shape[3]))


@_correlate_p.def_abstract_eval
def _(x: Any, y: Any, *, window: Window) -> Any:
    return x.update(shape=(*window.kernel, x.shape[3]))


def _back(y: jax.Array, w: jax.Array, shape: tuple[int, ...], window: Window) -> jax.Array:
    """The transpose of ``convolve`` in x."""
    mirrored = jax.lax.rev(w, (0, 1))
    sides = (y.shape[1], y.shape[2])
    return _convolve_p.bind(y, mirrored, window=window.transposed(shape, sides))


ad.defbilinear(
    _convolve_p,
    lambda ct, x, w, *, window: _back(ct, w, x.aval.shape, window),
    lambda ct, x, w, *, window: _correlate_p.bind(x, ct, window=window),
)
ad.defbilinear(
    _correlate_p,
    lambda ct, x, y, *, window: _back(y, ct, x.aval.shape, window),
    lambda ct, x, y, *, window: _convolve_p.bind(x, ct, window=window),
)


def _into_channels(a: jax.Array, axis: int | None, size: int) -> jax.Array:
    """A mapped axis becomes part of the channels: [n, ..., C] -> [..., n C]."""
    a = jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
    return jnp.moveaxis(a, 0, -2).reshape(*a.shape[1:-1], -1)


def _batch_channels(
    primitive: Primitive, args: tuple[jax.Array, jax.Array], axes: tuple, window: Window
) -> tuple[jax.Array, int]:
    size = next(a.shape[d] for a, d in zip(args, axes, strict=True) if d is not None)
    folded = (_into_channels(a, d, size) for a, d in zip(args, axes, strict=True))
    out = primitive.bind(*folded, window=window)
    return out.reshape(*out.shape[:-1], size, -1), out.ndim - 1


def _batch_convolve(args: tuple, axes: tuple, *, window: Window) -> tuple[jax.Array, int]:
    x, w = args
    if axes[1] is not None:
        return _batch_channels(_convolve_p, args, axes, window)
    x = jnp.moveaxis(x, axes[0], 0)
    out = _convolve_p.bind(x.reshape(-1, *x.shape[2:]), w, window=window)
    return out.reshape(*x.shape[:2], *out.shape[1:]), 0


def _batch_correlate(args: tuple, axes: tuple, *, window: Window) -> tuple[jax.Array, int]:
    return _batch_channels(_correlate_p, args, axes, window)


batching.primitive_batchers[_convolve_p] = _batch_convolve
batching.primitive_batchers[_correlate_p] = _batch_correlate


@functools.cache
def _eager(primitive: Primitive, window: Window) -> Any:
    return jax.jit(functools.partial(primitive.bind, window=window))


for _primitive, _cpu, _other in (
    (_convolve_p, shifted_sum, grouped),
    (_correlate_p, row_by_row, grouped_gradient),
):
    _primitive.def_impl(
        lambda *args, window, _primitive=_primitive: _eager(_primitive, window)(*args)
    )
    mlir.register_lowering(_primitive, mlir.lower_fun(_other, multiple_results=False))
    mlir.register_lowering(_primitive, mlir.lower_fun(_cpu, multiple_results=False), "cpu")
