"""Losses against their formulas, written out again in float64 NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from piapdf_jax.batch import Prediction, Targets
from piapdf_jax.losses import (
    COSINE_MARGIN,
    LossWeights,
    ap_loss,
    au_loss,
    binary_cross_entropy,
    pi_loss,
    piap_loss,
)

BATCH, SIDE, MAPS, UNITS, LENGTH = 3, 5, 4, 6, 7


def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def draw(*shape: int, scale: float = 2.0) -> np.ndarray:
    return (scale * rng().standard_normal(shape)).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def au_expected(logits: np.ndarray, labels: np.ndarray) -> float:
    """Equation (2), cell by cell."""
    probs, terms = sigmoid(logits), []
    for b, c in np.ndindex(labels.shape):
        if labels[b, c] >= 0:
            y, p = float(labels[b, c]), probs[b, c]
            terms.append(-(y * np.log(p) + (1 - y) * np.log(1 - p)))
    return float(np.mean(terms)) if terms else 0.0


def pi_expected(logits: np.ndarray, maps: np.ndarray, weight: float, dice: float) -> float:
    """Equation (1) with its two options, map by map."""
    m, big_m = sigmoid(logits), np.asarray(maps, np.float64)
    entropy = -np.mean(weight * big_m * np.log(m) + (1 - big_m) * np.log(1 - m))
    losses = []
    for b, k in np.ndindex(m.shape[0], m.shape[3]):
        one, other = m[b, :, :, k], big_m[b, :, :, k]
        losses.append(1 - (2 * np.sum(one * other) + 1) / (np.sum(one) + np.sum(other) + 1))
    return float(entropy + dice * np.mean(losses))


def ap_expected(p: np.ndarray, q: np.ndarray) -> float:
    """Equation (4), for cosines away from 1."""
    p, q = p.astype(np.float64), q.astype(np.float64)
    cosine = [
        np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(p, q, strict=True)
    ]
    return float(np.mean([-np.log(1 - abs(c)) for c in cosine]))


def au_labels() -> np.ndarray:
    return rng().integers(-1, 2, (BATCH, UNITS)).astype(np.float32)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("weight", "dice"), [(1.0, 0.0), (3.5, 0.0), (1.0, 0.7), (0.25, 2.0)])
def test_pi_loss_is_equation_1(weight: float, dice: float, soft: bool) -> None:
    logits = draw(BATCH, SIDE, SIDE, MAPS)
    maps = np.random.default_rng(1).random(logits.shape).astype(np.float32)
    maps = maps if soft else (maps > 0.7).astype(np.float32)
    loss = pi_loss(jnp.asarray(logits), jnp.asarray(maps), positive_weight=weight, dice=dice)
    np.testing.assert_allclose(loss, pi_expected(logits, maps, weight, dice), rtol=2e-6)


def test_pi_loss_is_finite_where_probabilities_are_not_in_float32() -> None:
    logits = jnp.full((1, 2, 2, 1), 200.0)
    loss, slope = jax.value_and_grad(pi_loss)(logits, jnp.zeros((1, 2, 2, 1)))
    np.testing.assert_allclose(loss, 200.0)
    np.testing.assert_allclose(slope, 0.25)


def test_cross_entropy_has_the_cells_and_slopes_of_its_formula() -> None:
    z = np.concatenate([draw(50, scale=4.0), [0.0, -0.0, 30.0, -30.0]]).astype(np.float32)
    y = np.random.default_rng(2).random(len(z)).astype(np.float32)
    y[:6] = 0, 0, 0, 1, 1, 1
    cells = binary_cross_entropy(jnp.asarray(z), jnp.asarray(y))
    peer = optax.sigmoid_binary_cross_entropy(jnp.asarray(z), jnp.asarray(y))
    np.testing.assert_allclose(cells, peer, rtol=2e-6, atol=1e-7)
    total = lambda z, y: binary_cross_entropy(z, y).sum()  # noqa: E731
    by_logit, by_label = jax.grad(total, argnums=(0, 1))(jnp.asarray(z), jnp.asarray(y))
    m = sigmoid(z)
    np.testing.assert_allclose(by_logit, m - y, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(by_label, -z)
    # Feedback differentiates a gradient once more.
    curvature = jax.grad(lambda z: jax.grad(total)(z, jnp.asarray(y)).sum())(jnp.asarray(z))
    np.testing.assert_allclose(curvature, m * (1 - m), rtol=1e-5, atol=1e-7)  # 1 - m in float32


def test_soft_dice_agrees_with_its_closed_form_for_a_perfect_and_an_empty_map() -> None:
    maps = jnp.ones((1, 4, 4, 1))
    perfect, empty = jnp.full(maps.shape, 40.0), jnp.full(maps.shape, -40.0)
    dice = [pi_loss(x, maps, dice=1.0) - pi_loss(x, maps) for x in (perfect, empty)]
    np.testing.assert_allclose(dice, [0, 1 - 1 / 17], atol=1e-5)


def test_au_loss_is_equation_2_over_known_cells() -> None:
    logits, labels = draw(BATCH, UNITS), au_labels()
    assert (labels == -1).any() and (labels == 0).any() and (labels == 1).any()
    loss = au_loss(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(loss, au_expected(logits, labels), rtol=2e-6)


def test_au_loss_agrees_with_optax_and_with_integer_labels() -> None:
    logits = jnp.asarray(draw(BATCH, UNITS))
    labels = jnp.asarray(rng().integers(0, 2, (BATCH, UNITS)), jnp.int32)
    peer = optax.sigmoid_binary_cross_entropy(logits, labels.astype(jnp.float32)).mean()
    np.testing.assert_allclose(au_loss(logits, labels), peer, rtol=1e-6)


def test_au_loss_leaves_out_masked_cells_besides_unknown_ones() -> None:
    logits, labels = draw(BATCH, UNITS), au_labels()
    mask = np.random.default_rng(3).random(labels.shape) < 0.5
    loss = au_loss(jnp.asarray(logits), jnp.asarray(labels), mask=jnp.asarray(mask))
    np.testing.assert_allclose(loss, au_expected(logits, np.where(mask, labels, -1)), rtol=2e-6)


def test_au_loss_has_no_gradient_at_unknown_cells_and_the_residual_elsewhere() -> None:
    logits, labels = draw(BATCH, UNITS), au_labels()
    slope = jax.grad(au_loss)(jnp.asarray(logits), jnp.asarray(labels))
    known = labels >= 0
    expected = np.where(known, sigmoid(logits) - labels, 0) / known.sum()
    np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("size", [1.0, 1e4])
def test_au_loss_without_a_known_cell_is_zero_with_zero_gradient(size: float) -> None:
    logits = jnp.full((BATCH, UNITS), size)
    loss, slope = jax.value_and_grad(au_loss)(logits, jnp.full((BATCH, UNITS), -1.0))
    assert loss == 0
    np.testing.assert_array_equal(slope, np.zeros((BATCH, UNITS)))


def test_ap_loss_is_equation_4() -> None:
    p, q = draw(BATCH, LENGTH), np.random.default_rng(9).normal(size=(BATCH, LENGTH))
    q = q.astype(np.float32)
    np.testing.assert_allclose(
        ap_loss(jnp.asarray(p), jnp.asarray(q)), ap_expected(p, q), rtol=5e-6
    )


def test_ap_loss_is_zero_for_orthogonal_vectors_and_blind_to_length_and_sign() -> None:
    x, y = jnp.eye(4)[:2], jnp.eye(4)[2:]
    assert ap_loss(x, y) == 0
    p, q = jnp.asarray(draw(BATCH, LENGTH)), jnp.asarray(draw(BATCH, LENGTH)[:, ::-1])
    for other in (ap_loss(3 * p, 0.2 * q), ap_loss(-p, q), ap_loss(q, p)):
        np.testing.assert_allclose(other, ap_loss(p, q), rtol=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_ap_loss_of_parallel_vectors_is_finite_and_drives_them_apart(sign: float) -> None:
    p = jnp.asarray(draw(BATCH, LENGTH))
    loss, slope = jax.value_and_grad(ap_loss)(p, sign * p)
    # the tangent's value at |cos| = 1
    np.testing.assert_allclose(loss, 1 - np.log(COSINE_MARGIN), rtol=5e-3)
    assert np.isfinite(slope).all()
    # the exact gradient at parallel vectors is 0: a saddle; beside it, descent must lower |cos|
    near = p.at[:, 0].add(0.1)
    step = near - 1e-4 * jax.grad(ap_loss)(near, sign * p)
    assert ap_loss(step, sign * p) < ap_loss(near, sign * p)


def test_ap_loss_and_slope_go_on_without_a_jump_where_the_tangent_begins() -> None:
    def at(cosine: float) -> tuple[jax.Array, jax.Array]:
        def loss(angle: jax.Array) -> jax.Array:
            p = jnp.stack([jnp.cos(angle), jnp.sin(angle)])[None]
            return ap_loss(p, jnp.array([[1.0, 0.0]]))

        return jax.value_and_grad(loss)(jnp.float32(np.arccos(cosine)))

    knee = 1 - COSINE_MARGIN
    below, above = at(knee - COSINE_MARGIN / 50), at(knee + COSINE_MARGIN / 50)
    np.testing.assert_allclose(above[0], below[0], rtol=2e-2)
    np.testing.assert_allclose(above[1], below[1], rtol=5e-2)


@pytest.mark.parametrize("zero", ["p", "q", "both"])
def test_ap_loss_of_zero_vectors_is_zero_with_finite_gradients(zero: str) -> None:
    p, q = jnp.asarray(draw(2, LENGTH)), jnp.asarray(draw(2, LENGTH)[:, ::-1])
    p = p.at[0].set(0) if zero != "q" else p
    q = q.at[0].set(0) if zero != "p" else q
    loss, slopes = jax.value_and_grad(ap_loss, argnums=(0, 1))(p, q)
    np.testing.assert_allclose(loss, ap_expected(np.asarray(p[1:]), np.asarray(q[1:])) / 2, 1e-5)
    for slope in slopes:
        assert np.isfinite(slope).all()
        # Where |cos| has its smallest value, whatever the other vector.
        np.testing.assert_array_equal(slope[0], 0)
        assert (np.abs(slope[1]) > 0).all()


def test_ap_loss_leaves_orthogonal_vectors_where_they_are() -> None:
    p, q = jnp.eye(4)[:3], jnp.stack([jnp.eye(4)[3], 2 * jnp.eye(4)[0], jnp.zeros(4)])
    for slope in jax.grad(ap_loss, argnums=(0, 1))(p, q):
        np.testing.assert_array_equal(slope, 0)


def test_ap_loss_computes_half_precision_inputs_in_float32() -> None:
    p, q = draw(BATCH, LENGTH), draw(BATCH, LENGTH)[:, ::-1]
    loss = ap_loss(jnp.asarray(p, jnp.bfloat16), jnp.asarray(q, jnp.bfloat16))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, ap_expected(p, q), rtol=0.05)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("length", [0.0, 1e-8, 1e-3, 1.0, 1e4])
def test_ap_loss_has_finite_gradients_from_zero_to_parallel(length: float, dtype: type) -> None:
    """Vectors of any length, from parallel to opposite, up to the rounding of either precision."""
    q = jnp.asarray(draw(BATCH, LENGTH), dtype)
    for angle in (0.0, 1e-4, 1e-2):
        for sign in (1, -1):
            turned = sign * length * (q + angle * q[:, ::-1])
            loss, slopes = jax.value_and_grad(ap_loss, argnums=(0, 1))(turned.astype(dtype), q)
            assert np.isfinite(loss) and all(np.isfinite(np.float32(x)).all() for x in slopes)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [0.0, 5.0, 300.0])
def test_pi_loss_of_empty_maps_has_the_gradient_of_its_formula(size: float, dtype: type) -> None:
    """No pixel inside: the weight counts nowhere, and Dice is 1 - 1 / (sum m + 1)."""
    logits = jnp.asarray(size * np.sign(draw(BATCH, SIDE, SIDE, MAPS)), dtype)
    slope = jax.grad(pi_loss)(logits, jnp.zeros(logits.shape), positive_weight=9.0, dice=0.5)
    m = sigmoid(np.float64(logits.astype(jnp.float32)))
    total = m.sum(axis=(1, 2), keepdims=True) + 1
    expected = m / m.size + 0.5 * m * (1 - m) / total**2 / (BATCH * MAPS)
    np.testing.assert_allclose(
        np.float32(slope), expected, rtol=1e-5 if dtype == jnp.float32 else 0.05, atol=1e-7
    )


@pytest.mark.parametrize("size", [0.0, 300.0])
def test_a_unit_without_positives_and_a_row_without_labels(size: float) -> None:
    """A unit that nobody shows is pushed down, a frame of which nothing is known pushes nowhere."""
    labels = np.ones((BATCH, UNITS), np.float32)
    labels[:, 0], labels[1] = 0, -1
    slope = jax.grad(au_loss)(jnp.full(labels.shape, size), jnp.asarray(labels))
    expected = np.where(labels >= 0, sigmoid(np.full(labels.shape, size)) - labels, 0)
    np.testing.assert_allclose(slope, expected / (labels >= 0).sum(), rtol=1e-6)
    assert (np.asarray(slope)[[0, 2], 0] > 0).all() and not np.asarray(slope)[1].any()


def test_au_loss_with_an_empty_mask_is_zero_with_zero_gradient() -> None:
    logits, labels = jnp.asarray(draw(BATCH, UNITS)), jnp.ones((BATCH, UNITS))
    nothing = jnp.zeros((BATCH, UNITS), bool)
    loss, slope = jax.value_and_grad(au_loss)(logits, labels, mask=nothing)
    assert loss == 0 and not np.asarray(slope).any()


@pytest.mark.parametrize(
    "loss, shapes",
    [
        (au_loss, ((4, 12), (4, 1))),
        (au_loss, ((12, 12), (12,))),
        (pi_loss, ((2, 8, 8, 3), (2, 8, 8, 1))),
        (ap_loss, ((4, 6), (1, 6))),
    ],
)
def test_what_would_broadcast_is_refused(loss: Any, shapes: Any) -> None:
    with pytest.raises(ValueError, match=f"{loss.__name__} takes arrays of one shape"):
        jax.jit(loss)(*map(jnp.ones, shapes))


def test_a_mask_that_would_broadcast_is_refused() -> None:
    with pytest.raises(ValueError, match="au_loss takes arrays of one shape"):
        au_loss(jnp.ones((4, 3)), jnp.ones((4, 3)), mask=jnp.ones((3,), bool))


@pytest.mark.parametrize(
    "weights",
    [(1.1, -0.1, 0.0), (0.5, 0.0, 0.0), (1.0, 1.0, 1.0), (float("nan"), 0.5, 0.5), (0, 0, 0)],
)
def test_loss_weights_refuse_negative_numbers_and_other_sums(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="at least 0 and sum to 1"):
        LossWeights(*weights)


def piap_inputs() -> tuple[Prediction, Targets]:
    maps = (np.random.default_rng(5).random((BATCH, SIDE, SIDE, MAPS)) > 0.6).astype(np.float32)
    prediction = Prediction(
        pi_logits=jnp.asarray(draw(*maps.shape)),
        vector=jnp.asarray(draw(BATCH, LENGTH)),
        au_logits=jnp.asarray(draw(BATCH, UNITS)),
    )
    identity = jnp.asarray(draw(BATCH, LENGTH)[:, ::-1])
    return prediction, Targets(jnp.asarray(maps), identity, jnp.asarray(au_labels()))


def test_piap_loss_is_the_weighted_sum_of_its_parts() -> None:
    prediction, targets = piap_inputs()
    m, p, y = (np.asarray(x) for x in prediction)
    big_m, big_p, big_y = (np.asarray(x) for x in targets)
    expected = {
        "au_loss": au_expected(y, big_y),
        "pi_loss": pi_expected(m, big_m, 2.0, 0.5),
        "ap_loss": ap_expected(p, big_p),
    }
    weights = LossWeights(au=0.5, pi=0.3, ap=0.2)
    loss, parts = piap_loss(prediction, targets, weights, positive_weight=2.0, dice=0.5)
    assert parts.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(parts[name], value, rtol=5e-6)
    total = 0.5 * expected["au_loss"] + 0.3 * expected["pi_loss"] + 0.2 * expected["ap_loss"]
    np.testing.assert_allclose(loss, total, rtol=5e-6)


@pytest.mark.parametrize(
    ("weights", "unused"),
    [
        (LossWeights(1.0, 0.0, 0.0), ("pi_maps", "identity")),
        (LossWeights(0.6, 0.4, 0.0), ("identity",)),
        (LossWeights(0.6, 0.0, 0.4), ("pi_maps",)),
    ],
)
def test_a_part_of_weight_zero_needs_no_input(
    weights: LossWeights, unused: tuple[str, ...]
) -> None:
    prediction, targets = piap_inputs()
    whole, _ = piap_loss(prediction, targets, weights)
    targets = targets._replace(**dict.fromkeys(unused))
    if "pi_maps" in unused:
        prediction = prediction._replace(pi_logits=None)
    loss, parts = piap_loss(prediction, targets, weights)
    assert loss == whole
    left_out = {"pi_loss" if name == "pi_maps" else "ap_loss" for name in unused}
    assert parts.keys() == {"au_loss", "pi_loss", "ap_loss"} - left_out


@pytest.mark.parametrize("missing", ["pi_logits", "pi_maps", "identity"])
def test_a_part_with_a_weight_and_without_its_input_is_an_error(missing: str) -> None:
    prediction, targets = piap_inputs()
    if missing == "pi_logits":
        prediction = prediction._replace(pi_logits=None)
    else:
        targets = targets._replace(**{missing: None})
    with pytest.raises(ValueError, match="L_AP" if missing == "identity" else "L_PI"):
        piap_loss(prediction, targets, LossWeights(0.4, 0.3, 0.3))
