"""Variants of discrete feedback in float32: labels, measures, gates, what is refused, a step in parts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from feedback_problem import (
    ALWAYS,
    ETA,
    SCALAR,
    assert_trees,
    batches,
    bce,
    check_orthogonal,
    check_scalar_in_single,
    counting,
    dropout_apply,
    finite,
    known_labels,
    learner,
    make,
    masked_bce,
    mlp_params,
    poison,
    poisoned,
    slope,
    start,
    start_mlp,
    supervised,
    unknown,
    weights,
)

from piapdf_jax.feedback import discrete_gate, grad_slope, threshold
from piapdf_jax.feedback_variants import (
    compile_in_parts,
    constant_gate,
    continuous_gate,
    cosine,
    difference,
    exact_teacher_gradient,
    jvp_slope,
    meta_gradient,
    sample,
    scaled_slope,
    soft,
    through_optimizer,
    vjp_slope,
)

KEY = jax.random.key(0)
SLOPES = (grad_slope, jvp_slope, vjp_slope)
EXACT = {
    "label": soft(),
    "measure": exact_teacher_gradient(),
    "gate": constant_gate(1.0),
}


# Labels.


def test_samples_follow_the_probabilities():
    probs = np.asarray([0.02, 0.3, 0.5, 0.9])
    logits = jnp.tile(jnp.asarray(np.log(probs / (1 - probs)), jnp.float32)[None], (40_000, 1))
    labels, mask, _ = sample().update(logits, jax.random.key(3), ())
    assert set(np.unique(labels)) == {0, 1} and bool(mask.all())
    error = np.abs(np.asarray(labels).mean(0) - probs)
    assert (error < 5 * np.sqrt(probs * (1 - probs) / 40_000)).all()
    never = jnp.full((1000, 1), -jnp.inf)
    assert float(sample().update(never, KEY, ())[0].sum()) == 0


def test_a_sample_of_what_cannot_be_is_0_and_of_what_must_be_1(monkeypatch):
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype: jnp.zeros(shape, dtype))
    labels, _, _ = sample().update(jnp.asarray([[-jnp.inf, -200.0, 0.0, 200.0]]), KEY, ())
    assert labels.tolist() == [[0, 0, 0, 1]]


def test_samples_and_probabilities_accept_what_thresholds_accept():
    logits = jnp.asarray([[0.0, -1e-3, 3.0, -3.0, jnp.nan]])
    for make_rule in (sample, soft):
        for confidence in (0.5, 0.9):
            labels, mask, _ = make_rule(confidence=confidence).update(logits, KEY, ())
            expected = threshold(confidence=confidence).update(logits, KEY, ())[1]
            assert_trees(mask, expected)
            assert finite(labels)
        with pytest.raises(ValueError, match="0.5, 1"):
            make_rule(confidence=0.2)
    labels = soft().update(logits, KEY, ())[0]
    np.testing.assert_allclose(
        labels[0, :4], 1 / (1 + np.exp(-np.asarray(logits[0, :4]))), rtol=1e-6
    )


def test_hard_labels_carry_no_gradient():
    for rule in (threshold(), sample()):
        grad = jax.grad(lambda z: rule.update(z, KEY, ())[0].sum())  # noqa: B023
        assert not np.asarray(grad(jnp.ones((2, 2)))).any()


def test_soft_labels_of_the_same_pass_have_no_gradient():
    step = make(label=soft(), gate=constant_gate(0.0))
    labeled, unlabeled = batches()
    _, probabilities = step.update(start(step), labeled, unlabeled, KEY)
    _, hard = make().update(start(step), labeled, unlabeled, KEY)
    assert float(probabilities.gradient_norms["teacher_pseudo"]) < 1e-6
    assert float(hard.gradient_norms["teacher_pseudo"]) > 1e-2


# Measures.


@pytest.mark.parametrize("label", SCALAR)
@pytest.mark.parametrize("along", SLOPES[1:])
def test_scalar_logistic_by_hand(label, along):
    check_scalar_in_single(label, along)


@pytest.mark.parametrize("along", SLOPES[1:])
def test_orthogonal_gradients_give_exactly_zero_and_that_is_not_positive(along):
    check_orthogonal(along)


def test_slopes_agree_in_float32():
    labeled, _ = batches(1)
    params, direction = mlp_params(0, c=3), mlp_params(1, c=3)

    def loss(p):
        z, _ = dropout_apply(p, None, labeled, KEY, "feedback")
        return masked_bce(z, labeled, *known_labels(labeled))

    (fb, value), *others = (along(loss, params, direction) for along in SLOPES)
    for other, other_value in others:
        np.testing.assert_allclose(other, fb, rtol=1e-4)
        np.testing.assert_allclose(other_value, value, rtol=1e-6)
    h = 1e-2
    back, forth = (
        loss(jax.tree.map(lambda p, d: p - w * d, params, direction))  # noqa: B023
        for w in (h, -h)
    )
    np.testing.assert_allclose(-(back - forth) / (2 * h), fb, rtol=2e-2)


@pytest.mark.parametrize("along", [grad_slope, vjp_slope])
def test_half_precision_parameters_are_summed_in_float32(along):
    n = 4097  # no bfloat16 number
    params = jnp.zeros(n, jnp.bfloat16)
    fb, _ = along(lambda p: p.sum(), params, jnp.ones_like(params))
    assert fb.dtype == jnp.float32
    assert float(fb) == n
    _, loss = along(lambda p: p[0] + 3, params, params)
    assert loss.dtype == jnp.float32 and float(loss) == 3


def test_difference_is_old_minus_new():
    step = make(measure=difference(), gate=ALWAYS)
    first, (labeled, unlabeled) = start(step), batches(2)

    def loss(student):
        z = labeled["x"] @ student.params["w"]
        return masked_bce(z, labeled, *known_labels(labeled))

    state, info = step.update(first, labeled, unlabeled, KEY)
    np.testing.assert_allclose(info.feedback, loss(first.student) - loss(state.student))
    np.testing.assert_allclose(info.losses["student_labeled"], loss(state.student))
    # What is learned of labels that are right lowers the loss.
    right = {**unlabeled, "y": (unlabeled["x"] @ first.teacher.params["w"] >= 0).astype(float)}
    _, info = step.update(first, right, unlabeled, KEY)
    assert float(info.feedback) > 0 and float(info.coefficient) == 1
    still = make(learner(), learner(optax.set_to_zero()), measure=difference(), gate=ALWAYS)
    _, info = still.update(start(still), labeled, unlabeled, KEY)
    assert float(info.feedback) == 0


def test_slope_is_scaled_by_a_number_or_a_schedule():
    labeled, unlabeled = batches()
    schedule = optax.linear_schedule(0.4, 0.0, 4)
    step = make(measure=scaled_slope(schedule), gate=continuous_gate())
    fixed = make(measure=scaled_slope(0.3, jvp_slope), gate=continuous_gate())
    plain = make(gate=continuous_gate())
    state = start(step)
    for t in range(3):
        before = state
        state, info = step.update(before, labeled, unlabeled, KEY)
        unscaled = plain.update(before, labeled, unlabeled, KEY)[1].feedback
        np.testing.assert_allclose(info.feedback, unscaled * 0.1 * (4 - t), rtol=1e-6)
        assert float(info.coefficient) == float(info.feedback)
        other = fixed.update(before, labeled, unlabeled, KEY)[1].feedback
        np.testing.assert_allclose(other, 0.3 * unscaled, rtol=1e-5)


def test_cosine():
    labeled, unlabeled = batches()
    step = make(measure=cosine(), gate=continuous_gate())
    first = start(step)
    state, info = step.update(first, labeled, unlabeled, KEY)
    (w_t, w_s), (_, new) = weights(first), weights(state)
    g_u = slope(w_s, unlabeled["x"], np.asarray(unlabeled["x"]) @ w_t >= 0)
    g_l = slope(new, labeled["x"], labeled["y"])
    expected = np.sum(g_u * g_l) / np.linalg.norm(g_u) / np.linalg.norm(g_l)
    np.testing.assert_allclose(info.feedback, expected, rtol=1e-5)
    assert float(info.coefficient) == float(info.feedback)
    # Of a gradient that is 0 there is no cosine.
    _, info = step.update(first, unknown(labeled), unlabeled, KEY)
    assert float(info.feedback) == 0


# Gates.


def test_continuous_gate_updates_its_average_first():
    gate, expected = continuous_gate(decay=0.9), 0.0
    average = gate.init(None)
    assert float(average) == 0
    for raw in (1.0, -2.0, 0.5):
        c, flags, average = gate.update(jnp.asarray(0.1 * raw), KEY, average)
        expected = 0.9 * expected + 0.1 * 0.1 * raw
        np.testing.assert_allclose(average, expected, rtol=1e-6)
        np.testing.assert_allclose(c, 0.1 * raw - expected, rtol=1e-6)
        assert flags == {}
    c, _, kept = continuous_gate().update(jnp.asarray(1.5), KEY, jnp.asarray(7.0))
    assert (float(c), float(kept)) == (1.5, 7.0)
    with pytest.raises(ValueError, match="decay"):
        continuous_gate(decay=1.0)


def test_constant_gate_does_not_look():
    for fb in (-2.0, 0.0, 3.0):
        assert float(constant_gate(0.3).update(jnp.asarray(fb), KEY, ())[0]) == np.float32(0.3)
    assert constant_gate(0.3).constant == 0.3


def test_a_step_without_use_moves_neither_average_nor_schedule():
    labeled, unlabeled = batches()
    schedule = optax.linear_schedule(0.4, 0.0, 4)
    step = make(
        learner(), poisoned(), measure=scaled_slope(schedule), gate=continuous_gate(decay=0.9)
    )
    update = jax.jit(step.update)
    first, _ = update(start(step), poison(labeled), poison(unlabeled), KEY)
    assert float(first.gate) != 0
    state, info = update(first, poison(unknown(labeled)), poison(unlabeled), KEY)
    assert float(info.feedback) == 0 and float(info.coefficient) == 0
    assert float(state.gate) == float(first.gate)
    state, info = update(first, poison(labeled), poison(unlabeled, train=np.nan), KEY)
    assert bool(info.flags["student_skipped"])
    assert float(state.gate) == float(first.gate)
    after, info = update(state, poison(labeled), poison(unlabeled), KEY)
    plain = make(learner(), poisoned())
    _, unscaled = plain.update(state, poison(labeled), poison(unlabeled), KEY)
    scaled = 0.3 * float(unscaled.feedback)  # the student's second step, the third attempt
    np.testing.assert_allclose(info.feedback, scaled, rtol=1e-5)
    np.testing.assert_allclose(after.gate, 0.9 * first.gate + 0.1 * scaled, rtol=1e-5)


# Through the optimizer.

CLIPPED = optax.chain(optax.clip_by_global_norm(1e-3), optax.sgd(ETA))
#: Adam that the check of derivatives lets through, and that scales like Adam.
SCALELESS = optax.adam(ETA, eps=1e-12, eps_root=1e-16)


@pytest.mark.parametrize("measure", [through_optimizer(), cosine(through_optimizer=True)])
@pytest.mark.parametrize("optimizer", [CLIPPED, SCALELESS], ids=["clip", "adam"])
def test_an_update_that_ignores_the_scale_gives_no_feedback(optimizer, measure):
    labeled, unlabeled = batches()
    unlabeled["x"] = 100 * unlabeled["x"]  # gradients far above what keeps Adam smooth
    step = make(learner(), learner(optimizer), measure=measure, gate=ALWAYS)
    state, info = step.update(start(step), labeled, unlabeled, KEY)
    assert bool(info.flags["unusable"]) and float(info.coefficient) == 0
    assert int(state.counts["unusable"]) == 1
    plain = make(learner(), learner(optimizer), gate=ALWAYS)
    _, info = plain.update(start(plain), labeled, unlabeled, KEY)
    assert not bool(info.flags["unusable"]) and float(info.coefficient) != 0


def test_an_idle_clip_is_sensitive():
    labeled, unlabeled = batches()
    optimizer = optax.chain(optax.clip_by_global_norm(1e3), optax.sgd(ETA, momentum=0.9))
    models = learner(), learner(optimizer)
    plain = make(*models, gate=ALWAYS)
    _, reference = plain.update(start(plain), labeled, unlabeled, KEY)
    for along in SLOPES:
        step = make(*models, measure=through_optimizer(along), gate=ALWAYS)
        _, info = step.update(start(step), labeled, unlabeled, KEY)
        assert not bool(info.flags["unusable"])
        np.testing.assert_allclose(info.feedback, ETA * reference.feedback, rtol=1e-5)


def test_learning_rate_zero_gives_no_feedback():
    labeled, unlabeled = batches()
    step = make(learner(), learner(optax.sgd(0.0)), measure=through_optimizer(), gate=ALWAYS)
    _, info = step.update(start(step), labeled, unlabeled, KEY)
    assert bool(info.flags["unusable"]) and float(info.coefficient) == 0


def test_an_optimizer_that_reads_the_loss_is_told_it_here_too():
    scaled = optax.GradientTransformationExtraArgs(
        lambda params: optax.EmptyState(),
        lambda grads, state, params=None, *, value, **extra: (
            jax.tree.map(lambda g: -ETA * value * g, grads),
            state,
        ),
    )
    step = make(learner(), learner(scaled), measure=through_optimizer(), gate=ALWAYS)
    first, (labeled, unlabeled) = start(step), batches()
    state, info = step.update(first, labeled, unlabeled, KEY)
    w_t, w_s = weights(first)
    y = np.asarray(unlabeled["x"]) @ w_t >= 0
    g, eta = slope(w_s, unlabeled["x"], y), ETA * bce(np.asarray(unlabeled["x"]) @ w_s, y)
    np.testing.assert_allclose(state.student.params["w"], w_s - eta * g, rtol=1e-5)
    fb = eta * np.sum(slope(w_s - eta * g, labeled["x"], labeled["y"]) * g)
    np.testing.assert_allclose(info.feedback, fb, rtol=1e-4)


DIFFERENTIATING = {
    "exact": EXACT,
    "through": {"measure": through_optimizer()},
    "cosine": {"measure": cosine(through_optimizer=True)},
}
differentiating = pytest.mark.parametrize("options", DIFFERENTIATING.values(), ids=DIFFERENTIATING)


@differentiating
def test_an_optimizer_without_derivative_is_refused(options):
    """Also where init is compiled, or mapped: it takes no values."""
    many = {"w": jnp.ones((2, 4, 3))}
    one = jax.tree.map(lambda x: x[0], many)

    def begin(optimizer):
        # The teacher's optimizer may be any.
        step = make(learner(optax.adam(ETA)), learner(optimizer), **options)
        return lambda params: step.init((params, None), (params, None))

    for init, params in ((begin, one), (lambda o: jax.jit(begin(o)), one)):
        with pytest.raises(ValueError, match="eps_root"):
            init(optax.adam(ETA))(params)
        init(optax.adam(ETA, eps_root=1e-8))(params)
    with pytest.raises(ValueError, match="eps_root"):
        jax.vmap(begin(optax.adam(ETA)))(many)
    jax.vmap(begin(optax.adam(ETA, eps_root=1e-8)))(many)
    clipped = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(ETA, momentum=0.9))
    begin(clipped)(one)
    frozen = {"idle": optax.set_to_zero(), "w": optax.adam(ETA)}
    parts = optax.multi_transform(frozen, {"idle": "idle", "w": "w"})
    with pytest.raises(ValueError, match="eps_root"):
        begin(parts)(one | {"idle": jnp.ones(3)})
    # What does not differentiate the optimizer takes any.
    start(make(learner(optax.adam(ETA)), measure=cosine()))


@differentiating
def test_a_traced_learning_rate(options):
    labeled, unlabeled = batches()

    def run(rate):
        step = make(learner(), learner(optax.sgd(rate)), **options)
        return step.update(start(step), labeled, unlabeled, KEY)

    assert_trees(jax.jit(run)(ETA), run(ETA), rtol=1e-5, atol=1e-6)


# The exact gradient.


def test_exact_with_a_cotangent_of_no_use_is_counted():
    labeled, unlabeled = batches()
    teacher = learner()
    step = make(teacher, learner(optax.set_to_zero()), **EXACT)
    first = start(step)
    state, info = step.update(first, labeled, unlabeled, KEY)
    assert bool(info.flags["unusable"]) and float(info.coefficient) == 0
    assert not bool(info.flags["nonfinite"]) and int(state.counts["unusable"]) == 1
    expected = supervised(teacher, first.teacher, labeled, labeled["y"])
    assert_trees(state.teacher.params, expected.params, rtol=1e-6)


@pytest.mark.parametrize(
    ("labeled_grads", "rate", "usable"),
    [
        *((1.0, ETA, True), (0.0, ETA, True), (1.0, 0.0, False)),
        *((np.nan, ETA, False), (np.inf, ETA, False)),
    ],
)
def test_meta_gradient_says_whether_its_cotangent_is_of_use(labeled_grads, rate, usable):
    ones = jnp.ones(2)
    found, told = meta_gradient(
        *(lambda xi, y: jnp.sum(xi * y), lambda theta: 2 * theta, ones, ones),
        *(lambda grads: -rate * grads, ones, jnp.full(2, labeled_grads)),
    )
    assert bool(told) == usable
    # g = Y = 2 theta, xi' = xi - rate g
    np.testing.assert_allclose(found, np.full(2, -2 * rate * labeled_grads), rtol=1e-6)


# Combinations.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"measure": scaled_slope(ETA), "gate": continuous_gate()},
        {"gate": constant_gate(1.0)},
        {"measure": through_optimizer(), "gate": constant_gate(1.0)},
    ],
)
def test_soft_labels_that_would_teach_nothing_are_refused(options):
    with pytest.raises(ValueError, match="exactly 0; use hard ones"):
        make(label=soft(), **options)
    make(label=sample(), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"label": threshold()},
        {"label": sample()},
        {"gate": discrete_gate()},
        {"gate": continuous_gate()},
    ],
)
def test_exact_without_soft_labels_and_a_constant_is_refused(options):
    step = make(**EXACT | options)
    with pytest.raises(ValueError, match="goes through the labels"):
        start(step)


# In parts.


@pytest.mark.parametrize("options", [{"label": sample(confidence=0.6)}, EXACT])
def test_parts_equal_the_whole_step_under_jit(options):
    step = make(learner(optax.sgd(ETA, momentum=0.9), apply=dropout_apply), **options)
    results = [
        update(start_mlp(step, c=3), *batches(4), jax.random.key(1))
        for update in (compile_in_parts(step).update, jax.jit(step.update))
    ]
    assert abs(float(results[0][1].feedback)) > 1e-4
    assert_trees(*results, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("same_learner", [True, False])
def test_parts_compile_the_network_once_forward_and_backward(same_learner):
    apply, calls = counting(dropout_apply)
    teacher = learner(apply=apply)
    student = teacher if same_learner else teacher._replace(optimizer=optax.adam(ETA))
    whole = make(teacher, student)
    step = compile_in_parts(whole)
    state = start_mlp(step, c=3)
    for t in range(3):
        state, _ = step.update(state, *batches(t), jax.random.key(t))
    assert sorted(calls) == ["feedback", "train"]
    calls.clear()  # the step that was copied is whole still
    jax.eval_shape(whole.update, state, *batches(), KEY)
    assert sorted(calls) == ["feedback", *3 * ["train"]]


def test_parts_with_batches_of_different_sizes():
    step = make(learner(apply=dropout_apply))
    labeled, unlabeled = batches(0)
    unlabeled = {"x": jnp.concatenate([unlabeled["x"]] * 2)}
    results = [
        each.update(start_mlp(step, c=3), labeled, unlabeled, KEY)
        for each in (step, compile_in_parts(step))
    ]
    assert finite(results) and float(results[0][1].coefficient) != 0
    assert_trees(*results, rtol=1e-4, atol=1e-6)
