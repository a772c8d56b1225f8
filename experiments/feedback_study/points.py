"""Does discrete feedback help? Its variants beside supervised training, where the truth is known.

python -m experiments.feedback_study.points            # writes docs/feedback_study.json, the table and the figure
python -m experiments.feedback_study.points --quick --out=/tmp/study
python -m experiments.feedback_study.points --render   # table and figure again, from the numbers that lie there

Round "tuned": every variant chooses among equally many candidates by published labels of the tuning
seeds. Round "matched": supervised training as it was, one learning rate for all others, and weights
at which the term that feedback adds to the teacher's gradient is equally long on average. Then both
signs of MPL at rising weights.
"""

import itertools
import json
import math
import os
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags, logging

from experiments.feedback_study import points_report as report
from experiments.feedback_study.points_problem import Problem
from experiments.feedback_study.points_training import VARIANTS, Lengths, Runs, train
from piapdf_jax import command_line, paths

_OUT = flags.DEFINE_string("out", "docs", "folder of numbers, page and pictures")
_QUICK = flags.DEFINE_bool("quick", False, "seconds instead of minutes; the numbers mean nothing")
_RENDER = flags.DEFINE_bool("render", False, "train nothing, read the numbers in --out")

TUNING_SEEDS = tuple(range(100, 105))
TEST_SEEDS = tuple(range(20))
#: Candidates: learning rates by weights; or, where there is no weight, as many learning rates.
LEARNING_RATES = tuple(0.002 * 2 ** (k / 2) for k in range(8))
WEIGHTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FINE_LEARNING_RATES = tuple(float(x) for x in np.geomspace(0.001, 0.032, 64))
#: Length of the feedback term in round "matched", in lengths of the labeled gradient.
_MATCHED = 0.3
#: Lengths, about, at which the two signs of MPL are compared.
_SIGNS = (0.3, 1.0, 3.0, 10.0)


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


def _train(study: Study, name: str, lanes: list[tuple[int, float, float]], split: str) -> Runs:
    return train(study.problem, study.lengths, name, lanes, split, size=len(study.test_seeds))


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
    runs = _train(study, name, lanes, "validation")
    scores = getattr(runs, VARIANTS[name].model).reshape(len(pairs), len(seeds))
    return pairs[int(np.argmax(scores.mean(axis=1)))]


def at_edge(study: Study, name: str, pair: tuple[float, float]) -> bool:
    """Whether a choice is an end of its row of candidates, so that a better one may lie beyond."""
    rows = zip(*candidates(study, name), strict=True)
    ends = [{min(row), max(row)} if len(set(row)) > 1 else set() for row in rows]
    return any(value in end for value, end in zip(pair, ends, strict=True))


def match(study: Study, name: str, learning_rate: float, length: float) -> float:
    """The weight at which the feedback term has this length, mean over steps and tuning seeds.

    A wide and a narrow row of weights, then interpolation between logarithms. Where no weight of
    the wide row gets there, the nearest is taken; the length that came out is reported.
    """
    seeds, weight = study.tuning_seeds, VARIANTS[name].unit * 0.3
    for factors in (np.geomspace(0.03, 30, 8), np.geomspace(0.6, 1.7, 4)):
        lanes = [(seed, learning_rate, weight * f) for f in factors for seed in seeds]
        norms = _train(study, name, lanes, "validation").term_norm
        norms = norms.reshape(len(factors), len(seeds)).mean(axis=1)
        order = np.argsort(norms)
        found = np.interp(math.log(length), np.log(norms[order]), np.log(factors[order]))
        weight *= math.exp(found)
    return weight


def measure(study: Study, name: str, learning_rate: float, weight: float) -> dict[str, Any]:
    """A row of the results: one training a test seed, scored by true labels."""
    lanes = [(seed, learning_rate, weight) for seed in study.test_seeds]
    runs = _train(study, name, lanes, "test")
    variant = VARIANTS[name]
    row: dict[str, Any] = {"title": variant.title, "model": variant.model}
    row |= {"learning_rate": learning_rate, "weight": weight}
    row |= {key: [round(float(x), 4) for x in getattr(runs, key)] for key in Runs._fields[:2]}
    return row | {key: float(getattr(runs, key).mean()) for key in Runs._fields[2:]}


def run(study: Study, log: Any = print) -> dict[str, Any]:
    """Both rounds and the ceiling; what `points_report` renders."""
    begin = time.monotonic()

    def told(label: str, row: dict[str, Any]) -> dict[str, Any]:
        seconds = time.monotonic() - begin
        log(f"{seconds:4.0f} s  {label}: {row['title']}, {np.mean(row[row['model']]):.2f} %")
        return row

    tuned = {}
    for name in VARIANTS:
        pair = tune(study, name)
        row = measure(study, name, *pair) | {"edge": at_edge(study, name, pair)}
        tuned[name] = told("tuned", row)
    matched, length = _matched(study, tuned, told)
    rate, pair = tuned["pseudo"]["learning_rate"], ("mpl", "mpl_public")
    signs = [
        {name: measure(study, name, rate, VARIANTS[name].unit * w) for name in pair} for w in _SIGNS
    ]
    known = study.problem._replace(labeled=study.problem.unlabeled, wrong=0.0)
    known_study = study._replace(problem=known)
    ceiling = measure(known_study, "supervised", *tune(known_study, "supervised"))
    sizes = study._asdict() | {key: getattr(study, key)._asdict() for key in ("problem", "lengths")}
    return {
        "study": sizes | {"candidates": len(candidates(study, "supervised"))},
        "matched_length": length,
        "rounds": {"tuned": tuned, "matched": matched},
        "signs": signs,
        "ceiling": told("all points with true labels", ceiling),
    }


def _matched(study: Study, tuned: dict[str, Any], told: Any) -> tuple[dict[str, Any], float]:
    # The rate of the baseline whose student learns from pseudo labels, as all the others' do. At
    # that of supervised training, which stops early by a low rate, students had not yet learned.
    rate = tuned["pseudo"]["learning_rate"]
    lanes = [(seed, rate, 0.0) for seed in study.tuning_seeds]
    length = _MATCHED * float(_train(study, "pseudo", lanes, "validation").labeled_norm.mean())
    rows = {name: tuned[name] for name in ("supervised", "pseudo")}
    for name in [name for name in VARIANTS if name not in rows]:
        weight = match(study, name, rate, length) if VARIANTS[name].unit else 0.0
        rows[name] = told("matched", measure(study, name, rate, weight))
    return rows, length


def main(argv: list[str]) -> None:
    """Runs the study, or reads its numbers, and writes them, the table and the figure."""
    del argv
    out = paths.target_folder(_OUT.value, "--out")
    numbers, page = out / "feedback_study.json", out / "feedback.md"
    logging.set_verbosity(logging.WARNING)  # JAX tells of platforms that are not there
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
    except (OSError, ValueError) as error:
        command_line.fail(error)


if __name__ == "__main__":
    command_line.run(main)
