"""Measures how fast builders turn pictures into records, by step and per core, and estimates the time for all of BP4D.

python -m benchmarks.builders [--frames=64] [--repeats=5]

Pictures are drawn faces in two sizes. CPU time is that of this process, so other work on the machine does not count;
the wall time beside it shows how much other work there was.
"""

import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import rich.console
import rich.table
import tensorflow_datasets as tfds
from absl import flags

from data_builders import prepare, schema, videos, work_units
from data_builders.synthetic_faces import population
from data_builders.synthetic_faces.render import render
from data_builders.synthetic_faces.scene import draw_scene
from piapdf_jax import command_line, faces

BP4D_FRAMES = 380_000
#: Height and width of the pictures: cut out already, and as BP4D has them.
SIZES = {"256 x 256": (256, 256), "1392 x 1040": (1392, 1040)}
_FACE = 3.7  # side of a picture, in outer-eye distances of the average face


class Rate(NamedTuple):
    """A step of one size: seconds a frame, of CPU and by the clock, medians over the repeats."""

    step: str
    size: str
    cpu: float
    wall: float


class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes records that are there already."""

    VERSION = tfds.core.Version("1.0.0")
    examples: list[tuple[str, dict[str, Any]]]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=schema.au_features())

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Any:
        return iter(self.examples)


def write_pictures(folder: pathlib.Path, shape: tuple[int, int], count: int) -> videos.Block:
    """Draws one person's frames, with their true landmarks, as JPEG files."""
    height, width = shape
    above = (height - width) // 2
    face = population.person("bp4d", "F001")
    frames, landmarks = [], []
    for number in range(count):
        rng = population.generator("benchmark", number)
        strengths = population.loose_expression(rng)
        picture = render(face, strengths, draw_scene(rng), size=width, side=_FACE)
        image = cv2.copyMakeBorder(picture.image, above, above, 0, 0, cv2.BORDER_REPLICATE)
        path = folder / f"{number:04d}.jpg"
        data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        path.write_bytes(data.tobytes())
        frames.append(videos.VideoFrame(number, str(path), {1: 1, 2: 0}))
        landmarks.append(picture.landmarks + [0, above])
    return videos.Block("F001", "T1", tuple(frames), np.array(landmarks, np.float32))


def blocks(whole: videos.Block, size: int = 32) -> list[videos.Block]:
    """The units of work that a builder makes of a video."""
    return [
        whole._replace(frames=whole.frames[k : k + size], landmarks=whole.landmarks[k : k + size])
        for k in range(0, len(whole.frames), size)
    ]


def timed(run: Callable[[], Any], frames: int, repeats: int) -> tuple[float, float]:
    """Median CPU and wall seconds a frame; a first run does not count."""
    run()
    cpu, wall = [], []
    for _ in range(repeats):
        before = time.process_time(), time.perf_counter()
        run()
        cpu.append((time.process_time() - before[0]) / frames)
        wall.append((time.perf_counter() - before[1]) / frames)
    return statistics.median(cpu), statistics.median(wall)


def steps(block: videos.Block, scratch: pathlib.Path) -> dict[str, Callable[[], Any]]:
    """What a builder does with a frame, step by step."""
    detector = faces.DlibDetector()
    work = blocks(block)
    fresh, kept = scratch / "fresh", work_units.Kept(videos.make, str(scratch / "kept"))
    made = [kept(unit) for unit in work]
    Written.examples = [example for unit in made for example in unit.examples]

    def keep() -> None:
        for unit, result in zip(work, made, strict=True):
            work_units.Kept(lambda _, result=result: result, str(fresh))(unit)
        for path in fresh.iterdir():
            path.unlink()

    def take() -> None:
        for unit in work:
            assert kept(unit).reused

    def write() -> None:
        with tempfile.TemporaryDirectory(dir=scratch) as folder, prepare._quiet():
            builder = Written(data_dir=folder)
            builder.download_and_prepare(file_format="array_record")

    return {
        "landmarks (reading included)": lambda: [
            detector(faces.read_image(path)) for path in block.paths
        ],
        "reading, crop, maps, encoding": lambda: [videos.make(unit) for unit in work],
        "keeping for an interrupted build": keep,
        "taking from an interrupted build": take,
        "writing the shards (one process)": write,
    }


def measure(frames: int, repeats: int) -> list[Rate]:
    """All steps at both sizes."""
    cv2.setNumThreads(1)
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for size, shape in SIZES.items():
            scratch = pathlib.Path(folder, size)
            (scratch / "pictures").mkdir(parents=True)
            block = write_pictures(scratch / "pictures", shape, frames)
            for step, run in steps(block, scratch).items():
                rates.append(Rate(step, size, *timed(run, frames, repeats)))
    return rates


def main(argv: list[str]) -> None:
    """Prints the table."""
    del argv
    table = rich.table.Table("step", "picture", "CPU ms", "wall ms", "frames/s a core",
                             f"{BP4D_FRAMES:,} frames, core hours")  # fmt: skip
    for rate in measure(flags.FLAGS.frames, flags.FLAGS.repeats):
        hours = BP4D_FRAMES * rate.cpu / 3600
        table.add_row(rate.step, rate.size, f"{1e3 * rate.cpu:.2f}", f"{1e3 * rate.wall:.2f}",
                      f"{1 / rate.cpu:.0f}", f"{hours:.2f}")  # fmt: skip
    rich.console.Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    flags.DEFINE_integer("frames", 64, "Pictures of a block.", lower_bound=1)
    flags.DEFINE_integer("repeats", 5, "Runs, of which the median is printed.", lower_bound=1)
    command_line.run(main)
