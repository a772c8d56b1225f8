"""BP4D: spontaneous expressions of 41 people in 8 tasks, coded for action units.

python -m data_builders.prepare bp4d --manual_dir=FILES --data_dir=SHARDS --workers=8
"""

import collections
import pathlib
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from data_builders import landmarks as finder
from data_builders import numbering, record_builder, schema
from data_builders import videos as shared
from data_builders.bp4d import raw
from data_builders.fault_report import FaultReport
from piapdf_jax import folds


class Builder(record_builder.RecordBuilder):
    """Builds BP4D from its distributed files, by participant part, coded and uncoded frames apart.

    Attributes:
        frame_offset: picture number minus label row number, of all videos; None finds it out for each.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    BP4D is licensed by Binghamton University (https://www.cs.binghamton.edu/~lijun/Research/3DFE);
    put the pictures into 2D+3D/F001/T1/0001.jpg ... and the labels into
    AUCoding/AU_OCC/F001_T1.csv ... below --manual_dir.
    """

    frame_offset: int | None = None

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=schema.au_features(),
            homepage="https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html",
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        report = FaultReport()
        videos = raw.read_videos(
            pathlib.Path(dl_manager.manual_dir), report, frame_offset=self.frame_offset
        )
        placed = shared.place(videos, folds.BP4D_PARTS, self, report)
        self.expected_examples = placed.sizes()
        assert self.info.metadata is not None
        self.info.metadata.update(_metadata(videos, placed.origins, report))
        self.describe(action_units=shared.coded_units(videos), people=placed.people())
        return {
            split: self._generate_examples(blocks, report)
            for split, blocks in placed.splits.items()
        }

    def _generate_examples(self, blocks: list[shared.Block], report: FaultReport) -> Any:
        return self.records(shared.make, blocks, report)


def _metadata(
    videos: list[raw.Video], origins: collections.Counter[int], report: FaultReport
) -> dict[str, Any]:
    coded = [frame.labels for video in videos for frame in video.frames if frame.labels]
    return {
        "read": {
            "participants": len({video.subject for video in videos}),
            "videos": len(videos),
            **numbering.counted(
                ((video.subject, video.task, video.first) for video in videos), what="videos"
            ),
            "pictures": sum(len(video.frames) for video in videos),
            "label rows": len(coded),
            "label cells unknown (9)": sum(list(row.values()).count(-1) for row in coded),
            "landmarks detected": origins[finder.FOUND],
            "landmarks from neighboring frames": origins[finder.BORROWED],
        },
        "skipped": report.as_dict(),
        "frame_offset": _tally(video.offset for video in videos),
        "zero_padding": _tally(video.digits for video in videos),
    }


def _tally(values: Iterator[int]) -> dict[str, int]:
    return {str(value): count for value, count in sorted(collections.Counter(values).items())}
