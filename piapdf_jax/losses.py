"""The losses of the paper, from logits: L_PI (1), L_AU (2), L_AP (4) and their weighted sum L_PIAP (3), (5), (6).

B is the batch, S the side of the image, K the number of PI maps, C of action units, F the length of the vectors.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import optax

from piapdf_jax.batch import Prediction, Targets

#: |cos| counts as at most 1 minus this, so that L_AP and its gradient stay finite where the vectors are parallel.
COSINE_MARGIN = 1e-4
#: Squared norm that a vector has at least; keeps the gradient of the cosine finite at the zero vector.
_SMALLEST_SQUARE = 1e-12


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weights of L_AU, L_PI and L_AP in L_PIAP (6): not negative, sum 1.

    Attributes:
        au: alpha.
        pi: beta.
        ap: gamma.

    Raises:
        ValueError: for a negative weight or another sum.
    """

    au: float = 1.0
    pi: float = 0.0
    ap: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.au, self.pi, self.ap)
        if min(weights) < 0 or not math.isclose(sum(weights), 1.0, abs_tol=1e-6):
            raise ValueError(f"loss weights au, pi, ap must be at least 0 and sum to 1: {weights}")


def pi_loss(
    pi_logits: jax.Array, pi_maps: jax.Array, *, positive_weight: float = 1.0, dice: float = 0.0
) -> jax.Array:
    """L_PI (1): binary cross-entropy of PI maps, mean over batch, pixels and maps.

    Args:
        pi_logits: [B, S, S, K].
        pi_maps: [B, S, S, K] in [0, 1], predefined or soft maps.
        positive_weight: weight of the maps' inside.
        dice: weight of an added soft Dice loss, mean over batch and maps.

    Returns:
        [] loss.
    """
    inside = jax.nn.softplus(-pi_logits) * pi_maps
    outside = jax.nn.softplus(pi_logits) * (1 - pi_maps)
    loss = jnp.mean(positive_weight * inside + outside)
    if dice:
        probs = jax.nn.sigmoid(pi_logits)
        overlap = 2 * jnp.sum(probs * pi_maps, axis=(1, 2)) + 1
        total = jnp.sum(probs + pi_maps, axis=(1, 2)) + 1
        loss += dice * jnp.mean(1 - overlap / total)
    return loss


def au_loss(au_logits: jax.Array, labels: jax.Array) -> jax.Array:
    """L_AU (2): binary cross-entropy of action units, mean over the known cells of the batch.

    Args:
        au_logits: [B, C].
        labels: [B, C] in [0, 1]; negative for unknown.

    Returns:
        [] loss; 0 with zero gradient where no cell is known.
    """
    known = labels >= 0
    cells = optax.sigmoid_binary_cross_entropy(au_logits, jnp.where(known, labels, 0))
    count = jnp.sum(known, dtype=au_logits.dtype)
    return jnp.sum(jnp.where(known, cells, 0)) / jnp.maximum(count, 1)


def ap_loss(vector: jax.Array, identity: jax.Array) -> jax.Array:
    """L_AP (4): -mean log(1 - |cos(p, P)|); 0 where every AU vector is orthogonal to its identity vector.

    Args:
        vector: [B, F], p.
        identity: [B, F], P.

    Returns:
        [] loss in the wider of float32 and the inputs' type, the cosine kept away from 1.
    """
    dtype = jnp.promote_types(jnp.float32, vector.dtype)
    p, q = vector.astype(dtype), identity.astype(dtype)

    def inverse_norm(x: jax.Array) -> jax.Array:
        return jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1), _SMALLEST_SQUARE))

    cosine = jnp.sum(p * q, axis=-1) * inverse_norm(p) * inverse_norm(q)
    size = jnp.minimum(jnp.abs(cosine), 1 - COSINE_MARGIN)
    return -jnp.mean(jnp.log1p(-size))


def piap_loss(
    prediction: Prediction, targets: Targets, weights: LossWeights
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """L_PIAP (6), of which (3) and (5) are the cases with one weight 0.

    Args:
        prediction: (m, p, y).
        targets: (M, P, Y); a part whose weight is 0 may be None.
        weights: of the three losses.

    Returns:
        [] loss, and its parts ``au_loss``, ``pi_loss``, ``ap_loss``, those with weight 0 left out.

    Raises:
        ValueError: where a part with a weight has no target or no prediction.
    """
    parts: dict[str, jax.Array] = {}
    if weights.au:
        parts["au_loss"] = au_loss(prediction.au_logits, targets.labels)
    if weights.pi:
        if prediction.pi_logits is None or targets.pi_maps is None:
            raise ValueError("L_PI has a weight, but there are no PI maps to compare")
        parts["pi_loss"] = pi_loss(prediction.pi_logits, targets.pi_maps)
    if weights.ap:
        if targets.identity is None:
            raise ValueError("L_AP has a weight, but there is no identity vector")
        parts["ap_loss"] = ap_loss(prediction.vector, targets.identity)
    named = {"au_loss": weights.au, "pi_loss": weights.pi, "ap_loss": weights.ap}
    return functools.reduce(jnp.add, [named[name] * part for name, part in parts.items()]), parts
