"""Elements of a page. What comes from data is escaped here and nowhere else, so no caller can forget it."""

import html
import json
from typing import Any

#: Elements without content.
_VOID = ("meta", "img", "br")


class Markup:
    """Text that is markup already: made by the functions of this file alone.

    Args:
        text: markup, each piece of data in it escaped.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Makes an element; text and values of attributes are escaped, whatever they hold.

    Args:
        name: of the element, such as ``td``.
        children: markup, or anything else as text; None is nothing.
        attributes: ``cls`` stands for ``class``, ``_`` for ``-``; None and False leave it out, True has no value.
    """
    told = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{told}>")
    return Markup(f"<{name}{told}>{join(*children).text}</{name}>")


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    key = "class" if key == "cls" else key.replace("_", "-")
    return f" {key}" if value is True else f' {key}="{_escaped(value)}"'


def join(*children: Any) -> Markup:
    """Puts markup and text, escaped, one after the other; None is nothing."""
    return Markup("".join(_content(child) for child in children if child is not None))


def _content(child: Any) -> str:
    return child.text if isinstance(child, Markup) else _escaped(child)


def _escaped(value: Any) -> str:
    # No browser shows characters that XML and HTML do not have; a terminal may obey them.
    text = "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(value)
    )
    return html.escape(text, quote=True)


def constant(name: str, text: str) -> Markup:
    """Makes a ``style`` or ``script`` element of a constant of this package, which is not escaped.

    Raises:
        ValueError: where it could end the element.
    """
    if "</" in text or "<!--" in text:
        raise ValueError(f"a {name} cannot hold </ or <!--")
    return Markup(f"<{name}>{text}</{name}>")


def numbers(value: Any, *, id: str) -> Markup:
    """Makes a block of JSON that programs read and no browser runs.

    Args:
        value: what JSON knows; what is not finite must be None.
        id: of the element.
    """
    told = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    # Within a string of JSON this is the same character, and no tag can begin.
    told = told.replace("<", "\\u003c")
    return Markup(f'<script type="application/json" id="{_escaped(id)}">{told}</script>')
