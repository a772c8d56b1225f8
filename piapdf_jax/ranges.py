"""Validation of configuration fields, declared in their type hints: ``steps: Annotated[int, Range(1, 100)]``.

Read from the type hints of a dataclass: ``int``, ``float``, ``bool``, ``str``, ``Literal``, tuples
of these and ``None``, alone or in a union, with rules in ``Annotated``. A rule is any object with a
method ``wrong(value)`` that returns what is wrong, "" for nothing. A number without a ``Range`` must
be finite; of another class a value must be an instance.
"""

import dataclasses
import math
import numbers
import types
from collections.abc import Iterator
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Protocol,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: A type as ``get_type_hints`` returns it.
Hint = Any
#: What stands in ``Annotated`` beside a type.
Rules = tuple[object, ...]

#: Longest value that a message repeats whole.
_SHOWN = 60


@runtime_checkable
class Rule(Protocol):
    """What a value must satisfy."""

    def wrong(self, value: Any, /) -> str:
        """Returns what is wrong with a value, "" for nothing."""
        ...


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers between two ends; an open end does not belong to them."""

    low: float
    high: float
    low_open: bool = False
    high_open: bool = False

    def wrong(self, value: float) -> str:
        """Returns the allowed range if a number lies outside, "" inside."""
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return "" if above and below else f"must be {self}"

    def __str__(self) -> str:
        low, high = (str(x) if isinstance(x, int) else f"{x:g}" for x in (self.low, self.high))
        ends = "above" if self.low_open else "at least", "below" if self.high_open else "at most"
        return f"{ends[0]} {low} and {ends[1]} {high}"


class Choice:
    """A fixed number of values."""

    def __init__(self, *options: object) -> None:
        self.options = options

    def wrong(self, value: object) -> str:
        """Returns the allowed values for any other value, "" for one of them."""
        # 1 == 1.0 == True, but they are not the same setting.
        there = any(value == option and type(value) is type(option) for option in self.options)
        return "" if there else f"is not one of {', '.join(map(str, self.options))}"


@dataclasses.dataclass(frozen=True)
class Length:
    """How many values a tuple holds."""

    least: int
    most: int

    def wrong(self, values: tuple[object, ...]) -> str:
        """Returns the allowed number of values if there are fewer or more, "" else."""
        told = f"must hold at least {self.least} and at most {self.most} values"
        return "" if self.least <= len(values) <= self.most else told


#: A number of steps, batches, people: what counts them is int32.
Count = Annotated[int, Range(1, 2**31 - 1)]
#: A share of a whole, or a probability.
Share = Annotated[float, Range(0, 1)]
#: A probability at which something is left.
Chance = Annotated[float, Range(0, 1, high_open=True)]
#: JAX takes 32 bits of a seed, so that a larger one is another's again.
Seed = Annotated[int, Range(0, 2**32 - 1)]


def members(hint: Hint, rules: Rules = ()) -> Iterator[tuple[Hint, Rules]]:
    """Yields the plain types that a hint allows, each with its rules."""
    if get_origin(hint) is Annotated:
        base, *more = get_args(hint)
        yield from members(base, (*rules, *more))
    elif get_origin(hint) in (Union, types.UnionType):
        for member in get_args(hint):
            yield from members(member, rules)
    else:
        yield hint, rules


def wrong(value: object, hint: Hint) -> str:
    """Returns what is wrong with a value beside its hint, as "must be ..." or "is not ..."; "" for nothing."""
    found = [_wrong(value, base, rules) for base, rules in members(hint)]
    if not all(found):
        return ""
    first, *others = found
    return first + "".join(f", or {other.removeprefix('must be ')}" for other in others)


def hints(section: "DataclassInstance | type[DataclassInstance]") -> dict[str, Hint]:
    """Returns the type hints of a dataclass by field, rules included.

    Raises:
        ValueError: for a hint written as text that names what is not there.
    """
    kind = section if isinstance(section, type) else type(section)
    try:
        found = get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise ValueError(f"the type hints of {kind.__name__} cannot be read: {error}") from error
    return {field.name: found[field.name] for field in dataclasses.fields(kind)}


def fields(
    section: "DataclassInstance | type[DataclassInstance]", prefix: str = ""
) -> Iterator[tuple[str, object, Hint]]:
    """Yields (dotted key, value, hint) of every field of a dataclass and of those inside it."""
    for name, hint in hints(section).items():
        value = getattr(section, name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value, hint


def complaint(key: str, value: object, hint: Hint, *, text: str | None = None) -> str:
    """Returns one line that names key, value and what is allowed; "" where nothing is wrong.

    Args:
        key: of the field.
        value: of the field.
        hint: of the field.
        text: the value as somebody wrote it.
    """
    told = wrong(value, hint)
    if not told:
        return ""
    if text is None:
        text = _listed(value) if isinstance(value, tuple) else repr(value)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"{key}={shown} {told}"


def check(section: "DataclassInstance", prefix: str = "") -> None:
    """Refuses a dataclass with a value that its hints do not allow.

    Args:
        section: the dataclass.
        prefix: what stands before the names of its fields in the message.

    Raises:
        ValueError: naming key, value and what is allowed.
    """
    for key, value, hint in fields(section, prefix):
        if told := complaint(key, value, hint):
            raise ValueError(told)


def _listed(values: tuple[object, ...]) -> str:
    return ",".join(map(str, values))


def _wrong(value: object, base: Hint, rules: Rules) -> str:
    """What is wrong with a value beside one plain type and its rules."""
    if base is type(None):
        return "" if value is None else "must be none"
    if base is bool:
        return "" if isinstance(value, bool) else "must be true or false"
    if base in (int, float):
        return _wrong_number(value, base, rules)
    if get_origin(base) is tuple:
        return _wrong_tuple(value, get_args(base)) or _broken(value, rules)
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if get_origin(base) is Literal:
        rules = (Choice(*get_args(base)), *rules)
    kind = get_origin(base) or base
    if isinstance(kind, type) and kind is not Any and not isinstance(value, kind):
        return f"must be {'text' if kind is str else f'of type {kind.__name__}'}"
    return _broken(value, rules)


def _broken(value: object, rules: Rules) -> str:
    """What the first rule says that a value breaks; what else stands in ``Annotated`` is no rule."""
    told = (rule.wrong(value) for rule in rules if isinstance(rule, Rule))
    return next(filter(None, told), "")


def _wrong_number(value: object, base: type, rules: Rules) -> str:
    kind = numbers.Integral if base is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kind):
        told = "must be a whole number" if base is int else "must be a number"
    # An int may be too large to become a float.
    elif not isinstance(value, numbers.Integral) and not math.isfinite(value):
        told = "must be a finite number"
    else:
        return _broken(value, rules)
    ranges = [str(rule) for rule in rules if isinstance(rule, Range)]
    return ", ".join([told, *ranges])


def _wrong_tuple(value: object, inside: tuple[Hint, ...]) -> str:
    if not isinstance(value, tuple):
        return "must be a tuple"
    each = inside[:1] * len(value) if inside[1:] == (...,) else inside
    if len(each) != len(value):
        return f"must be {len(each)} values, such as {_listed(tuple(range(1, len(each) + 1)))}"
    for part, hint in zip(value, each, strict=True):
        if told := wrong(part, hint):
            bases = [base for base, _ in members(hint)]
            such = "whole numbers, such as 1,12" if int in bases else "numbers, such as 0.5,0.25"
            return f"must hold {such}: each {told}" if {int, float} & {*bases} else f"each {told}"
    return ""
