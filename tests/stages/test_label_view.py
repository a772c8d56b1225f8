"""A clean view of x_u labels, the augmented one learns: by hand on one weight, and through the networks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_discrete_feedback import AUS, NANO, batch, moved, stage

from piapdf_jax import feedback_variants as variants
from piapdf_jax.batch import FeedbackBatch
from piapdf_jax.feedback import Learner, discrete_feedback, discrete_gate, masked_mean, threshold
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.piap import init_part, network_apply
from piapdf_jax.stages.feedback_learners import ImagesWithTargets, labels_from_clean_view

ETA, THETA, XI = 0.1, 0.5, 0.2
KEY = jax.random.key(0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def scalar(calls=None):
    """z = weight x; the model state counts passes by what they saw."""

    def apply(weight, seen, batch, key, mode):
        if calls is not None:
            calls.append((mode, float(batch.image[0, 0])))
        return weight * batch.image, seen + jnp.sum(batch.image)

    return Learner(
        apply=apply,
        logits=lambda z: z,
        loss=lambda z, batch, y, mask: masked_mean(optax.sigmoid_binary_cross_entropy(z, y), mask),
        optimizer=optax.sgd(ETA),
    )


def step_of(teacher, **more):
    more = {"gate": discrete_gate(drop_rate=0.0), **more}
    known = lambda batch: (batch.targets, batch.targets >= 0)  # noqa: E731
    return discrete_feedback(teacher, scalar(), known_labels=known, **more)


def taken(step, theta=THETA):
    """One step with x_u = 1 augmented and -1 clean, x_l = 2, Y_l = 1."""
    state = step.init((jnp.asarray(theta), jnp.zeros(())), (jnp.asarray(XI), jnp.zeros(())))
    one = jnp.asarray([[1.0]])
    unlabeled = ImagesWithTargets(one, -one, clean=-one)  # pyright: ignore[reportArgumentType]
    return step.update(state, ImagesWithTargets(2 * one, one), unlabeled, KEY)  # pyright: ignore


def test_a_step_by_hand():
    """The clean view says z = -0.5: label 0, where the augmented one would say 0.5: label 1."""
    state, info = taken(step_of(labels_from_clean_view(scalar())))
    g_u, g_xi = sigmoid(THETA * 1) - 0, sigmoid(XI * 1) - 0  # of the augmented view, x_u = 1
    xi = XI - ETA * g_xi
    fb = (sigmoid(2 * xi) - 1) * 2 * g_xi
    assert fb < 0
    g_l = (sigmoid(2 * THETA) - 1) * 2
    np.testing.assert_allclose(info.feedback, fb, rtol=1e-5)
    np.testing.assert_allclose(state.student.params, xi, rtol=1e-5)
    np.testing.assert_allclose(state.teacher.params, THETA - ETA * (-0.1 * g_u + g_l), rtol=1e-5)
    # Running statistics: the augmented view and, the teacher's, then x_l; the clean one leaves none.
    assert float(state.student.model_state) == 1 and float(state.teacher.model_state) == 1 + 2
    # The rates of pseudo labels are those of the view that gives them.
    np.testing.assert_allclose(info.diagnostics["positive_rate"], [0])
    np.testing.assert_allclose(info.diagnostics["confidence"], [1 - 2 * sigmoid(-0.5)], rtol=1e-5)


def test_the_clean_view_goes_through_the_teacher_once_without_dropout_and_x_l_has_none():
    calls = []
    taken(step_of(labels_from_clean_view(scalar(calls))))
    assert calls == [("train", 1.0), ("feedback", -1.0), ("train", 2.0)]


@pytest.mark.parametrize(
    "rule", [threshold, variants.sample, variants.soft, lambda: variants.matched([0.5])]
)
def test_every_label_rule_reads_the_clean_view(rule):
    """Of a sure teacher all labels are 0, where the augmented view would give 1."""
    step = step_of(labels_from_clean_view(scalar()), label=rule(), gate=variants.constant_gate(0.0))
    state, _ = taken(step, theta=50.0)
    np.testing.assert_allclose(state.student.params, XI - ETA * (sigmoid(XI) - 0), rtol=1e-5)


def test_the_exact_gradient_goes_through_the_clean_view():
    """dJ/dtheta of J = L_l(xi - eta (sigmoid(xi) - p)), p = sigmoid(-theta): by the chain rule."""
    step = step_of(
        labels_from_clean_view(scalar()),
        label=variants.soft(),
        measure=variants.exact_teacher_gradient(),
        gate=variants.constant_gate(1.0),
    )
    state, _ = taken(step)
    p = sigmoid(-THETA)
    xi = XI - ETA * (sigmoid(XI) - p)
    meta = (sigmoid(2 * xi) - 1) * 2 * ETA * p * (1 - p) * -1
    g_l = (sigmoid(2 * THETA) - 1) * 2
    np.testing.assert_allclose(state.teacher.params, THETA - ETA * (meta + g_l), rtol=1e-5)


def test_a_loss_of_its_own_on_pseudo_labels_reads_the_augmented_view():
    teacher = scalar()
    doubled = lambda *args: 2 * teacher.loss(*args)  # noqa: E731
    gate = variants.constant_gate(1.0)
    state, _ = taken(
        step_of(labels_from_clean_view(teacher._replace(pseudo_loss=doubled)), gate=gate)
    )
    expected = THETA - ETA * (2 * sigmoid(THETA) + (sigmoid(2 * THETA) - 1) * 2)
    np.testing.assert_allclose(state.teacher.params, expected, rtol=1e-5)


# Through the networks.


@pytest.fixture(scope="module")
def inputs():
    head = init_part(NANO, "head", jax.random.key(1), num_aus=AUS)
    return {"baseline": {"encoder": init_part(NANO, "encoder", jax.random.key(0)), "head": head}}


@pytest.mark.nightly
def test_the_networks_learn_what_the_clean_picture_is_called(inputs):
    made = stage(LossWeights(au=1.0), "baseline", label_view="clean", log_parts=True)
    said = lambda seen: network_apply(NANO, inputs["baseline"], seen.image, mode="feedback")[0]  # noqa: E731
    labels, others = (np.asarray(said(batch(seed)).au_logits) >= 0 for seed in (2, 1))
    assert (labels.mean(0) != others.mean(0)).any()
    state, frozen = made.init(KEY, inputs)
    both = FeedbackBatch(batch(0), batch(1), clean=batch(2).image)
    state, metrics = made.train_step(state, frozen, both, KEY)
    np.testing.assert_allclose(metrics["pseudo_positive_rate"], labels.mean(0), atol=1e-6)
    # There is no other term than L_AU.
    np.testing.assert_allclose(metrics["feedback_au"], metrics["feedback"], rtol=1e-5)
    assert all(moved(inputs["baseline"]["encoder"][0], state.student.params["encoder"]))


@pytest.mark.parametrize(("view", "clean"), [("same", True), ("clean", False)])
def test_a_batch_of_another_kind_is_refused(inputs, view, clean):
    made = stage(LossWeights(au=1.0), "baseline", label_view=view)
    state, frozen = made.init(KEY, inputs)
    both = FeedbackBatch(batch(0), batch(1), clean=batch(2).image if clean else None)
    with pytest.raises(ValueError, match=f"df.label_view={view}, but the batch has"):
        made.train_step(state, frozen, both, KEY)
