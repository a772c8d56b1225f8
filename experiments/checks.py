"""What must hold before the first training starts: found in minutes what would else fail after hours."""

import pathlib
from collections.abc import Iterable

from experiments.config import ConfigError
from experiments.datasets import DataSlice
from experiments.feeds import disfa_folder
from experiments.job import Job
from piapdf_jax.runtime.mesh import check_divides


def before_data(jobs: Iterable[Job], devices: int, exports: pathlib.Path) -> None:
    """Refuses what is known to fail before a data set is opened or made.

    Args:
        jobs: the trainings that are wanted.
        devices: over which a batch is split.
        exports: folder of all exports; a training that has none there is not spared.

    Raises:
        ConfigError: naming the key.
    """
    jobs = list(jobs)
    for job in jobs:
        if hasattr(job.section, "disfa_fraction"):
            disfa_folder(job)
    divide([job for job in jobs if not (exports / job.name).exists()], devices)


def divide(jobs: Iterable[Job], devices: int) -> None:
    """Refuses batches that do not divide over the devices.

    Raises:
        ConfigError: naming every key, and the nearest sizes that do.
    """
    found: dict[str, str] = {}
    for job in jobs:
        try:
            check_divides(size := job.section.batch_size, devices)
        except ValueError as error:
            found[f"{job.training.section}.batch_size={size}"] = str(error)
    if found:
        raise ConfigError("; ".join(f"{key}: {told}" for key, told in found.items()))


def records(job: Job) -> None:
    """Refuses splits without records, and records without the PI maps that a training or its scores read.

    Raises:
        ConfigError: for records without maps, naming the data set.
        NoRecords: naming split and folder.
    """
    slices, feed = job.slices, job.training.feed
    _check(slices.train, maps=feed.maps)
    _check(slices.test, maps=feed.maps or job.training.scores_maps)
    for part in (slices.validation, *(pool for pool, _ in slices.pools)):
        if part is not None:
            _check(part)


def _check(part: DataSlice, *, maps: bool = False) -> None:
    records = part.records()
    if maps and "pi_maps" not in records[0]:
        raise ConfigError(
            f"data set {part.dataset!r} has no PI maps, which are learned or scored here: its"
            " records are pictures of people alone"
        )
