"""What a value of a JSON file must be: a kind checks one value at its place and returns it as Python has it."""

import re
from collections.abc import Callable
from typing import Any

#: (value, place) -> value; raises ``KindError``.
Kind = Callable[[Any, str], Any]


class KindError(ValueError):
    """Says that a key is missing, unknown or of another kind."""


def fields(told: Any, kinds: dict[str, Kind], place: str) -> dict[str, Any]:
    """Returns an object with exactly these keys, each checked by its kind.

    Args:
        told: what JSON has there.
        kinds: by key.
        place: in front of a key in messages.

    Raises:
        KindError: for anything else.
    """
    if not isinstance(told, dict):
        raise KindError(f"{place or 'it'} must be an object, not {told!r:.100}")
    for wrong, keys in (("is missing", kinds.keys() - told), ("is unknown", told.keys() - kinds)):
        if keys:
            raise KindError(f"key {place}{min(keys)!r} {wrong}")
    return {key: kind(told[key], f"{place}{key}") for key, kind in kinds.items()}


def matching(words: str, fits: Callable[[Any], bool]) -> Kind:
    """Returns the kind of all values that fit, which messages describe in these words."""

    def check(value: Any, place: str) -> Any:
        if not fits(value):
            raise KindError(f"{place} must be {words}, not {value!r:.100}")
        return value

    return check


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 2**53


def _is_setting(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_number, value))
    return value is None or isinstance(value, (str, bool)) or _is_number(value)


TEXT = matching("text", lambda value: isinstance(value, str))
FLAG = matching("true or false", lambda value: isinstance(value, bool))
COUNT = matching("a whole number from 0", lambda value: type(value) is int and value >= 0)
POSITIVE = matching("a whole number above 0", lambda value: type(value) is int and value > 0)
NUMBER = matching("a number", _is_number)
SHARE = matching("a number from 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1)
SPREAD = matching("a number above 0", lambda value: _is_number(value) and value > 0)
SETTING = matching("text, a number, numbers, true, false or null", _is_setting)


def or_null(kind: Kind) -> Kind:
    """Returns the kind that also has ``null``."""
    return lambda value, place: None if value is None else kind(value, place)


def list_of(kind: Kind, length: int | None = None) -> Kind:
    """Returns the kind of lists of one or more, or of this length, as tuples."""

    def check(value: Any, place: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value or len(value) != (length or len(value)):
            raise KindError(
                f"{place} must be a list of {length or 'one or more'}, not {value!r:.100}"
            )
        return tuple(kind(item, f"{place}[{k}]") for k, item in enumerate(value))

    return check


def object_of(kind: Kind, *, by_unit: bool = False) -> Kind:
    """Returns the kind of objects with any keys, or with FACS numbers as keys."""

    def check(value: Any, place: str) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise KindError(f"{place} must be an object, not {value!r:.100}")
        wrong = [key for key in value if by_unit and not re.fullmatch("[1-9][0-9]{0,2}", key)]
        if wrong:
            raise KindError(f"{place} must name action units, not {wrong[0]!r:.100}")
        items = {key: kind(item, f"{place}.{key}") for key, item in value.items()}
        return {int(key): item for key, item in items.items()} if by_unit else items

    return check


def record_of(make: Callable[..., Any], kinds: dict[str, Kind]) -> Kind:
    """Returns the kind of objects with exactly these keys, given to ``make``."""
    return lambda value, place: make(**fields(value, kinds, f"{place}."))
