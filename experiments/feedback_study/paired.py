"""Statistics of paired differences: intervals, equivalence, sign flips, and a bootstrap of seeds and people.

A seed deals anew what the methods share, so one method less another on the same seed is one draw, independent of those
of other seeds as long as all deal from the same people.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from piapdf_jax.person_sums import ratios

#: Random signs; 16 differences or fewer get every combination.
FLIPS = 99_999
RESAMPLES = 10_000
NESTED_RESAMPLES = 2_000


def interval(differences: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Computes the mean of paired differences and half the width of its confidence interval.

    mean +- t_(n - 1) s / sqrt(n), s^2 = sum (d_i - mean)^2 / (n - 1)

    Args:
        differences: [n], one for each pair, n > 1.
        level: confidence, in (0, 1); t is Student's quantile of (1 + level) / 2, 2.093 for n = 20.

    Returns:
        Mean and half width.

    Raises:
        ValueError: fewer than two differences.
    """
    d = np.asarray(differences, np.float64)
    if d.size < 2:
        raise ValueError(f"an interval needs two differences or more, not {d.size}.")
    quantile = float(scipy.stats.t.ppf((1 + level) / 2, d.size - 1))
    return float(d.mean()), quantile * float(d.std(ddof=1)) / d.size**0.5


def within(differences: ArrayLike, bound: float) -> bool:
    """Tells whether a mean difference is equivalent to none: two one-sided t tests at 5 % (Schuirmann, 1987).

    Both refuse when the 90 % interval lies within -bound and bound.

    Args:
        differences: [n], n > 1.
        bound: the smallest difference that counts, > 0.
    """
    mean, half = interval(differences, 0.9)
    return abs(mean) + half < bound


def sign_flip_p(differences: ArrayLike, *, flips: int = FLIPS, seed: int = 0) -> float:
    """Computes the two-sided p of no difference: how often random signs put the mean as far from 0.

    Twice the smaller one-sided p. Every way to set the signs is tried where there are at most ``flips`` of them; else a
    one-sided p is (1 + number of means as extreme) / (1 + flips).

    Args:
        differences: [n].
        flips: random signs.
        seed: of the random signs.
    """
    test: Callable[..., Any] = scipy.stats.permutation_test
    told = test(
        *((np.asarray(differences, np.float64),), np.mean),
        permutation_type="samples",
        vectorized=True,
        n_resamples=flips,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return float(told.pvalue)


def ratio_interval(
    part: ArrayLike, whole: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float, float]:
    """Computes sum(part) / sum(whole) and its 95 % percentile interval over pairs (Efron, 1979).

    Args:
        part: [n], paired with ``whole``.
        whole: [n]; a resample whose sum is near 0 makes the interval wide, as it should be.
        resamples: of the pairs.
        seed: of the draws.
    """
    pairs = np.stack([np.asarray(part, np.float64), np.asarray(whole, np.float64)])
    count = pairs.shape[1]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(count, np.full(count, 1 / count), resamples)
    top, bottom = pairs @ weights.T
    low, high = np.percentile(top / bottom, [2.5, 97.5])
    return float(pairs[0].sum() / pairs[1].sum()), float(low), float(high)


def nested_bootstrap(
    sums: np.ndarray, *, resamples: int = NESTED_RESAMPLES, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Computes scores of methods, and those with other seeds and other test people.

    Seeds are drawn with replacement and, within each drawn one, its people, the same for all methods. A score pools
    the people's sums, then averages over units and seeds. As a seed's people are chance already, an interval of these
    counts their share of the variance twice: it errs on the wide side.

    Args:
        sums: [M, S, P, C, 3], of each method by seed, person and unit, the last as in
            ``piapdf_jax.person_sums.Fold``; people need not be the same in all seeds.
        resamples: R.
        seed: of the draws.

    Returns:
        Scores [M], and of the resamples [M, R].
    """
    methods, seeds, people = sums.shape[:3]
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    totals = np.zeros((resamples, methods))
    for number, times in enumerate(drawn.T):
        weights = _drawn_people(rng, times.sum(), people)
        found = _scores(weights, sums[:, number])
        np.add.at(totals, np.repeat(np.arange(resamples), times), found.T)
    whole = np.ones((1, people))
    scores = np.mean([_scores(whole, sums[:, number])[:, 0] for number in range(seeds)], axis=0)
    return scores, totals.T / seeds


def _drawn_people(rng: np.random.Generator, count: int, people: int) -> np.ndarray:
    """How often each person is drawn, [count, P]; several times faster than ``rng.multinomial``."""
    places = rng.integers(0, people, (count, people)) + people * np.arange(count)[:, None]
    return np.bincount(places.ravel(), minlength=count * people).reshape(count, people)


def _scores(weights: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Means over units, but for those nobody shows, with weighted people: [R, P], [M, P, C, 3] -> [M, R]."""
    weighted = np.tensordot(weights.astype(np.float64), sums, (1, 1))
    return np.nanmean(ratios(weighted), axis=2).T
