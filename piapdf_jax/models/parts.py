"""Modules as pure functions of a ``Part``: parameters and running statistics."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from piapdf_jax.models.layers import check_mode
from piapdf_jax.models.parameters import initialize
from piapdf_jax.types import BatchStats, Part, PyTree


def init_module(module: nn.Module, key: jax.Array, *shape: int) -> Part:
    """Returns start values of a module's variables for one input of a shape; nothing is compiled.

    Args:
        module: a Flax module that takes ``mode``.
        key: typed key, a concrete one.
        *shape: of one input, without the batch.

    Returns:
        (params, batch_stats), float32; {} for what the module has none of.
    """
    inputs = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    variables = initialize(module, key, inputs, mode="eval")
    return Part(variables.get("params", {}), variables.get("batch_stats", {}))


def apply_module(
    module: nn.Module, part: Part, inputs: jax.Array, mode: str, key: jax.Array | None
) -> tuple[jax.Array, BatchStats]:
    """Runs a module; returns its output and the batch statistics after the pass (in ``eval`` those of the part)."""
    check_mode(mode)
    params, stats = part
    variables = {"params": params, "batch_stats": stats}
    rngs = {} if key is None else {"dropout": key}
    output: PyTree
    if mode == "eval":
        output = module.apply(variables, inputs, mode=mode)
        return output, stats
    output, updated = module.apply(variables, inputs, mode=mode, rngs=rngs, mutable=["batch_stats"])
    return output, updated.get("batch_stats", stats)


def check_key(mode: str, key: jax.Array | None, rate: float) -> None:
    """Raises ValueError where a random layer would have no key."""
    if mode == "train" and rate > 0 and key is None:
        raise ValueError("mode 'train' needs a key for dropout and stochastic depth.")
