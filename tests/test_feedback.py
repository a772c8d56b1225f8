"""Discrete feedback in float32: gates, reductions, states, refusals, compilation."""

import doctest
import functools
import hashlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from piapdf_jax import feedback
from piapdf_jax.feedback import (
    Learner,
    continuous,
    discrete_feedback,
    discretize,
    exact_teacher_gradient,
    pseudo_labels,
    student_feedback,
)

ETA = 0.1


def known_labels(batch):
    return batch["y"], batch["y"] >= 0


def masked_bce(z, batch, labels, mask):
    cells = optax.sigmoid_binary_cross_entropy(z, labels)
    return jnp.sum(cells, where=mask) / jnp.maximum(jnp.sum(mask), 1).astype(z.dtype)


def linear_apply(params, model_state, batch, key, mode):
    del key, mode
    return batch["x"] @ params["w"], model_state


def identity(outputs):
    return outputs


def linear(optimizer=None, **options):
    options = {"apply": linear_apply, "logits": identity, "loss": masked_bce} | options
    return Learner(optimizer=optimizer or optax.sgd(ETA), **options)


def mlp_apply(params, model_state, batch, key, mode):
    hidden = jnp.tanh(batch["x"] @ params["a"] + params["b"][None])
    if mode == "train":
        hidden *= jax.random.bernoulli(key, 0.7, hidden.shape).astype(hidden.dtype)
    return hidden @ params["c"], model_state


def mlp_params(seed, d=4, h=5, c=3):
    keys = jax.random.split(jax.random.key(seed), 2)
    return {
        "a": jax.random.normal(keys[0], (d, h)),
        "b": jnp.full((h,), 0.1),
        "c": jax.random.normal(keys[1], (h, c)),
    }


def batches(seed=0, b=6, d=4, c=3):
    rng = np.random.default_rng(seed)
    made = [{"x": rng.normal(size=(b, d)), "y": rng.integers(0, 2, size=(b, c))} for _ in range(2)]
    return [{k: jnp.asarray(v, jnp.float32) for k, v in batch.items()} for batch in made]


def make(teacher=None, student=None, **options):
    teacher = teacher or linear()
    return discrete_feedback(teacher, student or teacher, known_labels=known_labels, **options)


def start(step, d=4, c=3, seed=0, model_state=None):
    rng = np.random.default_rng(seed)
    params = [{"w": jnp.asarray(rng.normal(size=(d, c)), jnp.float32)} for _ in range(2)]
    return step.init((params[0], model_state), (params[1], model_state))


def assert_trees(a, b, **tolerance):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if tolerance:
            np.testing.assert_allclose(np.asarray(x), np.asarray(y), **tolerance)
        else:
            np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


# Numbers worked by hand.


def test_module_docstring_computes_what_it_says():
    with warnings.catch_warnings():
        result = doctest.testmod(feedback)
    assert result.attempted >= 10
    assert result.failed == 0


SCALAR = {  # y_l: fb, theta' at sigma = 1, theta' at sigma = 0
    1.0: (0.342023295951, 0.591542351154, 0.553788284274),
    0.0: (-0.558308709424, 0.350012877586, 0.353788284274),
}


@pytest.mark.parametrize("label", [1.0, 0.0])
@pytest.mark.parametrize("estimator", ["grad", "jvp", "vjp"])
def test_scalar_logistic_by_hand(label, estimator):
    unlabeled, labeled = {"x": jnp.ones((1, 1))}, {"x": jnp.full((1, 1), 2.0)}
    labeled["y"] = jnp.full((1, 1), label)
    raw, kept, dropped = SCALAR[label]
    for drop_rate, theta in ((0.0, kept), (1.0, dropped)):
        step = make(drop_rate=drop_rate, estimator=estimator)
        state = step.init(
            ({"w": jnp.full((1, 1), 0.5)}, None), ({"w": jnp.full((1, 1), 0.2)}, None)
        )
        state, info = step.update(state, labeled, unlabeled, jax.random.key(0))
        np.testing.assert_allclose(info.feedback, raw, rtol=2e-6)
        np.testing.assert_allclose(state.student.params["w"], 0.245016600269, rtol=2e-6)
        np.testing.assert_allclose(state.teacher.params["w"], theta, rtol=2e-6)


# Labels.


def test_pseudo_labels_threshold_and_confidence():
    logits = jnp.asarray([[0.0, -1e-3, 3.0, -3.0, jnp.nan]])
    labels, mask = pseudo_labels(logits)
    assert labels.tolist() == [[1, 0, 1, 0, 0]]
    assert mask.tolist() == [[True, True, True, True, False]]
    _, mask = pseudo_labels(logits, confidence=0.9)
    assert mask.tolist() == [[False, False, True, True, False]]
    labels, _ = pseudo_labels(logits, threshold=0.96)
    assert labels.tolist() == [[0, 0, 0, 0, 0]]


def test_pseudo_labels_sample_follows_the_probabilities():
    probs = np.asarray([0.02, 0.3, 0.5, 0.9])
    logits = jnp.tile(jnp.asarray(np.log(probs / (1 - probs)), jnp.float32)[None], (40_000, 1))
    labels, mask = pseudo_labels(logits, jax.random.key(3), kind="sample")
    assert set(np.unique(labels)) == {0, 1} and bool(mask.all())
    error = np.abs(np.asarray(labels).mean(0) - probs)
    assert (error < 5 * np.sqrt(probs * (1 - probs) / 40_000)).all()
    never = jnp.full((1000, 1), -jnp.inf)
    assert float(pseudo_labels(never, jax.random.key(0), kind="sample")[0].sum()) == 0
    with pytest.raises(ValueError, match="needs a key"):
        pseudo_labels(logits, kind="sample")


def test_pseudo_labels_carry_no_gradient():
    for kind in ("threshold", "sample", "soft"):
        grad = jax.grad(lambda z: pseudo_labels(z, jax.random.key(0), kind=kind)[0].sum())  # noqa: B023
        assert not np.asarray(grad(jnp.ones((2, 2)))).any()


def test_soft_labels_of_the_same_pass_have_no_gradient():
    step = make(variant="none", labels="soft")
    labeled, unlabeled = batches()
    _, soft = step.update(start(step), labeled, unlabeled, jax.random.key(0))
    _, hard = make().update(start(step), labeled, unlabeled, jax.random.key(0))
    assert float(soft.gradient_norms["teacher_pseudo"]) < 1e-6
    assert float(hard.gradient_norms["teacher_pseudo"]) > 1e-2


def flipping_apply(params, model_state, batch, key, mode):
    """Logits whose signs are drawn anew in every pass; their sizes never change."""
    z = batch["x"] @ params["w"]
    if mode == "train":
        z *= jnp.sign(jax.random.bernoulli(key, 0.5, z.shape).astype(z.dtype) - 0.5)
    return z, model_state


@pytest.mark.parametrize("phases", [False, True])
def test_pseudo_labels_come_from_the_pass_that_gives_the_gradient(phases):
    """Labels of the same pass always agree with it: the loss is softplus(-|z|), whatever is drawn."""
    labeled, unlabeled = batches()
    weights = {"w": jax.random.normal(jax.random.key(1), (4, 3))}
    step = make(linear(apply=flipping_apply), phases=phases)
    sizes = np.abs(np.asarray(unlabeled["x"], np.float64) @ np.asarray(weights["w"], np.float64))
    agreeing, other = np.log1p(np.exp(-sizes)).mean(), np.log1p(np.exp(sizes)).mean()
    assert other > 2 * agreeing
    for seed in range(8):
        start = step.init((weights, None), (weights, None))
        _, info = step.update(start, labeled, unlabeled, jax.random.key(seed))
        np.testing.assert_allclose(info.losses["teacher_pseudo"], agreeing, rtol=1e-5)
        assert float(info.losses["student_pseudo"]) > 1.2 * agreeing  # its own draws, given labels


# The feedback.


def test_estimators_agree_in_float32():
    labeled, _ = batches(1)
    params, direction = mlp_params(0), mlp_params(1)

    def loss(p):
        z, _ = mlp_apply(p, None, labeled, jax.random.key(0), "feedback")
        return masked_bce(z, labeled, *known_labels(labeled))

    values = {e: student_feedback(loss, params, direction, estimator=e) for e in ("grad", "jvp")}
    fb, value = student_feedback(loss, params, direction, estimator="vjp")
    for other, other_value in values.values():
        np.testing.assert_allclose(other, fb, rtol=1e-4)
        np.testing.assert_allclose(other_value, value, rtol=1e-6)
    h = 1e-2
    back, forth = (
        loss(jax.tree.map(lambda p, d: p - w * d, params, direction))  # noqa: B023
        for w in (h, -h)
    )
    np.testing.assert_allclose(-(back - forth) / (2 * h), fb, rtol=2e-2)


@pytest.mark.parametrize("estimator", ["grad", "vjp"])
def test_half_precision_parameters_are_summed_in_float32(estimator):
    n = 4097  # no bfloat16 number
    params = jnp.zeros(n, jnp.bfloat16)
    fb, _ = student_feedback(lambda p: p.sum(), params, jnp.ones_like(params), estimator=estimator)
    assert fb.dtype == jnp.float32
    assert float(fb) == n
    _, loss = student_feedback(lambda p: p[0] + 3, params, params, estimator=estimator)
    assert loss.dtype == jnp.float32 and float(loss) == 3


@pytest.mark.parametrize("estimator", ["grad", "jvp", "vjp"])
def test_orthogonal_gradients_give_exactly_zero_and_that_is_not_positive(estimator):
    step = make(estimator=estimator, drop_rate=0.0)
    unlabeled, labeled = {"x": jnp.asarray([[1.0, 0.0]])}, {"x": jnp.asarray([[0.0, 1.0]])}
    labeled["y"] = jnp.ones((1, 1))
    _, info = step.update(start(step, d=2, c=1), labeled, unlabeled, jax.random.key(0))
    assert float(info.feedback) == 0
    assert float(info.coefficient) == np.float32(-0.1)
    zero = jnp.asarray([0.0, -0.0])
    gate, _ = discretize(zero, jax.random.key(0), drop_rate=0.0)
    assert gate.tolist() == [np.float32(-0.1)] * 2


def test_difference_is_old_minus_new():
    labeled, _ = batches(2)

    def loss(p):
        return masked_bce(labeled["x"] @ p, labeled, *known_labels(labeled))

    old = jnp.zeros((4, 3))
    new = old - 0.5 * jax.grad(loss)(old)
    fb, value = student_feedback(loss, new, old, estimator="difference", old_params=old)
    assert float(fb) > 0
    np.testing.assert_allclose(fb, loss(old) - loss(new))
    np.testing.assert_allclose(value, loss(new))
    fb, _ = student_feedback(loss, old, old, estimator="difference", old_params=old)
    assert float(fb) == 0
    with pytest.raises(ValueError, match="old_params"):
        student_feedback(loss, new, old, estimator="difference")


# The gate.


def test_sigma_frequency_and_support():
    keys = jax.random.split(jax.random.key(11), 20_000)
    raw = jnp.asarray(np.random.default_rng(0).normal(size=20_000), jnp.float32)
    gate, dropped = jax.jit(jax.vmap(discretize))(raw, keys)
    gate, dropped, raw = np.asarray(gate), np.asarray(dropped), np.asarray(raw)
    assert 853 <= (gate == 0).sum() <= 1154
    assert (dropped == (gate == 0)).all()
    assert set(np.unique(gate)) == {np.float32(-0.1), 0, 1}
    assert ((gate > 0) == ((raw > 0) & ~dropped)).all()
    _, flipped = jax.jit(jax.vmap(discretize))(-raw, keys)
    assert (np.asarray(flipped) == dropped).all()


def test_sigma_on_positive_only():
    keys = jax.random.split(jax.random.key(12), 20_000)
    raw = jnp.asarray(np.random.default_rng(0).normal(size=20_000), jnp.float32)
    gate, _ = jax.jit(jax.vmap(functools.partial(discretize, drop_on="positive")))(raw, keys)
    gate, raw = np.asarray(gate), np.asarray(raw)
    assert (gate[raw <= 0] == np.float32(-0.1)).all()
    share = (gate[raw > 0] == 0).mean()
    assert 0.036 < share < 0.064


def test_gate_of_what_is_not_finite():
    for bad in (jnp.nan, jnp.inf, -jnp.inf):
        gate, dropped = discretize(jnp.asarray(bad), jax.random.key(0), drop_rate=1.0)
        assert float(gate) == 0 and not bool(dropped)
        c, b = continuous(jnp.asarray(bad), jnp.asarray(0.25), decay=0.9)
        assert float(c) == 0 and float(b) == 0.25


def test_gate_values_are_the_callers():
    raw = jnp.asarray([2.0, -2.0])
    gate, _ = discretize(raw, jax.random.key(0), positive=0.5, negative=-2.0, drop_rate=0.0)
    assert gate.tolist() == [0.5, -2.0]


def test_continuous_updates_its_baseline_first():
    b, c, expected = jnp.asarray(0.0), None, 0.0
    for raw in (1.0, -2.0, 0.5):
        c, b = continuous(jnp.asarray(raw), b, scale=0.1, decay=0.9)
        expected = 0.9 * expected + 0.1 * 0.1 * raw
        np.testing.assert_allclose(b, expected, rtol=1e-6)
        np.testing.assert_allclose(c, 0.1 * raw - expected, rtol=1e-6)
    c, b = continuous(jnp.asarray(3.0), jnp.asarray(7.0), scale=0.5)
    assert (float(c), float(b)) == (1.5, 7.0)


def test_continuous_scales_by_learning_rate_schedule_and_cosine():
    labeled, unlabeled = batches()
    key = jax.random.key(0)
    schedule = optax.linear_schedule(0.4, 0.0, 4)
    step = make(variant="continuous", learning_rate=schedule)
    state = start(step)
    for t in range(3):
        state, info = step.update(state, labeled, unlabeled, key)
        np.testing.assert_allclose(info.coefficient, info.feedback * 0.1 * (4 - t), rtol=1e-6)
    step = make(variant="continuous", cosine=True, estimator="vjp")
    first = start(step)
    state, info = step.update(first, labeled, unlabeled, key)
    y = (unlabeled["x"] @ first.teacher.params["w"] >= 0).astype(jnp.float32)
    g_u = jax.grad(lambda w: optax.sigmoid_binary_cross_entropy(unlabeled["x"] @ w, y).mean())(
        first.student.params["w"]
    )
    g_l = jax.grad(
        lambda w: optax.sigmoid_binary_cross_entropy(labeled["x"] @ w, labeled["y"]).mean()
    )(state.student.params["w"])
    cosine = jnp.sum(g_u * g_l) / jnp.linalg.norm(g_u) / jnp.linalg.norm(g_l)
    np.testing.assert_allclose(info.coefficient, cosine, rtol=1e-5)


def test_a_step_without_use_moves_neither_baseline_nor_schedule():
    labeled, unlabeled = batches()
    schedule = optax.linear_schedule(0.4, 0.0, 4)
    options = {"variant": "continuous", "learning_rate": schedule, "baseline_decay": 0.9}
    step = make(linear(), linear(apply=poisoned_apply), **options)
    update = jax.jit(step.update)
    key = jax.random.key(0)
    first, _ = update(start(step), poison(labeled), poison(unlabeled), key)
    assert float(first.baseline) != 0
    unknown = {**labeled, "y": jnp.full_like(labeled["y"], -1.0)}
    state, info = update(first, poison(unknown), poison(unlabeled), key)
    assert float(info.feedback) == 0 and float(info.coefficient) == 0
    assert float(state.baseline) == float(first.baseline)
    state, info = update(first, poison(labeled), poison(unlabeled, train=jnp.nan), key)
    assert bool(info.flags["student_skipped"])
    assert float(state.baseline) == float(first.baseline)
    after, info = update(state, poison(labeled), poison(unlabeled), key)
    scaled = 0.3 * float(info.feedback)  # the student's second step, the third attempt
    np.testing.assert_allclose(after.baseline, 0.9 * first.baseline + 0.1 * scaled, rtol=1e-5)


# Reductions.


def supervised_and_pseudo_labeled(state, labeled, unlabeled, optimizer):
    """What teacher and student do without any feedback, written without the module."""

    def loss(params, x, y):
        return optax.sigmoid_binary_cross_entropy(x @ params["w"], y).mean()

    teacher, student = state.teacher, state.student
    y = (jax.nn.sigmoid(unlabeled["x"] @ teacher.params["w"]) >= 0.5).astype(jnp.float32)
    moved = []
    for learner, x, labels in (
        (teacher, labeled["x"], labeled["y"]),
        (student, unlabeled["x"], y),
    ):
        grads = jax.grad(loss)(learner.params, x, labels)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = optimizer.update(grads, learner.opt_state, learner.params)
        moved.append((optax.apply_updates(learner.params, updates), opt_state))
    return moved


@pytest.mark.parametrize("options", [{"drop_rate": 1.0}, {"variant": "none"}])
def test_without_feedback_the_teacher_is_supervised_bitwise(options):
    optimizer = optax.adam(0.05)
    plain = linear(
        optimizer,
        loss=lambda z, batch, y, mask: optax.sigmoid_binary_cross_entropy(z, y).mean(),
    )
    step = make(plain, **options)
    state = start(step)
    for t in range(3):
        labeled, unlabeled = batches(t)
        expected = supervised_and_pseudo_labeled(state, labeled, unlabeled, optimizer)
        state, info = step.update(state, labeled, unlabeled, jax.random.key(t))
        assert float(info.coefficient) == 0
        for learner, (params, opt_state) in zip(state[1:3], expected, strict=True):
            assert_trees(learner.params, params)
            assert_trees(learner.opt_state, opt_state)


def test_student_does_not_depend_on_the_gate_within_a_step():
    labeled, unlabeled = batches()
    students = []
    for options in ({"drop_rate": 0.0}, {"drop_rate": 1.0}, {"variant": "constant"}):
        step = make(**options)
        state, _ = step.update(start(step), labeled, unlabeled, jax.random.key(0))
        students.append(state.student)
    assert_trees(students[0], students[1])
    assert_trees(students[0], students[2])


def two_part_loss(z, batch, labels, mask):
    """0.6 L_AU + 0.4 L_fixed, with a fixed target carried in the batch."""
    return 0.6 * masked_bce(z, batch, labels, mask) + 0.4 * fixed_part(z, batch)


def fixed_part(z, batch):
    return jnp.mean((z - batch["target"]) ** 2)


def test_teacher_gradient_is_c_times_one_plus_the_other():
    labeled, unlabeled = ({**b, "target": 0.3 * b["y"] - 0.5} for b in batches(3))
    optimizer = optax.sgd(1.0)
    score = lambda z, batch, labels, mask: 0.6 * masked_bce(z, batch, labels, mask)  # noqa: E731
    learner = linear(optimizer, loss=two_part_loss, score_loss=score)
    moved = {}
    for term in ("full", "score"):
        step = make(learner, drop_rate=0.0, teacher_term=term, feedback_weight=0.5)
        first = start(step)
        state, info = step.update(first, labeled, unlabeled, jax.random.key(0))
        moved[term] = first.teacher.params["w"] - state.teacher.params["w"]
    theta = first.teacher.params["w"]
    y = (unlabeled["x"] @ theta >= 0).astype(jnp.float32)
    ones = jnp.ones_like(y, bool)
    g_u = jax.grad(lambda w: two_part_loss(unlabeled["x"] @ w, unlabeled, y, ones))(theta)
    g_l = jax.grad(lambda w: two_part_loss(labeled["x"] @ w, labeled, labeled["y"], ones))(theta)
    g_fixed = jax.grad(lambda w: 0.4 * fixed_part(unlabeled["x"] @ w, unlabeled))(theta)
    c = 0.5 * float(info.coefficient)
    np.testing.assert_allclose(moved["full"], c * g_u + g_l, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved["full"] - moved["score"], c * g_fixed, rtol=1e-4, atol=1e-6)


def test_no_path_from_the_labeled_loss_of_the_student_to_the_teacher():
    """The teacher's step is the same for two labeled batches whose feedback has the same sign."""
    labeled, unlabeled = batches(3)
    step = make(linear(optax.sgd(1.0)), drop_rate=0.0)

    def teacher_after(scale):
        # The student alone sees `scale`, in its judgement.
        student = linear(
            loss=lambda z, b, y, m: masked_bce(z, b, y, m) * (scale if "y" in b else 1.0)
        )
        step = make(linear(optax.sgd(1.0)), student, drop_rate=0.0)
        return step.update(first, labeled, {"x": unlabeled["x"]}, jax.random.key(0))[0].teacher

    first = start(step)
    assert_trees(teacher_after(1.0), teacher_after(7.0))
    gradient = jax.grad(lambda s: teacher_after(s).params["w"].sum())(1.0)
    assert float(gradient) == 0


# Model state and random streams.


def stateful_apply(params, model_state, batch, key, mode):
    """A running mean of x, a count of passes, a mark that a committed feedback pass would leave."""
    x = batch["x"]
    feedback_pass = mode == "feedback"
    state = {
        "mean": 0.9 * model_state["mean"] + 0.1 * x.mean(axis=0),
        "passes": model_state["passes"] + 1,
        "committed": model_state["committed"] + (1 if feedback_pass else 0),
    }
    x = x - x.mean(axis=0, keepdims=True)
    return x @ params["w"], state


@pytest.mark.parametrize("phases", [False, True])
@pytest.mark.parametrize("estimator", ["grad", "jvp", "vjp", "difference"])
def test_feedback_pass_commits_no_state(phases, estimator):
    learner = linear(apply=stateful_apply)
    step = make(learner, phases=phases, estimator=estimator)
    zero = jnp.zeros((), jnp.int32)
    state = start(step, model_state={"mean": jnp.zeros(4), "passes": zero, "committed": zero})
    labeled, unlabeled = batches()
    state, _ = step.update(state, labeled, unlabeled, jax.random.key(0))
    u, lab = (np.asarray(b["x"]).mean(0) for b in (unlabeled, labeled))
    teacher, student = state.teacher.model_state, state.student.model_state
    np.testing.assert_allclose(teacher["mean"], 0.9 * 0.1 * u + 0.1 * lab, rtol=1e-5)
    np.testing.assert_allclose(student["mean"], 0.1 * u, rtol=1e-5)
    assert (int(teacher["passes"]), int(student["passes"])) == (2, 1)
    assert (int(teacher["committed"]), int(student["committed"])) == (0, 0)


def test_feedback_pass_reads_the_state_of_the_new_student():
    """A model whose output in the feedback pass is its running mean alone."""

    def apply(params, model_state, batch, key, mode):
        mean = model_state + batch["x"].mean()
        x = batch["x"] if mode == "train" else jnp.ones_like(batch["x"]) * model_state
        return x @ params["w"], mean

    step = make(linear(apply=apply))
    labeled, unlabeled = batches()
    state, info = step.update(
        start(step, model_state=jnp.zeros(())), labeled, unlabeled, jax.random.key(0)
    )
    z = jnp.full_like(labeled["x"], unlabeled["x"].mean()) @ state.student.params["w"]
    expected = masked_bce(z, labeled, *known_labels(labeled))
    np.testing.assert_allclose(info.losses["student_labeled"], expected, rtol=1e-5)


def test_variants_share_their_draws():
    labeled, unlabeled = batches(b=32)
    learner = Learner(mlp_apply, identity, masked_bce, optax.sgd(ETA))
    seen = []
    for options in (
        {},
        {"estimator": "jvp"},
        {"variant": "constant"},
        {"variant": "continuous", "learning_rate": ETA},
    ):
        step = make(learner, labels="sample", **options)
        state = step.init((mlp_params(0), None), (mlp_params(1), None))
        _, info = jax.jit(step.update)(state, labeled, unlabeled, jax.random.key(5))
        seen.append((info.positive_rate, info.losses, info.gradient_norms, info.agreement))
    for other in seen[1:]:
        assert_trees(seen[0], other, rtol=1e-5)
    _, other = jax.jit(step.update)(state, labeled, unlabeled, jax.random.key(6))
    assert not np.allclose(other.losses["teacher_pseudo"], seen[0][1]["teacher_pseudo"])


def test_every_pass_has_its_own_stream():
    def apply(params, model_state, batch, key, mode):
        return batch["x"] @ params["w"], jax.random.key_data(key)

    step = make(linear(apply=apply))
    state = start(step, model_state=jax.random.key_data(jax.random.key(0)))
    key = jax.random.key(9)
    state, _ = jax.jit(step.update)(state, *batches(), key)
    for learner, name in ((state.teacher, "teacher_labeled"), (state.student, "student_unlabeled")):
        word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
        assert_trees(learner.model_state, jax.random.key_data(jax.random.fold_in(key, word)))


# What is missing or not finite.


def poisoned_apply(params, model_state, batch, key, mode):
    z = batch["x"] @ params["w"]
    bad = batch["poison"] if mode == "train" else batch["poison_feedback"]
    return z * bad, None if model_state is None else model_state + 1


def poison(batch, train=1.0, judged=1.0):
    return {**batch, "poison": jnp.asarray(train), "poison_feedback": jnp.asarray(judged)}


def finite(tree):
    return all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("phases", [False, True])
@pytest.mark.parametrize("variant", ["discrete", "continuous", "exact", "constant"])
def test_feedback_that_is_not_finite(variant, phases):
    labeled, unlabeled = batches()
    options = {"learning_rate": ETA, "baseline_decay": 0.9} if variant == "continuous" else {}
    step = make(linear(apply=poisoned_apply), variant=variant, phases=phases, **options)
    none = make(linear(apply=poisoned_apply), variant="none", labels=None)
    first = start(step, model_state=jnp.zeros(()))
    bad = poison(labeled, judged=jnp.nan)
    state, info = step.update(first, bad, poison(unlabeled), jax.random.key(0))
    assert float(info.coefficient) == 0 and bool(info.flags["nonfinite"])
    assert not bool(info.flags["dropped"])
    assert int(state.counts["nonfinite"]) == 1 and int(state.counts["zero"]) == 1
    assert float(state.baseline) == 0
    expected, _ = none.update(first, bad, poison(unlabeled), jax.random.key(0))
    assert_trees(state.teacher.params, expected.teacher.params, rtol=1e-6)
    assert not bool(info.flags["teacher_skipped"]) and not bool(info.flags["student_skipped"])


@pytest.mark.parametrize("phases", [False, True])
def test_student_gradient_that_is_not_finite(phases):
    labeled, unlabeled = batches()
    student = linear(optax.adam(ETA), apply=poisoned_apply)
    clean = linear(
        optax.adam(ETA), apply=lambda p, s, b, k, m: (b["x"] @ p["w"], None if s is None else s + 1)
    )
    step = make(clean, student, phases=phases)
    first = start(step, model_state=jnp.zeros(()))
    state, info = step.update(
        first, poison(labeled), poison(unlabeled, train=jnp.inf), jax.random.key(0)
    )
    assert_trees(state.student, first.student)
    assert bool(info.flags["student_skipped"]) and bool(info.flags["nonfinite"])
    assert float(info.coefficient) == 0
    assert finite(state.teacher) and int(state.teacher.model_state) == 2
    assert not np.array_equal(state.teacher.params["w"], first.teacher.params["w"])
    assert int(state.counts["student_skipped"]) == 1 and int(state.step) == 1


@pytest.mark.parametrize("where", ["labeled", "unlabeled"])
def test_teacher_that_is_not_finite_stays(where):
    labeled, unlabeled = batches()
    clean = linear(optax.adam(ETA))
    step = make(linear(optax.adam(ETA), apply=poisoned_apply), clean)
    first = start(step, model_state=jnp.zeros(()))
    pair = {
        name: poison(b, train=jnp.nan if name == where else 1.0)
        for name, b in (("labeled", labeled), ("unlabeled", unlabeled))
    }
    state, info = step.update(first, pair["labeled"], pair["unlabeled"], jax.random.key(0))
    assert_trees(state.teacher, first.teacher)
    assert bool(info.flags["teacher_skipped"]) and int(state.counts["teacher_skipped"]) == 1
    assert finite(state.student)
    if where == "unlabeled":  # a NaN logit labels nothing
        assert float(info.accepted) == 0 and bool(info.flags["no_labels"])


def test_no_known_label():
    labeled, unlabeled = batches()
    step = make(variant="constant")
    labeled["y"] = jnp.full_like(labeled["y"], -1.0)
    state, info = step.update(start(step), labeled, unlabeled, jax.random.key(0))
    assert bool(info.flags["no_labels"]) and float(info.coefficient) == 0
    assert_trees(state.teacher.params, start(step).teacher.params)
    assert int(state.counts["no_labels"]) == 1 and not bool(info.flags["nonfinite"])


def test_no_accepted_pseudo_label_and_a_masked_cell():
    labeled, unlabeled = batches()
    step = make(confidence=0.999999)
    state, info = step.update(start(step), labeled, unlabeled, jax.random.key(0))
    assert bool(info.flags["no_labels"]) and float(info.coefficient) == 0
    assert float(info.accepted) == 0 and not np.asarray(info.positive_rate).any()
    assert_trees(state.student.params, start(step).student.params)
    step = make(confidence=0.9)
    first = start(step)
    state, info = step.update(first, labeled, unlabeled, jax.random.key(0))
    p = 1 / (1 + np.exp(-np.asarray(unlabeled["x"] @ first.teacher.params["w"])))
    mask = np.maximum(p, 1 - p) >= 0.9
    assert 0 < mask.sum() < mask.size
    np.testing.assert_allclose(info.accepted, mask.mean(), rtol=1e-6)
    x, w = np.asarray(unlabeled["x"]), np.asarray(first.student.params["w"])
    residual = (1 / (1 + np.exp(-x @ w)) - (p >= 0.5)) * mask / mask.sum()
    np.testing.assert_allclose(
        state.student.params["w"], w - ETA * x.T @ residual, rtol=1e-4, atol=1e-6
    )


# Through the optimizer.


@pytest.mark.parametrize(
    "optimizer", [optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(ETA)), optax.adam(ETA)]
)
def test_update_direction_that_ignores_the_scale_gives_no_feedback(optimizer):
    labeled, unlabeled = batches()
    unlabeled["x"] = 100 * unlabeled["x"]  # gradients far above Adam's eps
    step = make(linear(), linear(optimizer), direction="update", drop_rate=0.0)
    state, info = step.update(start(step), labeled, unlabeled, jax.random.key(0))
    assert bool(info.flags["insensitive"]) and float(info.coefficient) == 0
    assert int(state.counts["insensitive"]) == 1
    plain = make(linear(), linear(optimizer), drop_rate=0.0)
    _, info = plain.update(start(step), labeled, unlabeled, jax.random.key(0))
    assert not bool(info.flags["insensitive"]) and float(info.coefficient) != 0


def test_update_direction_with_an_idle_clip_is_sensitive():
    labeled, unlabeled = batches()
    optimizer = optax.chain(optax.clip_by_global_norm(1e3), optax.sgd(ETA, momentum=0.9))
    step = make(linear(), linear(optimizer), direction="update", drop_rate=0.0)
    _, info = step.update(start(step), labeled, unlabeled, jax.random.key(0))
    _, plain = make(linear(), linear(optimizer), drop_rate=0.0).update(
        start(step), labeled, unlabeled, jax.random.key(0)
    )
    assert not bool(info.flags["insensitive"])
    np.testing.assert_allclose(info.feedback, ETA * plain.feedback, rtol=1e-5)


def test_update_direction_at_learning_rate_zero_gives_no_feedback():
    labeled, unlabeled = batches()
    step = make(linear(), linear(optax.sgd(0.0)), direction="update", drop_rate=0.0)
    _, info = step.update(start(step), labeled, unlabeled, jax.random.key(0))
    assert bool(info.flags["insensitive"]) and float(info.coefficient) == 0


def test_exact_refuses_an_optimizer_without_derivative():
    step = make(linear(optax.adam(ETA)), variant="exact")
    with pytest.raises(ValueError, match="eps_root"):
        start(step)
    start(make(linear(optax.adam(ETA, eps_root=1e-8)), variant="exact"))
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(ETA, momentum=0.9))
    start(make(linear(clipped), variant="exact"))


def test_exact_with_a_cotangent_of_no_use_is_counted():
    labeled, unlabeled = batches()
    step = make(linear(), linear(optax.set_to_zero()), variant="exact")
    first = start(step)
    state, info = step.update(first, labeled, unlabeled, jax.random.key(0))
    assert bool(info.flags["nonfinite"]) and float(info.coefficient) == 0
    none = make(linear(), variant="none")
    expected, _ = none.update(start(none), labeled, unlabeled, jax.random.key(0))
    assert_trees(state.teacher.params, expected.teacher.params, rtol=1e-6)
    _, useful = exact_teacher_gradient(
        *(lambda p, y: jnp.sum(p * y), lambda t: t, jnp.ones(2), jnp.ones(2)),
        *(jnp.ones(2), jnp.full(2, jnp.nan), optax.sgd(ETA), optax.sgd(ETA).init(jnp.ones(2))),
    )
    assert not bool(useful)


# Settings.


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"labels": "soft"}, "exactly 0"),
        ({"labels": "soft", "variant": "continuous", "learning_rate": 0.1}, "exactly 0"),
        ({"labels": "soft", "variant": "constant"}, "exactly 0"),
        ({"variant": "exact", "labels": "threshold"}, "no derivative"),
        ({"variant": "exact", "labels": "sample"}, "no derivative"),
        ({"variant": "exact", "teacher_term": "score"}, "no teacher loss"),
        ({"variant": "exact", "direction": "update"}, "through the optimizer"),
        ({"variant": "exact", "estimator": "difference"}, "does not use it"),
        ({"estimator": "difference", "direction": "update"}, "no direction"),
        ({"teacher_term": "score"}, "score_loss"),
        ({"teacher_term": "score", "variant": "continuous", "learning_rate": 0.1}, "score_loss"),
        ({"learning_rate": 0.1}, "belong to variant='continuous'"),
        ({"cosine": True, "estimator": "vjp"}, "belong to variant='continuous'"),
        ({"baseline_decay": 0.9}, "belong to variant='continuous'"),
        ({"variant": "continuous"}, "learning_rate: give it"),
        ({"variant": "continuous", "cosine": True}, "only estimator='vjp'"),
        (
            {"variant": "continuous", "learning_rate": 0.1, "cosine": True, "estimator": "vjp"},
            "twice",
        ),
        ({"variant": "continuous", "learning_rate": 0.1, "direction": "update"}, "twice"),
        ({"variant": "continuous", "learning_rate": 0.1, "estimator": "difference"}, "twice"),
        ({"variant": "continuous", "learning_rate": 0.1, "baseline_decay": 1.0}, "baseline_decay"),
        ({"drop_rate": 1.5}, "not a probability"),
        ({"positive": float("nan")}, "positive=nan"),
        ({"feedback_weight": float("inf")}, "feedback_weight=inf"),
        ({"confidence": 0.2}, "0.5, 1"),
        ({"variant": "mpl"}, "not one of discrete, continuous"),
        ({"estimator": "fd"}, "not one of grad"),
        ({"labels": "argmax"}, "not one of threshold"),
        ({"drop_on": "negative"}, "not one of all"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        make(**options)


# Compilation.


@pytest.mark.parametrize("options", [{"labels": "sample", "confidence": 0.6}, {"variant": "exact"}])
def test_phases_equal_the_whole_step_under_jit(options):
    learner = Learner(mlp_apply, identity, masked_bce, optax.sgd(ETA, momentum=0.9))
    plain, phased = make(learner, **options), make(learner, phases=True, **options)
    first = plain.init((mlp_params(0), None), (mlp_params(1), None))
    labeled, unlabeled = batches(4)
    results = [
        update(first, labeled, unlabeled, jax.random.key(1))
        for update in (jax.jit(plain.update), phased.update)
    ]
    assert abs(float(results[0][1].feedback)) > 1e-4
    assert_trees(*results, rtol=1e-4, atol=1e-6)


def test_jit_equals_the_step_without_it():
    step = make()
    labeled, unlabeled = batches(4)
    results = [
        update(start(step), labeled, unlabeled, jax.random.key(1))
        for update in (step.update, jax.jit(step.update))
    ]
    assert abs(float(results[0][1].feedback)) > 1e-4
    assert_trees(*results, rtol=1e-4, atol=1e-6)


def counting(function):
    """The function, and a list that grows each time it is traced."""
    calls = []

    def counted(*args):
        calls.append(args[-1])
        return function(*args)

    return counted, calls


@pytest.mark.parametrize("same_learner", [True, False])
def test_phases_compile_the_network_once_forward_and_backward(same_learner):
    apply, calls = counting(mlp_apply)
    teacher = Learner(apply, identity, masked_bce, optax.sgd(ETA))
    student = teacher if same_learner else teacher._replace(optimizer=optax.adam(ETA))
    step = make(teacher, student, phases=True)
    state = step.init((mlp_params(0), None), (mlp_params(1), None))
    for t in range(3):
        labeled, unlabeled = batches(t)
        state, _ = step.update(state, labeled, unlabeled, jax.random.key(t))
    assert sorted(calls) == ["feedback", "train"]


def test_phases_with_batches_of_different_sizes():
    learner = Learner(mlp_apply, identity, masked_bce, optax.sgd(ETA))
    labeled, unlabeled = batches(0)
    unlabeled = {"x": jnp.concatenate([unlabeled["x"]] * 2)}
    results = []
    for phases in (False, True):
        step = make(learner, phases=phases)
        state = step.init((mlp_params(0), None), (mlp_params(1), None))
        results.append(step.update(state, labeled, unlabeled, jax.random.key(0)))
    assert_trees(*results, rtol=1e-4, atol=1e-6)


def test_teacher_and_student_of_different_architecture():
    teacher = Learner(mlp_apply, identity, masked_bce, optax.adamw(1e-2))
    step = make(teacher, linear(optax.sgd(ETA, momentum=0.9)))
    params = mlp_params(0)
    state = step.init((params, None), ({"w": jnp.zeros((4, 3))}, None))
    labeled, unlabeled = batches()
    state, info = jax.jit(step.update)(state, labeled, unlabeled, jax.random.key(0))
    assert jax.tree.structure(state.teacher.params) == jax.tree.structure(params)
    assert finite(state) and finite(info)
    assert (np.asarray(state.student.params["w"]) != 0).any()


@pytest.mark.filterwarnings("error")
def test_state_can_be_donated_and_copies_its_start():
    step = make()
    params = {"w": jnp.ones((4, 3))}
    state = step.init((params, None), (params, None))
    plain = step.init((params, None), (params, None))
    donated = jax.jit(step.update, donate_argnums=0)
    whole = jax.jit(step.update)
    for t in range(3):
        labeled, unlabeled = batches(t)
        state, _ = donated(state, labeled, unlabeled, jax.random.key(t))
        plain, _ = whole(plain, labeled, unlabeled, jax.random.key(t))
    # Two compilations: XLA may round a sum in another order where it writes in place. A buffer
    # that was overwritten too early would be off by the size of a step, 1e-2.
    assert_trees(state, plain, rtol=1e-6, atol=1e-7)
    assert float(params["w"].sum()) == 12


def test_dense_network_costs_four_supervised_steps():
    """XLA's own operation count; the floor is 4, the exact variant adds two forwards."""
    width, b = 128, 256

    def apply(params, model_state, batch, key, mode):
        x = batch["x"]
        for w in params:
            x = jax.nn.relu(x @ w)
        return x, model_state

    learner = Learner(apply, identity, masked_bce, optax.sgd(ETA))
    params = [jnp.full((width, width), 1e-2)] * 4
    batch = {"x": jnp.ones((b, width)), "y": jnp.ones((b, width))}

    def supervised(params, batch):
        loss = lambda p: masked_bce(  # noqa: E731
            apply(p, None, batch, None, "train")[0], batch, *known_labels(batch)
        )
        return jax.tree.map(lambda p, g: p - ETA * g, params, jax.grad(loss)(params))

    def count(function, *args):
        cost = jax.jit(function).lower(*args).compile().cost_analysis()
        return cost["flops"]

    base = count(supervised, params, batch)
    ratios = {}
    for options in (
        {"estimator": "grad"},
        {"estimator": "jvp"},
        {"estimator": "vjp"},
        {"variant": "exact"},
    ):
        step = make(learner, **options)
        state = step.init((params, None), (params, None))
        total = count(step.update, state, batch, batch, jax.random.key(0))
        ratios[next(iter(options.values()))] = total / base
    assert max(ratios[e] for e in ("grad", "jvp", "vjp")) <= 4.2, ratios
    assert ratios["exact"] <= 4.9, ratios


# The metrics.


def test_metrics_and_counts():
    labeled, unlabeled = batches(b=40)
    step = make(drop_rate=0.3)
    update = jax.jit(step.update)
    state = start(step)
    coefficients, dropped = [], 0
    for t in range(40):
        before = state
        state, info = update(state, labeled, unlabeled, jax.random.key(t))
        coefficients.append(float(info.coefficient))
        dropped += int(info.flags["dropped"])
    coefficients = np.asarray(coefficients)
    assert dropped == (coefficients == 0).sum() == int(state.counts["dropped"]) > 0
    signs = {"positive": coefficients > 0, "negative": coefficients < 0, "zero": coefficients == 0}
    for name, events in signs.items():
        assert int(state.counts[name]) == events.sum()
        np.testing.assert_allclose(info.shares[name], events.mean(), rtol=1e-6)
    assert int(state.step) == 40
    x = np.asarray(unlabeled["x"], np.float64)
    z_t, z_s = (x @ np.asarray(learner.params["w"]) for learner in before[1:3])
    p = 1 / (1 + np.exp(-z_t))
    np.testing.assert_allclose(info.positive_rate, (z_t >= 0).mean(0), rtol=1e-6)
    np.testing.assert_allclose(info.confidence, np.abs(2 * p - 1).mean(0), rtol=1e-4)
    np.testing.assert_allclose(info.agreement, ((z_t >= 0) == (z_s >= 0)).mean(), rtol=1e-6)
    assert float(info.accepted) == 1
    g = x.T @ (1 / (1 + np.exp(-z_s)) - (z_t >= 0)) / z_s.size
    np.testing.assert_allclose(info.gradient_norms["student_pseudo"], np.linalg.norm(g), rtol=1e-4)
    xl, yl = np.asarray(labeled["x"], np.float64), np.asarray(labeled["y"])
    z = xl @ np.asarray(state.student.params["w"])
    loss = np.mean(np.logaddexp(0, z) - yl * z)
    np.testing.assert_allclose(info.losses["student_labeled"], loss, rtol=1e-4)
