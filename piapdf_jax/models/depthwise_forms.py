"""Forms of the two primitives of ``depthwise``: what each of them is compiled to, by platform.

``shifted_sum`` and ``row_by_row`` are fast on CPU, ``grouped`` and ``grouped_gradient`` elsewhere.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


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


def _pad(x: jax.Array, window: Window, *, dilation: int = 1) -> jax.Array:
    inside = [(before, after, dilation - 1) for before, after in window.padding]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *inside, (0, 0, 0)])


def _sum_dtype(dtype: Any) -> Any:
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.float32


def shifted_sum(x: jax.Array, w: jax.Array, *, window: Window) -> jax.Array:
    """Computes ``convolve`` as a sum of shifted products.

    XLA makes one loop of it, where a convolution with as many groups as channels falls back to a
    slow path on CPU, most of all in its two gradients.
    """
    if window.dilation > 1 and window.stride == 1:
        return _phases(x, w, window)
    x, s = _pad(x, window, dilation=window.dilation), window.stride
    height, width = ((n - k) // s + 1 for n, k in zip(x.shape[1:3], window.kernel, strict=True))
    rows, columns = s * (height - 1) + 1, s * (width - 1) + 1
    sum_dtype = _sum_dtype(x.dtype)
    total = sum(
        (
            x[:, u : u + rows : s, v : v + columns : s].astype(sum_dtype)
            * w[u, v][None, None, None].astype(sum_dtype)
            for u in range(w.shape[0])
            for v in range(w.shape[1])
        ),
        start=jnp.zeros((), sum_dtype),
    )
    return total.astype(x.dtype)


def _phases(x: jax.Array, w: jax.Array, window: Window) -> jax.Array:
    """Computes a dilated ``convolve`` of stride 1: output pixels by their remainder, none of them times 0."""
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
        parts.append(shifted_sum(x, part, window=inner))
    grid = jnp.stack(parts, 1).reshape(x.shape[0], d, d, *counts, x.shape[3])
    whole = grid.transpose(0, 3, 1, 4, 2, 5).reshape(
        x.shape[0], d * counts[0], d * counts[1], x.shape[3]
    )
    return whole[:, : outs[0], : outs[1]]


def row_by_row(x: jax.Array, y: jax.Array, *, window: Window) -> jax.Array:
    """Computes ``correlate`` as a scan over the rows of y, a running sum for each tap.

    A reduction for each tap would read x and y k * l times. The scan reads each row once and keeps
    the sums in the cache; only at the end is each of them reduced. Images stay side by side, so
    that a batch that is spread over devices stays so.
    """
    (tall, broad), s, sum_dtype = window.kernel, window.stride, _sum_dtype(x.dtype)
    x = _pad(x, window, dilation=window.dilation)
    height, width = y.shape[1:3]
    columns = s * (width - 1) + 1

    def add(sums: tuple, i: jax.Array) -> tuple[tuple, None]:
        rows = jax.lax.dynamic_slice_in_dim(x, s * i, tall, 1).astype(sum_dtype)
        row = jax.lax.dynamic_index_in_dim(y, i, 1, keepdims=False).astype(sum_dtype)
        taps = ((u, v) for u in range(tall) for v in range(broad))
        added = (rows[:, u, v : v + columns : s] * row for u, v in taps)
        return tuple(a + b for a, b in zip(sums, added, strict=True)), None

    start = (jnp.zeros((x.shape[0], width, x.shape[3]), sum_dtype),) * (tall * broad)
    # Two rows an iteration: a sum is then read and written once for both.
    sums, _ = jax.lax.scan(add, start, jnp.arange(height), unroll=2 if height % 2 == 0 else 1)
    out = jnp.stack([jnp.sum(a, (0, 1)) for a in sums])
    return out.reshape(tall, broad, -1).astype(x.dtype)


def grouped(x: jax.Array, w: jax.Array, *, window: Window) -> jax.Array:
    """Computes ``convolve`` as XLA's convolution with as many groups as channels."""
    return jax.lax.conv_general_dilated(
        x,
        w[:, :, None],
        (window.stride,) * 2,
        window.padding,
        lhs_dilation=(window.dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def grouped_gradient(x: jax.Array, y: jax.Array, *, window: Window) -> jax.Array:
    """Computes ``correlate`` as the filter gradient that XLA knows of ``grouped``."""
    w = jax.ShapeDtypeStruct((*window.kernel, x.shape[-1]), x.dtype)
    transpose = jax.linear_transpose(lambda w: grouped(x, w, window=window), w)
    return transpose(y)[0]
