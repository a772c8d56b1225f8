"""Random resamples for the check of a report's tables, by SciPy; each is drawn once and shared by all cells."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from scipy import stats

from experiments.recomputed import Draws, mean, ratio, summed, with_mean

_SEEDS = 3


class Fold(Protocol):
    """What is drawn from: ratios of sums, or what else can be told of some people."""

    @property
    def ids(self) -> np.ndarray:
        """People, [P]."""
        ...

    @property
    def scores(self) -> np.ndarray:
        """Of all people, [S, C]."""
        ...

    @property
    def sums(self) -> np.ndarray:
        """[S, P, C, 3], evidence last."""
        ...

    def drawn(self, who: np.ndarray) -> np.ndarray:
        """Returns scores of people [batch, how many], [S, batch, C]."""
        ...


class Sampler:
    """Draws other people and swaps of people.

    Args:
        draws: how often.
        seed: of all draws.
    """

    def __init__(self, draws: Draws, seed: int) -> None:
        self.draws = draws
        self.rng = np.random.default_rng(seed)
        self._made: dict[tuple[str, int, int], tuple[Any, np.ndarray]] = {}

    def _once(
        self,
        kind: str,
        folds: Sequence[Fold],
        beside: Sequence[Fold] | None,
        make: Callable[[], np.ndarray],
    ) -> np.ndarray:
        key = kind, id(folds), id(beside)
        if key not in self._made:
            # What is kept here cannot give its id to another.
            self._made[key] = (folds, beside), make()
        return self._made[key][1]

    def bootstrap(self, folds: Sequence[Fold], beside: Sequence[Fold] | None) -> np.ndarray:
        """Draws scores, or differences to another method's, [R, C + 1]."""
        return self._once(
            "bootstrap",
            folds,
            beside,
            lambda: bootstrap(folds, beside, resamples=self.draws.check, rng=self.rng),
        )

    def p_range(
        self, folds: Sequence[Fold], beside: Sequence[Fold], none: np.ndarray
    ) -> list[tuple[float, float] | None]:
        """Computes the lowest and highest p that agree, after Holm's correction; None where ``none`` [C + 1]."""
        p = self._once(
            "p",
            folds,
            beside,
            lambda: permutation_p(folds, beside, resamples=self.draws.check, rng=self.rng),
        )
        p = np.where(none, np.nan, p)
        margin = self.draws.margin(np.nan_to_num(p))
        # Holm's correction never falls where a p rises.
        ends = [
            np.append(holm(end[:-1]), end[-1])
            for end in (np.clip(p - margin, 0, 1), np.clip(p + margin, 0, 1))
        ]
        return [None if np.isnan(low) else (low, high) for low, high in zip(*ends, strict=True)]

    def better(
        self, folds: Sequence[Fold], beside: Sequence[Fold], none: np.ndarray
    ) -> list[float | None]:
        """Computes the share of draws in which the first is better, equal ones half; None where ``none`` [C + 1]."""
        found: list[float | None] = []
        for moved, without in zip(self.bootstrap(folds, beside).T, none, strict=True):
            told = moved[~np.isnan(moved)]
            share = None if without else float((told > 0).mean() + (told == 0).mean() / 2)
            found.append(share)
        return found


def _drawn(
    folds: Sequence[Fold], people: Sequence[np.ndarray], seeds: Sequence[np.ndarray]
) -> np.ndarray:
    """Scores [batch, C + 1] of people and seeds, indices [batch, how many] by fold."""
    found = []
    for fold, who, which in zip(folds, people, seeds, strict=True):
        scores = fold.drawn(who)
        batch = np.arange(len(who))
        found.append(mean(np.stack([scores[which[:, s], batch] for s in range(which.shape[1])]), 0))
    return with_mean(found)


def bootstrap(
    first: Sequence[Fold],
    second: Sequence[Fold] | None,
    *,
    resamples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws scores, or differences to a second method's, with ``scipy.stats.bootstrap``: [resamples, C + 1].

    A fold's people are one sample, its seeds, from three on, another.
    """
    sizes = [len(fold.ids) for fold in first] + [len(fold.sums) for fold in first]
    least = [2] * len(first) + [_SEEDS] * len(first)
    free = [place for place, (size, at) in enumerate(zip(sizes, least, strict=True)) if size >= at]

    def statistic(*chosen: np.ndarray, axis: int) -> np.ndarray:
        batch = np.atleast_2d(chosen[0]).shape[0]
        every = [np.tile(np.arange(size), (batch, 1)) for size in sizes]
        for place, indices in zip(free, chosen, strict=True):
            every[place] = np.atleast_2d(indices)
        people, seeds = every[: len(first)], every[len(first) :]
        found = _drawn(first, people, seeds)
        found = found if second is None else found - _drawn(second, people, seeds)
        return np.moveaxis(found, 0, axis) if chosen[0].ndim > 1 else found[0]

    if not free:
        return np.full((resamples, first[0].sums.shape[2] + 1), np.nan)
    data = tuple(np.arange(sizes[place]) for place in free)
    # Draws that do not show a unit have no score; its interval is of the others.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        told = stats.bootstrap(
            data, statistic, n_resamples=resamples, batch=500, vectorized=True, method="percentile", rng=rng
        )  # fmt: skip
    return np.moveaxis(told.bootstrap_distribution, -1, 0)


def permutation_p(
    first: Sequence[Fold], second: Sequence[Fold], *, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Computes p of no difference with ``scipy.stats.permutation_test``, whole people swapped: [C + 1]."""
    counts = [len(fold.ids) for fold in first]
    total, starts = sum(counts), np.cumsum([0, *counts])
    both = [np.concatenate([a.sums, b.sums], axis=1) for a, b in zip(first, second, strict=True)]

    def scores(chosen: np.ndarray) -> np.ndarray:
        found = []
        for sums, start, count in zip(both, starts, counts, strict=False):
            mine = chosen[:, start : start + count]
            local = mine % total - start + count * (mine >= total)
            found.append(mean(ratio(summed(sums, local)), 0))
        return with_mean(found)

    def statistic(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        found = scores(np.atleast_2d(x)) - scores(np.atleast_2d(y))
        return found if x.ndim > 1 else found[0]

    data = np.arange(total), np.arange(total) + total
    test: Callable[..., Any] = stats.permutation_test
    told = test(
        data, statistic, permutation_type="samples", vectorized=True, n_resamples=resamples, batch=500, rng=rng
    )  # fmt: skip
    null, seen = told.null_distribution, told.statistic
    # Rounding must not tell a difference from itself; where all swaps were made, none is added.
    beyond, more = (np.abs(null) >= np.abs(seen) - 1e-9).sum(0), int(len(null) == resamples)
    return np.where(np.isnan(seen), np.nan, (beyond + more) / (len(null) + more))


def holm(p: np.ndarray) -> np.ndarray:
    """Corrects p values from the definition: no hypothesis is kept while one with a smaller p is refused."""
    made = p[~np.isnan(p)]
    scaled = np.array([min(1.0, (made >= one).sum() * one) for one in made])
    return np.array([scaled[made <= one].max() if not np.isnan(one) else np.nan for one in p])
