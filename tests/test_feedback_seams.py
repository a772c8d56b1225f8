"""Discrete feedback with parts of the caller's own: label rules, gates, judges, shapes, optimizers, mistakes."""

from typing import NamedTuple

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
    bce,
    clean_apply,
    data,
    learner,
    linear_apply,
    make,
    poison,
    poisoned,
    sigmoid,
    slope,
    start,
    unknown,
    weights,
    whole_and_in_parts,
)

from piapdf_jax.feedback import (
    Gate,
    LabelRule,
    Measurement,
    discrete_gate,
    grad_slope,
    masked_mean,
    threshold,
)
from piapdf_jax.feedback_variants import compile_in_parts

KEY = jax.random.key(0)


# A label rule and a gate with states.


class Tracked(NamedTuple):
    updates: jax.Array
    unlabeled: jax.Array  # moving means of logits
    labeled: jax.Array


def tracking(accept=True):
    """Labels are logits above what the labeled data had; both means move half of the way."""

    def update(logits, key, state):
        labels = (logits >= state.labeled).astype(logits.dtype)
        unlabeled = (state.unlabeled + logits.mean()) / 2
        moved = Tracked(state.updates + 1, unlabeled, state.labeled)
        return labels, jnp.full((1, 1), accept), moved

    def observe(logits, state):
        return state._replace(labeled=(state.labeled + logits.mean()) / 2)

    def begin(params):
        return Tracked(jnp.zeros((), jnp.int32), params["w"].mean(), params["w"].max())

    return LabelRule(update, init=begin, observe=observe)


def clip(fb, key, limit):
    over = jnp.abs(fb) > limit
    c = jnp.where(over, jnp.sign(fb), fb / limit)
    return c, {"clipped": over}, (limit + jnp.abs(fb)) / 2


CLIPPING = Gate(clip, init=lambda params: jnp.abs(params["w"]).max() / 400)


def numpy_trajectory(w_t, w_s, steps):
    """The step with that rule and that gate, from the equations: states of rule and gate, weights."""
    tracked, limit = Tracked(0, w_t.mean(), w_t.max()), np.abs(w_s).max() / 400
    for t in range(steps):
        (x_l, y_l), x_u = batches(t)[0].values(), batches(t)[1]["x"]
        z_l, z_u = np.asarray(x_l) @ w_t, np.asarray(x_u) @ w_t
        y = z_u >= tracked.labeled
        g = slope(w_s, x_u, y)
        w_s = w_s - ETA * g
        fb = np.sum(slope(w_s, x_l, y_l) * g)
        clipped = abs(fb) > limit
        c = np.sign(fb) if clipped else fb / limit
        w_t = w_t - ETA * (c * slope(w_t, x_u, y) + slope(w_t, x_l, y_l))
        limit = (limit + abs(fb)) / 2
        means = (tracked.unlabeled + z_u.mean()) / 2, (tracked.labeled + z_l.mean()) / 2
        tracked = Tracked(t + 1, *means)
        yield tracked, limit, w_t, w_s, clipped


def on_the_host(update):
    return lambda state, *rest: update(jax.tree.map(np.array, state), *rest)


@pytest.mark.parametrize(
    "way",
    [
        lambda step: jax.jit(step.update),
        lambda step: jax.jit(step.update, donate_argnums=0),
        lambda step: compile_in_parts(step).update,
        lambda step: on_the_host(jax.jit(step.update)),
    ],
    ids=["jit", "donated", "parts", "host"],
)
def test_states_of_rule_and_gate_go_through_every_step(way):
    step = make(label=tracking(), gate=CLIPPING)
    update, state, clipped = way(step), start(step), 0
    for t, (*expected, over) in enumerate(numpy_trajectory(*weights(state), 6)):
        state, _ = update(state, *batches(t), jax.random.key(t))
        found = [state.label, state.gate, *weights(state)]
        assert_trees(found, expected, rtol=1e-4, atol=1e-6)
        clipped += over
    assert int(state.label.updates) == 6
    assert 0 < clipped < 6 and int(state.counts["clipped"]) == clipped


def useless(step):
    """A measure that calls its own feedback meaningless."""
    return Measurement(
        *grad_slope(step.labeled_loss, step.new.params, step.student_pass.grads), False
    )


NONE = {}
CASES = {  # the model that breaks, options, x_l, x_u, flags; whether the rule's state moves
    "teacher_labeled": ("teacher", NONE, {"train": np.nan}, NONE, {"teacher_skipped"}, False),
    "teacher_unlabeled": ("teacher", NONE, NONE, {"loss": np.nan}, {"teacher_skipped"}, False),
    "student": ("student", NONE, NONE, {"loss": np.nan}, {"student_skipped", "nonfinite"}, False),
    "feedback": ("student", NONE, {"judged": np.nan}, NONE, {"nonfinite"}, True),
    "unknown": ("unknown", NONE, NONE, NONE, {"no_labels"}, True),
    "unaccepted": ("", {"label": tracking(accept=False)}, NONE, NONE, {"no_labels"}, True),
    "unusable": ("", {"measure": useless}, NONE, NONE, {"unusable"}, True),
}


@pytest.mark.parametrize("case", CASES)
def test_states_stay_in_a_skipped_step(case):
    """The gate's also where there is no feedback."""
    who, options, labeled_poison, unlabeled_poison, flags, moves = CASES[case]
    clean, (labeled, unlabeled) = learner(apply=clean_apply), batches()
    step = make(clean, clean, label=tracking(), gate=CLIPPING)
    first = start(step)
    healthy, info = step.update(first, labeled, unlabeled, KEY)
    assert bool(info.flags["clipped"]) and float(healthy.gate) != float(first.gate)
    assert int(healthy.label.updates) == 1

    models = [poisoned() if name == who else clean for name in ("teacher", "student")]
    step = make(*models, **{"label": tracking(), "gate": CLIPPING, **options})
    labeled = poison(unknown(labeled) if who == "unknown" else labeled, **labeled_poison)
    state, info = step.update(start(step), labeled, poison(unlabeled, **unlabeled_poison), KEY)
    assert_trees(state.label, healthy.label if moves else first.label)
    assert_trees(state.gate, first.gate)
    if flags == {"teacher_skipped"}:  # the gate did open
        flags = flags | {"clipped"}
    else:
        assert float(info.coefficient) == 0
    assert {name for name, flag in info.flags.items() if flag} == flags
    assert {name for name, n in state.counts.items() if n} - {
        "positive",
        "negative",
        "zero",
    } == flags


def test_a_rule_keeps_nothing_of_logits_that_are_not_finite():
    gate = discrete_gate(drop_rate=1.0)  # so that the teacher is supervised
    step = make(poisoned(), learner(apply=clean_apply), label=tracking(), gate=gate)
    first, (labeled, unlabeled) = start(step), batches()
    pair = poison(labeled), poison(unlabeled, train=np.nan)
    state, info = step.update(first, *pair, KEY)
    assert not bool(info.flags["teacher_skipped"])
    seen = (labeled["x"] @ first.teacher.params["w"]).mean()
    expected = first.label._replace(labeled=(first.label.labeled + seen) / 2)
    assert_trees(state.label, expected, rtol=1e-6)


def test_a_gate_whose_coefficient_is_not_finite():
    gate = Gate(
        lambda fb, key, state: (fb * jnp.nan, {"odd": jnp.isfinite(fb)}, state + 1),
        init=lambda params: jnp.zeros((), jnp.int32),
    )
    step = make(gate=gate)
    state, info = step.update(start(step), *batches(), KEY)
    assert float(info.coefficient) == 0 and np.isfinite(float(info.feedback))
    assert {name for name, flag in info.flags.items() if flag} == {"nonfinite"}
    assert int(state.gate) == 0 and int(state.counts["odd"]) == 0
    assert int(state.counts["nonfinite"]) == int(state.counts["zero"]) == 1


@pytest.mark.parametrize("name", ["zero", "nonfinite", "teacher_skipped"])
def test_a_gate_has_flags_of_its_own(name):
    step = make(gate=Gate(lambda fb, key, state: (fb, {name: fb > 0}, state)))
    with pytest.raises(ValueError, match=f"no flag named .*{name}"):
        start(step)


def test_a_rule_reads_unlabeled_data_alone():
    seen = []

    def update(logits, key, state):
        seen.append(logits.shape)
        return threshold().update(logits, key, state)

    (labeled, unlabeled), step = batches(), make(label=LabelRule(update))
    step.update(start(step), labeled, {"x": unlabeled["x"][:5]}, KEY)
    assert seen == [(5, 3)]


def test_diagnostics_of_a_rule():
    def told(teacher, student, labels, mask):
        return {"teacher": teacher, "student": student, "labels": labels, "mask": mask}

    step = make(label=threshold(confidence=0.9)._replace(diagnostics=told))
    first, (labeled, unlabeled) = start(step), batches()
    _, info = step.update(first, labeled, unlabeled, KEY)
    z, other = (np.asarray(unlabeled["x"] @ s.params["w"]) for s in first[1:3])
    np.testing.assert_allclose(info.diagnostics["teacher"], z, rtol=1e-5)
    np.testing.assert_allclose(info.diagnostics["student"], other, rtol=1e-5)
    assert_trees(info.diagnostics["labels"], (z >= 0).astype(np.float32))
    assert_trees(info.diagnostics["mask"], np.maximum(sigmoid(z), sigmoid(-z)) >= 0.9)


def test_a_rule_may_refuse_what_it_is_combined_with():
    def check(measure, gate):
        if gate is CLIPPING:
            raise ValueError(f"not with {measure.__name__}")

    rule = threshold()._replace(check=check)
    make(label=rule)
    with pytest.raises(ValueError, match="not with useless"):
        make(label=rule, measure=useless, gate=CLIPPING)


# Other data for the feedback pass.


@whole_and_in_parts
def test_judge_takes_the_place_of_labeled_data_in_the_feedback_pass_alone(way):
    (labeled, unlabeled), judge = batches(), data(3, b=4, c=3)
    step = way(make(gate=ALWAYS))
    first = start(step)
    state, info = step.update(first, labeled, unlabeled, KEY, judge=judge)
    w_t, w_s = weights(first)
    x_u, x_l = unlabeled["x"], labeled["x"]
    y = np.asarray(x_u) @ w_t >= 0
    g = slope(w_s, x_u, y)
    new = w_s - ETA * g
    fb, of_labeled = (np.sum(slope(new, b["x"], b["y"]) * g) for b in (judge, labeled))
    assert np.sign(fb) != np.sign(of_labeled)
    np.testing.assert_allclose(info.feedback, fb, rtol=1e-4)
    loss = bce(np.asarray(judge["x"]) @ new, judge["y"])
    np.testing.assert_allclose(info.losses["student_labeled"], loss, rtol=1e-5)
    np.testing.assert_allclose(state.student.params["w"], new, rtol=1e-5)
    c = 1.0 if fb > 0 else -0.1
    expected = w_t - ETA * (c * slope(w_t, x_u, y) + slope(w_t, x_l, labeled["y"]))
    np.testing.assert_allclose(state.teacher.params["w"], expected, rtol=1e-5)


def test_labeled_data_judge_where_nothing_else_does():
    step = make(gate=ALWAYS)
    labeled, unlabeled = batches()
    results = [
        step.update(start(step), labeled, unlabeled, KEY, judge) for judge in (None, labeled)
    ]
    assert_trees(*results)


def test_no_labels_is_said_of_the_judge():
    step = make(gate=ALWAYS)
    first, (labeled, unlabeled), judge = start(step), batches(), data(3, b=4, c=3)
    state, info = step.update(first, labeled, unlabeled, KEY, unknown(judge))
    assert bool(info.flags["no_labels"]) and float(info.coefficient) == 0
    w, _ = weights(first)
    expected = w - ETA * slope(w, labeled["x"], labeled["y"])
    np.testing.assert_allclose(state.teacher.params["w"], expected, rtol=1e-5)
    _, info = step.update(first, unknown(labeled), unlabeled, KEY, judge)
    assert not bool(info.flags["no_labels"]) and float(info.coefficient) != 0


def test_labels_of_the_judge_are_one_row_an_example():
    step = make(known_labels=lambda b: (b["y"], jnp.ones_like(b["y"], bool)))
    judge = data(3, b=4, c=3)
    with pytest.raises(ValueError, match=r"labels \(1, 3\)"):
        step.update(start(step), *batches(), KEY, {**judge, "y": judge["y"][:1]})


# Labels of other shapes.


def shaped(shape):
    """The linear model with labels [B, *shape]."""

    def apply(params, model_state, batch, key, mode):
        return (batch["x"] @ params["w"]).reshape(-1, *shape), model_state

    def known(batch):
        y = batch["y"].reshape(-1, *shape)
        return y, y >= 0

    return make(learner(apply=apply), label=threshold(confidence=0.6), known_labels=known)


@pytest.mark.parametrize("shape", [(), (3, 2)])
def test_labels_of_any_shape(shape):
    """One label an example, or more axes of them, give what a row of labels does."""
    c, results = int(np.prod(shape)), []
    labeled, unlabeled = batches(c=c)
    labeled["y"] = labeled["y"].at[0].set(-1)
    for step in (shaped((c,)), shaped(shape)):
        state, info = step.update(start(step, c=c), labeled, unlabeled, KEY)
        results.append(((state, info.feedback, info.accepted, info.losses), info.diagnostics))
    assert 0 < float(info.accepted) < 1
    assert_trees(results[0][0], results[1][0], rtol=1e-5)
    told = [{k: v.ravel() for k, v in diagnostics.items()} for _, diagnostics in results]
    assert_trees(*told, rtol=1e-5)
    assert info.diagnostics["positive_rate"].shape == info.diagnostics["confidence"].shape == shape


def first_column(wide):
    """A step whose masks are of whole examples: [B, 1], or spread over [B, C]."""
    spread = lambda mask: jnp.repeat(mask, 3, axis=1) if wide else mask  # noqa: E731

    def update(logits, key, state):
        labels, mask, state = threshold(confidence=0.6).update(logits, key, state)
        return labels, spread(mask[:, :1].astype(logits.dtype)), state

    return make(label=LabelRule(update), known_labels=lambda b: (b["y"], spread(b["known"])))


def test_masks_broadcast_to_the_labels():
    """What is known or accepted may be said in numbers."""
    known = np.asarray([[1], [0], [1], [1], [0], [1]])
    labeled, unlabeled = ({**b, "known": jnp.asarray(known)} for b in batches())
    first = start(first_column(False))
    narrow, wide = (
        first_column(wide).update(first, labeled, unlabeled, KEY) for wide in (False, True)
    )
    assert_trees(narrow, wide)
    (w, _), info = weights(first), narrow[1]
    p = sigmoid(np.asarray(unlabeled["x"]) @ w[:, 0])
    accepted = (np.maximum(p, 1 - p) >= 0.6).mean()
    assert 0 < accepted < 1
    np.testing.assert_allclose(info.accepted, accepted, rtol=1e-6)
    x_l, y_l = (np.asarray(labeled[name])[known[:, 0] > 0] for name in "xy")
    np.testing.assert_allclose(info.losses["teacher_labeled"], bce(x_l @ w, y_l), rtol=1e-5)


def argmax(logits, key, state):
    probs = jax.nn.softmax(logits)
    return jnp.argmax(probs, axis=1), probs.max(axis=1) >= 0.6, state


def class_loss(z, batch, labels, mask):
    assert labels.dtype == jnp.int32, "known labels take the dtype of the rule's"
    return masked_mean(optax.softmax_cross_entropy_with_integer_labels(z, labels), mask)


@whole_and_in_parts
def test_classes_of_three(way):
    """One whole number an example, beside three logits."""
    labeled, unlabeled = batches(b=8)
    labeled = {"x": labeled["x"], "y": jnp.asarray([0, 1, 2, 2, 1, 0, 1, 9], jnp.uint8)}
    step = way(
        make(
            learner(loss=class_loss),
            label=LabelRule(argmax),
            known_labels=lambda batch: (batch["y"] % 9, batch["y"] < 9),
            gate=ALWAYS,
        )
    )
    first = start(step)
    state, info = step.update(first, labeled, {"x": unlabeled["x"]}, KEY)

    def softmax(z):
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def gradient(w, x, y, mask):
        return x.T @ ((softmax(x @ w) - np.eye(3)[y]) * mask[:, None]) / mask.sum()

    w_t, w_s = weights(first)
    x_u, x_l = (np.asarray(b["x"], np.float64) for b in (unlabeled, labeled))
    probs = softmax(x_u @ w_t)
    pseudo = probs.argmax(axis=1), probs.max(axis=1) >= 0.6
    given = np.asarray([0, 1, 2, 2, 1, 0, 1, 0]), np.arange(8) < 7
    g = gradient(w_s, x_u, *pseudo)
    new = w_s - ETA * g
    fb = np.sum(gradient(new, x_l, *given) * g)
    assert 0 < pseudo[1].mean() < 1
    np.testing.assert_allclose(info.accepted, pseudo[1].mean(), rtol=1e-6)
    np.testing.assert_allclose(info.feedback, fb, rtol=1e-4)
    np.testing.assert_allclose(state.student.params["w"], new, rtol=1e-5)
    c = 1.0 if fb > 0 else -0.1
    moved = c * gradient(w_t, x_u, *pseudo) + gradient(w_t, x_l, *given)
    np.testing.assert_allclose(state.teacher.params["w"], w_t - ETA * moved, rtol=1e-5)


# Mistakes.


MISTAKES = {
    "labels": (lambda b: (b["y"][:, 0], b["y"][:, 0] >= 0), r"labels \(6,\).* unlike \(6, 1\)"),
    "row": (lambda b: (b["y"][:1], b["y"][:1] >= 0), r"labels \(1, 1\)"),
    "mask": (lambda b: (b["y"], b["y"][:, 0] >= 0), r"labels \(6, 1\), mask \(6,\) unlike"),
    "mask rows": (
        lambda b: (b["y"], b["y"][1:] >= 0),
        r"labels \(6, 1\), mask \(5, 1\) unlike",
    ),
    "pair": (lambda b: b["y"], r"known_labels returns a pair \(labels, mask\), not"),
}


@pytest.mark.parametrize(("known", "message"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize("alike", [True, False])
@whole_and_in_parts
def test_mistakes_of_known_labels_are_named(way, alike, known, message):
    step = way(make(known_labels=known))
    labeled, unlabeled = batches(c=1)
    with pytest.raises(ValueError, match=message):
        step.update(start(step, c=1), labeled, unlabeled if alike else {"x": unlabeled["x"]}, KEY)


def test_mistakes_of_models_are_named():
    single = make(learner(apply=lambda *args: linear_apply(*args)[0]))
    with pytest.raises(ValueError, match=r"apply returns a pair \(outputs, model_state\), not"):
        single.update(start(single), *batches(), KEY)
    pair = make(learner(), learner(logits=lambda z: z[:, :2]))
    labeled, unlabeled = batches()
    with pytest.raises(ValueError, match=r"student's logits \(6, 2\) unlike \(6, 3\)"):
        pair.update(start(pair), labeled, {"x": unlabeled["x"]}, KEY)


def test_init_takes_pairs():
    step, params = make(), {"w": jnp.ones((4, 3))}
    for pair in ((params, (params, None)), ((params, None), params)):
        with pytest.raises(ValueError, match=r"a pair \(params, model_state\), not dict"):
            step.init(*pair)


# Optimizers that ask for the loss.


def test_an_optimizer_that_needs_more_than_the_loss_is_refused():
    for models in ((learner(optax.lbfgs()), learner()), (learner(), learner(optax.lbfgs()))):
        with pytest.raises(ValueError, match="the optimizer needs more than `value`"):
            start(make(*models))


def recording():
    """SGD that keeps the last ``value`` it was given."""
    keep = optax.GradientTransformationExtraArgs(
        lambda params: jnp.zeros(()),
        lambda updates, state, params=None, *, value, **extra: (updates, value),
    )
    return optax.chain(keep, optax.sgd(ETA))


@whole_and_in_parts
@pytest.mark.parametrize("drop_rate", [0.0, 1.0])
def test_an_optimizer_is_told_the_loss_that_it_descends(way, drop_rate):
    teacher, student = poisoned(recording()), learner(recording(), apply=clean_apply)
    gate = discrete_gate(drop_rate=drop_rate)
    step = way(make(teacher, student, gate=gate, feedback_weight=0.7))
    first, (labeled, unlabeled) = start(step), batches()
    # Where c is 0, not even a loss that is not finite shows.
    pair = poison(labeled), poison(unlabeled, loss=np.nan if drop_rate else 1.0)
    state, info = step.update(first, *pair, KEY)
    z_t, z_s = (np.asarray(unlabeled["x"] @ s.params["w"]) for s in first[1:3])
    l_l = bce(labeled["x"] @ first.teacher.params["w"], labeled["y"])
    c = float(info.coefficient)
    assert (c == 0) == bool(drop_rate)
    value = l_l if drop_rate else 0.7 * c * bce(z_t, z_t >= 0) + l_l
    np.testing.assert_allclose(state.teacher.opt_state[0], value, rtol=1e-5)
    np.testing.assert_allclose(state.student.opt_state[0], bce(z_s, z_t >= 0), rtol=1e-5)


def test_a_plateau_is_seen():
    """The loss of every step is the best yet or not, and the learning rate falls in time."""
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=2, rtol=0.0, atol=1.0)
    step = make(learner(optax.chain(optax.sgd(ETA), plateau)), gate=discrete_gate(drop_rate=1.0))
    state, update, values = start(step), jax.jit(step.update), []
    for _ in range(4):
        state, info = update(state, *batches(), KEY)
        values.append([float(info.losses[k]) for k in ("teacher_labeled", "student_pseudo")])
    assert np.ptp(values, axis=0).max() < 1, "no step is better by 1"
    for learned, best in zip((state.teacher, state.student), values[0], strict=True):
        np.testing.assert_allclose(learned.opt_state[1].best_value, best, rtol=1e-6)
        assert float(learned.opt_state[1].scale) == 0.5
