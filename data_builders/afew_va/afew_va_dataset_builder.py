"""AFEW-VA: 600 clips of films with 68 landmarks a frame, on which PI stage 1 learns.

python -m data_builders.prepare afew_va --manual_dir=FILES --data_dir=SHARDS --workers=8
"""

import pathlib
from typing import Any

import tensorflow_datasets as tfds

from data_builders import crops, record_builder, schema, work_units
from data_builders.afew_va import raw
from data_builders.fault_report import FaultReport

#: Every so many actors, in the order of their names, one belongs to the split ``test``.
_TEST_EVERY = 5


class Builder(record_builder.RecordBuilder):
    """Builds AFEW-VA, its actors apart in the splits ``train`` and ``test``."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    AFEW-VA comes from Imperial College London (https://ibug.doc.ic.ac.uk/resources/afew-va-database);
    unpack the twelve archives, so that 001/001.json and 001/00000.png ... lie below --manual_dir.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=schema.au_features(),
            homepage="https://ibug.doc.ic.ac.uk/resources/afew-va-database/",
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        report = FaultReport()
        clips = raw.read_clips(pathlib.Path(dl_manager.manual_dir), report)
        splits = split_by_actor(clips)
        self.expected_examples = {
            split: sum(len(clip.numbers) for clip in found) for split, found in splits.items()
        }
        assert self.info.metadata is not None
        self.info.metadata.update(
            read={
                "clips": len(clips),
                "actors": len({clip.actor for clip in clips}),
                "frames with landmarks and picture": sum(self.expected_examples.values()),
            },
            skipped=report.as_dict(),
        )
        actors = {split: {clip.actor for clip in found} for split, found in splits.items()}
        self.describe(action_units=(), people=actors)
        return {split: self._generate_examples(found, report) for split, found in splits.items()}

    def _generate_examples(self, clips: list[raw.Clip], report: FaultReport) -> Any:
        return self.records(make, clips, report)


def split_by_actor(clips: list[raw.Clip]) -> dict[str, list[raw.Clip]]:
    """Deals clips to the splits ``train`` and ``test``; no actor is in both, and none is empty.

    Raises:
        ValueError: for clips of fewer than two actors.
    """
    actors = sorted({clip.actor for clip in clips})
    if len(actors) < 2:
        raise ValueError(f"clips of {len(actors)} actor(s) cannot be split into train and test")
    tested = set(actors[1::_TEST_EVERY])
    return {
        "train": [clip for clip in clips if clip.actor not in tested],
        "test": [clip for clip in clips if clip.actor in tested],
    }


def make(clip: raw.Clip) -> work_units.Made:
    """Makes the records and faults of a clip; runs in a worker process."""
    examples, faults = [], []
    for number, path, points in zip(clip.numbers, clip.paths, clip.landmarks, strict=True):
        case = f"{clip.name}/{pathlib.Path(path).name}"
        found = crops.cut(path, points, case, faults)
        if found is None:
            continue
        image, moved = found
        example = schema.au_example(
            image=image, landmarks=moved, labels={},
            subject=clip.actor, task=clip.name, frame=number, coded=False,
        )  # fmt: skip
        examples.append((f"{clip.name}_{number:05d}", example))
    return work_units.Made(examples, faults)
