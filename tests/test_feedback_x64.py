"""Discrete feedback in float64: hand-worked numbers, a program in NumPy, the feedback as a derivative."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from feedback_problem import (
    ALWAYS,
    SCALAR,
    XI_NEW,
    close,
    data,
    flat,
    learner,
    make,
    masked_bce,
    mlp_params,
    run,
    scalar_step,
    start_mlp,
    tanh_apply,
    tanh_loss,
    whole_and_in_parts,
)

from piapdf_jax.feedback import discrete_gate, grad_slope, student_slope, threshold
from piapdf_jax.feedback_variants import compile_in_parts, difference, jvp_slope, vjp_slope

pytestmark = pytest.mark.x64


def test_doubles_are_on():
    assert jnp.ones(()).dtype == jnp.float64


# By hand.


@pytest.mark.parametrize("label", SCALAR)
def test_scalar_logistic_by_hand(label):
    g_l, fb, c, g_theta_l, kept, dropped, drop = SCALAR[label]
    tight = functools.partial(close, rtol=0, atol=1e-11)
    for drop_rate, theta in ((0.0, kept), (1.0, dropped)):
        state, info = scalar_step(label, gate=discrete_gate(drop_rate=drop_rate))
        tight(info.gradient_norms["teacher_pseudo"], 0.377540668798)
        tight(info.gradient_norms["student_pseudo"], 0.450166002688)
        tight(info.gradient_norms["teacher_labeled"], abs(g_theta_l))
        tight(state.student.params["w"], [[XI_NEW]])
        tight(info.feedback, fb)
        tight(info.coefficient, c if drop_rate == 0 else 0)
        tight(state.teacher.params["w"], [[theta]])
        tight(info.feedback / -0.450166002688, g_l)
    _, info = scalar_step(label, measure=difference(), gate=ALWAYS)
    tight(info.feedback, drop)


# A trajectory against a program in NumPy.

X_U = 2 * np.sin(1 + 3 * np.arange(3)[:, None] + np.arange(3)[None])
X_L = 2 * np.cos(1 + 2 * np.arange(2)[:, None] + 3 * np.arange(3)[None])
W_T = np.sin(np.arange(3)[:, None] + 2 * np.arange(2)[None])
W_S = 0.5 * np.cos(2 * np.arange(3)[:, None] + np.arange(2)[None])
SIGMA = (1, 1, 1, 1, 1, 0, 1, 1)


def labels_at(t):
    return ((np.arange(2)[:, None] + np.arange(2)[None] + t) % 3 == 0).astype(float)


def numpy_trajectory(momentum, drop_negative=True):
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
        if sigma == 0 and (drop_negative or fb > 0):
            c = 0.0
        rows.append((fb, c, (loss(w_s, X_L, y_l) - loss(new, X_L, y_l)) / 0.5))
        m_t = momentum * m_t + c * g_tu + slope(w_t, X_L, y_l)
        w_t, w_s = w_t - 0.5 * m_t, new
    return np.asarray(rows), w_t, w_s


def trajectory(momentum, way=lambda step: step, drop_negative=True, **options):
    """The same through the module; sigma is injected by the drop rate of a step."""
    model = learner(optax.sgd(0.5, momentum=momentum or None))
    gates = (discrete_gate(drop_rate=1.0 - s, drop_negative=drop_negative) for s in (0, 1))
    steps = [way(make(model, model, gate=gate, **options)) for gate in gates]
    updates = [s.update if way is compile_in_parts else jax.jit(s.update) for s in steps]
    state = steps[0].init(*(({"w": jnp.asarray(w)}, None) for w in (W_T, W_S)))
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
@whole_and_in_parts
def test_trajectory_equals_numpy_and_the_listed_numbers(momentum, way):
    expected, w_t, w_s = numpy_trajectory(momentum)
    rows, state = trajectory(momentum, way)
    close(rows, expected[:, :2], rtol=0, atol=2e-15)
    close(state.teacher.params["w"], w_t, rtol=0, atol=5e-15)
    close(state.student.params["w"], w_s, rtol=0, atol=5e-15)
    fb, c, listed_t, listed_s = LISTED[momentum]
    close(rows[:, 0], fb, rtol=0, atol=1e-12)
    close(rows[:, 1], c)
    close(flat(state.teacher.params["w"]), listed_t, rtol=0, atol=1e-12)
    close(flat(state.student.params["w"]), listed_s, rtol=0, atol=1e-12)


@pytest.mark.parametrize("along", [jvp_slope, vjp_slope])
def test_trajectory_is_the_same_along_every_slope(along):
    rows, state = trajectory(0.9, measure=student_slope(along))
    expected, w_t, _ = numpy_trajectory(0.9)
    close(rows, expected[:, :2], rtol=0, atol=2e-15)
    close(state.teacher.params["w"], w_t, rtol=0, atol=5e-15)


def test_trajectory_with_sigma_on_positive_only():
    rows, state = trajectory(0.0, drop_negative=False)
    expected, w_t, _ = numpy_trajectory(0.0, drop_negative=False)
    close(rows, expected[:, :2], rtol=0, atol=2e-15)
    assert rows[5, 1] == -0.1
    close(state.teacher.params["w"], w_t, rtol=0, atol=5e-15)
    close(flat(state.teacher.params["w"]), W_T_POSITIVE, rtol=0, atol=1e-12)


def test_loss_difference_takes_momentum_in_and_loses_the_sign():
    expected, _, _ = numpy_trajectory(0.9)
    close(expected[:, 2], DIFFERENCE, rtol=0, atol=1e-12)
    rows, _ = trajectory(0.9, measure=difference())
    close(rows[0, 0] / 0.5, DIFFERENCE[0], rtol=0, atol=1e-12)
    close(rows[1, 0] / 0.5, DIFFERENCE[1], rtol=0, atol=1e-12)
    assert np.sign(expected[7, 0]) != np.sign(expected[7, 2])


# The feedback as a derivative.


def test_slopes_agree_with_each_other_and_with_differences():
    loss, params, direction = tanh_loss(data(0, b=5)), mlp_params(1), mlp_params(2)
    values = [along(loss, params, direction)[0] for along in (grad_slope, jvp_slope, vjp_slope)]
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
        return grad_slope(tanh_loss(batch | {"y": y}), params, direction)[0]

    y = batch["y"]
    close(fb(y) + fb(1 - y), 2 * fb(jnp.full_like(y, 0.5)), rtol=1e-12)
    one = {k: v[:1, :4] for k, v in data(4, c=1).items()}
    w, g = jnp.zeros((4, 1)), jnp.ones((4, 1))
    signs = [
        grad_slope(
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

    def slope(at):
        return grad_slope(loss, jnp.asarray(at), jnp.asarray(g))

    fb, value = slope(xi - eta * g)
    drop = loss(xi) - value
    close(drop, -0.049, rtol=1e-12)
    close(eta * fb, -0.103, rtol=1e-12)
    close(drop - eta * fb, 0.5 * eta**2 * np.sum((a @ g) ** 2), rtol=1e-12)
    close(drop, eta * slope(xi - eta / 2 * g)[0], rtol=1e-12)


def test_scale_permutation_and_duplication():
    model = learner(optax.sgd(0.2), apply=tanh_apply)
    plain = make(model, gate=ALWAYS)
    _, _, reference = run(plain)
    thrice = lambda *args: 3 * masked_bce(*args)  # noqa: E731
    triple = learner(optax.sgd(0.2 / 3), apply=tanh_apply, loss=thrice)
    _, _, scaled = run(make(triple, gate=ALWAYS))
    close(scaled.feedback, 9 * reference.feedback, rtol=1e-12)
    assert float(scaled.coefficient) == float(reference.coefficient)
    pair = data(10, b=3), data(11, b=3)
    for change in (lambda v: v[::-1], lambda v: jnp.concatenate([v, v])):
        _, _, info = run(plain, pair=[jax.tree.map(change, b) for b in pair])
        close(info.feedback, reference.feedback, rtol=1e-11)


def test_labels_that_are_right_give_positive_feedback():
    batch = data(12, b=4)
    step = make(learner(optax.sgd(1e-6), apply=tanh_apply), gate=ALWAYS)
    state = start_mlp(step)
    z, _ = tanh_apply(state.teacher.params, None, batch, None, "train")
    batch["y"] = threshold().update(z, None, ())[0]
    _, info = step.update(state, batch, batch, jax.random.key(0))
    close(info.feedback, info.gradient_norms["student_pseudo"] ** 2, rtol=1e-4)
    assert float(info.coefficient) == 1
