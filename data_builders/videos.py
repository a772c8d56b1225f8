"""Videos of people with coded frames, as BP4D, DISFA and one's own recordings hold them, and their records."""

import collections
import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from data_builders import crops, record_builder, schema, work_units
from data_builders import landmarks as finder
from data_builders.fault_report import FaultReport
from piapdf_jax import folds
from piapdf_jax.action_units import UNKNOWN

#: Names that may stand in a file's name, and between which a ``_`` tells participant and task apart.
_PLAIN = re.compile(r"[A-Za-z0-9-]{1,60}")
_BLOCK = 32  # frames that one process turns into records at a time

#: Why a frame that was read has no record, by where that is found out.
_LEFT_OUT = {
    finder.NO_FACE: "no face found, none in the neighboring frames",
    **finder.REFUSED,
}
FRAME_FAULTS = (*_LEFT_OUT.values(), crops.NO_FACE)


@dataclasses.dataclass(frozen=True)
class VideoFrame:
    """One picture of a video.

    Attributes:
        number: the data set's own frame number.
        path: its file.
        labels: {AU: 0, 1 or -1}; None for a frame without a label row.
        intensities: {AU: 0..5}, where the data set codes them.
    """

    number: int
    path: str
    labels: dict[int, int] | None
    intensities: dict[int, int] | None = None


class Video(Protocol):
    """What a data set knows of a video: who, in which task ("" where there is none), and its frames.

    ``moving`` where frames of near numbers are near in time, and may lend one another landmarks.
    """

    @property
    def subject(self) -> str: ...  # noqa: D102

    @property
    def task(self) -> str: ...  # noqa: D102

    @property
    def frames(self) -> tuple[VideoFrame, ...]: ...  # noqa: D102

    @property
    def moving(self) -> bool: ...  # noqa: D102


class Block(NamedTuple):
    """Some frames of one video and their landmarks [N, 68, 2] in picture pixels."""

    subject: str
    task: str
    frames: tuple[VideoFrame, ...]
    landmarks: np.ndarray

    @property
    def paths(self) -> tuple[str, ...]:
        """The files it is made from."""
        return tuple(frame.path for frame in self.frames)


class Placed(NamedTuple):
    """Blocks by split, and how many frames came to their landmarks in which way."""

    splits: dict[str, list[Block]]
    origins: collections.Counter[int]

    def sizes(self) -> dict[str, int]:
        """Counts records by split."""
        return {s: sum(len(b.frames) for b in blocks) for s, blocks in self.splits.items()}

    def people(self) -> dict[str, set[str]]:
        """Lists participants by split."""
        return {s: {b.subject for b in blocks} for s, blocks in self.splits.items()}


def coded_units(videos: Sequence[Video]) -> set[int]:
    """Returns the action units that some frame of some video has a label of."""
    rows = (frame.labels for video in videos for frame in video.frames if frame.labels)
    return {au for row in rows for au, value in row.items() if value != UNKNOWN}


def place(
    videos: Sequence[Video],
    parts: dict[int, list[str]],
    builder: record_builder.RecordBuilder,
    report: FaultReport,
) -> Placed:
    """Finds the landmarks of all videos and deals their frames to the splits of the parts.

    Args:
        videos: of a data set.
        parts: people by part, such as ``folds.BP4D_PARTS``.
        builder: spreads the work.
        report: gets the frames that are left out.

    Returns:
        Splits that hold at least one frame.

    Raises:
        ValueError: where no frame can be used.
    """
    names = [folds.part_split(part, coded=coded) for coded in (True, False) for part in parts]
    splits: dict[str, list[Block]] = {name: [] for name in names}
    origins: collections.Counter[int] = collections.Counter()
    for video, found in zip(videos, _landmarks(videos, builder), strict=True):
        origins.update(found.origin.tolist())
        for frame, origin in zip(video.frames, found.origin, strict=True):
            if origin in _LEFT_OUT:
                report.add(_LEFT_OUT[origin], _short(frame.path))
        part = folds.part_of(video.subject, parts)
        for coded in (True, False):
            splits[folds.part_split(part, coded=coded)] += _blocks(video, found, coded=coded)
    splits = {split: blocks for split, blocks in splits.items() if blocks}
    if not splits:
        raise ValueError(f"no frame of {builder.name} can be used: {report.as_dict()}")
    return Placed(splits, origins)


def _landmarks(
    videos: Sequence[Video], builder: record_builder.RecordBuilder
) -> Iterator[finder.VideoLandmarks]:
    cache = str(builder.cache("landmarks"))
    files = [
        finder.VideoFiles(
            name=name_of(video.subject, video.task),
            paths=tuple(frame.path for frame in video.frames),
            numbers=tuple(frame.number for frame in video.frames if video.moving),
            cache=cache,
            detector=builder.detector,
        )
        for video in videos
    ]
    return builder.in_advance(finder.find_landmarks, files, label="landmarks, videos")


def _blocks(video: Video, found: finder.VideoLandmarks, *, coded: bool) -> Iterator[Block]:
    rows = [
        row
        for row, frame in enumerate(video.frames)
        if found.origin[row] not in _LEFT_OUT and (frame.labels is not None) == coded
    ]
    for start in range(0, len(rows), _BLOCK):
        chosen = rows[start : start + _BLOCK]
        frames = tuple(video.frames[row] for row in chosen)
        yield Block(video.subject, video.task, frames, found.landmarks[chosen])


def make(block: Block) -> work_units.Made:
    """Makes the records and faults of a block; runs in a worker process."""
    examples, faults = [], []
    who = name_of(block.subject, block.task)
    for frame, points in zip(block.frames, block.landmarks, strict=True):
        found = crops.cut(frame.path, points, _short(frame.path), faults)
        if found is None:
            continue
        image, moved = found
        example = schema.au_example(
            image=image,
            landmarks=moved,
            labels=frame.labels or {},
            intensities=frame.intensities,
            subject=block.subject,
            task=block.task,
            frame=frame.number,
            coded=frame.labels is not None,
        )
        examples.append((f"{who}_{frame.number:05d}", example))
    return work_units.Made(examples, faults)


def name_of(subject: str, task: str) -> str:
    """Returns the name of a video for keys and files; a digest where names are no plain ones, or hold a ``_``."""
    names = [subject, *filter(None, [task])]
    if all(map(_PLAIN.fullmatch, names)):
        return "_".join(names)
    return hashlib.sha256(json.dumps([subject, task]).encode()).hexdigest()[:32]


def _short(path: str) -> str:
    """Participant, task and file of a picture, for reports."""
    return "/".join(pathlib.Path(path).parts[-3:])
