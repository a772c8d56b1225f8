"""Data for the charts of a group: scores and rates of single people, and bins of probabilities."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from experiments import measures
from experiments.cells import Said
from experiments.page import style
from experiments.paper_tables import method_title
from experiments.report_types import Cell, Group, Row, Table
from experiments.trainings import TRAININGS
from piapdf_jax import intervals
from piapdf_jax.person_sums import Fold

BINS = 15
#: Tables whose rows carry F1 by unit, in the order in which a bar's interval is looked for.
_WITH_UNITS = ("table3", "table1", "table2")
#: What stands behind a row's title where a fold is missing.
_MARKS = ("", " \N{DAGGER}", " (a fold is missing)")


class Method(NamedTuple):
    """A training of a group, or the teacher beside it, as charts show it.

    Attributes:
        said: which.
        title: what a reader tells it by.
        color: its own, all over the page.
        units: FACS numbers of its columns.
    """

    said: Said
    title: str
    color: str
    units: tuple[int, ...]


class Rates(NamedTuple):
    """How often people show each unit: arrays [P, C] in percent, nan for a person without a known label of it.

    Attributes:
        people: ids.
        coded: share of present among the known labels.
        said: share of the same frames of which it is said, seeds averaged.
    """

    people: list[str]
    coded: np.ndarray
    said: np.ndarray


class Bins(NamedTuple):
    """Probabilities in bins of equal width: arrays [B].

    Attributes:
        counts: of frames times units.
        probs: mean probability, nan for an empty bin.
        shares: share present, nan for an empty bin.
        error: calibration error of what is drawn.
    """

    counts: np.ndarray
    probs: np.ndarray
    shares: np.ndarray
    error: float


def methods(group: Group, against: str) -> list[Method]:
    """Returns what a group has scores of, in the order of trainings, teachers below their students.

    Args:
        group: of runs.
        against: ``published`` or ``true`` labels.
    """
    found = [
        Method(said, method_title(said), style.color(said.training), _units(group, said))
        for said in _scored(group)
    ]
    return [method for method in found if folds(group, method, against)]


def _scored(group: Group) -> Iterator[Said]:
    for name in dict.fromkeys((*TRAININGS, *(n for run in group.runs for n in run.frames))):
        tables = [table for seeds in measures.tables_of(group, name).values() for table in seeds]
        if tables:
            yield Said(name)
        if any(table.teacher_probs is not None for table in tables):
            yield Said(name, teacher=True)


def _units(group: Group, said: Said) -> tuple[int, ...]:
    return next(iter(measures.tables_of(group, said.training).values()))[0].aus


def by_units(found: Sequence[Method]) -> list[tuple[tuple[int, ...], list[Method]]]:
    """Puts methods of the same units together: those that can stand in one chart."""
    return [
        (units, [method for method in found if method.units == units])
        for units in dict.fromkeys(method.units for method in found)
    ]


def folds(group: Group, method: Method, against: str) -> list[Fold]:
    """Returns a method's sums over people, by fold; [] for none."""
    said = method.said
    found = measures.f1_folds(group, said.training, against=against, teacher=said.teacher)
    return found or []


def people_f1(parts: Sequence[Fold]) -> tuple[list[str], np.ndarray]:
    """Computes F1 of single people in percent, seeds averaged.

    Args:
        parts: of one method, by fold.

    Returns:
        Their ids, and [P, C], nan for a person without a frame that shows the unit.
    """
    ids, rows = [], []
    for fold in parts:
        there = fold.sums[..., 2] > 0
        ratio = fold.sums[..., 0] / np.where(there, fold.sums[..., 1], 1)
        rows.append(np.where(there, ratio, np.nan).mean(axis=0))
        ids += [str(person) for person in fold.people]
    return ids, np.concatenate(rows)


def row_of(tables: Sequence[Table], group: Group, title: str) -> tuple[Table, Row] | None:
    """Finds a group's row, of a method or of saying yes always, in the tables of F1 by unit.

    Args:
        tables: of the report.
        group: whose row.
        title: of the method.
    """
    wanted = f"{title}, {group.title}"
    for name in _WITH_UNITS:
        for table in tables:
            if table.name != name:
                continue
            for row in table.rows:
                if row.kind != "paper" and row.title in {wanted + mark for mark in _MARKS}:
                    return table, row
    return None


def f1_cells(
    tables: Sequence[Table], group: Group, method: Method, against: str
) -> dict[str, Cell]:
    """Returns F1 by unit, and of "mean", as the tables have it; computed, without intervals, where none does.

    Args:
        tables: of the report.
        group: whose.
        method: which.
        against: ``published`` or ``true`` labels.
    """
    found = row_of(tables, group, method.title)
    if found is not None:
        return dict(zip(found[0].columns, found[1].cells, strict=True))
    parts = folds(group, method, against)
    if not parts:
        return {}
    frames, people = intervals.evidence(parts)
    columns = (*map(str, method.units), "mean")
    counts = [*zip(frames.tolist(), people.tolist(), strict=True), (None, None)]
    return {
        column: Cell(
            None if np.isnan(value) else float(value), positives=shown, people=who,
            note="no table has its interval",
        )
        for column, value, (shown, who) in zip(
            columns, intervals.estimate(parts), counts, strict=True
        )
    }  # fmt: skip


def rates(group: Group, method: Method, against: str) -> Rates:
    """Computes each person's rates of every unit, at a cut of 0.5.

    Args:
        group: of runs.
        method: which.
        against: ``published`` or ``true`` labels.
    """
    people: list[str] = []
    coded, told = [], []
    for tables in measures.tables_of(group, method.said.training).values():
        seeds = []
        for table in tables:
            probs = measures.probs_of(table, method.said.teacher)
            labels = measures.labels_of(table, against)
            if probs is not None and labels is not None:
                seeds.append(_rates_of(table.subject, labels, probs >= 0.5))
        if not seeds:
            continue
        people += [str(person) for person in seeds[0][0]]
        coded.append(seeds[0][1])
        told.append(np.mean([seed[2] for seed in seeds if seed[2].shape == seeds[0][2].shape], 0))
    return Rates(people, np.concatenate(coded), np.concatenate(told))


def _rates_of(
    subject: np.ndarray, labels: np.ndarray, said: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    people, who = np.unique(subject, return_inverse=True)
    known = labels >= 0
    sums = np.zeros((3, len(people), labels.shape[1]))
    for part, values in zip(sums, (known, known & (labels == 1), known & said), strict=True):
        np.add.at(part, who, values)
    count = np.where(sums[0] > 0, sums[0], np.nan)
    return people, 100 * sums[1] / count, 100 * sums[2] / count


def reliability(group: Group, method: Method, against: str) -> Bins:
    """Computes how often units are there that are said with some probability, over all folds, seeds and units.

    Args:
        group: of runs.
        method: which.
        against: ``published`` or ``true`` labels.
    """
    counts, probs, present = np.zeros((3, BINS))
    for tables in measures.tables_of(group, method.said.training).values():
        for table in tables:
            said = measures.probs_of(table, method.said.teacher)
            labels = measures.labels_of(table, against)
            if said is None or labels is None:
                continue
            known = labels >= 0
            values = said[known].astype(np.float64)
            place = np.minimum((values * BINS).astype(int), BINS - 1)
            counts += np.bincount(place, minlength=BINS)
            probs += np.bincount(place, weights=values, minlength=BINS)
            present += np.bincount(place, weights=labels[known] == 1, minlength=BINS)
    total = counts.sum()
    error = float(np.abs(probs - present).sum() / total) if total else float("nan")
    there = np.where(counts > 0, counts, np.nan)
    return Bins(counts.astype(int), probs / there, present / there, error)
