"""Notes on averaged runs: what is missing, replaced by a stand-in, stale, or different between them."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from experiments.frame_table import FrameTable
from experiments.report_types import Run
from experiments.trainings import TRAININGS
from piapdf_jax.runtime.digests import differences


def of_runs(
    runs: Sequence[Run], missing: tuple[int, ...], stand_ins: dict[str, str]
) -> Iterator[str]:
    """Lists the caveats of a group that a reader of its numbers must know.

    Args:
        runs: of the group, by seed and fold.
        missing: folds that no run is of.
        stand_ins: data sets that stand in for the paper's, by key.

    Returns:
        Lines, those of most weight first.
    """
    if stand_ins:
        yield "stand-ins: " + "; ".join(dict.fromkeys(stand_ins.values()))
    if missing:
        yield f"fold {', '.join(map(str, missing))} is missing: means are over the others"
    pairs = {(run.fold, run.seed) for run in runs}
    lone = [
        f"fold {fold} seed {seed}"
        for seed in sorted({run.seed for run in runs})
        for fold in sorted({run.fold for run in runs})
        if (fold, seed) not in pairs
    ]
    if lone:
        yield f"not run: {', '.join(lone)}"
    for run in runs:
        yield from _of_run(run)
    yield from _mixed(runs)


def _where(run: Run) -> str:
    return f"fold {run.fold} seed {run.seed}"


def _of_run(run: Run) -> Iterator[str]:
    for name, told in run.results.get("stale", {}).items():
        yield f"{_where(run)}: rests on the stale export {told['digest']} of {name}"
    for name, why in run.results["unread"].items():
        yield (
            f"{_where(run)}: the table of test frames of {name} {why}, so it is in no mean; the command"
            " that made the run scores it again"
        )
    for name, table in run.frames.items():
        for probs in (table.probs, table.teacher_probs):
            if probs is not None and not np.isfinite(probs).all():
                lost = np.flatnonzero(~np.isfinite(probs).all(axis=0))
                told = ", ".join(f"AU{table.aus[column]}" for column in lost)
                yield f"{_where(run)}: {name} has values that are not numbers for {told}: no score there"
    for name, told in run.results["trainings"].items():
        for key, before, now in _older(run, name, told.get("fingerprint", {}).get("settings", {})):
            yield (
                f"{_where(run)}: {name} was trained with {key}={before}, config.json says {now}: the"
                " scores are older than it"
            )


def _older(run: Run, name: str, settings: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Settings of a training that are not those of the configuration in the same folder."""
    section = TRAININGS[name].section if name in TRAININGS else ""
    # A section that is made of another's.
    told = _length_and_batch(run.config.get("df" if section == "longer" else section, {}))
    for key, value in told.items():
        if key in settings and settings[key] != value:
            yield key, settings[key], value


def _length_and_batch(section: dict[str, Any]) -> dict[str, Any]:
    """What ``TrainSection.total_steps`` and ``batch_size`` of a section are, from its JSON."""
    told = {key: section[key] for key in ("steps", "batch_size") if key in section}
    if "steps" in told and section.get("start") == "fresh":
        told["steps"] = section.get("fresh_steps", told["steps"])
    if "steps" in told:
        told["steps"] += section.get("finetune_steps", 0)
    return told


def _mixed(runs: Sequence[Run]) -> Iterator[str]:
    """Differences that fold and seed do not explain."""
    yield from _differing(runs, "versions", lambda run: run.versions)
    names = dict.fromkeys(name for run in runs for name in run.results["trainings"])
    for name in names:
        having = [run for run in runs if name in run.results["trainings"]]
        if len(having) < len(runs):
            yield f"{name}: not scored in {', '.join(_where(r) for r in runs if r not in having)}"
        yield from _differing(having, name, lambda run, name=name: _explained(run, name))
        tables = [(run, run.frames[name]) for run in having if name in run.frames]
        yield from _same_data(name, tables)


def _explained(run: Run, name: str) -> dict[str, Any]:
    """What decided a training, without what folds and seeds make differ: people, seeds, exports taken."""
    told = dict(run.results["trainings"][name].get("fingerprint", {}))
    for key in ("seed", "takes", "training"):
        told.pop(key, None)
    told["data"] = sorted({(row[0], row[2], row[3]) for row in told.get("data", [])})
    settings = dict(told.get("settings", {}))
    for key in ("validation", "judges"):
        if isinstance(settings.get(key), dict):
            settings[key] = {k: v for k, v in settings[key].items() if k != "people"}
    return told | {"settings": settings}


def _differing(
    runs: Sequence[Run], what: str, tell: Callable[[Run], dict[str, Any]]
) -> Iterator[str]:
    """A line for the runs whose facts are not those of the first."""
    for run in runs[1:]:
        first, other = (json.loads(json.dumps(tell(r))) for r in (runs[0], run))
        if first != other:
            found = differences(first, other)
            more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
            yield (
                f"{what}: {_where(run)} (here) differs from {_where(runs[0])} (there):"
                f" {'; '.join(found[:4])}{more}"
            )


def _same_data(name: str, tables: Sequence[tuple[Run, FrameTable]]) -> Iterator[str]:
    """Lines where a fold was scored on other data in one seed than in another, or with another truth."""
    by_fold: dict[int, set[str]] = {}
    for run, table in tables:
        by_fold.setdefault(run.fold, set()).add(table.data)
    for fold, digests in by_fold.items():
        if len(digests) > 1:
            yield f"{name}: the seeds of fold {fold} are scored on different data or true labels"
    odd = [_where(run) for run, table in tables if table.true is None]
    if 0 < len(odd) < len(tables):
        yield f"{name}: no true labels are known in {', '.join(odd)}"


def comparable(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Leaves out tables of frames that cannot be averaged with those of the first runs.

    Args:
        runs: of one group, by seed and fold.

    Returns:
        The runs without tables of another data set or other units than a training's first table, and of
        other people than the first seed of the same fold; and a line for each of these.
    """
    kept, lines = [], []
    first: dict[str, FrameTable] = {}
    of_fold: dict[tuple[str, int], FrameTable] = {}
    for run in runs:
        frames = {}
        for name, table in run.frames.items():
            start = first.setdefault(name, table)
            if why := _other_data(table, start):
                lines.append(f"{_where(run)}: {name} is left out of every mean: {why}")
                continue
            same = of_fold.setdefault((name, run.fold), table)
            if set(np.unique(table.subject)) != set(np.unique(same.subject)):
                why = f"it was scored on other people than seed {same.seed} of the fold"
                lines.append(f"{_where(run)}: {name} is left out of every mean: {why}")
                continue
            frames[name] = table
        kept.append(dataclasses.replace(run, frames=frames))
    return kept, lines


def _other_data(table: FrameTable, start: FrameTable) -> str:
    """Why a table is not of the same data set and units as another; "" where it is."""
    if table.dataset != start.dataset:
        return f"it was scored on {table.dataset}, not on {start.dataset}"
    if table.aus != start.aus:
        own, others = (", ".join(map(str, t.aus)) for t in (table, start))
        return f"it was scored for the units {own}, not {others}"
    return ""
