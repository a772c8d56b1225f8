"""Per-person sums from which scores of resampled people (drawn with replacement) are computed.

F1 and shares are ratios of sums over people; ROC AUC is one of sums over pairs of people. P is the number of a fold's
people, S of its seeds, C of action units, R of drawings of people; NumPy alone.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np


class Fold(NamedTuple):
    """Per-person sums of a method on the test people of one fold.

    Attributes:
        people: [P] ids, sorted.
        sums: [S, P, C, 3] float64, by seed, person and unit: numerator, denominator, and how many of the frames
            it rests on (those that show the unit); where these are 0 over all people there is no score.
    """

    people: np.ndarray
    sums: np.ndarray

    @property
    def seeds(self) -> int:
        """S."""
        return len(self.sums)

    def shown(self) -> np.ndarray:
        """Returns how many frames of each person show each unit, [P, C]."""
        return self.sums[0, ..., 2]

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """Computes scores [S, R, C] where each person counts as often as ``weights`` [R, P] says; nan for none."""
        return ratios(self.weighted(weights))

    def weighted(self, weights: np.ndarray) -> np.ndarray:
        """Computes the sums over people, [S, R, C, 3]."""
        seeds, people, *rest = self.sums.shape
        flat = self.sums.reshape(seeds, people, -1)
        return (weights.astype(np.float64) @ flat).reshape(seeds, len(weights), *rest)


class PairFold(NamedTuple):
    """How a method ranks the frames of the test people of one fold.

    Attributes:
        people: [P] ids, sorted.
        wins: [S, C, P, P] float64: of the pairs of a frame of person p that shows the unit and one of person q that
            does not, in how many the first has the higher score, ties half.
        counts: [S, P, C, 2] float64, frames that show the unit, and that do not.
    """

    people: np.ndarray
    wins: np.ndarray
    counts: np.ndarray

    @property
    def seeds(self) -> int:
        """S."""
        return len(self.wins)

    def shown(self) -> np.ndarray:
        """Returns how many frames of each person show each unit, [P, C]."""
        return self.counts[0, ..., 0]

    def scores(self, weights: np.ndarray) -> np.ndarray:
        """Computes ROC AUC [S, R, C] where each person counts as often as ``weights`` [R, P] says; nan for none.

        A person who is drawn twice is two people: sum_pq w_p w_q wins_pq / (sum_p w_p present_p sum_q w_q absent_q),
        which is what frames with weights w give.
        """
        weights = weights.astype(np.float64)
        seeds, units = self.wins.shape[:2]
        found = np.empty((seeds, len(weights), units))
        for seed in range(seeds):
            for unit in range(units):
                won = ((weights @ self.wins[seed, unit]) * weights).sum(axis=1)
                pairs = (weights @ self.counts[seed, :, unit]).prod(axis=1)
                found[seed, :, unit] = ratios(np.stack([won, pairs, pairs], axis=-1))
        return found


#: One kind of folds or the other.
AnyFold = TypeVar("AnyFold", Fold, PairFold)


def ratios(sums: np.ndarray) -> np.ndarray:
    """Computes ratios [...] of sums [..., 3]; nan where the third, on which they rest, is 0."""
    there = sums[..., 2] > 0
    return np.where(there, sums[..., 0] / np.where(there, sums[..., 1], 1), np.nan)


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


def auc_pairs(scores: np.ndarray, labels: np.ndarray, subject: np.ndarray) -> PairFold:
    """Counts one seed's pairs of frames by their two people, for ROC AUC.

    Args:
        scores: [N, C], finite.
        labels: [N, C], 0, 1 or -1 (unknown, counted nowhere).
        subject: [N] participant ids.
    """
    people, who = np.unique(subject, return_inverse=True)
    units = labels.shape[1]
    wins = np.zeros((units, len(people), len(people)))
    for unit in range(units):
        present, absent = labels[:, unit] == 1, labels[:, unit] == 0
        above, theirs = scores[present, unit], who[present]
        for other in range(len(people)):
            below = np.sort(scores[absent & (who == other), unit])
            # Twice the number of wins: ties lie between the two.
            twice = np.searchsorted(below, above) + np.searchsorted(below, above, "right")
            wins[unit, :, other] = np.bincount(theirs, twice / 2, len(people))
    cells = np.stack([labels == 1, labels == 0], axis=-1).astype(np.float64)
    return PairFold(people, wins[None], _by_person(cells, who, len(people))[None])


def of_seeds(folds: Sequence[AnyFold]) -> AnyFold:
    """Joins the seeds of one fold.

    Raises:
        ValueError: where they are of different people.
    """
    for fold in folds[1:]:
        check_same_people(folds[0], fold)
    first, *_ = folds
    arrays = {name: [getattr(fold, name) for fold in folds] for name in first._fields[1:]}
    return first._replace(**{name: np.concatenate(parts) for name, parts in arrays.items()})


def check_same_people(a: Fold | PairFold, b: Fold | PairFold) -> None:
    """Refuses folds of different people.

    Raises:
        ValueError: naming those whom one of them lacks.
    """
    if not np.array_equal(a.people, b.people):
        odd = sorted({*a.people.tolist()} ^ {*b.people.tolist()})
        raise ValueError(
            f"scores of different people cannot be compared: {', '.join(map(str, odd))}"
        )
