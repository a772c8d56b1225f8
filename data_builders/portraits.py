"""Pictures of people in face recognition data sets: one folder per person."""

import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data_builders import crops, folders, record_builder, schema, work_units
from data_builders import landmarks as finder
from data_builders.fault_report import FaultReport

_PICTURE = re.compile(r"[^.].*\.(jpg|jpeg|png|bmp)", re.IGNORECASE)


class Person(NamedTuple):
    """Some pictures of one person.

    Attributes:
        name: as the data set spells it.
        identity: contiguous id from 0.
        paths: picture files.
        numbers: of each, from 1.
        landmarks: [N, 68, 2] float32, pixels of each picture; None before they are looked for.
    """

    name: str
    identity: int
    paths: tuple[str, ...]
    numbers: tuple[int, ...]
    landmarks: np.ndarray | None = None


def read_people(root: pathlib.Path, report: FaultReport) -> list[Person]:
    """Lists the folders of a set by name, pictures by file name and numbered from 1.

    Args:
        root: holds a folder a person.
        report: gets the folders without a picture.

    Returns:
        People in order of their names.
    """
    people = []
    folders.report_archives(root, report)
    for folder in folders.subfolders(root):
        paths = sorted(str(path) for path in folder.iterdir() if _PICTURE.fullmatch(path.name))
        if paths:
            numbers = tuple(range(1, len(paths) + 1))
            people.append(Person(folder.name, len(people), tuple(paths), numbers))
        else:
            report.add("folder without pictures", folder.name)
    return people


def find_faces(
    people: list[Person], builder: record_builder.RecordBuilder
) -> Iterator[tuple[Person, finder.VideoLandmarks]]:
    """Finds the landmarks of everybody's pictures, once, and keeps them on disk.

    Args:
        people: whose.
        builder: spreads the work.

    Yields:
        Each person with the landmarks of each picture and how they were come by.
    """
    cache = str(builder.cache("landmarks"))
    files = [
        finder.VideoFiles(person.name, person.paths, (), cache, builder.detector)
        for person in people
    ]
    found = builder.in_advance(finder.find_landmarks, files, label="landmarks, people")
    yield from zip(people, found, strict=True)


def chosen(person: Person, rows: np.ndarray, landmarks: np.ndarray) -> Person:
    """Returns a person's pictures at some rows, with their landmarks [len(rows), 68, 2]."""
    return person._replace(
        paths=tuple(person.paths[row] for row in rows),
        numbers=tuple(person.numbers[row] for row in rows),
        landmarks=landmarks,
    )


def short(path: str) -> str:
    """Returns person and file of a picture, for reports."""
    return "/".join(pathlib.Path(path).parts[-2:])


def make(person: Person) -> work_units.Made:
    """Makes the records and faults of a person; runs in a worker process."""
    assert person.landmarks is not None
    examples, faults = [], []
    for path, number, points in zip(person.paths, person.numbers, person.landmarks, strict=True):
        found = crops.cut(path, points, short(path), faults)
        if found is None:
            continue
        example = schema.identity_example(
            image=found[0],
            landmarks=found[1],
            name=person.name,
            identity=person.identity,
            number=number,
        )
        examples.append((f"{person.name}_{number:05d}", example))
    return work_units.Made(examples, faults)
