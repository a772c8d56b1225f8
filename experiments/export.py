"""Writes the light detector of an export for runtimes elsewhere, and checks such files in every installed runtime.

python -m experiments.export runs/exports/piapdf/0123456789abcdef --out=detector --check
python -m experiments.export EXPORT --out=detector --formats=onnx,stablehlo --dtype=float16
python -m experiments.export detector --check

The folder holds a file a format, model.json, golden.npz and, after --check, check.json.
"""

import pathlib
from typing import Any

import numpy as np
from absl import app, flags
from absl import logging as absl_logging
from rich.console import Console
from rich.table import Table

from data_builders.registry import import_plugins
from piapdf_jax import command_line, commands, paths
from piapdf_jax.export import check
from piapdf_jax.export.formats import FORMATS, Wanted
from piapdf_jax.model_json import read_model
from piapdf_jax.runtime.filesystem import explain_disk_errors, replacing

_OUT = flags.DEFINE_string("out", "", "folder of the files, created if it does not exist")
_FORMATS = flags.DEFINE_list("formats", ["onnx"], f"comma separated, of {', '.join(FORMATS)}")
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", list(check.TOLERANCES), "of weights and arithmetic; int8: of convolutions"
)
_INPUT = flags.DEFINE_enum(
    "input", "uint8", ["uint8", "float32"], "images of 0 to 255 or of 0 to 1"
)
_CHECK = flags.DEFINE_bool(
    "check", False, "run the files in every installed runtime; 1 if one differs or none runs one"
)
_CALIBRATION_DATA = flags.DEFINE_string(
    "calibration_data", "", "int8: data set whose frames show ranges, and F1 before and after"
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    None,
    f"where prepared data sets lie (default: {paths.DATA_VARIABLE}, else ~/tensorflow_datasets)",
)
_PLUGIN = flags.DEFINE_multi_string(
    "plugin", [], "module that registers the encoder of the export, repeatable"
)


def main(arguments: list[str]) -> int:
    """Writes and checks what the flags name; returns the exit code, 1 where a runtime differs."""
    absl_logging.set_verbosity(absl_logging.FATAL)  # Orbax tells of every step
    if len(arguments) != 2:
        example = ("EXPORT", "--out=FOLDER", "--check")
        raise app.UsageError(
            f"give the folder of an export: {commands.python('experiments.export', *example)}"
        )
    place = paths.local_path(arguments[1], "export")
    try:
        import_plugins(_PLUGIN.value)
        if (place / check.GOLDEN_FILE).is_file():
            return _check_again(place)
        if not _OUT.value:
            raise app.UsageError("--out is not given")
        out = paths.target_folder(_OUT.value, "--out")
        _write(place, out)
        return _check(out) if _CHECK.value else 0
    except (ValueError, OSError) as error:
        raise app.UsageError(str(error)) from error


def _formats() -> list[str]:
    """The names that --formats gives, in the order in which files rest on one another."""
    names = [name.strip() for name in _FORMATS.value]
    if not names or len(set(names)) < len(names) or not set(names) <= set(FORMATS):
        raise ValueError(
            f"--formats={','.join(names)} must name formats once each, of {', '.join(FORMATS)}"
        )
    return [name for name in FORMATS if name in names]


def _check_again(folder: pathlib.Path) -> int:
    if not _CHECK.value or _OUT.value:
        raise ValueError(
            f"{folder} is already an exported folder: give --check alone to check it again"
        )
    return _check(folder)


def _write(export: pathlib.Path, out: pathlib.Path) -> None:
    from experiments import export_files, export_int8
    from piapdf_jax.export.detector_file import read_light

    formats, int8 = _formats(), _DTYPE.value == "int8"
    if int8 != bool(_CALIBRATION_DATA.value):
        raise ValueError(
            "--dtype=int8 and --calibration_data=SET need each other: int8 needs frames to calibrate the ranges of"
            " activations, and labeled ones to measure the loss of accuracy"
        )
    light = read_light(export)
    wanted, sample = Wanted(_DTYPE.value, _INPUT.value), None
    # After the export: who has one that cannot become a file installs nothing for it.
    export_files.check_installed(formats, wanted)
    if int8:
        data_dir = paths.data_dir(_DATA_DIR.value)
        sample = export_int8.sample(light.model, _CALIBRATION_DATA.value, data_dir)
        wanted = wanted._replace(calibration=sample.calibration)
    files = export_files.write(out, light, formats, wanted, sample)
    for name, facts in files.items():
        print(f"{light.model.title}, {wanted.dtype}: {out / name}, {facts['bytes']:,} bytes")
    if sample is not None:
        print(sample.summary)
        _print_f1(files)


def _print_f1(files: dict[str, dict[str, Any]]) -> None:
    first = next(iter(files.values()))
    heads = [f"AU{au}" for au in first["f1_units"]]
    table = Table("F1 at 0.5, %", *heads, "mean", box=None)
    rows = {"float32": first["f1_before"]} | {n: facts["f1_after"] for n, facts in files.items()}
    for name, values in rows.items():
        cells = [f"{value:.1f}" for value in (*values, np.mean(values))]
        table.add_row(name, *cells)
    _console().print(table)


def _check(folder: pathlib.Path) -> int:
    golden = check.read_golden(folder / check.GOLDEN_FILE)
    results = check.check(folder)
    text = check.to_json(folder, results, golden)
    with explain_disk_errors(folder, len(text)), replacing(folder / check.CHECK_FILE) as part:
        part.write_text(text, encoding="utf-8")
    _print(folder, results, golden.dtype)
    passed, limit = check.within(results, golden.dtype), check.TOLERANCES[golden.dtype]
    if limit is None:
        print("8 bits are held to no difference: model.json has F1 before and after")
    else:
        print(f"{'within' if passed else 'not within'} {limit:g} of JAX in float32")
    unchecked = {r.file for r in results} - {r.file for r in results if r.difference is not None}
    for file in sorted(unchecked):
        print(f"{file} was not checked: nothing that is installed here runs it")
    if golden.saturated():
        print("golden probabilities are all 0 or 1, or nearly: they show no differences of logits")
    return 0 if passed else 1


def _print(folder: pathlib.Path, results: list[check.Result], dtype: str) -> None:
    sizes = {file: facts["bytes"] for file, facts in read_model(folder).files.items()}
    table = Table(
        "file", "MB", "type", "runtime", "version", "largest difference", "ms a frame", box=None
    )
    for result in results:
        cells = (result.unsupported, "")
        if result.difference is not None:
            cells = (f"{result.difference:.1e}", f"{result.milliseconds:.1f}")
        size = f"{sizes[result.file] / 1e6:.2f}"
        table.add_row(result.file, size, dtype, result.runtime, result.version, *cells)
    _console().print(table)


def _console() -> Console:
    """Tables are wide: where nobody looks at a terminal, lines may be as long as they are."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


if __name__ == "__main__":
    command_line.run(main, arguments=1)
