"""Scores of the study on faces: probabilities of frames against their labels."""

import numpy as np

from experiments.au_scores import matched_cuts, rare_and_frequent
from experiments.feedback_study.faces_data import RATES, UNITS
from piapdf_jax import metrics

_IS_RARE, _ = rare_and_frequent(RATES)


def cuts(probs: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Finds the cuts [C] that as many frames reach as ``rates`` [C] says; inf for a rate of 0, no label is read."""
    found, _ = matched_cuts(probs, rates, UNITS)
    return np.where(np.isnan(found), np.inf, found)


def roc_auc(probs: np.ndarray, labels: np.ndarray) -> float:
    """Computes the mean ROC AUC in percent over the units that some frames show and some do not."""
    return float(100 * np.nanmean(metrics.roc_auc(probs, labels)))


def score(probs: np.ndarray, labels: np.ndarray, rates: np.ndarray) -> dict[str, float]:
    """Scores a model.

    Args:
        probs: [N, C] float32.
        labels: [N, C], 0 or 1.
        rates: [C] published rates of the labeled frames.

    Returns:
        ``faces_results.METRICS``.
    """
    f1 = _parts("f1", metrics.f1(probs, labels))
    matched = _parts("f1_matched", metrics.f1(probs, labels, threshold=cuts(probs, rates)))
    p = np.clip(probs.astype(np.float64), 1e-7, 1 - 1e-7)
    loss = -np.mean(np.log(np.where(labels == 1, p, 1 - p)))
    return {"roc_auc": roc_auc(probs, labels), "log_loss": float(loss)} | f1 | matched


def always_yes(labels: np.ndarray) -> dict[str, float]:
    """Computes F1 of saying yes to every frame; nan for scores that it has none of."""
    nothing = {"roc_auc": np.nan, "log_loss": np.nan} | _parts(
        "f1_matched", np.full(len(UNITS), np.nan)
    )
    return nothing | _parts("f1", metrics.always_yes_f1(labels))


def _parts(name: str, f1: np.ndarray) -> dict[str, float]:
    """Means over all units, rare ones and frequent ones, in percent."""
    parts = {name: f1, f"{name}_rare": f1[_IS_RARE], f"{name}_frequent": f1[~_IS_RARE]}
    return {key: float(100 * values.mean()) for key, values in parts.items()}


def counts(probs: np.ndarray, labels: np.ndarray, rates: np.ndarray, people: int) -> np.ndarray:
    """Counts by person, whose frames follow each other: [2, 3, P, C] at both cuts, TP, FP and FN."""
    true, found = labels == 1, []
    for cut in (0.5, cuts(probs, rates)):
        said = probs >= cut
        cells = np.array([said & true, said & ~true, ~said & true])
        found.append(cells.reshape(3, people, -1, labels.shape[1]).sum(2))
    return np.array(found, np.int16)
