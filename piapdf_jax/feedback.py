r"""Discrete feedback: a teacher learns from what its pseudo labels did to a student (PIAP-DF, section 3.3).

One file on jax and optax, for any pair of models. Teacher f_theta and student f_xi are two
`Learner`s; one step of `discrete_feedback` takes unlabeled data x_u and labeled data (x_l, Y_l) and
goes through the paper's equations (7)-(14):

1.  The teacher labels x_u. From one forward pass come its probabilities, its pseudo labels Y_p =
    1[sigma(z) >= 0.5] and the gradient of its own loss on them
                   (7)

        g_theta_u = d/dtheta L(f_theta(x_u), Y_p)

2.  The student steps on the same labels, with its own optimizer. Plain SGD reads            (7),
    (8)

        g_xi_u = d/dxi L(f_xi(x_u), Y_p),        xi' = xi - eta g_xi_u

3.  The labeled data judge the step. Walking back from xi' along the gradient that was taken,  (9),
    (10)

        fb = -d/dw L(f_(xi' - w g_xi_u)(x_l), Y_l) at w = 0  =  < dL_l/dxi (xi'), g_xi_u >

    so that L_l(xi) - L_l(xi') = eta fb + O(eta^2): fb > 0 says that the pseudo labels lowered the
    labeled loss. The sign is old minus new.

4.  The feedback becomes a coefficient                                                        (10)

        c = sigma h(fb),     h(z) = 1 if z > 0 else -0.1,     P(sigma = 0) = 0.05

    and is a constant from here on: no gradient flows through it.

5.  The teacher steps on                                                                      (9),
    (11)

        c g_theta_u + g_theta_l,        g_theta_l = d/dtheta L(f_theta(x_l), Y_l)

Why this teaches the teacher (12)-(14): let J(theta) be L_l at the student's mean step over labels
drawn from the teacher. Its gradient is the mean of eta fb (-d/dtheta log P_theta(Y_p)), and -log
P_theta(Y_p) is the teacher's binary cross entropy against its own labels, up to the number of
labels. Momentum changes nothing here, since only g_xi_u depends on Y_p. Two things hold the chain
together. The labels must be hard, or the gradient of that cross entropy is sigma(z) - Y_p = 0 at
every label; and the same pass must give both labels and gradient.

A step in numbers: one weight each, z = theta x for the teacher and z = xi x for the student, x_u =
1, x_l = 2, Y_l = 1, eta = 0.1.

>>> import jax, jax.numpy as jnp, optax
>>> from piapdf_jax.feedback import Learner, discrete_feedback
>>> scalar = Learner(
...     apply=lambda weight, model_state, batch, key, mode: (weight * batch["x"], model_state),
...     logits=lambda outputs: outputs,
...     loss=lambda z, batch, y, mask: optax.sigmoid_binary_cross_entropy(z, y).mean(where=mask),
...     optimizer=optax.sgd(0.1))
>>> step = discrete_feedback(
...     scalar, scalar, known_labels=lambda batch: (batch["y"], batch["y"] >= 0), drop_rate=0.0)
>>> state = step.init((jnp.asarray(0.5), None), (jnp.asarray(0.2), None))
>>> unlabeled = {"x": jnp.asarray([[1.0]])}
>>> labeled = {"x": jnp.asarray([[2.0]]), "y": jnp.asarray([[1.0]])}
>>> state, info = jax.jit(step.update)(state, labeled, unlabeled, jax.random.key(0))
>>> print(f"student {state.student.params:.5f}")
student 0.24502
>>> print(f"feedback {info.feedback:.5f}, coefficient {info.coefficient:.1f}")
feedback 0.34202, coefficient 1.0
>>> print(f"teacher {state.teacher.params:.5f}")
teacher 0.59154

References:
    Y. Tang et al., PIAP-DF: Pixel-Interested and Anti Person-Specific Facial Action Unit Detection
    Net with Discrete Feedback Learning, ICCV 2021, section 3.3. H. Pham et al., Meta Pseudo Labels,
    CVPR 2021 (`variant="continuous"`).
"""

import functools
import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

__all__ = [
    "FeedbackInfo",
    "FeedbackState",
    "FeedbackStep",
    "Learner",
    "LearnerState",
    "continuous",
    "discrete_feedback",
    "discretize",
    "exact_teacher_gradient",
    "pseudo_labels",
    "student_feedback",
]

#: Every random draw of a step has a stream of its own, so that variants that share a key share
#: their draws.
_STREAMS = (
    "label",
    "teacher_unlabeled",
    "teacher_labeled",
    "student_unlabeled",
    "feedback",
    "drop",
)
#: Below this ratio of |d update/ds| to |update| the optimizer's step does not depend on the scale
#: of its gradient.
_INSENSITIVE = 1e-6
_COUNTS = (
    *("positive", "negative", "zero", "dropped", "nonfinite", "no_labels", "insensitive"),
    *("student_skipped", "teacher_skipped"),
)
_CHOICES = {
    "variant": ("discrete", "continuous", "exact", "none", "constant"),
    "estimator": ("grad", "jvp", "vjp", "difference"),
    "direction": ("gradient", "update"),
    "labels": ("threshold", "sample", "soft"),
    "teacher_term": ("full", "score"),
    "drop_on": ("all", "positive"),
}


class Learner(NamedTuple):
    """A model as pure functions; teacher and student may be one Learner or two different ones.

    B is the number of examples in a batch, C the number of labels an example has. A batch is any
    pytree of arrays and carries whatever the loss compares with besides the labels (fixed targets,
    weights).

    Attributes:
        apply: (params, model_state, batch, key, mode) -> (outputs, model_state). `mode` is "train"
            (dropout on, batch statistics, running statistics updated) or "feedback" (batch
            statistics, no dropout; the returned state is thrown away). `model_state` is any pytree,
            None for a model without state.
        logits: outputs -> [B, C] logits of the C binary labels.
        loss: (outputs, batch, labels [B, C] float in [0, 1], mask [B, C] bool) -> scalar, over the
            cells where `mask` is
            true: the loss on labels, and the same loss with pseudo labels in their place. With no
                cell at all it must
            still be finite.
        optimizer: any optax transformation.
        pseudo_loss: `loss` for pseudo labels, where it differs (label smoothing, say); None for
            `loss`.
        score_loss: the part of the loss on pseudo labels that the labels enter, for
            `teacher_term="score"`.
    """

    apply: Callable[[Any, Any, Any, jax.Array, str], tuple[Any, Any]]
    logits: Callable[[Any], jax.Array]
    loss: Callable[[Any, Any, jax.Array, jax.Array], jax.Array]
    optimizer: optax.GradientTransformation
    pseudo_loss: Callable[[Any, Any, jax.Array, jax.Array], jax.Array] | None = None
    score_loss: Callable[[Any, Any, jax.Array, jax.Array], jax.Array] | None = None


class LearnerState(NamedTuple):
    """What training changes in one learner: parameters, model state (batch statistics), optimizer
    state."""

    params: Any
    model_state: Any
    opt_state: Any


class FeedbackState(NamedTuple):
    """State of the whole step.

    Attributes:
        step: [] int32, updates attempted.
        teacher: LearnerState.
        student: LearnerState.
        baseline: [] float, moving average of the feedback (`variant="continuous"`), else 0.
        counts: [] int32 by name, over all steps so far. Of every step exactly one of `positive`,
            `negative`, `zero` (the sign of the coefficient); `dropped`, `nonfinite`, `no_labels`,
            `insensitive` say why it was 0; `student_skipped`, `teacher_skipped`: steps that left
            that learner as it was.
    """

    step: jax.Array
    teacher: LearnerState
    student: LearnerState
    baseline: jax.Array
    counts: dict[str, jax.Array]


class FeedbackInfo(NamedTuple):
    """Metrics of one step; scalars but where a shape stands.

    Attributes:
        feedback: fb as measured, before gate and scaling.
        coefficient: what the teacher's gradient on x_u was multiplied with, before
            `feedback_weight`.
        dropped: sigma was 0.
        nonfinite: the feedback was not finite (or, exact, its cotangent was of no use), so the
            coefficient is 0.
        no_labels: no known label in x_l or no accepted pseudo label, so the coefficient is 0.
        insensitive: the student's update does not depend on the scale of its gradient, so the
            coefficient is 0.
        student_skipped: loss or gradient of the student was not finite; it stayed as it was.
        teacher_skipped: the same of the teacher.
        shares: of all steps so far, those with a positive, negative and zero coefficient, by name.
        student_pseudo_loss: student on x_u and the pseudo labels, before its step.
        student_labeled_loss: student on x_l after its step, in the feedback pass.
        teacher_pseudo_loss: teacher on x_u and its own labels (the term that is multiplied by the
            coefficient).
        teacher_labeled_loss: teacher on x_l.
        pseudo_positive_rate: [C], share of positives (mean, if soft) among the accepted pseudo
            labels.
        pseudo_confidence: [C], mean |2 p - 1| of the teacher on x_u.
        pseudo_accepted: share of accepted pseudo labels.
        agreement: share of cells of x_u where thresholded teacher and student say the same.
        student_gradient_norm: |g_xi_u|.
        teacher_pseudo_gradient_norm: |g_theta_u|, before the coefficient.
        teacher_labeled_gradient_norm: |g_theta_l|.
    """

    feedback: jax.Array
    coefficient: jax.Array
    dropped: jax.Array
    nonfinite: jax.Array
    no_labels: jax.Array
    insensitive: jax.Array
    student_skipped: jax.Array
    teacher_skipped: jax.Array
    shares: dict[str, jax.Array]
    student_pseudo_loss: jax.Array
    student_labeled_loss: jax.Array
    teacher_pseudo_loss: jax.Array
    teacher_labeled_loss: jax.Array
    pseudo_positive_rate: jax.Array
    pseudo_confidence: jax.Array
    pseudo_accepted: jax.Array
    agreement: jax.Array
    student_gradient_norm: jax.Array
    teacher_pseudo_gradient_norm: jax.Array
    teacher_labeled_gradient_norm: jax.Array


class FeedbackStep(NamedTuple):
    """The pair of pure functions that `discrete_feedback` returns.

    Attributes:
        init: ((params, model_state) of the teacher, the same of the student) -> FeedbackState.
            Everything is copied, so both may start from the same arrays and the state may be
            donated.
        update: (state, labeled, unlabeled, key) -> (state, FeedbackInfo), `key` a typed key,
            another one each step.
    """

    init: Callable[[tuple[Any, Any], tuple[Any, Any]], FeedbackState]
    update: Callable[[FeedbackState, Any, Any, jax.Array], tuple[FeedbackState, FeedbackInfo]]


class _Options(NamedTuple):
    """The arguments of `discrete_feedback`, checked."""

    variant: str
    estimator: str
    direction: str
    labels: str
    teacher_term: str
    positive: float
    negative: float
    drop_rate: float
    drop_on: str
    feedback_weight: float
    confidence: float | None
    learning_rate: float | Callable[[jax.Array], Any] | None
    cosine: bool
    baseline_decay: float | None


class _Task(NamedTuple):
    """What decides a compiled gradient: equal tasks on equal shapes are compiled once."""

    apply: Callable[..., Any]
    logits: Callable[..., Any]
    loss: Callable[..., Any]


class _Pass(NamedTuple):
    """One forward and backward pass: its loss, gradient, new model state, and the labels it was
    taken on."""

    loss: jax.Array
    gradient: Any
    model_state: Any
    logits: jax.Array
    labels: jax.Array
    mask: jax.Array


class _Measured(NamedTuple):
    """What the labeled data said of the student's step; `gradient` only where the norm or the
    vector is needed."""

    feedback: jax.Array
    loss: jax.Array
    gradient: Any


# Numbers: float32 at least, whatever the parameters are.


def _wide_dtype(dtype: Any) -> Any:
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(_wide_dtype(x.dtype))


def _tree_dtype(tree: Any) -> Any:
    dtypes = [_wide_dtype(jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)]
    return max(dtypes, key=lambda dtype: jnp.finfo(dtype).bits)


def _dot(a: Any, b: Any) -> jax.Array:
    dtype = _tree_dtype(a)
    parts = jax.tree.map(lambda x, y: jnp.sum(_wide(x) * _wide(y)).astype(dtype), a, b)
    return functools.reduce(jnp.add, jax.tree.leaves(parts))


def _norm(tree: Any) -> jax.Array:
    return jnp.sqrt(_dot(tree, tree))


def _finite(*trees: Any) -> jax.Array:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(trees)]
    return functools.reduce(jnp.logical_and, leaves)


def _select(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)


def _stream(key: jax.Array, name: str) -> jax.Array:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return jax.random.fold_in(key, word)


# The parts that are of use alone.


def pseudo_labels(
    logits: jax.Array,
    key: jax.Array | None = None,
    *,
    kind: str = "threshold",
    threshold: float = 0.5,
    confidence: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Labels that a model gives: thresholded, drawn from its probabilities, or the probabilities themselves.

    Args:
        logits: [B, C].
        key: typed key, for `kind="sample"`.
        kind: "threshold" (1 where the probability is at least `threshold`), "sample" (Bernoulli) or
            "soft".
        threshold: in (0, 1).
        confidence: accept a cell only where max(p, 1 - p) is at least this; None accepts all.

    Returns:
        Labels [B, C], float32 at least, without gradient; and the accepted cells [B, C], bool. A
        logit that is not finite gives no accepted label.

    Raises:
        ValueError: unknown `kind`, or "sample" without a key.
    """
    _check_choice("labels", kind)
    probs = jax.nn.sigmoid(_wide(jax.lax.stop_gradient(logits)))
    mask = jnp.isfinite(probs)
    if confidence is not None:
        mask &= jnp.maximum(probs, 1 - probs) >= confidence
    if kind == "soft":
        return jnp.where(mask, probs, 0), mask
    if kind == "sample":
        if key is None:
            raise ValueError("kind='sample' draws labels and needs a key.")
        drawn = jax.random.uniform(key, probs.shape, probs.dtype) < probs
    else:
        drawn = probs >= threshold
    return drawn.astype(probs.dtype), mask


def student_feedback(
    labeled_loss: Callable[[Any], jax.Array],
    params: Any,
    direction: Any,
    *,
    estimator: str = "grad",
    old_params: Any = None,
) -> tuple[jax.Array, jax.Array]:
    """The scalar of equation (10): what the student's step did to the labeled loss, positive if it lowered it.

    fb = -d/dw L_l(params - w direction) at w = 0, which is < dL_l/dparams, direction >. The ways to
    write it give the same
    number: "grad" is the derivative by w in reverse mode, "jvp" the one in forward mode (keeps no
        activations; not
    through `custom_vjp`), "vjp" the gradient and a dot product. "difference" is something else, the
    L_l(old_params) - L_l(params) of public Meta Pseudo Labels code with its sign put right: it
    takes in momentum and curvature, and in low precision its sign is noise.

    Args:
        labeled_loss: params -> scalar.
        params: xi', the student after its step.
        direction: pytree like `params`: the gradient that the step descended.
        estimator: "grad", "jvp", "vjp" or "difference".
        old_params: xi, the student before its step; for "difference" only.

    Returns:
        fb and L_l(params), scalars of float32 at least.

    Raises:
        ValueError: unknown estimator, or "difference" without `old_params`.

    Source: PIAP-DF section 3.3, equations (9) and (10).
    """
    _check_choice("estimator", estimator)
    if estimator == "difference":
        if old_params is None:
            raise ValueError("estimator='difference' compares two students and needs old_params.")
        loss = _wide(labeled_loss(params))
        return _wide(labeled_loss(old_params)) - loss, loss
    if estimator == "vjp":
        measured = _measure_by_gradient(labeled_loss, params, direction)
        return measured.feedback, measured.loss
    if estimator == "jvp":
        tangent = jax.tree.map(lambda p, d: d.astype(p.dtype), params, direction)
        loss, slope = jax.jvp(lambda p: _wide(labeled_loss(p)), (params,), (tangent,))
        return slope, loss

    def back(w: jax.Array) -> jax.Array:
        def along(p: jax.Array, d: jax.Array) -> jax.Array:
            wide = _wide_dtype(p.dtype)  # so that the derivative by w is summed wide, too
            return (p.astype(wide) - w.astype(wide) * d.astype(wide)).astype(p.dtype)

        return _wide(labeled_loss(jax.tree.map(along, params, direction)))

    loss, slope = jax.value_and_grad(back)(jnp.zeros((), _tree_dtype(params)))
    return -slope, loss


def _measure_by_gradient(labeled_loss: Callable, params: Any, direction: Any) -> _Measured:
    loss, gradient = jax.value_and_grad(lambda p: _wide(labeled_loss(p)))(params)
    return _Measured(_dot(gradient, direction), loss, gradient)


def discretize(
    feedback: jax.Array,
    key: jax.Array,
    *,
    positive: float = 1.0,
    negative: float = -0.1,
    drop_rate: float = 0.05,
    drop_on: str = "all",
) -> tuple[jax.Array, jax.Array]:
    """Discrete feedback, sigma h(fb): h(z) = `positive` if z > 0 else `negative`; sigma is 0 with probability `drop_rate`.

    Args:
        feedback: [] fb.
        key: typed key of sigma.
        positive: h above 0.
        negative: h at 0 and below.
        drop_rate: probability in [0, 1] that sigma is 0.
        drop_on: "all" as equation (10) prints it, "positive" to drop only feedback above 0.

    Returns:
        The coefficient, 0 for a feedback that is not finite; and whether sigma made it 0.

    Source: PIAP-DF section 3.3, equation (10).
    """
    _check_choice("drop_on", drop_on)
    dropped = jax.random.bernoulli(key, drop_rate)
    if drop_on == "positive":
        dropped &= feedback > 0
    finite = jnp.isfinite(feedback)
    dropped &= finite
    gate = jnp.where(feedback > 0, positive, negative).astype(feedback.dtype)
    return jnp.where(finite & ~dropped, gate, 0), dropped


def continuous(
    feedback: jax.Array,
    baseline: jax.Array,
    *,
    scale: float | jax.Array = 1.0,
    decay: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Feedback as a number, as in Meta Pseudo Labels: scale fb, less its moving average where `decay` is given.

    The average is updated first and subtracted then: b' = decay b + (1 - decay) scale fb, c = scale
    fb - b'.

    Args:
        feedback: [] fb.
        baseline: [] b, 0 at the start.
        scale: the student's learning rate; or 1 / (|g_xi'_l| |g_xi_u|), which makes it the cosine.
        decay: in [0, 1), None for no baseline.

    Returns:
        The coefficient and the new baseline. A feedback that is not finite gives 0 and leaves the
        baseline.

    Source: Pham et al. 2021, section 3, with the sign that lowers the loss.
    """
    value = feedback * jnp.asarray(scale, feedback.dtype)
    finite = jnp.isfinite(value)
    if decay is None:
        return jnp.where(finite, value, 0), baseline
    new = decay * baseline + (1 - decay) * value.astype(baseline.dtype)
    coefficient = jnp.where(finite, value - new.astype(value.dtype), 0)
    return coefficient, jnp.where(finite, new, baseline)


def exact_teacher_gradient(
    labeled_loss: Callable[[Any], jax.Array],
    pseudo_loss: Callable[[Any, jax.Array], jax.Array],
    soft_labels: Callable[[Any], jax.Array],
    optimizer: optax.GradientTransformation,
    teacher_params: Any,
    student_params: Any,
    opt_state: Any,
) -> Any:
    """Gradient of the student's labeled loss after its step, by the teacher's parameters: second order.

    J(theta) = L_l(xi + u(g)),  g = dL_u/dxi (xi, Y),  Y = soft_labels(theta),  u =
    optimizer.update.

    No backward pass is differentiated: v = (du/dg)^T dL_l/dxi(xi') is the cotangent of the
    optimizer (SGD: -eta dL_l/dxi), the gradient by Y is that of the directional derivative D_v
    L_u(xi, Y), and the teacher's pullback takes it to theta.

    Args:
        labeled_loss: student parameters -> scalar L_l.
        pseudo_loss: (student parameters, Y [B, C]) -> scalar L_u.
        soft_labels: teacher parameters -> Y [B, C], its probabilities.
        optimizer: the student's, differentiable at g: Adam needs `eps_root` > 0, or a parameter
            whose gradient is exactly 0 makes v NaN.
        teacher_params: theta.
        student_params: xi, before the step.
        opt_state: the student's optimizer state before the step.

    Returns:
        dJ/dtheta, a pytree like `teacher_params`.

    Source: the derivative that equations (12)-(14) estimate.
    """
    targets, pullback = jax.vjp(soft_labels, teacher_params)
    gradient = jax.grad(pseudo_loss)(student_params, targets)
    updates, _ = optimizer.update(gradient, opt_state, student_params)
    judged = jax.grad(labeled_loss)(optax.apply_updates(student_params, updates))
    cotangent = _cotangent(optimizer, student_params, opt_state, gradient, judged)
    return pullback(_target_gradient(pseudo_loss, student_params, cotangent, targets))[0]


def _cotangent(optimizer: Any, params: Any, opt_state: Any, gradient: Any, judged: Any) -> Any:
    updates, back = jax.vjp(lambda g: optimizer.update(g, opt_state, params)[0], gradient)
    return back(jax.tree.map(lambda j, u: j.astype(u.dtype), judged, updates))[0]


def _target_gradient(pseudo_loss: Callable, params: Any, cotangent: Any, targets: jax.Array) -> Any:
    tangent = jax.tree.map(lambda p, v: v.astype(p.dtype), params, cotangent)

    def slope(labels: jax.Array) -> jax.Array:
        return jax.jvp(lambda p: pseudo_loss(p, labels), (params,), (tangent,))[1]

    return jax.grad(slope)(targets)


# Which settings go together.


def _check_choice(name: str, value: str) -> None:
    if value not in _CHOICES[name]:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(_CHOICES[name])}.")


def _check_options(o: _Options, teacher: Learner) -> None:
    for name in _CHOICES:
        _check_choice(name, getattr(o, name))
    for reason in (*_bad_values(o), *_bad_pairs(o), *_bad_scaling(o)):
        raise ValueError(reason)
    own_score = o.variant == "continuous" and o.labels == "sample"
    if o.teacher_term == "score" and not own_score and teacher.score_loss is None:
        raise ValueError(
            "teacher_term='score' needs the teacher's score_loss, the part of its loss that the labels enter."
        )


def _bad_values(o: _Options) -> Iterator[str]:
    if not 0 <= o.drop_rate <= 1:
        yield f"drop_rate={o.drop_rate} is not a probability."
    for name in ("positive", "negative", "feedback_weight"):
        if not math.isfinite(getattr(o, name)):
            yield f"{name}={getattr(o, name)} must be finite."
    if o.confidence is not None and not 0.5 <= o.confidence <= 1:
        yield f"confidence={o.confidence} must lie in [0.5, 1], being max(p, 1 - p)."
    if o.baseline_decay is not None and not 0 <= o.baseline_decay < 1:
        yield f"baseline_decay={o.baseline_decay} must lie in [0, 1)."


def _bad_pairs(o: _Options) -> Iterator[str]:
    exact = o.variant == "exact"
    if o.labels == "soft" and o.variant in ("discrete", "continuous", "constant"):
        yield (
            f"labels='soft' with variant={o.variant!r} teaches nothing: against its own probabilities the gradient of "
            "the teacher's cross entropy is exactly 0; use 'threshold' or 'sample'."
        )
    if exact and o.labels != "soft":
        yield (
            f"variant='exact' differentiates through the labels and labels={o.labels!r} have no derivative; use 'soft'."
        )
    if exact and o.teacher_term == "score":
        yield "variant='exact' has no teacher loss on x_u, so teacher_term='score' means nothing."
    if exact and (o.direction == "update" or o.estimator == "difference"):
        yield (
            "variant='exact' goes through the optimizer by the labeled gradient; direction='update' and "
            "estimator='difference' mean nothing there."
        )
    if o.estimator == "difference" and o.direction == "update":
        yield "estimator='difference' measures the step itself, so direction='update' means nothing."


def _bad_scaling(o: _Options) -> Iterator[str]:
    unscaled = o.direction == "gradient" and o.estimator != "difference"
    if o.variant != "continuous":
        if o.cosine or o.learning_rate is not None or o.baseline_decay is not None:
            yield (
                "learning_rate, cosine and baseline_decay belong to variant='continuous', "
                f"not to {o.variant!r}."
            )
        return
    if o.cosine and o.estimator != "vjp":
        yield (
            f"cosine=True needs the norm of the labeled gradient, which estimator={o.estimator!r} never forms; use 'vjp'."
        )
    if o.learning_rate is not None and (o.cosine or not unscaled):
        yield (
            "learning_rate would scale twice: a cosine has no scale, and direction='update' and "
            "estimator='difference' hold the learning rate already."
        )
    if o.learning_rate is None and unscaled and not o.cosine:
        yield "variant='continuous' needs the student's learning_rate, or cosine=True."


def _negative_log_likelihood(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
    """-log P(Y) of the accepted cells: n times their mean cross entropy, whatever weight the loss
    gives it."""
    wide = _wide(logits)
    cells = optax.sigmoid_binary_cross_entropy(wide, labels.astype(wide.dtype))
    return jnp.sum(cells, where=mask)


def _teacher_task(o: _Options, teacher: Learner) -> _Task:
    loss = teacher.pseudo_loss or teacher.loss
    if o.teacher_term == "score":
        loss = teacher.score_loss
        if o.variant == "continuous" and o.labels == "sample":
            logits = teacher.logits

            def loss(outputs: Any, batch: Any, labels: jax.Array, mask: jax.Array) -> jax.Array:
                return _negative_log_likelihood(logits(outputs), labels, mask)

    assert loss is not None
    return _Task(teacher.apply, teacher.logits, loss)


# The functions of one step. Each is a whole piece of work, so that each can be compiled by itself.


def _gradient(
    label: Callable,
    task: _Task,
    learner: tuple[Any, Any],
    batch: Any,
    given: tuple[jax.Array, jax.Array] | None,
    own: bool | jax.Array,
    key: jax.Array,
    label_key: jax.Array,
) -> _Pass:
    """Loss and gradient on the given labels, or on the model's own from this very pass.

    `own` is data, not a choice at compile time, so that one compiled function serves the teacher's
    two passes and the student's.
    """

    def objective(params: Any) -> tuple[jax.Array, tuple]:
        outputs, model_state = task.apply(params, learner[1], batch, key, "train")
        logits = task.logits(outputs)
        labels, mask = label(logits, label_key)
        if given is not None:
            labels = jnp.where(own, labels, given[0].astype(labels.dtype))
            mask = jnp.where(own, mask, given[1])
        loss = task.loss(outputs, batch, labels, mask)
        return _wide(loss), (model_state, logits, labels, mask)

    (loss, rest), gradient = jax.value_and_grad(objective, has_aux=True)(learner[0])
    return _Pass(loss, gradient, *rest)


def _advance(
    learner: Learner, state: LearnerState, model_state: Any, gradient: Any, healthy: jax.Array
) -> LearnerState:
    updates, opt_state = learner.optimizer.update(gradient, state.opt_state, state.params)
    new = LearnerState(optax.apply_updates(state.params, updates), model_state, opt_state)
    return _select(healthy, new, state)


def _student_step(
    o: _Options, student: Learner, state: LearnerState, seen: _Pass
) -> tuple[LearnerState, Any, jax.Array, jax.Array]:
    """The student's update; the direction its feedback is taken along; whether it stepped; whether
    the update is insensitive."""
    healthy = _finite(seen.loss, seen.gradient)
    new = _advance(student, state, seen.model_state, seen.gradient, healthy)
    if o.direction == "gradient":
        return new, seen.gradient, healthy, jnp.asarray(False)

    def scaled(s: jax.Array) -> Any:
        gradient = jax.tree.map(lambda g: s.astype(g.dtype) * g, seen.gradient)
        return student.optimizer.update(gradient, state.opt_state, state.params)[0]

    one = jnp.ones((), _tree_dtype(seen.gradient))
    updates, slope = jax.jvp(scaled, (one,), (one,))
    insensitive = _norm(slope) <= _INSENSITIVE * _norm(updates)
    return new, jax.tree.map(jnp.negative, slope), healthy, insensitive


def _measure(
    o: _Options,
    student: Learner,
    old: LearnerState,
    new: LearnerState,
    direction: Any,
    labeled: Any,
    known: tuple[jax.Array, jax.Array],
    key: jax.Array,
) -> _Measured:
    """The feedback pass: the student after its step on labeled data; no state is committed."""

    def labeled_loss(params: Any) -> jax.Array:
        outputs, _ = student.apply(params, new.model_state, labeled, key, "feedback")
        dtype = _wide_dtype(student.logits(outputs).dtype)
        return student.loss(outputs, labeled, known[0].astype(dtype), known[1])

    if o.cosine or o.variant == "exact":
        return _measure_by_gradient(labeled_loss, new.params, direction)
    feedback, loss = student_feedback(
        labeled_loss, new.params, direction, estimator=o.estimator, old_params=old.params
    )
    return _Measured(feedback, loss, None)


def _exact_cotangent(
    student: Learner, state: LearnerState, gradient: Any, judged: Any
) -> tuple[Any, jax.Array]:
    """v of `exact_teacher_gradient`, and whether it is of use."""
    v = _cotangent(student.optimizer, state.params, state.opt_state, gradient, judged)
    return v, _finite(v) & ((_norm(v) > 0) | (_norm(judged) == 0))


def _exact_targets(
    task: _Task, learner: tuple[Any, Any], batch: Any, v: Any, labels: Any, mask: Any, key: Any
) -> jax.Array:
    def pseudo_loss(params: Any, targets: jax.Array) -> jax.Array:
        outputs, _ = task.apply(params, learner[1], batch, key, "train")
        return task.loss(outputs, batch, targets, mask)

    return _target_gradient(pseudo_loss, learner[0], v, labels)


def _exact_pullback(
    task: _Task, learner: tuple[Any, Any], batch: Any, cotangent: Any, mask: Any, key: Any
) -> Any:
    def projected(params: Any) -> jax.Array:
        outputs, _ = task.apply(params, learner[1], batch, key, "train")
        probs = jax.nn.sigmoid(_wide(task.logits(outputs)))
        return jnp.sum(probs * cotangent.astype(probs.dtype), where=mask)

    return jax.grad(projected)(learner[0])


def _coefficient(
    o: _Options, state: FeedbackState, measured: _Measured, direction: Any, usable: Any, key: Any
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Coefficient, dropped, baseline."""
    feedback, dropped, baseline = measured.feedback, jnp.asarray(False), state.baseline
    if o.variant == "discrete":
        coefficient, dropped = discretize(
            feedback,
            key,
            positive=o.positive,
            negative=o.negative,
            drop_rate=o.drop_rate,
            drop_on=o.drop_on,
        )
    elif o.variant == "continuous":
        scale: Any = 1.0
        if o.cosine:
            norms = _norm(measured.gradient) * _norm(direction)
            scale = jnp.where(norms > 0, 1 / jnp.where(norms > 0, norms, 1), 0)
        elif callable(o.learning_rate):
            scale = o.learning_rate(state.step - state.counts["student_skipped"])
        elif o.learning_rate is not None:
            scale = o.learning_rate
        coefficient, baseline = continuous(feedback, baseline, scale=scale, decay=o.baseline_decay)
    else:
        fixed = {"exact": 1.0, "constant": o.positive, "none": 0.0}[o.variant]
        coefficient = jnp.full_like(feedback, fixed)
    baseline = jnp.where(usable, baseline, state.baseline)
    return jnp.where(usable, coefficient, 0), dropped & usable, baseline


class _Evidence(NamedTuple):
    """What the phases before found, for the last one."""

    teacher_pseudo: _Pass
    teacher_labeled: _Pass
    student_pseudo: _Pass
    student: LearnerState
    direction: Any
    student_healthy: jax.Array
    insensitive: jax.Array
    measured: _Measured
    exact_usable: jax.Array
    known_mask: jax.Array


def _finish(
    o: _Options, teacher: Learner, state: FeedbackState, e: _Evidence, key: jax.Array
) -> tuple[FeedbackState, FeedbackInfo]:
    """Gate the feedback, step the teacher on c g_u + g_l, count."""
    flags = {
        "nonfinite": ~(jnp.isfinite(e.measured.feedback) & e.student_healthy & e.exact_usable),
        "no_labels": ~(jnp.any(e.known_mask) & jnp.any(e.teacher_pseudo.mask)),
        "insensitive": e.insensitive,
    }
    usable = ~functools.reduce(jnp.logical_or, flags.values())
    c, flags["dropped"], baseline = _coefficient(o, state, e.measured, e.direction, usable, key)

    def combine(u: jax.Array, labeled: jax.Array) -> jax.Array:
        wide = _wide(u)
        term = (o.feedback_weight * c).astype(wide.dtype) * wide
        # A zero coefficient takes the term out, so that what it multiplies may be anything.
        return (jnp.where(c == 0, 0, term) + _wide(labeled)).astype(labeled.dtype)

    gradient = jax.tree.map(combine, e.teacher_pseudo.gradient, e.teacher_labeled.gradient)
    healthy = _finite(gradient, e.teacher_pseudo.loss, e.teacher_labeled.loss)
    new_teacher = _advance(teacher, state.teacher, e.teacher_labeled.model_state, gradient, healthy)
    flags |= {"student_skipped": ~e.student_healthy, "teacher_skipped": ~healthy}
    flags |= {"positive": c > 0, "negative": c < 0, "zero": c == 0}
    counts = {name: state.counts[name] + flags[name].astype(jnp.int32) for name in state.counts}
    step = state.step + 1
    new = FeedbackState(step, new_teacher, e.student, baseline, counts)
    return new, _info(e, c, flags, counts, step)


def _info(e: _Evidence, c: jax.Array, flags: dict, counts: dict, step: jax.Array) -> FeedbackInfo:
    teacher, student = e.teacher_pseudo, e.student_pseudo
    probs = jax.nn.sigmoid(_wide(teacher.logits))
    accepted = teacher.mask.astype(probs.dtype)
    same = (probs >= 0.5) == (jax.nn.sigmoid(_wide(student.logits)) >= 0.5)
    total = step.astype(jnp.float32)
    return FeedbackInfo(
        feedback=e.measured.feedback,
        coefficient=c,
        dropped=flags["dropped"],
        nonfinite=flags["nonfinite"],
        no_labels=flags["no_labels"],
        insensitive=flags["insensitive"],
        student_skipped=flags["student_skipped"],
        teacher_skipped=flags["teacher_skipped"],
        shares={k: counts[k].astype(jnp.float32) / total for k in ("positive", "negative", "zero")},
        student_pseudo_loss=student.loss,
        student_labeled_loss=e.measured.loss,
        teacher_pseudo_loss=teacher.loss,
        teacher_labeled_loss=e.teacher_labeled.loss,
        pseudo_positive_rate=jnp.sum(teacher.labels * accepted, axis=0)
        / jnp.maximum(jnp.sum(accepted, axis=0), 1),
        pseudo_confidence=jnp.mean(jnp.abs(2 * probs - 1), axis=0),
        pseudo_accepted=jnp.mean(accepted),
        agreement=jnp.mean(same.astype(probs.dtype)),
        student_gradient_norm=_norm(student.gradient),
        teacher_pseudo_gradient_norm=_norm(teacher.gradient),
        teacher_labeled_gradient_norm=_norm(e.teacher_labeled.gradient),
    )


def _check_differentiable(optimizer: optax.GradientTransformation, params: Any) -> None:
    """Refuse an optimizer whose derivative is not finite where one gradient is exactly 0."""
    leaves, tree = jax.tree.flatten(params)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves) or sum(x.size for x in leaves) < 2:
        return
    ones = [jnp.ones_like(leaf) for leaf in leaves]
    ones[0] = ones[0].ravel().at[0].set(0).reshape(ones[0].shape)
    gradient = tree.unflatten(ones)
    v = _cotangent(
        optimizer, params, optimizer.init(params), gradient, jax.tree.map(jnp.ones_like, params)
    )
    if not bool(_finite(v)):
        raise ValueError(
            "variant='exact' differentiates the student's optimizer, whose derivative is not finite where a gradient is 0: "
            "Adam needs eps_root > 0 (1e-8, say)."
        )


def _same_shapes(a: Any, b: Any) -> bool:
    def kinds(tree: Any) -> list:
        return [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(tree)]

    return jax.tree.structure(a) == jax.tree.structure(b) and kinds(a) == kinds(b)


def discrete_feedback(
    teacher: Learner,
    student: Learner,
    *,
    known_labels: Callable[[Any], tuple[jax.Array, jax.Array]],
    variant: str = "discrete",
    estimator: str = "grad",
    direction: str = "gradient",
    labels: str | None = None,
    teacher_term: str = "full",
    positive: float = 1.0,
    negative: float = -0.1,
    drop_rate: float = 0.05,
    drop_on: str = "all",
    feedback_weight: float = 1.0,
    confidence: float | None = None,
    learning_rate: float | Callable[[jax.Array], Any] | None = None,
    cosine: bool = False,
    baseline_decay: float | None = None,
    phases: bool = False,
) -> FeedbackStep:
    """One step in which a teacher labels, a student learns, and the labeled data tell the teacher how that went.

    theta' = theta - eta (feedback_weight c g_theta_u + g_theta_l), with c from the student as in
    the module's docstring. The teacher's model state goes through the pass on x_u first, then
    through the one on x_l; the student's through the one on x_u; the feedback pass commits none.
    What is not finite changes nothing and is counted.

    Args:
        teacher: the model that labels.
        student: the model that learns from the labels. May be the same Learner.
        known_labels: labeled batch -> (labels [B, C], mask [B, C] bool): Y_l, and where it is
            known.
        variant: "discrete", the paper's gate; "continuous", fb as a number; "exact", the
            second-order gradient; "none", c = 0, a supervised teacher; "constant", c = `positive`,
            plain self-training. The last two still measure the feedback, so that all log the same.
        estimator: of fb, see `student_feedback`. "exact" and the cosine take it from the labeled
            gradient.
        direction: "gradient", along g_xi_u before clipping and momentum, as (10) prints it;
            "update", -d/ds L_l(xi'(s g_xi_u)) at s = 1 through the student's optimizer, which for
            SGD is eta times the former. Where the update does not depend on the scale of the
            gradient (active global-norm clip, Adam's first step) the coefficient is 0. Adam needs
            `eps_root` > 0 here too if a gradient can be exactly 0.
        labels: "threshold" at 0.5, "sample" or "soft"; None for "soft" if `variant="exact"`, else
            "threshold".
        teacher_term: what c multiplies: "full", the gradient of the teacher's whole loss on x_u as
            (7) and (11) print it; "score", that of its `score_loss`. "score" with
            `variant="continuous"` and sampled labels is the gradient of -log P(Y_p) itself, summed
            over accepted cells: c times it estimates the meta-gradient without bias to first order
            in eta.
        positive: coefficient for fb > 0.
        negative: coefficient for fb <= 0.
        drop_rate: probability that the discrete coefficient is set to 0.
        drop_on: "all", or "positive" to set only positive ones to 0.
        feedback_weight: factor of every coefficient.
        confidence: accept only pseudo labels with max(p, 1 - p) at least this; None for all.
        learning_rate: eta for `variant="continuous"`, a number or a schedule of the student's step
            count.
        cosine: for "continuous", the cosine of labeled gradient and direction in the place of eta
            fb.
        baseline_decay: for "continuous", subtract a moving average with this decay.
        phases: False: `update` is pure and not compiled; compile it whole, `jax.jit(step.update,
            donate_argnums=0)`. True: `update` compiles its parts by itself and must not be jitted;
            it keeps less in memory at a time and compiles much faster, since the passes share one
            compiled function where `apply`, `logits`, loss and shapes are the same: labeled and
            unlabeled batch of one structure and size, neither `pseudo_loss` nor "score", teacher
            and student of the same functions. Numbers and draws are those of the whole step.

    Returns:
        FeedbackStep(init, update).

    Raises:
        ValueError: settings that mean nothing together, with the reason; from `init`, "exact" with
        an optimizer that has
            no derivative at a gradient of 0 (Adam without `eps_root`).

    Source: PIAP-DF section 3.3, equations (7)-(14).
    """
    options = _Options(
        variant=variant,
        estimator=estimator,
        direction=direction,
        labels=labels or ("soft" if variant == "exact" else "threshold"),
        teacher_term=teacher_term,
        positive=positive,
        negative=negative,
        drop_rate=drop_rate,
        drop_on=drop_on,
        feedback_weight=feedback_weight,
        confidence=confidence,
        learning_rate=learning_rate,
        cosine=cosine,
        baseline_decay=baseline_decay,
    )
    _check_options(options, teacher)
    update = _make_update(options, teacher, student, known_labels, phases)

    def init(teacher_start: tuple[Any, Any], student_start: tuple[Any, Any]) -> FeedbackState:
        # Copies: teacher and student may start from the same arrays, and a donated buffer must not
        # be shared.
        teacher_start, student_start = jax.tree.map(
            lambda x: jnp.array(x, copy=True), (teacher_start, student_start)
        )
        if variant == "exact":
            _check_differentiable(student.optimizer, student_start[0])
        return FeedbackState(
            step=jnp.zeros((), jnp.int32),
            teacher=LearnerState(*teacher_start, teacher.optimizer.init(teacher_start[0])),
            student=LearnerState(*student_start, student.optimizer.init(student_start[0])),
            baseline=jnp.zeros((), _tree_dtype(student_start[0])),
            counts={name: jnp.zeros((), jnp.int32) for name in _COUNTS},
        )

    return FeedbackStep(init, update)


def _make_update(
    o: _Options, teacher: Learner, student: Learner, known_labels: Callable, phases: bool
) -> Callable:
    build = jax.jit if phases else _uncompiled
    label = functools.partial(pseudo_labels, kind=o.labels, confidence=o.confidence)
    term = _teacher_task(o, teacher)
    lesson = _Task(teacher.apply, teacher.logits, teacher.loss)
    pupil = _Task(student.apply, student.logits, student.pseudo_loss or student.loss)
    prepare = build(functools.partial(_prepare, known_labels))
    gradient = build(functools.partial(_gradient, label), static_argnums=0)
    student_step = build(functools.partial(_student_step, o, student))
    measure = build(functools.partial(_measure, o, student))
    exact_cotangent = build(functools.partial(_exact_cotangent, student))
    exact_targets = build(functools.partial(_exact_targets, pupil))
    exact_pullback = build(functools.partial(_exact_pullback, lesson))
    finish = build(functools.partial(_finish, o, teacher))

    def update(
        state: FeedbackState, labeled: Any, unlabeled: Any, key: jax.Array
    ) -> tuple[FeedbackState, FeedbackInfo]:
        known, keys = prepare(labeled, key)
        unused = known if _same_shapes(labeled, unlabeled) else None
        theta, xi = state.teacher[:2], state.student[:2]
        label_key, pupil_key = keys["label"], keys["student_unlabeled"]
        own = gradient(term, theta, unlabeled, unused, True, keys["teacher_unlabeled"], label_key)
        given = (own.labels, own.mask)
        taught = gradient(pupil, xi, unlabeled, given, False, pupil_key, label_key)
        new, along, healthy, insensitive = student_step(state.student, taught)
        measured = measure(state.student, new, along, labeled, known, keys["feedback"])
        theta_after = (theta[0], own.model_state)
        supervised = gradient(
            lesson, theta_after, labeled, known, False, keys["teacher_labeled"], label_key
        )
        useful = True
        if o.variant == "exact":
            v, useful = exact_cotangent(state.student, taught.gradient, measured.gradient)
            by_target = exact_targets(xi, unlabeled, v, own.labels, own.mask, pupil_key)
            by_theta = exact_pullback(
                theta, unlabeled, by_target, own.mask, keys["teacher_unlabeled"]
            )
            own = own._replace(gradient=by_theta)
        evidence = _Evidence(
            own, supervised, taught, new, along, healthy, insensitive, measured, useful, known[1]
        )
        return finish(state, evidence, keys["drop"])

    return update


def _uncompiled(function: Callable, **_: Any) -> Callable:
    return function


def _prepare(known_labels: Callable, labeled: Any, key: jax.Array) -> tuple[tuple, dict]:
    labels, mask = known_labels(labeled)
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        labels = labels.astype(jnp.float32)
    return (labels, mask.astype(bool)), {name: _stream(key, name) for name in _STREAMS}
