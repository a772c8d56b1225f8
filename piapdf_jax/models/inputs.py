"""Inputs of networks: images in the compute dtype, RGB normalized."""

import jax
import jax.numpy as jnp

from piapdf_jax.models.config import ModelConfig


def cast_to_compute_dtype(config: ModelConfig, x: jax.Array) -> jax.Array:
    """Returns x in the compute dtype, unless it is float32: then the input's own, which may be wider."""
    return x if config.compute_dtype == "float32" else x.astype(config.compute_dtype)


def normalize(config: ModelConfig, images: jax.Array) -> jax.Array:
    """Returns RGB images [B, S, S, 3] in [0, 1], normalized by the configuration's mean and deviation."""
    mean, std = (
        jnp.asarray(value, images.dtype)[None, None, None] for value in config.normalization
    )
    return (images - mean) / std
