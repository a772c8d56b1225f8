"""The parts of a data set that a fold trains and tests on: what was published, and what is there of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from piapdf_jax import folds
from piapdf_jax.data.description import Description

#: How many names a line gives.
_NAMED = 4


class FoldPart(NamedTuple):
    """What a fold trains or tests on.

    Attributes:
        fold: 1, 2 or 3.
        test: whether it is what the fold tests on.
        splits: names of the splits that it consists of.
        there: those of them that hold a record.
        wanted: everybody whom the parts name, published or dealt by the builder; () where there are none.
        people: who of the data set is in ``there``.
    """

    fold: int
    test: bool
    splits: tuple[str, ...]
    there: tuple[str, ...]
    wanted: tuple[str, ...]
    people: tuple[str, ...]

    @property
    def expression(self) -> str | None:
        """The TFDS split expression of what is there; None for nothing."""
        return "+".join(self.there) or None

    def __str__(self) -> str:
        use, splits = "to test on" if self.test else "to train on", listed(self.splits)
        if not self.wanted:
            missing = [name for name in self.splits if name not in self.there]
            return f"fold {self.fold} has no split {listed(missing)} {use}"
        lost = sorted(set(self.wanted) - set(self.people))
        has = f"{len(self.wanted) - len(lost)} of the {len(self.wanted)} people"
        here = f" ({listed(self.people)})" if self.people else ""
        return f"fold {self.fold} has {has} of {splits} {use}{here}; it lacks {listed(lost)}"

    @property
    def whole(self) -> bool:
        """Whether nothing of it is missing."""
        return self.splits == self.there and set(self.wanted) <= set(self.people)


def part_of_fold(told: Description, sizes: Mapping[str, int], fold: int, *, test: bool) -> FoldPart:
    """Returns what a fold trains or tests on: published parts, else the split ``train`` or ``test``.

    Args:
        told: what the data set says of itself.
        sizes: records by split.
        fold: 1, 2 or 3.
        test: what it tests on, instead of what it trains on.
    """
    filled = {name for name, count in sizes.items() if count}
    parts = {folds.part_split(part, coded=coded) for part in (1, 2, 3) for coded in (True, False)}
    splits, wanted = ("test" if test else "train",), []
    if filled & parts:
        numbers = [part for part in (1, 2, 3) if (part == folds.test_part(fold)) == test]
        splits = tuple(folds.part_split(part) for part in numbers)
        dealt = _dealt(told)
        wanted = sorted(name for part in numbers for name in dealt.get(part, ()))
    there = tuple(name for name in splits if name in filled)
    people = told.people_of("+".join(there)) if there else set()
    return FoldPart(fold, test, splits, there, tuple(wanted), tuple(sorted(people)))


def _dealt(told: Description) -> Mapping[int, Sequence[str]]:
    """The parts of the people of a data set, its own or published; {} for people whom nobody has dealt to parts."""
    if told.parts:
        return told.parts
    everybody = set().union(*told.people.values())
    for parts in (folds.BP4D_PARTS, folds.DISFA_PARTS):
        if everybody and everybody <= set(sum(parts.values(), [])):
            return parts
    return {}


def listed(names: Iterable[object], most: int = _NAMED) -> str:
    """Returns names with commas, the first few of many and how many more there are."""
    texts = list(map(str, names))
    more = f" and {len(texts) - most} more" if len(texts) > most + 1 else ""
    return ", ".join(texts[:most] if more else texts) + more
