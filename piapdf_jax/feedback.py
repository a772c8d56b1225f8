r"""Discrete feedback: a teacher learns from what its pseudo labels did to a student.

One file on jax and optax, for any pair of models. Teacher f_theta and student f_xi are two ``Learner``s; a step takes
unlabeled data x_u and labeled data (x_l, Y_l) through the equations (7)-(14) of section 3.3 of Y. Tang et al., PIAP-DF:
Pixel-Interested and Anti Person-Specific Facial Action Unit Detection Net with Discrete Feedback Learning, ICCV 2021:

1.  The teacher labels x_u (7). One forward pass gives its logits z, its pseudo labels Y_p = 1[sigma(z) >= 0.5] and the
    gradient of its own loss on them:
        g_theta_u = d/dtheta L(f_theta(x_u), Y_p)
2.  The student steps on the same labels, with its own optimizer (7), (8). By plain SGD:
        g_xi_u = d/dxi L(f_xi(x_u), Y_p),    xi' = xi - eta g_xi_u
3.  The labeled data judge that step (9), (10): walk back from xi' along the gradient; how does the labeled loss change?
        fb = -d/dw L(f_(xi' - w g_xi_u)(x_l), Y_l) at w = 0  =  < dL_l/dxi (xi'), g_xi_u >
    L_l(xi) - L_l(xi') = eta fb + O(eta^2): where fb > 0 the pseudo labels lowered it. The sign is old minus new.
4.  The feedback becomes a coefficient (10), a constant from here on: no gradient flows through it.
        c = sigma h(fb),    h(z) = 1 if z > 0 else -0.1,    P(sigma = 0) = 0.05
5.  The teacher, which has not moved since, steps (9), (11) on
        c g_theta_u + g_theta_l,    g_theta_l = d/dtheta L(f_theta(x_l), Y_l)

Why this teaches the teacher (12)-(14): let J(theta) be L_l at the student's mean step over labels drawn from the
teacher. Its gradient is the mean of eta fb (-d/dtheta log P_theta(Y_p)), and -log P_theta(Y_p) is the teacher's binary
cross entropy against its own labels, up to the number of labels. Momentum changes nothing here, since only g_xi_u
depends on Y_p. Two things hold the chain together. The labels must be hard, or the gradient of that cross entropy is
sigma(z) - Y_p = 0 at every label; and the same pass must give both labels and gradient.

A step in numbers: one weight each, z = theta x and z = xi x; x_u = 1, x_l = 2, Y_l = 1, eta = 0.1.

>>> import jax, jax.numpy as jnp, optax
>>> from piapdf_jax.feedback import Learner, discrete_feedback, discrete_gate, masked_mean
>>> scalar = Learner(
...     apply=lambda weight, model_state, batch, key, mode: (weight * batch["x"], model_state),
...     logits=lambda outputs: outputs,
...     loss=lambda z, batch, y, mask: masked_mean(optax.sigmoid_binary_cross_entropy(z, y), mask),
...     optimizer=optax.sgd(0.1))
>>> step = discrete_feedback(
...     scalar, scalar, known_labels=lambda batch: (batch["y"], batch["y"] >= 0),
...     gate=discrete_gate(drop_rate=0.0))
>>> state = step.init((jnp.asarray(0.5), None), (jnp.asarray(0.2), None))
>>> labeled, unlabeled = {"x": jnp.asarray([[2.0]]), "y": jnp.asarray([[1.0]])}, {"x": jnp.asarray([[1.0]])}
>>> state, info = jax.jit(step.update)(state, labeled, unlabeled, jax.random.key(0))
>>> print(f"student {state.student.params:.5f}, teacher {state.teacher.params:.5f}")
student 0.24502, teacher 0.59154
>>> print(f"feedback {info.feedback:.5f}, coefficient {info.coefficient:.1f}")
feedback 0.34202, coefficient 1.0
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

#: Each draw of a step has its own stream, so that variants with the same key share draws.
_DRAWS = ("label", "teacher_unlabeled", "teacher_labeled", "student_unlabeled", "feedback", "drop")
_SIGNS = ("positive", "negative", "zero")
_FLAGS = ("nonfinite", "no_labels", "unusable", "student_skipped", "teacher_skipped")
PyTree = Any  # arrays in nested containers, or None
Loss = Callable[[PyTree, PyTree, jax.Array, jax.Array], jax.Array]


class Learner(NamedTuple):
    """A model as pure functions; teacher and student may be one Learner or two different ones.

    Mode "train" has dropout, batch statistics and updates running statistics; "feedback" has batch statistics and no
    dropout, and the state that it returns is thrown away. ``batch`` is any pytree, ``model_state`` any pytree of finite
    numbers, None for none. A loss is a scalar over the cells where ``mask``, bool of the labels' shape, is true; other
    labels may be anything finite. It must be finite where the mask is empty, as ``masked_mean`` is.
    """

    # (params, model_state, batch, key, mode) -> (outputs, model_state)
    apply: Callable[[PyTree, PyTree, PyTree, jax.Array, str], tuple[PyTree, PyTree]]
    logits: Callable[[PyTree], jax.Array]  # outputs -> [B, ...], what the label rule reads
    loss: Loss  # (outputs, batch, labels [B, ...], mask) -> scalar, for labels and pseudo labels alike
    optimizer: Any  # of optax; one that asks for ``value`` gets the loss that it descends
    pseudo_loss: Loss | None = None  # for pseudo labels, where it differs (label smoothing, say)


class LearnerState(NamedTuple):
    """State of one learner: parameters, batch statistics, optimizer state."""

    params: PyTree
    model_state: PyTree
    opt_state: PyTree


class FeedbackState(NamedTuple):
    """State of the whole algorithm."""

    step: jax.Array  # [] int32, updates attempted
    teacher: LearnerState
    student: LearnerState
    label: PyTree  # of the label rule
    gate: PyTree
    counts: dict[str, jax.Array]  # [] int32: steps with positive, negative, zero c; with each flag


class FeedbackInfo(NamedTuple):
    """Metrics of one step, scalars.

    Flags say why c is 0: ``nonfinite`` (fb or c), ``no_labels`` (none known or none accepted), ``unusable`` (set by the
    measure) or the gate's own (``dropped``); ``student_skipped`` and ``teacher_skipped`` mark steps left out.
    """

    feedback: jax.Array  # fb as measured
    coefficient: jax.Array  # c, without the weight
    flags: dict[str, jax.Array]
    losses: dict[str, jax.Array]  # teacher_pseudo, student_pseudo, teacher_labeled; student_labeled
    gradient_norms: dict[str, jax.Array]  # of the first three, without c
    accepted: jax.Array  # share of accepted pseudo labels
    diagnostics: dict[str, jax.Array]  # of label rule and measure


class LabelRule(NamedTuple):
    """Rule by which the teacher's logits [B, ...] become pseudo labels; its state stays in a skipped step."""

    # (logits of the pass on x_u, key, state) -> (labels [B, ...], mask of those accepted, which broadcasts, state)
    update: Callable[[jax.Array, jax.Array, PyTree], tuple[jax.Array, jax.Array, PyTree]]
    init: Callable[[PyTree], PyTree] = lambda params: optax.EmptyState()  # from teacher's params
    observe: Callable[[PyTree, PyTree], PyTree] = lambda logits, state: state  # then, of z on x_l
    diagnostics: Callable[..., PyTree] = lambda *args: {}  # (z, student's z, labels, mask)
    check: Callable[[PyTree, PyTree], None] = lambda measure, gate: None  # may raise ValueError


class Gate(NamedTuple):
    """Function from fb to the coefficient; its state stays where fb is of no use, or the step is skipped."""

    update: Callable[[jax.Array, jax.Array, PyTree], PyTree]  # fb, key, state -> c, flags, state
    init: Callable[[PyTree], PyTree] = lambda params: optax.EmptyState()  # from student's params
    constant: float | None = None  # c, of a gate that does not look at fb


class PassOutput(NamedTuple):
    """A forward and a backward pass; where it is not ``finite``, it leaves the model state as it was."""

    loss: jax.Array
    grads: PyTree
    model_state: PyTree
    logits: jax.Array
    labels: jax.Array
    mask: jax.Array
    label_state: PyTree
    finite: jax.Array  # loss, logits and model state are


class StudentStep(NamedTuple):
    """Inputs of a measure: the student's step, and how to evaluate L_l."""

    labeled_loss: Callable[[PyTree], jax.Array]  # params -> L_l, in mode "feedback"
    new: LearnerState  # at xi'
    student_pass: PassOutput  # on x_u, at xi; its ``grads`` are g_xi_u
    state: FeedbackState  # before the step
    unlabeled: PyTree
    keys: dict[str, jax.Array]
    feedback_step: "FeedbackStep"


class Measurement(NamedTuple):
    """Output of a measure."""

    feedback: jax.Array  # fb
    labeled_loss: jax.Array  # L_l(xi')
    usable: jax.Array | bool = True  # whether fb means anything
    teacher_grads: PyTree = None  # in place of g_theta_u
    details: dict[str, jax.Array] = {}  # diagnostics of its own


def upcast(x):
    """Returns float32 at least: half precision must not decide the sign of a sum."""
    return x if jnp.finfo(x.dtype).bits >= 32 else x.astype(jnp.float32)


def all_finite(*trees):
    """Returns True if every number is finite: 0 x is 0 only for finite x."""
    floats = [x for x in jax.tree.leaves(trees) if jnp.issubdtype(x.dtype, jnp.inexact)]
    total = sum((jnp.sum(x * 0).astype(jnp.float32) for x in floats), jnp.float32(0))
    return jnp.isfinite(jnp.sqrt(total))  # a root, lest XLA copies the sum to every leaf's update


def masked_mean(cells: jax.Array, mask: jax.Array) -> jax.Array:
    """Returns the mean of the cells where ``mask`` is true, 0 where it is true nowhere."""
    cells, mask = upcast(cells), jnp.broadcast_to(mask, cells.shape)
    return jnp.sum(cells, where=mask) / jnp.maximum(jnp.sum(mask), 1).astype(cells.dtype)


def threshold(*, cut: float = 0.5, confidence: float = 0.5) -> LabelRule:
    """Returns the paper's rule (7) for independent binary labels: 1[p >= cut], p = sigma(z).

    Accepted are labels with max(p, 1 - p) >= ``confidence`` and finite z. Diagnostics: their ``positive_rate`` [...],
    ``confidence`` [...], mean |2 p - 1|, and ``agreement``, the share of cells where teacher and student take one side.
    """
    if not (0.5 <= confidence <= 1 and 0 < cut < 1):
        raise ValueError(f"confidence={confidence} must lie in [0.5, 1], cut={cut} in (0, 1).")

    def update(logits, key, state):
        mask = jnp.isfinite(logits)
        probs = jnp.where(mask, jax.nn.sigmoid(upcast(logits)), 0)
        mask &= jnp.maximum(probs, 1 - probs) >= confidence
        return (probs >= cut).astype(probs.dtype), mask, state

    def diagnostics(logits, student_logits, labels, mask):
        probs, student_probs = (jax.nn.sigmoid(upcast(z)) for z in (logits, student_logits))
        accepted = jnp.maximum(jnp.sum(mask.astype(labels.dtype), 0), 1)
        agreement = jnp.mean(((probs >= 0.5) == (student_probs >= 0.5)).astype(probs.dtype))
        rate, sure = jnp.sum(labels, 0, where=mask) / accepted, jnp.mean(jnp.abs(2 * probs - 1), 0)
        return {"positive_rate": rate, "confidence": sure, "agreement": agreement}

    return LabelRule(update, diagnostics=diagnostics)


def grad_slope(labeled_loss: Callable, params: PyTree, direction: PyTree) -> tuple[jax.Array, ...]:
    """Computes fb = -d/dw L_l(params - w direction) at w = 0 by ``jax.grad``, and L_l(params)."""

    def loss_at_offset(w):
        def moved(p, d):  # wide, so that the derivative by w is summed wide
            return (upcast(p) - w.astype(upcast(p).dtype) * upcast(d)).astype(p.dtype)

        return upcast(labeled_loss(jax.tree.map(moved, params, direction)))

    loss, slope = jax.value_and_grad(loss_at_offset)(jnp.zeros(()))
    return -slope, loss


def student_slope(slope: Callable = grad_slope) -> Callable[[StudentStep], Measurement]:
    """Returns the paper's measure (10), the slope of L_l at xi' along g_xi_u, by a function like ``grad_slope``."""
    return lambda s: Measurement(*slope(s.labeled_loss, s.new.params, s.student_pass.grads))


def discrete_gate(positive=1.0, negative=-0.1, drop_rate=0.05, drop_negative=True) -> Gate:
    """Returns the paper's gate (10): c = sigma h(fb), h(z) = ``positive`` if z > 0 else ``negative``.

    sigma is 0 (flag ``dropped``) with probability ``drop_rate``, else 1; without ``drop_negative`` only where fb > 0.
    """
    if not 0 <= drop_rate <= 1:
        raise ValueError(f"drop_rate={drop_rate} is not a probability.")

    def update(fb, key, state):
        dropped = jax.random.bernoulli(key, drop_rate) & (drop_negative | (fb > 0))
        h = jnp.where(fb > 0, positive, negative).astype(fb.dtype)
        return jnp.where(dropped, 0, h), {"dropped": dropped}, state

    return Gate(update)


def _check_pair(who, parts, value):
    if type(value) is not tuple or len(value) != 2:
        raise ValueError(f"{who} a pair {parts}, not {type(value).__name__}.")
    return value


def _align(like, rows, labels, mask):
    """Returns labels in the form that the rule makes, and a mask of their shape."""
    ends = zip(mask.shape[::-1], labels.shape[::-1], strict=False)
    fits = mask.ndim <= labels.ndim and all(m in (1, n) for m, n in ends)
    if labels.shape[1:] != like.shape[1:] or len(labels) != rows or not fits:
        raise ValueError(f"labels {labels.shape}, mask {mask.shape} unlike {like.shape}, B={rows}")
    return labels.astype(like.dtype), jnp.broadcast_to(mask.astype(bool), labels.shape)


def apply(learner, start, *rest):
    """Returns outputs and model state of a learner, from (params, model_state)."""
    result = learner.apply(*start, *rest)
    return _check_pair("apply returns", "(outputs, model_state)", result)


def compute_updates(optimizer, grads, state, value):
    """Returns the optimizer's updates and its new state."""
    optimizer = optax.with_extra_args_support(optimizer)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes
        return optimizer.update(grads, state.opt_state, state.params, value=value)


def _apply_gradients(learner, state, passed, grads, value, finite):
    updates, opt_state = compute_updates(learner.optimizer, grads, state, value)
    params = optax.apply_updates(state.params, updates)
    return optax.tree.where(finite, LearnerState(params, passed.model_state, opt_state), state)


@dataclasses.dataclass(eq=False)
class FeedbackStep:
    """The step of the module's docstring, ``init`` and ``update``; ``discrete_feedback`` is its public name.

    The teacher's model state goes through x_u first and x_l then, the student's through x_u; the feedback pass commits
    none. What is not finite changes nothing and is counted. Where c = 0 the teacher's step is the supervised one.
    ``update`` compiles nothing: compile it whole, as by ``jax.jit(step.update, donate_argnums=0)``.
    """

    teacher: Learner  # labels
    student: Learner  # learns from the labels; may be the same Learner
    _: dataclasses.KW_ONLY
    # labeled batch -> (Y_l [B, ...], such as the label rule makes, and a mask of where it is known, which broadcasts)
    known_labels: Callable[[PyTree], tuple[jax.Array, jax.Array]]
    label: LabelRule = threshold()  # 1.
    # 3., fb > 0 where the student's step lowered L_l; an attribute ``check``, of (step, student's params), may refuse
    measure: Callable[[StudentStep], Measurement] = student_slope()
    gate: Gate = discrete_gate()  # 4.
    feedback_weight: float | jax.Array = 1.0  # of c in 5.

    def __post_init__(self):
        self.label.check(self.measure, self.gate)
        t, s = self.teacher, self.student
        self.specs = {  # what decides a compiled gradient, and nothing else
            "teacher_unlabeled": Learner(*t[:2], t.pseudo_loss or t.loss, None),
            "student_unlabeled": Learner(*s[:2], s.pseudo_loss or s.loss, None),
            "teacher_labeled": Learner(*t[:3], None),
        }

    def init(self, teacher: tuple[PyTree, PyTree], student: tuple[PyTree, PyTree]) -> FeedbackState:
        """Starts from (params, model_state) of each, copied: both may be the same, and the state donated."""

        def start(learner, pair):
            _check_pair("init takes of each model", "(params, model_state)", pair)
            state = LearnerState(pair[0], pair[1], learner.optimizer.init(pair[0]))
            try:
                jax.eval_shape(lambda: compute_updates(learner.optimizer, state.params, state, 0.0))
            except TypeError as error:
                raise ValueError(f"the optimizer needs more than `value`: {error}") from error
            return state

        states = start(self.teacher, teacher), start(self.student, student)
        label, gate = self.label.init(states[0].params), self.gate.init(states[1].params)
        fb, key = jax.eval_shape(lambda: (jnp.zeros(()), jax.random.key(0)))
        c, flags, _ = jax.eval_shape(self.gate.update, fb, key, gate)
        names = *_SIGNS, *_FLAGS, *flags
        if len(set(names)) < len(names) or c.shape != ():
            raise ValueError(f"a gate returns c [] and no flag named {', '.join(names[:8])}.")
        counts = {name: jnp.zeros((), jnp.int32) for name in names}
        state = FeedbackState(jnp.zeros((), jnp.int32), *states, label, gate, counts)
        # The dtype by name, or a weak one would compile twice.
        state = jax.tree.map(lambda x: jnp.array(x, jnp.result_type(x), copy=True), state)
        getattr(self.measure, "check", lambda *_: None)(self, state.student.params)
        return state

    def update(self, state: FeedbackState, labeled, unlabeled, key, judge=None):
        """Returns the next state, and FeedbackInfo. ``judge`` takes the place of ``labeled`` in 3. alone."""
        judge = labeled if judge is None else judge
        y_l, y_judge, keys = self._prepare(labeled, judge, key)
        theta, xi, draw = state.teacher, state.student, (keys["label"], state.label)
        same_shapes = jax.tree.map(jnp.shape, labeled) == jax.tree.map(jnp.shape, unlabeled)
        spare, rule = (y_l, draw) if same_shapes else (None, None)  # such passes share a function

        def run_pass(name, start, batch, given, own_labels=False):
            rest = own_labels, keys[name], draw if own_labels else rule
            return self._gradients(self.specs[name], start, batch, given, *rest)

        # 1. The teacher labels x_u: one pass of f_theta gives z, Y_p and g_theta_u (7).
        theta_u = run_pass("teacher_unlabeled", theta[:2], unlabeled, spare, own_labels=True)
        y_p = theta_u.labels, theta_u.mask
        y_l, y_judge = (_align(y_p[0], len(y[0]), *y) for y in (y_l, y_judge))

        # 2. The student f_xi steps on the same labels: xi' = xi - eta g_xi_u, or so (7), (8).
        xi_u = run_pass("student_unlabeled", xi[:2], unlabeled, y_p)
        if xi_u.logits.shape != theta_u.logits.shape:
            raise ValueError(f"student's logits {xi_u.logits.shape} unlike {theta_u.logits.shape}.")
        xi_new, stepped = self._step_student(xi, xi_u)

        # 3. (x_l, Y_l) judge that step: fb, less the slope of L_l by w at xi' - w g_xi_u (9), (10).
        fb = self._judge(state, xi_new, xi_u, unlabeled, judge, y_judge, keys)

        # 4. The feedback becomes a coefficient: c = sigma h(fb) (10).
        c, flags, gate = self._open_gate(state.gate, fb, stepped, y_judge, y_p, keys["drop"])

        # 5. The teacher, still at theta, steps on c g_theta_u + g_theta_l, the latter on x_l (9), (11).
        theta_l = run_pass("teacher_labeled", (theta.params, theta_u.model_state), labeled, y_l)
        return self._step_teacher(state, xi_new, theta_u, xi_u, theta_l, fb, c, flags, gate)

    def _prepare(self, labeled, judge, key):
        words = [hashlib.sha256(name.encode()).digest()[:4] for name in _DRAWS]
        keys = [jax.random.fold_in(key, int.from_bytes(word, "little")) for word in words]
        known = map(self.known_labels, (labeled, judge))
        pairs = [_check_pair("known_labels returns", "(labels, mask)", pair) for pair in known]
        return *pairs, dict(zip(_DRAWS, keys, strict=True))

    def _gradients(self, learner, start, batch, given, own_labels, key, draw):
        """Loss and gradient on the given labels, or where ``own_labels``, which may be traced, on the pass's own."""

        def loss_fn(params):
            outputs, model_state = apply(learner, (params, start[1]), batch, key, "train")
            logits = learner.logits(outputs)
            if draw is None:
                labels, mask, label_state = *_align(given[0], len(logits), *given), None
            else:
                labels, mask, label_state = self.label.update(jax.lax.stop_gradient(logits), *draw)
                labels, mask = _align(labels, len(logits), jax.lax.stop_gradient(labels), mask)
                label_state = optax.tree.where(all_finite(logits), label_state, draw[1])
                other = _align(labels, len(logits), *(given or (labels, mask)))
                labels, mask = optax.tree.where(own_labels, (labels, mask), other)
            loss = upcast(learner.loss(outputs, batch, labels, mask))
            finite = all_finite(loss, logits, model_state)
            model_state = optax.tree.where(finite, model_state, start[1])
            return loss, (model_state, logits, labels, mask, label_state, finite)

        (loss, rest), grads = jax.value_and_grad(loss_fn, has_aux=True)(start[0])
        return PassOutput(loss, grads, *rest)

    def _step_student(self, xi, passed):
        finite = passed.finite & all_finite(passed.grads)
        return _apply_gradients(self.student, xi, passed, passed.grads, passed.loss, finite), finite

    def _judge(self, state, new, passed, unlabeled, judge, known, keys):
        def labeled_loss(params):
            start = params, new.model_state
            outputs, _ = apply(self.student, start, judge, keys["feedback"], "feedback")
            given = _align(known[0], len(self.student.logits(outputs)), *known)
            return upcast(self.student.loss(outputs, judge, *given))

        return self.measure(StudentStep(labeled_loss, new, passed, state, unlabeled, keys, self))

    def _open_gate(self, state, measured, stepped, known, labels, key):
        c, flags, new = self.gate.update(measured.feedback, key, state)
        finite = stepped & jnp.isfinite(measured.feedback) & jnp.isfinite(c)
        evidence, usable = jnp.any(known[1]) & jnp.any(labels[1]), jnp.asarray(measured.usable)
        valid = finite & evidence & usable
        flags = {name: on & valid for name, on in flags.items()} | {"student_skipped": ~stepped}
        flags |= {"nonfinite": ~finite, "no_labels": ~evidence, "unusable": ~usable}
        return jnp.where(valid, c, 0), flags, optax.tree.where(valid, new, state)

    def _step_teacher(self, state, student, theta_u, xi_u, theta_l, measured, c, flags, gate):
        if measured.teacher_grads is not None:
            theta_u = theta_u._replace(grads=measured.teacher_grads)

        def total(u, g):
            term = (c * self.feedback_weight).astype(upcast(u).dtype) * upcast(u)
            # Selected, not multiplied: at c = 0 the step is the supervised one, whatever u holds.
            return (jnp.where(c == 0, 0, term) + upcast(g)).astype(g.dtype)

        grads, value = jax.tree.map(total, *((p.grads, p.loss) for p in (theta_u, theta_l)))
        finite = theta_l.finite & all_finite(grads) & (theta_u.finite | (c == 0))
        teacher = _apply_gradients(self.teacher, state.teacher, theta_l, grads, value, finite)
        label = self.label.observe(theta_l.logits, theta_u.label_state)
        kept = finite & ~flags["student_skipped"]
        label, gate = optax.tree.where(kept, (label, gate), (state.label, state.gate))
        flags = flags | {"teacher_skipped": ~finite}
        events = flags | {"positive": c > 0, "negative": c < 0, "zero": c == 0}
        counts = {name: n + events[name].astype(jnp.int32) for name, n in state.counts.items()}
        named = {"teacher_pseudo": theta_u, "student_pseudo": xi_u, "teacher_labeled": theta_l}
        losses = {name: p.loss for name, p in named.items()}
        info = FeedbackInfo(
            *(measured.feedback, c, flags, losses | {"student_labeled": measured.labeled_loss}),
            {name: optax.tree.norm(jax.tree.map(upcast, p.grads)) for name, p in named.items()},
            jnp.mean(theta_u.mask.astype(theta_u.loss.dtype)),
            self.label.diagnostics(theta_u.logits, xi_u.logits, *theta_u[4:6]) | measured.details,
        )
        return FeedbackState(state.step + 1, teacher, student, label, gate, counts), info


discrete_feedback = FeedbackStep  # the name to call
