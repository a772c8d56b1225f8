"""Variants that are not in the paper: other labels, measures and gates for ``feedback.discrete_feedback``.

| what | label | measure | gate |
| --- | --- | --- | --- |
| self-training, or no feedback | any hard ones | any | ``constant_gate(1.0)``, or ``(0.0)`` |
| Meta Pseudo Labels (Pham et al., 2021) | ``sample()`` | ``scaled_slope(eta)``, ``cosine()`` | ``continuous_gate()`` |
| the loss difference of public code, its sign put right | any hard ones | ``difference()`` | any |
| through the student's optimizer | any hard ones | ``through_optimizer()`` | any |
| the second-order gradient itself | ``soft()`` | ``exact_teacher_gradient()`` | ``constant_gate(1.0)`` |
"""

import copy
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from piapdf_jax import feedback
from piapdf_jax.feedback import Gate, LearnerState, Loss, Measurement, PyTree, StudentStep, upcast
from piapdf_jax.feedback_labels import (
    FOLLOWED,
    check_soft,
    clean_rates,
    matched,
    sample,
    soft,
)

__all__ = ["FOLLOWED", "clean_rates", "matched", "sample", "soft"]

Measure = Callable[[StudentStep], Measurement]


def tree_dot(a: PyTree, b: PyTree) -> jax.Array:
    """Returns the inner product of two trees of floats, summed in float32 at least."""
    return jnp.asarray(optax.tree.vdot(jax.tree.map(upcast, a), jax.tree.map(upcast, b)))


def tree_norm(tree: PyTree) -> jax.Array:
    """Returns the Euclidean norm of a tree of floats."""
    return jnp.sqrt(tree_dot(tree, tree))


def negative_log_likelihood(logits: Callable[[PyTree], jax.Array]) -> Loss:
    """Returns -log P(Y) of binary labels, summed over accepted cells: a ``pseudo_loss`` for the teacher.

    With ``sample()``, ``scaled_slope`` and ``continuous_gate``, c times its gradient is an unbiased estimate of the
    meta-gradient to first order in eta: a sum, without mean or per-cell weights. ``logits`` as in ``Learner``.
    """

    def loss(outputs, batch, labels, mask):
        cells = optax.sigmoid_binary_cross_entropy(upcast(logits(outputs)), labels)
        return jnp.sum(cells, where=mask)

    return loss


def jvp_slope(labeled_loss: Callable, params: PyTree, direction: PyTree) -> tuple[jax.Array, ...]:
    """Computes what ``grad_slope`` does in forward mode: keeps no activations, does not pass ``custom_vjp``."""
    tangent = jax.tree.map(lambda p, d: d.astype(p.dtype), params, direction)
    loss, slope = jax.jvp(lambda p: upcast(labeled_loss(p)), (params,), (tangent,))
    return slope, loss


def vjp_slope(labeled_loss: Callable, params: PyTree, direction: PyTree) -> tuple[jax.Array, ...]:
    """Computes what ``grad_slope`` does as an inner product with the whole gradient of L_l."""
    loss, grads = jax.value_and_grad(lambda p: upcast(labeled_loss(p)))(params)
    return tree_dot(grads, direction), loss


def scaled_slope(
    learning_rate: optax.ScalarOrSchedule, slope: Callable = feedback.grad_slope
) -> Measure:
    """Returns a measure of eta fb, in units of the loss; eta is a number or a schedule of the student's steps."""

    def measure(step):
        fb, loss = slope(step.labeled_loss, step.new.params, step.student_pass.grads)
        count = step.state.step - step.state.counts["student_skipped"]
        eta = learning_rate(count) if callable(learning_rate) else learning_rate
        return Measurement(fb * jnp.asarray(eta, fb.dtype), loss)

    return measure


def with_part(measure: Measure, name: str, loss: Loss) -> Measure:
    """Returns a measure that also reports, as diagnostic ``name``, the feedback of one term of the student's loss.

    <dL_l/dxi (xi'), dloss/dxi (xi)> beside fb = <dL_l/dxi (xi'), g_xi_u>: fb is the sum over the terms, of which those
    without pseudo labels say nothing of them. One backward pass on x_u and one slope more; what is trained stays as
    it is. ``measure`` must be linear in g_xi_u: a slope along the gradient, scaled or not.
    """

    def measured(step):
        student, y_p = step.state.student, (step.student_pass.labels, step.student_pass.mask)

        def term(params):
            args = (params, student.model_state), step.unlabeled, step.keys["student_unlabeled"]
            outputs, _ = feedback.apply(
                step.feedback_step.specs["student_unlabeled"], *args, "train"
            )
            return upcast(loss(outputs, step.unlabeled, *y_p))

        passed = step.student_pass._replace(grads=jax.grad(term)(student.params))
        part, whole = measure(step._replace(student_pass=passed)), measure(step)
        return whole._replace(details=whole.details | {name: part.feedback})

    return measured


def difference() -> Measure:
    """Returns a measure of L_l(xi) - L_l(xi'), with momentum and curvature; in low precision its sign is noise."""

    def measure(step):
        old, new = (upcast(step.labeled_loss(x.params)) for x in (step.state.student, step.new))
        return Measurement(old - new, new)

    return measure


class _Differentiated(NamedTuple):
    """A measure that differentiates the student's optimizer; where ``exact``, pseudo labels as well."""

    measure: Measure
    exact: bool = False

    def __call__(self, step):
        return self.measure(step)

    def check(self, step, params):
        if self.exact and (step.label.check is not check_soft or step.gate.constant is None):
            raise ValueError(
                "the exact gradient goes through the labels, and has its sign and size already: "
                "use soft() and constant_gate(1.0)."
            )
        _check_derivative(step.student.optimizer, params)


def _check_derivative(optimizer, params):
    """Tries an optimizer's derivative at gradients with one 0 in each; needs shapes alone, no values."""
    leaves, tree = jax.tree.flatten(params)
    if sum(leaf.size for leaf in leaves) < 2:
        return  # all 0 would be refused for a clip's norm
    try:
        with jax.ensure_compile_time_eval():
            ones = [jnp.ones(leaf.shape, leaf.dtype) for leaf in leaves]
            state = LearnerState(tree.unflatten(ones), None, optimizer.init(tree.unflatten(ones)))
            hole = lambda i, x: x.at[(0,) * x.ndim].set(0) if x.size > 1 or i == 0 else x  # noqa: E731
            holed = [hole(i, x) for i, x in enumerate(ones)]
            updates = lambda grads: feedback.compute_updates(optimizer, grads, state, 0.0)[0]  # noqa: E731
            moved, back = jax.vjp(updates, tree.unflatten(holed))
            finite = bool(feedback.all_finite(back(jax.tree.map(jnp.ones_like, moved))))
    except (jax.errors.UnexpectedTracerError, jax.errors.ConcretizationTypeError):
        return  # a learning rate that is itself traced has no value to try
    if not finite:
        raise ValueError(
            "this measure differentiates the student's optimizer, whose derivative is not finite "
            "where a gradient is 0: Adam needs eps_root > 0 (1e-8, say)."
        )


def _updates(step):
    """The student's updates as a function of its gradient."""
    start, value = step.state.student, step.student_pass.loss
    optimizer = step.feedback_step.student.optimizer
    return lambda grads: feedback.compute_updates(optimizer, grads, start, value)[0]


def _through_optimizer(step):
    """-d updates/ds of s g_xi_u at s = 1, and whether they depend on s at all."""

    def updates(s):
        grads = step.student_pass.grads
        return _updates(step)(jax.tree.map(lambda g: s.astype(g.dtype) * g, grads))

    moved, slope = jax.jvp(updates, (jnp.ones(()),), (jnp.ones(()),))
    usable = tree_norm(slope) > 1e-6 * tree_norm(moved)  # below, it is rounding
    return jax.tree.map(jnp.negative, slope), usable


def through_optimizer(slope: Callable = feedback.grad_slope) -> Measure:
    """Returns a measure of -d/ds L_l(xi'(s g_xi_u)) at s = 1, the slope along what the optimizer makes of g_xi_u.

    For SGD eta fb. Not usable where the scale does not matter: active global-norm clip, Adam's first step.
    """

    def measure(step):
        direction, usable = _through_optimizer(step)
        fb, loss = slope(step.labeled_loss, step.new.params, direction)
        return Measurement(fb, loss, usable)

    return _Differentiated(measure)


def _labeled_grads(step):
    return jax.value_and_grad(lambda params: upcast(step.labeled_loss(params)))(step.new.params)


def cosine(*, through_optimizer: bool = False) -> Measure:
    """Returns a measure of the cosine, in [-1, 1], of dL_l(xi') and g_xi_u, or of what the optimizer makes of it."""

    def measure(step):
        both = _through_optimizer(step) if through_optimizer else (step.student_pass.grads, True)
        loss, grads = _labeled_grads(step)
        norms = tree_norm(grads) * tree_norm(both[0])
        scale = jnp.where(norms > 0, 1 / jnp.where(norms > 0, norms, 1), 0)
        return Measurement(tree_dot(grads, both[0]) * scale, loss, both[1])

    return _Differentiated(measure) if through_optimizer else measure


def exact_teacher_gradient() -> Measure:
    """Returns a measure that hands the teacher d/dtheta L_l(xi') itself, by ``meta_gradient``, in place of g_theta_u.

    For ``soft()`` labels (or ``soft()._replace(update=...)``), ``constant_gate(1.0)``; Adam needs ``eps_root`` > 0.
    """

    def measure(step):
        whole, state, passed = step.feedback_step, step.state, step.student_pass

        def outputs(name, params, learner_state):
            args = (params, learner_state.model_state), step.unlabeled, step.keys[name], "train"
            return feedback.apply(whole.specs[name], *args)[0]

        def pseudo_loss(xi, labels):
            predicted = outputs("student_unlabeled", xi, state.student)
            spec = whole.specs["student_unlabeled"]
            return spec.loss(predicted, step.unlabeled, labels, passed.mask)

        def pseudo_labels(theta):
            logits = whole.teacher.logits(outputs("teacher_unlabeled", theta, state.teacher))
            return whole.label.update(logits, step.keys["label"], state.label)[0]

        loss, grads = _labeled_grads(step)
        models = pseudo_loss, pseudo_labels, state.teacher.params, state.student.params
        meta, usable = meta_gradient(*models, _updates(step), passed.grads, grads)
        return Measurement(tree_dot(grads, passed.grads), loss, usable, meta)

    return _Differentiated(measure, exact=True)


def meta_gradient(pseudo_loss, pseudo_labels, theta, xi, updates, grads, labeled_grads):
    """Computes dJ/dtheta, J(theta) = L_l(xi + u(g)), g = dL_u/dxi (xi, Y), Y = pseudo_labels(theta).

    Second order, without a second backward pass through the first: v = (du/dg)^T dL_l(xi') is the cotangent that the
    updates return for the labeled gradient (SGD: -eta dL_l); dJ/dY is the gradient by Y of D_v L_u(xi, Y), a forward
    mode derivative; the teacher pulls it back. It is what equations (12)-(14) estimate.

    ``pseudo_loss`` is L_u of (xi, Y), ``pseudo_labels`` a function of theta, xi the student before its step,
    ``updates`` u, ``grads`` g, and ``labeled_grads`` dL_l at xi' = xi + u(g).

    Returns:
        A pytree like theta; and whether v is of use: finite, and not 0 throughout unless the labeled gradient is.
    """
    moved, back = jax.vjp(updates, grads)
    (v,) = back(jax.tree.map(lambda j, u: j.astype(u.dtype), labeled_grads, moved))
    tangent = jax.tree.map(lambda p, x: x.astype(p.dtype), xi, v)

    def slope(labels):
        return jax.jvp(lambda p: pseudo_loss(p, labels), (xi,), (tangent,))[1]

    labels, pullback = jax.vjp(pseudo_labels, theta)
    usable = feedback.all_finite(v) & ((tree_norm(v) > 0) | (tree_norm(labeled_grads) == 0))
    return pullback(jax.grad(slope)(labels))[0], usable


def constant_gate(value: float) -> Gate:
    """Returns a gate whose c is always ``value``: 1 is self-training, 0 a supervised teacher; fb is measured still."""
    return Gate(lambda fb, key, state: (jnp.full_like(fb, value), {}, state), constant=value)


def continuous_gate(*, decay: float | None = None) -> Gate:
    """Returns the gate of Meta Pseudo Labels: c = fb, less its moving average where ``decay``, in [0, 1), is given.

    b' = decay b + (1 - decay) fb,   c = fb - b',   b = 0 at the start
    """
    if decay is None:
        return Gate(lambda fb, key, state: (fb, {}, state))
    if not 0 <= decay < 1:
        raise ValueError(f"decay={decay} must lie in [0, 1).")

    def update(fb, key, state):
        average = decay * state + (1 - decay) * fb.astype(state.dtype)
        return fb - average.astype(fb.dtype), {}, average

    return Gate(update, init=lambda params: jnp.zeros(()))


def compile_in_parts(step: feedback.FeedbackStep) -> feedback.FeedbackStep:
    """Returns the same step with its parts compiled one by one, so that its ``update`` must not be jitted.

    They compile faster than one function and hold less at a time: the three passes with gradients share one function
    if their batches have one structure and size, ``apply``, ``logits``, ``loss`` are the same, ``pseudo_loss`` None.
    """
    parts = copy.copy(step)
    for name in ("_prepare", "_step_student", "_judge", "_open_gate", "_step_teacher"):
        setattr(parts, name, jax.jit(getattr(parts, name)))
    parts._gradients = jax.jit(parts._gradients, static_argnums=0)  # static is what is learned
    return parts
