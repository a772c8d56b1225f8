"""Variants of discrete feedback in float64: through optimizers, in parts, enumerated means, second order."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from feedback_problem import (
    ALWAYS,
    assert_trees,
    close,
    data,
    dropout_apply,
    flat,
    identity,
    learner,
    make,
    masked_bce,
    mlp_params,
    relative,
    run,
    scalar_step,
    start_mlp,
    stream,
    tanh_apply,
    tanh_loss,
)

from piapdf_jax.feedback import discrete_gate, grad_slope, student_slope, threshold
from piapdf_jax.feedback_variants import (
    compile_in_parts,
    constant_gate,
    continuous_gate,
    cosine,
    exact_teacher_gradient,
    jvp_slope,
    matched,
    meta_gradient,
    negative_log_likelihood,
    sample,
    scaled_slope,
    soft,
    through_optimizer,
)

pytestmark = pytest.mark.x64

EXACT = {"label": soft(), "measure": exact_teacher_gradient(), "gate": constant_gate(1.0)}


def tanh_logits(params, batch):
    return tanh_apply(params, None, batch, None, "train")[0]


def optimized(optimizer, grads, state):
    """Parameters after an update of optax, written without the module."""
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(grads, state.opt_state, state.params)
    return optax.apply_updates(state.params, updates)


# Through the optimizer.


def test_scalar_logistic_exact_by_hand():
    teacher, student = learner(optax.sgd(1.0)), learner(optax.sgd(0.1))
    state, info = scalar_step(1.0, teacher=teacher, student=student, **EXACT)
    close(info.gradient_norms["student_pseudo"], 0.072625333889, rtol=0, atol=1e-11)
    close(state.student.params["w"], [[0.207262533389]], rtol=0, atol=1e-11)
    moved = 0.5 - state.teacher.params["w"]
    close(moved, [[-0.018698192233 - 0.537882842740]], rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("options", "factor"),
    [({}, 1.0), ({"momentum": 0.9}, 1.0), ({"momentum": 0.9, "nesterov": True}, 1.9)],
)
def test_through_sgd_the_slope_is_eta_times_the_default(options, factor):
    model = learner(optax.sgd(0.3, **options), apply=tanh_apply)
    infos = [
        run(make(model, measure=measure, gate=ALWAYS), steps=3)[2]
        for measure in (student_slope(), through_optimizer())
    ]
    assert abs(float(infos[0].feedback)) > 1e-9
    close(infos[1].feedback, 0.3 * factor * infos[0].feedback, rtol=1e-11)
    assert not bool(infos[1].flags["unusable"])


def test_through_adam_the_slope_equals_differences():
    optimizer = optax.adam(0.05, eps_root=1e-8)
    teacher = learner(optax.sgd(0.1), apply=tanh_apply)
    x_l, x_u = data(10, b=3), data(11, b=3)
    step = make(
        *(teacher, teacher._replace(optimizer=optimizer)), measure=through_optimizer(), gate=ALWAYS
    )
    before, _, info = run(step, steps=4)
    y = threshold().update(tanh_logits(before.teacher.params, x_u), None, ())[:2]
    gradient = jax.grad(lambda p: masked_bce(tanh_logits(p, x_u), None, *y))(before.student.params)

    def judged(s):
        scaled = jax.tree.map(lambda g: s * g, gradient)
        return tanh_loss(x_l)(optimized(optimizer, scaled, before.student))

    h = 1e-5
    close(info.feedback, -(judged(1 + h) - judged(1 - h)) / (2 * h), rtol=1e-7)
    assert abs(float(info.feedback)) > 1e-7


# Whole, in parts.


@pytest.mark.parametrize(
    ("options", "pseudo_loss"),
    [
        ({}, None),
        (
            {
                "label": sample(confidence=0.6),
                "measure": student_slope(jvp_slope),
                "gate": discrete_gate(drop_negative=False),
            },
            None,
        ),
        ({"measure": cosine(), "gate": continuous_gate(decay=0.9)}, None),
        (
            {"label": sample(), "measure": through_optimizer(), "gate": continuous_gate()},
            negative_log_likelihood(identity),
        ),
        (EXACT, None),
    ],
    ids=["default", "sample", "cosine", "score", "exact"],
)
def test_parts_equal_the_whole_step(options, pseudo_loss):
    student = learner(optax.sgd(0.3, momentum=0.9), apply=dropout_apply)
    whole = make(student._replace(pseudo_loss=pseudo_loss), student, **options)
    updates = jax.jit(whole.update), compile_in_parts(whole).update
    states = [start_mlp(whole, model_state=jnp.zeros(5)) for _ in updates]
    for t in range(4):
        batch = data(t, b=5), data(t + 20, b=5)
        (states[0], a), (states[1], b) = (
            update(state, *batch, jax.random.key(t))
            for update, state in zip(updates, states, strict=True)
        )
        assert abs(float(a.feedback)) > 1e-9
        assert_trees((states[0], a), (states[1], b), rtol=1e-12, atol=1e-14)


# Expectations over all label matrices, and second order.

ALPHA = 0.6


def weighted_bce(*args):
    return ALPHA * masked_bce(*args)


class Problem:
    """Tanh networks 4-5-2 and two images: 16 label matrices."""

    def __init__(self, eta, momentum=0.0):
        self.x_u, self.x_l = data(11), data(10)
        self.theta, self.xi, self.trace = map(mlp_params, range(3))
        self.eta, self.momentum = eta, momentum
        self.every = jnp.ones((2, 2), bool)

    def z(self, params):
        return tanh_logits(params, self.x_u)

    def student_gradient(self, labels, mask):
        return jax.grad(lambda p: weighted_bce(self.z(p), None, labels, mask))(self.xi)

    def stepped(self, gradient):
        return jax.tree.map(
            lambda p, g, m: p - self.eta * (g + self.momentum * m), self.xi, gradient, self.trace
        )

    def labeled_loss(self, params):
        return weighted_bce(tanh_logits(params, self.x_l), None, self.x_l["y"], self.every)

    def meta_gradient(self, mask):
        """Second order autodiff through the step on the teacher's probabilities."""

        def objective(theta):
            return self.labeled_loss(
                self.stepped(self.student_gradient(jax.nn.sigmoid(self.z(theta)), mask))
            )

        return jax.grad(objective)(self.theta)

    def log_prob(self, theta, labels, mask):
        cells = optax.sigmoid_binary_cross_entropy(self.z(theta), labels)
        return -jnp.sum(cells, where=mask)

    def matrices(self, mask=None):
        mask = np.ones((2, 2), bool) if mask is None else np.asarray(mask)
        for values in itertools.product((0.0, 1.0), repeat=int(mask.sum())):
            labels = np.zeros((2, 2))
            labels[mask] = values
            yield jnp.asarray(labels)


def weighted_sum(terms):
    return functools.reduce(
        lambda a, b: jax.tree.map(jnp.add, a, b),
        [jax.tree.map(lambda g: w * g, tree) for w, tree in terms],  # noqa: B023
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_mean_of_the_feedback_over_all_labels_is_the_second_order_gradient(momentum):
    problem = Problem(0.3, momentum)
    every = problem.every
    mean = problem.stepped(
        problem.student_gradient(jax.nn.sigmoid(problem.z(problem.theta)), every)
    )
    terms = []
    for labels in problem.matrices():
        log_p, score = jax.value_and_grad(problem.log_prob)(problem.theta, labels, every)
        direction = problem.student_gradient(labels, every)
        fb, _ = grad_slope(problem.labeled_loss, mean, direction)
        terms.append((-float(jnp.exp(log_p) * 0.3 * fb), score))
    assert len(terms) == 16
    assert relative(weighted_sum(terms), problem.meta_gradient(every)) < 1e-12


def test_single_samples_approach_it_to_first_order():
    errors = []
    for eta in (1e-1, 1e-2, 1e-3):
        problem = Problem(eta)
        terms = []
        for labels in problem.matrices():
            log_p, score = jax.value_and_grad(problem.log_prob)(
                problem.theta, labels, problem.every
            )
            g = problem.student_gradient(labels, problem.every)
            fb, _ = grad_slope(problem.labeled_loss, problem.stepped(g), g)
            terms.append((-float(jnp.exp(log_p) * eta * fb), score))
        errors.append(relative(weighted_sum(terms), problem.meta_gradient(problem.every)))
    assert errors[0] < 5e-2
    for larger, smaller in itertools.pairwise(errors):
        assert 8 < larger / smaller < 12.5, errors


def stepped_often(step, problem, rule, z):
    """States after a step with each of 600 keys, and the labels that each drew."""
    first = step.init((problem.theta, None), (problem.xi, None))
    keys = jax.random.split(jax.random.key(0), 600)
    after, _ = jax.jit(jax.vmap(step.update, in_axes=(None, None, None, 0)))(
        first, problem.x_l, problem.x_u, keys
    )
    draw = jax.vmap(lambda key: rule.update(z, stream(key, "label"), ())[0])
    return after, np.asarray(draw(keys))


def test_continuous_score_step_is_the_meta_gradient_in_the_mean():
    """The step at every label matrix it can draw, weighted by its probability; one cell masked."""
    errors = []
    for eta in (1e-2, 1e-3):
        problem = Problem(eta)
        z = problem.z(problem.theta)
        sure = np.sort(np.asarray(jnp.maximum(jax.nn.sigmoid(z), jax.nn.sigmoid(-z))).ravel())
        confidence = float(sure[:2].mean())
        rule = sample(confidence=confidence)
        mask = rule.update(z, jax.random.key(0), ())[1]
        assert int(mask.sum()) == 3
        student = learner(optax.sgd(eta), apply=tanh_apply, loss=weighted_bce)
        likely = negative_log_likelihood(identity)
        step = make(
            student._replace(optimizer=optax.sgd(1.0), pseudo_loss=likely),
            student,
            label=rule,
            measure=scaled_slope(eta),
            gate=continuous_gate(),
        )
        after, drawn = stepped_often(step, problem, rule, z)
        supervised = jax.grad(problem.labeled_loss)(problem.theta)
        terms = []
        for labels in problem.matrices(mask):
            equal = (drawn == np.asarray(labels)) | ~np.asarray(mask)
            hits = np.flatnonzero(equal.all(axis=(1, 2)))
            assert hits.size, "a label matrix was never drawn"
            moved = jax.tree.map(
                lambda old, new, g: old - new[hits[0]] - g,  # noqa: B023
                *(problem.theta, after.teacher.params, supervised),
            )
            terms.append((float(jnp.exp(problem.log_prob(problem.theta, labels, mask))), moved))
        np.testing.assert_allclose(sum(w for w, _ in terms), 1, rtol=1e-12)
        errors.append(relative(weighted_sum(terms), problem.meta_gradient(mask)))
    assert errors[0] < 1e-2
    assert 8 < errors[0] / errors[1] < 12.5, errors


def test_score_function_surrogate_gives_the_same_step():
    """box = exp(log P - stop(log P)) on the student's gradient, then L_l(xi') by theta."""
    problem = Problem(0.3)
    labels = sample().update(problem.z(problem.theta), jax.random.key(4), ())[0]
    g = problem.student_gradient(labels, problem.every)

    def surrogate(theta):
        log_p = problem.log_prob(theta, labels, problem.every)
        box = jnp.exp(log_p - jax.lax.stop_gradient(log_p))
        return problem.labeled_loss(jax.tree.map(lambda p, d: p - 0.3 * box * d, problem.xi, g))

    fb, _ = grad_slope(problem.labeled_loss, problem.stepped(g), g)
    score = jax.grad(problem.log_prob)(problem.theta, labels, problem.every)
    expected = jax.tree.map(lambda s: -0.3 * fb * s, score)
    assert relative(jax.grad(surrogate)(problem.theta), expected) < 1e-12


OPTIMIZERS = {
    "sgd": optax.sgd(0.3),
    "momentum": optax.sgd(0.3, momentum=0.9),
    "adam": optax.adam(0.05, eps_root=1e-8),
    "clip": optax.chain(optax.clip_by_global_norm(0.05), optax.sgd(0.3, momentum=0.9)),
}


def used_apply(params, model_state, batch, key, mode):
    return tanh_apply(params["used"], model_state, batch, key, mode)


class ThroughOptimizer:
    """An exact step with an optimizer state that is not fresh, and a parameter whose gradient is exactly 0."""

    def __init__(self, optimizer):
        self.optimizer, self.x_l, self.x_u = optimizer, data(10, b=3), data(11, b=3)
        teacher = learner(optax.sgd(1.0), apply=tanh_apply)
        student = learner(optimizer, apply=used_apply)
        step = make(teacher, student, feedback_weight=2.0, **EXACT)
        start = {"used": mlp_params(1), "idle": jnp.ones(2)}
        update, self.after = jax.jit(step.update), step.init((mlp_params(0), None), (start, None))
        for t in range(2):
            self.before = self.after
            self.after, self.info = update(self.before, self.x_l, self.x_u, jax.random.key(t))
        self.theta, self.xi = self.before.teacher.params, self.before.student.params

    def pseudo_loss(self, params, targets):
        z = tanh_logits(params["used"], self.x_u)
        return masked_bce(z, None, targets, jnp.ones_like(targets, bool))

    def probabilities(self, theta):
        return jax.nn.sigmoid(tanh_logits(theta, self.x_u))

    def labeled(self, params):
        return tanh_loss(self.x_l)(params["used"])

    def stepped(self, theta):
        gradient = jax.grad(self.pseudo_loss)(self.xi, self.probabilities(theta))
        return optimized(self.optimizer, gradient, self.before.student)

    def updates(self, grads):
        moved = optimized(self.optimizer, grads, self.before.student)
        return jax.tree.map(jnp.subtract, moved, self.xi)

    def objective(self, theta):
        return self.labeled(self.stepped(theta))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_exact_equals_autodiff_through_the_optimizer(name):
    problem = ThroughOptimizer(OPTIMIZERS[name])
    theta, xi, info = problem.theta, problem.xi, problem.info
    expected = jax.jit(jax.grad(problem.objective))(theta)
    gradient = jax.jit(jax.grad(problem.pseudo_loss))(xi, problem.probabilities(theta))
    judged = jax.jit(lambda theta: jax.grad(problem.labeled)(problem.stepped(theta)))(theta)
    assert not np.asarray(gradient["idle"]).any()
    functions = problem.pseudo_loss, problem.probabilities
    alone = jax.jit(lambda *grads: meta_gradient(*functions, theta, xi, problem.updates, *grads))
    found, usable = alone(gradient, judged)
    assert bool(usable) and not bool(info.flags["unusable"]) and not bool(info.flags["nonfinite"])
    assert relative(found, expected) < 1e-10
    supervised = jax.grad(tanh_loss(problem.x_l))(theta)
    after = problem.after.teacher.params
    moved = jax.tree.map(lambda old, new, g: old - new - g, theta, after, supervised)
    assert relative(moved, jax.tree.map(lambda g: 2 * g, expected)) < 1e-9
    close(info.feedback, flat(judged) @ flat(gradient), rtol=1e-10)
    h, norm = 1e-5, np.linalg.norm(flat(expected))
    objective = jax.jit(problem.objective)
    ahead, behind = (
        objective(jax.tree.map(lambda p, g: p + w * g / norm, theta, expected))  # noqa: B023
        for w in (h, -h)
    )
    close((ahead - behind) / (2 * h), norm, rtol=1e-5)


def lagging_apply(params, model_state, batch, key, mode):
    z, moved = dropout_apply(params, model_state, batch, key, mode)
    return z - model_state @ params["c"], moved


def test_exact_goes_through_the_draws_and_states_of_the_step():
    """Dropout and a running mean that the logits lack: the gradient is that of these very passes."""
    apply = lagging_apply
    teacher = learner(optax.sgd(1.0), apply=apply)
    student = learner(optax.sgd(0.3), apply=apply)
    step = make(teacher, student, **{**EXACT, "label": soft(confidence=0.6)})
    (x_l, x_u), key = (data(10, b=5), data(11, b=5)), jax.random.key(3)
    first = start_mlp(step, model_state=jnp.linspace(-1.0, 1.0, 5))
    state, info = jax.jit(step.update)(first, x_l, x_u, key)

    def through(learned, params, batch, name, mode="train"):
        return apply(params, learned.model_state, batch, stream(key, name), mode)

    theta = first.teacher.params
    logits, between = through(first.teacher, theta, x_u, "teacher_unlabeled")
    mask = jnp.maximum(jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)) >= 0.6
    assert 0 < float(mask.mean()) < 1

    def objective(theta):
        y = jax.nn.sigmoid(through(first.teacher, theta, x_u, "teacher_unlabeled")[0])

        def pseudo_loss(xi):
            z, _ = through(first.student, xi, x_u, "student_unlabeled")
            return masked_bce(z, None, y, mask)

        xi = first.student.params
        new = jax.tree.map(lambda p, g: p - 0.3 * g, xi, jax.grad(pseudo_loss)(xi))
        z, _ = through(state.student, new, x_l, "feedback", "feedback")
        return masked_bce(z, None, x_l["y"], jnp.ones_like(mask))

    def supervised(theta):
        begun = first.teacher._replace(model_state=between)
        z, _ = through(begun, theta, x_l, "teacher_labeled")
        return masked_bce(z, None, x_l["y"], jnp.ones_like(mask))

    exact, labeled = jax.jit(jax.grad(objective))(theta), jax.jit(jax.grad(supervised))(theta)
    moved = jax.tree.map(lambda old, new: old - new, theta, state.teacher.params)
    found = jax.tree.map(jnp.subtract, moved, labeled)
    assert relative(found, exact) < 1e-9


@pytest.mark.parametrize("follow", ["labeled", "unlabeled"])
def test_cuts_of_matched_labels_move_by_wide_logits(follow):
    rule, z = matched([0.25], follow=follow), jnp.asarray([[-1.0], [1.0], [2.0], [-3.0]])
    assert z.dtype == jnp.float64
    labels, _, state = rule.update(z, jax.random.key(0), rule.init(None))
    np.testing.assert_array_equal(labels, [[0], [1], [1], [0]])
    # Half of what two of four are above a quarter.
    np.testing.assert_allclose(rule.observe(z, state).cut, [0.125])
