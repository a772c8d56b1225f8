"""Scores an export on another data set, against its published and, where they are known, its true labels.

python -m experiments.score runs/exports/piapdf/0123456789abcdef --dataset=disfa --split=part1+part2+part3
python -m experiments.score EXPORT --dataset=synthetic_faces/bp4d --split=test --out=scores.json

Prints a table by unit, of the units that both have. ``--out`` writes the scores as JSON and, beside them, what was said
of each frame (``scores.frames.npz``).
"""

import json
import logging
import pathlib
import sys

from absl import app, flags
from rich.console import Console

from data_builders.registry import UsageError, import_plugins
from experiments import export_score_table, export_scores, frame_table, run_folder
from experiments.export_scores import Scored, ScoreError
from piapdf_jax import command_line, commands, compile_cache, paths
from piapdf_jax.data.prefetch import ReaderDied
from piapdf_jax.data.source import CorruptShard, NoRecords
from piapdf_jax.model_json import ModelError
from piapdf_jax.runtime.exports import ExportError

_DATASET = flags.DEFINE_string("dataset", "", "name of a prepared data set, such as disfa")
_SPLIT = flags.DEFINE_string("split", "", "its splits, such as part1+part2")
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    f"where prepared data sets lie (default: {paths.DATA_VARIABLE}, else ~/tensorflow_datasets)",
)
_TRUTH = flags.DEFINE_string(
    "truth", "", "table of true labels (default: the one that is drawn with a synthetic data set)"
)
_OUT = flags.DEFINE_string("out", "", "file of the scores, such as scores.json")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "images of a batch", lower_bound=1)
_PLUGIN = flags.DEFINE_multi_string(
    "plugin", [], "module that registers the encoder of the export, repeatable"
)

_MISTAKES = (
    *(UsageError, ScoreError, ModelError, ExportError, CorruptShard, NoRecords, ReaderDied),
    *(paths.PathError, OSError),  # no export, no data set, no file, a full disk
)


def main(arguments: list[str]) -> None:
    """Scores what the flags name; exit code 2 with one line for a mistake."""
    if len(arguments) != 2:
        example = ("EXPORT", "--dataset=NAME", "--split=SPLITS")
        raise app.UsageError(
            f"give the folder of an export: {commands.python('experiments.score', *example)}"
        )
    for flag, value in (("--dataset", _DATASET.value), ("--split", _SPLIT.value)):
        if not value:
            raise app.UsageError(f"{flag} is not given: say what the export is scored on")
    try:
        import_plugins(_PLUGIN.value)
        _score(paths.local_path(arguments[1], "export"))
    except _MISTAKES as error:
        raise app.UsageError(str(error)) from error


def _score(folder: pathlib.Path) -> None:
    out = paths.target_file(_OUT.value, "--out") if _OUT.value else None
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    compile_cache.enable()
    data_dir = paths.data_dir(_DATA_DIR.value)
    truth = paths.local_file(_TRUTH.value, "--truth") if _TRUTH.value else None
    scored = export_scores.score(
        folder,
        dataset=_DATASET.value,
        split=_SPLIT.value,
        data_dir=data_dir,
        truth=truth or _drawn_truth(data_dir, _DATASET.value),
        batch_size=_BATCH_SIZE.value,
    )
    _show(scored)
    if out is not None:
        _write(out, scored)


def _drawn_truth(data_dir: pathlib.Path, dataset: str) -> pathlib.Path | None:
    """The table of true labels that lies beside a synthetic data set; None where there is none."""
    builder, _, config = dataset.partition("/")
    if builder != "synthetic_faces" or not config:
        return None
    from data_builders.synthetic_faces import truth_path

    path = truth_path(data_dir, config)
    return path if path.is_file() else None


def _show(scored: Scored) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    for table in export_score_table.tables(scored.scores):
        console.print(table)
    for line in scored.notes:
        console.print(f"- {line}", markup=False, highlight=False, soft_wrap=True)
    for line in scored.warnings:
        print(f"warning: {line}", file=sys.stderr)


def _write(out: pathlib.Path, scored: Scored) -> None:
    frames = out.with_name(f"{out.stem}.{frame_table.FILE_NAME}")
    frame_table.write(frames, scored.frames)
    told = json.dumps(scored.scores, indent=1, allow_nan=False)
    run_folder.write(out, told)
    print(f"scores: {out}\nframes: {frames}")


if __name__ == "__main__":
    command_line.run(main, arguments=1)
