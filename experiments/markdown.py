"""Markdown tables, and their place between the markers of a document."""

import pathlib
from collections.abc import Sequence

END = "<!-- end -->"


def line(cells: Sequence[str]) -> str:
    """Returns one line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def heading(columns: Sequence[str]) -> list[str]:
    """Returns the first two lines of a Markdown table."""
    return [line(columns), line(["---"] * len(columns))]


def insert(path: pathlib.Path, start: str, text: str) -> None:
    """Puts text between two lines of a Markdown file, ``start`` and the next ``END``.

    Raises:
        ValueError: a line is missing.
    """
    page = path.read_text()
    before, found, rest = page.partition(start)
    _, end, after = rest.partition(END)
    if not (found and end):
        raise ValueError(f"{path} has no lines {start!r} and {END!r} to write the table between.")
    path.write_text(f"{before}{start}\n\n{text}\n\n{END}{after}")
