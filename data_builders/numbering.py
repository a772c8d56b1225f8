"""Which picture belongs to which label row, where copies of a data set count pictures from 0 or from 1.

Copies are merged, so that this is found by video. Label rows count from 1 unless there is a row 0.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import NamedTuple, TypeVar

_Video = TypeVar("_Video", bound=Hashable)
#: Why the label rows of a video are left out.
UNDECIDED = "video whose label rows fit pictures that count from 0 and from 1"
_FIRST = 1  # number of the first picture in the distributions themselves


class Numbers(NamedTuple):
    """Numbers of the picture files of a video, and of its label rows."""

    pictures: Collection[int]
    rows: Collection[int]


class Counting(NamedTuple):
    """From which number the pictures of a video count, and picture number minus label row number."""

    first: int
    offset: int


def find_countings(
    videos: Mapping[_Video, Numbers], person: Callable[[_Video], str]
) -> dict[_Video, Counting | None]:
    """Finds from which number the pictures of each video count.

    A video shows it by its first picture and by the label rows that find none. One that fits both ways, because its
    first pictures are missing, counts as the other videos of the participant do, or else as all others.

    Args:
        videos: numbers by video.
        person: participant of a video.

    Returns:
        By video; None where the others do not agree.
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
        rows_first = 0 if 0 in videos[video].rows else 1
        found[video] = None if first is None else Counting(first, first - rows_first)
    return found


def _only(values: set[int]) -> int | None:
    return next(iter(values)) if len(values) == 1 else None


def _shown_first(numbers: Numbers) -> int | None:
    """0 or 1, by which of them leaves less to explain; None where both leave as much."""
    if not numbers.pictures:
        return _FIRST
    from_0, from_1 = (_unexplained(numbers, first) for first in (0, 1))
    return None if from_0 == from_1 else int(from_1 < from_0)


def _unexplained(numbers: Numbers, first: int) -> tuple[int, bool]:
    """What is wrong with a video if its pictures count from ``first``: faults, and whether rows find no picture.

    However many pictures are missing at one end, that is one fault.
    """
    pictures, rows_first = set(numbers.pictures), 0 if 0 in numbers.rows else 1
    low, high = min(pictures), max(pictures)
    wanted = {row + first - rows_first for row in numbers.rows}
    lost = wanted - pictures
    at_start = low > first or any(number < low for number in lost)
    at_end = any(number > high for number in lost)
    between = sum(low < number < high for number in lost)
    strays = sum(number < first for number in pictures)
    return at_start + at_end + between + strays, bool(lost)


def counted(starts: Iterable[tuple[str, str, int]], *, what: str) -> dict[str, int]:
    """Says from which number pictures count, for the metadata of a build.

    Args:
        starts: participant, task ("" where there is none) and first number of each video.
        what: plural of what they are.

    Returns:
        {what is counted: how many}; where both occur, the rarer is named, by participant where all videos agree.
    """
    tasks: dict[int, dict[str, list[str]]] = {0: {}, 1: {}}
    for person, task, first in starts:
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
