"""Writes the light detector of an export for runtimes elsewhere, and checks such files in every installed runtime.

python -m experiments.export runs/exports/piapdf/0123456789abcdef --out=detector --check
python -m experiments.export EXPORT --out=detector --formats=onnx,stablehlo --dtype=float16
python -m experiments.export detector --check

The folder holds a file a format, model.json, golden.npz and, after --check, check.json.
"""

import pathlib

import numpy as np
from absl import app, flags
from absl import logging as absl_logging
from rich.console import Console
from rich.table import Table

from data_builders.registry import import_plugins
from piapdf_jax import command_line, commands, paths
from piapdf_jax.export import check
from piapdf_jax.export.formats import BY_FILE, FORMATS, Wanted
from piapdf_jax.model_json import FILE_NAME, read_model, to_json
from piapdf_jax.runtime.disk import naming_disk_errors, replacing

_OUT = flags.DEFINE_string("out", "", "folder of the files, made where it is not there")
_FORMATS = flags.DEFINE_list("formats", ["onnx"], f"comma separated, of {', '.join(FORMATS)}")
_DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "float16"], "of weights and arithmetic")
_INPUT = flags.DEFINE_enum(
    "input", "uint8", ["uint8", "float32"], "images of 0 to 255 or of 0 to 1"
)
_CHECK = flags.DEFINE_bool(
    "check", False, "run the files in every installed runtime; 1 if one differs or none runs one"
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
        _write(place, out, _formats())
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
        raise ValueError(f"{folder} is written already: --check alone checks it again")
    return _check(folder)


def _write(export: pathlib.Path, out: pathlib.Path, formats: list[str]) -> None:
    from piapdf_jax.export.detector_file import golden_frames, golden_probabilities, read_light
    from piapdf_jax.export.operations import count_parameters

    light = read_light(export)
    # Later: who has an export that cannot become a file installs nothing for it.
    _check_installed(formats)
    frames = golden_frames(light.model.image_size)
    out.mkdir(parents=True, exist_ok=True)
    # What a checker said of other files is not true of these, nor are these frames those of other files.
    for name in (check.CHECK_FILE, FILE_NAME, *BY_FILE):
        (out / name).unlink(missing_ok=True)
    files, wanted = {}, Wanted(_DTYPE.value, _INPUT.value)
    common = {**wanted._asdict(), "parameters": count_parameters(light.operations)}
    with naming_disk_errors(out, 0):
        with replacing(out / check.GOLDEN_FILE) as part:
            np.savez_compressed(
                part,
                frames=frames,
                probabilities=golden_probabilities(light, frames),
                dtype=np.array(wanted.dtype),
            )
        for name in formats:
            file = FORMATS[name].file
            with replacing(out / file) as part:
                own = FORMATS[name].write(part, light, wanted)
            files[file] = {"format": name, **common, **check.described(out / file), **own}
            print(
                f"{light.model.title}, {wanted.dtype}: {out / file}, {files[file]['bytes']:,} bytes"
            )
        with replacing(out / FILE_NAME) as part:
            part.write_text(to_json(light.model._replace(files=files)), encoding="utf-8")


def _check_installed(formats: list[str]) -> None:
    lacking = {name: FORMATS[name].lacks() for name in formats}
    extras = sorted({extra for extra in lacking.values() if extra})
    if extras:
        names = ", ".join(name for name, extra in lacking.items() if extra)
        raise ValueError(f"what writes {names} is not installed: {commands.install(*extras)}")


def _check(folder: pathlib.Path) -> int:
    golden = check.read_golden(folder / check.GOLDEN_FILE)
    results = check.check(folder)
    text = check.told(folder, results, golden)
    with naming_disk_errors(folder, len(text)), replacing(folder / check.CHECK_FILE) as part:
        part.write_text(text, encoding="utf-8")
    _print(folder, results, golden.dtype)
    passed = check.within(results, golden.dtype)
    print(
        f"{'within' if passed else 'not within'} {check.TOLERANCES[golden.dtype]:g} of JAX in float32"
    )
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
    Console().print(table)


if __name__ == "__main__":
    command_line.run(main, arguments=1)
