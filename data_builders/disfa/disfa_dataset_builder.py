"""DISFA: spontaneous expressions of 27 people, intensities of 12 action units in every frame.

python -m data_builders.prepare disfa --manual_dir=FILES --data_dir=SHARDS --workers=8
"""

import collections
import pathlib
from typing import Any

import tensorflow_datasets as tfds

from data_builders import film_frames, numbering, record_builder, schema
from data_builders import landmarks as finder
from data_builders import videos as shared
from data_builders.disfa import raw
from data_builders.fault_report import FaultReport
from piapdf_jax import folds


class Builder(record_builder.RecordBuilder):
    """Builds DISFA by participant part; a unit is present from intensity 2 on."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    DISFA is licensed by the University of Denver (http://mohammadmahoor.com/disfa); put the labels
    into ActionUnit_Labels/SN001/SN001_au1.txt ... and the films into
    Videos_LeftCamera/LeftVideoSN001_comp.avi ... or their pictures into Images/SN001/0.jpg ...
    below --manual_dir.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=schema.au_features(),
            homepage="http://mohammadmahoor.com/disfa/",
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        report = FaultReport()
        tree = raw.find_files(pathlib.Path(dl_manager.manual_dir), report)
        pictures = tree.pictures | self._extracted(tree.films, report)
        videos = raw.read_videos(tree, pictures, report)
        placed = shared.place(videos, folds.DISFA_PARTS, self, report)
        self.expected_examples = placed.sizes()
        coded = sum(frame.labels is not None for video in videos for frame in video.frames)
        assert self.info.metadata is not None
        self.info.metadata.update(
            read={
                "participants": len(videos),
                "of them from films": len(pictures) - len(tree.pictures),
                **numbering.counted(
                    ((v.subject, "", v.first) for v in videos if v.subject in tree.pictures),
                    what="participants",
                ),
                "pictures": sum(len(video.frames) for video in videos),
                "coded frames": coded,
                "landmarks detected": placed.origins[finder.FOUND],
                "landmarks from neighboring frames": placed.origins[finder.BORROWED],
            },
            skipped=report.as_dict(),
            frame_offset=dict(collections.Counter(str(video.offset) for video in videos)),
        )
        self.describe(action_units=shared.coded_units(videos), people=placed.people())
        return {
            split: self._generate_examples(blocks, report)
            for split, blocks in placed.splits.items()
        }

    def _generate_examples(self, blocks: list[shared.Block], report: FaultReport) -> Any:
        return self.records(shared.make, blocks, report)

    def _extracted(
        self, films: dict[str, pathlib.Path], report: FaultReport
    ) -> dict[str, pathlib.Path]:
        """Folders of the films' frames, kept beside the cached landmarks until they are deleted."""
        cache = self.cache("frames")
        extractions = [
            film_frames.Extraction(film, cache / _key(subject, film))
            for subject, film in films.items()
        ]
        counts = self.in_advance(film_frames.run_extraction, extractions, label="frames of films")
        folders = {}
        for subject, extraction, count in zip(films, extractions, counts, strict=True):
            if count is None:
                report.add(film_frames.UNREADABLE, extraction.film.name)
            else:
                folders[subject] = extraction.folder
        return folders


def _key(subject: str, film: pathlib.Path) -> str:
    """Name of the frames of a film; another film of the same person, or another way to number, has another one."""
    state = film.stat()
    return f"{subject}-by-time-{state.st_size}-{state.st_mtime_ns}"
