"""Discrete feedback in float32: hand-worked numbers, gate, reductions, states, streams, cost, metrics."""

import doctest
import warnings

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
    identity,
    known_labels,
    learner,
    make,
    masked_bce,
    mlp_params,
    sigmoid,
    slope,
    start,
    start_mlp,
    stream,
    supervised,
    weights,
    whole_and_in_parts,
)

from piapdf_jax import feedback
from piapdf_jax.feedback import (
    Gate,
    LabelRule,
    Learner,
    discrete_gate,
    grad_slope,
    masked_mean,
    student_slope,
    threshold,
)
from piapdf_jax.feedback_variants import (
    constant_gate,
    continuous_gate,
    difference,
    exact_teacher_gradient,
    jvp_slope,
    sample,
    scaled_slope,
    soft,
    vjp_slope,
)

SLOPES = {"grad": grad_slope, "jvp": jvp_slope, "vjp": vjp_slope}


# Numbers worked by hand.


def test_module_docstring_computes_what_it_says():
    with warnings.catch_warnings():
        result = doctest.testmod(feedback)
    assert result.attempted >= 9
    assert result.failed == 0


@pytest.mark.parametrize("label", SCALAR)
def test_scalar_logistic_by_hand(label):
    check_scalar_in_single(label, grad_slope)


def test_orthogonal_gradients_give_exactly_zero_and_that_is_not_positive():
    check_orthogonal(grad_slope)


def test_masked_mean_of_some_cells_and_of_none():
    cells = jnp.asarray([[1.0, 2.0, 6.0]], jnp.bfloat16)
    mean = masked_mean(cells, jnp.asarray([[True, False, True]]))
    assert float(mean) == 3.5 and mean.dtype == jnp.float32
    many = jnp.full(70_000, 1.5, jnp.float16)  # neither their sum nor their number is a float16
    assert float(masked_mean(many, many > 0)) == 1.5
    assert float(masked_mean(jnp.ones((4, 3)), jnp.ones((4, 1), bool))) == 1
    none = jnp.zeros((1, 3), bool)
    assert float(masked_mean(cells, none)) == 0
    broken = jnp.full((1, 3), jnp.nan)
    value, grads = jax.value_and_grad(masked_mean)(broken, none)
    assert float(value) == 0 and not np.asarray(grads).any()


# Labels.


def test_threshold_and_confidence():
    logits = jnp.asarray([[0.0, -1e-3, 3.0, -3.0, jnp.nan]])

    def label(rule):
        return [x.tolist() for x in rule.update(logits, jax.random.key(0), rule.init(None))[:2]]

    assert label(threshold()) == [[[1, 0, 1, 0, 0]], [[True, True, True, True, False]]]
    assert label(threshold(confidence=0.9))[1] == [[False, False, True, True, False]]
    assert label(threshold(cut=0.96))[0] == [[0, 0, 0, 0, 0]]
    with pytest.raises(ValueError, match="0.5, 1"):
        threshold(confidence=0.2)


def flipping_apply(params, model_state, batch, key, mode):
    """Logits whose signs are drawn anew in every pass; their sizes never change."""
    z = batch["x"] @ params["w"]
    if mode == "train":
        z *= jnp.sign(jax.random.bernoulli(key, 0.5, z.shape).astype(z.dtype) - 0.5)
    return z, model_state


@whole_and_in_parts
def test_pseudo_labels_come_from_the_pass_that_gives_the_gradient(way):
    """Labels of the same pass always agree with it: the loss is softplus(-|z|), whatever is drawn."""
    labeled, unlabeled = batches()
    weights = {"w": jax.random.normal(jax.random.key(1), (4, 3))}
    step = way(make(learner(apply=flipping_apply)))
    sizes = np.abs(np.asarray(unlabeled["x"], np.float64) @ np.asarray(weights["w"], np.float64))
    agreeing, other = np.log1p(np.exp(-sizes)).mean(), np.log1p(np.exp(sizes)).mean()
    assert other > 2 * agreeing
    for seed in range(8):
        first = step.init((weights, None), (weights, None))
        _, info = step.update(first, labeled, unlabeled, jax.random.key(seed))
        np.testing.assert_allclose(info.losses["teacher_pseudo"], agreeing, rtol=1e-5)
        assert float(info.losses["student_pseudo"]) > 1.2 * agreeing  # its own draws, given labels


# The gate.


def test_sigma_frequency_and_support():
    keys = jax.random.split(jax.random.key(11), 20_000)
    raw = jnp.asarray(np.random.default_rng(0).normal(size=20_000), jnp.float32)
    opened = jax.jit(jax.vmap(lambda fb, key: discrete_gate().update(fb, key, ())[:2]))
    c, flags = opened(raw, keys)
    c, dropped, raw = np.asarray(c), np.asarray(flags["dropped"]), np.asarray(raw)
    assert 853 <= (c == 0).sum() <= 1154
    assert (dropped == (c == 0)).all()
    assert set(np.unique(c)) == {np.float32(-0.1), 0, 1}
    assert ((c > 0) == ((raw > 0) & ~dropped)).all()
    assert (np.asarray(opened(-raw, keys)[1]["dropped"]) == dropped).all()


def test_sigma_on_positive_only():
    keys = jax.random.split(jax.random.key(12), 20_000)
    raw = jnp.asarray(np.random.default_rng(0).normal(size=20_000), jnp.float32)
    gate = discrete_gate(drop_negative=False)
    c, flags = jax.jit(jax.vmap(lambda fb, key: gate.update(fb, key, ())[:2]))(raw, keys)
    c, raw = np.asarray(c), np.asarray(raw)
    assert (c[raw <= 0] == np.float32(-0.1)).all()
    assert (np.asarray(flags["dropped"]) == (c == 0)).all()
    assert 0.036 < (c[raw > 0] == 0).mean() < 0.064


def test_gate_values_are_the_callers():
    raw = jnp.asarray([2.0, -2.0, 0.0, -0.0])
    c, _, _ = discrete_gate(0.5, -2.0, 0.0).update(raw, jax.random.key(0), ())
    assert c.tolist() == [0.5, -2.0, -2.0, -2.0]
    with pytest.raises(ValueError, match="not a probability"):
        discrete_gate(drop_rate=1.5)


# Reductions.


@pytest.mark.parametrize("gate", [discrete_gate(drop_rate=1.0), constant_gate(0.0)])
def test_without_feedback_the_teacher_is_supervised_bitwise(gate):
    bce_mean = lambda z, batch, y, mask: optax.sigmoid_binary_cross_entropy(z, y).mean()  # noqa: E731
    plain = learner(optax.adam(0.05), loss=bce_mean)
    step = make(plain, gate=gate)
    state = start(step)
    for t in range(3):
        labeled, unlabeled = batches(t)
        y = jax.nn.sigmoid(unlabeled["x"] @ state.teacher.params["w"]) >= 0.5
        expected = (
            supervised(plain, state.teacher, labeled, labeled["y"]),
            supervised(plain, state.student, unlabeled, y.astype(jnp.float32)),
        )
        state, info = step.update(state, labeled, unlabeled, jax.random.key(t))
        assert float(info.coefficient) == 0
        assert_trees((state.teacher, state.student), expected)


def test_student_does_not_depend_on_the_gate_within_a_step():
    labeled, unlabeled = batches()
    students = []
    for gate in (ALWAYS, discrete_gate(drop_rate=1.0), constant_gate(1.0)):
        step = make(gate=gate)
        state, _ = step.update(start(step), labeled, unlabeled, jax.random.key(0))
        students.append(state.student)
    assert_trees(students[0], students[1])
    assert_trees(students[0], students[2])


def fixed_part(z, batch):
    return jnp.mean((z - batch["target"]) ** 2)


def two_part_loss(z, batch, labels, mask):
    """0.6 L_AU + 0.4 L_fixed, with a fixed target carried in the batch."""
    return 0.6 * masked_bce(z, batch, labels, mask) + 0.4 * fixed_part(z, batch)


def test_teacher_gradient_is_c_times_one_plus_the_other():
    labeled, unlabeled = ({**b, "target": 0.3 * b["y"] - 0.5} for b in batches(3))
    student = learner(optax.sgd(1.0), loss=two_part_loss)
    scores = lambda z, batch, y, mask: 0.6 * masked_bce(z, batch, y, mask)  # noqa: E731
    moved = {}
    for name, teacher in (("full", student), ("scores", student._replace(pseudo_loss=scores))):
        step = make(teacher, student, gate=ALWAYS, feedback_weight=0.5)
        first = start(step)
        state, info = step.update(first, labeled, unlabeled, jax.random.key(0))
        moved[name] = first.teacher.params["w"] - state.teacher.params["w"]
    theta = first.teacher.params["w"]
    y = (unlabeled["x"] @ theta >= 0).astype(jnp.float32)
    ones = jnp.ones_like(y, bool)
    g_u = jax.grad(lambda w: two_part_loss(unlabeled["x"] @ w, unlabeled, y, ones))(theta)
    g_l = jax.grad(lambda w: two_part_loss(labeled["x"] @ w, labeled, labeled["y"], ones))(theta)
    g_fixed = jax.grad(lambda w: 0.4 * fixed_part(unlabeled["x"] @ w, unlabeled))(theta)
    c = 0.5 * float(info.coefficient)
    np.testing.assert_allclose(moved["full"], c * g_u + g_l, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved["full"] - moved["scores"], c * g_fixed, rtol=1e-4, atol=1e-6)


def test_pseudo_loss_of_the_student_is_not_what_judges():
    doubled = learner(pseudo_loss=lambda *args: 2 * masked_bce(*args))
    step = make(learner(), doubled, gate=ALWAYS)
    first, (labeled, unlabeled) = start(step), batches()
    state, info = step.update(first, labeled, unlabeled, jax.random.key(0))
    w_t, w_s = weights(first)
    g = 2 * slope(w_s, unlabeled["x"], np.asarray(unlabeled["x"]) @ w_t >= 0)
    new = w_s - ETA * g
    np.testing.assert_allclose(state.student.params["w"], new, rtol=1e-5)
    fb = np.sum(slope(new, labeled["x"], labeled["y"]) * g)
    np.testing.assert_allclose(info.feedback, fb, rtol=1e-4)


def test_no_path_from_the_labeled_loss_of_the_student_to_the_teacher():
    """The teacher's step is the same for two labeled batches whose feedback has the same sign."""
    labeled, unlabeled = batches(3)

    def teacher_after(scale):
        # The student alone sees ``scale``, in its judgment.
        student = learner(
            loss=lambda z, b, y, m: masked_bce(z, b, y, m) * (scale if "y" in b else 1.0)
        )
        step = make(learner(optax.sgd(1.0)), student, gate=ALWAYS)
        first = start(step)
        return step.update(first, labeled, {"x": unlabeled["x"]}, jax.random.key(0))[0].teacher

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


@whole_and_in_parts
@pytest.mark.parametrize("measure", [*map(student_slope, SLOPES.values()), difference()])
def test_feedback_pass_commits_no_state(way, measure):
    step = way(make(learner(apply=stateful_apply), measure=measure))
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

    step = make(learner(apply=apply))
    labeled, unlabeled = batches()
    state, info = step.update(
        start(step, model_state=jnp.zeros(())), labeled, unlabeled, jax.random.key(0)
    )
    z = jnp.full_like(labeled["x"], unlabeled["x"].mean()) @ state.student.params["w"]
    expected = masked_bce(z, labeled, *known_labels(labeled))
    np.testing.assert_allclose(info.losses["student_labeled"], expected, rtol=1e-5)


def test_variants_share_their_draws():
    labeled, unlabeled = batches(b=32)
    model = learner(apply=dropout_apply)
    seen = []
    for options in (
        {},
        {"measure": student_slope(jvp_slope)},
        {"gate": constant_gate(1.0)},
        {"measure": scaled_slope(ETA), "gate": continuous_gate()},
    ):
        step = make(model, label=sample(), **options)
        state = start_mlp(step, c=3)
        _, info = jax.jit(step.update)(state, labeled, unlabeled, jax.random.key(5))
        shared = {k: info.diagnostics[k] for k in ("positive_rate", "agreement")}
        seen.append((shared, info.losses, info.gradient_norms))
    for other in seen[1:]:
        assert_trees(seen[0], other, rtol=1e-5)
    _, other = jax.jit(step.update)(state, labeled, unlabeled, jax.random.key(6))
    assert not np.allclose(other.losses["teacher_pseudo"], seen[0][1]["teacher_pseudo"])


def test_every_draw_has_its_own_stream():
    """States show their keys; a feedback pass leaves no state, so it shows its key in its loss."""

    def apply(params, model_state, batch, key, mode):
        z = batch["x"] @ params["w"]
        shown = z if mode == "train" else 0 * z + jax.random.normal(key, z.shape)
        return shown, jnp.stack([model_state[1], jax.random.key_data(key)])

    none = jax.random.key_data(jax.random.key(0))
    rule = LabelRule(
        lambda z, key, state: (*threshold().update(z, key, ())[:2], jax.random.key_data(key)),
        init=lambda params: none,
    )
    gate = Gate(lambda fb, key, state: (fb, {}, jax.random.key_data(key)), lambda params: none)
    step = make(learner(apply=apply), label=rule, gate=gate)
    key, (labeled, unlabeled) = jax.random.key(9), batches()
    first = start(step, model_state=jnp.stack([none, none]))
    state, info = jax.jit(step.update)(first, labeled, unlabeled, key)
    assert_trees(
        [*state.teacher.model_state, state.student.model_state[1], state.label, state.gate],
        [
            jax.random.key_data(stream(key, name))
            for name in (
                *("teacher_unlabeled", "teacher_labeled", "student_unlabeled"),
                *("label", "drop"),
            )
        ],
    )
    z = jax.random.normal(stream(key, "feedback"), labeled["y"].shape)
    np.testing.assert_allclose(info.losses["student_labeled"], bce(z, labeled["y"]), rtol=1e-5)


# Compilation.


def test_jit_equals_the_step_without_it():
    step = make()
    results = [
        update(start(step), *batches(4), jax.random.key(1))
        for update in (step.update, jax.jit(step.update))
    ]
    assert abs(float(results[0][1].feedback)) > 1e-4
    assert_trees(*results, rtol=1e-4, atol=1e-6)


def test_a_start_of_plain_numbers_compiles_once():
    apply, calls = counting(lambda weight, state, batch, key, mode: (weight * batch["x"], state))
    step = make(learner(apply=apply))
    state, update = step.init((0.5, None), (0.2, None)), jax.jit(step.update)
    for t in range(2):
        state, _ = update(state, *batches(d=3), jax.random.key(t))
        assert sorted(calls) == ["feedback", *3 * ["train"]]


def test_teacher_and_student_of_different_architecture():
    teacher = learner(optax.adamw(1e-2), apply=dropout_apply)
    step = make(teacher, learner(optax.sgd(ETA, momentum=0.9)))
    params = mlp_params(0, c=3)
    state = step.init((params, None), ({"w": jnp.zeros((4, 3))}, None))
    state, info = jax.jit(step.update)(state, *batches(), jax.random.key(0))
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
    """XLA's own operation count; the floor is 4, the exact variant adds two forward passes."""
    width, b = 128, 256

    def apply(params, model_state, batch, key, mode):
        x = batch["x"]
        for w in params:
            x = jax.nn.relu(x @ w)
        return x, model_state

    model = Learner(apply, identity, masked_bce, optax.sgd(ETA))
    params = [jnp.full((width, width), 1e-2)] * 4
    batch = {"x": jnp.ones((b, width)), "y": jnp.ones((b, width))}

    def supervised(params, batch):
        loss = lambda p: masked_bce(  # noqa: E731
            apply(p, None, batch, None, "train")[0], batch, *known_labels(batch)
        )
        return jax.tree.map(lambda p, g: p - ETA * g, params, jax.grad(loss)(params))

    def count(function, *args):
        return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]

    base = count(supervised, params, batch)

    def ratio(**options):
        step = make(model, **options)
        state = step.init((params, None), (params, None))
        return count(step.update, state, batch, batch, jax.random.key(0)) / base

    ratios = {name: ratio(measure=student_slope(along)) for name, along in SLOPES.items()}
    assert max(ratios.values()) <= 4.2, ratios
    exact = ratio(label=soft(), measure=exact_teacher_gradient(), gate=constant_gate(1.0))
    assert exact <= 4.9


# The metrics.


def test_metrics_and_counts():
    labeled, unlabeled = batches(b=40)
    step = make(gate=discrete_gate(drop_rate=0.3))
    update = jax.jit(step.update)
    state = start(step)
    coefficients, dropped = [], 0
    for t in range(40):
        before = state
        state, info = update(state, labeled, unlabeled, jax.random.key(t))
        coefficients.append(float(info.coefficient))
        dropped += int(info.flags["dropped"])
    c = np.asarray(coefficients)
    assert dropped == (c == 0).sum() == int(state.counts["dropped"]) > 0
    for name, events in {"positive": c > 0, "negative": c < 0, "zero": c == 0}.items():
        assert int(state.counts[name]) == events.sum()
    assert int(state.step) == 40
    x = np.asarray(unlabeled["x"], np.float64)
    w_t, w_s = (np.asarray(before[i].params["w"]) for i in (1, 2))
    z_t, z_s = x @ w_t, x @ w_s
    told = info.diagnostics
    np.testing.assert_allclose(told["positive_rate"], (z_t >= 0).mean(0), rtol=1e-6)
    np.testing.assert_allclose(told["confidence"], np.abs(2 * sigmoid(z_t) - 1).mean(0), rtol=1e-4)
    np.testing.assert_allclose(told["agreement"], ((z_t >= 0) == (z_s >= 0)).mean(), rtol=1e-6)
    assert float(info.accepted) == 1
    y_l = np.asarray(labeled["y"])
    expected = {
        "teacher_pseudo": (w_t, x, z_t >= 0),
        "student_pseudo": (w_s, x, z_t >= 0),
        "teacher_labeled": (w_t, labeled["x"], y_l),
    }
    for name, (w, inputs, y) in expected.items():
        norm = np.linalg.norm(slope(w, inputs, y))
        np.testing.assert_allclose(info.gradient_norms[name], norm, rtol=1e-4)
        np.testing.assert_allclose(info.losses[name], bce(inputs @ w, y), rtol=1e-4)
    loss = bce(np.asarray(labeled["x"], np.float64) @ np.asarray(state.student.params["w"]), y_l)
    np.testing.assert_allclose(info.losses["student_labeled"], loss, rtol=1e-4)
