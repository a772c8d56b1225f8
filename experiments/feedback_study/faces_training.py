"""Trainings of the study on faces: many side by side, of any worlds and seeds, compiled once an arm.

All arms of a world and seed start from one supervised training, and draw the same batches.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.feedback_study import faces_arms as arms
from experiments.feedback_study.faces_arms import Arm, Frames, Network
from experiments.feedback_study.faces_worlds import Lanes
from piapdf_jax import feedback
from piapdf_jax.feedback import LearnerState

#: Random streams of a seed.
_WEIGHTS, _ROWS, _NOISE, _STEPS, _END = range(5)
_SPEC = jax.sharding.PartitionSpec("lane")


class Lengths(NamedTuple):
    """Supervised steps at the start, steps after it, frames of a batch (labeled, and unlabeled), the network."""

    start: int = 300
    steps: int = 400
    batch: int = 32
    network: Network = Network()


class Trained(NamedTuple):
    """Parameters of both models; and means over the steps, [N] each.

    Attributes:
        teacher: parameters.
        student: parameters.
        term_norm: length of c g_u with its weight, what feedback adds to the teacher's gradient.
        labeled_norm: length of the teacher's labeled gradient.
        positive: share of steps with feedback above 0.
        labels: share of positive pseudo labels.
    """

    teacher: Any
    student: Any
    term_norm: Any
    labeled_norm: Any
    positive: Any
    labels: Any


def start(lengths: Lengths, lanes: Lanes, rate: np.ndarray) -> Any:
    """Trains on the labeled frames alone.

    Args:
        lengths: of the training.
        lanes: data of N trainings.
        rate: [N] learning rates.

    Returns:
        Parameters, [N] first.
    """
    return _spread(functools.partial(_start, lengths), lanes, jnp.asarray(rate, jnp.float32))


def train(
    arm: Arm, lengths: Lengths, lanes: Lanes, begun: Any, rate: np.ndarray, weight: np.ndarray
) -> Trained:
    """Trains an arm N times side by side, spread over JAX's devices.

    Args:
        arm: how; its weights per rate are of the arm's rate.
        lengths: of the training.
        lanes: data of N trainings.
        begun: parameters to start from, [N] first.
        rate: [N] learning rates.
        weight: [N] feedback weights.
    """
    weight = np.asarray(weight) / np.asarray(rate) if arm.per_rate else weight
    floats = (jnp.asarray(x, jnp.float32) for x in (rate, weight))
    return _spread(functools.partial(_train, arm.training, lengths), lanes, begun, *floats)


def probabilities(network: Network, params: Any, x: np.ndarray) -> np.ndarray:
    """Computes probabilities [N, F, C] of frames [N, F, D], undisturbed."""
    return np.asarray(jax.nn.sigmoid(_logits(network, params, x)))


@functools.partial(jax.jit, static_argnums=0)
@functools.partial(jax.vmap, in_axes=(None, 0, 0))
def _logits(network: Network, params: Any, x: jax.Array) -> jax.Array:
    return arms.logits(network, params, x)


def put(tree: Any) -> Any:
    """Puts arrays [N] first on the devices that train them."""
    devices = _devices(len(jax.tree.leaves(tree)[0]))
    return jax.device_put(tree, jax.sharding.NamedSharding(_mesh(devices), _SPEC))


def _devices(count: int) -> int:
    return max(n for n in range(1, len(jax.devices()) + 1) if count % n == 0)


def _mesh(devices: int) -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("lane",))


def _spread(function: Any, *args: Any) -> Any:
    """Calls a function of one lane with arguments [N] first."""
    return _compiled(function.func, function.args, _devices(len(args[0].seed)))(*args)


@functools.cache
def _compiled(function: Any, static: tuple[Any, ...], devices: int) -> Any:
    many = jax.vmap(functools.partial(function, *static))
    # Each device has lanes of its own and waits for no other.
    specs = {"in_specs": _SPEC, "out_specs": _SPEC, "check_vma": False}
    return jax.jit(jax.shard_map(many, mesh=_mesh(devices), **specs))


def stream(seed: jax.Array, number: int) -> jax.Array:
    """Returns one of the independent random streams of a seed, a typed key."""
    return jax.random.fold_in(jax.random.key(seed), number)


def _labeled(lane: Lanes, rows: jax.Array) -> Frames:
    return Frames(lane.labeled[rows], lane.published[rows])


def _rows(lane: Lanes, lengths: Lengths, steps: int, number: int) -> tuple[jax.Array, ...]:
    """Rows [S, B] of labeled, unlabeled and judging frames; drawn with replacement, as one draws seeds."""
    keys = jax.random.split(jax.random.fold_in(stream(lane.seed, _ROWS), number), 3)
    shape = steps, lengths.batch
    # Those who teach judge as well where nobody is kept apart to judge.
    first = jnp.where(lane.judged > lane.learned, lane.learned, 0)
    ends = (0, lane.learned), (0, lane.unlabeled_count), (first, lane.judged)
    return tuple(jax.random.randint(k, shape, *e) for k, e in zip(keys, ends, strict=True))


def _supervise(
    lengths: Lengths, lane: Lanes, params: Any, optimizer: Any, rows: jax.Array, key: jax.Array
) -> Any:
    """Parameters after supervised steps on rows [S, B]."""
    task = arms.learner(lengths.network, optimizer)

    def loss(params: Any, batch: Frames, key: jax.Array) -> jax.Array:
        outputs, _ = task.apply(params, None, batch, key, "train")
        return task.loss(outputs, batch, *arms.known_labels(batch))

    def step(state: LearnerState, drawn: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(state.params, _labeled(lane, drawn[0]), drawn[1])
        updates, opt_state = feedback.compute_updates(optimizer, gradient, state, value)
        params = optax.apply_updates(state.params, updates)
        return LearnerState(params, None, opt_state), None

    keys = jax.random.split(key, len(rows))
    begin = LearnerState(params, None, optimizer.init(params))
    return jax.lax.scan(step, begin, (rows, keys))[0].params


def _initial(lengths: Lengths, lane: Lanes) -> Any:
    width = lane.labeled.shape[-1], lane.published.shape[-1]
    return arms.initial_params(lengths.network, *width, stream(lane.seed, _WEIGHTS))


def _start(lengths: Lengths, lane: Lanes, rate: jax.Array) -> Any:
    rows = _rows(lane, lengths, lengths.start, 0)[0]
    optimizer = arms.optimizer(Arm(""), rate, lengths.start)
    key = stream(lane.seed, _NOISE)
    return _supervise(lengths, lane, _initial(lengths, lane), optimizer, rows, key)


def start_cuts(z: jax.Array, rates: jax.Array, count: jax.Array) -> jax.Array:
    """Computes the logits above which as many of the first ``count`` rows lie as the rates say.

    Args:
        z: [L, C] logits, of which the first ``count`` count.
        rates: [C].
        count: [] int.

    Returns:
        [C], half way between two logits; below the highest one and above the lowest whatever the rate.
    """
    there = jnp.arange(len(z))[:, None] < count
    falling = -jnp.sort(jnp.where(there, -z, jnp.inf), axis=0)
    place = jnp.round(rates * count.astype(rates.dtype)).astype(jnp.int32)
    place = jnp.clip(place, 1, count - 1)[None]
    high, low = (jnp.take_along_axis(falling, p, axis=0)[0] for p in (place - 1, place))
    return (high + low) / 2


def _rule(arm: Arm, lengths: Lengths, lane: Lanes, params: Any) -> Any:
    """The label rule; rates are published ones, cuts those of the start on the same frames."""
    there = (jnp.arange(len(lane.published)) < lane.learned)[:, None]
    shown = jnp.sum(jnp.where(there, lane.published, 0), 0)
    rates = shown / lane.learned.astype(shown.dtype)
    z = arms.logits(lengths.network, params, lane.labeled)
    return arms.label_rule(arm, rates, start_cuts(z, rates, lane.learned))


def _train(
    arm: Arm, lengths: Lengths, lane: Lanes, begun: Any, rate: jax.Array, weight: jax.Array
) -> Trained:
    steps = lengths.steps + (lengths.start if arm.fresh else 0)
    begun = _initial(lengths, lane) if arm.fresh else begun
    rule = _rule(arm, lengths, lane, begun)
    made = arms.feedback_step(arm, lengths.network, rate, weight, steps, rule)
    hidden = lane.truth if arm.label == "truth" else jnp.full_like(lane.truth, -1)

    def one(state: Any, drawn: Any) -> Any:
        rows, key = drawn
        labeled, unlabeled = (
            _labeled(lane, rows[0]),
            Frames(lane.unlabeled[rows[1]], hidden[rows[1]]),
        )
        judge = _labeled(lane, rows[2]) if arm.judges else None
        state, info = made.update(state, labeled, unlabeled, key, judge)
        norms = info.gradient_norms
        term = jnp.abs(weight * info.coefficient) * norms["teacher_pseudo"]
        positive = (info.feedback > 0).astype(jnp.float32)
        share = jnp.mean(info.diagnostics["positive_rate"])
        return state, (term, norms["teacher_labeled"], positive, share)

    state = made.init((begun, None), (begun, None))
    keys = jax.random.split(stream(lane.seed, _STEPS), steps)
    state, logs = jax.lax.scan(one, state, (_rows(lane, lengths, steps, 1), keys))
    student = state.student.params
    if arm.finetune:
        optimizer = arms.optimizer(arm, rate, arm.finetune)
        rows = _rows(lane, lengths, arm.finetune, 2)[0]
        student = _supervise(lengths, lane, student, optimizer, rows, stream(lane.seed, _END))
    return Trained(state.teacher.params, student, *map(jnp.mean, logs))
