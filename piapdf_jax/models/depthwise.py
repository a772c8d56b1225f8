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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


class Window(NamedTuple):
    """Geometry of a filter over its input, along both axes.

    Attributes:
        kernel: sides of the filter, k and l.
        stride: s, step of the window.
        dilation: how far apart input pixels lie, zeros between them.
        padding: zeros before and after, by axis; negative ones cut off.
    """

    kernel: tuple[int, int]
    stride: int
    dilation: int
    padding: tuple[tuple[int, int], tuple[int, int]]

    def sides(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Returns height and width of the output for an input [B, H, W, C]."""
        spans = [(n - 1) * self.dilation + 1 for n in shape[1:3]]
        height, width = (
            (span + sum(padding) - kernel) // self.stride + 1
            for span, padding, kernel in zip(spans, self.padding, self.kernel, strict=True)
        )
        return height, width

    def transposed(self, shape: tuple[int, ...], sides: tuple[int, int]) -> "Window":
        """Returns the window that takes an output of these sides back to an input of this shape."""
        padding = []
        for n, out, kernel, (before, _) in zip(
            shape[1:3], sides, self.kernel, self.padding, strict=True
        ):
            inside, span = (n - 1) * self.dilation + 1, (out - 1) * self.stride + 1
            padding.append((kernel - 1 - before, inside + before - span))
        return Window(self.kernel, self.dilation, self.stride, (padding[0], padding[1]))


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
    """Zeros before and after one axis.

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


def _pad(x: jax.Array, window: Window, *, dilation: int = 1) -> jax.Array:
    inside = [(before, after, dilation - 1) for before, after in window.padding]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *inside, (0, 0, 0)])


def _wide(dtype: Any) -> Any:
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32


def _shifted_sum(x: jax.Array, w: jax.Array, *, window: Window) -> jax.Array:
    """``convolve`` as a sum of shifted products.

    XLA makes one loop of it, where a convolution with as many groups as channels falls back to a
    slow path on CPU, most of all in its two gradients.
    """
    if window.dilation > 1 and window.stride == 1:
        return _phases(x, w, window)
    x, s = _pad(x, window, dilation=window.dilation), window.stride
    height, width = ((n - k) // s + 1 for n, k in zip(x.shape[1:3], window.kernel, strict=True))
    rows, columns = s * (height - 1) + 1, s * (width - 1) + 1
    wide = _wide(x.dtype)
    total = sum(
        (
            x[:, u : u + rows : s, v : v + columns : s].astype(wide)
            * w[u, v][None, None, None].astype(wide)
            for u in range(w.shape[0])
            for v in range(w.shape[1])
        ),
        start=jnp.zeros((), wide),
    )
    return total.astype(x.dtype)


def _phases(x: jax.Array, w: jax.Array, window: Window) -> jax.Array:
    """A dilated ``convolve`` of stride 1: output pixels by their remainder, none of them times 0."""
    d, outs = window.dilation, window.sides(x.shape)
    counts = [-(-out // d) for out in outs]  # of the first phase, the longest
    parts = []
    for phase in ((a, b) for a in range(d) for b in range(d)):
        taps, padding = [], []
        for r, k, n, count, (before, _) in zip(
            phase, window.kernel, x.shape[1:3], counts, window.padding, strict=True
        ):
            # Output r + d m meets tap u where r + d m + u - before = d (input pixel).
            first = (before - r) % d
            shift = (r + first - before) // d
            size = len(range(first, k, d))
            taps.append(slice(first, k, d))
            padding.append((-shift, count + max(size, 1) - 1 - n + shift))
        part = w[taps[0], taps[1]]
        if not part.size:
            parts.append(jnp.zeros((x.shape[0], *counts, x.shape[3]), x.dtype))
            continue
        sides = (part.shape[0], part.shape[1])
        inner = Window(sides, 1, 1, (padding[0], padding[1]))
        parts.append(_shifted_sum(x, part, window=inner))
    grid = jnp.stack(parts, 1).reshape(x.shape[0], d, d, *counts, x.shape[3])
    whole = grid.transpose(0, 3, 1, 4, 2, 5).reshape(
        x.shape[0], d * counts[0], d * counts[1], x.shape[3]
    )
    return whole[:, : outs[0], : outs[1]]


def _row_by_row(x: jax.Array, y: jax.Array, *, window: Window) -> jax.Array:
    """``correlate`` as a scan over the rows of y, a running sum for each tap.

    A reduction for each tap would read x and y k * l times. The scan reads each row once and keeps
    the sums in the cache; only at the end is each of them reduced. Images stay side by side, so
    that a batch that is spread over devices stays so.
    """
    (tall, broad), s, wide = window.kernel, window.stride, _wide(x.dtype)
    x = _pad(x, window, dilation=window.dilation)
    height, width = y.shape[1:3]
    columns = s * (width - 1) + 1

    def add(sums: tuple, i: jax.Array) -> tuple[tuple, None]:
        rows = jax.lax.dynamic_slice_in_dim(x, s * i, tall, 1).astype(wide)
        row = jax.lax.dynamic_index_in_dim(y, i, 1, keepdims=False).astype(wide)
        taps = ((u, v) for u in range(tall) for v in range(broad))
        added = (rows[:, u, v : v + columns : s] * row for u, v in taps)
        return tuple(a + b for a, b in zip(sums, added, strict=True)), None

    start = (jnp.zeros((x.shape[0], width, x.shape[3]), wide),) * (tall * broad)
    # Two rows an iteration: a sum is then read and written once for both.
    sums, _ = jax.lax.scan(add, start, jnp.arange(height), unroll=2 if height % 2 == 0 else 1)
    out = jnp.stack([jnp.sum(a, (0, 1)) for a in sums])
    return out.reshape(tall, broad, -1).astype(x.dtype)


def _grouped(x: jax.Array, w: jax.Array, *, window: Window) -> jax.Array:
    """``convolve`` as XLA's convolution with as many groups as channels."""
    return jax.lax.conv_general_dilated(
        x,
        w[:, :, None],
        (window.stride,) * 2,
        window.padding,
        lhs_dilation=(window.dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _grouped_gradient(x: jax.Array, y: jax.Array, *, window: Window) -> jax.Array:
    """``correlate`` as the filter gradient that XLA knows of ``_grouped``."""
    w = jax.ShapeDtypeStruct((*window.kernel, x.shape[-1]), x.dtype)
    transpose = jax.linear_transpose(lambda w: _grouped(x, w, window=window), w)
    return transpose(y)[0]


@functools.cache
def _eager(primitive: Primitive, window: Window) -> Any:
    return jax.jit(functools.partial(primitive.bind, window=window))


for _primitive, _cpu, _other in (
    (_convolve_p, _shifted_sum, _grouped),
    (_correlate_p, _row_by_row, _grouped_gradient),
):
    _primitive.def_impl(
        lambda *args, window, _primitive=_primitive: _eager(_primitive, window)(*args)
    )
    mlir.register_lowering(_primitive, mlir.lower_fun(_other, multiple_results=False))
    mlir.register_lowering(_primitive, mlir.lower_fun(_cpu, multiple_results=False), "cpu")
