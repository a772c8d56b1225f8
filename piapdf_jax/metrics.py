"""Scores and labels to the numbers of a results table, in NumPy and float64.

N is the number of frames, C of action units (AUs), K of PI maps, F the length of a vector. Labels
are 0 (absent), 1 (present) or -1 (unknown); unknown cells count nowhere. A score of AUs is one
number per AU, and ``by_subject`` makes it one per AU and person. Where a score has no value it is nan,
never a number that looks like one: each function says where.
"""

from collections.abc import Callable

import numpy as np
from scipy import optimize, special, stats

from piapdf_jax.action_units import UNKNOWN

_Score = Callable[[np.ndarray, np.ndarray], float]
#: BP4D's tasks on whose frames the identity probe is fitted; it is scored on those of the other four.
PROBE_TASKS = ("T1", "T2", "T3", "T4")


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


def _counts(said: np.ndarray, true: np.ndarray) -> tuple[float, float, float, float]:
    """TP, FP, FN, TN of boolean [n]; floats, because products of four counts overflow integers."""
    cells = (said & true, said & ~true, ~said & true, ~said & ~true)
    tp, fp, fn, tn = (float(np.count_nonzero(cell)) for cell in cells)
    return tp, fp, fn, tn


def f1(probs: np.ndarray, labels: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """F1 per AU, 2 TP / (2 TP + FP + FN), counts pooled over the known cells of all frames.

    Args:
        probs: [N, C] in [0, 1], or predictions 0 and 1.
        labels: [N, C], 0, 1 or -1.
        threshold: an AU counts as predicted from this probability on.

    Returns:
        [C] float64 in [0, 1]; 0 for an AU that is neither present nor predicted in any known cell,
        so that the mean over AUs stays one over all of them; nan without a known cell.

    Raises:
        ValueError: for other shapes or labels, or NaN among the scores of known cells.
    """

    def score(p: np.ndarray, true: np.ndarray) -> float:
        tp, fp, fn, _ = _counts(p >= threshold, true)
        return 2 * tp / max(2 * tp + fp + fn, 1)

    return _per_au(score, probs, labels)


def mean_f1(probs: np.ndarray, labels: np.ndarray) -> float:
    """Returns the plain mean of ``f1`` over AUs in percent, those without a known cell left out; nan without any."""
    return float(100 * np.nanmean(f1(probs, labels)))


def always_yes_f1(labels: np.ndarray) -> np.ndarray:
    """F1 per AU of saying "present" for every frame: 2 r / (1 + r) at base rate r; as ``f1``."""
    return f1(np.ones(np.shape(labels)), labels)


def mcc(probs: np.ndarray, labels: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """Matthews correlation coefficient per AU.

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
    """Area under the ROC curve per AU: how often a present cell outscores an absent one, ties half.

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
        wins = stats.rankdata(p)[true].sum() - positives * (positives + 1) / 2
        return wins / (positives * negatives)

    return _per_au(score, probs, labels)


def auprc(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve per AU: sum of precision x recall gained, by threshold.

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
    """Expected calibration error per AU (Guo et al., 2017, for binary outputs).

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


def by_subject(
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    probs: np.ndarray,
    labels: np.ndarray,
    subject: np.ndarray,
) -> dict[str, np.ndarray]:
    """A score per AU, such as ``f1``, for each participant alone: {id: [C]}."""
    probs, labels, subject = np.asarray(probs), np.asarray(labels), np.asarray(subject)
    people = np.unique(subject)
    return {str(who): score(probs[subject == who], labels[subject == who]) for who in people}


def iou(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Intersection over union per PI map, pixels pooled over images.

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


def ten_fold_verification(
    similarity: np.ndarray, same: np.ndarray, block: np.ndarray
) -> tuple[float, float]:
    """Pair verification by LFW's protocol, view 2 (Huang et al., 2007).

    For each block, the threshold that is best on all others, scored on that one.

    Args:
        similarity: [P] of pairs, larger for more alike.
        same: [P], 1 where both pictures show one person.
        block: [P], which block a pair belongs to; LFW has ten.

    Returns:
        Mean and (population) standard deviation of the blocks' accuracies, in [0, 1].

    Raises:
        ValueError: for a single block, or NaN among the similarities.
    """
    similarity, same = np.asarray(similarity, np.float64), np.asarray(same) > 0
    block = np.asarray(block)
    blocks = np.unique(block)
    if len(blocks) < 2 or np.isnan(similarity).any():
        raise ValueError(f"verification needs two blocks or more and no NaN; blocks: {blocks}")
    accuracies = []
    for test in (block == held_out for held_out in blocks):
        threshold = _best_threshold(similarity[~test], same[~test])
        accuracies.append(np.mean((similarity[test] >= threshold) == same[test]))
    return float(np.mean(accuracies)), float(np.std(accuracies))


def _best_threshold(similarity: np.ndarray, same: np.ndarray) -> float:
    """Where most pairs are right: midway between two neighbouring values, the lowest of equals."""
    values, place = np.unique(similarity, return_inverse=True)
    yes = np.bincount(place, weights=same, minlength=len(values))
    no = np.bincount(place, weights=~same, minlength=len(values))
    # Right answers with the threshold just below value i, and above them all.
    right = np.append(yes[::-1].cumsum()[::-1], 0) + np.insert(no.cumsum(), 0, 0)
    edges = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    return float(edges[right.argmax()])


def identity_probe(
    vectors: np.ndarray,
    subject: np.ndarray,
    task: np.ndarray,
    *,
    fit_tasks: tuple[str, ...] = PROBE_TASKS,
    ridge: float = 1e-2,
) -> tuple[float, float]:
    """How well multinomial logistic regression reads from the encoder's vectors who is in a frame.

    Minimises mean cross-entropy + ridge / 2 |W|^2 on vectors standardised by the mean and deviation
    of the fitted frames, from zero by L-BFGS: the same numbers for the same vectors.

    Args:
        vectors: [N, F], finite.
        subject: [N] participant ids.
        task: [N] task ids.
        fit_tasks: tasks whose frames it is fitted on; it is scored on the frames of all others.
        ridge: weight of the penalty, which leaves out the bias.

    Returns:
        Accuracy, and chance: 1 / number of people among the fitted frames. A scored frame of
        somebody who is not among them counts as wrong.

    Raises:
        ValueError: where the fitted frames show fewer than two people, no frame is left to score,
            or a vector is not finite.
    """
    vectors, subject = np.asarray(vectors, np.float64), np.asarray(subject)
    fit = np.isin(task, fit_tasks)
    people, who = np.unique(subject[fit], return_inverse=True)
    if len(people) < 2 or fit.all() or not np.isfinite(vectors).all():
        raise ValueError(
            f"the identity probe needs finite vectors, two people in tasks {'/'.join(fit_tasks)} and"
            f" frames of other tasks, but got {len(people)} people and {(~fit).sum()} other frames"
        )
    mean, scale = vectors[fit].mean(axis=0), vectors[fit].std(axis=0)
    # A unit that never moves tells nothing, and dividing by its rounding error would blow it up.
    x = (vectors - mean) / np.where(scale > 1e-9 * np.abs(mean), scale, np.inf)
    weights, bias = _logistic_regression(x[fit], np.eye(len(people))[who], ridge)
    said = people[np.argmax(x[~fit] @ weights + bias, axis=1)]
    return float(np.mean(said == subject[~fit])), 1 / len(people)


def _logistic_regression(
    x: np.ndarray, target: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [F, people] and bias [people] from vectors [n, F] and one-hot targets [n, people]."""
    shape = (x.shape[1] + 1, target.shape[1])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = np.split(flat.reshape(shape), [-1])
        logits = x @ weights + bias
        loss = -np.sum(special.log_softmax(logits, axis=1) * target) / len(x)
        residual = (special.softmax(logits, axis=1) - target) / len(x)
        slope = np.vstack([x.T @ residual + ridge * weights, residual.sum(axis=0)[None]])
        return float(loss + ridge / 2 * np.sum(weights**2)), slope.ravel()

    options = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-6}
    start = np.zeros(shape[0] * shape[1])
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    weights, bias = np.split(found.x.reshape(shape), [-1])
    return weights, bias[0]


def mutual_information(subject: np.ndarray, label: np.ndarray) -> float:
    """Mutual information of person and label of one AU over its known frames, in bits.

    H(person) + H(label) - H(person, label), each with the correction of Miller and Madow (1955),
    which takes out most of the bias that few frames a person bring.

    Args:
        subject: [N] participant ids.
        label: [N], 0, 1 or -1.

    Returns:
        Bits, not below 0; nan without a known frame.
    """
    known = np.asarray(label) != UNKNOWN
    if not known.any():
        return np.nan
    _, who = np.unique(np.asarray(subject)[known], return_inverse=True)
    table = np.zeros((who.max() + 1, 2))
    np.add.at(table, (who, (np.asarray(label)[known] > 0).astype(int)), 1)

    def entropy(counts: np.ndarray) -> float:
        bias = (np.count_nonzero(counts) - 1) / (2 * counts.sum())
        return float(special.entr(counts / counts.sum()).sum() + bias)

    nats = entropy(table.sum(axis=1)) + entropy(table.sum(axis=0)) - entropy(table)
    return max(0.0, nats / np.log(2))
