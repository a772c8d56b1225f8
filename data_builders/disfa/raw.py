"""Reads the layout in which DISFA is distributed: intensity files a unit, films of the left camera or pictures.

Label files count frames from 1, films from 0. Extracted pictures count from 0 in most copies, and from 1 in some: a
picture 0 of anybody gives that away, so that one who lacks it is not read a frame too late.
"""

import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator

from data_builders.bp4d.raw import find_offset
from data_builders.report import Report
from data_builders.videos import Frame
from piapdf_jax.action_units import DISFA_AUS, DISFA_POSITIVE_INTENSITY, RECORD_AUS, UNKNOWN
from piapdf_jax.folds import DISFA_SUBJECTS

_SUBJECT = re.compile(r"SN\d{3}")
_LABELS = re.compile(r"(SN\d{3})_au(\d+)\.txt", re.IGNORECASE)
_FILM = re.compile(r"left_?video_?(SN\d{3})_comp\.(avi|mp4)", re.IGNORECASE)
_PICTURE = re.compile(r"(\d+)\.(jpg|jpeg|png|bmp)", re.IGNORECASE)
_DEPTH = 3
#: What stands behind the first length of an MP4 or QuickTime file.
_MP4 = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")


@dataclasses.dataclass(frozen=True)
class Video:
    """The frames of one participant, counted from 1 as the labels do; DISFA has one film each, so no task.

    ``offset`` is added to a label row's number to get the picture's.
    """

    subject: str
    frames: tuple[Frame, ...]
    offset: int = 0
    task: str = ""


@dataclasses.dataclass(frozen=True)
class Tree:
    """What lies in a DISFA tree, by participant.

    Attributes:
        labels: {AU: file}.
        films: the left camera's.
        pictures: folders of extracted pictures, which go before films.
    """

    labels: dict[str, dict[int, pathlib.Path]]
    films: dict[str, pathlib.Path]
    pictures: dict[str, pathlib.Path]


def find_files(root: pathlib.Path, report: Report) -> Tree:
    """Finds the files of a tree, at most three folders down.

    Args:
        root: the folder that was given, on top of the distribution.
        report: gets unknown participants, those with labels or pictures alone, and second copies.

    Returns:
        Participants that have labels, and a film or pictures.

    Raises:
        FileNotFoundError: where there are no labels, or no films and pictures.
    """
    labels: dict[str, dict[int, pathlib.Path]] = {}
    films: dict[str, pathlib.Path] = {}
    pictures: dict[str, pathlib.Path] = {}
    twice: dict[pathlib.Path, str] = {}
    for path in _below(root, _DEPTH):
        kept, what = path, ""
        if match := _LABELS.fullmatch(path.name):
            kept = labels.setdefault(match[1].upper(), {}).setdefault(int(match[2]), path)
            what = "second label file of a unit"
        elif match := _FILM.fullmatch(path.name):
            kept, what = films.setdefault(match[1].upper(), path), "second film of a participant"
        elif _SUBJECT.fullmatch(path.parent.name) and _PICTURE.fullmatch(path.name):
            path = path.parent
            kept = pictures.setdefault(path.name, path)
            what = "second folder of pictures of a participant"
        if kept != path:
            twice[path] = what
    for path, what in twice.items():
        report.add(what, str(path.relative_to(root)))
    if not labels:
        raise FileNotFoundError(
            f"no label file below {root}: expected ActionUnit_Labels/SN001/SN001_au1.txt"
        )
    seen = films.keys() | pictures.keys()
    if not seen:
        raise FileNotFoundError(
            f"no film or picture below {root}: expected Videos_LeftCamera/LeftVideoSN001_comp.avi"
            " or Images/SN001/0.jpg"
        )
    for subject in sorted(labels.keys() | seen):
        if subject not in DISFA_SUBJECTS:
            report.add("unknown participant", subject)
        elif subject not in seen:
            report.add("participant without film or pictures", subject)
        elif subject not in labels:
            report.add("participant without labels", subject)
    kept = [s for s in DISFA_SUBJECTS if s in labels and s in seen]
    return Tree(
        {subject: labels[subject] for subject in kept},
        {s: films[s] for s in kept if s in films and s not in pictures},
        {subject: pictures[subject] for subject in kept if subject in pictures},
    )


def _below(root: pathlib.Path, depth: int) -> Iterator[pathlib.Path]:
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.is_file():
            yield pathlib.Path(entry.path)
        elif depth and entry.is_dir():
            yield from _below(pathlib.Path(entry.path), depth - 1)


def read_intensities(files: dict[int, pathlib.Path]) -> dict[int, dict[int, int]]:
    """The label files of one participant.

    Args:
        files: {AU: file}; each line is ``frame,intensity``, frames from 1, intensities 0 to 5.

    Returns:
        {frame: {AU: intensity}} over the units that records hold.

    Raises:
        ValueError: for a unit of the protocol without a file, an empty file, another line, or a frame that is
            there twice; names file and line.
    """
    folder = next(iter(files.values())).parent
    for au in DISFA_AUS:
        if au not in files:
            raise ValueError(
                f"{folder} has no file for AU {au}: copy it again from the distribution"
            )
    rows: dict[int, dict[int, int]] = {}
    for au in sorted(files.keys() & set(RECORD_AUS)):
        lines = files[au].read_text(encoding="utf-8-sig", errors="replace").splitlines()
        found: set[int] = set()
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            words = [word.strip() for word in line.split(",")]
            if len(words) != 2 or not words[0].isdecimal() or words[1] not in set("012345"):
                raise ValueError(
                    f"{files[au]}, line {number}: expected FRAME,INTENSITY with 0 to 5, got {line!r}"
                )
            frame = int(words[0])
            if frame in found:
                raise ValueError(f"{files[au]}, line {number}: frame {frame} is there twice")
            found.add(frame)
            rows.setdefault(frame, {})[au] = int(words[1])
        if not found:
            raise ValueError(f"{files[au]} is empty: copy it again from the distribution")
    return rows


def read_videos(tree: Tree, folders: dict[str, pathlib.Path], report: Report) -> list[Video]:
    """The frames of every participant from folders of numbered pictures.

    Args:
        tree: what ``find_files`` found.
        folders: pictures of each participant, extracted from the film by us or by somebody before.
        report: gets label rows without picture and other files.

    Returns:
        Videos by participant, frames by number.

    Raises:
        ValueError: as ``read_intensities``.
    """
    listed = {
        subject: _pictures(subject, folders[subject], report)
        for subject in tree.labels
        if subject in folders
    }
    from_0 = any(0 in listed[subject] for subject in tree.pictures)
    videos = []
    for subject, numbered in listed.items():
        rows = read_intensities(tree.labels[subject])
        offset = find_offset(numbered, rows, zero_based=from_0 or subject in tree.films)
        lost = [row for row in rows if row + offset not in numbered]
        case = f"{subject} row {min(lost, default=0)}"
        report.add("label row without its picture", case, len(lost))
        frames = []
        for number, path in sorted(numbered.items()):
            row = rows.get(number - offset)
            frames.append(Frame(number - offset, str(path), _labels(row), row))
        videos.append(Video(subject, tuple(frames), offset))
    return videos


def _pictures(subject: str, folder: pathlib.Path, report: Report) -> dict[int, pathlib.Path]:
    numbered: dict[int, pathlib.Path] = {}
    for path in sorted(folder.iterdir()):
        match = _PICTURE.fullmatch(path.name)
        if match is None:
            report.add("file that is no numbered picture", f"{subject}/{path.name}")
        elif int(match[1]) in numbered:
            report.add("second picture of a frame", f"{subject}/{path.name}")
        else:
            numbered[int(match[1])] = path
    return numbered


def _labels(row: dict[int, int] | None) -> dict[int, int] | None:
    if row is None:
        return None
    present = {au: int(value >= DISFA_POSITIVE_INTENSITY) for au, value in row.items()}
    return dict.fromkeys(RECORD_AUS, UNKNOWN) | present


def extract(film: pathlib.Path, folder: pathlib.Path) -> int | None:
    """Writes the frames of a film as JPEG files 0.jpg, 1.jpg, ..., unless they are there already.

    Args:
        film: a video that OpenCV reads.
        folder: gets the pictures; it is there either whole or not at all.

    Returns:
        How many frames there are; None for a film that cannot be read.
    """
    import cv2

    if folder.is_dir():
        return sum(1 for _ in folder.iterdir())
    if not _is_film(film):
        return None
    reader = cv2.VideoCapture(str(film))
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    count = 0
    while True:
        there, image = reader.read()
        if not there:
            break
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 97])
        if not done:
            raise ValueError(f"OpenCV could not encode frame {count} of {film}")
        (part / f"{count}.jpg").write_bytes(data.tobytes())
        count += 1
    reader.release()
    if not count:
        part.rmdir()
        return None
    part.replace(folder)
    return count


def _is_film(path: pathlib.Path) -> bool:
    """Whether a file is an AVI or MP4 film; OpenCV would open the files that a play list names."""
    with path.open("rb") as file:
        first = file.read(12)
    return (first[:4], first[8:]) == (b"RIFF", b"AVI ") or first[4:8] in _MP4


def extract_all(jobs: tuple[pathlib.Path, pathlib.Path]) -> int | None:
    """``extract`` of a pair (film, folder), for a pool of processes."""
    return extract(*jobs)
