"""Groups folders of runs that may be averaged, with notes on each group."""

import json
import pathlib
from collections.abc import Iterable
from typing import Any

from experiments import frame_table, group_notes
from experiments.frame_table import FrameTable, FrameTableError
from experiments.report_types import Group, Run
from experiments.run_folder import RESULTS
from experiments.runs import runs_in

FOLDS = (1, 2, 3)
#: Keys of a configuration that decide no score, or that runs of one group differ in.
_LEFT_OUT = ("name", "fold", "folds", "seed", "seeds", "methods", "run", "plugins")
_LEFT_OUT_BELOW = (
    ("data", "workers"),
    ("df", "compile"),
    ("df", "log_parts"),
    ("eval", "batch_size"),
    ("eval", "truth"),
)
#: Settings that a title names.
_TOLD = 3
#: What a training starts from and how many labels it has: where groups differ in it, their titles say so first,
#: whatever the folders are called.
_LEARNED_FROM = ("model.pretrained", "data.labeled_frames")


class RunsError(ValueError):
    """The given folders cannot be read as runs, or not be averaged; the message says which and why."""


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
    titles = _titles(list(found.values()))
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
    frames: dict[str, FrameTable] = {}
    problems: dict[str, str] = {}
    for name, told in results["trainings"].items():
        if "published" not in told["scores"]:
            continue
        path = folder / name / told["digest"] / frame_table.FILE_NAME
        try:
            table = frame_table.read(path)
        except FileNotFoundError:
            problems[name] = "does not exist"
            continue
        except FrameTableError:
            problems[name] = "cannot be read"
            continue
        wanted = name, told["digest"], int(config["fold"]), int(config["seed"])
        if (table.training, table.digest, table.fold, table.seed) != wanted:
            problems[name] = "is of another training, export, fold or seed"
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


def _titles(groups: list[list[Run]]) -> list[str]:
    """Names of groups: of their folders; where several share one, with the settings that tell them apart."""
    names = [", ".join(dict.fromkeys(map(_name, runs))) for runs in groups]
    settings = [flat(_compared(runs[0].config)) for runs in groups]
    found = []
    for name, own in zip(names, settings, strict=True):
        alike = [other for other, n in zip(settings, names, strict=True) if n == name]
        odd = [key for key in _LEARNED_FROM if _differs(key, own, settings)]
        odd += [key for key in own if key not in odd and _differs(key, own, alike)]
        told = [f"{key}={_said(key, own[key])}" for key in odd[:_TOLD]]
        told += [f"and {len(odd) - _TOLD} more"] if len(odd) > _TOLD else []
        found.append(f"{name} ({', '.join(told)})" if odd else name)
    # Settings that are not told may be all that is different.
    return [
        f"{title} [{found[: place + 1].count(title)}]" if found.count(title) > 1 else title
        for place, title in enumerate(found)
    ]


def _differs(key: str, own: dict[str, Any], others: list[dict[str, Any]]) -> bool:
    """Whether a setting that a group has is not that of all others."""
    return key in own and any(other.get(key) != own[key] for other in others)


def _said(key: str, value: Any) -> Any:
    """A value as a title says it: no labeled frames are left out where the setting is 0."""
    return "all" if key == "data.labeled_frames" and value == 0 else value


def _name(run: Run) -> str:
    return run.folder.parent.name or run.folder.name


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
    notes = group_notes.of_runs(runs, missing, stand_ins)
    kept, left_out = group_notes.comparable(runs)
    return Group(
        title=title,
        config=_compared(runs[0].config),
        runs=tuple(kept),
        folds=folds,
        seeds=seeds,
        missing_folds=missing,
        notes=(*notes, *left_out, *broken),
        stand_ins=stand_ins,
    )
