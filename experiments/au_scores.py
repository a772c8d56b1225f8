"""Scores of action units: probabilities against labels, by unit and averaged, with reasons for missing scores."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments import gaps
from experiments.gaps import attempt, rounded
from piapdf_jax import metrics
from piapdf_jax.action_units import UNKNOWN

#: A unit is rare where a smaller share of the known training labels than this shows it.
RARE = 0.3
#: Metrics from outside: labels [N, C] (0, 1, -1 unknown), probabilities [N, C] and subjects [N] of the
#: test frames -> a number, or one for each unit.
Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
METRICS: dict[str, Metric] = {}
#: Scores by unit in percent, and those as they are; each has a mean under ``mean_`` and its name.
PERCENT = ("f1", "f1_matched", "f1_model_cuts", "always_yes")
PLAIN = ("roc_auc", "auprc", "mcc", "calibration_error")
_OTHERS = ("mean_f1_rare", "mean_f1_frequent", "unknown_cells")
#: What a unit must have been, sometimes, for a score to say something: present, or present and absent.
_NEEDS_PRESENT = (*PERCENT, "auprc")
_NEEDS_BOTH = ("roc_auc", "mcc")


def register_metric(name: str, metric: Metric) -> None:
    """Adds a metric to the scores of every training of action units, for ``--plugin``.

    Args:
        name: its key in ``results.json``, beside ``f1``.
        metric: function of labels, probabilities and subjects.

    Raises:
        ValueError: for a name that is taken.
    """
    own = (*PERCENT, *PLAIN, *_OTHERS)
    if name in (*METRICS, *own, *(f"mean_{key}" for key in own)):
        raise ValueError(f"metric {name!r} is already registered")
    METRICS[name] = metric


def matched_cuts(
    probs: np.ndarray, rates: np.ndarray, aus: tuple[int, ...]
) -> tuple[np.ndarray, str]:
    """Finds the cuts at which the share of scored frames that reach them is the training labels' rate.

    Args:
        probs: [N, C] of the scored frames, of which no label is asked.
        rates: [C], nan for none.
        aus: FACS numbers.

    Returns:
        [C] cuts, nan where there is none, and the reasons of these ("" for none).
    """
    found, reasons = np.full(len(aus), np.nan), []
    for column, (au, rate) in enumerate(zip(aus, rates, strict=True)):
        cut, reason = metrics.matching_cut(probs[:, column], None if np.isnan(rate) else rate)
        found[column] = np.nan if cut is None else cut
        reasons += [f"AU{au}: {reason}"] if reason else []
    return found, "; ".join(reasons)


def f1_at(probs: np.ndarray, labels: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Computes F1 in percent at one cut a unit, [C]; nan where a unit has none."""
    there, found = ~np.isnan(cuts), np.full(len(cuts), np.nan)
    if there.any():
        found[there] = 100 * metrics.f1(probs[:, there], labels[:, there], threshold=cuts[there])
    return found


def against(
    labels: np.ndarray,
    probs: np.ndarray,
    people: np.ndarray,
    aus: tuple[int, ...],
    *,
    rates: np.ndarray | None = None,
    cuts: np.ndarray | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Scores probabilities against labels.

    Args:
        labels: [N, C], 0, 1 or -1.
        probs: [N, C] in [0, 1].
        people: [N] participant ids, for metrics of plugins.
        aus: FACS numbers of the columns.
        rates: [C] share of present among the known *training* labels, nan for none; None where the export
            does not say.
        cuts: [C] cuts of ``model.json``, likewise.

    Returns:
        As ``results.json`` holds them: by unit F1 at 0.5, at matched cuts (``matched_cuts``), at those of
        ``model.json``, and of saying yes to every frame, in percent; ROC AUC, AUPRC, MCC at 0.5 and
        calibration error; the mean of each over the units that have one; mean F1 of rare units
        (training rate below 30 %) and of frequent ones; the number of unknown cells; metrics of plugins.
        And the reasons of those that are None.
    """
    lost: dict[str, str] = {}
    blank = np.full(len(aus), np.nan)
    no_rates = "the export has no base rates of its training labels"
    matched, why = (blank, no_rates) if rates is None else matched_cuts(probs, rates, aus)
    fixed, unknown = (blank, no_rates) if cuts is None else (cuts, _without(cuts, aus))
    make: Mapping[str, Callable[[], Any]] = {
        "f1": lambda: 100 * metrics.f1(probs, labels),
        "f1_matched": lambda: f1_at(probs, labels, matched),
        "f1_model_cuts": lambda: f1_at(probs, labels, fixed),
        "always_yes": lambda: 100 * metrics.always_yes_f1(labels),
        "roc_auc": lambda: metrics.roc_auc(probs, labels),
        "auprc": lambda: metrics.auprc(probs, labels),
        "mcc": lambda: metrics.mcc(probs, labels),
        "calibration_error": lambda: metrics.calibration_error(probs, labels),
    }
    found = {
        name: attempt(lost, name, score, otherwise=blank, expected=(ValueError,))
        for name, score in make.items()
    }
    for name, reason in (("f1_matched", why), ("f1_model_cuts", unknown)):
        if reason:
            lost.setdefault(name, reason)
    _tell_nothing(found, labels, aus, lost)
    told: dict[str, Any] = {}
    for name, values in found.items():
        told[name] = rounded(values, 2 if name in PERCENT else 4)
        told[f"mean_{name}"] = gaps.mean(values)
    told |= _by_rate(found["f1"], rates)
    told["unknown_cells"] = int((labels == UNKNOWN).sum())
    others = {name: _of_plugin(name, (labels, probs, people), lost) for name in METRICS}
    return told | others, lost


def _without(cuts: np.ndarray, aus: tuple[int, ...]) -> str:
    none = [au for au, cut in zip(aus, cuts, strict=True) if np.isnan(cut)]
    return f"model.json has no cut of {gaps.units(none)}" if none else ""


def _tell_nothing(
    found: dict[str, np.ndarray], labels: np.ndarray, aus: tuple[int, ...], lost: dict[str, str]
) -> None:
    """Blanks scores of units whose labels tell nothing: there they are 0 or a matter of convention."""
    present, absent = (labels == 1).any(axis=0), (labels == 0).any(axis=0)
    never, alike = gaps.never(labels, aus), gaps.never(labels, aus, absent=True)
    for names, told, reason in (
        (_NEEDS_PRESENT, present, f"{never}; the mean is that of the other units" if never else ""),
        (_NEEDS_BOTH, present & absent, alike),
    ):
        for name in names:
            found[name] = np.where(told, found[name], np.nan)
            if reason:
                lost.setdefault(name, reason)
    if unknown := gaps.unknown(labels, aus):
        lost.setdefault("calibration_error", unknown)


def rare_and_frequent(rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns which units are rare and which frequent, bool [C] each; without a rate, nan, a unit is neither."""
    return rates < RARE, rates >= RARE


def _by_rate(f1: np.ndarray, rates: np.ndarray | None) -> dict[str, float | None]:
    """Mean F1 of rare and of frequent units."""
    rare, frequent = rare_and_frequent(np.full(len(f1), np.nan) if rates is None else rates)
    return {
        "mean_f1_rare": gaps.mean(f1[rare]),
        "mean_f1_frequent": gaps.mean(f1[frequent]),
    }


def _of_plugin(name: str, arrays: tuple[np.ndarray, ...], lost: dict[str, str]) -> Any:
    """A metric from outside, which may fail in any way."""
    found = attempt(lost, name, lambda: rounded(METRICS[name](*(a.copy() for a in arrays))))
    holes = found if isinstance(found, list) else [found]
    if name not in lost and any(value is None for value in holes):
        lost[name] = "it gives no finite number"
    return found
