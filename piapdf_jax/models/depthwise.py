"""Depthwise and 1x1 convolution, channels last."""

import jax
import jax.numpy as jnp


def depthwise(x: jax.Array, w: jax.Array, *, stride: int = 1, padding: str = "SAME") -> jax.Array:
    """Convolve every channel with a filter of its own.

    ``y[b, i, j, c] = sum_{u,v} x[b, s i + u - p, s j + v - q, c] w[u, v, c]``, x being zero
    outside.

    Args:
        x: [B, H, W, C] floats.
        w: [k, l, C], of the same dtype.
        stride: s, the same along both axes.
        padding: ``"SAME"`` as TensorFlow has it (the output has ceil(H / s) rows, and of an odd
            number of padding rows the last side gets one more) or ``"VALID"``.

    Returns:
        [B, H', W', C] of the same dtype.

    Raises:
        ValueError: for another padding or for shapes that do not fit.
    """
    if x.ndim != 4 or w.ndim != 3 or x.shape[-1] != w.shape[-1]:
        raise ValueError(
            f"depthwise takes x [B, H, W, C] and w [k, l, C], not {x.shape} and {w.shape}."
        )
    top, bottom, height = _extent(x.shape[1], w.shape[0], stride, padding)
    left, right, width = _extent(x.shape[2], w.shape[1], stride, padding)
    x = jnp.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    rows, columns = stride * (height - 1) + 1, stride * (width - 1) + 1
    # A sum of shifted products: XLA makes one loop of it, where a convolution with as many groups
    # as channels falls back to a slow path on CPU, most of all in its two gradients.
    return sum(
        (
            x[:, u : u + rows : stride, v : v + columns : stride] * w[u, v][None, None, None]
            for u in range(w.shape[0])
            for v in range(w.shape[1])
        ),
        start=jnp.zeros((), x.dtype),
    )


def pointwise(x: jax.Array, w: jax.Array) -> jax.Array:
    """1x1 convolution: ``y[..., d] = sum_c x[..., c] w[c, d]``.

    Args:
        x: [..., C] floats.
        w: [C, D], of the same dtype.

    Returns:
        [..., D].
    """
    # One large matrix product; a convolution of size 1 and a dot_general over four axes both train
    # slower on CPU.
    return (x.reshape(-1, x.shape[-1]) @ w).reshape(*x.shape[:-1], w.shape[-1])


def _extent(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Padding before and after one axis, and the length of the output."""
    if padding == "SAME":
        out = -(-size // stride)
        total = max((out - 1) * stride + kernel - size, 0)
        return total // 2, total - total // 2, out
    if padding == "VALID" and size >= kernel:
        return 0, 0, (size - kernel) // stride + 1
    raise ValueError(
        f"padding {padding!r} with a side of {size} and a kernel of {kernel} is not known."
    )
