"""Scores an export on another data set: scores by unit, intervals over people, overlap with its training people."""

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments import au_scores, gaps
from experiments.fold_parts import listed
from experiments.frame_table import FrameTable
from experiments.scoring import true_labels
from piapdf_jax import intervals
from piapdf_jax.action_units import DISFA_POSITIVE_INTENSITY, record_columns
from piapdf_jax.data import description, source
from piapdf_jax.data.description import Description
from piapdf_jax.data.evaluation import evaluation_batches
from piapdf_jax.data.frames import ReaderConfig
from piapdf_jax.load import Probabilities, load_export
from piapdf_jax.model_json import Model
from piapdf_jax.person_sums import f1_sums
from piapdf_jax.runtime.digests import digest_of

#: What tables of frames say where no experiment's fold and seed is known.
NO_FOLD, NO_SEED = 0, -1
_FRAME = ("subject", "task", "frame")


class ScoreError(ValueError):
    """An export cannot be scored on what is named; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """An export's scores on a data set.

    Attributes:
        scores: as JSON holds them; ``published`` and, where they are known, ``true`` among them.
        frames: what was said of each frame.
        notes: lines for a reader.
        warnings: what makes the scores something else than they seem.
    """

    scores: dict[str, Any]
    frames: FrameTable
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def score(
    folder: pathlib.Path,
    *,
    dataset: str,
    split: str,
    data_dir: pathlib.Path,
    truth: pathlib.Path | None = None,
    batch_size: int = 64,
) -> Scored:
    """Scores an export with a head of action units, on the units that the data set has labels of.

    Args:
        folder: of the export.
        dataset: name of a prepared data set.
        split: its splits, ``part1+part2``.
        data_dir: where data sets lie.
        truth: table of true labels, where there is one.
        batch_size: images of a batch.

    Raises:
        ScoreError: for no such split, no unit that both have, no true label in the table.
        FileNotFoundError, ExportError, ModelError, CorruptShard, NoRecords: as for what is read.
    """
    where = source.dataset_folder(data_dir, dataset)
    told = description.describe(where)
    records = _records(where, dataset, split)
    model, probabilities = load_export(folder)
    aus = _shared(model, told, dataset)
    columns = _columns(model, records.table(), truth, aus)
    said = _said(probabilities, records, ReaderConfig(model.image_size, batch_size, aus=aus))
    data = _data_digest(where, split, truth, cache=_checksums(folder))
    frames = _table(model, dataset, data, columns, said)
    scores, lost = scores_of(frames)
    warnings = tuple(trained_on(model, told, frames.subject, f"{dataset}[{split}]", data_dir))
    scores |= {"dataset": dataset, "version": where.name, "split": split, "data": data}
    scores |= {"export": named(folder, model), "truth": str(truth or ""), "warnings": warnings}
    scores, notes = gaps.plain(gaps.with_gaps(scores, lost)), _notes(model, told, aus, lost)
    return Scored(scores=scores, frames=frames, notes=tuple(notes), warnings=warnings)


def named(folder: pathlib.Path, model: Model) -> dict[str, Any]:
    """Returns how scores name an export, with its weak units where somebody has judged it."""
    weak = {} if model.weak_units is None else {"weak_units": list(model.weak_units)}
    return {"folder": str(folder), "training": model.training, "digest": model.digest, **weak}


def _columns(
    model: Model, table: dict[str, np.ndarray], truth: pathlib.Path | None, aus: tuple[int, ...]
) -> dict[str, Any]:
    """What a table of frames holds beside the export's scores."""
    found: dict[str, Any] = {name: np.asarray(table[name]) for name in _FRAME}
    found |= {"aus": aus, "coded": table["labels"][:, record_columns(aus)]}
    found["true"] = None if truth is None else _true(truth, table, aus)
    for name, values in (("base_rates", model.base_rates), ("cuts", model.cuts)):
        found[name] = np.array([values[au] for au in aus], np.float64)
    return found


def _table(
    model: Model, dataset: str, data: str, columns: dict[str, Any], said: np.ndarray
) -> FrameTable:
    """Joins columns with what was said, [N, units of the export]."""
    return FrameTable(
        training=model.training,
        digest=model.digest,
        fold=NO_FOLD,
        seed=NO_SEED,
        dataset=dataset,
        data=data,
        probs=said[:, [model.units.index(au) for au in columns["aus"]]],
        **columns,
    )


def _records(where: pathlib.Path, dataset: str, split: str) -> source.Records:
    sizes = source.split_sizes(where)
    names = [part.strip().partition("[")[0] for part in split.split("+")]
    for name in names:
        if not sizes.get(name):
            has = ", ".join(sorted(name for name, count in sizes.items() if count))
            raise ScoreError(f"data set {dataset!r} has no split {name!r}; it has {has}")
    if len(set(names)) < len(names):
        raise ScoreError(f"--split={split} names a split twice: its frames would count twice")
    try:
        return source.Records(where, split)
    except (source.CorruptShard, source.NoRecords):
        raise
    except ValueError as error:  # of a slice such as test[:x]
        raise ScoreError(f"--split={split} cannot be read as splits ({error})") from error


def _shared(model: Model, told: Description, dataset: str) -> tuple[int, ...]:
    """Units of the export that the data set has labels of, in the export's order."""
    aus = tuple(au for au in model.units if au in told.action_units)
    if not aus:
        has = gaps.units(told.action_units) or "no labels of action units"
        raise ScoreError(
            f"export {model.training} {model.digest} predicts {gaps.units(model.units)}, but data set"
            f" {dataset!r} has {has}: there is no unit to score"
        )
    return aus


def _true(path: pathlib.Path, table: dict[str, np.ndarray], aus: tuple[int, ...]) -> np.ndarray:
    try:
        labels = true_labels(path, table, aus)
    except FileNotFoundError:
        raise
    except Exception as error:  # zip files and arrays fail in many ways
        raise ScoreError(
            f"{path} is not a table of true labels, an .npz with subject, task, frame, label_aus and clean"
        ) from error
    if not (labels >= 0).any():
        raise ScoreError(f"{path} holds true labels of none of these frames and units")
    return labels


def _said(
    probabilities: Probabilities, records: source.Records, reading: ReaderConfig
) -> np.ndarray:
    """What an export says of every record, [N, units of the export]."""
    found = []
    for batch in evaluation_batches(records, reading):
        kept = np.asarray(batch.mask) > 0
        found.append(probabilities(np.asarray(batch.image))[kept])
    return np.concatenate(found)


def _checksums(folder: pathlib.Path) -> pathlib.Path | None:
    """The file of known checksums of shards in the RUNS that an export lies in."""
    path = folder.parent.parent.parent / ".checksums.json"
    ours = folder.parent.parent.name == "exports" and path.is_file()
    return path if ours and os.access(path.parent, os.W_OK) else None


def _data_digest(
    where: pathlib.Path, split: str, truth: pathlib.Path | None, *, cache: pathlib.Path | None
) -> str:
    """The digest that a run has for what it scores on: files of the data set, split, people, truth."""
    files = description.fingerprint(where, cache=cache)
    labels = hashlib.sha256(truth.read_bytes()).hexdigest() if truth is not None else ""
    return digest_of([files, split, (), (), labels])


def trained_on(
    model: Model, told: Description, subject: np.ndarray, scored: str, data_dir: pathlib.Path
) -> Iterator[str]:
    """Yields one line where people of the scored frames were trained on, and one where that cannot be told.

    Args:
        model: of the export; its ``data`` says what it learned from.
        told: description of the scored data set.
        subject: [N] of the scored frames.
        scored: what is scored, for the line.
        data_dir: where the data sets of the training are looked for.
    """
    people = set(np.unique(subject).tolist())
    met: set[str] = set()
    sources: dict[str, bool] = {}
    lost: dict[str, None] = {}
    for part in model.data:
        try:
            theirs = description.describe(source.dataset_folder(data_dir, part.name))
        except source.MissingDataset:
            if part.name.partition("/")[0] == told.builder:
                lost[part.name] = None
            continue
        everybody = theirs.people_of(part.split)
        if (theirs.builder, theirs.kind) == (told.builder, told.kind) and people & everybody:
            met |= people & everybody
            name = f"{part.name}[{part.split}]"
            sources[name] = sources.get(name, False) or part.people < len(everybody)
    if met:
        most = "up to " if any(sources.values()) else ""
        yield (
            f"scored on data it was trained on: {most}{len(met)} of the {len(people)} people of"
            f" {scored} ({listed(sorted(met))}) are among those of {listed(sources)}"
        )
    if lost:
        yield (
            f"unknown whether people of {scored} were trained on: {listed(lost)} is not in"
            f" {data_dir}"
        )


def scores_of(frames: FrameTable) -> tuple[dict[str, Any], dict[str, str]]:
    """Computes all scores of a table of frames, with 95 % intervals of F1 over people, and the gaps in them."""
    found: dict[str, Any] = {
        "frames": len(frames.subject),
        "people": len(set(frames.subject.tolist())),
        "aus": list(frames.aus),
    }
    lost: dict[str, str] = {}
    known = not np.isnan(frames.base_rates).all()
    for name, labels in (("published", frames.coded), ("true", frames.true)):
        if labels is None:
            continue
        found[name], holes = au_scores.against(
            labels,
            frames.probs,
            frames.subject,
            frames.aus,
            rates=frames.base_rates if known else None,
            cuts=frames.cuts if known else None,
        )
        lost |= {f"{name}.{key}": reason for key, reason in holes.items()}
        fold = f1_sums(frames.probs >= 0.5, labels, frames.subject)
        summary = intervals.summarize([fold])
        ends = np.stack([summary.low, summary.high], axis=1)
        found[name] |= {
            "f1_interval": gaps.rounded(ends[:-1], 2),
            "mean_f1_interval": gaps.rounded(ends[-1], 2),
            "positive_frames": summary.frames.tolist(),
            "people_showing": summary.people.tolist(),
        }
        if np.isnan(ends).any():
            lost[f"{name}.f1_interval"] = (
                f"no interval where fewer than {intervals.MIN_PEOPLE} people show a unit"
            )
    return found, lost


def _notes(
    model: Model, told: Description, aus: tuple[int, ...], lost: dict[str, str]
) -> Iterator[str]:
    for whose, units, reason in (
        ("the export", model.units, "the data set has no labels of them"),
        ("the data set", told.action_units, "the export does not say them"),
    ):
        if others := [au for au in units if au not in aus]:
            yield f"not scored, units of {whose}: {gaps.units(others)} ({reason})"
    if "disfa" in (told.builder, told.kind):
        yield f"coded labels: present from intensity {DISFA_POSITIVE_INTENSITY} on"
    by_reason: dict[str, list[str]] = {}
    for name, reason in lost.items():
        by_reason.setdefault(reason, []).append(name)
    yield from (f"gap in {', '.join(names)}: {reason}" for reason, names in by_reason.items())
