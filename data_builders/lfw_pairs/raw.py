"""Reads the list of pairs that LFW is scored by."""

import difflib
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple


class Pair(NamedTuple):
    """Two pictures, whether they show the same person (1 or 0), and the block, from 0."""

    first: str
    first_number: int
    second: str
    second_number: int
    same: int
    block: int


def read_pairs(path: pathlib.Path) -> list[Pair]:
    """Reads the pairs of ``pairs.txt`` (view 2): blocks of as many pairs of one person as of two.

    Args:
        path: first line BLOCKS SIZE, then 2 SIZE lines a block, NAME NUMBER NUMBER for the same
            person and NAME NUMBER NAME NUMBER for two.

    Returns:
        Pairs in the file's order.

    Raises:
        FileNotFoundError: where the file is not there.
        ValueError: for a line or a number of lines that is not as above; names file and line.
    """
    if not path.is_file():
        other = next(path.parent.glob("pairs*.*"), None)
        hint = f"; {other.name} is another list" if other else ""
        raise FileNotFoundError(f"{path} does not exist: it is LFW's list of pairs (view 2){hint}")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    header = lines[0].split() if lines else []
    if len(header) != 2 or not all(word.isdecimal() and int(word) > 0 for word in header):
        hint = "; a number alone begins the lists of view 1" if len(header) == 1 else ""
        raise ValueError(f"{path}, line 1: expected BLOCKS SIZE, got {' '.join(header)!r}{hint}")
    blocks, size = map(int, header)
    if len(lines) - 1 != 2 * blocks * size:
        raise ValueError(
            f"{path} has {len(lines) - 1} pairs; its first line announces {2 * blocks * size}"
        )
    return [
        _pair(f"{path}, line {row + 2}", line, row // (2 * size))
        for row, line in enumerate(lines[1:])
    ]


def _pair(place: str, line: str, block: int) -> Pair:
    words = line.split("\t") if "\t" in line else line.split()
    words = [word.strip() for word in words]
    numbers = words[1::2] if len(words) == 4 else words[1:]
    if len(words) not in (3, 4) or not all(word.isdecimal() for word in numbers):
        raise ValueError(
            f"{place}: expected NAME NUMBER NUMBER or NAME NUMBER NAME NUMBER, got {line!r}"
        )
    if len(words) == 3:
        return Pair(words[0], int(words[1]), words[0], int(words[2]), 1, block)
    return Pair(words[0], int(words[1]), words[2], int(words[3]), 0, block)


def named(pairs: Iterable[Pair]) -> Iterator[tuple[int, str, int]]:
    """Yields each picture that pairs name: line of the list, person, number."""
    for line, pair in enumerate(pairs, 2):
        yield line, pair.first, pair.first_number
        yield line, pair.second, pair.second_number


def check_pairs(
    path: pathlib.Path,
    pairs: Iterable[Pair],
    people: Mapping[str, Iterable[int]],
    root: pathlib.Path,
) -> None:
    """Looks for the pictures that pairs name.

    Args:
        path: of the list.
        pairs: in its order.
        people: numbers of the pictures of each person.
        root: folder of the people's folders.

    Raises:
        ValueError: for the first that is not there; says what is there instead.
    """
    there = {name: set(numbers) for name, numbers in people.items()}
    for line, name, number in named(pairs):
        if number in there.get(name, ()):
            continue
        if name in there:
            why = f"which does not exist: its folder holds {_listed(there[name])}"
        else:
            near = difflib.get_close_matches(name, there, n=1) or [
                other for other in there if other.lower() == name.lower()
            ]
            why = f"which does not exist: {root} has no folder of that name with pictures"
            why += f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{path}, line {line}: pairs.txt names picture {number} of {name}, {why}")


def _listed(numbers: set[int]) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:5]))
    return f"picture {shown}" + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
