"""What a check of a report's tables draws at random: each draw is made once, however many cells are told from it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments import recomputed
from experiments.recomputed import Draws, Sums


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
        folds: Sequence[Sums],
        beside: Sequence[Sums] | None,
        make: Callable[[], np.ndarray],
    ) -> np.ndarray:
        key = kind, id(folds), id(beside)
        if key not in self._made:
            # What is kept here cannot give its id to another.
            self._made[key] = (folds, beside), make()
        return self._made[key][1]

    def bootstrap(self, folds: Sequence[Sums], beside: Sequence[Sums] | None) -> np.ndarray:
        """Draws scores, or differences to another method's, [R, C + 1]."""
        return self._once(
            "bootstrap",
            folds,
            beside,
            lambda: recomputed.bootstrap(folds, beside, resamples=self.draws.check, rng=self.rng),
        )

    def p_range(
        self, folds: Sequence[Sums], beside: Sequence[Sums], none: np.ndarray
    ) -> list[tuple[float, float] | None]:
        """Computes the lowest and highest p that agree, after Holm's correction; None where ``none`` [C + 1]."""
        p = self._once(
            "p",
            folds,
            beside,
            lambda: recomputed.permutation_p(
                folds, beside, resamples=self.draws.check, rng=self.rng
            ),
        )
        p = np.where(none, np.nan, p)
        margin = self.draws.margin(np.nan_to_num(p))
        # Holm's correction never falls where a p rises.
        ends = [
            np.append(recomputed.holm(end[:-1]), end[-1])
            for end in (np.clip(p - margin, 0, 1), np.clip(p + margin, 0, 1))
        ]
        return [None if np.isnan(low) else (low, high) for low, high in zip(*ends, strict=True)]

    def better(
        self, folds: Sequence[Sums], beside: Sequence[Sums], none: np.ndarray
    ) -> list[float | None]:
        """Computes the share of draws in which the first is better, equal ones half; None where ``none`` [C + 1]."""
        found: list[float | None] = []
        for moved, without in zip(self.bootstrap(folds, beside).T, none, strict=True):
            told = moved[~np.isnan(moved)]
            share = None if without else float((told > 0).mean() + (told == 0).mean() / 2)
            found.append(share)
        return found
