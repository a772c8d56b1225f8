"""Folders of runs to groups that may be averaged, and what a reader must know of each."""

import json
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from experiments import frame_table
from experiments.frame_table import FrameTable, FrameTableError
from experiments.report_types import Group, Run
from experiments.run_folder import RESULTS
from experiments.runs import runs_in
from piapdf_jax.runtime.checkpoints import differences

FOLDS = (1, 2, 3)
#: Keys of a configuration that decide no score, or that runs of one group differ in.
_LEFT_OUT = ("name", "fold", "folds", "seed", "seeds", "methods", "run", "plugins")
_LEFT_OUT_BELOW = (
    ("data", "workers"),
    ("df", "compile"),
    ("eval", "batch_size"),
    ("eval", "truth"),
)


class RunsError(ValueError):
    """What is given cannot be read as runs, or not be averaged; the message says which and why."""


def read_groups(folders: Iterable[pathlib.Path]) -> list[Group]:
    """Reads runs, and groups them by their configuration without fold and seed.

    Args:
        folders: of a run, of the folds and seeds of one name, or of all runs.

    Returns:
        The groups, in the order in which they are met.

    Raises:
        FileNotFoundError: where there is no run.
        RunsError: where none has results, or two are of the same fold and seed.
    """
    found: dict[str, list[Run]] = {}
    broken: list[str] = []
    for path in dict.fromkeys(run.resolve() for folder in folders for run in runs_in(folder)):
        try:
            run = read_run(path)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            broken.append(f"{path} is left out: {_reason(error)}")
            continue
        found.setdefault(json.dumps(_compared(run.config), sort_keys=True), []).append(run)
    if not found:
        raise RunsError("; ".join(broken))
    titles = _titles([runs[0] for runs in found.values()])
    return [
        _group(title, runs, tuple(broken))
        for title, runs in zip(titles, found.values(), strict=True)
    ]


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"it has no {pathlib.Path(error.filename).name}, so nothing is scored there yet"
    return " ".join(f"it cannot be read ({type(error).__name__}: {error})".split())


def read_run(folder: pathlib.Path) -> Run:
    """Reads a run: its configuration, results, versions, and its tables of test frames.

    Args:
        folder: ``RUNS/<name>/fold<k>_seed<s>``.

    Raises:
        FileNotFoundError: where it has no results.
        ValueError, LookupError, TypeError: where a file in it is damaged.
    """
    config, results = (_json(folder / name) for name in ("config.json", RESULTS))
    versions = _json(folder / "versions.json") if (folder / "versions.json").is_file() else {}
    frames, problems = {}, []
    for name, told in results["trainings"].items():
        if "published" not in told["scores"]:
            continue
        path = folder / name / told["digest"] / frame_table.FILE_NAME
        try:
            table = frame_table.read(path)
        except (FileNotFoundError, FrameTableError):
            problems.append(name)
            continue
        frames[name] = table
    return Run(
        folder=folder,
        fold=int(config["fold"]),
        seed=int(config["seed"]),
        config=config,
        results=results | {"unread": problems},
        versions=versions,
        frames=frames,
    )


def _json(path: pathlib.Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")).items())


def _compared(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what runs of one group may differ in."""
    kept = {key: value for key, value in config.items() if key not in _LEFT_OUT}
    for section, key in _LEFT_OUT_BELOW:
        if isinstance(kept.get(section), dict):
            kept[section] = {k: v for k, v in kept[section].items() if k != key}
    return kept


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns a configuration's values by dotted key."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        below = isinstance(value, dict) and value
        found |= flat(value, f"{prefix}{key}.") if below else {prefix + key: value}
    return found


def _titles(runs: list[Run]) -> list[str]:
    """Names of groups: of their folders; where several share one, with the settings that tell them apart."""
    names = [run.folder.parent.name or run.folder.name for run in runs]
    titles = []
    for name, run in zip(names, runs, strict=True):
        alike = [flat(_compared(o.config)) for o, n in zip(runs, names, strict=True) if n == name]
        own = flat(_compared(run.config))
        odd = [key for key in own if any(other.get(key) != own[key] for other in alike)]
        titles.append(f"{name} ({', '.join(f'{k}={own[k]}' for k in odd)})" if odd else name)
    return titles


def _group(title: str, runs: list[Run], broken: tuple[str, ...]) -> Group:
    runs = sorted(runs, key=lambda run: (run.seed, run.fold))
    seen: dict[tuple[int, int], Run] = {}
    for run in runs:
        other = seen.setdefault((run.fold, run.seed), run)
        if other is not run:
            raise RunsError(
                f"{other.folder} and {run.folder} are of the same configuration, fold {run.fold} and"
                f" seed {run.seed}: give one of them"
            )
    folds, seeds = (tuple(sorted({getattr(run, key) for run in runs})) for key in ("fold", "seed"))
    stand_ins: dict[str, str] = {}
    for run in runs:
        stand_ins |= run.results.get("stand_ins", {})
    missing = tuple(fold for fold in FOLDS if fold not in folds)
    return Group(
        title=title,
        config=_compared(runs[0].config),
        runs=tuple(runs),
        folds=folds,
        seeds=seeds,
        missing_folds=missing,
        notes=(*_notes(runs, missing, stand_ins), *broken),
        stand_ins=stand_ins,
    )


def _notes(runs: list[Run], missing: tuple[int, ...], stand_ins: dict[str, str]) -> Iterator[str]:
    """What a reader must know of a group before believing a number of it."""
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
        where = f"fold {run.fold} seed {run.seed}"
        for name, told in run.results.get("stale", {}).items():
            yield f"{where}: rests on the stale export {told['digest']} of {name}"
        if unread := run.results["unread"]:
            yield (
                f"{where}: no table of test frames of {', '.join(unread)}; the same command that made"
                " the run scores it again"
            )
    yield from _mixed(runs)


def _mixed(runs: list[Run]) -> Iterator[str]:
    """Differences that fold and seed do not explain."""
    yield from _differing(runs, "versions", lambda run: run.versions)
    names = dict.fromkeys(name for run in runs for name in run.results["trainings"])
    for name in names:
        having = [run for run in runs if name in run.results["trainings"]]
        if len(having) < len(runs):
            odd = [f"fold {r.fold} seed {r.seed}" for r in runs if r not in having]
            yield f"{name}: not scored in {', '.join(odd)}"
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
    if isinstance(settings.get("validation"), dict):
        settings["validation"] = {k: v for k, v in settings["validation"].items() if k != "people"}
    return told | {"settings": settings}


def _differing(runs: list[Run], what: str, tell: Callable[[Run], dict[str, Any]]) -> Iterator[str]:
    """A line for the runs whose facts are not those of the first."""
    for run in runs[1:]:
        first, other = (json.loads(json.dumps(tell(r))) for r in (runs[0], run))
        if first != other:
            told = "; ".join(differences(first, other)[:4])
            yield (
                f"{what}: fold {run.fold} seed {run.seed} (here) differs from fold {runs[0].fold} seed"
                f" {runs[0].seed} (there): {told}"
            )


def _same_data(name: str, tables: list[tuple[Run, FrameTable]]) -> Iterator[str]:
    """Lines where a fold was scored on other data in one seed than in another, or with another truth."""
    by_fold: dict[int, set[str]] = {}
    for run, table in tables:
        by_fold.setdefault(run.fold, set()).add(table.data)
    for fold, digests in by_fold.items():
        if len(digests) > 1:
            yield f"{name}: the seeds of fold {fold} are scored on different data or true labels"
    if len({(table.dataset, table.aus) for _, table in tables}) > 1:
        yield f"{name}: folds are scored on different data sets or units"
    if len({table.true is None for _, table in tables}) > 1:
        yield f"{name}: true labels are known in some runs alone"
