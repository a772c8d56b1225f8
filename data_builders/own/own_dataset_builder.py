"""Your own recordings: pictures and films, and a csv that says who is seen and which units are present.

python -m data_builders.prepare own --manual_dir=FILES --data_dir=SHARDS --workers=8
"""

import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import tensorflow_datasets as tfds

from data_builders import film_frames, record_builder, schema
from data_builders import landmarks as finder
from data_builders import videos as shared
from data_builders.fault_report import FaultReport
from data_builders.own import raw, sheet


class Builder(record_builder.RecordBuilder):
    """Builds what ``labels.csv`` names, by part; units are those with a label."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Put labels.csv beside your pictures and films into --manual_dir; its columns are path (or film and
    frame), subject, AU1, AU12, ... of 0, 1 or nothing, and task, frame and part where you have them.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=schema.au_features(), metadata=tfds.core.MetadataDict()
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        report, root = FaultReport(), sheet.home(pathlib.Path(dl_manager.manual_dir))
        told = sheet.read(root, report)
        takes, parts = raw.takes(told), raw.parts(told)
        raw.report_unnamed(root, told, report)
        videos = self._videos(root, takes, report)
        placed = shared.place(videos, parts, self, report)
        self.expected_examples = placed.sizes()
        frames = [frame for video in videos for frame in video.frames]
        assert self.info.metadata is not None
        self.info.metadata.update(
            read={
                "participants": len({video.subject for video in videos}),
                "films": len({take.film for take in takes if take.film is not None}),
                "pictures and frames": len(frames),
                "label rows": sum(row.coded for row in told.rows),
                "coded frames": sum(frame.labels is not None for frame in frames),
                "landmarks detected": placed.origins[finder.FOUND],
                "landmarks from neighboring frames": placed.origins[finder.BORROWED],
            },
            skipped=report.as_dict(),
            parts={str(part): people for part, people in parts.items()},
            labels=_digest(told.path),
        )
        self.describe(action_units=shared.coded_units(videos), people=placed.people())
        return {
            split: self._generate_examples(blocks, report)
            for split, blocks in placed.splits.items()
        }

    def _generate_examples(self, blocks: list[shared.Block], report: FaultReport) -> Any:
        return self.records(shared.make, blocks, report)

    def _videos(
        self, root: pathlib.Path, takes: Sequence[raw.Take], report: FaultReport
    ) -> list[raw.Video]:
        """Pictures, and frames of films, which are kept beside the cached landmarks until they are deleted."""
        videos = [raw.picture_video(root, take, report) for take in takes if take.film is None]
        films = []
        for take in takes:
            if take.film is not None and (root / take.film).is_file():
                films.append(take)
            elif take.film is not None:
                report.add(raw.LOST, take.film, max(1, len(take.rows)))
        extractions = [raw.extraction(root, take, self.cache("frames")) for take in films]
        counts = self.in_advance(film_frames.run_extraction, extractions, label="frames of films")
        for take, extraction, count in zip(films, extractions, counts, strict=True):
            if count is None:
                report.add(film_frames.UNREADABLE, take.film or "")
            else:
                videos.append(raw.film_video(take, extraction.folder, report))
        return [video for video in videos if video.frames]

    def changed(self, manual: pathlib.Path) -> str:
        """Returns that the csv is another one than that of the data set, if it is."""
        path = sheet.home(manual) / sheet.NAME
        known = (self.info.metadata or {}).get("labels")
        if not path.is_file() or _digest(path) == known:
            return ""
        return f"{path} has changed"


def _digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
