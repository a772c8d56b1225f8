"""Tests what feedback can and cannot add where the truth is known and only the labels are noisy.

python -m experiments.feedback_study.points            # writes docs/feedback_study.json and the tables
python -m experiments.feedback_study.points --quick --out=/tmp/study
python -m experiments.feedback_study.points --render   # the tables again, from the numbers that lie there

Variants that see the size of the feedback, and the exact gradient, beside supervised training and pseudo labels without
feedback; each chooses among equally many candidates by published labels of the tuning seeds. Then both signs of MPL at
rising weights, and what the same network makes of true labels. Discrete feedback is studied on drawn faces (``faces``).
"""

import itertools
import json
import os
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags, logging

from experiments import markdown
from experiments.feedback_study import points_report as report
from experiments.feedback_study.points_problem import Problem
from experiments.feedback_study.points_training import VARIANTS, Lengths, Runs, train
from piapdf_jax import command_line, paths

_OUT = flags.DEFINE_string("out", "docs", "folder of numbers and page")
_QUICK = flags.DEFINE_bool("quick", False, "seconds instead of minutes; the numbers mean nothing")
_RENDER = flags.DEFINE_bool("render", False, "train nothing, read the numbers in --out")

TUNING_SEEDS = tuple(range(100, 105))
TEST_SEEDS = tuple(range(20))
#: Candidates: learning rates by weights; or, where there is no weight, as many learning rates.
LEARNING_RATES = tuple(0.002 * 2 ** (k / 2) for k in range(8))
WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FINE_LEARNING_RATES = tuple(float(x) for x in np.geomspace(0.001, 0.032, 64))
#: Weights at which the two signs of MPL are compared, in units of ``Variant.unit``.
_SIGNS = (0.3, 1.0, 3.0, 10.0)


class Study(NamedTuple):
    """What is run; ``limit`` keeps only the first candidates of each variant."""

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


def _train(study: Study, name: str, lanes: list[tuple[int, float, float]], split: str) -> Runs:
    return train(study.problem, study.lengths, name, lanes, split, size=len(study.test_seeds))


def candidates(study: Study, name: str) -> list[tuple[float, float]]:
    """Returns pairs (learning rate, weight) that a variant chooses among: equally many for every variant."""
    unit = VARIANTS[name].unit
    if unit:
        pairs = [(rate, unit * w) for rate, w in itertools.product(LEARNING_RATES, WEIGHTS)]
    else:
        pairs = [(rate, 0.0) for rate in FINE_LEARNING_RATES]
    return pairs[: study.limit]


def tune(study: Study, name: str) -> tuple[float, float]:
    """Returns the candidate whose model agrees best with the published labels of validation points.

    Mean over the tuning seeds; true labels are not drawn.
    """
    pairs, seeds = candidates(study, name), study.tuning_seeds
    lanes = [(seed, *pair) for pair in pairs for seed in seeds]
    runs = _train(study, name, lanes, "validation")
    scores = getattr(runs, VARIANTS[name].model).reshape(len(pairs), len(seeds))
    return pairs[int(np.argmax(scores.mean(axis=1)))]


def at_edge(study: Study, name: str, pair: tuple[float, float]) -> bool:
    """Returns whether a choice is an end of its row of candidates, so that a better one may lie beyond."""
    rows = zip(*candidates(study, name), strict=True)
    ends = [{min(row), max(row)} if len(set(row)) > 1 else set() for row in rows]
    return any(value in end for value, end in zip(pair, ends, strict=True))


def measure(study: Study, name: str, learning_rate: float, weight: float) -> dict[str, Any]:
    """Makes a row of the results: one training a test seed, scored by true labels."""
    lanes = [(seed, learning_rate, weight) for seed in study.test_seeds]
    runs = _train(study, name, lanes, "test")
    variant = VARIANTS[name]
    row: dict[str, Any] = {"title": variant.title, "model": variant.model}
    row |= {"learning_rate": learning_rate, "weight": weight}
    row |= {key: [round(float(x), 4) for x in getattr(runs, key)] for key in Runs._fields[:2]}
    return row | {key: float(getattr(runs, key).mean()) for key in Runs._fields[2:]}


def run(study: Study, log: Any = print) -> dict[str, Any]:
    """Runs variants, signs and ceiling; returns what ``points_report`` renders."""
    begin = time.monotonic()
    tuned = {}
    for name in VARIANTS:
        pair = tune(study, name)
        row: dict[str, Any] = measure(study, name, *pair) | {"edge": at_edge(study, name, pair)}
        seconds = time.monotonic() - begin
        log(f"{seconds:4.0f} s  {row['title']}: {np.mean(row[row['model']]):.2f} %")
        tuned[name] = row
    rate, pair = tuned["pseudo_sample"]["learning_rate"], ("mpl", "mpl_public")
    signs = [
        {name: measure(study, name, rate, VARIANTS[name].unit * w) for name in pair} for w in _SIGNS
    ]
    known = study.problem._replace(labeled=study.problem.unlabeled, wrong=0.0)
    known_study = study._replace(problem=known)
    ceiling = measure(known_study, "supervised", *tune(known_study, "supervised"))
    sizes = study._asdict() | {key: getattr(study, key)._asdict() for key in ("problem", "lengths")}
    return {
        "study": sizes | {"candidates": len(candidates(study, "supervised"))},
        "tuned": tuned,
        "signs": signs,
        "ceiling": ceiling,
    }


def main(argv: list[str]) -> None:
    """Runs the study, or reads its numbers, and writes them and the tables."""
    del argv
    out = paths.target_folder(_OUT.value, "--out")
    numbers, document = out / "feedback_study.json", out / "feedback.md"
    logging.set_verbosity(logging.WARNING)  # JAX tells of platforms that are not there
    try:
        if not _RENDER.value:
            jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)
            results = run(QUICK if _QUICK.value else Study())
            out.mkdir(parents=True, exist_ok=True)
            numbers.write_text(json.dumps(results, indent=1) + "\n")
        results = json.loads(numbers.read_text())
        text = report.table(results)
        print(text)
        if document.exists():
            markdown.insert(document, report.START, text)
    except (OSError, ValueError) as error:
        command_line.fail(error)


if __name__ == "__main__":
    command_line.run(main)
