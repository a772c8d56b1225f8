"""Checks made before the first training starts, so that errors show in minutes instead of hours."""

import pathlib
from collections.abc import Iterable
from typing import Any

from experiments.config import ConfigError
from experiments.feeds import check_pools
from experiments.job import Job
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.encoder_check import check_encoder
from piapdf_jax.models.encoders import is_plugin_encoder
from piapdf_jax.runtime.mesh import check_divides
from piapdf_jax.stages.pi2_refine import PI2Stage


def before_data(jobs: Iterable[Job], devices: int, exports: pathlib.Path) -> None:
    """Refuses what is known to fail before a data set is opened or made.

    Args:
        jobs: the trainings that are wanted.
        devices: over which a batch is split.
        exports: folder of all exports; a training without one there is to come.

    Raises:
        ConfigError: naming the key.
    """
    jobs = list(jobs)
    for job in jobs:
        check_pools(job)
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


def encoders(jobs: Iterable[Job]) -> None:
    """Refuses an encoder from outside that is not as it should be, on images and on as many PI maps as are trained on.

    Raises:
        ConfigError: naming the key, and what the encoder does.
    """
    wanted: set[tuple[ModelConfig, int]] = set()
    for job in jobs:
        stage: Any = job.stage
        if "encoder" in getattr(stage, "parts", ()) and is_plugin_encoder(stage.model.encoder):
            wanted.add((stage.model, stage.num_maps if isinstance(stage, PI2Stage) else 3))
    for model, channels in sorted(wanted, key=lambda pair: pair[1]):
        try:
            check_encoder(model, channels)
        except ValueError as error:
            raise ConfigError(
                f"model.encoder={model.encoder}, on {channels} channels: {error}"
            ) from error


def records(job: Job) -> None:
    """Refuses parts without records, and records without the PI maps or landmarks that a training learns by.

    Raises:
        ConfigError: for records without them, naming the data set.
        NoRecords: naming split and folder.
    """
    train = job.slices.train
    for part in (job.slices.validation, *job.slices.read[1:]):
        if part is not None:
            part.records()
    feed = job.training.feed
    needed = {
        "pi_maps": ("PI maps", feed.maps),
        "landmarks": ("landmarks", feed.reads_landmarks(job)),
    }
    for feature, (what, read) in needed.items():
        if read and feature not in train.records()[0]:
            raise ConfigError(
                f"data set {train.dataset!r} has no {what}, which {job.name} learns: its records are"
                " pictures of people alone"
            )
