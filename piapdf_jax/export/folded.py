"""A list of operations as one function of plain convolutions: what StableHLO and LiteRT files are compiled from.

The networks of training have primitives of their own where a convolution is slow to differentiate. They lower to
hundreds of slices and reshapes; inference is better served by the convolution itself.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from piapdf_jax.export.operations import (
    Conv,
    Dense,
    MaxPool,
    Mean,
    Normalize,
    Operation,
    Relu,
    Residual,
    Resize,
    Sigmoid,
    SqueezeExcite,
    Swish,
)

_LAYOUT = ("NHWC", "HWIO", "NHWC")
#: TPUs and GPUs would round factors of float32 products.
_EXACT = lax.Precision.HIGHEST


def folded_function(
    operations: Sequence[Operation], *, dtype: str = "float32", input_type: str = "uint8"
) -> Callable[[jax.Array], jax.Array]:
    """Returns the detector as a function from images to probabilities.

    Args:
        operations: as ``light_detector`` lists them.
        dtype: of weights and arithmetic between normalization and logits.
        input_type: ``uint8`` for images [B, S, S, 3] of 0 to 255, ``float32`` for 0 to 1.

    Returns:
        A function of images, to [B, C] float32.
    """
    half = jnp.dtype(dtype)

    def probabilities(images: jax.Array) -> jax.Array:
        x = images.astype(jnp.float32)
        if input_type == "uint8":
            x = x * jnp.float32(np.float32(1) / np.float32(255))
        for operation in operations:
            x = _apply(operation, x, half)
        return x

    return probabilities


def _apply(operation: Operation, x: jax.Array, dtype: np.dtype) -> jax.Array:
    return _FUNCTIONS[type(operation)](operation, x, dtype)


def _resize(op: Resize, x: jax.Array, dtype: np.dtype) -> jax.Array:
    del dtype
    # By einsum and not by reshapes: the batch stays free.
    x = jnp.einsum("oh,bhwc->bowc", op.rows, x, precision=_EXACT)
    return jnp.einsum("ow,bhwc->bhoc", op.columns, x, precision=_EXACT)


def _normalize(op: Normalize, x: jax.Array, dtype: np.dtype) -> jax.Array:
    return (x * op.scale + op.shift).astype(dtype)


def _conv(op: Conv, x: jax.Array, dtype: np.dtype) -> jax.Array:
    made = lax.conv_general_dilated(
        x,
        jnp.asarray(op.kernel, dtype),
        (op.stride, op.stride),
        op.padding,
        dimension_numbers=_LAYOUT,
        feature_group_count=op.groups,
        precision=_EXACT,
    )
    return made + jnp.asarray(op.bias, dtype)


def _swish(op: Swish, x: jax.Array, dtype: np.dtype) -> jax.Array:
    del op, dtype
    return x * lax.logistic(x)


def _relu(op: Relu, x: jax.Array, dtype: np.dtype) -> jax.Array:
    del op, dtype
    return jnp.maximum(x, 0)


def _max_pool(op: MaxPool, x: jax.Array, dtype: np.dtype) -> jax.Array:
    del dtype
    sides = ((0, 0), (op.padding, op.padding), (op.padding, op.padding), (0, 0))
    lowest = jnp.array(-jnp.inf, x.dtype)
    window, stride = (1, op.size, op.size, 1), (1, op.stride, op.stride, 1)
    return lax.reduce_window(x, lowest, lax.max, window, stride, sides)


def _squeeze_excite(op: SqueezeExcite, x: jax.Array, dtype: np.dtype) -> jax.Array:
    gate = jnp.mean(x, axis=(1, 2), keepdims=True)
    gate = _conv(op.reduce, gate, dtype)
    gate = _conv(op.expand, gate * lax.logistic(gate), dtype)
    return x * lax.logistic(gate)


def _residual(op: Residual, x: jax.Array, dtype: np.dtype) -> jax.Array:
    branch, shortcut = x, x
    for operation in op.branch:
        branch = _apply(operation, branch, dtype)
    for operation in op.shortcut:
        shortcut = _apply(operation, shortcut, dtype)
    return shortcut + branch


def _mean(op: Mean, x: jax.Array, dtype: np.dtype) -> jax.Array:
    del op, dtype
    return jnp.mean(x, axis=(1, 2))


def _dense(op: Dense, x: jax.Array, dtype: np.dtype) -> jax.Array:
    made = jnp.dot(x, jnp.asarray(op.kernel, dtype), precision=_EXACT) + jnp.asarray(op.bias, dtype)
    return made.astype(jnp.float32)


def _sigmoid(op: Sigmoid, x: jax.Array, dtype: np.dtype) -> jax.Array:
    del op, dtype
    return lax.logistic(x)


_FUNCTIONS: dict[type, Callable[..., jax.Array]] = {
    Resize: _resize,
    Normalize: _normalize,
    Conv: _conv,
    Swish: _swish,
    Relu: _relu,
    MaxPool: _max_pool,
    SqueezeExcite: _squeeze_excite,
    Residual: _residual,
    Mean: _mean,
    Dense: _dense,
    Sigmoid: _sigmoid,
}
