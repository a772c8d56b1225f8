"""The losses of the paper, from logits: L_PI (1), L_AU (2), L_AP (4) and L_PIAP (3), (5), (6).

B is the batch, S the side of the image, K the number of PI maps, C of action units, F the length of
the vectors. All means run over the whole array, which under ``jit`` is the global batch whatever
the number of devices.
"""

import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from piapdf_jax.batch import Prediction, Targets
from piapdf_jax.landmarks import outer_eye_distance

#: L_AP follows -log(1 - |cos|) up to |cos| = 1 minus this, and its tangent from there on.
COSINE_MARGIN = 1e-4
#: Squared norm that a vector has at least; keeps the cosine's gradient finite at the zero vector.
_SMALLEST_SQUARE = 1e-12


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weights of L_AU, L_PI and L_AP in L_PIAP (6): Python numbers, not negative, sum 1.

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
        # "not >=" also refuses NaN
        if not min(weights) >= 0 or not math.isclose(sum(weights), 1.0, abs_tol=1e-6):
            named = f"au={self.au} pi={self.pi} ap={self.ap}"
            raise ValueError(f"loss weights must be at least 0 and sum to 1, not {named}")


def _check_shapes(loss: str, *arrays: jax.Array) -> None:
    """Refuses what would broadcast to a loss of something else; costs nothing once a function is compiled."""
    message = f"{loss} takes arrays of one shape, not {[x.shape for x in arrays]}"
    chex.assert_equal_shape(arrays, custom_message=message, exception_type=ValueError)


@jax.custom_jvp
def binary_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Computes the binary cross-entropy of each cell.

    -(y log m + (1 - y) log(1 - m)) = max(z, 0) - z y + log(1 + e^-|z|),  m = sigmoid(z); its slope by z is m - y.

    As ``optax.sigmoid_binary_cross_entropy``, whose value and gradient of 3.5 million cells, the maps of a batch of
    32, take over three times as long on a CPU.

    Args:
        logits: z, any shape, floats.
        labels: y in [0, 1], of the same shape and dtype.

    Returns:
        Cells, like ``logits``.
    """
    return jnp.maximum(logits, 0) - logits * labels + jnp.log1p(jnp.exp(-jnp.abs(logits)))


@binary_cross_entropy.defjvp
def _slope_of_cross_entropy(
    primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]
) -> tuple[jax.Array, jax.Array]:
    (z, y), (dz, dy) = primals, tangents
    return binary_cross_entropy(z, y), (jax.nn.sigmoid(z) - y) * dz - z * dy


def pi_loss(
    pi_logits: jax.Array, pi_maps: jax.Array, *, positive_weight: float = 1.0, dice: float = 0.0
) -> jax.Array:
    """Computes L_PI (1): binary cross-entropy of PI maps, mean over batch, maps and pixels.

    -mean(w M log m + (1 - M) log(1 - m)) + d mean(1 - (2 sum m M + 1) / (sum m + sum M + 1)), where
    m = sigmoid(logits), w = ``positive_weight`` and d = ``dice``; the sums run over the pixels of
    one map of one image.

    Args:
        pi_logits: m before the sigmoid, [B, S, S, K], any float dtype.
        pi_maps: M, [B, S, S, K] in [0, 1]: predefined (0 and 1) or soft maps.
        positive_weight: weight of the maps' inside; 1 is the paper's plain cross-entropy.
        dice: weight of an added soft Dice loss (Milletari et al., 2016); 0 leaves it out.

    Returns:
        [] loss in the logits' dtype.

    Raises:
        ValueError: for maps of another shape than the logits.
    """
    _check_shapes("pi_loss", pi_logits, pi_maps)
    maps = pi_maps.astype(pi_logits.dtype)
    cells = binary_cross_entropy(pi_logits, maps)
    if positive_weight != 1:
        cells += (positive_weight - 1) * maps * jax.nn.softplus(-pi_logits)
    loss = jnp.mean(cells)
    if dice:
        probs = jax.nn.sigmoid(pi_logits)
        overlap = 2 * jnp.sum(probs * maps, axis=(1, 2)) + 1
        total = jnp.sum(probs + maps, axis=(1, 2)) + 1
        loss += dice * jnp.mean(1 - overlap / total)
    return loss


def au_loss(au_logits: jax.Array, labels: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
    """Computes L_AU (2): binary cross-entropy of action units, mean over the known cells of the batch.

    -sum_known(Y log y + (1 - Y) log(1 - y)) / max(1, number of known cells), y = sigmoid(logits).

    Args:
        au_logits: y before the sigmoid, [B, C], any float dtype.
        labels: Y, [B, C], integers or floats: in [0, 1], or negative for unknown.
        mask: [B, C] bool, False for cells to leave out besides the unknown ones.

    Returns:
        [] loss in the logits' dtype; 0 with zero gradient where no cell is known.

    Raises:
        ValueError: for labels or a mask of another shape than the logits.
    """
    _check_shapes("au_loss", au_logits, labels, *([] if mask is None else [mask]))
    known = labels >= 0
    if mask is not None:
        known &= mask.astype(bool)
    target = jnp.where(known, labels, 0).astype(au_logits.dtype)
    cells = optax.sigmoid_binary_cross_entropy(au_logits, target)
    count = jnp.sum(known, dtype=au_logits.dtype)
    return jnp.sum(jnp.where(known, cells, 0)) / jnp.maximum(count, 1)


def ap_loss(vector: jax.Array, identity: jax.Array) -> jax.Array:
    """Computes L_AP (4): -mean log(1 - |cos(p, P)|), 0 where AU vectors and identity vectors are orthogonal.

    The paper's logarithm is infinite for parallel vectors. From |cos| = 1 - ``COSINE_MARGIN`` on
    its tangent takes its place: the loss and its gradient stay finite, and the gradient still
    drives the vectors apart. At vectors that are orthogonal already, |cos| has its smallest value and
    the gradient is 0; a zero vector counts as orthogonal to everything.

    Args:
        vector: p, [B, F], any float dtype.
        identity: P, [B, F], any float dtype.

    Returns:
        [] loss; cosine and loss are computed in the widest of float32 and the dtypes of the inputs.

    Raises:
        ValueError: for vectors of different shapes.
    """
    _check_shapes("ap_loss", vector, identity)
    # NumPy's rule: that of jnp refuses to promote at all under strict promotion.
    dtype = np.result_type(np.float32, vector.dtype, identity.dtype)
    p, q = vector.astype(dtype), identity.astype(dtype)

    def inverse_norm(x: jax.Array) -> jax.Array:
        return jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1), _SMALLEST_SQUARE))

    cosine = jnp.sum(p * q, axis=-1) * inverse_norm(p) * inverse_norm(q)
    # Not jnp.abs, whose derivative at 0 is 1 and not its middle, 0.
    size = cosine * jnp.sign(jax.lax.stop_gradient(cosine))
    inside = jnp.minimum(size, 1 - COSINE_MARGIN)
    return jnp.mean((size - inside) / COSINE_MARGIN - jnp.log1p(-inside))


def landmark_loss(coordinates: jax.Array, landmarks: jax.Array, size: int) -> jax.Array:
    """Computes the mean squared error of landmarks, normalized by the distance d of the outer eye corners.

    mean over faces and 136 coordinates of ((coordinate - target) / d)^2, where a pixel coordinate x has the target
    (x + 0.5) / S - 0.5, and d is that of the true landmarks in the same units.

    Args:
        coordinates: [B, 136], x and y of each landmark in turn, 0 in the middle of the image and in units of its side.
        landmarks: [B, 68, 2] the true ones, (x, y) in pixels, pixel centers at whole numbers.
        size: S, side of the image in pixels.

    Returns:
        [] loss in the dtype of the coordinates.
    """
    truth = landmarks.astype(coordinates.dtype)
    target = ((truth + 0.5) / size - 0.5).reshape(coordinates.shape)
    distance = outer_eye_distance(truth) / size
    return jnp.mean(((coordinates - target) / distance[:, None]) ** 2)


def piap_loss(
    prediction: Prediction,
    targets: Targets,
    weights: LossWeights,
    *,
    positive_weight: float = 1.0,
    dice: float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes L_PIAP (6) = alpha L_AU + beta L_PI + gamma L_AP; (3) has gamma = 0 and (5) has beta = 0.

    A part whose weight is 0 is not computed, and what it alone would need may be None.

    Args:
        prediction: (m, p, y), with the shapes of ``Prediction``.
        targets: (M, P, Y), with the shapes of ``Targets``.
        weights: alpha, beta, gamma; known when the function is traced.
        positive_weight: of ``pi_loss``.
        dice: of ``pi_loss``.

    Returns:
        [] loss, and its parts ``au_loss``, ``pi_loss``, ``ap_loss`` before weighting, those of
        weight 0 left out.

    Raises:
        ValueError: where a part with a weight has no target or no prediction, or one of another shape.
    """
    parts: dict[str, jax.Array] = {}
    if weights.au:
        parts["au_loss"] = au_loss(prediction.au_logits, targets.labels)
    if weights.pi:
        if prediction.pi_logits is None or targets.pi_maps is None:
            raise ValueError("L_PI has a weight, but the prediction or the target has no PI maps")
        parts["pi_loss"] = pi_loss(
            prediction.pi_logits, targets.pi_maps, positive_weight=positive_weight, dice=dice
        )
    if weights.ap:
        if targets.identity is None:
            raise ValueError("L_AP has a weight, but the target has no identity vector")
        parts["ap_loss"] = ap_loss(prediction.vector, targets.identity)
    factors = {"au_loss": weights.au, "pi_loss": weights.pi, "ap_loss": weights.ap}
    # Under mixed precision L_AP is wider than the logits' losses; strict promotion wants that said.
    dtype = np.result_type(*(part.dtype for part in parts.values()))
    weighted = [factors[name] * part.astype(dtype) for name, part in parts.items()]
    return functools.reduce(jnp.add, weighted), parts
