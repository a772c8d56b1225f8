"""Measures how many images per second one core reads, step by step, and how many cores a device needs.

python -m benchmarks.reading                                  # draws a few synthetic faces first
python -m benchmarks.reading --data_dir=SHARDS --dataset=bp4d --split=part1 --gpu_images_per_second=800

A rate "a core" is images over CPU time, of this process and of its workers, so that other programs on the machine
disturb it little; every number is the median of some runs.
"""

import dataclasses
import os
import pathlib
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import app, flags, logging
from rich.console import Console
from rich.table import Table

from piapdf_jax import command_line
from piapdf_jax.action_units import BP4D_AUS
from piapdf_jax.data import evaluation, prefetch, source, streams
from piapdf_jax.data.augment import AugmentConfig
from piapdf_jax.data.feedback_stream import FeedbackStream
from piapdf_jax.data.frames import ReaderConfig, load_frame

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "data_dir",
    None,
    "Directory of data sets; left out, synthetic faces are drawn to a temporary one.",
)
flags.DEFINE_string("dataset", None, "Data set with action units, such as bp4d.")
flags.DEFINE_string("split", "part1", "Split expression of it.")
flags.DEFINE_integer("image_size", 256, "Side of the images that are read.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Images of a batch.", lower_bound=1)
flags.DEFINE_integer("batches", 24, "Batches of a run.", lower_bound=1)
flags.DEFINE_integer("runs", 5, "Runs, of which the median is printed.", lower_bound=1)
flags.DEFINE_integer(
    "gpu_images_per_second", None, "Images a second of your device's training step.", lower_bound=1
)

ASSUMED_RATES = (250, 500, 1000, 2000)  # images a second of a device; nobody measured them
AIM = 600  # images a second a core, 256 pixels, maps and augmentation

_PEOPLE = {"bp4d": 2, "webface": 4}


@dataclasses.dataclass(frozen=True)
class Rate:
    """What reading one image takes.

    Attributes:
        cpu: seconds of CPU time, all processes.
        main: of these, seconds in the process that trains.
        wall: seconds.
    """

    cpu: float
    main: float
    wall: float


@dataclasses.dataclass(frozen=True)
class Stamped:
    """A stream whose batches say which process made them, and how much CPU time it had used by then."""

    stream: Callable[[int], Any]

    def __call__(self, step: int) -> tuple[Any, np.ndarray]:
        """The batch of a step, and its stamp."""
        return self.stream(step), np.array([os.getpid(), time.process_time()])


def median(rates: list[Rate]) -> Rate:
    """The median of each number over some runs."""
    return Rate(*map(statistics.median, zip(*map(dataclasses.astuple, rates), strict=True)))


def rate_of_calls(function: Callable[[int], Any], calls: range, images: int) -> Rate:
    """Calls a function here, in one thread; each call reads some images."""
    wall, cpu = time.perf_counter(), time.process_time()
    for call in calls:
        function(call)
    cpu, count = time.process_time() - cpu, len(calls) * images
    return Rate(cpu / count, cpu / count, (time.perf_counter() - wall) / count)


def rates_of_stream(stream: Callable[[int], Any], workers: int) -> list[Rate]:
    """Reads as a training does, run after run; the start of the workers is left out."""
    steps: Any = prefetch.prefetch(Stamped(stream), 0, workers=workers)
    try:
        for _ in range(max(1, 2 * workers)):
            next(steps)
        return [_rate_of_batches(steps, workers) for _ in range(FLAGS.runs)]
    finally:
        steps.close()


def _rate_of_batches(steps: Iterator[Any], workers: int) -> Rate:
    stamps: dict[int, list[float]] = {}
    wall, main = time.perf_counter(), time.process_time()
    for _ in range(FLAGS.batches):
        _, (process, used) = next(steps)
        stamps.setdefault(int(process), []).append(float(used))
    wall, main = time.perf_counter() - wall, time.process_time() - main
    count, there = FLAGS.batches * FLAGS.batch_size, 0.0
    if workers:
        pairs = [(used[-1] - used[0], len(used) - 1) for used in stamps.values()]
        there = sum(cpu for cpu, _ in pairs) / sum(number for _, number in pairs)
    return Rate(there / FLAGS.batch_size + main / count, main / count, wall / count)


def measured(faces: source.Records, people: source.Records | None) -> Iterator[tuple[str, Rate]]:
    """Every line of the table."""
    runs, batches, size = FLAGS.runs, FLAGS.batches, FLAGS.batch_size
    # As of a data set too large for memory: each frame is decoded each time.
    plain = ReaderConfig(FLAGS.image_size, size, aus=BP4D_AUS, keep_bytes=0)
    maps = dataclasses.replace(plain, maps=BP4D_AUS)
    moved = dataclasses.replace(maps, augment=AugmentConfig())
    rng, rows = np.random.default_rng(0), range(min(len(faces), batches * size))

    def line(title: str, function: Callable[[int], Any], calls: range, images: int = 1) -> Any:
        return title, median([rate_of_calls(function, calls, images) for _ in range(runs)])

    yield line("record: read and parse", lambda row: faces[row], rows)
    yield line("+ JPEG", lambda row: load_frame(faces, row, plain), rows)
    yield line("+ maps", lambda row: load_frame(faces, row, maps), rows)
    yield line("+ augmentation", lambda row: load_frame(faces, row, moved, rng), rows)
    labeled = streams.LabeledStream(faces, moved)
    yield line("LabeledStream with maps, a call", labeled, range(batches), size)
    without = dataclasses.replace(moved, maps=())
    half = dataclasses.replace(without, batch_size=size // 2)
    whole = [
        ("LabeledStream with maps", labeled),
        ("LabeledStream without maps", streams.LabeledStream(faces, without)),
        ("FeedbackStream", FeedbackStream(faces, ((faces, 1.0),), 0.1, half)),
        ("EvaluationStream with maps", _Endless(evaluation.EvaluationStream(faces, maps))),
    ]
    if people is not None:
        whole.append(("IdentityStream", streams.IdentityStream(people, without)))
    for title, stream in whole:
        for workers in (0, 1, 2):
            yield f"{title}, workers: {workers}", median(rates_of_stream(stream, workers))


@dataclasses.dataclass(frozen=True)
class _Endless:
    """An evaluation that begins again at its end."""

    stream: evaluation.EvaluationStream

    def __call__(self, step: int) -> Any:
        return self.stream(step % len(self.stream))


def draw_faces(folder: str) -> None:
    """Builds two small synthetic data sets with their own builder."""
    import tensorflow_datasets as tfds

    from data_builders.synthetic_faces import synthetic_faces_dataset_builder as faces

    tfds.disable_progress_bar()
    for config in faces.Builder.BUILDER_CONFIGS:
        if config.name in _PEOPLE:
            few = dataclasses.replace(
                config, name=f"few_{config.name}", people=_PEOPLE[config.name]
            )
            builder = faces.Builder(config=few, data_dir=folder)
            builder.download_and_prepare(file_format="array_record")


def cores_table(rates: dict[str, Rate], given: int | None) -> Table:
    """Cores that keep one device busy: its images a second over the images a second that a core reads."""
    table = Table("device, images/s", "", "PI stage 1", "AU training", "feedback")
    streams_of = ("LabeledStream with maps", "LabeledStream without maps", "FeedbackStream")
    # Feedback reads an unlabeled image with each labeled one, and counts the labeled ones alone.
    images = (1, 1, 2)
    for device in (*ASSUMED_RATES, *([given] if given else [])):
        cores = [
            number * device * rates[f"{title}, workers: 1"].cpu
            for number, title in zip(images, streams_of, strict=True)
        ]
        whence = "given" if device == given else "assumed"
        table.add_row(str(device), whence, *(f"{value:.1f}" for value in cores))
    return table


def report(faces: source.Records, people: source.Records | None) -> None:
    """Measures and prints."""
    console = Console(width=100)
    console.print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()};"
        f" {faces.folder.parent.name} {faces.split}, {FLAGS.image_size} px;"
        f" medians of {FLAGS.runs} runs"
    )
    console.print(
        f"{'':42}{'ms CPU/image':>14}{'of it here':>12}{'images/s a core':>17}{'wall':>7}"
    )
    rates = {}
    for title, rate in measured(faces, people):
        rates[title] = rate
        console.print(
            f"{title:42}{1e3 * rate.cpu:14.2f}{1e3 * rate.main:12.2f}{1 / rate.cpu:17.0f}"
            f"{1 / rate.wall:7.0f}",
            highlight=False,
        )
    with_maps = 1 / rates["LabeledStream with maps, workers: 1"].cpu
    console.print(f"with maps and augmentation: {with_maps:.0f} images/s a core (aim: {AIM})")
    console.print("cores that one device needs, from one worker's rate:")
    console.print(cores_table(rates, FLAGS.gpu_images_per_second))


def main(_: list[str]) -> None:
    """Takes the data sets that are named, or draws some."""
    logging.set_verbosity(logging.ERROR)
    if FLAGS.data_dir:
        if not FLAGS.dataset:
            raise app.UsageError("--data_dir needs --dataset, such as --dataset=bp4d")
        try:
            folder = source.dataset_folder(FLAGS.data_dir, FLAGS.dataset)
            faces = source.Records(folder, FLAGS.split)
        except (OSError, ValueError) as error:
            raise app.UsageError(str(error)) from error
        report(faces, None)
        return
    with tempfile.TemporaryDirectory() as made:
        draw_faces(made)
        folders = [
            source.dataset_folder(pathlib.Path(made), f"synthetic_faces/few_{name}")
            for name in _PEOPLE
        ]
        report(source.Records(folders[0], "part1+part2+part3"), source.Records(folders[1], "train"))


if __name__ == "__main__":
    command_line.run(main)
