"""Metrics of identity: pair verification and the identity probe.

N is the number of frames, P of pairs, F the length of a vector.
"""

from typing import NamedTuple

import numpy as np
import scipy  # its modules load on first use

#: BP4D's tasks on whose frames the identity probe is fitted; it is scored on those of the other four.
PROBE_TASKS = ("T1", "T2", "T3", "T4")


class Probe(NamedTuple):
    """Result of the identity probe.

    Attributes:
        accuracy: share of right frames among those scored, in [0, 1].
        chance: 1 / number of people among the fitted frames.
        correct: [N] int8, whether the right person is named: 1, 0, -1 for a frame of the fit.
    """

    accuracy: float
    chance: float
    correct: np.ndarray


class Verification(NamedTuple):
    """Result of pair verification.

    Attributes:
        accuracy: mean of the blocks' accuracies, in [0, 1].
        deviation: their (population) standard deviation, as the field prints it.
        blocks: [number of blocks] accuracy of each, in the order of their numbers.
        low: lower end of the 95 % interval of the mean over blocks.
        high: its upper end.
    """

    accuracy: float
    deviation: float
    blocks: np.ndarray
    low: float
    high: float


def ten_fold_verification(
    similarity: np.ndarray, same: np.ndarray, block: np.ndarray
) -> Verification:
    """Verifies pairs by LFW's protocol, view 2 (Huang et al., 2007).

    For each block, the threshold that is best on all others, scored on that one.

    Args:
        similarity: [P] of pairs, larger for more alike.
        same: [P], 1 where both pictures show one person.
        block: [P], which block a pair belongs to; LFW has ten.

    Returns:
        The accuracies. The interval is Student's, mean -+ t s / sqrt(n) with n - 1 degrees of freedom, cut to [0, 1];
        blocks show other people, but share most of the pairs that choose their thresholds.

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
    mean, error = np.mean(accuracies), np.std(accuracies, ddof=1) / np.sqrt(len(blocks))
    reach = scipy.special.stdtrit(len(blocks) - 1, 0.975) * error
    low, high = np.clip((mean - reach, mean + reach), 0, 1)
    deviation = float(np.std(accuracies))
    return Verification(float(mean), deviation, np.array(accuracies), float(low), float(high))


def _best_threshold(similarity: np.ndarray, same: np.ndarray) -> float:
    """Where most pairs are right: midway between two neighboring values, the lowest of equals."""
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
) -> Probe:
    """Measures how well multinomial logistic regression reads from the encoder's vectors who is in a frame.

    Minimizes mean cross-entropy + ridge / 2 |W|^2 on vectors standardized by the mean and deviation
    of the fitted frames, from zero by L-BFGS: the same numbers for the same vectors.

    Args:
        vectors: [N, F], finite.
        subject: [N] participant ids.
        task: [N] task ids.
        fit_tasks: tasks whose frames it is fitted on; it is scored on the frames of all others.
        ridge: weight of the penalty, which leaves out the bias.

    Returns:
        Accuracy, chance, and what came of each frame. A scored frame of somebody who is not among the
        people of the fit counts as wrong.

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
    correct = np.full(len(subject), -1, np.int8)
    correct[~fit] = said == subject[~fit]
    return Probe(float(np.mean(correct[~fit])), 1 / len(people), correct)


def _logistic_regression(
    x: np.ndarray, target: np.ndarray, ridge: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights [F, people] and bias [people] from vectors [n, F] and one-hot targets [n, people]."""
    shape = (x.shape[1] + 1, target.shape[1])

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = np.split(flat.reshape(shape), [-1])
        logits = x @ weights + bias
        loss = -np.sum(scipy.special.log_softmax(logits, axis=1) * target) / len(x)
        residual = (scipy.special.softmax(logits, axis=1) - target) / len(x)
        slope = np.vstack([x.T @ residual + ridge * weights, residual.sum(axis=0)[None]])
        return float(loss + ridge / 2 * np.sum(weights**2)), slope.ravel()

    options = {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-6}
    start = np.zeros(shape[0] * shape[1])
    found = scipy.optimize.minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    weights, bias = np.split(found.x.reshape(shape), [-1])
    return weights, bias[0]
