"""Tables that the paper does not have: other scores, differences with intervals, and the identity probe."""

from collections.abc import Iterator, Sequence

import numpy as np

from experiments import au_scores, measures
from experiments.cells import FEW, Said, Study, number, of_columns
from experiments.paper_tables import TAUGHT, method_title
from experiments.report_types import Cell, Row, Table
from experiments.trainings import TRAININGS
from piapdf_jax import intervals

MATCHED = "F1 matched"
SCORES = (
    "F1", "F1 rare", "F1 frequent", MATCHED, "F1 model.json", "always yes", "ROC AUC", "AUPRC",
    "MCC", "calibration", "parameters",
)  # fmt: skip
#: Every method is compared with the baseline, what goes on from another with that, and feedback with labels alone.
_STARTS = (("longer", "piap"), ("piapdf", "piap"), ("piapdf", "longer"))


def scored(study: Study) -> list[Said]:
    """Returns whose frames a group has, in the order of trainings, a teacher below its student."""
    found = []
    for name in dict.fromkeys((*TRAININGS, *(n for run in study.group.runs for n in run.frames))):
        for teacher in (False, True) if name in TAUGHT else (False,):
            if study.folds(Said(name, teacher)):
                found.append(Said(name, teacher))
    return found


def scores(studies: Sequence[Study]) -> Table:
    """Makes the table of mean scores by method: F1 at several cuts, by frequency, and what needs no cut.

    F1 in percent. "matched": the cut is that at which as many scored frames are positive as training labels are, and
    reads no label of them; "model.json": the same cut of the training frames. Rare units are those that fewer than
    30 % of the training labels show.
    """
    rows = [
        Row(f"{method_title(said)}, {study.group.title}", "ours", tuple(score_cells(study, said)))
        for study in studies
        for said in scored(study)
    ]
    against = " and ".join(dict.fromkeys(study.against for study in studies))
    title = f"Means over units, {against} labels"
    return Table("scores", title, SCORES, tuple(rows), _score_notes())


def _score_notes() -> tuple[str, ...]:
    return (
        "F1 in %, the other scores from 0 to 1 (MCC from -1); mean over folds, then units.",
        f"rare: shown by less than {au_scores.RARE:.0%} of the training labels; frequent: by more.",
        "F1 matched: cut where the share of positive scored frames is that of the training labels; no"
        " label of a scored frame is read. F1 model.json: cut where that is so of the training frames.",
        "ROC AUC of other people: all pairs of a frame that shows the unit and one that does not, of whomever;"
        " a unit that those who are drawn all show, or none of them, is left out of that draw.",
    )


def score_cells(study: Study, said: Said) -> Iterator[Cell]:
    """Returns a row of the table of mean scores, a cell for each of ``SCORES``."""
    folds = study.folds(said)
    assert folds is not None
    rates = measures.base_rates(study.group, said.training)
    rare, frequent = map(np.flatnonzero, au_scores.rare_and_frequent(rates))
    everything = np.arange(len(rates))
    for columns in (everything, rare, frequent):
        yield of_columns(folds, columns, resamples=study.resamples)
    for cut in ("matched", "model"):
        other = study.folds(said._replace(cut=cut))
        assert other is not None
        yield of_columns(other, everything, resamples=study.resamples)
    always = study.folds(said._replace(cut="always"))
    assert always is not None
    yield Cell(number(intervals.estimate(always)[-1]))
    yield study.auc(said)
    for name in measures.POOLED:
        values = measures.pooled(
            study.group, said.training, name, against=study.against, teacher=said.teacher
        )
        yield Cell(None if values is None else number(measures.mean_over(values[:, None])[0]))
    runs = [run for run in study.group.runs if said.training in run.frames]
    yield Cell(number(runs[0].results["trainings"][said.training]["scores"].get("parameters")))


def differences(studies: Sequence[Study]) -> Table | None:
    """Makes the table of paired differences of F1 on the same people; None where nothing can be compared."""
    told = (
        "F1 in points, on the same people. Intervals: 95 % over people; p: whole people change their"
        " methods at random, Holm's correction over units, none for the mean."
    )
    return _differences("differences", "F1", studies, told)


def matched_differences(studies: Sequence[Study]) -> Table | None:
    """Makes the same table at the cuts where as many scored frames are positive as training labels are."""
    told = (
        "F1 in points at matched cuts, which read no label of a scored frame, on the same people. Intervals: 95 %"
        " over people; p: whole people change their methods at random, Holm's correction over units, none for the"
        " mean."
    )
    return _differences("matched_differences", MATCHED, studies, told)


def auc_differences(studies: Sequence[Study]) -> Table | None:
    """Makes the table of paired differences of ROC AUC on the same people; None where nothing can be compared."""
    told = (
        "100 times the difference of ROC AUC, on the same people. Intervals: 95 % over people. No p: a pair of"
        " frames may be of two people, of whom one alone has changed the method."
    )
    return _differences("auc_differences", "ROC AUC", studies, told)


def _differences(name: str, score: str, studies: Sequence[Study], told: str) -> Table | None:
    found, notes = [], []
    for study in studies:
        there = scored(study)
        pairs = [(said, Said("baseline")) for said in there if said.training != "baseline"]
        pairs += [(Said(a), Said(b)) for a, b in _STARTS]
        pairs += [(Said(name), Said(name, teacher=True)) for name in TAUGHT]
        for first, second in pairs:
            own = study.units(first.training)
            if not {first, second} <= set(there) or own != study.units(second.training):
                continue
            title = f"{method_title(first)} - {method_title(second)}, {study.group.title}"
            if score == MATCHED:
                first, second = (said._replace(cut="matched") for said in (first, second))
            compare = study.auc_difference if score == "ROC AUC" else study.difference
            apart = compare(first, second)
            if apart is None:
                notes.append(f"{title}: they have not the same folds, seeds and people")
            else:
                found.append((title, own, apart))
    if not found:
        return None
    units = tuple(dict.fromkeys(au for _, own, _ in found for au in own))
    scale = 100 if score == "ROC AUC" else 1
    rows = [
        Row(title, "ours", tuple(_difference_cells(apart, own, units, scale)))
        for title, own, apart in found
    ]
    title = f"Differences of {score} (points) on the same people"
    return Table(name, title, (*map(str, units), "mean"), tuple(rows), (told, *notes))


def _difference_cells(
    told: intervals.Difference, own: tuple[int, ...], units: tuple[int, ...], scale: int
) -> Iterator[Cell]:
    """Cells of all units of the table, of which a group may lack some, and the mean over its own."""
    told = told._replace(**{name: scale * getattr(told, name) for name in ("value", "low", "high")})
    for au in (*units, None):
        if au is not None and au not in own:
            yield Cell(None, note=f"AU{au} is not among its units")
            continue
        place = len(own) if au is None else own.index(au)
        value, low, high, p, better = (number(column[place]) for column in told)
        few = FEW if value is not None and low is None else ""
        yield Cell(value, low, high, p, better, note=few)


def claims(studies: Sequence[Study]) -> Table | None:
    """Makes the table of the identity probe: in how many frames a vector tells who is in them; None for no probe."""
    rows = []
    for study in studies:
        for said in scored(study):
            folds = measures.probe_folds(study.group, said.training)
            if said.teacher or folds is None:
                continue
            accuracy = of_columns(folds, np.arange(1), resamples=study.resamples)
            chance = measures.probe_chance(study.group, said.training)
            title = f"{method_title(said)}, {study.group.title}"
            rows.append(Row(title, "ours", (accuracy, Cell(chance))))
    if not rows:
        return None
    notes = (
        "A linear classifier is fitted to the encoder's vectors of four of BP4D's tasks and names the"
        " people in the frames of the other four; less is better for a detector of action units.",
    )
    title = "Identity probe (% of frames)"
    return Table("identity_probe", title, ("accuracy", "chance"), tuple(rows), notes)
