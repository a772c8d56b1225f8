"""Slices of data sets: the records that one training reads. Only ``datasets`` creates them."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

from piapdf_jax.data import source
from piapdf_jax.data.labeled import LabeledFrames


class Person(NamedTuple):
    """One person, by whatever data set we meet them."""

    builder: str
    kind: str
    subject: str


@dataclasses.dataclass(frozen=True)
class DataSlice:
    """Some records of a data set: where it lies, a split expression of it, and of which people.

    Attributes:
        dataset: its name.
        folder: where it lies.
        split: split expression.
        include: subjects whose records they are; () for everybody's.
        exclude: subjects whose records they are not.
        labeled: the frames that keep their labels, where only so many do: the slice has no other; None for all.
        hide_labels: it has the others instead, whose labels nobody may read.
    """

    dataset: str
    folder: pathlib.Path
    split: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    labeled: LabeledFrames | None = None
    hide_labels: bool = False

    def records(self) -> Any:
        """Opens them.

        Raises:
            NoRecords: where none is left.
        """
        records = source.Records(self.folder, self.split)
        if self.labeled is not None:
            rows = self._rows(self.labeled)
            if not len(rows):
                raise source.NoRecords(f"{self} holds no record")
            return source.SomeRows(records, rows)
        if not self.include and not self.exclude:
            return records
        return source.SubjectSubset(records, include=self.include, exclude=self.exclude)

    def _rows(self, labeled: LabeledFrames) -> Any:
        return labeled.rows(self.split, self.include, self.exclude, hide_labels=self.hide_labels)

    def is_empty(self) -> bool:
        """Returns whether people are left of whom no record is: those who have no frame that keeps its labels."""
        return self.labeled is not None and not len(self._rows(self.labeled))

    def people(self, everybody: set[str]) -> set[str]:
        """Returns whose records they are.

        Args:
            everybody: in the splits.
        """
        if self.labeled is not None:
            return self.labeled.subjects(self.split, self._rows(self.labeled))
        return (everybody & set(self.include) if self.include else everybody) - set(self.exclude)

    def left_out(self) -> list[dict[str, Any]]:
        """Returns what of the splits is not read, as a fingerprint holds it; [] for nothing."""
        found: list[dict[str, Any]] = [{"without": list(self.exclude)}] if self.exclude else []
        if self.labeled is not None:
            key = "withheld" if self.hide_labels else "labeled"
            found.append({key: [self.labeled.count, self.labeled.digest]})
        return found

    def __str__(self) -> str:
        alone = f" of {len(self.include)} people" if self.include else ""
        left_out = f" without {len(self.exclude)} people" if self.exclude else ""
        frames = ""
        if self.labeled is not None:
            which = "but for the" if self.hide_labels else "of the"
            frames = f", {which} {self.labeled.count} labeled frames"
        return f"{self.dataset}[{self.split}]{alone}{left_out}{frames}"


class Slices(NamedTuple):
    """What one training reads.

    Attributes:
        train: what it learns from.
        test: what its export is scored on; None where there is nothing, and then it has no scores.
        pools: unlabeled frames with their shares of a batch.
        validation: people kept apart, on whom the best state is chosen; None for the last state.
        judges: people kept apart, whose labeled frames stand for x_l where a student's step is judged; None for x_l.
    """

    train: DataSlice
    test: DataSlice | None
    pools: tuple[tuple[DataSlice, float], ...] = ()
    validation: DataSlice | None = None
    judges: DataSlice | None = None

    @property
    def read(self) -> tuple[DataSlice, ...]:
        """All that steps of the training read."""
        judges = (self.judges,) if self.judges else ()
        return (self.train, *judges, *(pool for pool, _ in self.pools))
