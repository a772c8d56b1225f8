"""Selects the coded frames that keep their labels under a limit: nested, spread over people, whatever the seed."""

import functools
import hashlib
import pathlib
from typing import NamedTuple

import numpy as np

from piapdf_jax.action_units import UNKNOWN
from piapdf_jax.data.source import Records


class LabeledFrames(NamedTuple):
    """The coded frames of a data set that keep their labels.

    Attributes:
        folder: of the data set.
        split: split expression of the coded frames.
        exclude: subjects none of whose frames is among them.
        count: how many.
    """

    folder: pathlib.Path
    split: str
    exclude: tuple[str, ...]
    count: int

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, subject/task/frame: those of a smaller count are the first ones of a greater.

        Raises:
            ValueError: where there are fewer, with their number.
        """
        order = _ordered(self.folder, self.split, self.exclude)
        if self.count > len(order):
            raise ValueError(f"there are {len(order)} labeled frames")
        return order[: self.count]

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits of SHA-256 over the names."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]

    def rows(
        self, split: str, include: tuple[str, ...], exclude: tuple[str, ...], *, hide_labels: bool
    ) -> np.ndarray:
        """Returns the rows of some people in a split of the same data set, in their old order: [N] integers.

        Args:
            split: split expression, of coded frames or of uncoded ones as well.
            include: subjects that stay; () for all.
            exclude: subjects that go.
            hide_labels: the rows of all other frames, instead of those that keep their labels.
        """
        frames = _frames(self.folder, split)
        stays = np.isin(frames.subjects, include) if include else np.ones(len(frames.names), bool)
        stays &= ~np.isin(frames.subjects, exclude)
        return np.flatnonzero(stays & (np.isin(frames.names, self.names) != hide_labels))

    def subjects(self, split: str, rows: np.ndarray) -> set[str]:
        """Returns the subjects of some rows of a split."""
        return set(_frames(self.folder, split).subjects[rows].tolist())


class _Frames(NamedTuple):
    """Of each record of a split: its name, whose it is, and whether it has any known label."""

    names: np.ndarray
    subjects: np.ndarray
    labeled: np.ndarray


@functools.lru_cache(maxsize=16)
def _frames(folder: pathlib.Path, split: str) -> _Frames:
    """Names of all records; once a process, because it reads them all."""
    table = Records(folder, split).table()
    places = zip(table["subject"], table["task"], map(str, table["frame"]), strict=True)
    names = np.array(["/".join(filter(None, place)) for place in places])
    return _Frames(names, table["subject"], (table["labels"] != UNKNOWN).any(axis=1))


@functools.lru_cache(maxsize=16)
def _ordered(folder: pathlib.Path, split: str, exclude: tuple[str, ...]) -> tuple[str, ...]:
    """Labeled frames in the order in which they keep their labels: everybody's first one, then the second ones.

    A person's frames, and the people of a round, come by SHA-256 of their names: no choice of ours, and no seed.
    """
    names, subjects, labeled = _frames(folder, split)
    kept = labeled & ~np.isin(subjects, exclude)
    of_person: dict[str, list[str]] = {}
    for name, subject in zip(names[kept].tolist(), subjects[kept].tolist(), strict=True):
        of_person.setdefault(subject, []).append(name)
    rounds = [
        (place, _sha256(subject), name)
        for subject, own in of_person.items()
        for place, name in enumerate(sorted(own, key=_sha256))
    ]
    return tuple(name for *_, name in sorted(rounds))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
