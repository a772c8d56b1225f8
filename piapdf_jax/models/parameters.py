"""The laws by which parameters start, for Flax and for drawing them on the host."""

import hashlib
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


def parameter_law(name: str, shape: tuple[int, ...]) -> tuple[str, float]:
    """How a parameter starts, by its leaf's name and shape.

    Convolutions start as in EfficientNet: normal, variance 2 / fan_out. Dense layers start uniform
    with variance 1 / (3 fan_in).

    Args:
        name: the leaf's name: kernel, bias, scale, mean or var.
        shape: a kernel is [k, l, C, D] (convolution), [k, l, C] (depthwise) or [C, D] (dense).

    Returns:
        ``("constant", value)``, ``("normal", standard deviation)`` or ``("uniform", bound)``.

    Raises:
        ValueError: for a leaf that has no law.
    """
    if name in ("bias", "mean"):
        return "constant", 0.0
    if name in ("scale", "var"):
        return "constant", 1.0
    if name == "kernel" and len(shape) == 4:
        return "normal", math.sqrt(2.0 / (shape[0] * shape[1] * shape[3]))
    if name == "kernel" and len(shape) == 3:
        return "normal", math.sqrt(2.0 / (shape[0] * shape[1]))
    if name == "kernel" and len(shape) == 2:
        return "uniform", 1.0 / math.sqrt(shape[0])
    raise ValueError(f"no law says how a parameter called {name!r} of shape {shape} starts.")


def initializer(name: str) -> nn.initializers.Initializer:
    """The law of one leaf name as a Flax initializer."""

    def draw(
        key: jax.Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None
    ) -> jax.Array:
        del out_sharding
        kind, value = parameter_law(name, tuple(shape))
        if kind == "constant":
            return jnp.full(shape, value, dtype)
        if kind == "uniform":
            return jax.random.uniform(key, shape, dtype, -value, value)
        return jnp.asarray(value, dtype) * jax.random.normal(key, shape, dtype)

    return draw


def initialize(module: nn.Module, key: jax.Array, *inputs: Any, **kwargs: Any) -> dict[str, Any]:
    """Start values of a module's variables, by the laws of ``module.init`` but without compiling.

    Compiling an initialisation costs more time than a training step: so shapes come from tracing
    alone, and values from NumPy, a stream for each leaf. The numbers differ from those of
    ``module.init`` with the same key.

    Args:
        module: a Flax module.
        key: typed key, a concrete one.
        *inputs: arrays or ``jax.ShapeDtypeStruct``; only their shapes and dtypes matter.
        **kwargs: static keyword arguments of the module's call.

    Returns:
        The variables, such as ``{"params": ..., "batch_stats": ...}``.

    Raises:
        ValueError: for a leaf that has no law.
    """
    shapes = jax.eval_shape(lambda k, *xs: module.init(k, *xs, **kwargs), key, *inputs)
    words = [int(word) for word in np.asarray(jax.random.key_data(key)).ravel()]
    return jax.tree_util.tree_map_with_path(lambda path, leaf: _draw(words, path, leaf), shapes)


def _draw(words: list[int], path: Any, leaf: Any) -> jax.Array:
    """One leaf, drawn on the host from a stream named by the leaf's path."""
    kind, value = parameter_law(path[-1].key, leaf.shape)
    if kind == "constant":
        return jnp.asarray(np.full(leaf.shape, value, leaf.dtype))
    digest = hashlib.sha256(jax.tree_util.keystr(path).encode()).digest()
    generator = np.random.default_rng([*words, int.from_bytes(digest[:8], "little")])
    if kind == "uniform":
        return jnp.asarray(generator.uniform(-value, value, leaf.shape).astype(leaf.dtype))
    return jnp.asarray(generator.normal(0.0, value, leaf.shape).astype(leaf.dtype))
