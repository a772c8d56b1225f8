"""Converts the text of ``--set key=value`` to the value of a field, by the field's type hint."""

import ast
from typing import Any, Literal, get_args, get_origin

from piapdf_jax.ranges import members

_NONE = ("none", "null")


def coerce(text: str, hint: Any) -> Any:
    """Returns the value that a text means for a field.

    Args:
        text: ``3``, ``1e-3``, ``true``, ``none``, ``8,16``, ``(8, 16)`` or ``[8, 16]``, or a word.
        hint: of the field, rules included.

    Returns:
        The value; the text itself where it means nothing, so that ``ranges.complaint`` can say so.
    """
    for base in sorted((base for base, _ in members(hint)), key=_order):
        value = _read(text, base)
        if value is not text or base is str:
            return value
    return text


def _order(base: Any) -> int:
    """Text fits ``str`` always, and so comes last."""
    kinds = (type(None), bool, int, float)
    return kinds.index(base) if base in kinds else len(kinds) + (base is str)


def _read(text: str, base: Any) -> Any:
    """A text as one plain type; the text itself where it means nothing there."""
    if base is type(None):
        return None if text.lower() in _NONE else text
    if base is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if get_origin(base) is tuple:
        return _read_tuple(text, get_args(base))
    if get_origin(base) is Literal:
        return next((option for option in get_args(base) if str(option) == text), text)
    if base is str:
        return text
    try:
        return base(text) if base in (int, float) else ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def _read_tuple(text: str, inside: tuple[Any, ...]) -> tuple[Any, ...]:
    if text[:1] + text[-1:] in ("()", "[]"):
        text = text[1:-1]
    words = [word for part in text.split(",") if (word := part.strip().strip("'\""))]
    each = inside[:1] * len(words) if inside[1:] == (...,) else inside
    # Of too many or too few words the number is what is wrong.
    hints = each if len(each) == len(words) else inside[:1] * len(words)
    return tuple(coerce(word, hint) for word, hint in zip(words, hints, strict=True))
