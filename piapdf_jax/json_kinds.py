"""Validators for the values of JSON files; errors name the place of a wrong value."""

import re
from collections.abc import Callable
from typing import Any

from piapdf_jax.types import JsonObject


class KindError(ValueError):
    """A key that is missing, unknown or of another kind."""


def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Returns an object of JSON; refuses one that names a key twice, for ``object_pairs_hook``."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(n for n in names if names.count(n) > 1)!r} appears twice")
    return found


#: Takes a value and its place, for the message; returns what it stands for.
Kind = Callable[[Any, str], Any]


def checked(told: object, kinds: dict[str, Kind], place: str) -> JsonObject:
    """Returns an object that has exactly these keys, each of its kind.

    Raises:
        KindError: naming the key, and ``place`` before it.
    """
    if not isinstance(told, dict):
        raise KindError(f"{place or 'it'} must be an object, not {told!r:.100}")
    for wrong, keys in (("is missing", kinds.keys() - told), ("is unknown", told.keys() - kinds)):
        if keys:
            raise KindError(f"key {place}{min(keys)!r} {wrong}")
    return {key: kind(told[key], f"{place}{key}") for key, kind in kinds.items()}


def _is(words: str, fits: Callable[[Any], bool]) -> Kind:
    def check(value: object, place: str) -> object:
        if not fits(value):
            raise KindError(f"{place} must be {words}, not {value!r:.100}")
        return value

    return check


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**53


def _is_setting(value: object) -> bool:
    if isinstance(value, list):
        return all(map(_is_number, value))
    return value is None or isinstance(value, (str, bool)) or _is_number(value)


TEXT = _is("text", lambda value: isinstance(value, str))
FLAG = _is("true or false", lambda value: isinstance(value, bool))
COUNT = _is("a whole number from 0", lambda value: type(value) is int and value >= 0)
POSITIVE = _is("a whole number above 0", lambda value: type(value) is int and value > 0)
NUMBER = _is("a number", _is_number)
SHARE = _is("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
SPREAD = _is("a number above 0", lambda value: _is_number(value) and value > 0)
SETTING = _is("text, a number, numbers, true, false or null", _is_setting)
DIGEST = _is(
    "16 hexadecimal digits",
    lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{16}", value)),
)


def or_null(kind: Kind) -> Kind:
    """Returns a kind that also accepts null, as None."""
    return lambda value, place: None if value is None else kind(value, place)


def list_of(kind: Kind, length: int | None = None) -> Kind:
    """Returns the kind of a list of one or more, or of so many, as a tuple."""

    def check(value: object, place: str) -> tuple[object, ...]:
        if not isinstance(value, list) or not value or len(value) != (length or len(value)):
            raise KindError(
                f"{place} must be a list of {length or 'one or more'}, not {value!r:.100}"
            )
        return tuple(kind(item, f"{place}[{k}]") for k, item in enumerate(value))

    return check


def units(value: object, place: str) -> tuple[int, ...]:
    """Returns FACS numbers, or none of them."""
    return list_of(POSITIVE)(value, place) if value != [] else ()


def object_of(kind: Kind, *, by_unit: bool = False) -> Kind:
    """Returns the kind of an object with any keys, or with FACS numbers as keys."""

    def check(value: object, place: str) -> dict[str, object] | dict[int, object]:
        if not isinstance(value, dict):
            raise KindError(f"{place} must be an object, not {value!r:.100}")
        wrong = [key for key in value if by_unit and not re.fullmatch("[1-9][0-9]{0,2}", key)]
        if wrong:
            raise KindError(f"{place} must name action units, not {wrong[0]!r:.100}")
        items = {key: kind(item, f"{place}.{key}") for key, item in value.items()}
        return {int(key): item for key, item in items.items()} if by_unit else items

    return check


def record_of(make: Callable[..., object], kinds: dict[str, Kind]) -> Kind:
    """Returns the kind of an object with exactly these keys, given to ``make`` by name."""
    return lambda value, place: make(**checked(value, kinds, f"{place}."))
