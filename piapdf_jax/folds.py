"""Subject-exclusive parts of BP4D, DISFA and your own recordings, and which part each of the three folds tests.

The parts are those that ME-GraphAU and JAA-Net publish; fold k tests part 4 - k.
"""

import hashlib
from collections.abc import Iterable

BP4D_PARTS: dict[int, list[str]] = {
    1: [
        "F001",
        "F002",
        "F008",
        "F009",
        "F010",
        "F016",
        "F018",
        "F023",
        "M001",
        "M004",
        "M007",
        "M008",
        "M012",
        "M014",
    ],
    2: [
        "F003",
        "F005",
        "F011",
        "F013",
        "F020",
        "F022",
        "M002",
        "M005",
        "M010",
        "M011",
        "M013",
        "M016",
        "M017",
        "M018",
    ],
    3: [
        "F004",
        "F006",
        "F007",
        "F012",
        "F014",
        "F015",
        "F017",
        "F019",
        "F021",
        "M003",
        "M006",
        "M009",
        "M015",
    ],
}
DISFA_PARTS: dict[int, list[str]] = {
    1: ["SN001", "SN002", "SN009", "SN010", "SN016", "SN026", "SN027", "SN030", "SN032"],
    2: ["SN006", "SN011", "SN012", "SN013", "SN018", "SN021", "SN024", "SN028", "SN031"],
    3: ["SN003", "SN004", "SN005", "SN007", "SN008", "SN017", "SN023", "SN025", "SN029"],
}
BP4D_SUBJECTS = tuple(sorted(sum(BP4D_PARTS.values(), [])))
BP4D_TASKS = tuple(f"T{k}" for k in range(1, 9))
DISFA_SUBJECTS = tuple(sorted(sum(DISFA_PARTS.values(), [])))


def part_of(subject: str, parts: dict[int, list[str]]) -> int:
    """Returns the part a participant belongs to.

    Args:
        subject: participant id as the data set spells it, such as ``F001``.
        parts: ``BP4D_PARTS`` or ``DISFA_PARTS``.

    Returns:
        1, 2 or 3.

    Raises:
        ValueError: for an id that is in no part.
    """
    for part, subjects in parts.items():
        if subject in subjects:
            return part
    raise ValueError(f"participant {subject!r} is in none of the published parts")


def equal_parts(subjects: Iterable[str]) -> dict[int, list[str]]:
    """Deals people without published parts, pseudo-randomly and identically everywhere.

    In the order of the SHA-256 of their names (UTF-8) they come to part 1, 2, 3, 1, ...: sizes differ by one at most.

    Args:
        subjects: everybody; names that are there twice count once.

    Returns:
        People by part, by name.

    Raises:
        ValueError: for fewer than three people.
    """
    order = sorted(set(subjects), key=lambda name: hashlib.sha256(name.encode()).digest())
    if len(order) < 3:
        raise ValueError(f"three parts need three people, got {len(order)}")
    return {part: sorted(order[part - 1 :: 3]) for part in (1, 2, 3)}


def test_part(fold: int) -> int:
    """Returns the part that a fold tests: 4 - fold.

    Raises:
        ValueError: for a fold that is not 1, 2 or 3.
    """
    if fold not in (1, 2, 3):
        raise ValueError(f"fold must be 1, 2 or 3, not {fold!r}")
    return 4 - fold


test_part.__test__ = False  # pytest takes functions of this name for tests


def part_split(part: int, *, coded: bool = True) -> str:
    """Returns the split name of one part: ``part1``, or ``part1_uncoded`` for frames without labels."""
    return f"part{part}" if coded else f"part{part}_uncoded"
