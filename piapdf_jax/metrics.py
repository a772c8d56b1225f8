"""Metrics of results tables from scores and labels, in NumPy and float64.

N is the number of frames, C of action units (AUs), K of PI maps. Labels
are 0 (absent), 1 (present) or -1 (unknown); unknown cells count nowhere. A score of AUs is one
number per AU, and ``by_subject`` makes it one per AU and person. Where a score has no value it is nan,
never a number that looks valid: each function says where.
"""

from collections.abc import Callable

import numpy as np
import scipy  # its modules load on first use, which commands that score nothing are spared

from piapdf_jax.action_units import UNKNOWN

_Score = Callable[[np.ndarray, np.ndarray], float]
#: A probability from which an AU counts as predicted: one number, or one for each AU, [C].
Threshold = float | np.ndarray


def _per_au(score: _Score, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A score of one AU's known cells (scores [n] float64, present [n] bool), for each AU."""
    scores, truth = np.asarray(probs, np.float64), np.asarray(labels)
    if scores.shape != truth.shape or scores.ndim != 2:
        raise ValueError(
            f"scores and labels must be equal [N, C], not {scores.shape}, {truth.shape}"
        )
    known = truth != UNKNOWN
    if not np.isin(truth[known], (0, 1)).all() or np.isnan(scores[known]).any():
        raise ValueError("labels must be 0, 1 or -1 (unknown), and no score of a known cell NaN")
    cells = [(scores[rows, c], truth[rows, c] == 1) for c, rows in enumerate(known.T)]
    return np.array([score(*cell) if len(cell[0]) else np.nan for cell in cells], np.float64)


def _said(probs: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Which AUs are predicted, [N, C] float64; nan where the score or the AU's threshold is nan."""
    scores, cut = np.broadcast_arrays(np.asarray(probs, np.float64), threshold)
    return np.where(np.isnan(scores) | np.isnan(cut), np.nan, scores >= cut)


def _counts(said: np.ndarray, true: np.ndarray) -> tuple[float, float, float, float]:
    """TP, FP, FN, TN of boolean [n]; floats, because products of four counts overflow integers."""
    cells = (said & true, said & ~true, ~said & true, ~said & ~true)
    tp, fp, fn, tn = (float(np.count_nonzero(cell)) for cell in cells)
    return tp, fp, fn, tn


def f1(probs: np.ndarray, labels: np.ndarray, *, threshold: Threshold = 0.5) -> np.ndarray:
    """Computes F1 per AU, 2 TP / (2 TP + FP + FN), counts pooled over the known cells of all frames.

    Args:
        probs: [N, C] in [0, 1], or predictions 0 and 1.
        labels: [N, C], 0, 1 or -1.
        threshold: an AU counts as predicted from this probability on.

    Returns:
        [C] float64 in [0, 1]; 0 for an AU that is neither present nor predicted in any known cell,
        so that the mean over AUs stays one over all of them; nan without a known cell.

    Raises:
        ValueError: for other shapes or labels, or NaN among the scores of known cells or the thresholds.
    """

    def score(said: np.ndarray, true: np.ndarray) -> float:
        tp, fp, fn, _ = _counts(said == 1, true)
        return 2 * tp / max(2 * tp + fp + fn, 1)

    return _per_au(score, _said(probs, threshold), labels)


def mean_f1(probs: np.ndarray, labels: np.ndarray) -> float:
    """Returns the plain mean of ``f1`` over AUs in percent, those without a known cell left out; nan without any."""
    return float(100 * np.nanmean(f1(probs, labels)))


def always_yes_f1(labels: np.ndarray) -> np.ndarray:
    """Computes F1 per AU of saying "present" for every frame: 2 r / (1 + r) at base rate r; as ``f1``."""
    return f1(np.ones(np.shape(labels)), labels)


def mcc(probs: np.ndarray, labels: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """Computes the Matthews correlation coefficient per AU.

    (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN)).

    Args:
        probs: [N, C] in [0, 1], or predictions 0 and 1.
        labels: [N, C], 0, 1 or -1.
        threshold: an AU counts as predicted from this probability on.

    Returns:
        [C] float64 in [-1, 1]; 0 where labels or predictions are all alike, nan without a known
        cell.

    Raises:
        ValueError: as ``f1``.
    """

    def score(p: np.ndarray, true: np.ndarray) -> float:
        tp, fp, fn, tn = _counts(p >= threshold, true)
        scale = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return (tp * tn - fp * fn) / scale if scale else 0.0

    return _per_au(score, probs, labels)


def roc_auc(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes the area under the ROC curve per AU: how often a present cell outscores an absent one, ties half.

    Args:
        probs: [N, C], probabilities or any other score.
        labels: [N, C], 0, 1 or -1.

    Returns:
        [C] float64 in [0, 1]; nan for an AU that is always or never present.

    Raises:
        ValueError: as ``f1``.
    """

    def score(p: np.ndarray, true: np.ndarray) -> float:
        positives, negatives = int(true.sum()), int((~true).sum())
        if not positives or not negatives:
            return np.nan
        wins = scipy.stats.rankdata(p)[true].sum() - positives * (positives + 1) / 2
        return wins / (positives * negatives)

    return _per_au(score, probs, labels)


def auprc(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes the area under the precision-recall curve per AU: precision x recall gained, summed by threshold.

    Args:
        probs: [N, C], probabilities or any other score; equal ones are one threshold.
        labels: [N, C], 0, 1 or -1.

    Returns:
        [C] float64 in [0, 1]; nan for an AU that is never present.

    Raises:
        ValueError: as ``f1``.
    """

    def score(p: np.ndarray, true: np.ndarray) -> float:
        if not true.any():
            return np.nan
        order = np.argsort(-p, kind="stable")
        last = np.append(np.flatnonzero(np.diff(p[order])), len(p) - 1)
        hits = np.cumsum(true[order])[last]
        return np.sum(np.diff(hits, prepend=0) * hits / (last + 1)) / hits[-1]

    return _per_au(score, probs, labels)


def calibration_error(probs: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> np.ndarray:
    """Computes the expected calibration error per AU (Guo et al., 2017, for binary outputs).

    The sum over bins of equal width of n_bin / n |mean probability - share present|.

    Args:
        probs: [N, C] in [0, 1].
        labels: [N, C], 0, 1 or -1.
        bins: how many.

    Returns:
        [C] float64 in [0, 1]; nan without a known cell.

    Raises:
        ValueError: as ``f1``, and for probabilities outside [0, 1].
    """

    def score(p: np.ndarray, true: np.ndarray) -> float:
        if p.min() < 0 or p.max() > 1:
            raise ValueError(f"calibration needs probabilities in [0, 1], got {p.min()}, {p.max()}")
        place = np.minimum((p * bins).astype(int), bins - 1)
        return np.abs(np.bincount(place, weights=p - true)).sum() / len(p)

    return _per_au(score, probs, labels)


def base_rates(labels: np.ndarray) -> list[float | None]:
    """Computes the share of present among the known labels of each unit.

    Args:
        labels: [N, C], 1 present, 0 absent, -1 unknown.

    Returns:
        C shares, None for a unit of which no label is known.
    """
    known, present = (labels != UNKNOWN).sum(0), (labels == 1).sum(0)
    return [int(p) / int(k) if k else None for p, k in zip(present, known, strict=True)]


def matching_cut(scores: np.ndarray, rate: float | None) -> tuple[float | None, str]:
    """Finds the cut at which the share of scores that reach it is a base rate, or nearest to it.

    Args:
        scores: [N] float32 in [0, 1].
        rate: wanted share.

    Returns:
        The cut, half way between two scores that occur (the lowest score, where all are to reach
        it), of two as near the lower one; or None and the reason.
    """
    if rate is None:
        return None, "no label of it is known in the training frames"
    if rate == 0:
        return None, "no training frame shows it"
    if not np.isfinite(scores).all():
        return None, "its scores are not all finite"
    values, counts = np.unique(scores.astype(np.float32), return_counts=True)
    reached = counts[::-1].cumsum()[::-1]
    place = int(np.argmin(np.abs(reached - rate * len(scores))))
    if place == 0:
        return float(values[0]), ""
    low, high = (float(value) for value in values[place - 1 : place + 1])
    middle = float(np.float32((low + high) / 2))
    # Between neighbors among the floats there is none.
    return (middle if middle > low else high), ""


def iou(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Computes intersection over union per PI map, pixels pooled over images.

    Args:
        intersection: [N, K] pixels where map and target are both 1.
        union: [N, K] pixels where either is.

    Returns:
        [K] float64 in [0, 1]; nan for a map that is empty on both sides in every image.

    Raises:
        ValueError: for different shapes.
    """
    if np.shape(intersection) != np.shape(union):
        raise ValueError(f"shapes differ: {np.shape(intersection)} and {np.shape(union)}")
    both, either = (np.sum(x, axis=0, dtype=np.float64) for x in (intersection, union))
    return np.divide(both, either, out=np.full_like(both, np.nan), where=either > 0)
