"""Statistics of the study on drawn faces: paired differences, six planned contrasts, shares of the truth's gain.

Arms of a world are paired by seed. The seeds of different worlds have the same people, so worlds are no replicates of
each other: a difference over several worlds is averaged over worlds within each seed first, and n counts seeds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.feedback_study.faces_results import Results, world_key
from experiments.feedback_study.paired import (
    interval,
    nested_bootstrap,
    ratio_interval,
    sign_flip_p,
    within,
)
from piapdf_jax.intervals import holm

#: (labeled people, new people without labels, percent of wrong labels) of the tables.
REPORTED = tuple((20, pool, wrong) for wrong in (5, 20) for pool in (0, 20))
#: Worlds over which the planned contrasts are pooled.
POOLED = tuple(
    (people, pool, wrong) for people in (5, 20) for pool in (0, 20, 100) for wrong in (5, 20)
)
PRIMARY = ("roc_auc", "f1_matched")
METRICS = (*PRIMARY, "f1")
#: Points of F1 below which a difference is not worth having.
BOUND = 0.5


class Contrast(NamedTuple):
    """A planned comparison of two arms, each by the model that it hands on."""

    question: str
    first: str
    second: str


CONTRASTS = (
    Contrast("what pseudo labels do without feedback", "student_threshold", "supervised"),
    Contrast("what feedback adds to them", "df_threshold", "student_threshold"),
    Contrast("what the gate adds to self-training", "df_threshold", "constant"),
    Contrast("what feedback adds to sampled labels", "df_sample", "student_sample"),
    Contrast("what the exact gradient adds to soft labels", "exact", "student_soft"),
    Contrast("what matched cuts add to labels at 0.5", "student_matched", "student_threshold"),
)


#: Ablation of an arm that trains at the rate and the weight that it chose for itself.
OWN_CHOICE = "_tuned"


class Estimate(NamedTuple):
    """A mean paired difference.

    Attributes:
        mean: over seeds.
        half: half the width of its 95 % interval (paired t).
        p: of no difference by sign flips, Holm's correction over all that were planned; nan for others.
        negligible: whether the 90 % interval lies within +-``BOUND``.
        seeds: n.
    """

    mean: float
    half: float
    p: float
    negligible: bool
    seeds: int


def worlds_of(results: Results, wanted: Sequence[tuple[int, int, int]]) -> list[str]:
    """Returns the keys of the wanted worlds that were run, in their order; the first world where none was."""
    keys = [world_key(*world) for world in wanted]
    there = [world_key(w["people"], w["pool"], w["wrong"]) for w in results.worlds]
    return [key for key in keys if key in there] or there[:1]


def arms_of(results: Results) -> dict[str, str]:
    """Returns the model that each arm hands on, by name."""
    return {arm["name"]: arm["model"] for arm in results.arms}


def by_seed(
    results: Results, metric: str, worlds: Sequence[str], arm: str, model: str | None = None
) -> np.ndarray:
    """Computes an arm's scores [seeds], means over worlds; of seeds that all of these worlds have.

    Args:
        results: of the study.
        metric: of ``faces_results.METRICS``.
        worlds: keys.
        arm: name.
        model: "teacher" or "student"; by default the one that the arm hands on.
    """
    model = model or arms_of(results)[arm]
    rows = [np.asarray(results.scores[metric][w][arm][model], np.float64) for w in worlds]
    seeds = min(map(len, rows))
    return np.mean([row[:seeds] for row in rows], axis=0)


def difference(
    results: Results,
    metric: str,
    worlds: Sequence[str],
    first: str,
    second: str,
    model: str | None = None,
) -> np.ndarray:
    """Computes paired differences [seeds] of two arms, means over worlds.

    ``model`` names that of the first arm; the second stands for what it hands on.
    """
    pair = by_seed(results, metric, worlds, first, model), by_seed(results, metric, worlds, second)
    return np.subtract(*pair)


def contrasts(results: Results, worlds: Sequence[str]) -> dict[Contrast, dict[str, Estimate]]:
    """Computes the planned contrasts whose arms were run, by metric.

    Holm's correction is over contrasts and both primary metrics together, twelve p values where all were run.
    """
    arms = arms_of(results)
    made = [c for c in CONTRASTS if c.first in arms and c.second in arms]
    gaps = {
        (c, metric): difference(results, metric, worlds, c.first, c.second)
        for c in made
        for metric in METRICS
    }
    planned = [key for key in gaps if key[1] in PRIMARY]
    p = dict(zip(planned, holm(np.array([sign_flip_p(gaps[k]) for k in planned])), strict=True))
    return {
        c: {m: _estimate(gaps[c, m], float(p.get((c, m), np.nan))) for m in METRICS} for c in made
    }


def _estimate(gaps: np.ndarray, p: float) -> Estimate:
    return Estimate(*interval(gaps), p, within(gaps, BOUND), len(gaps))


def difference_at_own_choice(
    results: Results, metric: str, world: str, first: str, second: str
) -> np.ndarray | None:
    """Computes paired differences [seeds] of two arms at the rate and weight that each chose; None for none.

    The rate of all arms is the one that supervised training chose. An arm that chose to stand still differs from no
    other that did so.
    """
    models, rows = arms_of(results), []
    for arm in (first, second):
        if arm == "supervised":
            rows.append(by_seed(results, metric, [world], arm))
            continue
        scores = results.ablations[world].get(arm + OWN_CHOICE)
        if scores is None or arm not in models:
            return None
        rows.append(np.asarray(scores[models[arm]][metric], np.float64))
    seeds = min(map(len, rows))
    return rows[0][:seeds] - rows[1][:seeds]


def share_of_truth(
    results: Results, metric: str, world: str, arm: str
) -> tuple[float, float, float]:
    """Computes how much of what true labels on x_u would add to supervised training an arm gets.

    (arm - supervised) / (truth - supervised), sums over seeds above and below.

    Returns:
        Share, low and high end of the 95 % interval over seeds.
    """
    parts = [difference(results, metric, [world], name, "supervised") for name in (arm, "truth")]
    return ratio_interval(*parts)


def over_people(
    results: Results, cut: str, world: str, pairs: Sequence[tuple[str, str]]
) -> list[tuple[float, float, float]]:
    """Computes differences of F1 with 95 % intervals over seeds and, inside of each, its test people.

    F1 pools the counts of a seed's test people by unit: 2 TP / (2 TP + FP + FN), in percent.

    Args:
        results: with counts of all arms in this world.
        cut: of ``faces_results.CUTS``.
        world: key.
        pairs: of arms.

    Returns:
        For each pair the first less the second, low and high end.
    """
    arms = sorted({arm for pair in pairs for arm in pair})
    sums = np.array([_f1_sums(results.counts[world][arm][cut]) for arm in arms])
    scores, drawn = (dict(zip(arms, found, strict=True)) for found in nested_bootstrap(sums))
    rows = []
    for first, second in pairs:
        low, high = np.percentile(drawn[first] - drawn[second], [2.5, 97.5])
        rows.append((float(scores[first] - scores[second]), float(low), float(high)))
    return rows


def _f1_sums(counts: dict[str, np.ndarray]) -> np.ndarray:
    tp, fp, fn = (np.asarray(counts[name], np.float64) for name in ("tp", "fp", "fn"))
    return np.stack([200 * tp, 2 * tp + fp + fn, tp + fn], axis=-1)
