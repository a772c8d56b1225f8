"""Discrete feedback where something is missing or not finite: it moves nothing, and is counted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from feedback_problem import (
    ALWAYS,
    ETA,
    assert_trees,
    batches,
    clean_apply,
    counter,
    finite,
    learner,
    make,
    poison,
    poisoned,
    sigmoid,
    start,
    supervised,
    unknown,
    whole_and_in_parts,
)

from piapdf_jax.feedback import Measurement, discrete_gate, masked_mean, threshold
from piapdf_jax.feedback_variants import (
    constant_gate,
    continuous_gate,
    exact_teacher_gradient,
    scaled_slope,
    soft,
)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("gate", [discrete_gate(drop_rate=1.0), continuous_gate(decay=0.9)])
def test_gate_of_what_is_not_finite(gate, bad):
    step = make(measure=lambda made: Measurement(jnp.asarray(bad), jnp.zeros(())), gate=gate)
    kept = jax.tree.map(lambda x: x + 0.25, start(step).gate)
    first = start(step)._replace(gate=kept)
    state, info = step.update(first, *batches(), jax.random.key(0))
    assert float(info.coefficient) == 0 and bool(info.flags["nonfinite"])
    assert not bool(info.flags.get("dropped", False))
    assert_trees(state.gate, kept)


@whole_and_in_parts
@pytest.mark.parametrize(
    "options",
    [
        {"gate": discrete_gate(drop_rate=1.0)},
        {"measure": scaled_slope(ETA), "gate": continuous_gate(decay=0.9)},
        {"label": soft(), "measure": exact_teacher_gradient(), "gate": constant_gate(1.0)},
        {"gate": constant_gate(1.0)},
    ],
    ids=["discrete", "continuous", "exact", "constant"],
)
def test_feedback_that_is_not_finite(options, way):
    labeled, unlabeled = batches()
    step, none = way(make(poisoned(), **options)), make(poisoned(), gate=constant_gate(0.0))
    first = start(step, model_state=counter())
    bad = poison(labeled, judged=jnp.nan)
    state, info = step.update(first, bad, poison(unlabeled), jax.random.key(0))
    assert float(info.coefficient) == 0 and bool(info.flags["nonfinite"])
    assert not bool(info.flags.get("dropped", False))
    assert int(state.counts["nonfinite"]) == 1 and int(state.counts["zero"]) == 1
    assert_trees(state.gate, first.gate)
    begun = start(none, model_state=counter())
    expected, _ = none.update(begun, bad, poison(unlabeled), jax.random.key(0))
    assert_trees(state.teacher.params, expected.teacher.params, rtol=1e-6)
    assert not bool(info.flags["teacher_skipped"]) and not bool(info.flags["student_skipped"])


BROKEN = {
    "logits": {"train": np.float32([[np.nan]] + 5 * [[1]])},  # of one example
    "loss": {"loss": np.inf},
    "state": {"state": np.nan},
    "gradient": {"slope": 0.0},
}
broken = pytest.mark.parametrize("where", BROKEN.values(), ids=BROKEN)


def after_unlabeled(state, unlabeled):
    """The teacher's state with the model state that its pass on x_u leaves."""
    _, model_state = clean_apply(state.params, state.model_state, unlabeled, None, "train")
    return state._replace(model_state=model_state)


@whole_and_in_parts
@broken
def test_student_that_is_not_finite_stays(way, where):
    labeled, unlabeled = batches()
    student, teacher = poisoned(optax.adam(ETA)), learner(optax.adam(ETA), apply=clean_apply)
    step = way(make(teacher, student))
    first = start(step, model_state=counter())
    pair = poison(labeled), poison(unlabeled, **where)
    state, info = step.update(first, *pair, jax.random.key(0))
    assert_trees(state.student, first.student)
    assert bool(info.flags["student_skipped"]) and bool(info.flags["nonfinite"])
    assert float(info.coefficient) == 0
    begun = after_unlabeled(first.teacher, unlabeled)
    expected = supervised(teacher, begun, labeled, labeled["y"])
    assert_trees(state.teacher, expected, rtol=1e-5)
    assert int(state.teacher.model_state[0]) == 2
    assert int(state.counts["student_skipped"]) == 1 and int(state.step) == 1
    assert int(state.counts["teacher_skipped"]) == 0


@broken
def test_teacher_that_is_not_finite_on_labeled_data_stays(where):
    labeled, unlabeled = batches()
    step = make(poisoned(optax.adam(ETA)), learner(optax.adam(ETA), apply=clean_apply))
    first = start(step, model_state=counter())
    pair = poison(labeled, **where), poison(unlabeled)
    state, info = step.update(first, *pair, jax.random.key(0))
    assert_trees(state.teacher, first.teacher)
    assert bool(info.flags["teacher_skipped"]) and int(state.counts["teacher_skipped"]) == 1
    assert finite(state.student) and int(state.student.model_state[0]) == 1
    assert not bool(info.flags["student_skipped"])


@pytest.mark.parametrize("gate", [ALWAYS, discrete_gate(drop_rate=1.0)], ids=["open", "dropped"])
@broken
def test_teacher_that_is_not_finite_on_unlabeled_data_is_supervised_where_c_is_0(where, gate):
    """And stays where c is not 0. What that pass left of the model state counts if it is finite."""
    labeled, unlabeled = batches()
    teacher = poisoned(optax.adam(ETA))
    step = make(teacher, learner(optax.adam(ETA), apply=clean_apply), gate=gate)
    first = start(step, model_state=counter())
    pair = poison(labeled), poison(unlabeled, **where)
    state, info = step.update(first, *pair, jax.random.key(0))
    assert int(state.student.model_state[0]) == 1 and not bool(info.flags["student_skipped"])
    dropped = gate is not ALWAYS
    assert (float(info.coefficient) == 0) == dropped
    assert bool(info.flags["teacher_skipped"]) != dropped
    assert int(state.counts["teacher_skipped"]) == (not dropped)
    if not dropped:
        assert_trees(state.teacher, first.teacher)
        return
    kept = where == BROKEN["gradient"]
    begun = after_unlabeled(first.teacher, unlabeled) if kept else first.teacher
    assert_trees(state.teacher, supervised(teacher, begun, pair[0], labeled["y"]))
    assert int(state.teacher.model_state[0]) == 1 + kept


def test_teacher_whose_logits_are_all_nan_labels_nothing_and_is_supervised():
    labeled, unlabeled = batches()
    teacher = poisoned(optax.adam(ETA))
    step = make(teacher, learner(optax.adam(ETA), apply=clean_apply), gate=ALWAYS)
    first = start(step, model_state=counter())
    pair = poison(labeled), poison(unlabeled, train=jnp.nan)
    state, info = step.update(first, *pair, jax.random.key(0))
    assert float(info.accepted) == 0 and bool(info.flags["no_labels"])
    assert_trees(state.teacher, supervised(teacher, first.teacher, pair[0], labeled["y"]))
    assert finite(state)


@pytest.mark.parametrize("reduce", [masked_mean, lambda cells, mask: cells.mean(where=mask)])
def test_loss_of_an_empty_mask(reduce):
    """The teacher is supervised; the student stays where the loss is NaN, else steps on nothing."""
    loss = lambda z, b, y, mask: reduce(optax.sigmoid_binary_cross_entropy(z, y), mask)  # noqa: E731
    model = learner(optax.adam(ETA), loss=loss)
    step = make(model, label=threshold(confidence=0.999999))
    labeled, unlabeled = batches()
    first = start(step)
    state, info = step.update(first, labeled, unlabeled, jax.random.key(0))
    assert float(info.accepted) == 0 and bool(info.flags["no_labels"])
    assert_trees(state.teacher, supervised(model, first.teacher, labeled, labeled["y"]))
    assert not bool(info.flags["teacher_skipped"])
    skipped = reduce is not masked_mean
    assert bool(info.flags["student_skipped"]) == skipped == int(state.counts["student_skipped"])
    assert_trees(state.student.params, first.student.params)
    assert int(optax.tree.get(state.student.opt_state, "count")) == (not skipped)


def test_no_known_label():
    labeled, unlabeled = batches()
    step = make(gate=constant_gate(1.0))
    state, info = step.update(start(step), unknown(labeled), unlabeled, jax.random.key(0))
    assert bool(info.flags["no_labels"]) and float(info.coefficient) == 0
    assert_trees(state.teacher.params, start(step).teacher.params)
    assert int(state.counts["no_labels"]) == 1 and not bool(info.flags["nonfinite"])


def test_no_accepted_pseudo_label_and_a_masked_cell():
    labeled, unlabeled = batches()
    step = make(label=threshold(confidence=0.999999))
    state, info = step.update(start(step), labeled, unlabeled, jax.random.key(0))
    assert bool(info.flags["no_labels"]) and float(info.coefficient) == 0
    assert float(info.accepted) == 0 and not np.asarray(info.diagnostics["positive_rate"]).any()
    assert_trees(state.student.params, start(step).student.params)
    step = make(label=threshold(confidence=0.9))
    first = start(step)
    state, info = step.update(first, labeled, unlabeled, jax.random.key(0))
    p = sigmoid(unlabeled["x"] @ first.teacher.params["w"])
    mask = np.maximum(p, 1 - p) >= 0.9
    assert 0 < mask.sum() < mask.size
    np.testing.assert_allclose(info.accepted, mask.mean(), rtol=1e-6)
    x, w = np.asarray(unlabeled["x"]), np.asarray(first.student.params["w"])
    residual = (sigmoid(x @ w) - (p >= 0.5)) * mask / mask.sum()
    np.testing.assert_allclose(
        state.student.params["w"], w - ETA * x.T @ residual, rtol=1e-4, atol=1e-6
    )
