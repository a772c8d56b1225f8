"""Every number of a results table, from what ``predict`` says of a split and from label tables."""

import contextlib
import math
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.job import Job
from piapdf_jax import metrics
from piapdf_jax.action_units import DISFA_POSITIVE_INTENSITY, UNKNOWN, record_columns
from piapdf_jax.batch import Batch, unit_images
from piapdf_jax.data import source, streams
from piapdf_jax.runtime.evaluate import Evaluation, evaluate
from piapdf_jax.runtime.hosts import gathered
from piapdf_jax.runtime.writers import Progress
from piapdf_jax.stages.base import Exported, Stage


def _evaluate(job: Job, exported: Exported, reading: streams.Reading) -> Evaluation:
    with _batches(job, reading) as batches:
        return evaluate(job.stage.predict, exported, batches)


@contextlib.contextmanager
def _batches(job: Job, reading: streams.Reading) -> Iterator[Iterator[Batch]]:
    """The test split once, with a bar of how far it is."""
    records = job.test.records()
    steps = math.ceil(len(records) / reading.batch_size)
    shown, size = jax.process_index() == 0, reading.batch_size
    with Progress(f"scores of {job.name}", 0, steps, size, shown=shown, greets=False) as progress:
        yield progress.over(streams.evaluation_batches(records, reading))


def _rounded(values: Any, digits: int = 4) -> Any:
    return np.round(np.asarray(values, np.float64), digits).tolist()


def map_overlap(job: Job, exported: Exported, reading: streams.Reading) -> dict[str, Any]:
    """IoU of binarised maps with the predefined maps of the test split, pooled over pixels, per map."""
    return _overlap(_evaluate(job, exported, reading), reading)


def _overlap(result: Evaluation, reading: streams.Reading) -> dict[str, Any]:
    assert result.pi_intersection is not None and result.pi_union is not None
    iou = metrics.iou(result.pi_intersection, result.pi_union)
    per_map = dict(zip(map(str, reading.maps), _rounded(iou), strict=True))
    return {"iou": float(np.nanmean(iou)), "iou_per_map": per_map}


def maps_moved(
    job: Job, exported: Exported, before: tuple[Stage, Exported], reading: streams.Reading
) -> dict[str, float]:
    """How far the soft maps of the test split moved from PI Generator 0 to PI Generator 1."""
    stage, start = before
    means, largest = [], 0.0
    with _batches(job, reading) as batches:
        for batch in batches:
            images = unit_images(jnp.asarray(batch.image))
            old = stage.predict(start, images).pi_probs
            new = job.stage.predict(exported, images).pi_probs
            assert old is not None and new is not None
            change = np.abs(np.asarray(new) - np.asarray(old))[np.asarray(batch.valid) > 0]
            means.append(change.mean(axis=(1, 2, 3)))
            largest = max(largest, float(change.max()))
    # Hosts hold unequal numbers of frames, so sums are gathered and not the frames' values.
    own = np.array([[np.concatenate(means).sum(), sum(map(len, means)), largest]], np.float32)
    sums, counts, maxima = gathered(own).T
    return {"mean_abs": float(sums.sum() / counts.sum()), "max_abs": float(maxima.max())}


def verification(job: Job, exported: Exported, reading: streams.Reading) -> dict[str, Any]:
    """Ten-fold pair verification by the cosine of identity vectors (LFW's protocol, view 2)."""
    result, table = _evaluate(job, exported, reading), job.test.records().table()
    assert result.vector is not None
    unit = result.vector / np.linalg.norm(result.vector, axis=1, keepdims=True)
    places = {
        (name, int(number)): row
        for row, (name, number) in enumerate(zip(table["name"], table["number"], strict=True))
    }
    pairs = source.metadata(job.test.folder)["pairs"]
    first = [places[name, int(number)] for name, number, _, _, _, _ in pairs]
    second = [places[name, int(number)] for _, _, name, number, _, _ in pairs]
    similarity = (unit[first] * unit[second]).sum(axis=1)
    same = np.array([int(pair[4]) for pair in pairs])
    block = np.array([int(pair[5]) for pair in pairs])
    accuracy, deviation = metrics.ten_fold_verification(similarity, same, block)
    return {"verification": float(accuracy), "deviation": float(deviation), "pairs": len(pairs)}


def true_labels(
    path: pathlib.Path, table: dict[str, np.ndarray], aus: tuple[int, ...]
) -> np.ndarray:
    """Labels of a truth table in the order of a split's records.

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


def mean_f1(job: Job, reading: streams.Reading) -> Callable[[Exported], float]:
    """A score of exports: mean F1 in % against published labels, on the people kept apart for that."""
    assert job.inner is not None
    # Once: every table of labels is a pass over all records of the split.
    records = job.inner.records()
    labels = records.table()["labels"][:, record_columns(reading.aus)]

    def score(exported: Exported) -> float:
        batches = streams.evaluation_batches(records, reading)
        result = evaluate(job.stage.predict, exported, batches)
        assert result.au_probs is not None
        return float(100 * np.nanmean(metrics.f1(result.au_probs, labels)))

    return score


def action_units(
    job: Job, exported: Exported, reading: streams.Reading, truth: pathlib.Path | None
) -> dict[str, Any]:
    """F1 and its companions per AU, against published and true labels, and the identity probe."""
    result, table = _evaluate(job, exported, reading), job.test.records().table()
    assert result.au_probs is not None and result.vector is not None
    aus = reading.aus
    labels = {"published": table["labels"][:, record_columns(aus)]}
    if truth is not None:
        labels["true"] = true_labels(truth, table, aus)
    scores: dict[str, Any] = {"aus": list(aus), "frames": len(result.row)}
    for name, known in labels.items():
        f1 = 100 * metrics.f1(result.au_probs, known)
        always = 100 * metrics.always_yes_f1(known)
        scores[name] = {
            "f1": _rounded(f1, 2),
            "mean_f1": float(np.nanmean(f1)),
            "always_yes": _rounded(always, 2),
            "mean_always_yes": float(np.nanmean(always)),
            "roc_auc": _rounded(metrics.roc_auc(result.au_probs, known)),
            "unknown_cells": int((known == UNKNOWN).sum()),
        }
    if len(set(table["task"])) > 1:
        accuracy, chance = metrics.identity_probe(result.vector, table["subject"], table["task"])
        scores["identity_probe"] = {"accuracy": float(accuracy), "chance": float(chance)}
    if result.pi_intersection is not None:
        scores |= _overlap(result, reading)
    kept = {name: exported[name] for name in ("encoder", "head")}
    sizes = [leaf.size for params, _ in kept.values() for leaf in jax.tree.leaves(params)]
    scores["parameters"] = int(sum(sizes))
    return scores
