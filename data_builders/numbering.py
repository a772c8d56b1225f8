"""Matches pictures to label rows in copies of a data set that number pictures from 0 or from 1.

Merged copies mix both, so this is decided per video. Label rows count from 1 unless there is a row 0.
"""

import pathlib
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from data_builders import folders
from data_builders.fault_report import FaultReport

#: Name of a numbered picture.
PICTURE = re.compile(r"(\d+)\.(jpg|jpeg|png|bmp)", re.IGNORECASE)
_Video = TypeVar("_Video", bound=Hashable)
#: Why the label rows of a video are left out.
UNDECIDED = "video whose label rows fit pictures that count from 0 and from 1"
_FIRST = 1  # number of the first picture in the distributions themselves


class Numbers(NamedTuple):
    """Numbers of the picture files of a video, and of its label rows."""

    pictures: Collection[int]
    rows: Collection[int]


class Counting(NamedTuple):
    """From which number the pictures of a video count (None: unknown), and picture number minus label row number."""

    first: int | None
    offset: int


def find_countings(
    videos: Mapping[_Video, Numbers], person: Callable[[_Video], str]
) -> dict[_Video, Counting | None]:
    """Finds from which number the pictures of each video count.

    A video shows it by its first picture and by the label rows that find none. One that could be either, because
    pictures are missing, counts as the other videos of the participant do, or else as all others.

    Args:
        videos: numbers by video.
        person: participant of a video.

    Returns:
        By video; None where the others do not agree and nothing makes one of them likelier.
    """
    shown = {video: _shown_first(numbers) for video, numbers in videos.items()}
    everywhere = {first for first in shown.values() if first is not None}
    of_person: dict[str, set[int]] = {}
    for video, first in shown.items():
        if first is not None:
            of_person.setdefault(person(video), set()).add(first)
    found: dict[_Video, Counting | None] = {}
    for video, first in shown.items():
        if first is None:
            first = _only(of_person.get(person(video)) or everywhere or {_FIRST})
        if first is None:
            first = _likely_first(videos[video])
        offset = (first or 0) - _rows_first(videos[video])
        found[video] = None if first is None else Counting(first, offset)
    return found


def _only(values: set[int]) -> int | None:
    return next(iter(values)) if len(values) == 1 else None


def _shown_first(numbers: Numbers) -> int | None:
    """0 or 1 where a video by itself shows it; None where it could be either."""
    if not numbers.pictures:
        return _FIRST
    low = min(numbers.pictures)
    if low == 0:
        return 0
    from_0, from_1 = _lost(numbers)
    if low > 1:  # the first pictures are missing either way: only rows that all find theirs tell
        return None if bool(from_0) == bool(from_1) else int(not from_1)
    fewer = not from_1 or len(from_1) < len(from_0)
    return _likely_first(numbers) if fewer else None


def _likely_first(numbers: Numbers) -> int | None:
    """1 for pictures from 1 on, unless counting from 1 explains a missing first picture by missing others."""
    low, high = min(numbers.pictures), max(numbers.pictures)
    lost = _lost(numbers)
    between = [sum(low < number < high for number in missing) for missing in lost]
    at_end = [any(number > high for number in missing) for missing in lost]
    return 1 if low == 1 and between[1] <= between[0] and at_end[1] <= at_end[0] else None


def _lost(numbers: Numbers) -> tuple[set[int], set[int]]:
    """Pictures that label rows do not find, if pictures count from 0 and if they count from 1."""
    wanted = {row - _rows_first(numbers) for row in numbers.rows}
    return wanted - set(numbers.pictures), {n + 1 for n in wanted} - set(numbers.pictures)


def _rows_first(numbers: Numbers) -> int:
    return 0 if 0 in numbers.rows else 1


def list_pictures(
    folder: pathlib.Path, report: FaultReport, *, named_by: int
) -> dict[int, pathlib.Path]:
    """Returns the numbered pictures of a folder by number.

    Args:
        folder: of a video.
        report: gets second pictures of a number and other files.
        named_by: how many names at the end of a path say which file it is.
    """
    numbered: dict[int, pathlib.Path] = {}
    for path in sorted(folder.iterdir()):
        if folders.is_left_behind(path.name) and path.is_dir():
            continue
        match = PICTURE.fullmatch(path.name)
        case = "/".join(path.parts[-named_by:])
        if match is None:
            report.add("file that is no numbered picture", case)
        elif int(match[1]) in numbered:
            report.add("second picture of a frame", case)
        else:
            numbered[int(match[1])] = path
    return numbered


def counted(starts: Iterable[tuple[str, str, int | None]], *, what: str) -> dict[str, int]:
    """Says from which number pictures count, for the metadata of a build.

    Args:
        starts: participant, task ("" where there is none) and first number of each video, None where it is unknown.
        what: plural of what they are.

    Returns:
        {what is counted: how many}; where both occur, the rarer is named, by participant where all videos agree.
    """
    tasks: dict[int, dict[str, list[str]]] = {0: {}, 1: {}}
    for person, task, first in starts:
        if first is not None:
            tasks.setdefault(first, {}).setdefault(person, []).append(task)
    sizes = {first: sum(map(len, people.values())) for first, people in tasks.items()}
    found = [first for first in sorted(tasks) if sizes[first]]
    rarer = min(found, key=lambda first: sizes[first]) if len(found) > 1 else None
    lines = {}
    for first in found:
        others = {person for other in found if other != first for person in tasks[other]}
        names = [
            f"{person}/{task}" if person in others else person
            for person, videos in tasks[first].items()
            for task in (videos if person in others else videos[:1])
        ]
        named = f" ({', '.join(names[:5])}{', ...' if names[5:] else ''})" if first == rarer else ""
        lines[f"{what} whose pictures count from {first}{named}"] = sizes[first]
    return lines
