"""Does discrete feedback help? Its variants beside supervised training, where the truth is known.

python -m experiments.feedback_study            # writes docs/feedback_study.json, the table and the figure
python -m experiments.feedback_study --quick --out=/tmp/study
python -m experiments.feedback_study --render   # table and figure again, from the numbers that lie there

Every network starts from the same supervised training, as the paper's do; then teacher and student
part. Batches, network and world of a seed are the same for all variants, so differences are paired.
Round "tuned": every variant chooses among equally many candidates by published labels of the tuning
seeds. Round "matched": one learning rate for all, and weights at which the term that feedback adds
to the teacher's gradient is equally long on average.
"""

import functools
import itertools
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from experiments import feedback_problem as problems
from experiments import feedback_report as report
from experiments.feedback_problem import Points, Problem
from piapdf_jax.feedback import FeedbackStep, discrete_feedback

_OUT = flags.DEFINE_string("out", "docs", "folder of numbers, page and pictures")
_QUICK = flags.DEFINE_bool("quick", False, "seconds instead of minutes; the numbers mean nothing")
_RENDER = flags.DEFINE_bool("render", False, "train nothing, read the numbers in --out")

TUNING_SEEDS = tuple(range(100, 105))
TEST_SEEDS = tuple(range(20))
#: Candidates: learning rates by weights; or, where there is no weight, as many learning rates.
LEARNING_RATES = tuple(0.001 * 2**k for k in range(7))
WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
FINE_LEARNING_RATES = tuple(float(x) for x in np.geomspace(5e-4, 0.128, 42))
_MOMENTUM = 0.9
#: Length of the feedback term in round "matched", in lengths of the labeled gradient.
_MATCHED = 0.3
_BATCHES, _START = 20, 21  # streams of a seed, after those of the problem


class Variant(NamedTuple):
    """A way to train.

    Attributes:
        title: in the table.
        options: of `discrete_feedback`.
        model: "student" or "teacher", the one that the variant hands on.
        unit: a feedback weight at which the term that it adds to the teacher's gradient is about as
            long as the labeled gradient, whatever the learning rate; 0 where there is no feedback.
    """

    title: str
    options: dict[str, Any]
    model: str = "student"
    unit: float = 0.0


_CONTINUOUS = {"variant": "continuous", "labels": "sample", "learning_rate": 1.0}
VARIANTS = {
    # c = 0 leaves the teacher exactly what plain supervised training makes of it.
    "supervised": Variant("supervised", {"variant": "none"}, "teacher"),
    "pseudo": Variant("plain pseudo labels", {"variant": "none"}),
    "constant": Variant("self-training (c = 1)", {"variant": "constant"}, unit=1.0),
    # The student's learning rate, a factor of MPL's coefficient, goes into the weight.
    "mpl": Variant("MPL, continuous", _CONTINUOUS, unit=200.0),
    "mpl_public": Variant("MPL, public sign", _CONTINUOUS, unit=-200.0),
    "discrete": Variant("discrete, threshold", {"variant": "discrete"}, unit=1.0),
    "discrete_sample": Variant(
        "discrete, sample", {"variant": "discrete", "labels": "sample"}, unit=1.0
    ),
    "exact": Variant("exact", {"variant": "exact"}, unit=4.0),
}


class Lengths(NamedTuple):
    """Supervised steps at the start, steps after it, points of a batch (labeled, and unlabeled)."""

    start: int = 500
    steps: int = 2000
    batch: int = 32


class Study(NamedTuple):
    """What is run; `limit` keeps only the first candidates of each variant."""

    problem: Problem = Problem()
    lengths: Lengths = Lengths()
    tuning_seeds: tuple[int, ...] = TUNING_SEEDS
    test_seeds: tuple[int, ...] = TEST_SEEDS
    limit: int | None = None


QUICK = Study(
    problem=Problem(labeled=32, unlabeled=64, validation=64, test=64, hidden=8),
    lengths=Lengths(start=4, steps=6, batch=8),
    tuning_seeds=TUNING_SEEDS[:2],
    test_seeds=TEST_SEEDS[:4],
    limit=4,
)


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
        confidence: mean |2 p - 1| of the teacher on x_u.
    """

    teacher: Any
    student: Any
    term_norm: jax.Array
    labeled_norm: jax.Array
    positive: jax.Array
    confidence: jax.Array


class Runs(NamedTuple):
    """The same with accuracies [N] in percent in place of parameters, in NumPy."""

    teacher: np.ndarray
    student: np.ndarray
    term_norm: np.ndarray
    labeled_norm: np.ndarray
    positive: np.ndarray
    confidence: np.ndarray


def feedback_step(options: dict[str, Any], learning_rate: Any, weight: Any) -> FeedbackStep:
    """The step of a variant, with a learning rate and a feedback weight that may be traced.

    `feedback_weight` is fixed when a step is made. A weight inside the loss does the same and lets
    one compiled training serve all weights: it multiplies the teacher's loss on x_u; or for
    "exact", which takes no such loss, the labeled loss whose gradient the teacher gets. There it
    is in units of 1 / eta, since that gradient is eta times a quantity like the feedback.
    """

    def weighted(*arguments: Any) -> jax.Array:
        return weight * problems.label_loss(*arguments)

    optimizer = optax.sgd(learning_rate, momentum=_MOMENTUM)
    teacher = problems.learner(optimizer, pseudo_loss=weighted)
    student = problems.learner(optimizer)
    if options["variant"] == "exact":
        weight = weight / learning_rate
        student = student._replace(loss=weighted, pseudo_loss=problems.label_loss)
    return discrete_feedback(teacher, student, known_labels=problems.known_labels, **options)


def _batch(points: Points, key: jax.Array, size: int) -> Points:
    rows = jax.random.randint(key, (size,), 0, len(points.x))
    return Points(points.x[rows], points.y[rows])


@functools.partial(jax.jit, static_argnums=0)
@functools.partial(jax.vmap, in_axes=(None, 0))
def _prepare(study: Study, lane: Lane) -> tuple[Points, Points, Any]:
    """Labeled and unlabeled points, and the network after its supervised start."""
    labeled, unlabeled = (
        problems.draw(study.problem, lane.seed, split) for split in ("labeled", "unlabeled")
    )
    optimizer = optax.sgd(lane.learning_rate, momentum=_MOMENTUM)
    params = problems.initial_params(study.problem, lane.seed)

    def loss(params: Any, batch: Points) -> jax.Array:
        z = problems.logits(params, batch.x)
        return problems.label_loss(z, batch, *problems.known_labels(batch))

    def step(carry: Any, key: jax.Array) -> Any:
        params, state = carry
        gradient = jax.grad(loss)(params, _batch(labeled, key, study.lengths.batch))
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(problems.stream(lane.seed, _START), study.lengths.start)
    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), keys)
    return labeled, unlabeled, params


@functools.partial(jax.jit, static_argnums=(0, 1))
@functools.partial(jax.vmap, in_axes=(None, None, 0, 0))
def _train(lengths: Lengths, name: str, lane: Lane, prepared: Any) -> Trained:
    labeled, unlabeled, start = prepared
    step = feedback_step(VARIANTS[name].options, lane.learning_rate, lane.weight)

    def one(state: Any, key: jax.Array) -> Any:
        keys, size = jax.random.split(key, 3), lengths.batch
        batches = _batch(labeled, keys[0], size), _batch(unlabeled, keys[1], size)
        state, info = step.update(state, *batches, keys[2])
        norms = info.gradient_norms
        term = jnp.abs(info.coefficient) * norms["teacher_pseudo"]
        positive = (info.feedback > 0).astype(jnp.float32)
        return state, (term, norms["teacher_labeled"], positive, jnp.mean(info.confidence))

    keys = jax.random.split(problems.stream(lane.seed, _BATCHES), lengths.steps)
    state, logs = jax.lax.scan(one, step.init((start, None), (start, None)), keys)
    return Trained(state.teacher.params, state.student.params, *map(jnp.mean, logs))


@functools.partial(jax.jit, static_argnums=(0, 1))
@functools.partial(jax.vmap, in_axes=(None, None, 0, 0))
def _score(problem: Problem, split: str, params: Any, seed: jax.Array) -> jax.Array:
    return problems.accuracy(params, problems.draw(problem, seed, split))


def train(study: Study, name: str, lanes: Sequence[tuple[int, float, float]], split: str) -> Runs:
    """Trains lanes (seed, learning rate, weight) and scores them on one split.

    As many at a time as there are test seeds, since equal shapes are compiled once, and spread over
    JAX's devices, which on a CPU are its cores (`main`).
    """
    size = len(study.test_seeds)
    count = max(n for n in range(1, len(jax.devices()) + 1) if size % n == 0)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:count]), ("lane",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("lane"))
    parts = []
    for start in range(0, len(lanes), size):
        part = list(lanes[start : start + size])
        seed, *floats = zip(*part, *part[-1:] * (size - len(part)), strict=True)
        columns = (np.array(seed, np.int32), *(np.array(f, np.float32) for f in floats))
        lane = jax.device_put(Lane(*columns), sharding)
        trained = _train(study.lengths, name, lane, _prepare(study, lane))
        scores = [
            _score(study.problem, split, p, lane.seed) for p in (trained.teacher, trained.student)
        ]
        runs = Runs(*scores, *trained[2:])
        parts.append([np.asarray(column)[: len(part)] for column in runs])
    return Runs(*map(np.concatenate, zip(*parts, strict=True)))


def candidates(study: Study, name: str) -> list[tuple[float, float]]:
    """Pairs (learning rate, weight) that a variant chooses among: equally many for every variant."""
    unit = VARIANTS[name].unit
    if unit:
        pairs = [(rate, unit * w) for rate, w in itertools.product(LEARNING_RATES, WEIGHTS)]
    else:
        pairs = [(rate, 0.0) for rate in FINE_LEARNING_RATES]
    return pairs[: study.limit]


def tune(study: Study, name: str) -> tuple[float, float]:
    """The candidate whose model agrees best with the published labels of validation points.

    Mean over the tuning seeds; true labels are not drawn.
    """
    pairs, seeds = candidates(study, name), study.tuning_seeds
    lanes = [(seed, *pair) for pair in pairs for seed in seeds]
    runs = train(study, name, lanes, "validation")
    scores = getattr(runs, VARIANTS[name].model).reshape(len(pairs), len(seeds))
    return pairs[int(np.argmax(scores.mean(axis=1)))]


def match(study: Study, name: str, learning_rate: float, length: float) -> float:
    """The weight at which the feedback term has this length, mean over steps and tuning seeds.

    A wide and a narrow row of weights, then interpolation between logarithms. Where no weight of
    the wide row gets there, the nearest is taken; the length that came out is reported.
    """
    seeds, weight = study.tuning_seeds, VARIANTS[name].unit * 0.3
    for factors in (np.geomspace(0.03, 30, 8), np.geomspace(0.6, 1.7, 4)):
        lanes = [(seed, learning_rate, weight * f) for f in factors for seed in seeds]
        norms = train(study, name, lanes, "validation").term_norm
        norms = norms.reshape(len(factors), len(seeds)).mean(axis=1)
        order = np.argsort(norms)
        found = np.interp(math.log(length), np.log(norms[order]), np.log(factors[order]))
        weight *= math.exp(found)
    return weight


def measure(study: Study, name: str, learning_rate: float, weight: float) -> dict[str, Any]:
    """A row of the results: one training a test seed, scored by true labels."""
    lanes = [(seed, learning_rate, weight) for seed in study.test_seeds]
    runs = train(study, name, lanes, "test")
    variant = VARIANTS[name]
    row: dict[str, Any] = {"title": variant.title, "model": variant.model}
    row |= {"learning_rate": learning_rate, "weight": weight}
    row |= {key: [round(float(x), 4) for x in getattr(runs, key)] for key in Runs._fields[:2]}
    return row | {key: float(getattr(runs, key).mean()) for key in Runs._fields[2:]}


def run(study: Study, log: Any = print) -> dict[str, Any]:
    """Both rounds and the ceiling; what `feedback_report` renders."""
    begin = time.monotonic()

    def told(label: str, row: dict[str, Any]) -> dict[str, Any]:
        seconds = time.monotonic() - begin
        log(f"{seconds:4.0f} s  {label}: {row['title']}, {np.mean(row[row['model']]):.2f} %")
        return row

    tuned = {name: told("tuned", measure(study, name, *tune(study, name))) for name in VARIANTS}
    rate = tuned["supervised"]["learning_rate"]
    lanes = [(seed, rate, 0.0) for seed in study.tuning_seeds]
    length = _MATCHED * float(train(study, "supervised", lanes, "validation").labeled_norm.mean())
    matched = {}
    for name, variant in VARIANTS.items():
        weight = match(study, name, rate, length) if variant.unit else 0.0
        matched[name] = told("matched", measure(study, name, rate, weight))
    known = study.problem._replace(labeled=study.problem.unlabeled, wrong=0.0)
    known_study = study._replace(problem=known)
    ceiling = measure(known_study, "supervised", *tune(known_study, "supervised"))
    sizes = study._asdict() | {key: getattr(study, key)._asdict() for key in ("problem", "lengths")}
    return {
        "study": sizes | {"candidates": len(candidates(study, "supervised"))},
        "matched_length": length,
        "rounds": {"tuned": tuned, "matched": matched},
        "ceiling": told("all points with true labels", ceiling),
    }


def main(argv: list[str]) -> None:
    """Runs the study, or reads its numbers, and writes them, the table and the figure."""
    if len(argv) > 1:
        _fail(f"unexpected argument {argv[1]!r}")
    out = pathlib.Path(_OUT.value)
    numbers, page = out / "feedback_study.json", out / "feedback.md"
    try:
        report.pyplot()  # missing after minutes would be a pity
        if not _RENDER.value:
            jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
            results = run(QUICK if _QUICK.value else Study())
            out.mkdir(parents=True, exist_ok=True)
            numbers.write_text(json.dumps(results, indent=1) + "\n")
        results = json.loads(numbers.read_text())
        text = report.table(results)
        print(text)
        if page.exists():
            report.insert(page, text)
        report.figure(results, out / "pictures" / "feedback_study.png")
    except (ModuleNotFoundError, OSError, ValueError) as error:
        _fail(str(error))


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main)
