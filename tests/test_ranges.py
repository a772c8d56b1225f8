"""What fields may hold, by hand: edges, open ends, types, unions, tuples, and words."""

import dataclasses
import math
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from piapdf_jax import ranges
from piapdf_jax.ranges import Choice, Length, Range

INT = Annotated[int, Range(1, 9)]
OPEN = Annotated[float, Range(0, 1, low_open=True, high_open=True)]
WORD = Annotated[str, Choice("a", "b")]
PAIR = tuple[float, float]
NAN = float("nan")
#: Of another type than their fields, as a caller may give them.
HALF: Any = 2.5
LONG: Any = "z" * 99


@pytest.mark.parametrize(
    ("hint", "allowed", "refused"),
    [
        (INT, [1, 9, np.int64(3)], [0, 10, -(10**400), 10**400, 2.0, NAN, True, "3", None]),
        (OPEN, [0.5, 1e-300, np.float32(0.5)], [0, 1, 0.0, 1.0, NAN, math.inf, 10**400, "0.5"]),
        (
            Annotated[float, Range(0, 1)],
            [0, 1, 0.0, 1.0, True - 0.5],
            [-1e-9, 1.0001, True, "", None],
        ),
        (float, [0.0, -1e300, 5], [NAN, -math.inf, True, "1", None]),
        (int, [0, -(10**400)], [0.5, NAN, False, "1"]),
        (bool, [True, False], [0, 1, "true", None]),
        (str, ["", "x"], [1, None]),
        (WORD, ["a", "b"], ["c", "", "A", 1, None]),
        (WORD | None, ["a", None], ["none", "c", 1]),
        (Literal["a", 2], ["a", 2], ["2", 2.0, "b", None]),
        (OPEN | None, [0.5, None], [0.0, NAN, "none"]),
        (tuple[INT, ...], [(), (1,), (1, 9)], [(0,), (1, 10), (1, NAN), [1], 1, (True,), ("1",)]),
        (PAIR, [(0.0, 1)], [(), (1.0,), (1.0, 2.0, 3.0), (1.0, NAN), None]),
        (Annotated[tuple[INT, ...], Length(1, 2)], [(1,), (1, 2)], [(), (1, 2, 3), (0,)]),
        (Any, [None, "x", [1], 3.0], [NAN, math.inf]),
        (dict[str, int], [{}, {"a": 1}], [NAN, "a", None]),
        (list[int] | None, [[1], None], [(1,), "1"]),
        (Annotated[float, "a note", Range(0, 1)], [0.5], [2.0]),
    ],
)
def test_a_hint_allows_what_it_says(hint, allowed, refused):
    for value in allowed:
        assert not ranges.wrong(value, hint), value
    for value in refused:
        assert ranges.wrong(value, hint), value


@dataclasses.dataclass(frozen=True)
class Inner:
    share: OPEN = 0.5
    words: tuple[WORD, ...] = ("a",)


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = Inner()
    count: INT = 1
    maybe: Annotated[float, Range(-2.5, 1e7)] | None = None
    sizes: tuple[INT, ...] = (1,)


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (Outer(count=0), "x.count=0 must be at least 1 and at most 9"),
        (Outer(count=HALF), "x.count=2.5 must be a whole number, at least 1 and at most 9"),
        (Outer(inner=Inner(share=1.0)), "x.inner.share=1.0 must be above 0 and below 1"),
        (Outer(inner=Inner(share=NAN)), "x.inner.share=nan must be a finite number, above 0 and below 1"),
        (Outer(inner=Inner(words=("a", "c"))), "x.inner.words=a,c each is not one of a, b"),
        (Outer(maybe=-3), "x.maybe=-3 must be at least -2.5 and at most 1e+07, or none"),
        (
            Outer(sizes=(1, 0)),
            "x.sizes=1,0 must hold whole numbers, such as 1,12: each must be at least 1 and at most 9",
        ),
        (Outer(maybe=LONG), f"x.maybe='{'z' * 59}... must be a number, at least -2.5"),
    ],
)  # fmt: skip
def test_one_line_names_key_value_and_range(section, told):
    ranges.check(Outer(), "x.")
    with pytest.raises(ValueError) as error:
        ranges.check(section, "x.")
    assert str(error.value).startswith(told) and "\n" not in str(error.value)
