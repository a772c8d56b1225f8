"""Scores of a group of runs as cells of tables, with intervals over people and comparisons on the same people."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments import measures
from experiments.report_types import Cell, Group
from piapdf_jax import intervals
from piapdf_jax.intervals import Difference, Summary
from piapdf_jax.person_sums import Fold, PairFold

#: Why a score has no interval.
FEW = f"fewer than {intervals.MIN_PEOPLE} people"
#: Why there is none.
NOTHING = "no test frame shows it, or nothing is said of it"


class Said(NamedTuple):
    """Whose frames are scored, and how.

    Attributes:
        training: its name.
        teacher: whether the teacher beside it is meant.
        cut: one of ``measures.CUTS``.
    """

    training: str
    teacher: bool = False
    cut: str = "half"


class Study:
    """A group's scores against one kind of labels; each is made once.

    Args:
        group: of runs.
        against: ``published`` or ``true``.
        resamples: of people, and of permutations.
    """

    def __init__(self, group: Group, *, against: str, resamples: int) -> None:
        self.group, self.against, self.resamples = group, against, resamples
        self.folds = functools.cache(self._folds)
        self.pairs = functools.cache(self._pairs)
        self.drawn = functools.cache(self._drawn)
        self.summary = functools.cache(self._summary)
        self.difference = functools.cache(self._difference)

    def _folds(self, said: Said) -> tuple[Fold, ...] | None:
        found = measures.f1_folds(
            self.group, said.training, against=self.against, cut=said.cut, teacher=said.teacher
        )
        return tuple(found) if found else None

    def _drawn(self, said: Said) -> np.ndarray:
        """Scores with other people; the same of each for every method."""
        return intervals.resampled(self.folds(said) or (), resamples=self.resamples)

    def _summary(self, said: Said) -> Summary | None:
        folds = self.folds(said)
        return intervals.summarize(folds, drawn=self.drawn(said)) if folds else None

    def _pairs(self, said: Said) -> tuple[tuple[PairFold, ...], np.ndarray] | None:
        """Pairs of frames for ROC AUC, which needs no cut, and its values with other people."""
        found = measures.auc_folds(
            self.group, said.training, against=self.against, teacher=said.teacher
        )
        return (
            (tuple(found), intervals.resampled(found, resamples=self.resamples)) if found else None
        )

    def auc(self, said: Said) -> Cell:
        """Returns mean ROC AUC with its interval."""
        made = self.pairs(said)
        return _mean_cell(intervals.summarize(made[0], drawn=made[1])) if made else Cell(None)

    def _difference(
        self, first: Said, second: Said, other: "Study | None" = None
    ) -> Difference | None:
        """F1 of one less that of a second, of this group or another, on the same people."""
        other = other or self
        a, b = self.folds(first), other.folds(second)
        if a is None or b is None:
            return None
        return self._compared(a, b, (self.drawn(first), other.drawn(second)))

    def auc_difference(
        self, first: Said, second: Said, other: "Study | None" = None
    ) -> Difference | None:
        """Returns the difference of ROC AUC on the same people; None where they have not the same."""
        a, b = self.pairs(first), (other or self).pairs(second)
        return self._compared(a[0], b[0], (a[1], b[1])) if a and b else None

    def _compared(
        self,
        first: Sequence[Fold | PairFold],
        second: Sequence[Fold | PairFold],
        drawn: tuple[np.ndarray, np.ndarray],
    ) -> Difference | None:
        try:
            return intervals.compare(first, second, resamples=self.resamples, drawn=drawn)
        except ValueError:  # other folds, seeds or people: a pair that the group does not have
            return None

    def pooled(self, said: Said) -> float | None:
        """Returns mean F1 where the frames of all folds and seeds are counted together; None for none."""
        folds = self.folds(said)
        if not folds:
            return None
        # As many frames of each fold, however many seeds it has.
        sums = sum(fold.sums.mean(axis=0).sum(axis=0) for fold in folds)
        together = Fold(np.array(["all"]), np.asarray(sums)[None, None])
        return number(intervals.estimate([together])[-1])

    def units(self, training: str) -> tuple[int, ...]:
        """Returns FACS numbers of a training's columns; () where it has no scores."""
        for tables in measures.tables_of(self.group, training).values():
            return tables[0].aus
        return ()

    def cells(
        self, said: Said, units: Sequence[int], *, beside: Said | None = None
    ) -> tuple[Cell, ...] | None:
        """Returns F1 of some units and their mean; None where nothing is scored.

        Args:
            said: whose frames, and how.
            units: FACS numbers of the columns.
            beside: what it is compared with on the same people.
        """
        told = self.summary(said)
        if told is None:
            return None
        versus = self.difference(said, beside) if beside and beside != said else None
        own, folds = self.units(said.training), self.folds(said) or ()
        places = [own.index(au) if au in own else None for au in units]
        cells = [
            Cell(None, note=f"AU{au} is not among its units")
            if place is None
            else _cell(told, versus, place, folds)
            for au, place in zip(units, places, strict=True)
        ]
        mean = _cell(told, versus, len(own), folds)
        if None in places or len(own) != len(units):
            mean = mean._replace(note=f"mean over its own {len(own)} units")
        return (*cells, mean)


def _cell(told: Summary, versus: Difference | None, place: int, folds: Sequence[Fold]) -> Cell:
    last = place == len(told.frames)
    return Cell(
        number(told.value[place]),
        number(told.low[place]),
        number(told.high[place]),
        number(versus.p[place]) if versus else None,
        number(versus.better[place]) if versus else None,
        None if last else int(told.frames[place]),
        # The mean rests on everybody who is tested.
        sum(len(fold.people) for fold in folds) if last else int(told.people[place]),
        _note(told, place, [] if last else [fold.sums[..., place, 2].any() for fold in folds]),
    )


def _note(told: Summary, place: int, shown: Sequence[Any]) -> str:
    """Why there is no score, or no interval, or from which folds the mean is."""
    if np.isnan(told.value[place]):
        return NOTHING
    few = [FEW] if np.isnan(told.low[place]) else []
    if not all(shown):
        few.append(
            f"mean over {sum(map(bool, shown))} of {len(shown)} folds: {NOTHING} in the others"
        )
    return "; ".join(few)


def number(value: float | np.floating | None) -> float | None:
    """Returns a number, None for nan."""
    return None if value is None or np.isnan(value) else float(value)


def of_columns(folds: Sequence[Fold], columns: np.ndarray, *, resamples: int) -> Cell:
    """Returns the mean over some units with its interval."""
    if not len(columns):
        return Cell(None, note="there is no such unit")
    told = intervals.summarize(
        [fold._replace(sums=fold.sums[:, :, columns]) for fold in folds], resamples=resamples
    )
    return _mean_cell(told)


def _mean_cell(told: Summary) -> Cell:
    few = FEW if np.isnan(told.low[-1]) else ""
    return Cell(number(told.value[-1]), number(told.low[-1]), number(told.high[-1]), note=few)


def plain(values: Iterable[float | None]) -> tuple[Cell, ...]:
    """Returns numbers as cells without intervals."""
    return tuple(Cell(None if value is None else float(value)) for value in values)
