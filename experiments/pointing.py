"""Pointing score: how much of a map's mass lies on the pixels that its action unit moves.

``scores["pointing"]`` of ``pi1``, ``pi2`` and trainings whose export has a decoder holds
``frames`` (number), ``per_unit`` {unit: share}, ``mean``, ``chance`` {unit: share of area}, ``mean_chance``;
of ``pi1`` also ``predefined`` {``per_unit``, ``mean``}, the maps that it learned from. A unit's share is the mean
over the frames that show it. ``pointing.npz`` beside ``frames.npz`` holds ``subject``, ``task``, ``frame`` [n],
``aus`` [K], ``share`` [n, K], ``area`` [n, K] and for ``pi1`` ``predefined`` [n, K]; nan where the unit is off.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data_builders.synthetic_faces import moved
from experiments import gaps
from experiments.data_slices import DataSlice
from experiments.job import Job
from piapdf_jax.batch import images_to_float, unpack_maps
from piapdf_jax.data.frames import load_frame
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.piap import network_apply
from piapdf_jax.runtime.filesystem import explain_disk_errors, replacing
from piapdf_jax.types import Parts

FILE_NAME = "pointing.npz"


def shares(maps: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Computes the share of each map's mass inside moved pixels.

    Args:
        maps: [M, S, S] in [0, 1].
        cover: [M, S, S] in [0, 1], how much of each pixel moves.

    Returns:
        [M] in [0, 1]; nan for an empty map.
    """
    mass = maps.sum(axis=(1, 2), dtype=np.float64)
    inside = (maps * cover).sum(axis=(1, 2), dtype=np.float64)
    return np.where(mass > 0, inside / np.where(mass > 0, mass, 1), np.nan)


def frames_of(job: Job, exported: Parts) -> DataSlice | None:
    """Returns the drawn faces that show what an export's PI maps point to; None for no maps or other faces.

    PI Generator 0, which learns from faces without labels, is asked of the frames that the others are asked of.
    """
    if job.name not in ("pi1", "pi2") and "decoder" not in exported:
        return None
    data = job.config.data.dataset
    test = job.datasets.to_test_fold(data) if job.name == "pi1" else job.slices.test
    drawn = test is not None and test.dataset.startswith("synthetic_faces/")
    return test if drawn else None


def attempted(
    lost: dict[str, str],
    job: Job,
    exported: Parts,
    truth: Callable[[DataSlice, bool], pathlib.Path | None],
    folder: pathlib.Path,
    expected: tuple[type[Exception], ...],
) -> dict[str, Any]:
    """Returns {"pointing": score} where maps are said of drawn faces, else {}; a gap is noted in ``lost``."""
    test = frames_of(job, exported)
    if test is None:
        return {}

    def make() -> dict[str, Any]:
        if (path := truth(test, True)) is None:
            raise gaps.Gap("no table of true labels tells what these faces show")
        return score(job, exported, test, path, folder / FILE_NAME)

    expected = (gaps.Gap, *expected)
    return {"pointing": gaps.attempt(lost, "pointing", make, expected=expected)}


def score(
    job: Job,
    exported: Parts,
    test: DataSlice,
    truth: pathlib.Path,
    path: pathlib.Path,
) -> dict[str, Any]:
    """Computes the score of an export on frames of the test part, and keeps its frames.

    Args:
        job: the training.
        exported: its export.
        test: drawn faces.
        truth: table of their true labels.
        path: of ``pointing.npz``.

    Returns:
        ``scores["pointing"]``.

    Raises:
        Gap: where no test frame can be compared.
    """
    records = test.records()
    table = records.table()
    names = zip(table["subject"], table["task"], table["frame"], strict=True)
    keys = {(str(s), str(t), int(f)): row for row, (s, t, f) in enumerate(names)}
    try:
        found = moved.load_or_draw(truth, list(keys), count=job.config.eval.pointing_frames)
        reading = dataclasses.replace(job.reading(training=False), maps=job.maps, host=0, hosts=1)
        pairs = zip(found.subject, found.task, found.frame, strict=True)
        places = [(str(s), str(t), int(f)) for s, t, f in pairs]
        frames = list(dict.fromkeys(places))
        cover = moved.cover(found.packed, reading.image_size)
    except ValueError as error:
        raise gaps.Gap(str(error)) from error
    loaded = [load_frame(records, keys[name], reading) for name in frames]
    images = np.stack([frame.image for frame in loaded])
    packed = jnp.asarray(np.stack([np.asarray(frame.pi_maps) for frame in loaded]))
    sources = {"share": _said(job, exported, images)}
    if job.name == "pi1":
        sources["predefined"] = np.asarray(unpack_maps(packed, len(job.maps)))
    rows = np.array([frames.index(name) for name in places])
    arrays = _by_frame(sources, cover, rows, found.au, job.maps, len(frames))
    _write(path, frames, job.maps, arrays)
    return summary(arrays, job.maps)


def _said(job: Job, exported: Parts, images: np.ndarray, *, size: int = 16) -> np.ndarray:
    """Soft maps [n, S, S, K] of a generator or a decoder."""
    decoder = "decoder" in exported
    names = ("encoder", "head", "decoder") if decoder else tuple(exported)
    parts = {name: exported[name] for name in names}

    def soft(batch: jax.Array) -> jax.Array | None:
        if decoder:
            return _decoded(job.model, parts, batch)
        return job.stage.predict(parts, batch).pi_probs

    full = np.concatenate([images, images[-1:].repeat(-len(images) % size, axis=0)])
    found = [
        soft(images_to_float(jnp.asarray(full[at : at + size]))) for at in range(0, len(full), size)
    ]
    return np.concatenate([np.asarray(maps) for maps in found])[: len(images)]


@functools.partial(jax.jit, static_argnums=0)
def _decoded(model: ModelConfig, parts: Parts, batch: jax.Array) -> jax.Array | None:
    logits = network_apply(model, parts, batch, mode="eval")[0].pi_logits
    return None if logits is None else jax.nn.sigmoid(logits)


def _by_frame(
    sources: dict[str, np.ndarray],
    cover: np.ndarray,
    rows: np.ndarray,
    aus: np.ndarray,
    maps: tuple[int, ...],
    count: int,
) -> dict[str, np.ndarray]:
    """Shares and areas [n, K] from pairs of frame and unit; nan where the unit is off."""
    arrays = {name: np.full((count, len(maps)), np.nan) for name in (*sources, "area")}
    for column, au in enumerate(maps):
        at = np.flatnonzero(aus == au)
        arrays["area"][rows[at], column] = cover[at].mean(axis=(1, 2))
        for name, said in sources.items():
            arrays[name][rows[at], column] = shares(said[rows[at], :, :, column], cover[at])
    return arrays


def summary(arrays: dict[str, np.ndarray], maps: tuple[int, ...]) -> dict[str, Any]:
    """Computes means over frames by unit, and their means over units; None for none."""

    def of(values: np.ndarray) -> tuple[dict[str, float | None], float | None]:
        known = ~np.isnan(values)
        means = [values[k, c].mean() if k.any() else None for c, k in enumerate(known.T)]
        there = [float(mean) for mean in means if mean is not None]
        by_unit = {
            str(au): None if m is None else float(m) for au, m in zip(maps, means, strict=True)
        }
        return by_unit, float(np.mean(there)) if there else None

    per_unit, mean = of(arrays["share"])
    chance, mean_chance = of(arrays["area"])
    result: dict[str, Any] = {"frames": len(arrays["share"]), "per_unit": per_unit, "mean": mean}
    result |= {"chance": chance, "mean_chance": mean_chance}
    if "predefined" in arrays:
        result["predefined"] = dict(
            zip(("per_unit", "mean"), of(arrays["predefined"]), strict=True)
        )
    return result


def _write(
    path: pathlib.Path,
    frames: list[tuple[str, str, int]],
    maps: tuple[int, ...],
    arrays: dict[str, np.ndarray],
) -> None:
    subject, task, frame = (np.array(column) for column in zip(*frames, strict=True))
    stored: dict[str, Any] = {"subject": subject, "task": task, "frame": frame.astype(np.int64)}
    stored |= {"aus": np.array(maps)} | arrays
    path.parent.mkdir(parents=True, exist_ok=True)
    nbytes = sum(array.nbytes for array in stored.values())
    with explain_disk_errors(path, nbytes), replacing(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **stored)
