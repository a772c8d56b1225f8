"""Encoder and head of random numbers that tell pictures apart, as trained ones do.

With statistics drawn at will what a picture says fades from layer to layer, and two runtimes would agree on the
biases of the last one.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from piapdf_jax.models.encoder import encoder_apply
from piapdf_jax.models.piap import init_part
from piapdf_jax.types import Part

#: Squares of one color along a side of a picture, so that pictures of all sizes look alike.
_SQUARES = 12


def pictures(count, size):
    """[count, size, size, 3] uint8: squares around a color, and of a contrast, of each picture's own."""
    rng = np.random.default_rng(0)
    color, contrast = rng.uniform(0, 255, (count, 1, 1, 3)), rng.uniform(10, 100, (count, 1, 1, 1))
    squares = color + contrast * rng.normal(size=(count, _SQUARES, _SQUARES, 3))
    places = np.arange(size) * _SQUARES // size
    return np.clip(squares[:, places][:, :, places], 0, 255).astype(np.uint8)


def lively_parts(config, size, units, seed=0):
    """Returns encoder and head whose probabilities of ``pictures`` spread over a good part of [0, 1].

    Args:
        config: sizes of the networks.
        size: of the pictures.
        units: number of probabilities.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    params, stats = init_part(config, "encoder", jax.random.key(seed))
    params = jax.tree_util.tree_map_with_path(lambda *leaf: _changed(rng, *leaf), params)
    seen = jnp.asarray(pictures(8, size), jnp.float32) / np.float32(255)
    # Nothing of the statistics before is kept.
    own = dataclasses.replace(config, bn_momentum=0.0)
    run = jax.jit(lambda part, mode: encoder_apply(own, part, seen, mode=mode), static_argnums=1)
    _, _, found = run((params, stats), "feedback")
    stats = {name: _moved(rng, inside) for name, inside in found.items()}
    _, vectors, _ = run((params, stats), "eval")
    head = _head(rng, np.asarray(vectors, np.float64), units)
    return Part(params, stats), Part(head, {})


def _changed(rng, path, leaf):
    values = np.asarray(leaf)
    if path[-1].key == "scale":
        values = rng.uniform(0.5, 1.5, leaf.shape)
    elif path[-1].key == "bias":
        values = rng.normal(0, 0.2, leaf.shape)
    return jnp.asarray(values, jnp.float32)


def _moved(rng, stats):
    """Statistics of a norm, or of the norms of a block, moved at random: what eval takes is not the batch's."""
    if "var" not in stats:
        return {name: _moved(rng, inside) for name, inside in stats.items()}
    mean, var = (np.asarray(stats[name], np.float64) for name in ("mean", "var"))
    # A channel that hardly varies would enlarge rounding as much as its signal.
    var = var + 0.5 * mean**2 + 1e-3
    moved = {
        "mean": mean + 0.3 * np.sqrt(var) * rng.normal(size=mean.shape),
        "var": var * rng.uniform(0.7, 1.5, var.shape),
    }
    return {name: jnp.asarray(value, jnp.float32) for name, value in moved.items()}


def _head(rng, vectors, units):
    """A head whose logits have mean 0 and deviation 1 over some vectors [N, F]."""
    kernel = rng.normal(size=(vectors.shape[1], units))
    said = vectors @ kernel
    kernel /= said.std(0)
    bias = -(vectors @ kernel).mean(0)
    return {
        "dense": {
            "kernel": jnp.asarray(kernel, jnp.float32),
            "bias": jnp.asarray(bias, jnp.float32),
        }
    }
