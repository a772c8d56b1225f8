"""Groups the rows of ``labels.csv`` into videos, finds their files, and assigns people to parts."""

import dataclasses
import hashlib
import pathlib
import re
from typing import NamedTuple

from data_builders import film_frames, folders
from data_builders.fault_report import FaultReport
from data_builders.own.sheet import Row, Sheet
from data_builders.videos import VideoFrame
from piapdf_jax import folds

#: Why a row is left out, as the other builders say it.
LOST = "label row without its picture"
_UNNAMED = "picture or film that no row names"
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".avi", ".mp4", ".mov"}


@dataclasses.dataclass(frozen=True)
class Video:
    """The frames of somebody in a task; ``moving`` where they have numbers, so that neighbors are near in time."""

    subject: str
    task: str
    frames: tuple[VideoFrame, ...]
    moving: bool


class Take(NamedTuple):
    """Rows of somebody in a task: of one film, or of pictures.

    Attributes:
        subject: who.
        task: the file's, of a film without one the film.
        film: relative to the folder; None for pictures.
        rows: that name a frame, in the order of the file.
        rest: whether the other frames of the film are taken as well, without labels.
    """

    subject: str
    task: str
    film: str | None
    rows: tuple[Row, ...]
    rest: bool

    @property
    def wanted(self) -> tuple[int, ...] | None:
        """Numbers of the frames to take of the film; None for all."""
        named = [row.frame for row in self.rows if row.frame is not None]
        return None if self.rest else tuple(sorted(named))


def takes(sheet: Sheet) -> list[Take]:
    """Puts together the rows of each person and task.

    Raises:
        ValueError: for a frame that is there twice, for films and pictures of one task, and for pictures some of which
            have a number; names line, column and value.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in sheet.rows:
        task = row.task or (row.file if row.is_film else "")
        groups.setdefault((row.subject, task), []).append(row)
    for rows in groups.values():
        _check_together(sheet, rows)
    _check_once(sheet)
    _check_rest(sheet, groups)
    return [_take(*who, rows) for who, rows in sorted(groups.items())]


def _check_together(sheet: Sheet, rows: list[Row]) -> None:
    """Refuses rows of one person and task that are of several films, or of numbered and other pictures."""
    first = rows[0]
    for row in rows:
        kind, told = ("film" if row.is_film else "path"), f"as line {first.line}"
        if row.is_film != first.is_film or (row.is_film and row.file != first.file):
            what = f"is of subject {row.subject!r} and task {row.task!r} {told}, another file"
            sheet.refuse(row.line, kind, row.file, f"{what}: give each film a task of its own")
        if not row.is_film and (row.frame is None) != (first.frame is None):
            what = "give all pictures of a person and task a frame number, or none of them"
            cell = "" if row.frame is None else str(row.frame)
            sheet.refuse(row.line, "frame", cell, f"is not {told}: {what}")


def _check_once(sheet: Sheet) -> None:
    """Refuses a second row of a picture, of a frame of a film, or of a number of a person and task."""
    files: dict[tuple[str, int | None], int] = {}
    numbers: dict[tuple[str, str, int], int] = {}
    for row in sheet.rows:
        kind = "film" if row.is_film else "path"
        which = (row.file, row.frame if row.is_film else None)
        if (before := files.setdefault(which, row.line)) != row.line:
            frame = f", frame {row.frame}," if row.is_film and row.frame is not None else ""
            sheet.refuse(row.line, kind, row.file, f"{frame} is in line {before} already".strip())
        if row.frame is not None and not row.is_film:
            number = (row.subject, row.task, row.frame)
            if (before := numbers.setdefault(number, row.line)) != row.line:
                what = f"is the number of another picture of that person and task, in line {before}"
                sheet.refuse(row.line, "frame", str(row.frame), what)


def _check_rest(sheet: Sheet, groups: dict[tuple[str, str], list[Row]]) -> None:
    """Refuses rows of a film without a frame that have labels, or whose film is of another person or task as well."""
    for rows in groups.values():
        for row in rows:
            if not row.is_film or row.frame is not None:
                continue
            if row.coded:
                sheet.refuse(row.line, "frame", "", "is missing: a row with labels is of one frame")
            others = [other[0] for other in groups.values() if other is not rows]
            if before := next((other for other in others if other.file == row.file), None):
                what = f"is all of a film of which line {before.line} is another person or task"
                sheet.refuse(row.line, "film", row.file, f"{what}: name the frames")


def _take(subject: str, task: str, rows: list[Row]) -> Take:
    film = rows[0].file if rows[0].is_film else None
    named = tuple(row for row in rows if not row.is_film or row.frame is not None)
    return Take(subject, task, film, named, rest=len(named) < len(rows))


def report_unnamed(root: pathlib.Path, sheet: Sheet, report: FaultReport) -> None:
    """Counts pictures, films and archives below the folder that are not read, because no row names them."""
    named = {row.file for row in sheet.rows}
    for path in folders.files(root):
        name = path.relative_to(root).as_posix()
        if name not in named and folders.is_archive(path):
            report.add(folders.ARCHIVE, name)
        elif name not in named and path.suffix.lower() in _SUFFIXES:
            report.add(_UNNAMED, name)


def extraction(root: pathlib.Path, take: Take, cache: pathlib.Path) -> film_frames.Extraction:
    """Returns what takes the frames of a film into a folder of the cache, another for other frames or another file."""
    assert take.film is not None
    film = root / take.film
    state = film.stat()
    told = ("by time", take.film, state.st_size, state.st_mtime_ns, take.wanted)
    digest = hashlib.sha256(repr(told).encode()).hexdigest()[:16]
    # Somebody who reads the report must see which film it was.
    name = re.sub(r"[^\w-]+", "_", film.stem)[:40]
    return film_frames.Extraction(film, cache / f"{name}-{digest}", take.wanted)


def film_video(take: Take, folder: pathlib.Path, report: FaultReport) -> Video:
    """Returns the frames of a film.

    Args:
        take: its rows.
        folder: pictures of its wanted frames, named by number.
        report: gets rows whose frame is not there.
    """
    numbers = {int(path.stem): path for path in folder.iterdir()}
    rows = {row.frame: row for row in take.rows}
    lost = [row for row in take.rows if row.frame not in numbers]
    if lost:
        report.add(LOST, f"{take.film} frame {lost[0].frame}", len(lost))
    frames = [
        VideoFrame(number, str(path), _labels(rows.get(number)))
        for number, path in sorted(numbers.items())
    ]
    return Video(take.subject, take.task, tuple(frames), moving=True)


def picture_video(root: pathlib.Path, take: Take, report: FaultReport) -> Video:
    """Returns pictures by their number, else by their place among the rows.

    Args:
        root: folder of the csv.
        take: their rows.
        report: gets pictures that are not there.
    """
    frames = []
    for place, row in enumerate(take.rows):
        path = root / row.file
        if path.is_file():
            number = place if row.frame is None else row.frame
            frames.append(VideoFrame(number, str(path), _labels(row)))
        else:
            report.add(LOST, row.file)
    frames.sort(key=lambda frame: frame.number)
    moving = take.rows[0].frame is not None
    return Video(take.subject, take.task, tuple(frames), moving)


def _labels(row: Row | None) -> dict[int, int] | None:
    return row.labels if row is not None and row.coded else None


def parts(sheet: Sheet) -> dict[int, list[str]]:
    """Returns the people of each part: as the file says, or equal thirds (``folds.equal_parts``).

    Raises:
        ValueError: for fewer than three people, a person in two parts, or a part without anybody.
    """
    subjects = {row.subject for row in sheet.rows}
    if len(subjects) < 3:
        names = ", ".join(sorted(subjects))
        raise ValueError(
            f"{sheet.path} names {len(subjects)} people ({names}): three parts, of which one is tested,"
            " need at least three"
        )
    if all(row.part is None for row in sheet.rows):
        return folds.equal_parts(subjects)
    first: dict[str, Row] = {}
    for row in sheet.rows:
        before = first.setdefault(row.subject, row)
        if before.part != row.part:
            what = f"is not the part of {row.subject!r} in line {before.line}, {before.part}"
            sheet.refuse(row.line, "part", str(row.part), what)
    found: dict[int, list[str]] = {
        part: sorted(name for name, row in first.items() if row.part == part) for part in (1, 2, 3)
    }
    for part, people in found.items():
        if not people:
            raise ValueError(f"{sheet.path}: part {part} has no people: use all of 1, 2 and 3")
    return found
