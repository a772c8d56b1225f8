"""Data types of reports: runs, groups of runs, and tables of cells."""

import dataclasses
import pathlib
from typing import Any, NamedTuple

from experiments.frame_table import FrameTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One fold and seed of one configuration, as its folder says.

    Attributes:
        folder: of the run.
        fold, seed: of its configuration.
        config: ``config.json``.
        results: ``results.json``; its ``trainings`` by name.
        versions: ``versions.json``.
        frames: tables of scored trainings with action units, by training.
    """

    folder: pathlib.Path
    fold: int
    seed: int
    config: dict[str, Any]
    results: dict[str, Any]
    versions: dict[str, Any]
    frames: dict[str, FrameTable]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ in fold and seed alone, and so may be averaged.

    Attributes:
        title: what a reader tells it by; unique among the groups of a report.
        config: of the runs, without fold and seed.
        runs: by seed and fold.
        folds, seeds: that it has.
        missing_folds: that it has not, of 1, 2 and 3.
        notes: what a reader must know before believing a number: stand-ins, stale exports, other sources,
            digests or data among its folds, missing folds and seeds.
        stand_ins: data sets that stand in for the paper's, by key of the configuration.
    """

    title: str
    config: dict[str, Any]
    runs: tuple[Run, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    missing_folds: tuple[int, ...]
    notes: tuple[str, ...]
    stand_ins: dict[str, str]


class Cell(NamedTuple):
    """One number of a table.

    Attributes:
        value: as it is printed (F1 in percent); None for a gap.
        low, high: its 95 % interval over people; None for none.
        p: that the difference to the table's first own row is chance; after Holm in a unit's column.
        better: probability of being better than that row, over people.
        positives, people: frames that show the unit, and people who show it, on which it rests.
        note: why it is a gap, or has no interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    better: float | None = None
    positives: int | None = None
    people: int | None = None
    note: str = ""


class Row(NamedTuple):
    """A row: ours, the paper's, or that of a method which the paper lists.

    Attributes:
        title: of the method.
        kind: ``ours``, ``paper``, ``other`` or ``floor`` (always yes).
        cells: one a column.
        note: mean as printed in the paper where it differs from the recomputed one, and the like.
    """

    title: str
    kind: str
    cells: tuple[Cell, ...]
    note: str = ""


class Table(NamedTuple):
    """A table of a report.

    Attributes:
        name: of its files, such as ``table1``.
        title: one line.
        columns: headings, without that of the method.
        rows: in order.
        notes: below it.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
