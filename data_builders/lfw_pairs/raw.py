"""Reads the list of pairs that LFW is scored by."""

import pathlib
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
    """The pairs of ``pairs.txt`` (view 2): blocks of as many pairs of one person as of two.

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
        raise FileNotFoundError(f"{path} is not there: it is LFW's list of pairs (view 2)")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    header = lines[0].split() if lines else []
    if len(header) != 2 or not all(word.isdecimal() and int(word) > 0 for word in header):
        raise ValueError(f"{path}, line 1: expected BLOCKS SIZE, got {' '.join(header)!r}")
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
