"""Heads on the encoder's vector: action units, and the identities that Encoder P learns from."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.initializers import dense_init
from piapdf_jax.models.layers import check_mode, dense
from piapdf_jax.models.parts import apply_module, check_key, init_module
from piapdf_jax.types import Part


class Head(nn.Module):
    """Dropout (in ``train``) and one linear layer: vector [B, F] -> logits [B, outputs]."""

    outputs: int
    dropout: float

    @nn.compact
    def __call__(self, vector: jax.Array, *, mode: str) -> jax.Array:
        """Computes logits of [B, F]."""
        if mode == "train" and self.dropout > 0:
            vector = nn.Dropout(self.dropout, deterministic=False)(vector)
        return dense(self.outputs, name="dense")(vector)


class IdentityHead(nn.Module):
    """One direction [F] for each identity, the columns of a kernel: [B, F] -> [B, outputs]."""

    outputs: int

    @nn.compact
    def __call__(self, vector: jax.Array, *, mode: str) -> jax.Array:
        """Computes products of [B, F] with every direction; the same in every mode."""
        del mode
        return vector @ self.param("kernel", dense_init, (vector.shape[-1], self.outputs))


def arcface_logits(
    vector: jax.Array, kernel: jax.Array, identity: jax.Array, *, margin: float, scale: float
) -> jax.Array:
    """Computes ``scale * cos(angle + margin at the true identity)``, angles between vector and class.

    Where the angle passes pi - margin, ``cos(angle) - margin * sin(margin)`` takes over, so that
    logits keep falling with the angle.

    Args:
        vector: [B, F] float32.
        kernel: [F, N] float32, one direction a class.
        identity: [B] int32, the true classes.
        margin: radians, in [0, pi / 2).
        scale: factor of the cosines.

    Returns:
        [B, N] float32.

    Reference: Deng et al., ArcFace, 2019.
    """
    cosines = _unit(vector, -1) @ _unit(kernel, 0)
    # The sine has no finite slope at angle 0.
    sines = jnp.sqrt(jnp.maximum(1.0 - cosines**2, 1e-6))
    shifted = cosines * math.cos(margin) - sines * math.sin(margin)
    late = cosines - margin * math.sin(margin)
    shifted = jnp.where(cosines > -math.cos(margin), shifted, late)
    true = jax.nn.one_hot(identity, kernel.shape[-1], dtype=jnp.bool_)
    return scale * jnp.where(true, shifted, cosines)


def _unit(x: jax.Array, axis: int) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis, keepdims=True), 1e-12))


def init_head(config: ModelConfig, key: jax.Array, *, features: int, num_aus: int) -> Part:
    """Returns a fresh AU head for vectors of F = ``features`` numbers and C = ``num_aus`` outputs."""
    return init_module(Head(num_aus, config.dropout), key, features)


def head_apply(
    config: ModelConfig, part: Part, vector: jax.Array, *, mode: str, key: jax.Array | None = None
) -> jax.Array:
    """Computes AU logits of the encoder's vector.

    Args:
        config: sizes.
        part: a head.
        vector: [B, F] float32.
        mode: ``train``, ``feedback`` or ``eval``, see ``layers.Mode``.
        key: typed key of dropout, needed in ``train``.

    Returns:
        [B, C] float32.
    """
    check_key(mode, key, config.dropout)
    module = Head(part[0]["dense"]["kernel"].shape[-1], config.dropout)
    return apply_module(module, part, vector, mode, key)[0]


def init_identities(key: jax.Array, *, features: int, num_identities: int) -> Part:
    """Returns fresh identity classes for vectors of F = ``features`` numbers."""
    return init_module(IdentityHead(num_identities), key, features)


def identity_logits(
    part: Part,
    vector: jax.Array,
    identity: jax.Array,
    *,
    arcface: bool = True,
    margin: float = 0.5,
    scale: float = 64.0,
    mode: str,
) -> jax.Array:
    """Computes logits of identities, for a softmax cross-entropy.

    Args:
        part: an identity head.
        vector: [B, F] float32.
        identity: [B] int32, the true classes.
        arcface: True for ``heads.arcface_logits``, False for plain products of vector and class.
        margin: radians added to the angle of the true class; not in ``eval``.
        scale: factor of the cosines.
        mode: ``train``, ``feedback`` or ``eval``.

    Returns:
        [B, N] float32.
    """
    check_mode(mode)
    if not arcface:
        return vector @ part[0]["kernel"]
    margin = 0.0 if mode == "eval" else margin
    return arcface_logits(vector, part[0]["kernel"], identity, margin=margin, scale=scale)
