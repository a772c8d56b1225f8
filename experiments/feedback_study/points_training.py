"""Trainings of the feedback study: every variant, many seeds and settings side by side.

Teacher and student start from the same supervised training, as the paper's do. Batches, network and
world of a seed are the same for all variants, so their differences are paired.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.feedback_study import points_problem as problems
from experiments.feedback_study.points_problem import Points, Problem
from piapdf_jax.feedback import FeedbackStep, discrete_feedback
from piapdf_jax.feedback_variants import (
    constant_gate,
    continuous_gate,
    exact_teacher_gradient,
    sample,
    soft,
)

_MOMENTUM = 0.9
_ROWS, _STEPS = 20, 21  # streams of a seed, after those of the problem


class Variant(NamedTuple):
    """A way to train.

    Attributes:
        title: in the table.
        options: of ``discrete_feedback``; equal ones are one training.
        model: "student" or "teacher", the one that the variant hands on.
        unit: a feedback weight at which the term that it adds to the teacher's gradient is about as
            long as the labeled gradient, whatever the learning rate; 0 where there is no feedback.
        per_rate: weights are in units of 1 / eta, for a gradient that is eta times a quantity like
            the feedback.
    """

    title: str
    options: dict[str, Any]
    model: str = "student"
    unit: float = 0.0
    per_rate: bool = False


_SAMPLE, _NONE = sample(), constant_gate(0.0)
# The student's learning rate, a factor of MPL's coefficient, goes into the weight.
_MPL = {"label": _SAMPLE, "gate": continuous_gate()}
_EXACT = {"label": soft(), "measure": exact_teacher_gradient(), "gate": constant_gate(1.0)}
VARIANTS = {
    # c = 0 leaves the teacher exactly what plain supervised training makes of it.
    "supervised": Variant("supervised", {"gate": _NONE}, "teacher"),
    "pseudo_sample": Variant("sampled pseudo labels", {"gate": _NONE, "label": _SAMPLE}),
    "pseudo_soft": Variant("soft pseudo labels", {"gate": _NONE, "label": soft()}),
    "mpl": Variant("MPL, continuous", _MPL, unit=200.0),
    "mpl_public": Variant("MPL, public sign", _MPL, unit=-200.0),
    "exact": Variant("exact", _EXACT, unit=4.0, per_rate=True),
}


class Lengths(NamedTuple):
    """Supervised steps at the start, steps after it, points of a batch (labeled, and unlabeled)."""

    start: int = 500
    steps: int = 2000
    batch: int = 32


class Lane(NamedTuple):
    """One training of many that run side by side: seed [N] int32, the others [N] float32."""

    seed: jax.Array
    learning_rate: jax.Array
    weight: jax.Array


class Trained(NamedTuple):
    """Parameters of both models; and means over the steps, [N] each.

    Attributes:
        teacher: parameters.
        student: parameters.
        term_norm: length of c g_u with its weight, what feedback adds to the teacher's gradient.
        labeled_norm: length of the teacher's labeled gradient.
        positive: share of steps with feedback above 0.
    """

    teacher: Any
    student: Any
    term_norm: jax.Array
    labeled_norm: jax.Array
    positive: jax.Array


class Runs(NamedTuple):
    """The same with accuracies [N] in percent in place of parameters, in NumPy."""

    teacher: np.ndarray
    student: np.ndarray
    term_norm: np.ndarray
    labeled_norm: np.ndarray
    positive: np.ndarray


def feedback_step(options: dict[str, Any], learning_rate: Any, weight: Any) -> FeedbackStep:
    """Returns the step of a variant; learning rate and feedback weight may be traced."""
    network = problems.learner(optax.sgd(learning_rate, momentum=_MOMENTUM))
    known = problems.known_labels
    return discrete_feedback(
        network, network, known_labels=known, feedback_weight=weight, **options
    )


class _Prepared(NamedTuple):
    """What all variants of a lane share: points, rows of each batch [S, B], parameters."""

    labeled: Points
    unlabeled: Points
    labeled_rows: jax.Array
    unlabeled_rows: jax.Array
    start: Any


@functools.partial(jax.jit, static_argnums=(0, 1))
@functools.partial(jax.vmap, in_axes=(None, None, 0))
def _prepare(problem: Problem, lengths: Lengths, lane: Lane) -> _Prepared:
    labeled, unlabeled = (
        problems.draw(problem, lane.seed, split) for split in ("labeled", "unlabeled")
    )
    keys = jax.random.split(problems.stream(lane.seed, _ROWS))
    total = lengths.start + lengths.steps
    rows = jax.random.randint(keys[0], (total, lengths.batch), 0, problem.labeled)
    shape = (lengths.steps, lengths.batch)
    unlabeled_rows = jax.random.randint(keys[1], shape, 0, problem.unlabeled)
    optimizer = optax.sgd(lane.learning_rate, momentum=_MOMENTUM)
    params = problems.initial_params(problem, lane.seed)

    def loss(params: Any, batch: Points) -> jax.Array:
        z = problems.logits(params, batch.x)
        return problems.label_loss(z, batch, *problems.known_labels(batch))

    def step(carry: Any, rows: jax.Array) -> Any:
        params, state = carry
        gradient = jax.grad(loss)(params, _take(labeled, rows))
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    (start, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), rows[: lengths.start])
    return _Prepared(labeled, unlabeled, rows[lengths.start :], unlabeled_rows, start)


def _take(points: Points, rows: jax.Array) -> Points:
    return Points(points.x[rows], points.y[rows])


@functools.partial(jax.jit, static_argnums=0)
@functools.partial(jax.vmap, in_axes=(None, 0, 0))
def _train(options: tuple[tuple[str, Any], ...], lane: Lane, prepared: _Prepared) -> Trained:
    step = feedback_step(dict(options), lane.learning_rate, lane.weight)
    rows = prepared.labeled_rows, prepared.unlabeled_rows
    keys = jax.random.split(problems.stream(lane.seed, _STEPS), len(rows[0]))

    def one(state: Any, drawn: Any) -> Any:
        labeled, unlabeled = _take(prepared.labeled, drawn[0]), _take(prepared.unlabeled, drawn[1])
        state, info = step.update(state, labeled, unlabeled, drawn[2])
        norms = info.gradient_norms
        term = jnp.abs(lane.weight * info.coefficient) * norms["teacher_pseudo"]
        positive = (info.feedback > 0).astype(jnp.float32)
        return state, (term, norms["teacher_labeled"], positive)

    state = step.init((prepared.start, None), (prepared.start, None))
    state, logs = jax.lax.scan(one, state, (*rows, keys))
    return Trained(state.teacher.params, state.student.params, *map(jnp.mean, logs))


@functools.partial(jax.jit, static_argnums=(0, 1))
@functools.partial(jax.vmap, in_axes=(None, None, 0, 0))
def _score(problem: Problem, split: str, params: Any, seed: jax.Array) -> jax.Array:
    return problems.accuracy(params, problems.draw(problem, seed, split))


def train(
    problem: Problem,
    lengths: Lengths,
    name: str,
    lanes: Sequence[tuple[int, float, float]],
    split: str,
    *,
    size: int = 20,
) -> Runs:
    """Trains a variant many times side by side and scores what came out on one split.

    Args:
        problem: the problem.
        lengths: of the training.
        name: key of ``VARIANTS``.
        lanes: N times (seed, learning rate, feedback weight).
        split: "validation" or "test"; the other is not drawn.
        size: lanes at a time, compiled once and spread over JAX's devices.

    Returns:
        Runs of N.
    """
    count = max(n for n in range(1, len(jax.devices()) + 1) if size % n == 0)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]), ("lane",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("lane"))
    parts = []
    variant = VARIANTS[name]
    options = tuple(variant.options.items())  # what two variants share is compiled once
    if variant.per_rate:
        lanes = [(seed, rate, weight / rate) for seed, rate, weight in lanes]
    for start in range(0, len(lanes), size):
        part = list(lanes[start : start + size])
        seed, *floats = zip(*part, *part[-1:] * (size - len(part)), strict=True)
        columns = (jnp.array(seed, jnp.int32), *(jnp.array(f, jnp.float32) for f in floats))
        lane = jax.device_put(Lane(*columns), sharding)
        trained = _train(options, lane, _prepare(problem, lengths, lane))
        scores = [_score(problem, split, p, lane.seed) for p in (trained.teacher, trained.student)]
        runs = Runs(scores[0], scores[1], *trained[2:])
        parts.append([np.asarray(column)[: len(part)] for column in runs])
    return Runs._make(map(np.concatenate, zip(*parts, strict=True)))
