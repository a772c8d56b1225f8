"""Shows the progress of runs from the files of their folders, compares two runs, and lists exports with their users.

python -m experiments.status runs                      all runs of a folder
python -m experiments.status runs/demo                 the folds and seeds of one name
python -m experiments.status runs/demo/fold1_seed0     the trainings of one run
python -m experiments.status runs/a runs/b             two runs: scores, configuration, versions
python -m experiments.status --exports runs            exports: size, age, who uses them
python -m experiments.status --prune runs              deletes those that no run uses; asks first
"""

import dataclasses
import json
import pathlib
import sys
import time
from typing import Any

from absl import app, flags
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments import export_prune
from experiments.compare_runs import compare
from experiments.export_list import read_listing
from experiments.runs import runs_in
from experiments.trainings import METHODS, TRAININGS, ordered
from piapdf_jax import command_line, commands, paths
from piapdf_jax.runtime.writers import read_jsonl

_EXPORTS = flags.DEFINE_bool("exports", False, "list exports: size, age, who uses them")
_PRUNE = flags.DEFINE_bool("prune", False, "delete exports that no run uses; asks first")
_YES = flags.DEFINE_bool("yes", False, "with --prune: delete without asking")


@dataclasses.dataclass(frozen=True)
class TrainingStatus:
    """How far one training of a run is.

    Attributes:
        name: of the training.
        state: ``done``, ``under way``, or ``not begun``.
        step, steps: updates logged, and wanted; 0 where nothing is known.
        row: the last line of metrics.
        age: seconds since that line was written; None where there is none.
        checkpoint: step that a new start would go on from; None where it would begin anew.
        left: seconds that the steps left take at the rate so far; None where there is no rate.
    """

    name: str
    state: str
    step: int = 0
    steps: int = 0
    row: dict[str, Any] = dataclasses.field(default_factory=dict)
    age: float | None = None
    checkpoint: int | None = None
    left: float | None = None


def training_statuses(run: pathlib.Path) -> list[TrainingStatus]:
    """Reads how far the trainings of a run are, in their order; those of another configuration come as well.

    Args:
        run: folder of a run.

    Raises:
        FileNotFoundError: where it is none.
    """
    path = run / "config.json"
    if not path.is_file():
        below = sorted(found.parent.name for found in run.glob("*/config.json"))
        there = f"; it holds {', '.join(below)}" if below else ""
        raise FileNotFoundError(f"{run} is not a run: it has no config.json{there}")
    methods = json.loads(path.read_text("utf-8"))["methods"]
    # A method of a plugin, which is not loaded here, has the name of its training.
    known = tuple(method for method in methods if method in METHODS)
    wanted = {*ordered(known), *(method for method in methods if method not in METHODS)}
    files = [*run.glob("*/*/fingerprint.json"), *run.glob("*/*/export.json")]
    others = sorted(({file.parts[-3] for file in files} | wanted) - TRAININGS.keys())
    found = []
    for name in (*TRAININGS, *others):
        folders = sorted(
            (file.parent for file in run.glob(f"{name}/*/fingerprint.json")),
            key=lambda folder: (folder / "fingerprint.json").stat().st_mtime,
        )
        finished = [file.parent for file in run.glob(f"{name}/*/export.json")]
        folders = [folder for folder in finished if folder not in folders] + folders
        found += [_status_of(name, folder) for folder in folders]
        if not folders and name in wanted:
            found.append(TrainingStatus(name, "not begun"))
    return found


def _status_of(name: str, folder: pathlib.Path) -> TrainingStatus:
    metrics = folder / "metrics.jsonl"
    rows = read_jsonl(metrics)
    row = rows[-1] if rows else {}
    saved = [int(path.name) for path in folder.glob("checkpoints/*") if path.name.isdigit()]
    done = (folder / "export.json").is_file()
    if done and not row:  # another run has trained it
        told = json.loads((folder / "export.json").read_text("utf-8"))
        report, state = told["report"], "done, stale sources" if "stale" in told else "done"
        return TrainingStatus(name, state, report["steps"], report["steps"], report["metrics_end"])
    settings = json.loads((folder / "fingerprint.json").read_text("utf-8"))["settings"]
    images = (settings["steps"] - row.get("step", 0)) * settings["batch_size"]
    rate = row.get("images_per_second")
    return TrainingStatus(
        name,
        "done" if done else "under way",
        row.get("step", 0),
        settings["steps"],
        row,
        time.time() - metrics.stat().st_mtime if rows else None,
        max(saved, default=None),
        images / rate if rate else None,
    )


def table(found: list[TrainingStatus], title: str) -> Table:
    """Makes a table for a terminal of how far trainings are."""
    made = Table("training", "state", "step", "loss", title=title, box=SIMPLE_HEAD)
    for name in ("images/s", "waits for input", "first step", "peak memory", "skipped", "feedback"):
        made.add_column(name, justify="right")
    for name in ("last line", "time left"):
        made.add_column(name, justify="right")
    for status in found:
        made.add_row(status.name, status.state, *_cells(status))
    return made


def _cells(status: TrainingStatus) -> list[str]:
    row = status.row
    step = f"{status.step}/{status.steps}" if status.steps else ""
    if status.checkpoint is not None and not status.state.startswith("done"):
        step += f" (saved {status.checkpoint})"
    skipped = sum(n for name, n in row.items() if name.endswith("skipped"))
    counts = [row.get(f"count_{sign}") for sign in ("positive", "negative", "zero")]
    feedback = "{} x +, {} x -, {} x 0".format(*counts) if None not in counts else ""
    return [
        step,
        _number(row.get("loss"), "{:.4f}"),
        _number(row.get("images_per_second"), "{:.1f}"),
        _number(row.get("input_wait"), "{:.0%}"),
        _number(row.get("first_step_seconds"), "{:.0f} s"),
        _number(row.get("peak_memory_gib"), "{:.1f} GiB"),
        str(skipped) if row else "",
        feedback,
        *(["", ""] if status.state.startswith("done") else [_ago(status.age), _span(status.left)]),
    ]


def _ago(seconds: float | None) -> str:
    return "" if seconds is None else f"{_span(seconds)} ago"


def _span(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def overview(runs: list[pathlib.Path], folder: pathlib.Path) -> Table:
    """Makes a table for a terminal, one line a run."""
    made = Table(
        "run", "configuration", "done", "under way", box=SIMPLE_HEAD, title=escape(str(folder))
    )
    for name in ("last line", "time left"):
        made.add_column(name, justify="right")
    for run in runs:
        name = escape(str(run.relative_to(folder)))
        try:
            config = json.loads((run / "config.json").read_text("utf-8"))["name"]
            made.add_row(name, escape(str(config)), *_summary(training_statuses(run)))
        except (OSError, ValueError, LookupError, TypeError):
            made.add_row(name, "cannot be read")
    return made


def _summary(found: list[TrainingStatus]) -> list[str]:
    names = dict.fromkeys(status.name for status in found)
    done = {status.name for status in found if status.state.startswith("done")}
    going = [status for status in found if status.state == "under way" and status.name not in done]
    last = min(
        going, key=lambda status: float("inf") if status.age is None else status.age, default=None
    )
    told = f"{len(done)} of {len(names)}"
    if last is None:
        return [told, "", "", ""]
    return [told, f"{last.name} {last.step}/{last.steps}", _ago(last.age), _span(last.left)]


def main(arguments: list[str]) -> None:
    """Prints a table of runs, of the trainings of one run, of two runs, or of exports; exit code 2 for none."""
    folders = [paths.local_folder(text, "folder") for text in arguments[1:]]
    _check_usage(len(folders))
    # Off a terminal, lines may be as long as they are.
    console = Console(width=None if sys.stdout.isatty() else 200)
    try:
        if _PRUNE.value:
            export_prune.prune(folders[0], console, yes=_YES.value)
        elif _EXPORTS.value:
            _show_exports(folders[0], console)
        elif len(folders) == 2:
            console.print(*compare(*folders), sep="\n")
        else:
            _show_runs(folders[0], console)
    except (OSError, export_prune.PruneError) as error:
        raise app.UsageError(str(error)) from error
    except (ValueError, LookupError, TypeError) as error:
        named = " and ".join(map(str, folders))
        raise app.UsageError(f"{named} cannot be read: {error}") from error


def _check_usage(count: int) -> None:
    if _YES.value and not _PRUNE.value:
        raise app.UsageError("--yes goes with --prune")
    if _EXPORTS.value or _PRUNE.value:
        flag = "--prune" if _PRUNE.value else "--exports"
        if count != 1:
            example = commands.python("experiments.status", flag, "runs")
            raise app.UsageError(f"{flag} takes the folder of all runs: {example}")
    elif not 1 <= count <= 2:
        example = commands.python("experiments.status", "runs")
        raise app.UsageError(
            f"give the folder of a run, of several, or of two to compare: {example}"
        )


def _show_runs(folder: pathlib.Path, console: Console) -> None:
    try:
        runs = runs_in(folder)
        if runs != [folder]:
            console.print(overview(runs, folder))
        if len(runs) == 1:
            console.print(table(training_statuses(runs[0]), escape(str(runs[0]))))
    except (ValueError, LookupError, TypeError) as error:
        raise app.UsageError(f"{folder} cannot be read as a run ({error!r})") from error


def _show_exports(folder: pathlib.Path, console: Console) -> None:
    listing = read_listing(folder.resolve())
    found = (*listing.exports, *listing.unfinished)
    console.print(export_prune.export_table(found, f"exports of {folder}"))
    for line in (*listing.damaged, export_prune.summary(listing)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    command_line.run(main, arguments=2)
