"""Every number of a results table from gathered arrays, numpy alone (scipy for two optimisations).

N is the number of frames, C of action units. Labels are 0, 1 or negative for unknown; unknown cells count nowhere.
An action unit without a known positive has no recall: its F1, AUPRC and ROC-AUC are defined as 0, 0 and 0.5.
"""

from collections.abc import Callable

import numpy as np


def _columns(score: Callable, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Applies a score to the known cells of each action unit."""
    probs, labels = np.asarray(probs, np.float64), np.asarray(labels)
    if probs.shape != labels.shape or probs.ndim != 2:
        raise ValueError(f"expected equal [N, C], got {probs.shape} and {labels.shape}")
    known = labels >= 0
    each = range(labels.shape[1])
    return np.array([score(probs[known[:, c], c], labels[known[:, c], c] > 0) for c in each])


def _counts(said: np.ndarray, true: np.ndarray) -> tuple[int, int, int, int]:
    return (
        int((said & true).sum()),
        int((said & ~true).sum()),
        int((~said & true).sum()),
        int((~said & ~true).sum()),
    )


def f1(probs: np.ndarray, labels: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """F1 = 2 TP / (2 TP + FP + FN) per action unit, counts pooled over all frames.

    Args:
        probs: [N, C] in [0, 1].
        labels: [N, C]; negative for unknown.
        threshold: an action unit is said to be present from here on.

    Returns:
        [C] in [0, 1]; 0 where there is neither a positive nor a prediction of one.
    """

    def score(p: np.ndarray, true: np.ndarray) -> float:
        tp, fp, fn, _ = _counts(p >= threshold, true)
        return 2 * tp / max(2 * tp + fp + fn, 1)

    return _columns(score, probs, labels)


def always_yes_f1(labels: np.ndarray) -> np.ndarray:
    """F1 of saying "present" for every frame, [C]: 2 r / (1 + r) for base rate r."""
    return f1(np.ones(np.shape(labels)), labels)


def roc_auc(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Area under the ROC curve per action unit: P(positive above negative), ties half; [C]."""
    from scipy.stats import rankdata

    def score(p: np.ndarray, true: np.ndarray) -> float:
        positives, negatives = int(true.sum()), int((~true).sum())
        if not positives or not negatives:
            return 0.5
        ranks = rankdata(p)[true].sum() - positives * (positives + 1) / 2
        return float(ranks / (positives * negatives))

    return _columns(score, probs, labels)


def auprc(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision per action unit: sum of precision times gain in recall over thresholds; [C]."""

    def score(p: np.ndarray, true: np.ndarray) -> float:
        if not true.any():
            return 0.0
        order = np.argsort(-p, kind="stable")
        p, hits = p[order], np.cumsum(true[order])
        last = np.append(np.nonzero(np.diff(p))[0], len(p) - 1)  # equal scores are one threshold
        precision, recall = hits[last] / (last + 1), hits[last] / true.sum()
        return float(np.sum(np.diff(recall, prepend=0.0) * precision))

    return _columns(score, probs, labels)


def mcc(probs: np.ndarray, labels: np.ndarray, *, threshold: float = 0.5) -> np.ndarray:
    """Matthews correlation coefficient per action unit, [C] in [-1, 1]; 0 where it is undefined."""

    def score(p: np.ndarray, true: np.ndarray) -> float:
        tp, fp, fn, tn = _counts(p >= threshold, true)
        scale = np.sqrt(float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return float((tp * tn - fp * fn) / scale) if scale else 0.0

    return _columns(score, probs, labels)


def calibration_error(probs: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> np.ndarray:
    """Expected calibration error per action unit: mean |said - seen| over equal bins by weight; [C]."""

    def score(p: np.ndarray, true: np.ndarray) -> float:
        if not len(p):
            return 0.0
        place = np.minimum((p * bins).astype(int), bins - 1)
        gaps = [abs(p[place == b].sum() - true[place == b].sum()) for b in np.unique(place)]
        return float(sum(gaps) / len(p))

    return _columns(score, probs, labels)


def by_subject(
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    probs: np.ndarray,
    labels: np.ndarray,
    subject: np.ndarray,
) -> dict[str, np.ndarray]:
    """A score per action unit, for each participant by itself."""
    people = np.unique(subject)
    return {str(who): score(probs[subject == who], labels[subject == who]) for who in people}


def iou(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Intersection over union per map, pixels pooled over images.

    Args:
        intersection: [N, K] pixels.
        union: [N, K] pixels.

    Returns:
        [K] in [0, 1]; 1 for a map that is empty on both sides everywhere.
    """
    both, either = np.sum(intersection, axis=0), np.sum(union, axis=0)
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def ten_fold_verification(
    similarity: np.ndarray, same: np.ndarray, block: np.ndarray
) -> tuple[float, float]:
    """Pair verification as LFW's view 2 has it: threshold chosen on nine blocks, accuracy on the tenth.

    Args:
        similarity: [P], larger for more alike.
        same: [P], 1 where both pictures show one person.
        block: [P], which block a pair belongs to.

    Returns:
        Mean and standard deviation of the blocks' accuracies.
    """
    similarity, same = np.asarray(similarity, np.float64), np.asarray(same) > 0
    accuracies = []
    for held_out in np.unique(block):
        test = block == held_out
        threshold = _best_threshold(similarity[~test], same[~test])
        accuracies.append(float(((similarity[test] >= threshold) == same[test]).mean()))
    return float(np.mean(accuracies)), float(np.std(accuracies))


def _best_threshold(similarity: np.ndarray, same: np.ndarray) -> float:
    values, place = np.unique(similarity, return_inverse=True)
    yes = np.bincount(place, weights=same, minlength=len(values))
    no = np.bincount(place, weights=~same, minlength=len(values))
    # Right answers with the threshold just below value i, and above them all.
    right = np.append(yes[::-1].cumsum()[::-1], 0) + np.insert(no.cumsum(), 0, 0)
    best = int(right.argmax())
    edges = np.concatenate([values[:1] - 1, (values[1:] + values[:-1]) / 2, values[-1:] + 1])
    return float(edges[best])


def identity_probe(
    vectors: np.ndarray, subject: np.ndarray, task: np.ndarray, *, ridge: float = 1e-2
) -> tuple[float, float]:
    """How much of who is in the picture a linear model reads off the encoder's vectors.

    Multinomial logistic regression on vectors standardised by the frames it is fitted on: fitted on the first half of
    the tasks in order (T1 to T4), scored on the others.

    Args:
        vectors: [N, F].
        subject: [N] participant ids.
        task: [N] task ids.
        ridge: weight of half the squared norm of the coefficients, per frame.

    Returns:
        Accuracy, and chance: one over the number of people.

    Raises:
        ValueError: for fewer than two tasks or two people.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

    people, who = np.unique(subject, return_inverse=True)
    tasks = np.unique(task)
    if len(tasks) < 2 or len(people) < 2:
        raise ValueError("the identity probe needs at least two tasks and two people")
    fit = np.isin(task, tasks[: (len(tasks) + 1) // 2])
    mean, scale = vectors[fit].mean(0, dtype=np.float64), vectors[fit].std(0, dtype=np.float64)
    x = (vectors - mean) / np.where(scale > 0, scale, 1)
    x = np.column_stack([x, np.ones(len(x))])
    shape, target = (x.shape[1], len(people)), np.eye(len(people))[who[fit]]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(shape)
        penalised = np.vstack([weights[:-1], np.zeros_like(weights[-1:])])
        logits = x[fit] @ weights
        value = -(log_softmax(logits, axis=1) * target).sum(1).mean()
        slope = x[fit].T @ (softmax(logits, axis=1) - target) / fit.sum()
        return value + ridge / 2 * (penalised**2).sum(), (slope + ridge * penalised).ravel()

    start = np.zeros(shape[0] * shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    said = (x[~fit] @ found.x.reshape(shape)).argmax(1)
    return float((said == who[~fit]).mean()), 1 / len(people)


def mutual_information(subject: np.ndarray, label: np.ndarray) -> float:
    """Mutual information of person and one action unit's label over the known frames, in bits.

    With the Miller-Madow correction, which takes out most of the bias of few frames a person; not below 0.

    Args:
        subject: [N] participant ids.
        label: [N] 0, 1 or negative.
    """
    known = np.asarray(label) >= 0
    _, who = np.unique(np.asarray(subject)[known], return_inverse=True)
    table = np.zeros((who.max() + 1, 2))
    np.add.at(table, (who, (np.asarray(label)[known] > 0).astype(int)), 1)

    def entropy(counts: np.ndarray) -> float:
        share = counts[counts > 0] / counts.sum()
        return float(-(share * np.log(share)).sum() + (len(share) - 1) / (2 * counts.sum()))

    nats = entropy(table.sum(1)) + entropy(table.sum(0)) - entropy(table.ravel())
    return max(0.0, nats / np.log(2))
