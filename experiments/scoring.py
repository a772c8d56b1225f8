"""Computes every number of a results table, from the predictions for a split and from label tables."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from experiments import au_scores, gaps
from experiments.config import ConfigError
from experiments.data_slices import DataSlice
from experiments.gaps import Gap, attempt, rounded
from experiments.job import Job
from piapdf_jax import identity_metrics, metrics
from piapdf_jax.action_units import DISFA_POSITIVE_INTENSITY, UNKNOWN, record_columns
from piapdf_jax.batch import Batch
from piapdf_jax.data.evaluation import evaluation_batches
from piapdf_jax.data.frames import ReaderConfig
from piapdf_jax.model_json import Model
from piapdf_jax.runtime.evaluate import Evaluation, evaluate
from piapdf_jax.runtime.exports import ExportError
from piapdf_jax.runtime.writers import Progress
from piapdf_jax.stages.base import Scores, Stage
from piapdf_jax.types import Parts


@dataclasses.dataclass(frozen=True)
class Tools:
    """What a score needs beside a training and its export.

    Attributes:
        reading: how the test split is read.
        mesh: devices that each batch is split over; None for one.
        truth: table of true labels, where they are known.
        finished: name of a training -> its stage and its export.
        model: what the ``model.json`` of the export says; it gives None where there is none.
        beside: the parts that lie beside the export, a teacher's.
        keep: takes what was said of each test frame, by the names of ``FrameTable``.
    """

    reading: ReaderConfig
    mesh: Mesh | None = None
    truth: pathlib.Path | None = None
    finished: Callable[[str], tuple[Stage, Parts]] | None = None
    model: Callable[[], Model | None] | None = None
    beside: Callable[[], Parts] | None = None
    keep: Callable[[dict[str, Any]], None] | None = None


def tested(job: Job) -> DataSlice:
    """Returns what an export is scored on; without it nobody asks for scores."""
    assert job.slices.test is not None
    return job.slices.test


def evaluated(job: Job, exported: Parts, tools: Tools) -> Evaluation:
    """Returns the predictions of an export for its test split."""
    with batches_of(job, tools.reading) as batches:
        return evaluate(job.stage.predict, exported, batches, mesh=tools.mesh)


@contextlib.contextmanager
def batches_of(
    job: Job, reading: ReaderConfig, part: DataSlice | None = None
) -> Iterator[Iterator[Batch]]:
    """Yields a split once, with a bar of how far it is.

    Args:
        job: whose.
        reading: how records are read.
        part: which records; None for those that the export is scored on.
    """
    records = (part or tested(job)).records()
    steps = math.ceil(len(records) / reading.batch_size)
    shown, size = jax.process_index() == 0, reading.batch_size
    with Progress(f"scores of {job.name}", 0, steps, size, shown=shown, greets=False) as progress:
        yield progress.over(evaluation_batches(records, reading))


def map_overlap(job: Job, exported: Parts, tools: Tools) -> dict[str, Any]:
    """Computes IoU of binarized maps with the predefined maps of the test split, pooled over pixels, per map."""
    return _overlap(evaluated(job, exported, tools), tools.reading)


def _overlap(result: Evaluation, reading: ReaderConfig) -> dict[str, Any]:
    assert result.pi_intersection is not None and result.pi_union is not None
    iou, lost = metrics.iou(result.pi_intersection, result.pi_union), {}
    per_map = dict(zip(map(str, reading.maps), rounded(iou), strict=True))
    empty = [au for au, value in zip(reading.maps, iou, strict=True) if np.isnan(value)]
    if empty:
        lost["iou_per_map"] = f"the maps of {gaps.units(empty)} are empty in every test frame"
    return gaps.with_gaps({"iou": gaps.mean(iou), "iou_per_map": per_map}, lost)


def refinement(job: Job, exported: Parts, tools: Tools) -> dict[str, Any]:
    """Scores PI stage 2: its action units, and how far its maps moved."""
    scores, lost = action_units(job, exported, tools), {}
    finished, moved = tools.finished, None
    assert finished is not None
    before = attempt(
        lost, "maps_moved", lambda: finished("pi1"), expected=(ConfigError, ExportError)
    )
    if before is not None:
        moved = attempt(
            lost, "maps_moved", lambda: maps_moved(job, exported, before, tools), together=True
        )
    return gaps.with_gaps(scores | {"maps_moved": moved}, lost)


def maps_moved(
    job: Job, exported: Parts, before: tuple[Stage, Parts], tools: Tools
) -> dict[str, float]:
    """Measures how far the soft maps of the test split moved from PI Generator 0 to PI Generator 1."""
    stage, start = before

    def predict(both: Any, images: jax.Array) -> Scores:
        old = stage.predict(both["before"], images).pi_probs
        new = job.stage.predict(both["after"], images).pi_probs
        assert old is not None and new is not None
        return Scores(None, _change(old, new), None)

    with batches_of(job, tools.reading) as batches:
        both: Any = {"before": start, "after": exported}
        change = evaluate(predict, both, batches, mesh=tools.mesh).vector
    assert change is not None
    return {"mean_abs": float(change[:, 0].mean()), "max_abs": float(change[:, 1].max())}


@jax.jit
def _change(old: jax.Array, new: jax.Array) -> jax.Array:
    """Mean and largest absolute difference of each image's maps, [B, 2]."""
    change = jnp.abs(new - old)
    return jnp.stack([change.mean(axis=(1, 2, 3)), change.max(axis=(1, 2, 3))], axis=1)


def true_labels(
    path: pathlib.Path, table: dict[str, np.ndarray], aus: tuple[int, ...]
) -> np.ndarray:
    """Reads the labels of a truth table in the order of a split's records.

    Args:
        path: ``truth.npz`` with ``subject, task, frame, label_aus, clean``.
        table: of the split.
        aus: wanted columns.

    Returns:
        [N, len(aus)] int8: 0, 1, or -1 for a frame or AU that the table does not hold.
    """
    with np.load(path, allow_pickle=False) as truth:
        tasks = truth["task"] if "task" in truth else np.full(len(truth["subject"]), "")
        names = zip(truth["subject"], tasks, truth["frame"], strict=True)
        rows = {(str(s), str(t), int(f)): row for row, (s, t, f) in enumerate(names)}
        clean, columns = truth["clean"], list(truth["label_aus"])
    # Occurrence tables hold 0 and 1, intensity tables 0..5.
    positive = DISFA_POSITIVE_INTENSITY if clean.max() > 1 else 1
    labels = np.full((len(table["frame"]), len(aus)), UNKNOWN, np.int8)
    keys = zip(table["subject"], table["task"], table["frame"], strict=True)
    found = [rows.get((str(s), str(t), int(f)), -1) for s, t, f in keys]
    known = np.array(found) >= 0
    for column, au in enumerate(aus):
        if au in columns:
            values = clean[np.array(found)[known], columns.index(au)]
            labels[known, column] = values >= positive
    return labels


def mean_f1(job: Job, tools: Tools) -> Callable[[Parts], float]:
    """Returns a score of exports: mean F1 in % against published labels, on the people kept apart for that."""
    assert job.slices.validation is not None
    reading = tools.reading
    # Once: every table of labels is a pass over all records of the split.
    records = job.slices.validation.records()
    labels = records.table()["labels"][:, record_columns(reading.aus)]

    def score(exported: Parts) -> float:
        batches = evaluation_batches(records, reading)
        result = evaluate(job.stage.predict, exported, batches, mesh=tools.mesh)
        assert result.au_probs is not None
        # A state that is not finite is worse than any other, and no reason to stop.
        finite = np.isfinite(result.au_probs).all()
        return metrics.mean_f1(result.au_probs, labels) if finite else math.nan

    return score


def action_units(job: Job, exported: Parts, tools: Tools) -> dict[str, Any]:
    """Computes F1 and its companions per AU, against published and true labels, and the identity probe."""
    result, table = evaluated(job, exported, tools), tested(job).records().table()
    assert result.au_probs is not None and result.vector is not None
    aus, lost = tools.reading.aus, {}
    frames: dict[str, Any] = {"aus": aus, "probs": result.au_probs}
    frames |= {name: np.asarray(table[name]) for name in ("subject", "task", "frame")}
    frames["coded"] = table["labels"][:, record_columns(aus)]
    if (path := tools.truth) is not None:
        frames["true"] = attempt(
            lost, "true", lambda: true_labels(path, table, aus), expected=(ValueError,)
        )
    frames |= _training_rates(tools, aus)
    frames["teacher_probs"] = _of_teacher(job, tools, lost)
    scores: dict[str, Any] = {"aus": list(aus), "frames": len(result.record_index)}
    scores |= _against(frames, "probs", lost)
    if frames["teacher_probs"] is not None:
        scores["teacher"] = _against(frames, "teacher_probs", lost, "teacher.")
    if gaps.has_tasks(table["task"]):
        probe = attempt(
            lost, "identity_probe", lambda: _probe(result.vector, table), expected=(ValueError,)
        )
        scores["identity_probe"] = None
        if probe is not None:
            scores["identity_probe"] = {"accuracy": probe.accuracy, "chance": probe.chance}
            frames |= {"probe_correct": probe.correct, "probe_chance": probe.chance}
    if result.pi_intersection is not None:
        scores |= _overlap(result, tools.reading)
    kept = {name: exported[name] for name in ("encoder", "head")}
    sizes = [leaf.size for params, _ in kept.values() for leaf in jax.tree.leaves(params)]
    scores["parameters"] = int(sum(sizes))
    if tools.keep is not None:
        tools.keep(frames)
    return gaps.with_gaps(scores, lost)


def _training_rates(tools: Tools, aus: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Rates and cuts of the training labels as ``model.json`` has them; nan for none."""
    model = tools.model() if tools.model is not None else None

    def column(values: dict[int, float | None]) -> np.ndarray:
        return np.array([values.get(au) for au in aus], np.float64)

    rates, cuts = (model.base_rates, model.cuts) if model else ({}, {})
    return {"base_rates": column(rates), "cuts": column(cuts)}


def _of_teacher(job: Job, tools: Tools, lost: dict[str, str]) -> np.ndarray | None:
    """What the teacher of a training with feedback says of the test frames; None for no teacher."""
    if not hasattr(job.stage, "export_for_scoring") or (beside := tools.beside) is None:
        return None

    def parts() -> Parts:
        found = {name.removeprefix("teacher_"): part for name, part in beside().items()}
        if not {"encoder", "head"} <= set(found):
            raise Gap("the export was written without its teacher")
        return found

    teacher = attempt(lost, "teacher", parts, expected=(ExportError,))
    return None if teacher is None else evaluated(job, teacher, tools).au_probs


def _against(
    frames: dict[str, Any], said: str, lost: dict[str, str], prefix: str = ""
) -> dict[str, Any]:
    """Scores of some probabilities against published labels, and against true ones where they are known."""
    rates, cuts = frames["base_rates"], frames["cuts"]
    unknown = bool(np.isnan(rates).all())
    found = {}
    for name, labels in (("published", frames["coded"]), ("true", frames.get("true"))):
        if labels is not None:
            found[name], holes = au_scores.against(
                labels,
                frames[said],
                frames["subject"],
                frames["aus"],
                rates=None if unknown else rates,
                cuts=None if unknown else cuts,
            )
            lost |= {f"{prefix}{name}.{score}": reason for score, reason in holes.items()}
    return found


def _probe(vectors: Any, table: dict[str, np.ndarray]) -> identity_metrics.Probe:
    if lacking := gaps.probe(table["subject"], table["task"]):
        raise Gap(lacking)
    return identity_metrics.identity_probe(vectors, table["subject"], table["task"])
