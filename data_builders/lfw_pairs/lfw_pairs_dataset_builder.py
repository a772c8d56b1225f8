"""LFW: 13,233 pictures of 5,749 people and the 6,000 pairs of them that verification is scored on.

python -m data_builders.prepare lfw_pairs --manual_dir=FILES --data_dir=SHARDS --workers=8
"""

import pathlib
import re
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders import crops, folders, portraits, record_builder, schema, work_units
from data_builders import landmarks as finder
from data_builders.fault_report import FaultReport
from data_builders.lfw_pairs import raw

_FOLDERS = ("lfw", "lfw-deepfunneled", "lfw_funneled")
_NUMBER = re.compile(r"_(\d+)\.[A-Za-z]+$")


class Builder(record_builder.RecordBuilder):
    """Builds LFW as the split ``test``; the pairs and their blocks are in its metadata.

    No picture that a pair names is left out, or the score would be of other pairs than everybody's.
    """

    VERSION = tfds.core.Version(schema.IDENTITY_VERSION)
    RELEASE_NOTES = schema.IDENTITY_RELEASES
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    LFW comes from the University of Massachusetts (http://vis-www.cs.umass.edu/lfw); put the
    pictures into lfw/NAME/NAME_0001.jpg ... and pairs.txt beside that folder, below --manual_dir.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=schema.identity_features(), metadata=tfds.core.MetadataDict()
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        manual, report = pathlib.Path(dl_manager.manual_dir), FaultReport()
        root = folders.people_folder(manual, _FOLDERS)
        path = folders.beside("pairs.txt", root, manual)
        pairs = raw.read_pairs(path)
        people = [_numbered(person, report) for person in portraits.read_people(root, report)]
        raw.check_pairs(path, pairs, {person.name: person.numbers for person in people}, root)
        found = list(portraits.find_faces(people, self))
        placed = _placed(found, report)
        _check_read(path, pairs, placed)
        pictures = sum(len(person.paths) for person in placed)
        self.expected_examples = {"test": pictures}
        assert self.info.metadata is not None
        self.info.metadata.update(
            pairs=[list(pair) for pair in pairs],
            read={
                "people": len(people),
                "pictures": pictures,
                "pictures without a face found, cropped where the median face lies": sum(
                    int((marks.origin == finder.NO_FACE).sum()) for _, marks in found
                )
                - report.counts[crops.NO_FACE],
                "pairs": len(pairs),
                "blocks": len({pair.block for pair in pairs}),
            },
            skipped=report.as_dict(),
        )
        self.describe(action_units=(), people={"test": [person.name for person in placed]})
        return {"test": self._generate_examples(placed)}

    def _generate_examples(self, people: list[portraits.Person]) -> Any:
        return self.records(make, people)


def _numbered(person: portraits.Person, report: FaultReport) -> portraits.Person:
    """Numbers as the file names write them, which is how pairs name pictures."""
    numbered: dict[int, str] = {}
    for path in person.paths:
        written = _NUMBER.search(path)
        if written is None:
            raise ValueError(f"{path} is not named NAME_0001.jpg")
        if numbered.setdefault(int(written[1]), path) != path:
            report.add("second picture of a number", portraits.short(path))
    return person._replace(paths=tuple(numbered.values()), numbers=tuple(numbered))


def _placed(
    found: list[tuple[portraits.Person, finder.VideoLandmarks]], report: FaultReport
) -> list[portraits.Person]:
    """Everybody with landmarks for every picture that a face can be cut out of."""
    sure = [marks.landmarks[marks.origin == finder.FOUND] for _, marks in found]
    if not sum(map(len, sure)):
        raise ValueError("no face was found in any picture")
    usual = np.median(np.concatenate(sure), axis=0)
    placed = []
    for person, marks in found:
        points = np.where(np.isfinite(marks.landmarks), marks.landmarks, usual).astype(np.float32)
        pictures = zip(person.paths, marks.origin.tolist(), points, strict=True)
        rows = np.flatnonzero([_fits(*picture, report) for picture in pictures])
        placed.append(portraits.chosen(person, rows, points[rows]))
    return placed


def _fits(path: str, origin: int, points: np.ndarray, report: FaultReport) -> bool:
    """Whether a face can be cut out; the median face does not fit every picture."""
    faults = []
    if origin in finder.REFUSED:
        faults.append((finder.REFUSED[origin], portraits.short(path)))
    elif origin == finder.NO_FACE:
        crops.cut(path, points, portraits.short(path), faults)
    for reason, case in faults:
        report.add(reason, case)
    return not faults


def make(person: portraits.Person) -> work_units.Made:
    """Makes the records of a person; runs in a worker process.

    Raises:
        ValueError: for a picture that has become unreadable, as pairs may name it.
    """
    made = portraits.make(person)
    if made.faults:
        raise ValueError(f"{made.faults[0][1]}: {made.faults[0][0]}, since this build began")
    return made


def _check_read(path: pathlib.Path, pairs: list[raw.Pair], people: list[portraits.Person]) -> None:
    read = {(person.name, number) for person in people for number in person.numbers}
    for line, name, number in raw.named(pairs):
        if (name, number) not in read:
            raise ValueError(
                f"{path}, line {line}: pairs.txt names picture {number} of {name}, whose file cannot"
                " be read: copy it again from the distribution"
            )
