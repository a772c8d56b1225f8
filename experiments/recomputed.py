"""Recomputes scores of runs from files of frames, with scikit-learn and SciPy, to check the tables.

Nothing here calls what makes the tables: neither its metrics nor its intervals. S is the number of seeds of a fold, P
of its people, C of action units.
"""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from experiments.report_types import Group

#: Standard errors of what is drawn; a report has about a thousand such numbers.
Z = 5.0
_BINS = 15
_FEW = 5


class CheckError(ValueError):
    """What a check needs is not there."""


class Sums(NamedTuple):
    """One fold by person: ids [P]; scores [S, C] of all its people; [S, P, C, 3] numerator, denominator, evidence."""

    ids: np.ndarray
    scores: np.ndarray
    sums: np.ndarray

    def drawn(self, who: np.ndarray) -> np.ndarray:
        """Computes scores of people [batch, how many], of whom some come more than once: [S, batch, C]."""
        return ratio(summed(self.sums, who))


class Draws(NamedTuple):
    """How often was drawn: for the printed numbers, and for the check."""

    printed: int
    check: int

    def margin(self, share: np.ndarray | float) -> np.ndarray:
        """Computes how far two estimates of a share may lie apart."""
        least, each = 1 / min(self), sum(1 / number for number in self)
        return Z * np.sqrt(np.maximum(share * (1 - np.asarray(share)), least) * each) + each


def sklearn_metrics() -> Any:
    """Imports scikit-learn's metrics.

    Raises:
        CheckError: where it is not installed.
    """
    try:
        return importlib.import_module("sklearn.metrics")
    except ModuleNotFoundError as error:
        raise CheckError(
            "--check needs scikit-learn, which is in the extra 'parity': make parity, or pip install scikit-learn"
        ) from error


def stored_frames(group: Group, training: str) -> dict[int, list[dict[str, np.ndarray]]]:
    """Reads a training's ``frames.npz`` of all runs of a group: by fold, the seeds in the group's order."""
    found: dict[int, list[dict[str, np.ndarray]]] = {}
    for run in group.runs:
        if (table := run.frames.get(training)) is not None:
            path = run.folder / training / table.digest / "frames.npz"
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
                found.setdefault(run.fold, []).append({key: stored[key] for key in stored.files})
    return dict(sorted(found.items()))


def mean(values: Any, axis: int = 0) -> np.ndarray:
    """Computes the mean of what is a number; nan for nothing."""
    told = np.asarray(values, np.float64)
    there = ~np.isnan(told)
    total, count = np.where(there, told, 0).sum(axis=axis), there.sum(axis=axis)
    return np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0)


def matched_cut(probs: np.ndarray, rate: float) -> float:
    """Finds a cut that as near a share of probabilities as can be reaches, the lower of two; nan for none."""
    if np.isnan(rate) or rate == 0 or not np.isfinite(probs).all():
        return np.nan
    there = np.unique(probs)
    above = (
        1 - stats.ecdf(probs).cdf.evaluate(there) + np.array([(probs == v).mean() for v in there])
    )
    gap = np.round(np.abs(above - rate) * len(probs), 6)
    return float(there[np.flatnonzero(gap == gap.min())[0]])


def _cuts(frames: dict[str, np.ndarray], probs: np.ndarray, cut: str) -> np.ndarray:
    if cut == "matched":
        return np.array(
            [matched_cut(*both) for both in zip(probs.T, frames["base_rates"], strict=True)]
        )
    if cut == "model":
        return frames["cuts"]
    return np.full(probs.shape[1], 0.5 if cut == "half" else -np.inf)


def f1_sums(frames: dict[str, np.ndarray], labels: np.ndarray, probs: np.ndarray, cut: str) -> Sums:
    """Scores one seed of a fold by F1 in percent, and counts its people."""
    told, cuts = sklearn_metrics(), _cuts(frames, probs, cut)
    ids, who = np.unique(frames["subject"], return_inverse=True)
    scores = np.full(len(cuts), np.nan)
    sums = np.zeros((len(ids), len(cuts), 3))
    for unit, at in enumerate(cuts):
        known, said = labels[:, unit] >= 0, probs[:, unit] >= at
        if (
            np.isnan(at)
            or not np.isfinite(probs[:, unit]).all()
            or not (labels[:, unit] == 1).any()
        ):
            continue
        truth, said, people = labels[known, unit].astype(int), said[known].astype(int), who[known]
        scores[unit] = 100 * told.f1_score(truth, said, zero_division=0)
        for place, one in enumerate((200 * truth * said, truth + said, truth)):
            sums[:, unit, place] = np.bincount(people, weights=one, minlength=len(ids))
    return Sums(ids, scores[None], sums[None])


def probe_sums(frames: dict[str, np.ndarray]) -> Sums:
    """Scores one seed's identity probe in percent, and counts its people."""
    scored = frames["probe_correct"] >= 0
    ids, who = np.unique(frames["subject"], return_inverse=True)
    right = frames["probe_correct"][scored].astype(int)
    accuracy = sklearn_metrics().accuracy_score(np.ones_like(right), right)
    by = [
        np.bincount(who[scored], weights=w, minlength=len(ids))
        for w in (100.0 * right, 0 * right + 1)
    ]
    sums = np.stack([by[0], by[1], by[1]], axis=-1)
    return Sums(ids, np.array([[100 * accuracy]]), sums[None, :, None])


def pooled(labels: np.ndarray, probs: np.ndarray) -> dict[str, np.ndarray]:
    """Computes what needs no people, [C] each: ``ROC AUC``, ``AUPRC``, ``MCC`` and ``calibration``."""
    told = sklearn_metrics()
    names = ("ROC AUC", "AUPRC", "MCC", "calibration")
    found = {name: np.full(labels.shape[1], np.nan) for name in names}
    for unit in range(labels.shape[1]):
        known = labels[:, unit] >= 0
        truth, p = labels[known, unit], probs[known, unit].astype(np.float64)
        if not np.isfinite(probs[:, unit]).all() or not len(truth):
            continue
        found["calibration"][unit] = _calibration(truth, p)
        if (truth == 1).any():
            found["AUPRC"][unit] = told.average_precision_score(truth, p)
        if len(np.unique(truth)) == 2:
            found["ROC AUC"][unit] = told.roc_auc_score(truth, p)
            found["MCC"][unit] = told.matthews_corrcoef(truth, p >= 0.5)
    return found


def _calibration(truth: np.ndarray, p: np.ndarray) -> float:
    gaps, _, _ = stats.binned_statistic(p, p - truth, statistic="sum", bins=_BINS, range=(0, 1))
    return float(np.abs(gaps).sum() / len(p))


def joined(seeds: Sequence[Sums]) -> Sums:
    """Joins the seeds of a fold, which have the same people."""
    return Sums(
        seeds[0].ids,
        *(np.concatenate([getattr(s, key) for s in seeds]) for key in ("scores", "sums")),
    )


def with_mean(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Computes means over folds of scores [..., C], and appends that over units: [..., C + 1]."""
    units = mean(np.stack(scores), 0)
    return np.concatenate([units, mean(units, -1)[..., None]], axis=-1)


def value(folds: Sequence[Any]) -> np.ndarray:
    """Computes a study's scores, [C + 1]."""
    return with_mean([mean(fold.scores) for fold in folds])


def shown(folds: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Counts frames and people who show each unit, [C] each."""
    counts = [fold.sums[0, ..., 2] for fold in folds]
    return sum(np.sum(c, 0) for c in counts), sum(np.sum(c > 0, 0) for c in counts)  # type: ignore[return-value]


def few(folds: Sequence[Any]) -> np.ndarray:
    """Tells where fewer than five people say something, [C + 1]."""
    return np.append(shown(folds)[1], sum(len(fold.ids) for fold in folds)) < _FEW


def ratio(sums: np.ndarray) -> np.ndarray:
    """Computes ratios [...] of sums [..., 3]; nan without evidence."""
    shows = sums[..., 2] > 0
    return np.divide(sums[..., 0], sums[..., 1], out=np.full(shows.shape, np.nan), where=shows)


def times(who: np.ndarray, people: int) -> np.ndarray:
    """Counts how often each of some people comes in [batch, how many]: [batch, P] float64."""
    return np.stack([(who == one).sum(axis=1) for one in range(people)], axis=1).astype(np.float64)


def summed(sums: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Returns sums of people [batch, how many], of whom some come more than once: [S, batch, C, 3]."""
    seeds, people, *rest = sums.shape
    flat = times(who, people) @ sums.reshape(seeds, people, -1)
    return flat.reshape(seeds, len(who), *rest)
