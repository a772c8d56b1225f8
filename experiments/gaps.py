"""Scores that cannot be computed: replaced by None and a reason, so that they never end a run."""

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from experiments.fold_parts import listed
from piapdf_jax import identity_metrics
from piapdf_jax.action_units import UNKNOWN
from piapdf_jax.folds import BP4D_TASKS
from piapdf_jax.runtime.hosts import HostLost
from piapdf_jax.runtime.steps import Interrupted

#: What is wrong with this process, its devices or other hosts, and not with a score.
_NO_GAP = (MemoryError, HostLost, Interrupted, jax.errors.JaxRuntimeError)
log = logging.getLogger("piapdf")


class Gap(ValueError):
    """A score cannot be made of what there is; the message is the reason."""


def attempt(
    gaps: dict[str, str],
    name: str,
    make: Callable[[], Any],
    *,
    otherwise: Any = None,
    expected: tuple[type[Exception], ...] = (Gap,),
    together: bool = False,
) -> Any:
    """Returns the result of a function, or notes the reason why there is none.

    Args:
        gaps: gets the reason, by name.
        name: of the score.
        make: makes it.
        otherwise: what is returned in its place.
        expected: errors whose message is the reason; the log gets the traceback of any other.
        together: whether all hosts compute it with each other: where one of several fails in an unexpected
            way it ends, because the others wait for it.
    """
    try:
        return make()
    except _NO_GAP:
        raise
    except Gap as gap:
        gaps[name] = str(gap)
    except Exception as error:
        if together and jax.process_count() > 1:
            raise
        reason = " ".join(str(error).split())
        gaps[name] = reason if isinstance(error, expected) else f"{type(error).__name__}: {reason}"
        if not isinstance(error, expected):
            log.warning("%s cannot be made:", name, exc_info=error)
    return otherwise


def with_gaps(scores: dict[str, Any], gaps: dict[str, str]) -> dict[str, Any]:
    """Returns scores with the reasons of those that are None under ``gaps``, where there are any."""
    reasons = scores.get("gaps", {}) | gaps
    return scores | ({"gaps": reasons} if reasons else {})


def plain(value: Any) -> Any:
    """Returns a value as JSON holds it: arrays as lists, None for what is not finite, text for anything else."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def rounded(values: Any, digits: int = 4) -> Any:
    """Returns numbers as JSON holds them, None for what is not finite."""
    return plain(np.round(np.asarray(values, np.float64), digits))


def mean(values: Any) -> float | None:
    """Returns the mean of the numbers that are finite; None without any."""
    values = np.asarray(values, np.float64)
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else None


def units(aus: Iterable[int]) -> str:
    """Returns the names of action units: ``AU1, AU12``."""
    return ", ".join(f"AU{au}" for au in aus)


def never(labels: np.ndarray, aus: tuple[int, ...], *, absent: bool = False) -> str:
    """Returns which units labels tell nothing of; "" for none.

    Args:
        labels: [N, len(aus)], 0, 1 or -1.
        aus: FACS numbers.
        absent: whether those that are never absent count as well.
    """
    told = [
        ("no known label", np.all(labels == UNKNOWN, axis=0)),
        ("never present", ~np.any(labels == 1, axis=0) & np.any(labels == 0, axis=0)),
    ]
    if absent:
        told += [("never absent", ~np.any(labels == 0, axis=0) & np.any(labels == 1, axis=0))]
    found = [
        f"{units(au for au, one in zip(aus, which, strict=True) if one)} {what}"
        for what, which in told
        if which.any()
    ]
    return "; ".join(found)


def unknown(labels: np.ndarray, aus: tuple[int, ...]) -> str:
    """Returns the units of which no label [N, len(aus)] is known; "" for none."""
    none = [au for au, column in zip(aus, labels.T, strict=True) if (column == UNKNOWN).all()]
    return f"{units(none)} no known label" if none else ""


def has_tasks(task: np.ndarray) -> bool:
    """Returns whether frames are of BP4D's tasks, without which there is no identity probe."""
    return bool(np.isin(task, BP4D_TASKS).any())


def probe(subject: np.ndarray, task: np.ndarray) -> str:
    """Returns why the identity probe cannot be made of some frames; "" where it can.

    Args:
        subject: [N] participant ids.
        task: [N] task ids.
    """
    fit = np.isin(task, identity_metrics.PROBE_TASKS)
    if len(set(subject[fit].tolist())) >= 2 and not fit.all():
        return ""
    people, tasks = (sorted(set(column.tolist())) for column in (subject, task))
    return (
        f"it is fitted on tasks {', '.join(identity_metrics.PROBE_TASKS)} of two people or more and scored on"
        f" the other tasks; there are tasks {listed(tasks, 7)} of {listed(people)}"
    )


def pairs(listed: list[Any], table: dict[str, np.ndarray]) -> str:
    """Returns why pairs of pictures cannot be verified; "" where they can.

    Args:
        listed: name, number, name, number, whether they are the same person, block; by pair.
        table: ``name`` and ``number`` of the pictures that there are.
    """
    there = set(zip(table["name"].tolist(), table["number"].tolist(), strict=True))
    lost = [p for p in listed if not {(p[0], int(p[1])), (p[2], int(p[3]))} <= there]
    if lost:
        first = next(place for place in (lost[0][:2], lost[0][2:4]) if tuple(place) not in there)
        return (
            f"{len(lost)} of {len(listed)} pairs name pictures that are not there, the first"
            f" picture {first[1]} of {first[0]}"
        )
    blocks = len({int(pair[5]) for pair in listed})
    return "" if blocks > 1 else f"the pairs are of {blocks} blocks, and verification takes two"
