"""Tables 1 to 3 of the paper, with its numbers and those of the methods it lists beside ours."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from experiments import measures
from experiments.cells import Said, Study, number
from experiments.groups import FOLDS
from experiments.published import published
from experiments.report_types import Cell, Row, Table
from experiments.trainings import TRAININGS

#: What tables 1 and 2 show of ours; in table 3 every training that has a row of the paper, and those below.
_OURS = {"table1": ("piap", "piapdf"), "table2": ("disfa",)}
#: Trainings of ours that the paper has no row for: the training whose rows they stand below, and why.
UNPRINTED = {
    "lp": (
        "ap",
        "L_AP against landmarks. The row is ours: the paper prints no number. LP-Net in table 1 is"
        " another network",
    ),
    "longer": (
        "piap",
        "PIAP trained on its labels for as many further steps as PIAP-DF takes: what feedback must beat. The row is"
        " ours: the paper prints no number",
    ),
}
#: Marks a row whose mean is over fewer than three folds.
MISSING = " \N{DAGGER}"
#: Whose teacher stands below its student.
TAUGHT = ("df", "piapdf")


def paper_tables(studies: Sequence[Study]) -> list[Table]:
    """Makes tables 1, 2 and 3: the paper's rows, each group's below the same method, and "always yes" last.

    F1 in percent of a fold's pooled test frames, mean over folds, plain mean over units.

    Args:
        studies: of the groups.
    """
    return [_table(name, told, studies) for name, told in published()["tables"].items()]


def _table(name: str, told: dict[str, Any], studies: Sequence[Study]) -> Table:
    units = tuple(told["units"])
    trainings = _OURS.get(name) or _with_unprinted(row["training"] for row in told["rows"])
    ours = [pair for study in studies for pair in _ours(study, trainings, units)]
    rows = []
    for row in told["rows"]:
        beside = row.get("training")
        rows += [_of_paper(row), *(own for name, own in ours if name == beside and beside)]
        rows += [own for name, own in ours if name in UNPRINTED and UNPRINTED[name][0] == beside]
    rows += [own for name, own in ours if not name]
    notes = [f"{published()['source']}: its rows are as printed, their means recomputed."]
    notes += [told["note"]] if "note" in told else []
    for training in dict.fromkeys(name for name, _ in ours if name in UNPRINTED):
        notes.append(f"{TRAININGS[training].title}: {UNPRINTED[training][1]}.")
    for study in studies:
        notes += [f"{study.group.title}: {note}" for note in study.group.notes]
    against = " and ".join(dict.fromkeys(study.against for study in studies)) or "published"
    title = f"{told['title']}: F1 (%), {against} labels"
    if any(study.group.stand_ins for study in studies):
        title += "; STAND-INS for the paper's data, see the notes"
    return Table(name, title, (*map(str, units), "mean"), tuple(rows), tuple(notes))


def _with_unprinted(printed: Iterable[str]) -> tuple[str, ...]:
    """Trainings that the paper has a row for, each before those of ours that stand below it."""
    return tuple(
        name
        for first in printed
        for name in (first, *(ours for ours, (above, _) in UNPRINTED.items() if above == first))
    )


def _of_paper(row: dict[str, Any]) -> Row:
    """A row as printed; its mean is that of its units, with a note where the paper prints another."""
    mean = float(np.mean(row["f1"]))
    printed = row["mean"]
    # One decimal is printed: half of the last digit is rounding.
    differs = abs(mean - printed) > 0.05 + 1e-9
    note = f"the paper prints a mean of {printed}" if differs else ""
    cells = (*(Cell(value) for value in row["f1"]), Cell(mean))
    return Row(row["method"], "paper" if "training" in row else "other", cells, note)


def _ours(
    study: Study, trainings: Sequence[str], units: tuple[int, ...]
) -> Iterator[tuple[str, Row]]:
    """A group's rows by training, each compared with the first of them; saying yes always has none."""
    there = [name for name in trainings if study.folds(Said(name))]
    if not there:
        return
    first = Said(there[0])
    floor = study.cells(Said(there[0], cut="always"), units)
    assert floor is not None
    title = study.group.title
    cells = tuple(cell._replace(low=None, high=None, note="") for cell in floor)
    yield "", Row(f"always yes, {title}", "floor", cells)
    for name in there:
        for teacher in (False, True) if name in TAUGHT else (False,):
            said = Said(name, teacher)
            cells = study.cells(said, units, beside=first)
            if cells is not None:
                marks, note = _folds(study, said)
                yield name, Row(f"{method_title(said)}, {title}{marks}", "ours", cells, note)


def method_title(said: Said) -> str:
    """Returns what a reader tells a method by."""
    known = TRAININGS.get(said.training)
    return (known.title if known else said.training) + (", teacher" if said.teacher else "")


def _folds(study: Study, said: Said) -> tuple[str, str]:
    """The mark of a row that lacks a fold, and on which folds and seeds the row rests."""
    runs = [
        run
        for run in study.group.runs
        if (table := run.frames.get(said.training)) is not None
        and measures.labels_of(table, study.against) is not None
        and measures.probs_of(table, said.teacher) is not None
    ]
    folds, seeds = (sorted({getattr(run, key) for run in runs}) for key in ("fold", "seed"))
    told = f"folds {', '.join(map(str, folds))}; seeds {', '.join(map(str, seeds))}"
    if (pooled := study.pooled(said)) is not None and len(folds) > 1:
        told += f"; {pooled:.1f} with the frames of all folds counted together"
    if lacking := [str(fold) for fold in FOLDS if fold not in folds]:
        return MISSING, f"{told}; {MISSING.strip()} fold {', '.join(lacking)} is missing"
    return "", told


def evidence(studies: Sequence[Study]) -> Table | None:
    """Makes the table of how many positive frames and people each F1 rests on; None for nothing scored."""
    rows: list[Row] = []
    units: tuple[int, ...] = ()
    for study in studies:
        names = [n for n in TRAININGS if study.folds(Said(n))]
        # Trainings of one data set are scored on the same frames.
        for name in dict(zip(map(study.units, names), names, strict=True)).values():
            units = tuple(dict.fromkeys((*units, *study.units(name))))
    for study in studies:
        names = [n for n in TRAININGS if study.folds(Said(n))]
        for own, name in dict(zip(map(study.units, names), names, strict=True)).items():
            told = study.summary(Said(name))
            assert told is not None
            data = study.group.runs[0].frames.get(name)
            where = f"{study.group.title}, {data.dataset if data else name}"
            for what, counts in (
                ("positive frames", told.frames),
                ("people who show it", told.people),
            ):
                by_unit = dict(zip(own, counts, strict=True))
                cells = tuple(Cell(number(by_unit.get(au))) for au in units)
                rows.append(Row(f"{what}, {where}", "ours", cells))
    if not rows:
        return None
    title = "On what each F1 rests: test frames that show the unit, and people"
    return Table("evidence", title, tuple(map(str, units)), tuple(rows))
