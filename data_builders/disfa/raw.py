"""Reads the layout in which DISFA is distributed: intensity files a unit, films of the left camera or pictures.

Label files count frames from 1, films from 0, by the time at which a frame is shown. Extracted pictures count from 0 in
most copies, and from 1 in some.
"""

import dataclasses
import pathlib
import re
from collections.abc import Collection, Set

from data_builders import folders
from data_builders.fault_report import FaultReport
from data_builders.numbering import (
    PICTURE,
    UNDECIDED,
    Counting,
    Numbers,
    find_countings,
    list_pictures,
)
from data_builders.videos import VideoFrame
from piapdf_jax import video
from piapdf_jax.action_units import DISFA_AUS, DISFA_POSITIVE_INTENSITY, RECORD_AUS, UNKNOWN
from piapdf_jax.folds import DISFA_SUBJECTS

_SUBJECT = re.compile(r"SN\d{3}")
_LABELS = re.compile(r"(SN\d{3})_au(\d+)\.txt", re.IGNORECASE)
_FILM = re.compile(r"left_?video_?(SN\d{3})_comp\.(avi|mp4)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Video:
    """The frames of one participant, counted from 1 as the labels do; DISFA has one film each, so no task.

    ``first`` is the number from which its pictures count, ``offset`` is added to a label row's number to get the
    picture's.
    """

    subject: str
    frames: tuple[VideoFrame, ...]
    first: int | None = 1
    offset: int = 0
    task: str = ""
    moving: bool = True


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


def find_files(root: pathlib.Path, report: FaultReport) -> Tree:
    """Finds the files of a tree, at most five folders down.

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
    for path in folders.files(root):
        kept, what = path, ""
        if folders.is_archive(path):
            report.add(folders.ARCHIVE, str(path.relative_to(root)))
        elif match := _LABELS.fullmatch(path.name):
            kept = labels.setdefault(match[1].upper(), {}).setdefault(int(match[2]), path)
            what = "second label file of a unit"
        elif match := _FILM.fullmatch(path.name):
            kept, what = films.setdefault(match[1].upper(), path), "second film of a participant"
        elif _SUBJECT.fullmatch(path.parent.name) and PICTURE.fullmatch(path.name):
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
            f"{folders.packed(root)}"
        )
    seen = films.keys() | pictures.keys()
    if not seen:
        raise FileNotFoundError(
            f"no film or picture below {root}: expected Videos_LeftCamera/LeftVideoSN001_comp.avi"
            f" or Images/SN001/0.jpg{folders.packed(root)}"
        )
    kept = _complete(labels.keys(), seen, report)
    return Tree(
        {subject: labels[subject] for subject in kept},
        {s: films[s] for s in kept if s in films and s not in pictures},
        {subject: pictures[subject] for subject in kept if subject in pictures},
    )


def _complete(labels: Set[str], seen: Set[str], report: FaultReport) -> list[str]:
    """Participants with both labels and something to see; the others are reported."""
    for subject in sorted(labels | seen):
        if subject not in DISFA_SUBJECTS:
            report.add("unknown participant", subject)
        elif subject not in seen:
            report.add("participant without film or pictures", subject)
        elif subject not in labels:
            report.add("participant without labels", subject)
    return [s for s in DISFA_SUBJECTS if s in labels and s in seen]


def read_intensities(files: dict[int, pathlib.Path]) -> dict[int, dict[int, int]]:
    """Reads the label files of one participant.

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
                raise ValueError(f"{files[au]}, line {number}: frame {frame} appears twice")
            found.add(frame)
            rows.setdefault(frame, {})[au] = int(words[1])
        if not found:
            raise ValueError(f"{files[au]} is empty: copy it again from the distribution")
    return rows


def read_videos(tree: Tree, folders: dict[str, pathlib.Path], report: FaultReport) -> list[Video]:
    """Finds the frames of every participant from folders of numbered pictures.

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
        subject: list_pictures(folders[subject], report, named_by=2)
        for subject in tree.labels
        if subject in folders
    }
    rows = {subject: read_intensities(tree.labels[subject]) for subject in listed}
    countings = find_countings(
        {s: Numbers(listed[s], rows[s]) for s in listed if s not in tree.films}, person=str
    )
    for subject in listed.keys() & tree.films.keys():
        film = tree.films[subject]
        countings[subject] = _film_counting(film, listed[subject], rows[subject])
    videos = []
    for subject, numbered in listed.items():
        told, counting = rows[subject], countings[subject]
        if counting is None:
            report.add(UNDECIDED, subject)
            told, counting = {}, Counting(None, 0)
        lost = [row for row in told if row + counting.offset not in numbered]
        case = f"{subject} row {min(lost, default=0)}"
        report.add("label row without its picture", case, len(lost))
        frames = []
        for number, path in sorted(numbered.items()):
            row = told.get(number - counting.offset)
            frames.append(VideoFrame(number - counting.offset, str(path), _labels(row), row))
        videos.append(Video(subject, tuple(frames), *counting))
    return videos


def _film_counting(film: pathlib.Path, numbers: Collection[int], rows: Collection[int]) -> Counting:
    """Label row 1 is what a film shows at 0 seconds.

    Where it shows nothing at first, as an edit list can say, frames may be missing, or it may only be late beside a
    sound; then row 1 is its first picture, and more rows find theirs.
    """
    offsets = [-1]
    if numbers and video.start_delay(film):
        offsets.append(min(numbers) - 1)
    offset = max(offsets, key=lambda offset: sum(row + offset in numbers for row in rows))
    return Counting(1 + offset, offset)


def _labels(row: dict[int, int] | None) -> dict[int, int] | None:
    if row is None:
        return None
    present = {au: int(value >= DISFA_POSITIVE_INTENSITY) for au, value in row.items()}
    return dict.fromkeys(RECORD_AUS, UNKNOWN) | present
