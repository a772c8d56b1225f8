"""Writes the files of a light detector into a folder, with golden frames and a ``model.json`` that names them."""

import pathlib
from typing import Any

import numpy as np

from experiments import export_int8
from piapdf_jax.export import check
from piapdf_jax.export.detector_file import Light, golden_frames, golden_probabilities
from piapdf_jax.export.formats import BY_FILE, FORMATS, Runtime, Wanted
from piapdf_jax.export.operations import count_parameters
from piapdf_jax.model_json import FILE_NAME, to_json
from piapdf_jax.runtime.filesystem import explain_disk_errors, replacing

Files = dict[str, dict[str, Any]]


def check_installed(formats: list[str], wanted: Wanted) -> None:
    """Raises for what is missing, before anything is written.

    Args:
        formats: names of ``FORMATS``.
        wanted: what their files have.

    Raises:
        ValueError: for a format without such weights, or what writes it, or for int8 what runs it, not installed.
    """
    unable = [name for name in formats if wanted.dtype not in FORMATS[name].dtypes]
    if unable:
        able = ", ".join(name for name, kind in FORMATS.items() if wanted.dtype in kind.dtypes)
        raise ValueError(
            f"--dtype={wanted.dtype} is supported by {able}, not by {', '.join(unable)}"
        )
    lacking = {name: told for name in formats if (told := FORMATS[name].missing())}
    if lacking:
        how = "; ".join(dict.fromkeys(lacking.values()))
        raise ValueError(f"packages to write {', '.join(lacking)} are not installed: {how}")
    if wanted.dtype != "int8":
        return
    silent = [name for name in formats if _runtime(name, wanted.dtype) is None]
    if silent:
        needed = next(iter(FORMATS[silent[0]].runtimes.values()))
        raise ValueError(
            f"int8 files are scored before they are published, but no runtime for {silent[0]} is installed:"
            f" {needed.missing()}"
        )


def write(
    out: pathlib.Path,
    light: Light,
    formats: list[str],
    wanted: Wanted,
    sample: export_int8.Sample | None = None,
) -> Files:
    """Writes all files of a folder; those of an earlier export go.

    Args:
        out: the folder, made where it is not there.
        light: the detector.
        formats: names of ``FORMATS``.
        wanted: what the files have.
        sample: for int8, labeled frames to score before and after.

    Returns:
        What ``model.json`` says of each file.
    """
    frames = golden_frames(light.model.image_size)
    out.mkdir(parents=True, exist_ok=True)
    # What a checker said of other files is not true of these.
    for name in (check.CHECK_FILE, FILE_NAME, *BY_FILE):
        (out / name).unlink(missing_ok=True)
    files: Files = {}
    common = {"dtype": wanted.dtype, "input_type": wanted.input_type}
    common |= {"parameters": count_parameters(light.operations)}
    with explain_disk_errors(out, 0):
        with replacing(out / check.GOLDEN_FILE) as part:
            probabilities, dtype = golden_probabilities(light, frames), np.array(wanted.dtype)
            np.savez_compressed(part, frames=frames, probabilities=probabilities, dtype=dtype)
        for name in formats:
            path = out / FORMATS[name].file
            with replacing(path) as part:
                own = FORMATS[name].write(part, light, wanted)
            files[path.name] = {"format": name, **common, **check.described(path), **own}
        _write_model(out, light, files)
        if sample is not None:
            _score(out, light, files, sample)
            _write_model(out, light, files)
    return files


def _write_model(out: pathlib.Path, light: Light, files: Files) -> None:
    with replacing(out / FILE_NAME) as part:
        part.write_text(to_json(light.model._replace(files=files)), encoding="utf-8")


def _score(out: pathlib.Path, light: Light, files: Files, sample: export_int8.Sample) -> None:
    """Adds to each file F1 before and after, by unit."""
    units = light.model.units
    before = export_int8.f1_by_unit(lambda x: golden_probabilities(light, x), sample, units)
    for name, facts in files.items():
        runtime = _runtime(facts["format"], facts["dtype"])
        assert runtime is not None  # asked before
        after = export_int8.f1_by_unit(runtime.load(out / name), sample, units)
        facts |= {"f1_units": list(sample.aus), "f1_before": before, "f1_after": after}


def _runtime(name: str, dtype: str) -> Runtime | None:
    """The first installed runtime of a format that runs a type of weights."""
    able = (r for r in FORMATS[name].runtimes.values() if dtype not in r.wrong and r.installed())
    return next(able, None)
