"""Intervals over people: frames of one person are alike, so people are what a study has drawn.

Everything is a ratio of sums over people: F1 is 2 TP / (2 TP + FP + FN), an accuracy right frames over scored ones. A
fold's score pools its people's frames, a study's is the mean over folds, as the field reports it. P is the number of a
fold's people, S of its seeds, C of action units, R of resamples; NumPy alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: People below which nothing is said of how a score would move with other people.
MIN_PEOPLE = 5
#: Seeds from which on they are resampled, too; fewer are averaged alone.
MIN_SEEDS = 3
RESAMPLES = 10_000


class Fold(NamedTuple):
    """What a method got right on the test people of one fold.

    Attributes:
        people: [P] ids, sorted.
        sums: [S, P, C, 3] float64, by seed, person and unit: numerator, denominator, and how many of the frames
            it rests on (those that show the unit); where these are 0 over all people there is no score.
    """

    people: np.ndarray
    sums: np.ndarray


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
        p: of no difference, by swapping whole people; Holm's correction over units, the mean's as it is.
        better: probability that the first is better.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    better: np.ndarray


def f1_sums(said: np.ndarray, labels: np.ndarray, subject: np.ndarray) -> Fold:
    """Counts one seed's frames by person, for F1 in percent.

    Args:
        said: [N, C], whether the unit is said to be there.
        labels: [N, C], 0, 1 or -1 (unknown, counted nowhere).
        subject: [N] participant ids.
    """
    people, who = np.unique(subject, return_inverse=True)
    said, shown, known = np.asarray(said, bool), labels == 1, labels >= 0
    cells = np.stack([200.0 * (said & shown), 1.0 * (said & known) + shown, 1.0 * shown], axis=-1)
    return Fold(people, _by_person(cells, who, len(people))[None])


def share_sums(right: np.ndarray, counted: np.ndarray, subject: np.ndarray) -> Fold:
    """Sums one seed's frames by person, for the mean of a number over the frames that count.

    Args:
        right: [N, C] numbers; those that do not count may be anything.
        counted: [N, C] bool.
        subject: [N] participant ids.
    """
    people, who = np.unique(subject, return_inverse=True)
    cells = np.stack([np.where(counted, right, 0.0), 1.0 * counted, 1.0 * counted], axis=-1)
    return Fold(people, _by_person(cells, who, len(people))[None])


def _by_person(cells: np.ndarray, who: np.ndarray, count: int) -> np.ndarray:
    found = np.zeros((count, *cells.shape[1:]))
    np.add.at(found, who, cells)
    return found


def of_seeds(folds: Sequence[Fold]) -> Fold:
    """Joins the seeds of one fold.

    Raises:
        ValueError: where they are of different people.
    """
    for fold in folds[1:]:
        _check_same_people(folds[0], fold)
    return Fold(folds[0].people, np.concatenate([fold.sums for fold in folds]))


def _check_same_people(a: Fold, b: Fold) -> None:
    if not np.array_equal(a.people, b.people):
        odd = sorted({*a.people.tolist()} ^ {*b.people.tolist()})
        raise ValueError(
            f"scores of different people cannot be compared: {', '.join(map(str, odd))}"
        )


def _score(sums: np.ndarray) -> np.ndarray:
    """Ratios [...] of sums [..., 3]; nan where nothing shows the unit."""
    there = sums[..., 2] > 0
    return np.where(there, sums[..., 0] / np.where(there, sums[..., 1], 1), np.nan)


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


def estimate(folds: Sequence[Fold]) -> np.ndarray:
    """Computes a study's scores: pooled over people, then means over seeds, folds and, last, units; [C + 1]."""
    return _over_folds([_mean(_score(fold.sums.sum(axis=1)), 0) for fold in folds])


def resampled(folds: Sequence[Fold], *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
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
    for number, (people, sums) in enumerate(folds):
        rng = np.random.default_rng([seed, number, len(people)])
        weights = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), resamples)
        scores = _score(_weighted(weights, sums))
        found.append(_mean(scores, 0, _seed_weights(rng, len(sums), resamples)))
    return _over_folds(found)


def _weighted(weights: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Sums over people with weights [R, P], for each seed: [S, R, C, 3]."""
    seeds, people, *rest = sums.shape
    flat = sums.reshape(seeds, people, -1)
    return (weights.astype(np.float64) @ flat).reshape(seeds, len(weights), *rest)


def summarize(
    folds: Sequence[Fold],
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


def evidence(folds: Sequence[Fold]) -> tuple[np.ndarray, np.ndarray]:
    """Returns how many frames, and of how many people, show each unit: [C] int64 each.

    Draws without a positive frame of a unit are left out: its interval is conditional on showing it.
    """
    shown = [fold.sums[0, ..., 2] for fold in folds]
    frames, people = np.sum([[s.sum(0), (s > 0).sum(0)] for s in shown], axis=0).astype(np.int64)
    return frames, people


def _too_few(folds: Sequence[Fold]) -> np.ndarray:
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
    first: Sequence[Fold],
    second: Sequence[Fold],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    drawn: tuple[np.ndarray, np.ndarray] | None = None,
) -> Difference:
    """Computes how much better one method is than another on the same people.

    Both are resampled alike. ``p`` is that of a permutation test in which whole people change their methods, in all
    seeds at once: (1 + number of |d*| >= |d|) / (1 + R).

    Args:
        first: method, by fold.
        second: the one it is compared with, on the same folds, people and numbers of seeds.
        resamples: R, of people and of permutations.
        seed: of the draws.
        drawn: what ``resampled`` gives for both, where it is there already.

    Raises:
        ValueError: for different people, folds or numbers of seeds.
    """
    if [len(fold.sums) for fold in first] != [len(fold.sums) for fold in second]:
        raise ValueError("methods are compared on the same folds and as many seeds")
    for a, b in zip(first, second, strict=True):
        _check_same_people(a, b)
    few = _too_few(first)
    ours, theirs = drawn or (
        resampled(folds, resamples=resamples, seed=seed) for folds in (first, second)
    )
    moved = ours - theirs
    low, high = _interval(moved, few)
    value = estimate(first) - estimate(second)
    # Equal methods are better half of the time.
    better = _mean(np.where(np.isnan(moved), np.nan, (moved > 0) + 0.5 * (moved == 0)), 0)
    swapped = _permuted(first, second, resamples, seed)
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
        change = _weighted(rng.integers(0, 2, (resamples, len(a.people))), b.sums - a.sums)
        ours.append(_mean(_score(a.sums.sum(axis=1)[:, None] + change), 0))
        theirs.append(_mean(_score(b.sums.sum(axis=1)[:, None] - change), 0))
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
