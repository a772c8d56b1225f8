"""Predictions of an export for each test frame, as a file of a run, from which every number can be recomputed."""

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np

from piapdf_jax.runtime.filesystem import explain_disk_errors, replacing

#: Its name in ``RUNS/<name>/fold<k>_seed<s>/<training>/<digest>/``.
FILE_NAME = "frames.npz"
#: Of the file's layout.
SCHEMA = 1


class FrameTableError(ValueError):
    """A file is no table of frames, or of another layout."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameTable:
    """N test frames, with the predictions of an export for C action units.

    Attributes:
        training: name of the training.
        digest: of its export.
        fold: 1, 2 or 3; 0 for an export that is scored by itself.
        seed: of the experiment; -1 for an export that is scored by itself.
        dataset: name of the data set that was scored.
        data: digest of what was scored: the data set's files, the split, the truth.
        aus: FACS numbers of the C columns.
        subject: [N] participant ids.
        task: [N] task ids, "" where the data set has none.
        frame: [N] int64.
        coded: [N, C] int8, labels as published: 1, 0, -1 unknown.
        true: [N, C] int8, true labels; None where no table of them is there.
        probs: [N, C] float32 in [0, 1].
        teacher_probs: [N, C], those of the teacher of a training with feedback; else None.
        base_rates: [C] share of present among the known *training* labels, nan for none known.
        cuts: [C] cuts of the export's ``model.json``, at which that share of the training frames is reached;
            nan for none.
        probe_correct: [N] int8, whether the identity probe names the frame's person: 1, 0, -1 for a frame
            that it was fitted on; None where there is no probe.
        probe_chance: 1 / number of people; nan where there is no probe.
    """

    training: str
    digest: str
    fold: int
    seed: int
    dataset: str
    data: str
    aus: tuple[int, ...]
    subject: np.ndarray
    task: np.ndarray
    frame: np.ndarray
    coded: np.ndarray
    probs: np.ndarray
    base_rates: np.ndarray
    cuts: np.ndarray
    true: np.ndarray | None = None
    teacher_probs: np.ndarray | None = None
    probe_correct: np.ndarray | None = None
    probe_chance: float = float("nan")

    def __post_init__(self) -> None:
        count, columns = len(self.subject), len(self.aus)
        for name, wanted in (
            *((name, (count,)) for name in ("task", "frame", "probe_correct")),
            *((name, (count, columns)) for name in ("coded", "true", "probs", "teacher_probs")),
            *((name, (columns,)) for name in ("base_rates", "cuts")),
        ):
            value = getattr(self, name)
            if value is not None and np.shape(value) != wanted:
                raise FrameTableError(f"{name} must be {wanted}, not {np.shape(value)}")


def write(path: pathlib.Path, table: FrameTable) -> None:
    """Writes a table whole or not at all."""
    arrays: dict[str, Any] = {"schema": SCHEMA}
    for field in dataclasses.fields(table):
        value = getattr(table, field.name)
        if value is not None:
            arrays[field.name] = np.asarray(value)
    nbytes = sum(np.asarray(value).nbytes for value in arrays.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    with explain_disk_errors(path, nbytes), replacing(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)


def read(path: str | os.PathLike[str]) -> FrameTable:
    """Reads a table.

    Raises:
        FileNotFoundError: where there is none.
        FrameTableError: for a file that is none, or of another layout; names it.
    """
    path = pathlib.Path(path)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
        schema = int(found.pop("schema"))
        if schema != SCHEMA:
            raise ValueError(f"its schema is {schema}, this program reads {SCHEMA}")
        values = {name: v.item() if v.ndim == 0 else v for name, v in found.items()}
        values["aus"] = tuple(int(au) for au in values["aus"])
        return FrameTable(**values)
    except FileNotFoundError:
        raise
    except Exception as error:  # zip files and arrays fail in many ways
        raise FrameTableError(
            f"{path} is not a table of frames that can be read: {error}"
        ) from error
