"""Confidence intervals over people: frames of one person are alike, so people are the sampling unit.

Everything is made of sums over people (``person_sums``): F1 is 2 TP / (2 TP + FP + FN), an accuracy right frames over
scored ones, ROC AUC won pairs of frames over all. A fold's score pools its people's frames, a study's is the mean over
folds, as the field reports it. P is the number of a fold's people, S of its seeds, C of action units, R of resamples;
NumPy alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from piapdf_jax.person_sums import Fold, PairFold, check_same_people, ratios

#: People below which nothing is said of how a score would move with other people.
MIN_PEOPLE = 5
#: Seeds from which on they are resampled, too; fewer are averaged alone.
MIN_SEEDS = 3
RESAMPLES = 10_000


class Summary(NamedTuple):
    """Scores by unit and, last, their mean over units: arrays [C + 1] but for frames and people, [C].

    Attributes:
        value: of all people; nan for none.
        low, high: 95 % interval, nan where fewer than five people show the unit.
        frames: on which it rests, those that show the unit.
        people: who show it.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    frames: np.ndarray
    people: np.ndarray


class Difference(NamedTuple):
    """Score of one method less that of another on the same people, [C + 1] each, the mean over units last.

    Attributes:
        value: the difference.
        low, high: 95 % interval.
        p: of no difference, by swapping whole people; Holm's correction over units, the mean's as it is. nan for
            ROC AUC, where a pair of frames may be of two people.
        better: probability that the first is better.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    better: np.ndarray


def _mean(values: np.ndarray, axis: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Mean over an axis of what is not nan; nan for nothing."""
    weights = np.ones(1) if weights is None else weights
    weights = np.where(np.isnan(values), 0, weights)
    total = weights.sum(axis)
    found = np.where(np.isnan(values), 0, values * weights).sum(axis)
    return np.where(total > 0, found / np.where(total > 0, total, 1), np.nan)


def _with_mean(values: np.ndarray) -> np.ndarray:
    """Appends the mean over units to scores [..., C]."""
    return np.concatenate([values, _mean(values, -1)[..., None]], axis=-1)


def _seed_weights(rng: np.random.Generator, seeds: int, resamples: int) -> np.ndarray:
    """How often each seed is drawn in each resample, [S, R, 1]."""
    if seeds < MIN_SEEDS:
        return np.ones((seeds, resamples, 1))
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples).T[..., None].astype(float)


def _over_folds(scores: Sequence[np.ndarray]) -> np.ndarray:
    return _with_mean(_mean(np.stack(scores), 0))


def estimate(folds: Sequence[Fold | PairFold]) -> np.ndarray:
    """Computes a study's scores: pooled over people, then means over seeds, folds and, last, units; [C + 1]."""
    return _over_folds(
        [_mean(fold.scores(np.ones((1, len(fold.people))))[:, 0], 0) for fold in folds]
    )


def resampled(
    folds: Sequence[Fold | PairFold], *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Computes the scores of studies with other people, drawn with replacement within each fold.

    People who are drawn, and seeds, are the same for every method that has the same numbers of both.

    Args:
        folds: of one method.
        resamples: R.
        seed: of the draws.

    Returns:
        [R, C + 1].
    """
    found = []
    for number, fold in enumerate(folds):
        people = len(fold.people)
        rng = np.random.default_rng([seed, number, people])
        weights = rng.multinomial(people, np.full(people, 1 / people), resamples)
        seeds = _seed_weights(rng, fold.seeds, resamples)
        found.append(_mean(fold.scores(weights), 0, seeds))
    return _over_folds(found)


def summarize(
    folds: Sequence[Fold | PairFold],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    drawn: np.ndarray | None = None,
) -> Summary:
    """Computes scores and their percentile intervals over people (Efron, 1979), seeds resampled from three on.

    Args:
        folds: of one method.
        resamples: R.
        seed: of the draws.
        drawn: what ``resampled`` gives for these, where it is there already.
    """
    frames, people = evidence(folds)
    drawn = resampled(folds, resamples=resamples, seed=seed) if drawn is None else drawn
    low, high = _interval(drawn, _too_few(folds))
    return Summary(estimate(folds), low, high, frames, people)


def evidence(folds: Sequence[Fold | PairFold]) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many frames, and of how many people, show each unit: [C] int64 each.

    Draws without a positive frame of a unit are left out: its interval is conditional on showing it.
    """
    shown = [fold.shown() for fold in folds]
    counts = np.array([[s.sum(0), (s > 0).sum(0)] for s in shown], np.int64).sum(axis=0)
    return counts[0], counts[1]


def _too_few(folds: Sequence[Fold | PairFold]) -> np.ndarray:
    """Where nothing is said of other people, [C + 1]."""
    _, people = evidence(folds)
    everybody = sum(len(fold.people) for fold in folds)
    return np.append(people, everybody) < MIN_PEOPLE


def _interval(values: np.ndarray, few: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles 2.5 and 97.5 of resamples [R, C + 1]; a resample without a score is left out."""
    low, high = np.full((2, values.shape[1]), np.nan)
    for column in np.flatnonzero(~few & ~np.isnan(values).all(axis=0)):
        told = values[~np.isnan(values[:, column]), column]
        low[column], high[column] = np.percentile(told, [2.5, 97.5])
    return low, high


def compare(
    first: Sequence[Fold | PairFold],
    second: Sequence[Fold | PairFold],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    drawn: tuple[np.ndarray, np.ndarray] | None = None,
) -> Difference:
    """Computes how much better one method is than another on the same people.

    Both are resampled alike. ``p`` is that of a permutation test in which whole people change their methods, in all
    seeds at once: (1 + number of |d*| >= |d|) / (1 + R). ROC AUC has none: a pair of frames may be of two people.

    Args:
        first: method, by fold.
        second: the one it is compared with, on the same folds, people and numbers of seeds.
        resamples: R, of people and of permutations.
        seed: of the draws.
        drawn: what ``resampled`` gives for both, where it is there already.

    Raises:
        ValueError: for different people, folds or numbers of seeds.
    """
    if [fold.seeds for fold in first] != [fold.seeds for fold in second]:
        raise ValueError("methods are compared on the same folds and as many seeds")
    for a, b in zip(first, second, strict=True):
        check_same_people(a, b)
    few = _too_few(first)
    ours, theirs = drawn or (
        resampled(folds, resamples=resamples, seed=seed) for folds in (first, second)
    )
    moved = ours - theirs
    low, high = _interval(moved, few)
    value = estimate(first) - estimate(second)
    # Equal methods are better half of the time.
    better = _mean(np.where(np.isnan(moved), np.nan, (moved > 0) + 0.5 * (moved == 0)), 0)
    p = np.full(len(value), np.nan)
    a, b = ([fold for fold in folds if isinstance(fold, Fold)] for folds in (first, second))
    if a and b:
        swapped = _permuted(a, b, resamples, seed)
        # Rounding must not tell a difference from itself.
        extreme = np.abs(swapped) >= np.abs(value) - 1e-9
        p = (1 + extreme.sum(axis=0)) / (1 + resamples)
    p, better = (np.where(few | np.isnan(value), np.nan, told) for told in (p, better))
    return Difference(value, low, high, np.append(holm(p[:-1]), p[-1]), better)


def _permuted(
    first: Sequence[Fold], second: Sequence[Fold], resamples: int, seed: int
) -> np.ndarray:
    """Differences [R, C + 1] where people have changed their methods at random."""
    ours, theirs = [], []
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        rng = np.random.default_rng([seed, number, len(a.people), 1])
        swaps = rng.integers(0, 2, (resamples, len(a.people)))
        change = a._replace(sums=b.sums - a.sums).weighted(swaps)
        ours.append(_mean(ratios(a.sums.sum(axis=1)[:, None] + change), 0))
        theirs.append(_mean(ratios(b.sums.sum(axis=1)[:, None] - change), 0))
    return _over_folds(ours) - _over_folds(theirs)


def holm(p: np.ndarray) -> np.ndarray:
    """Corrects p values for being several (Holm, 1979): the k-th smallest of m is multiplied by m - k + 1.

    Args:
        p: [m], nan for a test that was not made.

    Returns:
        [m] in [0, 1], not below those of smaller p.
    """
    found, made = np.full(len(p), np.nan), np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    found[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return found
