"""The feedback of one term of the student's loss, by hand on one weight: z = xi x."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from piapdf_jax.feedback import (
    Learner,
    discrete_feedback,
    discrete_gate,
    masked_mean,
    student_slope,
)
from piapdf_jax.feedback_variants import compile_in_parts, jvp_slope, scaled_slope, with_part

ETA, XI, X_U, X_L = 0.1, 0.4, 1.0, 2.0


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def entropy(z, batch, y, mask):
    return 0.5 * masked_mean(optax.sigmoid_binary_cross_entropy(z, y), mask)


def both(z, batch, y, mask):
    """Half the cross entropy, and 3 z^2 / 2, which asks for no label."""
    return entropy(z, batch, y, mask) + 1.5 * jnp.mean(z**2)


LEARNER = Learner(
    apply=lambda weight, state, batch, key, mode: (weight * batch["x"], state),
    logits=lambda z: z,
    loss=both,
    optimizer=optax.sgd(ETA),
)


@pytest.mark.parametrize("way", [lambda step: step, compile_in_parts], ids=["whole", "parts"])
@pytest.mark.parametrize(
    ("measure", "unit"),
    [(student_slope(), 1), (student_slope(jvp_slope), 1), (scaled_slope(0.25), 0.25)],
)
def test_a_term_has_its_share_of_the_feedback_and_changes_no_other_number(measure, unit, way):
    ends = []
    for one in (measure, with_part(measure, "labels_alone", entropy)):
        known = lambda batch: (batch["y"], batch["y"] >= 0)  # noqa: E731
        gate = discrete_gate(drop_rate=0.0)
        step = way(discrete_feedback(LEARNER, LEARNER, known_labels=known, measure=one, gate=gate))
        state = step.init((jnp.asarray(XI), None), (jnp.asarray(XI), None))
        labeled = {"x": jnp.asarray([[X_L]]), "y": jnp.asarray([[1.0]])}
        ends.append(step.update(state, labeled, {"x": jnp.asarray([[X_U]])}, jax.random.key(0)))
    (state, info), (same, told) = ends
    # Y_p = 1, as sigma(0.4) >= 0.5.
    by_labels, free = 0.5 * (sigmoid(XI * X_U) - 1) * X_U, 3 * XI * X_U**2
    xi = XI - ETA * (by_labels + free)
    g_l = 0.5 * (sigmoid(xi * X_L) - 1) * X_L + 3 * xi * X_L**2
    np.testing.assert_allclose(told.feedback, unit * g_l * (by_labels + free), rtol=1e-5)
    np.testing.assert_allclose(told.diagnostics["labels_alone"], unit * g_l * by_labels, rtol=1e-5)
    assert float(told.feedback) > 0 > float(told.diagnostics["labels_alone"])
    told = told._replace(diagnostics=info.diagnostics)
    chex.assert_trees_all_equal((state, info), (same, told))
    assert "labels_alone" not in info.diagnostics
