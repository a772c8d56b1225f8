"""Writes the light detector of an export as an .onnx file, and checks such a file in every installed runtime.

python -m experiments.export runs/exports/piapdf/0123456789abcdef --out=detector --check
python -m experiments.export EXPORT --out=detector --dtype=float16
python -m experiments.export detector --check

The folder holds model.onnx, model.json, golden.npz and, after --check, check.json.
"""

import json
import pathlib
import shutil

import numpy as np
from absl import app, flags
from absl import logging as absl_logging
from rich.console import Console
from rich.table import Table

from data_builders.registry import import_plugins
from piapdf_jax import command_line, commands, paths
from piapdf_jax.export import check
from piapdf_jax.model_json import FILE_NAME, ModelError
from piapdf_jax.runtime.disk import naming_disk_errors, replacing

_OUT = flags.DEFINE_string("out", "", "folder of the files, made where it is not there")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "of weights and arithmetic")
_INPUT = flags.DEFINE_enum(
    "input", "uint8", ["uint8", "float32"], "images of 0 to 255 or of 0 to 1"
)
_CHECK = flags.DEFINE_bool(
    "check", False, "run the file in every installed runtime; 1 if one differs"
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
        if (place / check.MODEL_FILE).is_file():
            return _check_again(place)
        if not _OUT.value:
            raise app.UsageError("--out is not given")
        out = paths.target_folder(_OUT.value, "--out")
        _write(place, out)
        return _check(out) if _CHECK.value else 0
    except (ValueError, OSError) as error:
        raise app.UsageError(str(error)) from error


def _check_again(folder: pathlib.Path) -> int:
    if not _CHECK.value or _OUT.value:
        raise ValueError(f"{folder} is written already: --check alone checks it again")
    return _check(folder)


def _write(export: pathlib.Path, out: pathlib.Path) -> None:
    from piapdf_jax.export.detector_file import (
        golden_frames,
        golden_probabilities,
        read_light,
        write_file,
    )

    light = read_light(export)
    # Later: who has an export that cannot become a file installs nothing for it.
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"the package onnx is not installed: {commands.install('export')}"
        ) from error
    frames = golden_frames(light.model.image_size)
    out.mkdir(parents=True, exist_ok=True)
    # What a checker said of another file is not true of this one.
    (out / check.CHECK_FILE).unlink(missing_ok=True)
    with naming_disk_errors(out, 0):
        with replacing(out / check.GOLDEN_FILE) as part:
            np.savez_compressed(
                part,
                frames=frames,
                probabilities=golden_probabilities(light, frames),
                dtype=np.array(_DTYPE.value),
            )
        with replacing(out / FILE_NAME) as part:
            shutil.copyfile(export / FILE_NAME, part)
        with replacing(out / check.MODEL_FILE) as part:
            write_file(part, light, dtype=_DTYPE.value, input_type=_INPUT.value)
    size = (out / check.MODEL_FILE).stat().st_size
    print(f"{light.model.title}, {_DTYPE.value}: {out / check.MODEL_FILE}, {size:,} bytes")


def _check(folder: pathlib.Path) -> int:
    dtype = check.read_golden(folder / check.GOLDEN_FILE).dtype
    results = check.check(folder)
    if not results:
        raise ModelError(f"no runtime is installed: {commands.install('export-check')}")
    text = check.told(folder, results, dtype, _parameters(folder))
    with naming_disk_errors(folder, len(text)), replacing(folder / check.CHECK_FILE) as part:
        part.write_text(text, encoding="utf-8")
    table = Table("runtime", "version", "largest difference", "ms a frame", box=None)
    for result in results:
        cells = (f"unsupported: {result.unsupported}", "")
        if result.difference is not None:
            cells = (f"{result.difference:.1e}", f"{result.milliseconds:.1f}")
        table.add_row(result.runtime, result.version, *cells)
    Console().print(table)
    passed = json.loads(text)["passed"]
    print(f"{'within' if passed else 'not within'} {check.TOLERANCES[dtype]:g} of JAX in float32")
    return 0 if passed else 1


def _parameters(folder: pathlib.Path) -> int | None:
    """How many numbers of the file are parameters; None where the package onnx is not installed."""
    try:
        from piapdf_jax.export.onnx_file import count_parameters

        return count_parameters(folder / check.MODEL_FILE)
    except ImportError:
        return None


if __name__ == "__main__":
    command_line.run(main, arguments=1)
