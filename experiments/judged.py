"""Pictures that a detector is judged on: faces are found and cropped as a user's are, and scored by person."""

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from piapdf_jax import faces, intervals, person_sums, photographs
from piapdf_jax.action_units import UNKNOWN
from piapdf_jax.detector import CROP_SIZE, Detector, cut_faces
from piapdf_jax.runtime.filesystem import explain_disk_errors, replacing

HALVES = ("first", "second", "all")
#: Units that a smile raises, and units that it leaves as they are.
RAISED, LEFT = (12, 6), (1, 2, 15)
_BATCH = 64


class JudgeError(ValueError):
    """Pictures, labels or a model cannot be judged; a line that says why."""


@dataclasses.dataclass(frozen=True)
class Frames:
    """N pictures with labels.

    Attributes:
        paths: [N] files.
        subject: [N] who is in each.
        labels: [N, C] int8: 1, 0, -1 unknown.
        aus: FACS numbers of the C columns.
    """

    paths: tuple[pathlib.Path, ...]
    subject: np.ndarray
    labels: np.ndarray
    aus: tuple[int, ...]

    def of(self, rows: np.ndarray) -> "Frames":
        """Returns some of them."""
        paths = tuple(self.paths[row] for row in rows)
        return Frames(paths, self.subject[rows], self.labels[rows], self.aus)


def half(people: Sequence[str], which: str) -> list[str]:
    """Returns the people of a half, by name: the first, which choices may look at, is the larger one.

    Args:
        people: names, in any order and any number of times.
        which: of ``HALVES``.
    """
    names = sorted(set(people))
    cut = math.ceil(len(names) / 2)
    return {"first": names[:cut], "second": names[cut:], "all": names}[which]


def tree(folder: pathlib.Path, truth: pathlib.Path, which: str) -> Frames:
    """Reads which pictures of a tree are coded, and their true labels.

    Args:
        folder: of ``<subject>/<task>/<frame>.jpg``.
        truth: npz file with ``path`` below the folder, ``subject``, ``coded``, ``label_aus`` and ``clean``.
        which: half of the people.

    Raises:
        JudgeError: for another file, and for a picture that is not there.
    """
    try:
        with np.load(truth, allow_pickle=False) as file:
            found = {
                name: file[name] for name in ("path", "subject", "coded", "label_aus", "clean")
            }
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise JudgeError(f"{truth} is not a table of true labels ({error})") from error
    chosen = half(found["subject"].astype(str).tolist(), which)
    rows = np.flatnonzero(found["coded"].astype(bool) & np.isin(found["subject"], chosen))
    listed = tuple(folder / path for path in found["path"][rows].astype(str).tolist())
    if missing := next((path for path in listed if not path.is_file()), None):
        raise JudgeError(f"{missing} does not exist, and {truth} has labels of it")
    if not listed:
        raise JudgeError(f"{truth} has no coded frame of these people")
    aus = tuple(found["label_aus"].tolist())
    return Frames(listed, found["subject"][rows].astype(str), found["clean"][rows], aus)


def pairs(folder: pathlib.Path, which: str) -> Frames:
    """Reads pairs of pictures, ``neutral/NAME`` and ``smiling/NAME``; the label is whether it smiles.

    Args:
        folder: of both folders.
        which: half of the people, each of whom is a file name without its ending.

    Raises:
        JudgeError: where there is no pair.
    """
    found: dict[str, dict[str, pathlib.Path]] = {"neutral": {}, "smiling": {}}
    for kind, files in found.items():
        if (folder / kind).is_dir():
            files |= {
                path.stem: path for path in sorted((folder / kind).iterdir()) if path.is_file()
            }
    both = half(list(found["neutral"].keys() & found["smiling"].keys()), which)
    if not both:
        raise JudgeError(f"{folder} holds no pair neutral/NAME and smiling/NAME")
    listed = tuple(found[kind][name] for name in both for kind in ("neutral", "smiling"))
    labels = np.tile(np.array([[0], [1]], np.int8), (len(both), 1))
    return Frames(listed, np.repeat(np.array(both), 2), labels, ())


def crops(
    frames: Frames, finder: str, kept: pathlib.Path | None, tell: Callable[[str], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the clearest face of every picture and cuts it out.

    Args:
        frames: N pictures.
        finder: name of the face finder.
        kept: file that keeps the crops, and gives them where it is there.
        tell: what is done, every so often.

    Returns:
        Crops [M, 256, 256, 3] uint8 and the rows [M] of the pictures that have a face.

    Raises:
        JudgeError: where the file holds crops of other pictures or of another finder.
    """
    digest = _digest(frames, finder)
    if kept is not None and kept.exists():
        return _kept(kept, digest)
    made = faces.make_finder(finder)
    found, rows = [], []
    for row, path in enumerate(frames.paths):
        if row and row % 200 == 0:
            tell(f"{row} of {len(frames.paths)} pictures")
        cut, _ = cut_faces(made, photographs.read_photograph(path), most=1)
        if cut:
            found.append(cut[0].crop)
            rows.append(row)
    images = np.stack(found) if found else np.zeros((0, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    if kept is not None:
        with (
            explain_disk_errors(kept, images.nbytes),
            replacing(kept) as part,
            part.open("wb") as file,
        ):
            np.savez(file, crops=images, rows=np.array(rows, np.int64), digest=np.array(digest))
    return images, np.array(rows, np.int64)


def _digest(frames: Frames, finder: str) -> str:
    """Of what decides the crops: the files' contents, their order, finder and recipe."""
    told = [finder, CROP_SIZE, faces.BOX_SCALE, faces.BOX_LIFT]
    files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in frames.paths]
    return hashlib.sha256(json.dumps([told, files]).encode()).hexdigest()


def _kept(path: pathlib.Path, digest: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["digest"]) == digest:
                return file["crops"], file["rows"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise JudgeError(f"{path} holds no crops ({error})") from error
    raise JudgeError(
        f"{path} holds crops of other pictures or of another finder: name another file, or delete it"
    )


def said(detector: Detector, images: np.ndarray) -> np.ndarray:
    """Computes the probabilities of crops [M, 256, 256, 3], [M, C]."""
    whole = len(images) // _BATCH * _BATCH
    # A last batch that is shorter is filled up: under JAX each size is compiled.
    rest = np.concatenate([images[whole:], np.zeros((_BATCH, *images.shape[1:]), np.uint8)])[
        :_BATCH
    ]
    parts = [detector(images[start : start + _BATCH]) for start in range(0, whole, _BATCH)]
    return np.concatenate([*parts, detector(rest)[: len(images) - whole]])


def by_unit(probabilities: np.ndarray, units: tuple[int, ...], frames: Frames) -> dict[str, Any]:
    """Computes ROC AUC by unit with intervals over people.

    Args:
        probabilities: [M, C] of the frames.
        units: FACS numbers of the C columns.
        frames: M frames and their labels.

    Returns:
        ``units``: of each that both have and that is present and absent somewhere, ``auc``, ``low``, ``high``,
        ``frames`` and ``people`` that show it; ``mean`` the same of the mean.

    Raises:
        JudgeError: where no unit is left.
    """
    shared = [au for au in units if au in frames.aus]
    labels = frames.labels[:, [frames.aus.index(au) for au in shared]]
    told = ((labels == 1).any(0) & (labels == 0).any(0)).tolist()
    kept = [au for au, there in zip(shared, told, strict=True) if there]
    if not kept:
        raise JudgeError("the model has no unit that these labels show")
    columns = [units.index(au) for au in kept]
    fold = person_sums.auc_pairs(probabilities[:, columns], labels[:, told], frames.subject)
    summary = intervals.summarize([fold])
    numbers = zip(
        [f"AU{au}" for au in kept] + ["mean"],
        *(np.asarray(v).tolist() for v in (summary.value, summary.low, summary.high)),
        [*summary.frames.tolist(), None], [*summary.people.tolist(), None],
        strict=True,
    )  # fmt: skip
    keys = ("auc", "low", "high", "frames", "people")
    found = {name: dict(zip(keys, map(_plain, row), strict=True)) for name, *row in numbers}
    return {"mean": found.pop("mean"), "units": found}


def _plain(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def by_pair(probabilities: np.ndarray, units: tuple[int, ...], frames: Frames) -> dict[str, Any]:
    """Computes how often a unit is higher in the smiling one of two pictures; a tie counts half.

    Args:
        probabilities: [M, C] of the pictures.
        units: FACS numbers of the C columns.
        frames: M pictures; one whose other picture is not among them is left out.

    Returns:
        ``pairs`` and, by unit, ``up`` with ``low`` and ``high`` over people, and ``auc`` of smiling against neutral.
    """
    people, number = np.unique(frames.subject, return_counts=True)
    both = np.isin(frames.subject, people[number == 2])
    values, smiles = probabilities[both], frames.labels[both, 0] == 1
    # Both are in the order of the people.
    calm, happy, who = values[~smiles], values[smiles], frames.subject[both][smiles]
    found = {}
    for au in (*RAISED, *LEFT):
        if au not in units or not len(who):
            continue
        column = [units.index(au)]
        higher = 0.5 * (1 + np.sign(happy[:, column] - calm[:, column]))
        summary = intervals.summarize([person_sums.share_sums(higher, higher >= 0, who)])
        labels = smiles.astype(np.int8)[:, None]
        auc = intervals.estimate(
            [person_sums.auc_pairs(values[:, column], labels, frames.subject[both])]
        )
        low, high = float(summary.low[0]), float(summary.high[0])
        found[f"AU{au}"] = {
            "up": float(summary.value[0]), "low": _plain(low), "high": _plain(high), "auc": float(auc[0]),
        }  # fmt: skip
    return {"pairs": len(who), "units": found}


def unknown_units(units: tuple[int, ...], frames: Frames) -> tuple[list[int], list[int]]:
    """Returns units of the model that the labels lack, and the reverse; unknown everywhere counts as lacking."""
    there = [au for k, au in enumerate(frames.aus) if (frames.labels[:, k] != UNKNOWN).any()]
    return [au for au in units if au not in there], [au for au in there if au not in units]
