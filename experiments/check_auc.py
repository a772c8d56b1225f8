"""Recomputes ROC AUC of a report's tables independently, by comparing every pair of frames."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.recomputed import pooled, times


class Pairs(NamedTuple):
    """One fold: ids [P]; scores [S, C] by scikit-learn; [S, P, C, 3] present, absent, present; wins [S, C, P, P]."""

    ids: np.ndarray
    scores: np.ndarray
    sums: np.ndarray
    wins: np.ndarray

    def drawn(self, who: np.ndarray) -> np.ndarray:
        """Computes ROC AUC of people [batch, how many], of whom some come more than once: [S, batch, C]."""
        often = times(who, len(self.ids))
        won = np.einsum("bp,scpq,bq->sbc", often, self.wins, often, optimize=True)
        present, absent = (np.einsum("bp,spc->sbc", often, self.sums[..., k]) for k in (0, 1))
        pairs = present * absent
        return np.divide(won, pairs, out=np.full(won.shape, np.nan), where=pairs > 0)


def seed_of(frames: dict[str, np.ndarray], labels: np.ndarray, probs: np.ndarray) -> Pairs:
    """Compares all pairs of frames of one seed of a fold, of which one shows a unit and the other does not."""
    ids, who = np.unique(frames["subject"], return_inverse=True)
    silent = ~np.isfinite(probs).all(axis=0)
    labels = np.where(silent, -1, labels)
    people, units = len(ids), labels.shape[1]
    wins, sums = np.zeros((units, people, people)), np.zeros((people, units, 3))
    for p in range(people):
        for unit in range(units):
            shown = probs[(who == p) & (labels[:, unit] == 1), unit]
            sums[p, unit] = len(shown), ((who == p) & (labels[:, unit] == 0)).sum(), len(shown)
            for q in range(people):
                other = probs[(who == q) & (labels[:, unit] == 0), unit]
                above = np.sign(shown[:, None] - other)
                wins[unit, p, q] = (above.sum() + above.size) / 2
    return Pairs(ids, pooled(labels, probs)["ROC AUC"][None], sums[None], wins[None])


def joined(seeds: Sequence[Pairs]) -> Pairs:
    """Joins the seeds of a fold, which have the same people."""
    parts = (np.concatenate(part) for part in zip(*(seed[1:] for seed in seeds), strict=True))
    return Pairs(seeds[0].ids, *parts)
