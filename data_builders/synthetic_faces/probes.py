"""Probes of the synthetic faces: scores of trivial methods, and information of a person about the labels."""

import numpy as np

_PENALTIES = 10.0 ** np.arange(-1, 4.5, 0.5)
_THRESHOLDS = np.arange(0.1, 0.61, 0.05)


def f1(truth: np.ndarray, said: np.ndarray) -> float:
    """Computes the mean over columns of F1 in percent; [N, A] of 0 and 1 both."""
    truth, said = truth.astype(bool), said.astype(bool)
    both = 2 * (truth & said).sum(0)
    return float(100 * np.mean(both / np.maximum(truth.sum(0) + said.sum(0), 1)))


def ridge_scores(
    pixels: np.ndarray, labels: np.ndarray, group: np.ndarray, test: np.ndarray, truth: np.ndarray
) -> tuple[float, float, float]:
    """Fits linear regression on pixels, its penalty and threshold chosen on the training people.

    Args:
        pixels: [N, D] float, training pictures.
        labels: [N, A], 0 or 1 as published; unknown cells count as 0.
        group: [N], 0 or 1: the half of the people that a frame belongs to, for two-fold tuning.
        test: [M, D] float, test pictures.
        truth: [M, A], 0 or 1, their true labels.

    Returns:
        Mean F1 on the test pictures in percent: at threshold 0.5 with the penalty tuned for it, at the tuned
        threshold and penalty, and at the best penalty and threshold of all, chosen on the test pictures.
    """
    wanted = (labels == 1).astype(np.float64)
    held = {penalty: np.zeros_like(wanted) for penalty in _PENALTIES}
    for half in (0, 1):
        rows = group == half
        fitted = _ridge(pixels[~rows], wanted[~rows], pixels[rows])
        for penalty, guess in fitted.items():
            held[penalty][rows] = guess
    final = _ridge(pixels, wanted, test)
    plain = max(_PENALTIES, key=lambda p: f1(wanted, held[p] > 0.5))
    choices = [(p, t) for p in _PENALTIES for t in _THRESHOLDS]
    penalty, threshold = max(choices, key=lambda c: f1(wanted, held[c[0]] > c[1]))
    oracle = max(f1(truth, final[p] > t) for p, t in choices)
    return f1(truth, final[plain] > 0.5), f1(truth, final[penalty] > threshold), oracle


def _ridge(x: np.ndarray, y: np.ndarray, test: np.ndarray) -> dict[float, np.ndarray]:
    """{penalty: predictions [M, A]} of ridge regression, in closed form by one eigendecomposition."""
    middle, mean = x.mean(0), y.mean(0)
    centered = x - middle
    values, vectors = np.linalg.eigh(centered.T @ centered)
    turned = vectors.T @ (centered.T @ (y - mean))
    basis = (test - middle) @ vectors
    return {
        penalty: basis @ (turned / (values + penalty)[:, None]) + mean for penalty in _PENALTIES
    }


def person_information(
    labels: np.ndarray, person: np.ndarray, sequence: np.ndarray, *, deals: int = 20
) -> float:
    """Computes mutual information of person and label, mean over AUs.

    I = H(label) - H(label | person), less what remains when whole sequences are dealt to people at random: frames
    of a sequence resemble each other, so that the plug-in estimate is far from 0 for people who are all alike.

    Args:
        labels: [N, A], 0 or 1.
        person: [N] int.
        sequence: [N] int, from 0; one person each.
        deals: random deals to average over.

    Returns:
        Bits.
    """
    rng = np.random.default_rng(0)
    owner = np.zeros(sequence.max() + 1, np.int64)
    owner[sequence] = person
    found = _information(labels, person)
    chance = [_information(labels, rng.permutation(owner)[sequence]) for _ in range(deals)]
    return float(found - np.mean(chance))


def _information(labels: np.ndarray, person: np.ndarray) -> float:
    counts = np.bincount(person)
    keep = counts > 0
    sums = np.stack([np.bincount(person, labels[:, k]) for k in range(labels.shape[1])], 1)
    rates = sums[keep] / counts[keep, None]
    inside = np.average(_entropy(rates), axis=0, weights=counts[keep])
    return float(np.mean(_entropy(labels.mean(0)) - inside))


def _entropy(rate: np.ndarray) -> np.ndarray:
    rate = np.clip(rate, 1e-12, 1 - 1e-12)
    return -(rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate))


def pair_accuracy(distance: np.ndarray, same: np.ndarray, block: np.ndarray) -> float:
    """Computes accuracy by LFW's protocol: the threshold is chosen on nine blocks and tested on the tenth.

    Args:
        distance: [P] float, of the two pictures of each pair.
        same: [P], 1 for the same person.
        block: [P] int.

    Returns:
        Mean accuracy over the blocks in percent.
    """
    scores = []
    for held in np.unique(block):
        rows = block == held
        order = np.sort(distance[~rows])
        cuts = np.concatenate(([order[0] - 1], (order[1:] + order[:-1]) / 2, [order[-1] + 1]))
        fit = ((distance[~rows][None] < cuts[:, None]) == same[~rows][None]).mean(1)
        scores.append(((distance[rows] < cuts[fit.argmax()]) == same[rows]).mean())
    return float(100 * np.mean(scores))
