"""Turns tables of test frames into sums over people, by fold and seed, from which scores are computed."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments import au_scores
from experiments.frame_table import FrameTable
from experiments.report_types import Group
from piapdf_jax import metrics
from piapdf_jax.action_units import UNKNOWN
from piapdf_jax.person_sums import (
    AnyFold,
    Fold,
    PairFold,
    auc_pairs,
    f1_sums,
    of_seeds,
    share_sums,
)

#: How a unit is said to be there: from 0.5 on; from the cut at which as many of the *scored* frames are positive as
#: training labels are; from the cut of ``model.json``, which does that on the training frames; always.
CUTS = ("half", "matched", "model", "always")


def labels_of(table: FrameTable, against: str) -> np.ndarray | None:
    """Returns published or true labels; None where the latter are not known."""
    return table.coded if against == "published" else table.true


def probs_of(table: FrameTable, teacher: bool) -> np.ndarray | None:
    """Returns the probabilities of an export, or of the teacher beside it; None for no teacher."""
    return table.teacher_probs if teacher else table.probs


def cuts_of(table: FrameTable, probs: np.ndarray, cut: str) -> np.ndarray:
    """Returns the probability from which each unit counts as present, [C]; nan for none."""
    if cut == "matched":
        return au_scores.matched_cuts(probs, table.base_rates, table.aus)[0]
    if cut == "model":
        return table.cuts
    # Probabilities are 0 at least.
    return np.full(len(table.aus), {"half": 0.5, "always": 0.0}[cut])


def tables_of(group: Group, training: str) -> dict[int, list[FrameTable]]:
    """Returns a training's tables of frames, the seeds of each fold."""
    found: dict[int, list[FrameTable]] = {}
    for run in group.runs:
        if training in run.frames:
            found.setdefault(run.fold, []).append(run.frames[training])
    return dict(sorted(found.items()))


def f1_folds(
    group: Group, training: str, *, against: str, cut: str = "half", teacher: bool = False
) -> list[Fold] | None:
    """Counts a training's test frames by person.

    Args:
        group: of runs.
        training: its name.
        against: ``published`` or ``true`` labels.
        cut: one of ``CUTS``.
        teacher: what the teacher says, instead of its student.

    Returns:
        By fold; None where no fold has such scores. A fold without them is left out.
    """

    def fold_of(table: FrameTable) -> Fold | None:
        labels, probs = labels_of(table, against), probs_of(table, teacher)
        if labels is None or probs is None:
            return None
        cuts = cuts_of(table, probs, cut)
        fold = f1_sums(probs >= cuts, labels, table.subject)
        # Nothing is said at no cut, or by what is no number; that is no score, and not one of 0.
        silent = np.isnan(cuts) | ~np.isfinite(probs).all(axis=0)
        return fold._replace(sums=np.where(silent[:, None], 0.0, fold.sums))

    return _by_fold(group, training, fold_of)


def auc_folds(
    group: Group, training: str, *, against: str, teacher: bool = False
) -> list[PairFold] | None:
    """Counts the pairs of a training's test frames by their people, for ROC AUC; arguments as ``f1_folds``."""

    def fold_of(table: FrameTable) -> PairFold | None:
        labels, probs = labels_of(table, against), probs_of(table, teacher)
        if labels is None or probs is None:
            return None
        silent = ~np.isfinite(probs).all(axis=0)
        return auc_pairs(
            np.where(silent, 0, probs), np.where(silent, UNKNOWN, labels), table.subject
        )

    return _by_fold(group, training, fold_of)


def _by_fold(
    group: Group, training: str, fold_of: Callable[[FrameTable], AnyFold | None]
) -> list[AnyFold] | None:
    """The folds that have some seed, their seeds joined; None for none."""
    found = []
    for tables in tables_of(group, training).values():
        seeds = [fold for fold in map(fold_of, tables) if fold is not None]
        if seeds:
            found.append(of_seeds(seeds))
    return found or None


def probe_folds(group: Group, training: str) -> list[Fold] | None:
    """Sums the frames in which the identity probe names the right person, in percent; None for no probe."""

    def fold_of(table: FrameTable) -> Fold | None:
        if table.probe_correct is None:
            return None
        right = table.probe_correct[:, None]
        return share_sums(100 * right, right >= 0, table.subject)

    return _by_fold(group, training, fold_of)


def probe_chance(group: Group, training: str) -> float | None:
    """Returns the probe's chance in percent, the mean over folds; None for no probe."""
    chances = [
        100 * table.probe_chance
        for tables in tables_of(group, training).values()
        for table in tables[:1]
        if table.probe_correct is not None
    ]
    return float(np.mean(chances)) if chances else None


def base_rates(group: Group, training: str) -> np.ndarray:
    """Returns the share of present among the known training labels of each unit, mean over folds, [C]; nan for none."""
    return mean_over([tables[0].base_rates for tables in tables_of(group, training).values()])


#: Scores that are made of no sums over people: by name, probabilities and labels -> [C].
POOLED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "auprc": metrics.auprc,
    "mcc": metrics.mcc,
    "calibration_error": metrics.calibration_error,
}


def pooled(
    group: Group, training: str, name: str, *, against: str, teacher: bool = False
) -> np.ndarray | None:
    """Computes a score of pooled frames: means over seeds and folds, [C]; None where nothing is scored.

    Args:
        group: of runs.
        training: its name.
        name: key of ``POOLED``.
        against: ``published`` or ``true`` labels.
        teacher: what the teacher says, instead of its student.
    """
    folds = []
    for tables in tables_of(group, training).values():
        seeds = []
        for table in tables:
            labels, probs = labels_of(table, against), probs_of(table, teacher)
            if labels is not None and probs is not None:
                finite = np.isfinite(probs).all(axis=0)
                values = POOLED[name](np.where(finite, probs, 0), labels)
                seeds.append(np.where(finite, _where_told(name, labels, values), np.nan))
        if seeds:
            folds.append(mean_over(seeds))
    return mean_over(folds) if folds else None


def _where_told(name: str, labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Blanks units of whose labels a score says nothing, as ``au_scores`` does."""
    told = (labels >= 0).any(axis=0)
    if name != "calibration_error":
        told = (labels == 1).any(axis=0)
    if name == "mcc":
        told &= (labels == 0).any(axis=0)
    return np.where(told, values, np.nan)


def mean_over(rows: Any) -> np.ndarray:
    """Computes the mean over rows of what is not nan, [C]; nan for nothing."""
    values = np.asarray(rows, np.float64)
    count = (~np.isnan(values)).sum(axis=0)
    return np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)
