"""Measures the cost of int8: some people calibrate, others are scored, with F1 by unit before and after."""

import pathlib
from typing import NamedTuple

import numpy as np

from piapdf_jax import metrics
from piapdf_jax.action_units import record_columns
from piapdf_jax.data import description, source
from piapdf_jax.data.frames import ReaderConfig, SampleRef, read_batch
from piapdf_jax.detector_runtimes import Probabilities
from piapdf_jax.model_json import Model

#: Frames that show the ranges of activations: as many, evenly spaced over those of the people who calibrate.
FRAMES = 200
_BATCH = 32


class CalibrationError(ValueError):
    """A data set does not serve to calibrate and to score; the message says why."""


class Sample(NamedTuple):
    """Frames of a data set.

    Attributes:
        calibration: [N, S, S, 3] uint8, of people who calibrate.
        frames: [M, S, S, 3] uint8, of other people.
        labels: [M, C] int8 of these, 1, 0 or -1, in the order of ``aus``.
        aus: FACS numbers of units that both the model and the data set have.
        summary: who calibrates and who is scored, in a line.
    """

    calibration: np.ndarray
    frames: np.ndarray
    labels: np.ndarray
    aus: tuple[int, ...]
    summary: str


def sample(model: Model, dataset: str, data_dir: pathlib.Path) -> Sample:
    """Reads frames of a data set: people that a model was trained on calibrate, all others are scored.

    Where it was trained on none of these people, the first half by name calibrates.

    Args:
        model: what ``model.json`` says of the export.
        dataset: name of a prepared data set with labels of action units.
        data_dir: where data sets lie.

    Raises:
        CalibrationError: where nobody is left to calibrate or to be scored, where that cannot be told, or no unit is
            shared.
        FileNotFoundError, CorruptShard, NoRecords: as for what is read.
    """
    where = source.dataset_folder(data_dir, dataset)
    told = description.describe(where)
    aus = tuple(au for au in model.units if au in told.action_units)
    if not aus:
        raise CalibrationError(f"data set {dataset!r} has no labels for any unit of the export")
    splits = "+".join(name for name, count in sorted(source.split_sizes(where).items()) if count)
    records = source.Records(where, splits)
    table = records.table()
    people = np.asarray(table["subject"]).astype(str)
    labels = np.asarray(table["labels"])[:, record_columns(aus)]
    trained = _trained(model, told, data_dir) & set(people)
    shown, scored = _split(people, labels, trained)
    # A unit of which nothing is known there has no F1.
    known = (labels[scored] >= 0).any(0)
    aus, labels = tuple(np.array(aus)[known].tolist()), labels[:, known]
    if not len(shown) or not len(scored):
        raise CalibrationError(
            f"data set {dataset!r} has no people left to score int8 on: the export was trained on all of its"
            " labeled people"
        )
    reading = ReaderConfig(model.image_size, _BATCH, aus=aus)
    why = " that the export was trained on" if trained else ""
    return Sample(
        calibration=_frames(records, shown, reading),
        frames=_frames(records, scored, reading),
        labels=labels[scored],
        aus=aus,
        summary=(
            f"{len(shown)} frames of {len(set(people[shown]))} people of {dataset}{why} calibrate,"
            f" {len(scored)} frames of {len(set(people[scored]))} others are scored"
        ),
    )


def _split(
    people: np.ndarray, labels: np.ndarray, trained: set[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that calibrate, evenly spaced, and labeled rows of other people, who are scored."""
    everybody = sorted(set(people))
    ours = np.isin(people, sorted(trained or everybody[: len(everybody) // 2]))
    shown, scored = np.flatnonzero(ours), np.flatnonzero(~ours & (labels >= 0).any(1))
    if len(shown):
        shown = shown[np.linspace(0, len(shown) - 1, min(FRAMES, len(shown))).round().astype(int)]
    return shown, scored


def _trained(model: Model, told: description.Description, data_dir: pathlib.Path) -> set[str]:
    """Everybody of the data set's kind that the export learned from.

    Raises:
        CalibrationError: where a data set of its builder is not there, whose people may be the same.
    """
    found: set[str] = set()
    for part in model.data:
        try:
            theirs = description.describe(source.dataset_folder(data_dir, part.name))
        except source.MissingDataset as error:
            if part.name.partition("/")[0] != told.builder:
                continue
            raise CalibrationError(
                f"cannot decide whom to score int8 on: the export was trained on {part.name}, which is not in"
                f" {data_dir}"
            ) from error
        if (theirs.builder, theirs.kind) == (told.builder, told.kind):
            found |= theirs.people_of(part.split)
    return found


def _frames(records: source.Records, rows: np.ndarray, reading: ReaderConfig) -> np.ndarray:
    found = []
    for start in range(0, len(rows), _BATCH):
        samples = [SampleRef(records, int(row)) for row in rows[start : start + _BATCH]]
        found.append(np.asarray(read_batch(samples, reading, step=0).image))
    return np.concatenate(found)


def f1_by_unit(probabilities: Probabilities, found: Sample, units: tuple[int, ...]) -> list[float]:
    """Returns F1 at 0.5 in % for each unit of a sample.

    Args:
        probabilities: of frames [B, S, S, 3] uint8, by unit of the export.
        found: frames and labels.
        units: of the export.
    """
    said = np.concatenate(
        [probabilities(found.frames[k : k + _BATCH]) for k in range(0, len(found.frames), _BATCH)]
    )
    said = said[:, [units.index(au) for au in found.aus]]
    return (100 * metrics.f1(said, found.labels)).tolist()
