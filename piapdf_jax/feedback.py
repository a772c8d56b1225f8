r"""Discrete feedback: a teacher learns from what its pseudo labels did to a student.

One file on jax and optax, for any pair of models. Teacher f_theta and student f_xi are two
`Learner`s; one step of `discrete_feedback` takes unlabeled data x_u and labeled data (x_l, Y_l) and
goes through the paper's equations (7)-(14):

1.  The teacher labels x_u (7). One forward pass gives its logits z, its pseudo labels
    Y_p = 1[sigma(z) >= 0.5] and the gradient of its own loss on them:

        g_theta_u = d/dtheta L(f_theta(x_u), Y_p)

2.  The student steps on the same labels, with its own optimizer (7), (8). By plain SGD:

        g_xi_u = d/dxi L(f_xi(x_u), Y_p),    xi' = xi - eta g_xi_u

3.  The labeled data judge that step (9), (10): walk back from xi' along the gradient, and see how
    the labeled loss changes.

        fb = -d/dw L(f_(xi' - w g_xi_u)(x_l), Y_l) at w = 0  =  < dL_l/dxi (xi'), g_xi_u >

    L_l(xi) - L_l(xi') = eta fb + O(eta^2), so fb > 0 says that the pseudo labels lowered the
    labeled loss. The sign is old minus new.

4.  The feedback becomes a coefficient (10), a constant from here on: no gradient flows through it.

        c = sigma h(fb),    h(z) = 1 if z > 0 else -0.1,    P(sigma = 0) = 0.05

5.  The teacher, which has not moved since, steps (9), (11) on

        c g_theta_u + g_theta_l,    g_theta_l = d/dtheta L(f_theta(x_l), Y_l)

Why this teaches the teacher (12)-(14): let J(theta) be L_l at the student's mean step over labels
drawn from the teacher. Its gradient is the mean of eta fb (-d/dtheta log P_theta(Y_p)), and -log
P_theta(Y_p) is the teacher's binary cross entropy against its own labels, up to the number of
labels. Momentum changes nothing here, since only g_xi_u depends on Y_p. Two things hold the chain
together. The labels must be hard, or the gradient of that cross entropy is sigma(z) - Y_p = 0 at
every label; and the same pass must give both labels and gradient.

A step in numbers: one weight each, z = theta x and z = xi x; x_u = 1, x_l = 2, Y_l = 1, eta = 0.1.

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
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

#: Each random draw of a step has its own stream, so that variants with the same key share draws.
_STREAMS = (
    *("label", "teacher_unlabeled", "teacher_labeled", "student_unlabeled"),
    *("feedback", "drop"),
)
#: Below this ratio of |d update/ds| to |update| the update does not depend on its gradient's scale.
_INSENSITIVE = 1e-6
_SIGNS = ("positive", "negative", "zero")
_FLAGS = ("dropped", "nonfinite", "no_labels", "insensitive", "student_skipped", "teacher_skipped")
_CHOICES = {
    "variant": ("discrete", "continuous", "exact", "none", "constant"),
    "estimator": ("grad", "jvp", "vjp", "difference"),
    "direction": ("gradient", "update"),
    "labels": ("threshold", "sample", "soft"),
    "teacher_term": ("full", "score"),
    "drop_on": ("all", "positive"),
}
Loss = Callable[[Any, Any, jax.Array, jax.Array], jax.Array]


class Learner(NamedTuple):
    """A model as pure functions; teacher and student may be one Learner or two different ones.

    B is the number of examples in a batch, C the number of binary labels of an example. A batch is
    any pytree of arrays; it carries what the loss compares with besides the labels (fixed targets).

    Attributes:
        apply: (params, model_state, batch, key, mode) -> (outputs, model_state). `mode` is "train"
            (dropout, batch statistics, running statistics updated) or "feedback" (batch statistics,
            no dropout; the returned state is thrown away). `model_state` is any pytree, None for a
            model without state.
        logits: outputs -> [B, C] logits.
        loss: (outputs, batch, labels [B, C] float in [0, 1], mask [B, C] bool) -> scalar over the
            cells where `mask` is true: the loss on labels, and the same loss with pseudo labels in
            their place. Labels outside the mask may hold anything finite. With an empty mask it
            must be finite.
        optimizer: any optax transformation.
        pseudo_loss: `loss` for pseudo labels where it differs (label smoothing, say), or None.
        score_loss: the part of the pseudo label loss that the labels enter, for
            `teacher_term="score"`, or None.
    """

    apply: Callable[[Any, Any, Any, jax.Array, str], tuple[Any, Any]]
    logits: Callable[[Any], jax.Array]
    loss: Loss
    optimizer: optax.GradientTransformation
    pseudo_loss: Loss | None = None
    score_loss: Loss | None = None


class LearnerState(NamedTuple):
    """What training changes in one learner: parameters, batch statistics, optimizer state."""

    params: Any
    model_state: Any
    opt_state: Any


class FeedbackState(NamedTuple):
    """State of the whole step.

    Attributes:
        step: [] int32, updates attempted.
        teacher: LearnerState.
        student: LearnerState.
        baseline: [] float, moving average of the feedback, 0 where none is kept.
        counts: [] int32 by name, over all steps so far: `positive`, `negative` and `zero`
            coefficients, one of the three each step; and each flag of `FeedbackInfo.flags`.
    """

    step: jax.Array
    teacher: LearnerState
    student: LearnerState
    baseline: jax.Array
    counts: dict[str, jax.Array]


class FeedbackInfo(NamedTuple):
    """Metrics of one step; scalars where no shape stands.

    Attributes:
        feedback: fb as measured, before gate and scaling.
        coefficient: what the teacher's gradient on x_u was multiplied with, less `feedback_weight`.
        flags: bool by name, why the coefficient is 0: `dropped` (sigma), `nonfinite` (fb; or,
            exact, its cotangent was of no use), `no_labels` (none known in x_l, or no pseudo label
            accepted), `insensitive` (the update does not depend on the scale of its gradient); and
            `student_skipped`, `teacher_skipped` (not finite, so it stayed as it was).
        shares: by name, part of all steps so far with `positive`, `negative`, `zero` coefficient.
        losses: `student_pseudo` (x_u, before its step), `student_labeled` (x_l, after its step, in
            the feedback pass), `teacher_pseudo` (what the coefficient multiplies),
            `teacher_labeled`.
        gradient_norms: `student_pseudo`, `teacher_pseudo` (before the coefficient),
            `teacher_labeled`.
        positive_rate: [C], mean of the accepted pseudo labels, 0 where there is none.
        confidence: [C] in [0, 1], mean |2 p - 1| of the teacher on x_u.
        accepted: share of accepted pseudo labels.
        agreement: share of cells of x_u on whose side of 0.5 teacher and student agree.
    """

    feedback: jax.Array
    coefficient: jax.Array
    flags: dict[str, jax.Array]
    shares: dict[str, jax.Array]
    losses: dict[str, jax.Array]
    gradient_norms: dict[str, jax.Array]
    positive_rate: jax.Array
    confidence: jax.Array
    accepted: jax.Array
    agreement: jax.Array


class FeedbackStep(NamedTuple):
    """The pair of pure functions that `discrete_feedback` returns.

    Attributes:
        init: ((params, model_state) of the teacher, the same of the student) -> FeedbackState. All
            is copied, so both may start from the same arrays and the state may be donated.
        update: (state, labeled, unlabeled, key) -> (state, FeedbackInfo), a new typed key each time.
    """

    init: Callable[[tuple[Any, Any], tuple[Any, Any]], FeedbackState]
    update: Callable[[FeedbackState, Any, Any, jax.Array], tuple[FeedbackState, FeedbackInfo]]


class _Settings(NamedTuple):
    """The arguments of `discrete_feedback`."""

    teacher: Learner
    student: Learner
    known_labels: Callable[[Any], tuple[jax.Array, jax.Array]]
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

    apply: Callable
    logits: Callable
    loss: Loss


class _Pass(NamedTuple):
    """What one forward and backward pass gave, and the labels it was taken on."""

    loss: jax.Array
    gradient: Any
    model_state: Any
    logits: jax.Array
    labels: jax.Array
    mask: jax.Array


def _wide_dtype(dtype: Any) -> Any:
    """Float32 at least: half precision must not decide the sign of a sum."""
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(_wide_dtype(x.dtype))


def _tree_dtype(tree: Any) -> Any:
    dtypes = [_wide_dtype(leaf.dtype) for leaf in jax.tree.leaves(tree)]
    return max(dtypes, key=lambda dtype: jnp.finfo(dtype).bits)


def _dot(a: Any, b: Any) -> jax.Array:
    dtype = _tree_dtype(a)
    parts = jax.tree.map(lambda x, y: jnp.sum(_wide(x) * _wide(y)).astype(dtype), a, b)
    return jnp.sum(jnp.stack(jax.tree.leaves(parts)))


def _norm(tree: Any) -> jax.Array:
    return jnp.sqrt(_dot(tree, tree))


def _finite(*trees: Any) -> jax.Array:
    """Whether all is finite: 0 x is 0 but for what is not.

    The root of 0 changes nothing but compilation: XLA copies cheap operations into each of their
    users, here the sum over all leaves into the update of every leaf, and a root is not cheap. That
    takes seconds instead of minutes for a network of hundreds of leaves.
    """
    zeros = [jnp.sum(leaf * 0).astype(jnp.float32) for leaf in jax.tree.leaves(trees)]
    return jnp.isfinite(jnp.sqrt(functools.reduce(jnp.add, zeros)))


def _stream(key: jax.Array, name: str) -> jax.Array:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return jax.random.fold_in(key, word)


def _optimize(optimizer: Any, gradient: Any, opt_state: Any, params: Any) -> tuple[Any, Any]:
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        return optimizer.update(gradient, opt_state, params)


def _refuse(bad: bool, reason: str) -> None:
    if bad:
        raise ValueError(reason)


def _check_choice(name: str, value: str) -> None:
    choices = _CHOICES[name]
    _refuse(value not in choices, f"{name}={value!r} is not one of {', '.join(choices)}.")


def pseudo_labels(
    logits: jax.Array,
    key: jax.Array | None = None,
    *,
    kind: str = "threshold",
    threshold: float = 0.5,
    confidence: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Labels that a model gives: thresholded, drawn from its probabilities, or these themselves.

    Args:
        logits: [B, C].
        key: typed key, for `kind="sample"`.
        kind: "threshold" (1 where the probability is at least `threshold`), "sample" or "soft".
        threshold: in (0, 1).
        confidence: accept a cell only where max(p, 1 - p) is at least this; None accepts all.

    Returns:
        Labels [B, C], float32 at least, without gradient; and the accepted cells [B, C], bool. A
        logit that is not finite gives no accepted label.

    Raises:
        ValueError: unknown `kind`, or "sample" without a key.
    """
    _check_choice("labels", kind)
    logits = _wide(jax.lax.stop_gradient(logits))
    mask = jnp.isfinite(logits)
    probs = jnp.where(mask, jax.nn.sigmoid(logits), 0)
    if confidence is not None:
        mask &= jnp.maximum(probs, 1 - probs) >= confidence
    if kind == "soft":
        return probs, mask
    bar: float | jax.Array = threshold
    if kind == "sample":
        _refuse(key is None, "kind='sample' draws labels and needs a key.")
        assert key is not None
        bar = 1 - jax.random.uniform(key, probs.shape, probs.dtype)  # in (0, 1]: p = 0 gives no 1
    return (probs >= bar).astype(probs.dtype), mask


def student_feedback(
    labeled_loss: Callable[[Any], jax.Array],
    params: Any,
    direction: Any,
    *,
    estimator: str = "grad",
    old_params: Any = None,
) -> tuple[jax.Array, jax.Array]:
    """The scalar of equation (10): positive if the student's step lowered the labeled loss.

    fb = -d/dw L_l(params - w direction) at w = 0  =  < dL_l/dparams, direction >

    Three estimators give this number: "grad" differentiates by w in reverse mode; "jvp" in forward
    mode, which keeps no activations and does not pass `custom_vjp`; "vjp" takes the gradient and a
    dot product. "difference" is another number, L_l(old_params) - L_l(params), as in public Meta
    Pseudo Labels code but with its sign put right: it takes in momentum and curvature, and in low
    precision its sign is noise.

    Args:
        labeled_loss: params -> scalar.
        params: xi', the student after its step.
        direction: pytree like `params`, the gradient that the step descended.
        estimator: "grad", "jvp", "vjp" or "difference".
        old_params: xi, the student before its step, for "difference".

    Returns:
        fb and L_l(params), scalars of float32 at least.

    Raises:
        ValueError: unknown estimator, or "difference" without `old_params`.

    Source: PIAP-DF section 3.3, equations (9) and (10).
    """
    _check_choice("estimator", estimator)
    if estimator == "difference":
        _refuse(old_params is None, "estimator='difference' compares students: give old_params.")
        loss = _wide(labeled_loss(params))
        return _wide(labeled_loss(old_params)) - loss, loss
    if estimator == "vjp":
        loss, gradient = jax.value_and_grad(lambda p: _wide(labeled_loss(p)))(params)
        return _dot(gradient, direction), loss
    if estimator == "jvp":
        tangent = jax.tree.map(lambda p, d: d.astype(p.dtype), params, direction)
        loss, slope = jax.jvp(lambda p: _wide(labeled_loss(p)), (params,), (tangent,))
        return slope, loss

    def walked_back(w: jax.Array) -> jax.Array:
        def along(p: jax.Array, d: jax.Array) -> jax.Array:
            wide = _wide_dtype(p.dtype)  # the derivative by w is then summed wide as well
            return (p.astype(wide) - w.astype(wide) * d.astype(wide)).astype(p.dtype)

        return _wide(labeled_loss(jax.tree.map(along, params, direction)))

    loss, slope = jax.value_and_grad(walked_back)(jnp.zeros((), _tree_dtype(params)))
    return -slope, loss


def discretize(
    feedback: jax.Array,
    key: jax.Array,
    *,
    positive: float = 1.0,
    negative: float = -0.1,
    drop_rate: float = 0.05,
    drop_on: str = "all",
) -> tuple[jax.Array, jax.Array]:
    """Discrete feedback: sigma h(fb), h(z) = `positive` if z > 0 else `negative`.

    Args:
        feedback: [] fb.
        key: typed key of sigma.
        positive: h above 0.
        negative: h at 0 and below.
        drop_rate: probability in [0, 1] that sigma is 0; otherwise it is 1.
        drop_on: "all" as equation (10) prints it, or "positive" to drop only feedback above 0.

    Returns:
        The coefficient, 0 for a feedback that is not finite; and whether sigma made it 0.

    Raises:
        ValueError: unknown `drop_on`.

    Source: PIAP-DF section 3.3, equation (10).
    """
    _check_choice("drop_on", drop_on)
    finite = jnp.isfinite(feedback)
    dropped = jax.random.bernoulli(key, drop_rate) & finite
    if drop_on == "positive":
        dropped &= feedback > 0
    gate = jnp.where(feedback > 0, positive, negative).astype(feedback.dtype)
    return jnp.where(finite & ~dropped, gate, 0), dropped


def continuous(
    feedback: jax.Array,
    baseline: jax.Array,
    *,
    scale: float | jax.Array = 1.0,
    decay: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Feedback as a number, as in Meta Pseudo Labels: scaled, less its moving average if wanted.

    b' = decay b + (1 - decay) scale fb,   c = scale fb - b'

    Args:
        feedback: [] fb.
        baseline: [] b, 0 at the start.
        scale: the student's learning rate; or 1 / (|dL_l| |direction|), which gives the cosine.
        decay: in [0, 1), None for no baseline.

    Returns:
        The coefficient and the new baseline. A feedback that is not finite gives 0 and leaves b.

    Source: Pham et al. 2021, section 3, with the sign that lowers the loss.
    """
    value = feedback * jnp.asarray(scale, feedback.dtype)
    if decay is None:
        return jnp.where(jnp.isfinite(value), value, 0), baseline
    new = decay * baseline + (1 - decay) * value.astype(baseline.dtype)
    finite = jnp.isfinite(value)
    coefficient = jnp.where(finite, value - new.astype(value.dtype), 0)
    return coefficient, jnp.where(finite, new, baseline)


def exact_teacher_gradient(
    pseudo_loss: Callable[[Any, jax.Array], jax.Array],
    soft_labels: Callable[[Any], jax.Array],
    teacher_params: Any,
    student_params: Any,
    student_gradient: Any,
    labeled_gradient: Any,
    optimizer: optax.GradientTransformation,
    opt_state: Any,
) -> tuple[Any, jax.Array]:
    """Gradient of the student's labeled loss after its step by the teacher's parameters.

    J(theta) = L_l(xi + u(g)),   g = dL_u/dxi (xi, Y),   Y = soft_labels(theta)

    Second order, without a second backward pass through the first: v = (du/dg)^T dL_l(xi') is the
    cotangent that the optimizer's update u returns for the labeled gradient (SGD: -eta dL_l); dJ/dY
    is the gradient by Y of D_v L_u(xi, Y), a forward mode derivative; the teacher pulls it back.

    Args:
        pseudo_loss: (student parameters, Y [B, C]) -> scalar L_u.
        soft_labels: teacher parameters -> Y [B, C], its probabilities.
        teacher_params: theta.
        student_params: xi, before the step.
        student_gradient: g at xi on these Y.
        labeled_gradient: dL_l at xi' = xi + u(g).
        optimizer: the student's, differentiable at g. Adam needs `eps_root` > 0: without it a
            parameter whose gradient is exactly 0 makes v NaN.
        opt_state: the student's optimizer state before the step.

    Returns:
        dJ/dtheta, a pytree like `teacher_params`; and whether v is of use: finite, and not 0
        throughout unless the labeled gradient is.

    Source: the derivative that equations (12)-(14) estimate.
    """
    updates, back = jax.vjp(
        lambda g: _optimize(optimizer, g, opt_state, student_params)[0], student_gradient
    )
    (v,) = back(jax.tree.map(lambda j, u: j.astype(u.dtype), labeled_gradient, updates))
    tangent = jax.tree.map(lambda p, x: x.astype(p.dtype), student_params, v)

    def slope(labels: jax.Array) -> jax.Array:
        return jax.jvp(lambda p: pseudo_loss(p, labels), (student_params,), (tangent,))[1]

    targets, pullback = jax.vjp(soft_labels, teacher_params)
    useful = _finite(v) & ((_norm(v) > 0) | (_norm(labeled_gradient) == 0))
    return pullback(jax.grad(slope)(targets))[0], useful


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
    """One step in which a teacher labels, a student learns, and labeled data tell how that went.

    theta' = theta - eta (feedback_weight c g_theta_u + g_theta_l), c as in the module's docstring.
    The teacher's model state goes through x_u first and x_l then, the student's through x_u; the
    feedback pass commits none. What is not finite changes nothing and is counted.

    Args:
        teacher: the model that labels.
        student: the model that learns from the labels; may be the same Learner.
        known_labels: labeled batch -> (labels [B, C], mask [B, C] bool), Y_l and where it is known.
        variant: "discrete", the paper's gate; "continuous", fb as a number; "exact", the
            second-order gradient; "none", c = 0, a supervised teacher; "constant", c = `positive`,
            self-training. The last two measure the feedback all the same, so that all log alike.
        estimator: of fb, see `student_feedback`. "exact" takes it from the labeled gradient.
        direction: "gradient", along g_xi_u before clipping and momentum, as (10) prints it;
            "update", -d/ds L_l(xi'(s g_xi_u)) at s = 1 through the optimizer, for SGD eta times the
            former. Where the update does not depend on the gradient's scale (active global-norm
            clip, Adam's first step) c is 0. Adam needs `eps_root` > 0 here if a gradient can be
            exactly 0.
        labels: "threshold" at 0.5, "sample" or "soft"; None: "soft" for "exact", else "threshold".
        teacher_term: whose gradient c multiplies: "full", the whole loss on x_u, as (7) and (11)
            print; "score", the teacher's `score_loss`. "score" for "continuous" with sampled labels
            is -log P(Y_p) itself, summed over accepted cells: c times its gradient is, to first
            order in eta, an unbiased estimate of the meta-gradient.
        positive: coefficient for fb > 0.
        negative: coefficient for fb <= 0.
        drop_rate: probability that the discrete coefficient is set to 0.
        drop_on: "all", or "positive" to set only positive ones to 0.
        feedback_weight: factor of every coefficient.
        confidence: accept only pseudo labels with max(p, 1 - p) at least this; None for all.
        learning_rate: for "continuous", eta: a number or a schedule of the student's step count.
        cosine: for "continuous", the cosine of labeled gradient and direction instead of eta fb.
        baseline_decay: for "continuous", subtract a moving average with this decay.
        phases: False: `update` compiles nothing; compile it whole, such as by
            `jax.jit(step.update, donate_argnums=0)`. True: `update` compiles its parts and must not
            be jitted; it holds fewer activations at a time and compiles much faster, since the
            teacher's two passes and the student's share one compiled function where their functions
            and shapes are the same: one structure and size for both batches, equal `apply`,
            `logits` and `loss`, neither `pseudo_loss` nor "score". Numbers and draws are those of
            the whole step.

    Returns:
        FeedbackStep(init, update).

    Raises:
        ValueError: settings that mean nothing together, with the reason; from `init`, "exact" with
            an optimizer that has no derivative where a gradient is 0 (Adam without `eps_root`).

    Source: PIAP-DF section 3.3, equations (7)-(14).
    """
    labels = labels or ("soft" if variant == "exact" else "threshold")
    o = _Settings(
        *(teacher, student, known_labels, variant, estimator, direction, labels, teacher_term),
        *(positive, negative, drop_rate, drop_on, feedback_weight, confidence),
        *(learning_rate, cosine, baseline_decay),
    )
    _check(o)
    _check_scaling(o)
    return FeedbackStep(functools.partial(_init, o), _make_update(o, phases))


def _check(o: _Settings) -> None:
    for name in _CHOICES:
        _check_choice(name, getattr(o, name))
    _refuse(not 0 <= o.drop_rate <= 1, f"drop_rate={o.drop_rate} is not a probability.")
    for name in ("positive", "negative", "feedback_weight"):
        value = getattr(o, name)
        _refuse(not math.isfinite(value), f"{name}={value} must be finite.")
    _refuse(
        o.confidence is not None and not 0.5 <= o.confidence <= 1,
        f"confidence={o.confidence} must lie in [0.5, 1], being max(p, 1 - p).",
    )
    _refuse(
        o.labels == "soft" and o.variant in ("discrete", "continuous", "constant"),
        f"labels='soft' teach the teacher nothing in variant={o.variant!r}: the gradient of its "
        "cross entropy with its own probabilities is exactly 0; use 'threshold' or 'sample'.",
    )
    exact = o.variant == "exact"
    _refuse(
        exact and o.labels != "soft",
        f"variant='exact' differentiates the labels, and labels={o.labels!r} have no derivative; "
        "use 'soft'.",
    )
    _refuse(
        exact and (o.teacher_term, o.direction) != ("full", "gradient"),
        "variant='exact' has no teacher loss on x_u and always goes through the optimizer: "
        "teacher_term and direction mean nothing there.",
    )
    own_score = o.variant == "continuous" and o.labels == "sample"
    _refuse(
        o.teacher_term == "score" and not own_score and o.teacher.score_loss is None,
        "teacher_term='score' needs the teacher's score_loss, what of its loss the labels enter.",
    )
    _refuse(
        o.estimator == "difference" and (exact or o.direction == "update"),
        "estimator='difference' measures the student's step itself: it has no direction, and "
        "variant='exact' does not use it.",
    )


def _check_scaling(o: _Settings) -> None:
    scaled = o.cosine or o.direction == "update" or o.estimator == "difference"
    if o.variant != "continuous":
        given = o.cosine or o.learning_rate is not None or o.baseline_decay is not None
        names = "learning_rate, cosine and baseline_decay"
        _refuse(given, f"{names} belong to variant='continuous', not to {o.variant!r}.")
        return
    _refuse(
        o.cosine and o.estimator != "vjp",
        "cosine=True needs the norm of the labeled gradient, which only estimator='vjp' forms.",
    )
    _refuse(
        o.learning_rate is not None and scaled,
        "learning_rate would scale twice: the cosine has no scale, and direction='update' and "
        "estimator='difference' hold the learning rate already.",
    )
    _refuse(
        o.learning_rate is None and not scaled,
        "variant='continuous' scales by the student's learning_rate: give it, or cosine=True.",
    )
    _refuse(
        o.baseline_decay is not None and not 0 <= o.baseline_decay < 1,
        f"baseline_decay={o.baseline_decay} must lie in [0, 1).",
    )


def _init(
    o: _Settings, teacher_start: tuple[Any, Any], student_start: tuple[Any, Any]
) -> FeedbackState:
    def copied(x: Any) -> jax.Array:  # the dtype by name, or a weak one would compile twice
        return jnp.array(x, dtype=jnp.result_type(x), copy=True)

    copies = jax.tree.map(copied, (teacher_start, student_start))
    teacher, student = (
        LearnerState(params, model_state, learner.optimizer.init(params))
        for (params, model_state), learner in zip(copies, (o.teacher, o.student), strict=True)
    )
    if o.variant == "exact":
        _check_differentiable(o.student.optimizer, student)
    zeros = {name: jnp.zeros((), jnp.int32) for name in ("step", *_SIGNS, *_FLAGS)}
    baseline = jnp.zeros((), _tree_dtype(student.params))
    return FeedbackState(zeros.pop("step"), teacher, student, baseline, zeros)


def _check_differentiable(optimizer: optax.GradientTransformation, state: LearnerState) -> None:
    """Try the optimizer's derivative at a gradient with one 0 in it."""
    leaves, tree = jax.tree.flatten(state.params)
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
    if traced or sum(leaf.size for leaf in leaves) < 2:  # all 0 would be refused for a clip's norm
        return
    ones = [jnp.ones_like(leaf) for leaf in leaves]
    holed = [ones[0].ravel().at[0].set(0).reshape(ones[0].shape), *ones[1:]]
    updates, back = jax.vjp(
        lambda g: _optimize(optimizer, g, state.opt_state, state.params)[0], tree.unflatten(holed)
    )
    _refuse(
        not _finite(back(jax.tree.map(jnp.ones_like, updates))),
        "variant='exact' differentiates the student's optimizer, whose derivative is not finite "
        "where a gradient is 0: Adam needs eps_root > 0 (1e-8, say).",
    )


def _make_update(o: _Settings, phases: bool) -> Callable:
    """The step, of pieces that are large enough to be compiled one by one."""

    def piece(function: Callable, *first: Any, **options: Any) -> Callable:
        bound = functools.partial(function, *first)
        return jax.jit(bound, **options) if phases else bound

    label = functools.partial(pseudo_labels, kind=o.labels, confidence=o.confidence)
    prepare, student_step, measure = piece(_prepare, o), piece(_student_step, o), piece(_measure, o)
    exact, gate, finish = piece(_exact, o), piece(_gate, o), piece(_finish, o)
    gradient = piece(_gradient, label, static_argnums=0)
    term = _Task(o.teacher.apply, o.teacher.logits, _teacher_loss(o))
    lesson = _Task(o.teacher.apply, o.teacher.logits, o.teacher.loss)
    pupil = _Task(o.student.apply, o.student.logits, o.student.pseudo_loss or o.student.loss)

    def update(
        state: FeedbackState, labeled: Any, unlabeled: Any, key: jax.Array
    ) -> tuple[FeedbackState, FeedbackInfo]:
        known, keys = prepare(labeled, key)
        draw = keys["label"]
        # Of no meaning where the model labels by itself, but it makes all three calls alike.
        unused = known if _same_shapes(labeled, unlabeled) else None
        own = gradient(
            term, state.teacher[:2], unlabeled, unused, True, keys["teacher_unlabeled"], draw
        )
        given = (own.labels, own.mask)
        taught = gradient(
            pupil, state.student[:2], unlabeled, given, False, keys["student_unlabeled"], draw
        )
        student, along, flags = student_step(state.student, taught)
        verdict = measure(state.student, student, along, labeled, known, keys["feedback"])
        theta = (state.teacher.params, own.model_state)
        supervised = gradient(lesson, theta, labeled, known, False, keys["teacher_labeled"], draw)
        if o.variant == "exact":
            meta, useful = exact(state, unlabeled, own.mask, taught.gradient, verdict[2], keys)
            own, flags["nonfinite"] = own._replace(gradient=meta), ~useful
        gated = gate(state, verdict, along, flags, known[1], own.mask, keys["drop"])
        return finish(state, student, own, taught, supervised, verdict, gated)

    return update


def _same_shapes(a: Any, b: Any) -> bool:
    kinds = [[(jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(t)] for t in (a, b)]
    return jax.tree.structure(a) == jax.tree.structure(b) and kinds[0] == kinds[1]


def _teacher_loss(o: _Settings) -> Loss:
    if o.teacher_term == "score" and o.variant == "continuous" and o.labels == "sample":
        return functools.partial(_negative_log_likelihood, o.teacher.logits)
    score = o.teacher.score_loss if o.teacher_term == "score" else None
    return score or o.teacher.pseudo_loss or o.teacher.loss


def _negative_log_likelihood(
    logits: Callable, outputs: Any, batch: Any, labels: jax.Array, mask: jax.Array
) -> jax.Array:
    """-log P(Y) of the accepted cells: no mean, and no weight that the loss may give them."""
    del batch
    cells = optax.sigmoid_binary_cross_entropy(_wide(logits(outputs)), labels)
    return jnp.sum(cells, where=mask)


def _prepare(o: _Settings, labeled: Any, key: jax.Array) -> tuple[tuple, dict[str, jax.Array]]:
    labels, mask = o.known_labels(labeled)
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        labels = labels.astype(jnp.float32)
    return (labels, mask.astype(bool)), {name: _stream(key, name) for name in _STREAMS}


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
    """Loss and gradient on the given labels, or on the model's own of this very pass.

    `own` is data and not a choice at compile time, so that one compiled function serves the
    teacher's two passes and the student's.
    """

    def objective(params: Any) -> tuple[jax.Array, tuple]:
        outputs, model_state = task.apply(params, learner[1], batch, key, "train")
        logits = task.logits(outputs)
        labels, mask = label(logits, label_key)
        if given is not None:
            labels = jnp.where(own, labels, given[0].astype(labels.dtype))
            mask = jnp.where(own, mask, given[1])
        loss = _wide(task.loss(outputs, batch, labels, mask))
        return loss, (model_state, logits, labels, mask)

    (loss, rest), gradient = jax.value_and_grad(objective, has_aux=True)(learner[0])
    return _Pass(loss, gradient, *rest)


def _advance(
    learner: Learner, state: LearnerState, model_state: Any, gradient: Any, healthy: jax.Array
) -> LearnerState:
    updates, opt_state = _optimize(learner.optimizer, gradient, state.opt_state, state.params)
    new = LearnerState(optax.apply_updates(state.params, updates), model_state, opt_state)
    return jax.tree.map(lambda n, old: jnp.where(healthy, n, old), new, state)


def _student_step(
    o: _Settings, state: LearnerState, taught: _Pass
) -> tuple[LearnerState, Any, dict[str, jax.Array]]:
    """The next student, the direction that its feedback is taken along, and flags."""
    healthy = _finite(taught.loss, taught.gradient)
    new = _advance(o.student, state, taught.model_state, taught.gradient, healthy)
    flags = {"student_skipped": ~healthy, "insensitive": jnp.asarray(False)}
    if o.direction == "gradient":
        return new, taught.gradient, flags

    def scaled(s: jax.Array) -> Any:
        gradient = jax.tree.map(lambda g: s.astype(g.dtype) * g, taught.gradient)
        return _optimize(o.student.optimizer, gradient, state.opt_state, state.params)[0]

    one = jnp.ones((), _tree_dtype(taught.gradient))
    updates, slope = jax.jvp(scaled, (one,), (one,))
    flags["insensitive"] = _norm(slope) <= _INSENSITIVE * _norm(updates)
    return new, jax.tree.map(jnp.negative, slope), flags


def _measure(
    o: _Settings,
    old: LearnerState,
    new: LearnerState,
    along: Any,
    labeled: Any,
    known: tuple[jax.Array, jax.Array],
    key: jax.Array,
) -> tuple[jax.Array, jax.Array, Any]:
    """Feedback, labeled loss, and the labeled gradient where it is needed; commits no state."""

    def labeled_loss(params: Any) -> jax.Array:
        outputs, _ = o.student.apply(params, new.model_state, labeled, key, "feedback")
        labels = known[0].astype(_wide_dtype(o.student.logits(outputs).dtype))
        return _wide(o.student.loss(outputs, labeled, labels, known[1]))

    if o.cosine or o.variant == "exact":
        loss, gradient = jax.value_and_grad(labeled_loss)(new.params)
        return _dot(gradient, along), loss, gradient
    options = {"estimator": o.estimator, "old_params": old.params}
    return *student_feedback(labeled_loss, new.params, along, **options), None


def _exact(
    o: _Settings,
    state: FeedbackState,
    unlabeled: Any,
    mask: jax.Array,
    student_gradient: Any,
    labeled_gradient: Any,
    keys: dict[str, jax.Array],
) -> tuple[Any, jax.Array]:
    def output(learner: Learner, start: LearnerState, stream: str, params: Any) -> Any:
        return learner.apply(params, start.model_state, unlabeled, keys[stream], "train")[0]

    def pseudo_loss(params: Any, targets: jax.Array) -> jax.Array:
        outputs = output(o.student, state.student, "student_unlabeled", params)
        return (o.student.pseudo_loss or o.student.loss)(outputs, unlabeled, targets, mask)

    def soft_labels(params: Any) -> jax.Array:
        outputs = output(o.teacher, state.teacher, "teacher_unlabeled", params)
        return jax.nn.sigmoid(_wide(o.teacher.logits(outputs)))

    return exact_teacher_gradient(
        *(pseudo_loss, soft_labels, state.teacher.params, state.student.params),
        *(student_gradient, labeled_gradient, o.student.optimizer, state.student.opt_state),
    )


def _coefficient(
    o: _Settings, state: FeedbackState, verdict: tuple, along: Any, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Coefficient, whether sigma made it 0, baseline."""
    feedback, _, gradient = verdict
    if o.variant == "discrete":
        c, dropped = discretize(
            *(feedback, key),
            positive=o.positive,
            negative=o.negative,
            drop_rate=o.drop_rate,
            drop_on=o.drop_on,
        )
        return c, dropped, state.baseline
    if o.variant != "continuous":
        fixed = {"exact": 1.0, "constant": o.positive, "none": 0.0}[o.variant]
        return jnp.full_like(feedback, fixed), jnp.asarray(False), state.baseline
    scale: Any = 1.0 if o.learning_rate is None else o.learning_rate
    if callable(scale):
        scale = scale(state.step - state.counts["student_skipped"])
    if o.cosine:
        norms = _norm(gradient) * _norm(along)
        scale = jnp.where(norms > 0, 1 / jnp.where(norms > 0, norms, 1), 0)
    c, baseline = continuous(feedback, state.baseline, scale=scale, decay=o.baseline_decay)
    return c, jnp.asarray(False), baseline


def _gate(
    o: _Settings,
    state: FeedbackState,
    verdict: tuple,
    along: Any,
    flags: dict[str, jax.Array],
    known: jax.Array,
    accepted: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array, dict[str, jax.Array]]:
    """Coefficient, baseline and flags: 0 where the feedback is of no use."""
    useless = flags.get("nonfinite", jnp.asarray(False))
    nonfinite = ~jnp.isfinite(verdict[0]) | flags["student_skipped"] | useless
    no_labels = ~(jnp.any(known) & jnp.any(accepted))
    unusable = nonfinite | no_labels | flags["insensitive"]
    c, dropped, baseline = _coefficient(o, state, verdict, along, key)
    flags = flags | {"nonfinite": nonfinite, "no_labels": no_labels}
    flags |= {"dropped": dropped & ~unusable}
    return jnp.where(unusable, 0, c), jnp.where(unusable, state.baseline, baseline), flags


def _finish(
    o: _Settings,
    state: FeedbackState,
    student: LearnerState,
    own: _Pass,
    taught: _Pass,
    supervised: _Pass,
    verdict: tuple,
    gated: tuple,
) -> tuple[FeedbackState, FeedbackInfo]:
    """Step the teacher on c g_u + g_l, count."""
    c, baseline, flags = gated

    def total(u: jax.Array, g: jax.Array) -> jax.Array:
        term = (o.feedback_weight * c).astype(_wide_dtype(u.dtype)) * _wide(u)
        # Selected, not multiplied: at c = 0 the step is the supervised one, whatever u holds.
        return (jnp.where(c == 0, 0, term) + _wide(g)).astype(g.dtype)

    gradient = jax.tree.map(total, own.gradient, supervised.gradient)
    healthy = _finite(gradient, own.loss, own.logits, supervised.loss)
    teacher = _advance(o.teacher, state.teacher, supervised.model_state, gradient, healthy)
    flags = flags | {"teacher_skipped": ~healthy}
    events = flags | dict(zip(_SIGNS, (c > 0, c < 0, c == 0), strict=True))
    counts = {name: n + events[name].astype(jnp.int32) for name, n in state.counts.items()}
    new = FeedbackState(state.step + 1, teacher, student, baseline, counts)
    return new, _report(new, own, taught, supervised, verdict, c, flags)


def _report(
    new: FeedbackState,
    own: _Pass,
    taught: _Pass,
    supervised: _Pass,
    verdict: tuple,
    c: jax.Array,
    flags: dict[str, jax.Array],
) -> FeedbackInfo:
    passes = {"student_pseudo": taught, "teacher_pseudo": own, "teacher_labeled": supervised}
    probs, student_probs = (jax.nn.sigmoid(_wide(p.logits)) for p in (own, taught))
    accepted = own.mask.astype(own.labels.dtype)
    return FeedbackInfo(
        feedback=verdict[0],
        coefficient=c,
        flags=flags,
        shares={name: new.counts[name] / new.step for name in _SIGNS},
        losses={name: p.loss for name, p in passes.items()} | {"student_labeled": verdict[1]},
        gradient_norms={name: _norm(p.gradient) for name, p in passes.items()},
        positive_rate=jnp.sum(own.labels * accepted, 0) / jnp.maximum(jnp.sum(accepted, 0), 1),
        confidence=jnp.mean(jnp.abs(2 * probs - 1), axis=0),
        accepted=jnp.mean(accepted),
        agreement=jnp.mean(((probs >= 0.5) == (student_probs >= 0.5)).astype(probs.dtype)),
    )
