"""Measures size, difference to JAX and time of each format of a light detector, in each installed runtime.

python -m benchmarks.exports --out=docs/exports.md
python -m benchmarks.exports runs/exports/piapdf/0123456789abcdef random:b1 --out=docs/exports.md

Without exports networks of random numbers are written, ``random:tiny`` and ``random:b1``. Every measurement is a
process of its own: one frame after another, the median of them, with one thread and with two. 8 bits are calibrated on
the golden frames: sizes and times are what they would be, and F1 is asked with ``experiments.export``.
"""

import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
from absl import flags
from rich.console import Console
from rich.markdown import Markdown

from benchmarks.random_models import SIZES, random_light
from experiments import export_files, markdown
from piapdf_jax import command_line, paths
from piapdf_jax.detector_runtimes import Probabilities
from piapdf_jax.export import check
from piapdf_jax.export.detector_file import Light, golden_frames, read_light
from piapdf_jax.export.formats import BY_FILE, FORMATS, Wanted

_OUT = flags.DEFINE_string("out", "", "Markdown file with the lines that the table goes between")
_MEASURE = flags.DEFINE_string(
    "measure", "", "FILE,RUNTIME,THREADS: what a process of its own does"
)
START = "<!-- formats: written by benchmarks.exports -->"
_THREADS = (1, 2)
_RANDOM = "random:"
_SECONDS, _LEAST = 3.0, 10
_HEADS = ("model", "file", "type", "MB", "runtime", "largest difference")


def measure(file: pathlib.Path, runtime: str, threads: int) -> dict[str, Any]:
    """Runs the golden frames one by one.

    Returns:
        ``difference``, the largest to JAX, and ``milliseconds``, the median of a frame.
    """
    golden = check.read_golden(file.with_name(check.GOLDEN_FILE))
    probabilities = _loaded(file, runtime, threads)
    frames = golden.frames
    said = np.concatenate([probabilities(frame[None]) for frame in frames])
    spent: list[float] = []
    while sum(spent) < _SECONDS or len(spent) < _LEAST:
        begun = time.perf_counter()
        probabilities(frames[len(spent) % len(frames)][None])
        passed = time.perf_counter() - begun
        # A page tells its own time, without the way there and back.
        spent.append(getattr(probabilities, "milliseconds", 1000 * passed) / 1000)
    difference = float(np.abs(said - golden.probabilities).max())
    return {"difference": difference, "milliseconds": 1000 * statistics.median(spent)}


def _loaded(file: pathlib.Path, runtime: str, threads: int) -> Probabilities:
    if runtime == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file.read_bytes(), options)
        return lambda crops: np.asarray(session.run(None, {"images": crops})[0])
    if runtime == "litert":
        from piapdf_jax.export.litert_file import load_litert

        return load_litert(file, threads=threads)
    if runtime == "opencv":
        import cv2

        cv2.setNumThreads(threads)
    return BY_FILE[file.name].runtimes[runtime].load(file)


def rows_of(title: str, light: Light, folder: pathlib.Path) -> list[list[str]]:
    """Writes one detector in all formats and types, and measures each file in each installed runtime.

    Args:
        title: of the detector.
        light: what is written.
        folder: for the files.

    Returns:
        Cells of a table.
    """
    rows = []
    for dtype in check.TOLERANCES:
        names = [n for n, f in FORMATS.items() if dtype in f.dtypes and not f.missing()]
        out = folder / f"{title}-{dtype}".replace(" ", "_")
        calibration = golden_frames(light.model.image_size) if dtype == "int8" else None
        export_files.write(out, light, names, Wanted(dtype, "uint8", calibration))
        for name in names:
            file = out / FORMATS[name].file
            size = f"{file.stat().st_size / 1e6:.2f}"
            for runtime, found in FORMATS[name].runtimes.items():
                if found.installed():
                    print(title, file.name, dtype, runtime, file=sys.stderr)
                    cells = _cells(file, runtime, found.wrong.get(dtype, ""))
                    rows.append([title, file.name, dtype, size, found.title, *cells])
    return rows


def _cells(file: pathlib.Path, runtime: str, wrong: str) -> list[str]:
    """The largest difference, and milliseconds by number of threads."""
    if wrong:
        return [wrong, *("" for _ in _THREADS)]
    found: dict[int, dict[str, Any]] = {}
    # WebAssembly has one thread in a page that is opened from a disk.
    for threads in _THREADS if runtime != "chromium" else (1,):
        command = [sys.executable, "-m", "benchmarks.exports"]
        command.append(f"--measure={file},{runtime},{threads}")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines()[-1][:200]
            return [reason, *("" for _ in _THREADS)]
        found[threads] = json.loads(done.stdout.splitlines()[-1])
    times = [f"{found[t]['milliseconds']:.1f}" if t in found else "" for t in _THREADS]
    return [f"{found[1]['difference']:.1e}", *times]


def _machine() -> str:
    runtimes = {r.title: r.installed() for f in FORMATS.values() for r in f.runtimes.values()}
    there = ", ".join(f"{name} {version}" for name, version in runtimes.items() if version)
    lacking = [name for name, version in runtimes.items() if not version]
    missing = f"; not installed: {', '.join(lacking)}" if lacking else ""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores, {platform.machine()}, Python {platform.python_version()}; {there}{missing}"
    )


def _named(argument: str) -> tuple[str, Light]:
    """A detector that is asked for, and its title."""
    if argument.startswith(_RANDOM):
        name = argument.removeprefix(_RANDOM)
        return f"{name}, random numbers", random_light(name)
    light = read_light(paths.local_path(argument, "export"))
    encoder = (light.model.model or {})["encoder"]
    return f"{encoder}, {light.model.title}", light


def main(arguments: list[str]) -> None:
    """Prints the table, and writes it where ``--out`` says."""
    if _MEASURE.value:
        file, runtime, threads = _MEASURE.value.rsplit(",", 2)
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
        print(json.dumps(measure(pathlib.Path(file), runtime, int(threads))))
        return
    lights = dict(map(_named, arguments[1:] or [f"{_RANDOM}{name}" for name in SIZES]))
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            row for t, light in lights.items() for row in rows_of(t, light, pathlib.Path(folder))
        ]
    heads = (*_HEADS, *(f"ms a frame, {t} thread{'s' * (t > 1)}" for t in _THREADS))
    lines = [*markdown.heading(heads), *map(markdown.line, rows), "", f"{_machine()}."]
    made = "\n".join(lines)
    Console(width=200).print(Markdown(made))
    if _OUT.value:
        markdown.insert(paths.local_file(_OUT.value, "--out"), START, made)


if __name__ == "__main__":
    command_line.run(main, arguments=sys.maxsize)
