"""Describes the groups of a page: data and machines, settings, times, and caveats."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from experiments.groups import flat
from experiments.page import grids
from experiments.page.markup import Markup, join, tag
from experiments.report_types import Group, Run
from experiments.trainings import TRAININGS


def section(groups: Sequence[Group]) -> Markup:
    """Describes every group: data sets, folds and seeds, people and frames, versions, and notes in red."""
    return join(*(_group(group) for group in groups))


def _group(group: Group) -> Markup:
    stand_ins = [f"{key}: {said}" for key, said in group.stand_ins.items()]
    warnings = [
        tag("li", f"Stand-in for the paper's data, {line}", cls="bad") for line in stand_ins
    ]
    warnings += [
        tag("li", note, cls="note") for note in group.notes if not note.startswith("stand-ins: ")
    ]
    return join(
        tag("h3", group.title),
        grids.plain("Data, folds, seeds and machine", ("what", "which"), _facts(group), text=True),
        tag("ul", *warnings) if warnings else None,
    )


def _facts(group: Group) -> Iterator[tuple[str, Sequence[Any]]]:
    yield "data sets", ["; ".join(_data(group)) or "-"]
    missing = "".join(f", fold {fold} is missing" for fold in group.missing_folds)
    yield "folds", [", ".join(map(str, group.folds)) + missing]
    yield "seeds", [", ".join(map(str, group.seeds))]
    yield "runs", [", ".join(f"{r.folder.parent.name}/{r.folder.name}" for r in group.runs)]
    versions = {_versions(run): None for run in group.runs}
    yield "machine and versions", [" | ".join(versions) or "-"]


def _data(group: Group) -> Iterator[str]:
    """Data sets that are scored, with the people and frames of all folds."""
    seen: dict[str, dict[int, tuple[int, int]]] = {}
    for run in group.runs:
        for table in run.frames.values():
            counts = len(np.unique(table.subject)), len(table.frame)
            seen.setdefault(table.dataset, {})[run.fold] = counts
    for name, by_fold in seen.items():
        people, frames = (sum(counts) for counts in zip(*by_fold.values(), strict=True))
        yield f"{name} ({people:,} test people, {frames:,} test frames)"


def _versions(run: Run) -> str:
    return ", ".join(f"{name} {version}" for name, version in run.versions.items()) or "-"


def configuration(groups: Sequence[Group]) -> Markup:
    """Writes the settings side by side: first those that differ between groups, all of them in a part to open."""
    settings = [flat(group.config) for group in groups]
    keys = list(dict.fromkeys(key for own in settings for key in own))
    differing = [key for key in keys if len({repr(own.get(key)) for own in settings}) > 1]
    columns = ("setting", *(group.title for group in groups))

    def rows(chosen: Sequence[str]) -> list[tuple[str, list[str]]]:
        return [(key, [_value(own.get(key)) for own in settings]) for key in chosen]

    if len(groups) == 1:
        first = tag("p", "There is one configuration; its runs differ in fold and seed alone.")
    elif differing:
        caption = f"Settings that differ: {len(differing)} of {len(keys)}"
        first = grids.plain(caption, columns, rows(differing), text=True)
    else:
        first = tag("p", "No setting differs between these groups.")
    whole = grids.plain("All settings", columns, rows(keys), differs=differing, text=True)
    return join(
        first, tag("details", tag("summary", f"All {len(keys)} settings"), whole), _runs(groups)
    )


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _runs(groups: Sequence[Group]) -> Markup | None:
    """What runs of one group do not share: exports by digest."""
    rows = []
    for group in groups:
        for run in group.runs:
            digests = [f"{n} {told['digest']}" for n, told in run.results["trainings"].items()]
            rows.append((f"{group.title}, fold {run.fold} seed {run.seed}", [", ".join(digests)]))
    table = grids.plain("Exports of each run, by digest", ("run", "exports"), rows, text=True)
    return tag("details", tag("summary", "Exports of each run"), table)


def times(groups: Sequence[Group]) -> Markup:
    """Writes what each training took: each export once, however many runs share it."""
    columns = (
        *("training", "trained", "steps", "s each", "s in all", "s to first step"),
        *("images/s", "waits for data, s", "peak memory, GiB"),
    )
    parts = []
    for group in groups:
        rows = [(_title(name), _times(reports)) for name, reports in _reports(group).items()]
        total = sum(float(run.results.get("seconds") or 0) for run in group.runs)
        caption = (
            f"{group.title}: means over what was trained, memory its most. The runs, scores included,"
            f" took {total:,.0f} s."
        )
        parts.append(grids.plain(caption, columns, rows))
    return join(*parts)


def _title(name: str) -> str:
    known = TRAININGS.get(name)
    return known.title if known else name


def _reports(group: Group) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for run in group.runs:
        for name, told in run.results["trainings"].items():
            found.setdefault(name, {})[told["digest"]] = told.get("report") or {}
    return {name: list(reports.values()) for name, reports in found.items()}


def _times(reports: list[dict[str, Any]]) -> list[str]:
    seconds = _numbers(reports, "seconds")
    memory = _numbers(reports, "peak_memory_gib")
    return [
        str(len(reports)),
        _mean(reports, "steps", 0),
        _mean(reports, "seconds", 1),
        f"{sum(seconds):,.1f}" if seconds else "-",
        _mean(reports, "first_step_seconds", 1),
        _mean(reports, "images_per_second", 0),
        _mean(reports, "wait_seconds", 1),
        f"{max(memory):.2f}" if memory else "-",
    ]


def _numbers(reports: list[dict[str, Any]], key: str) -> list[float]:
    values = [report.get(key) for report in reports]
    return [float(v) for v in values if isinstance(v, int | float) and np.isfinite(v)]


def _mean(reports: list[dict[str, Any]], key: str, digits: int) -> str:
    values = _numbers(reports, key)
    return f"{np.mean(values):,.{digits}f}" if values else "-"
