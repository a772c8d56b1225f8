"""Collects the ``model.json`` of an export with a head of action units at the end of its training."""

import dataclasses
import logging
import pathlib
from typing import Any

import numpy as np
from jax.sharding import Mesh

from experiments import report
from experiments.catalog import Catalog
from experiments.job import Job
from experiments.licenses import licenses
from piapdf_jax import drawn_detector, faces
from piapdf_jax.action_units import record_columns
from piapdf_jax.data.evaluation import evaluation_batches
from piapdf_jax.data.source import SomeRows
from piapdf_jax.metrics import base_rates, matching_cut
from piapdf_jax.model_json import FILE_NAME, Data, License, Model, read_model, to_json
from piapdf_jax.models.config import encoder_of, part_settings
from piapdf_jax.models.pretrained import weights_of
from piapdf_jax.records import IMAGE_SIZE
from piapdf_jax.runtime.evaluate import evaluate
from piapdf_jax.types import Parts

#: At most so many frames, evenly spaced over those of the training, are scored for the cuts.
MAX_FRAMES = 50_000
log = logging.getLogger("piapdf")


def model_files(catalog: Catalog, job: Job, exported: Parts, mesh: Mesh) -> dict[str, str]:
    """Scores the training frames of an export with a head of action units, and describes it.

    One pass of ``predict`` over at most ``MAX_FRAMES`` frames, not augmented; every host takes part.

    Args:
        catalog: every training of the configuration.
        job: the training.
        exported: its parts.
        mesh: devices.

    Returns:
        {``model.json``: text}; {} for an export without a head of action units.
    """
    if "head" not in exported or not job.training.feed.labels:
        return {}
    records = job.slices.train.records()
    labels = records.table()["labels"][:, record_columns(job.units)]
    rows = chosen_rows(len(labels))
    log.info("%s: scores of %d training frames, for the cuts", job.training.title, len(rows))
    reading = dataclasses.replace(job.reading(training=False, devices=mesh.size), maps=())
    batches: Any = evaluation_batches(SomeRows(records, rows), reading)  # pyright: ignore
    scores = evaluate(job.stage.predict, exported, batches, mesh=mesh).au_probs
    if scores is None:
        return {}
    rates = dict(zip(job.units, base_rates(labels), strict=True))
    cuts, no_cut = {}, {}
    for au, column in zip(job.units, scores.T, strict=True):
        cuts[au], reason = matching_cut(column, rates[au])
        no_cut |= {au: reason} if reason else {}
    frames = {"labeled": len(labels), "scored": len(rows)}
    model = describe(catalog, job, exported)
    return {
        FILE_NAME: to_json(
            model._replace(base_rates=rates, cuts=cuts, no_cut=no_cut, frames=frames)
        )
    }


def describe(catalog: Catalog, job: Job, exported: Parts) -> Model:
    """Returns all that needs no frames; rates, cuts and counts are left empty."""
    jobs = [catalog.job(name) for name in sorted(catalog.rests_on(job.name))]
    data = [part for other in jobs for part in _data(other)]
    names = [part.name for part in data]
    parts, networks = _networks(job, exported)
    # Networks that are a plugin's own start from no file of weights.
    ours = any(hasattr(other.stage, "model") for other in jobs)
    before = _learned_before(job.config.model.pretrained) if ours else []
    # What chooses data that are only scored on decides nothing of an export.
    stand_ins = {
        key: told
        for key, told in report.stand_ins(job.config, jobs).items()
        if told.partition(" for ")[0] in names
    }
    return Model(
        training=job.name,
        title=job.training.title,
        digest=catalog.digest(job.name),
        units=job.units,
        image_size=job.config.data.image_size,
        mean=tuple(networks["mean"]) if networks else None,
        std=tuple(networks["std"]) if networks else None,
        parts=parts,
        model=networks,
        crop={"size": IMAGE_SIZE, "box_scale": faces.BOX_SCALE, "box_lift": faces.BOX_LIFT},
        base_rates={},
        cuts={},
        no_cut={},
        frames={},
        data=(*data, *before),
        stand_ins=stand_ins,
        licences=_licenses(job, [*names, *(part.name for part in before)], ours=ours),
        files={},
    )


def _learned_before(pretrained: str) -> list[Data]:
    """What the shipped detector learned from, where encoders start from it."""
    if pretrained != drawn_detector.NAME:
        return []
    own = read_model(drawn_detector.FOLDER).data
    return [part._replace(training=f"{drawn_detector.NAME}: {part.training}") for part in own]


def _networks(job: Job, exported: Parts) -> tuple[tuple[str, ...], dict[str, Any] | None]:
    """Parts that make the scores, and the settings of their networks; None for a plugin's own networks."""
    if not type(job.stage).__module__.startswith("piapdf_jax."):
        return tuple(sorted(exported)), None
    parts = tuple(name for name in ("generator", "encoder", "head") if name in exported)
    settings = part_settings(job.model, parts)
    mean, std = job.model.normalization
    return parts, settings | {"mean": mean, "std": std}


def _licenses(job: Job, names: list[str], *, ours: bool) -> tuple[License, ...]:
    model = job.config.model
    weights = weights_of(encoder_of(model)) if ours else None
    return licenses(
        names, model.pretrained if ours else "none", weights.published if weights else {}
    )


def _data(job: Job) -> list[Data]:
    """What one training reads; its labels are those of its own slice and of its judges."""
    found, with_labels = [], (job.slices.train, job.slices.judges)
    for part in job.slices.read:
        people = part.people(job.datasets.describe(part.dataset).people_of(part.split))
        labeled = job.training.feed.labels and any(part is own for own in with_labels)
        version = pathlib.Path(part.folder).name
        found.append(Data(job.name, part.dataset, version, part.split, len(people), labeled))
    return found


def chosen_rows(count: int) -> np.ndarray:
    """Returns up to ``MAX_FRAMES`` rows of ``count``, evenly spaced, in order."""
    wanted = min(count, MAX_FRAMES)
    return np.arange(wanted) * count // wanted
