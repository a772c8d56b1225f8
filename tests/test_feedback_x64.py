"""Discrete feedback in float64: hand-worked numbers, independent programs, enumerated means."""

import functools
import hashlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from piapdf_jax.feedback import (
    Learner,
    discrete_feedback,
    exact_teacher_gradient,
    pseudo_labels,
    student_feedback,
)

pytestmark = pytest.mark.x64


def known_labels(batch):
    return batch["y"], batch["y"] >= 0


def masked_bce(z, batch, labels, mask):
    cells = optax.sigmoid_binary_cross_entropy(z, labels)
    return jnp.sum(cells, where=mask) / jnp.maximum(jnp.sum(mask), 1).astype(z.dtype)


def linear_apply(params, model_state, batch, key, mode):
    return batch["x"] @ params, model_state


def mlp_apply(params, model_state, batch, key, mode):
    return jnp.tanh(batch["x"] @ params["a"]) @ params["c"], model_state


def learner(apply, optimizer, **options):
    return Learner(
        apply, lambda outputs: outputs, options.pop("loss", masked_bce), optimizer, **options
    )


def make(teacher, student, **options):
    return discrete_feedback(teacher, student, known_labels=known_labels, **options)


def mlp_params(seed, d=4, h=5, c=2):
    rng = np.random.default_rng(seed)
    return {"a": jnp.asarray(rng.normal(size=(d, h))), "c": jnp.asarray(rng.normal(size=(h, c)))}


def data(seed, b=2, d=4, c=2):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(b, d)), rng.integers(0, 2, size=(b, c))
    return {"x": jnp.asarray(x), "y": jnp.asarray(y, jnp.float64)}


def flat(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


def relative(a, b):
    return np.linalg.norm(flat(a) - flat(b)) / np.linalg.norm(flat(b))


def dot(a, b):
    return float(flat(a) @ flat(b))


def close(a, b, rtol=1e-10, atol=0.0):
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=rtol, atol=atol)


def test_doubles_are_on():
    assert jnp.ones(()).dtype == jnp.float64


# By hand.

# y_l: g_l at xi', fb, c, g_theta_l, theta' (sigma 1), theta' (sigma 0), L_l(xi) - L_l(xi')
SCALAR = {
    1.0: (
        *(-0.759771492980, 0.342023295951, 1.0, -0.537882842740),
        *(0.591542351154, 0.553788284274, 0.035163714334),
    ),
    0.0: (
        *(1.240228507020, -0.558308709424, -0.1, 1.462117157260),
        *(0.350012877586, 0.353788284274, -0.054869486203),
    ),
}


@pytest.mark.parametrize("label", [1.0, 0.0])
def test_scalar_logistic_by_hand(label):
    g_l, fb, c, g_theta_l, kept, dropped, drop = SCALAR[label]
    model = learner(linear_apply, optax.sgd(0.1))
    x_u, x_l = {"x": jnp.ones((1, 1))}, {"x": jnp.full((1, 1), 2.0), "y": jnp.full((1, 1), label)}
    starts = (jnp.full((1, 1), 0.5), None), (jnp.full((1, 1), 0.2), None)
    tight = functools.partial(close, rtol=0, atol=1e-11)
    for drop_rate, theta in ((0.0, kept), (1.0, dropped)):
        step = make(model, model, drop_rate=drop_rate)
        state, info = step.update(step.init(*starts), x_l, x_u, jax.random.key(0))
        tight(info.gradient_norms["teacher_pseudo"], 0.377540668798)
        tight(info.gradient_norms["student_pseudo"], 0.450166002688)
        tight(info.gradient_norms["teacher_labeled"], abs(g_theta_l))
        tight(state.student.params, [[0.245016600269]])
        tight(info.feedback, fb)
        tight(info.coefficient, c if drop_rate == 0 else 0)
        tight(state.teacher.params, [[theta]])
        tight(info.feedback / -0.450166002688, g_l)
    step = make(model, model, estimator="difference", drop_rate=0.0)
    _, info = step.update(step.init(*starts), x_l, x_u, jax.random.key(0))
    tight(info.feedback, drop)


def test_scalar_logistic_exact_by_hand():
    teacher, student = learner(linear_apply, optax.sgd(1.0)), learner(linear_apply, optax.sgd(0.1))
    x_u, x_l = {"x": jnp.ones((1, 1))}, {"x": jnp.full((1, 1), 2.0), "y": jnp.ones((1, 1))}
    step = make(teacher, student, variant="exact")
    first = step.init((jnp.full((1, 1), 0.5), None), (jnp.full((1, 1), 0.2), None))
    state, info = step.update(first, x_l, x_u, jax.random.key(0))
    close(info.gradient_norms["student_pseudo"], 0.072625333889, rtol=0, atol=1e-11)
    close(state.student.params, [[0.207262533389]], rtol=0, atol=1e-11)
    moved = 0.5 - state.teacher.params
    close(moved, [[-0.018698192233 - 0.537882842740]], rtol=0, atol=1e-11)


# A trajectory against a program in NumPy.

X_U = 2 * np.sin(1 + 3 * np.arange(3)[:, None] + np.arange(3)[None])
X_L = 2 * np.cos(1 + 2 * np.arange(2)[:, None] + 3 * np.arange(3)[None])
W_T = np.sin(np.arange(3)[:, None] + 2 * np.arange(2)[None])
W_S = 0.5 * np.cos(2 * np.arange(3)[:, None] + np.arange(2)[None])
SIGMA = (1, 1, 1, 1, 1, 0, 1, 1)


def labels_at(t):
    return ((np.arange(2)[:, None] + np.arange(2)[None] + t) % 3 == 0).astype(float)


def numpy_trajectory(momentum, drop_on):
    """Eight steps, written from the equations and from nothing else."""

    def slope(w, x, y):
        z = x @ w
        return x.T @ (1 / (1 + np.exp(-z)) - y) / z.size

    def loss(w, x, y):
        z = x @ w
        return np.mean(np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - y * z)

    w_t, w_s, m_t, m_s = W_T.copy(), W_S.copy(), 0.0, 0.0
    rows = []
    for t, sigma in enumerate(SIGMA):
        y_l = labels_at(t)
        y_p = (X_U @ w_t >= 0).astype(float)
        g_tu, g_su = slope(w_t, X_U, y_p), slope(w_s, X_U, y_p)
        m_s = momentum * m_s + g_su
        new = w_s - 0.5 * m_s
        fb = np.sum(slope(new, X_L, y_l) * g_su)
        c = 1.0 if fb > 0 else -0.1
        if sigma == 0 and (drop_on == "all" or fb > 0):
            c = 0.0
        rows.append((fb, c, (loss(w_s, X_L, y_l) - loss(new, X_L, y_l)) / 0.5))
        m_t = momentum * m_t + c * g_tu + slope(w_t, X_L, y_l)
        w_t, w_s = w_t - 0.5 * m_t, new
    return np.asarray(rows), w_t, w_s


def trajectory(momentum, phases=False, **options):
    """The same through the module; sigma is injected by the drop rate of a step."""
    model = learner(linear_apply, optax.sgd(0.5, momentum=momentum or None))
    steps = [make(model, model, phases=phases, drop_rate=1.0 - s, **options) for s in (0, 1)]
    updates = [s.update if phases else jax.jit(s.update) for s in steps]
    state = steps[0].init((jnp.asarray(W_T), None), (jnp.asarray(W_S), None))
    rows = []
    for t, sigma in enumerate(SIGMA):
        x_l = {"x": jnp.asarray(X_L), "y": jnp.asarray(labels_at(t))}
        state, info = updates[sigma](state, x_l, {"x": jnp.asarray(X_U)}, jax.random.key(t))
        rows.append((float(info.feedback), float(info.coefficient)))
    return np.asarray(rows), state


LISTED = {  # momentum: fb by step, c by step, final W_t, final W_s
    0.0: (
        [
            *(0.010365818241, -0.008510671735, -0.004541170993, 0.003269298740),
            *(-0.003166978892, -0.002476602711, 0.001815975803, -0.001891774646),
        ],
        [1, -0.1, -0.1, 1, -0.1, 0, 1, -0.1],
        [
            *(0.234469314571, 0.995404415006, 0.888614989665),
            *(0.520312285337, 0.954027916217, -0.865868603825),
        ],
        [
            *(1.070207360187, 0.978876351068, 0.525657812563),
            *(0.405845140977, -0.104155818802, 0.406559254294),
        ],
    ),
    0.9: (
        [
            *(0.010365818241, -0.008679971649, -0.002925070548, 0.000646439137),
            *(-0.000110268155, -0.000140560729, 0.000022303824, 0.000000140423),
        ],
        [1, -0.1, -0.1, 1, -0.1, 0, 1, 1],
        [
            *(0.584595723065, 1.643890900682, 1.255543626623),
            *(0.990622597416, 0.849363311995, -0.695242155432),
        ],
        [
            *(2.340167672698, 2.605513730700, 2.156136226526),
            *(2.472075328717, 0.387786362153, 1.012699744443),
        ],
    ),
}
DIFFERENCE = [  # (old - new) / eta of the labeled loss, momentum 0.9
    *(0.010520504450, -0.021043940084, -0.016780612602, 0.014088666455),
    *(-0.019717943429, -0.015013546690, 0.009326947716, -0.015330259387),
]
W_T_POSITIVE = [  # final, no momentum, sigma on positive feedback only
    *(0.231703851128, 0.991066938476, 0.885106765636),
    *(0.514422772131, 0.953143768637, -0.867649692478),
]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("phases", [False, True])
def test_trajectory_equals_numpy_and_the_listed_numbers(momentum, phases):
    expected, w_t, w_s = numpy_trajectory(momentum, "all")
    rows, state = trajectory(momentum, phases=phases)
    close(rows, expected[:, :2], rtol=0, atol=2e-15)
    close(state.teacher.params, w_t, rtol=0, atol=5e-15)
    close(state.student.params, w_s, rtol=0, atol=5e-15)
    fb, c, listed_t, listed_s = LISTED[momentum]
    close(rows[:, 0], fb, rtol=0, atol=1e-12)
    close(rows[:, 1], c)
    close(flat(state.teacher.params), listed_t, rtol=0, atol=1e-12)
    close(flat(state.student.params), listed_s, rtol=0, atol=1e-12)


@pytest.mark.parametrize("estimator", ["jvp", "vjp"])
def test_trajectory_is_the_same_for_every_estimator(estimator):
    rows, state = trajectory(0.9, estimator=estimator)
    expected, w_t, _ = numpy_trajectory(0.9, "all")
    close(rows, expected[:, :2], rtol=0, atol=2e-15)
    close(state.teacher.params, w_t, rtol=0, atol=5e-15)


def test_trajectory_with_sigma_on_positive_only():
    rows, state = trajectory(0.0, drop_on="positive")
    expected, w_t, _ = numpy_trajectory(0.0, "positive")
    close(rows, expected[:, :2], rtol=0, atol=2e-15)
    assert rows[5, 1] == -0.1
    close(state.teacher.params, w_t, rtol=0, atol=5e-15)
    close(flat(state.teacher.params), W_T_POSITIVE, rtol=0, atol=1e-12)


def test_loss_difference_takes_momentum_in_and_loses_the_sign():
    expected, _, _ = numpy_trajectory(0.9, "all")
    close(expected[:, 2], DIFFERENCE, rtol=0, atol=1e-12)
    rows, _ = trajectory(0.9, estimator="difference")
    close(rows[0, 0] / 0.5, DIFFERENCE[0], rtol=0, atol=1e-12)
    close(rows[1, 0] / 0.5, DIFFERENCE[1], rtol=0, atol=1e-12)
    assert np.sign(expected[7, 0]) != np.sign(expected[7, 2])


# The feedback as a derivative.


def mlp_loss(batch):
    return lambda params: masked_bce(
        mlp_apply(params, None, batch, None, "feedback")[0], batch, *known_labels(batch)
    )


def test_estimators_agree_with_each_other_and_with_differences():
    loss, params, direction = mlp_loss(data(0, b=5)), mlp_params(1), mlp_params(2)
    values = [
        student_feedback(loss, params, direction, estimator=e)[0] for e in ("grad", "jvp", "vjp")
    ]
    close(values[1:], [values[0]] * 2, rtol=1e-12)
    h = 1e-5
    ahead, behind = (
        loss(jax.tree.map(lambda p, d: p - w * d, params, direction))  # noqa: B023
        for w in (h, -h)
    )
    close(values[0], -(ahead - behind) / (2 * h), rtol=1e-8)


def test_labels_enter_the_feedback_affinely():
    batch, params, direction = data(3, b=4), mlp_params(1), mlp_params(2)

    def fb(y):
        return student_feedback(mlp_loss(batch | {"y": y}), params, direction)[0]

    y = batch["y"]
    close(fb(y) + fb(1 - y), 2 * fb(jnp.full_like(y, 0.5)), rtol=1e-12)
    one = {k: v[:1, :4] for k, v in data(4, c=1).items()}
    w, g = jnp.zeros((4, 1)), jnp.ones((4, 1))
    signs = [
        student_feedback(
            lambda p, y=y: masked_bce(
                one["x"] @ p, None, jnp.full((1, 1), y), jnp.ones((1, 1), bool)
            ),
            w,
            g,
        )[0]
        for y in (0.0, 1.0)
    ]
    close(signs[0], -signs[1], rtol=1e-13)
    assert abs(float(signs[0])) > 0.1


def test_quadratic_student():
    a, b = np.asarray([[1.0, 2.0], [0.0, 1.0], [1.0, -1.0]]), np.asarray([1.0, 0.0, 2.0])
    xi, g, eta = np.asarray([0.5, -0.25]), np.asarray([0.3, -0.7]), 0.2

    def loss(p):
        return 0.5 * jnp.sum((jnp.asarray(a) @ p - b) ** 2)

    new = jnp.asarray(xi - eta * g)
    fb, _ = student_feedback(loss, new, jnp.asarray(g))
    drop, _ = student_feedback(
        loss, new, jnp.asarray(g), estimator="difference", old_params=jnp.asarray(xi)
    )
    close(drop, -0.049, rtol=1e-12)
    close(eta * fb, -0.103, rtol=1e-12)
    close(drop - eta * fb, 0.5 * eta**2 * np.sum((a @ g) ** 2), rtol=1e-12)
    middle, _ = student_feedback(loss, jnp.asarray(xi) - eta / 2 * jnp.asarray(g), jnp.asarray(g))
    close(drop, eta * middle, rtol=1e-12)


def run(step, seeds=(0, 1), batches=None, key=0, steps=1):
    x_l, x_u = batches or (data(10, b=3), data(11, b=3))
    state = step.init((mlp_params(seeds[0]), None), (mlp_params(seeds[1]), None))
    update = jax.jit(step.update)
    for t in range(steps):
        before = state
        state, info = update(state, x_l, x_u, jax.random.key(key + t))
    return before, state, info


def test_scale_permutation_and_duplication():
    plain = make(*[learner(mlp_apply, optax.sgd(0.2))] * 2, drop_rate=0.0)
    _, _, reference = run(plain)
    triple = learner(mlp_apply, optax.sgd(0.2 / 3), loss=lambda *args: 3 * masked_bce(*args))
    _, _, scaled = run(make(triple, triple, drop_rate=0.0))
    close(scaled.feedback, 9 * reference.feedback, rtol=1e-12)
    assert float(scaled.coefficient) == float(reference.coefficient)
    batches = data(10, b=3), data(11, b=3)
    for change in (lambda v: v[::-1], lambda v: jnp.concatenate([v, v])):
        _, _, info = run(plain, batches=[jax.tree.map(change, b) for b in batches])
        close(info.feedback, reference.feedback, rtol=1e-11)


def test_labels_that_are_right_give_positive_feedback():
    batch = data(12, b=4)
    step = make(*[learner(mlp_apply, optax.sgd(1e-6))] * 2, drop_rate=0.0)
    state = step.init((mlp_params(0), None), (mlp_params(1), None))
    z, _ = mlp_apply(state.teacher.params, None, batch, None, "train")
    batch["y"] = pseudo_labels(z)[0]
    _, info = step.update(state, batch, batch, jax.random.key(0))
    close(info.feedback, info.gradient_norms["student_pseudo"] ** 2, rtol=1e-4)
    assert float(info.coefficient) == 1


@pytest.mark.parametrize(
    ("options", "factor"),
    [({}, 1.0), ({"momentum": 0.9}, 1.0), ({"momentum": 0.9, "nesterov": True}, 1.9)],
)
def test_update_direction_is_eta_times_the_default_for_sgd(options, factor):
    model = learner(mlp_apply, optax.sgd(0.3, **options))
    infos = [
        run(make(model, model, direction=d, drop_rate=0.0), steps=3)[2]
        for d in ("gradient", "update")
    ]
    assert abs(float(infos[0].feedback)) > 1e-9
    close(infos[1].feedback, 0.3 * factor * infos[0].feedback, rtol=1e-11)
    assert not bool(infos[1].flags["insensitive"])


def test_update_direction_through_adam_equals_differences():
    optimizer = optax.adam(0.05, eps_root=1e-8)
    teacher, student = learner(mlp_apply, optax.sgd(0.1)), learner(mlp_apply, optimizer)
    x_l, x_u = data(10, b=3), data(11, b=3)
    before, _, info = run(make(teacher, student, direction="update", drop_rate=0.0), steps=4)
    y = pseudo_labels(mlp_apply(before.teacher.params, None, x_u, None, "train")[0])
    gradient = jax.grad(lambda p: masked_bce(mlp_apply(p, None, x_u, None, "train")[0], None, *y))(
        before.student.params
    )

    def judged(s):
        scaled = jax.tree.map(lambda g: s * g, gradient)
        with jax.numpy_dtype_promotion("standard"):
            updates, _ = optimizer.update(scaled, before.student.opt_state, before.student.params)
        return mlp_loss(x_l)(optax.apply_updates(before.student.params, updates))

    h = 1e-5
    close(info.feedback, -(judged(1 + h) - judged(1 - h)) / (2 * h), rtol=1e-7)
    assert abs(float(info.feedback)) > 1e-7


# Whole, phases.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"labels": "sample", "drop_on": "positive", "confidence": 0.6, "estimator": "jvp"},
        {"variant": "continuous", "cosine": True, "estimator": "vjp", "baseline_decay": 0.9},
        {
            "variant": "continuous",
            "labels": "sample",
            "teacher_term": "score",
            "direction": "update",
        },
        {"variant": "exact"},
    ],
)
def test_phases_equal_the_whole_step(options):
    def apply(params, model_state, batch, key, mode):
        hidden = jnp.tanh(batch["x"] @ params["a"])
        if mode == "train":
            hidden *= jax.random.bernoulli(key, 0.7, hidden.shape).astype(hidden.dtype)
        return hidden @ params["c"], 0.9 * model_state + 0.1 * hidden.mean(axis=0)

    model = learner(apply, optax.sgd(0.3, momentum=0.9))
    whole, phased = make(model, model, **options), make(model, model, phases=True, **options)
    mean = jnp.zeros(5)
    states = [s.init((mlp_params(0), mean), (mlp_params(1), mean)) for s in (whole, phased)]
    update = jax.jit(whole.update)
    for t in range(4):
        batch = data(t, b=5), data(t + 20, b=5)
        states[0], a = update(states[0], *batch, jax.random.key(t))
        states[1], b = phased.update(states[1], *batch, jax.random.key(t))
        assert abs(float(a.feedback)) > 1e-9
        for x, y in zip(
            jax.tree.leaves((states[0], a)), jax.tree.leaves((states[1], b)), strict=True
        ):
            close(x, y, rtol=1e-12, atol=1e-14)


# Expectations over all label matrices, and second order.

ALPHA = 0.6


def weighted_bce(*args):
    return ALPHA * masked_bce(*args)


class Problem:
    """Tanh networks 4-5-2 and two images: 16 label matrices."""

    def __init__(self, eta, momentum=0.0):
        self.x_u, self.x_l = data(11), data(10)
        self.theta, self.xi, self.trace = mlp_params(0), mlp_params(1), mlp_params(2)
        self.eta, self.momentum = eta, momentum
        self.every = jnp.ones((2, 2), bool)

    def z(self, params):
        return mlp_apply(params, None, self.x_u, None, "train")[0]

    def student_gradient(self, labels, mask):
        return jax.grad(lambda p: weighted_bce(self.z(p), None, labels, mask))(self.xi)

    def stepped(self, gradient):
        return jax.tree.map(
            lambda p, g, m: p - self.eta * (g + self.momentum * m), self.xi, gradient, self.trace
        )

    def labeled_loss(self, params):
        z, _ = mlp_apply(params, None, self.x_l, None, "train")
        return weighted_bce(z, None, self.x_l["y"], self.every)

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
        fb, _ = student_feedback(problem.labeled_loss, mean, direction)
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
            fb, _ = student_feedback(problem.labeled_loss, problem.stepped(g), g)
            terms.append((-float(jnp.exp(log_p) * eta * fb), score))
        errors.append(relative(weighted_sum(terms), problem.meta_gradient(problem.every)))
    assert errors[0] < 5e-2
    for larger, smaller in itertools.pairwise(errors):
        assert 8 < larger / smaller < 12.5, errors


def stream(key, name):
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return jax.random.fold_in(key, word)


def test_continuous_score_step_is_the_meta_gradient_in_the_mean():
    """The step at every label matrix it can draw, weighted by its probability; one cell masked."""
    errors = []
    for eta in (1e-2, 1e-3):
        problem = Problem(eta)
        z = problem.z(problem.theta)
        sure = np.sort(np.asarray(jnp.maximum(jax.nn.sigmoid(z), jax.nn.sigmoid(-z))).ravel())
        confidence = float(sure[:2].mean())
        mask = pseudo_labels(z, confidence=confidence)[1]
        assert int(mask.sum()) == 3
        step = make(
            learner(mlp_apply, optax.sgd(1.0), loss=weighted_bce),
            learner(mlp_apply, optax.sgd(eta), loss=weighted_bce),
            **{"variant": "continuous", "labels": "sample", "teacher_term": "score"},
            **{"learning_rate": eta, "confidence": confidence},
        )
        first = step.init((problem.theta, None), (problem.xi, None))
        keys = jax.random.split(jax.random.key(0), 600)
        after, _ = jax.jit(jax.vmap(step.update, in_axes=(None, None, None, 0)))(
            first, problem.x_l, problem.x_u, keys
        )
        draw = functools.partial(pseudo_labels, z, kind="sample")
        label_keys = jax.vmap(functools.partial(stream, name="label"))(keys)
        drawn = np.asarray(jax.vmap(draw)(label_keys)[0])
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
    labels = pseudo_labels(problem.z(problem.theta), jax.random.key(4), kind="sample")[0]
    g = problem.student_gradient(labels, problem.every)

    def surrogate(theta):
        log_p = problem.log_prob(theta, labels, problem.every)
        box = jnp.exp(log_p - jax.lax.stop_gradient(log_p))
        return problem.labeled_loss(jax.tree.map(lambda p, d: p - 0.3 * box * d, problem.xi, g))

    fb, _ = student_feedback(problem.labeled_loss, problem.stepped(g), g)
    score = jax.grad(problem.log_prob)(problem.theta, labels, problem.every)
    expected = jax.tree.map(lambda s: -0.3 * fb * s, score)
    assert relative(jax.grad(surrogate)(problem.theta), expected) < 1e-12


OPTIMIZERS = {
    "sgd": optax.sgd(0.3),
    "momentum": optax.sgd(0.3, momentum=0.9),
    "adam": optax.adam(0.05, eps_root=1e-8),
    "clip": optax.chain(optax.clip_by_global_norm(0.05), optax.sgd(0.3, momentum=0.9)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_exact_equals_autodiff_through_the_optimizer(name):
    """With an optimizer state that is not fresh, and a parameter whose gradient is exactly 0."""
    optimizer = OPTIMIZERS[name]
    x_l, x_u = data(10, b=3), data(11, b=3)

    def apply(params, model_state, batch, key, mode):
        return mlp_apply(params["used"], model_state, batch, key, mode)

    teacher, student = learner(mlp_apply, optax.sgd(1.0)), learner(apply, optimizer)
    step = make(teacher, student, variant="exact", feedback_weight=2.0)
    update = jax.jit(step.update)
    state = step.init((mlp_params(0), None), ({"used": mlp_params(1), "idle": jnp.ones(2)}, None))
    for t in range(2):
        before = state
        state, info = update(state, x_l, x_u, jax.random.key(t))
    theta, xi = before.teacher.params, before.student.params

    def pseudo_loss(params, targets):
        z, _ = apply(params, None, x_u, None, "train")
        return masked_bce(z, None, targets, jnp.ones_like(targets, bool))

    def soft(theta):
        return jax.nn.sigmoid(mlp_apply(theta, None, x_u, None, "train")[0])

    def labeled(params):
        return mlp_loss(x_l)(params["used"])

    def stepped(theta):
        gradient = jax.grad(pseudo_loss)(xi, soft(theta))
        with jax.numpy_dtype_promotion("standard"):
            updates, _ = optimizer.update(gradient, before.student.opt_state, xi)
        return optax.apply_updates(xi, updates)

    expected = jax.jit(jax.grad(lambda theta: labeled(stepped(theta))))(theta)
    gradient = jax.jit(jax.grad(pseudo_loss))(xi, soft(theta))
    judged = jax.jit(lambda theta: jax.grad(labeled)(stepped(theta)))(theta)
    assert not np.asarray(gradient["idle"]).any()
    alone = functools.partial(exact_teacher_gradient, pseudo_loss, soft, optimizer=optimizer)
    found, useful = jax.jit(alone)(theta, xi, gradient, judged, opt_state=before.student.opt_state)
    assert bool(useful) and not bool(info.flags["nonfinite"])
    assert relative(found, expected) < 1e-10
    moved = jax.tree.map(
        lambda old, new, g: old - new - g,
        theta,
        state.teacher.params,
        jax.grad(mlp_loss(x_l))(theta),
    )
    assert relative(moved, jax.tree.map(lambda g: 2 * g, expected)) < 1e-9
    close(info.feedback, dot(judged, gradient), rtol=1e-10)
    h = 1e-5
    along = jax.tree.map(lambda g: g / np.linalg.norm(flat(expected)), expected)
    objective = jax.jit(lambda theta: labeled(stepped(theta)))
    ahead, behind = (
        objective(jax.tree.map(lambda p, d: p + w * d, theta, along))  # noqa: B023
        for w in (h, -h)
    )
    close((ahead - behind) / (2 * h), np.linalg.norm(flat(expected)), rtol=1e-5)
