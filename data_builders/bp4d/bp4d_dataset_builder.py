"""BP4D: spontaneous expressions of 41 people in 8 tasks, coded for action units.

python -m data_builders.prepare bp4d --manual_dir=FILES --data_dir=SHARDS --workers=8
"""

import collections
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from data_builders import landmarks as finder
from data_builders import schema
from data_builders.bp4d import raw
from data_builders.report import Report
from piapdf_jax import faces, folds

_BLOCK = 32  # frames that one process turns into records at a time

_LEFT_OUT = {
    finder.NO_FACE: "no face found, none in the neighbouring frames",
    finder.UNREADABLE: "picture that cannot be read",
}


class Block(NamedTuple):
    """Some frames of one video and their landmarks [N, 68, 2] in picture pixels."""

    subject: str
    task: str
    frames: tuple[raw.Frame, ...]
    landmarks: np.ndarray


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds BP4D from its distributed files, by participant part, coded and uncoded frames apart.

    Attributes:
        workers: processes.
        detector: makes the landmark detector; importable by name.
        frame_offset: picture number minus label row number, None finds it out.
        progress: shows how far a pass over items is.
        expected_examples: records by split, known before the first is made.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    BP4D is licensed by Binghamton University (https://www.cs.binghamton.edu/~lijun/Research/3DFE);
    put the pictures into 2D+3D/F001/T1/0001.jpg ... and the labels into
    AUCoding/AU_OCC/F001_T1.csv ... below --manual_dir.
    """

    workers: int = 1
    detector: Callable[[], faces.LandmarkDetector] = faces.DlibDetector
    frame_offset: int | None = None

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.progress: Callable[..., Iterator[Any]] = lambda items, **_: iter(items)
        self.expected_examples: dict[str, int] = {}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=schema.au_features(),
            homepage="https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[str, dict]]]:
        report = Report()
        videos = raw.read_videos(
            pathlib.Path(dl_manager.manual_dir), report, frame_offset=self.frame_offset
        )
        splits: dict[str, list[Block]] = {
            folds.part_split(part, coded=coded): []
            for coded in (True, False)
            for part in folds.BP4D_PARTS
        }
        origins: collections.Counter[int] = collections.Counter()
        for video, found in zip(videos, self._landmarks(videos), strict=True):
            origins.update(found.origin.tolist())
            _count_left_out(video, found, report)
            part = folds.part_of(video.subject, folds.BP4D_PARTS)
            for coded in (True, False):
                splits[folds.part_split(part, coded=coded)] += _blocks(video, found, coded=coded)
        splits = {split: blocks for split, blocks in splits.items() if blocks}
        if not splits:
            raise ValueError(f"no frame of {dl_manager.manual_dir} can be used: {report.as_dict()}")
        self.expected_examples = {
            split: sum(len(block.frames) for block in blocks) for split, blocks in splits.items()
        }
        assert self.info.metadata is not None
        self.info.metadata.update(_metadata(videos, origins, report))
        return {split: self._generate_examples(blocks) for split, blocks in splits.items()}

    def _generate_examples(self, blocks: list[Block]) -> Iterator[tuple[str, dict]]:
        for examples in schema.parallel(_examples, blocks, workers=self.workers):
            yield from examples

    def _landmarks(self, videos: list[raw.Video]) -> Iterator[finder.VideoLandmarks]:
        cache = pathlib.Path(self.data_dir_root, ".cache", "landmarks", self.name)
        files = [
            finder.VideoFiles(
                name=f"{video.subject}_{video.task}",
                paths=tuple(frame.path for frame in video.frames),
                numbers=tuple(frame.number for frame in video.frames),
                cache=str(cache),
                detector=self.detector,
            )
            for video in videos
        ]
        found = schema.parallel(finder.find_landmarks, files, workers=self.workers)
        return self.progress(found, label=f"{self.name} landmarks, videos", total=len(files))


def _blocks(video: raw.Video, found: finder.VideoLandmarks, *, coded: bool) -> Iterator[Block]:
    rows = [
        row
        for row, frame in enumerate(video.frames)
        if found.origin[row] not in _LEFT_OUT and (frame.labels is not None) == coded
    ]
    for start in range(0, len(rows), _BLOCK):
        chosen = rows[start : start + _BLOCK]
        frames = tuple(video.frames[row] for row in chosen)
        yield Block(video.subject, video.task, frames, found.landmarks[chosen])


def _examples(block: Block) -> list[tuple[str, dict[str, Any]]]:
    """The records of a block; runs in a worker process."""
    examples = []
    for frame, points in zip(block.frames, block.landmarks, strict=True):
        image, moved = faces.crop(faces.read_image(frame.path), points)
        example = schema.au_example(
            image=image,
            landmarks=moved,
            labels=frame.labels or {},
            subject=block.subject,
            task=block.task,
            frame=frame.number,
            coded=frame.labels is not None,
        )
        examples.append((f"{block.subject}_{block.task}_{frame.number:05d}", example))
    return examples


def _count_left_out(video: raw.Video, found: finder.VideoLandmarks, report: Report) -> None:
    for frame, origin in zip(video.frames, found.origin, strict=True):
        if origin in _LEFT_OUT:
            report.add(_LEFT_OUT[origin], "/".join(pathlib.Path(frame.path).parts[-3:]))


def _metadata(
    videos: list[raw.Video], origins: collections.Counter[int], report: Report
) -> dict[str, Any]:
    coded = [frame.labels for video in videos for frame in video.frames if frame.labels]
    return {
        "read": {
            "participants": len({video.subject for video in videos}),
            "videos": len(videos),
            "pictures": sum(len(video.frames) for video in videos),
            "label rows": len(coded),
            "label cells unknown (9)": sum(list(row.values()).count(-1) for row in coded),
            "landmarks detected": origins[finder.FOUND],
            "landmarks from neighbouring frames": origins[finder.BORROWED],
        },
        "skipped": report.as_dict(),
        "frame_offset": _tally(video.offset for video in videos),
        "zero_padding": _tally(video.digits for video in videos),
    }


def _tally(values: Iterator[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(collections.Counter(values).items())}
