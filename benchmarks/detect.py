"""Measures frames per second of ``experiments.detect``, end to end, by face finder, runtime and model.

python -m benchmarks.detect
python -m benchmarks.detect --film=FILM.mp4 --models=tiny=FOLDER_OR_ONNX,b1=FOLDER_OR_ONNX

Without ``--film``, a film of 1280 x 720 pixels with one face is drawn; without ``--models``, networks with random
weights are used, which are as fast as trained ones. Every run is a separate command, as users start it.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import cv2
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from benchmarks.random_models import write_random_models
from piapdf_jax import command_line, faces, paths

_FILM = flags.DEFINE_string("film", "", "film to look at; left out, one is drawn")
_SECONDS = flags.DEFINE_integer("seconds", 12, "of the drawn film", lower_bound=1)
_MODELS = flags.DEFINE_list(
    "models", [], "NAME=PATH, an export or an .onnx file; left out, tiny and b1"
)
_RUNTIMES = flags.DEFINE_list("runtimes", ["onnx", "opencv"], "what runs .onnx files")
_FINDERS = flags.DEFINE_list("finders", list(faces.FINDERS), "face finders")
_WORKERS = flags.DEFINE_integer("workers", None, "of the command (default: its own)")

RATE = 25
_SPEED = re.compile(
    r"([\d.]+) frames/s; of the work: decoding (\d+)%, finding (\d+)%, network (\d+)%"
)


class Speed(NamedTuple):
    """A command: frames a second end to end and without its start, shares in percent, MiB of its largest process."""

    frames: int
    whole: float
    running: float
    decoding: int
    finding: int
    network: int
    peak_mib: float


def draw_film(
    path: pathlib.Path, seconds: int, *, size: tuple[int, int] = (1280, 720)
) -> pathlib.Path:
    """Draws a film of a person who moves to and fro and smiles now and then."""
    from data_builders.synthetic_faces import population, scene
    from data_builders.synthetic_faces.render import render

    person = population.person("bp4d", population.subjects("bp4d")[0])
    light = scene.draw_scene(np.random.default_rng(0), spread=0.3)
    side = size[1] - 120
    smiles = [
        render(person, {12: k / 7, 6: k / 7}, light, size=side, side=3.2).image for k in range(8)
    ]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, size)
    for k in range(seconds * RATE):
        frame = np.full((size[1], size[0], 3), 96, np.uint8)
        x = round((size[0] - side) / 2 * (1 + np.sin(k / 30)))
        step = k // 3 % 16
        frame[60 : 60 + side, x : x + side] = smiles[min(step, 15 - step)]
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def run(model: str, runtime: str, finder: str, film: pathlib.Path) -> Speed:
    """Runs the command on a film.

    Raises:
        RuntimeError: where it fails; with what it printed.
    """
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "experiments.detect", str(film), f"--out={out}"]
        command += [f"--model={model}", f"--finder={finder}", f"--runtime={runtime}"]
        if _WORKERS.value is not None:
            command.append(f"--workers={_WORKERS.value}")
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        peak = _watch(process)
        printed, errors = process.communicate()
        spent = time.perf_counter() - begun
    told = _SPEED.search(printed)
    if process.returncode or not told:
        raise RuntimeError(f"{' '.join(command)}: {errors or printed}")
    frames = int(re.search(r"^(\d+) frames", printed, re.MULTILINE)[1])  # pyright: ignore
    shares = [int(told[k]) for k in (2, 3, 4)]
    return Speed(frames, frames / spent, float(told[1]), *shares, peak)


def _watch(process: subprocess.Popen[str]) -> float:
    """The largest resident memory of a command and of the processes that it starts, in MiB, until it ends."""
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.05)
    return peak


def memory(pid: int) -> float:
    """Returns the proportional memory of a process and of those below it, in MiB (Linux)."""
    total = 0.0
    try:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        total += int(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1]) / 1024  # pyright: ignore
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            below = (task / "children").read_text(encoding="ascii").split()
            total += sum(memory(int(child)) for child in below)
    except (OSError, TypeError):
        pass  # it has ended
    return total


def main(arguments: list[str]) -> None:
    """Prints a row for every finder, runtime and model."""
    del arguments
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        film = paths.local_path(_FILM.value, "--film") if _FILM.value else None
        film = film or draw_film(folder / "film.mp4", _SECONDS.value)
        models = dict(pair.partition("=")[::2] for pair in _MODELS.value)
        models = models or write_random_models(folder)
        table = Table(
            *("model", "runtime", "finder", "frames", "frames/s", "with start"),
            *("decoding", "finding", "network", "MiB"),
        )
        for model, path in models.items():
            for runtime in _RUNTIMES.value:
                for finder in _FINDERS.value:
                    found = run(path, runtime, finder, film)
                    table.add_row(
                        *(model, runtime, finder, str(found.frames), f"{found.running:.1f}"),
                        f"{found.whole:.1f}",
                        *(f"{v}%" for v in (found.decoding, found.finding, found.network)),
                        f"{found.peak_mib:.0f}",
                    )
    Console(width=110).print(table)


if __name__ == "__main__":
    command_line.run(main)
