"""Writes the page of a report: one self-contained HTML file that loads nothing.

Names that programs may rely on: sections ``about``, ``tables``, ``units``, ``reliability``, ``rates``, ``losses``,
``claims``, ``figures``, ``configuration`` and ``times``; each table of the report is ``#table-NAME`` (such as
``#table-table1``); ``th > button`` sorts and its ``th`` says ``aria-sort``; cells have their value unrounded in
``data-v``; rows have the class ``ours``, ``paper``, ``other`` or ``floor``; what is wide stands in ``.scroll``;
``.bad`` is in red. ``#data`` is JSON of all that tables hold.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

from experiments.page import about, bars, claims, curves, facts, figures, grids, style
from experiments.page.markup import Markup, constant, join, numbers, tag
from experiments.report_types import Cell, Group, Table
from piapdf_jax.runtime.filesystem import explain_disk_errors, replacing

FILE_NAME = "index.html"
TITLE = "PIAP-DF: facial action units, from runs to tables"
#: Dots from which on they no longer say whose they are, which takes ten times the room.
NAMED_DOTS = 20_000


def write(
    groups: list[Group], tables: list[Table], out: pathlib.Path, *, against: str = "published"
) -> pathlib.Path:
    """Writes the page of some groups of runs, whole or not at all.

    Args:
        groups: of runs, with their tables of test frames.
        tables: to show, with intervals.
        out: folder; it is made.
        against: ``published`` or ``true`` labels: those that the tables are scored against.

    Returns:
        ``out/index.html``.

    Raises:
        DiskError: where the disk refuses it.
    """
    path = out / FILE_NAME
    data = page(groups, tables, against=against).encode()
    out.mkdir(parents=True, exist_ok=True)
    with explain_disk_errors(path, len(data)), replacing(path) as part:
        part.write_bytes(data)
    return path


def page(groups: Sequence[Group], tables: Sequence[Table], *, against: str = "published") -> str:
    """Returns the page as text; arguments as of ``write``."""
    sections = _sections(groups, tables, against)
    links = [tag("li", tag("a", title, href=f"#{name}")) for name, title, _ in sections]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=style.policy()),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", TITLE),
        constant("style", style.CSS),
    )
    body = tag(
        "body",
        tag("header", tag("h1", TITLE), tag("p", _lead(groups), cls="lead")),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("main", *(_section(*section) for section in sections)),
        numbers(_data(groups, tables), id="data"),
        constant("script", style.SCRIPT),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en").text + "\n"


def _lead(groups: Sequence[Group]) -> str:
    runs = sum(len(group.runs) for group in groups)
    return (
        f"{len(groups)} {'configuration' if len(groups) == 1 else 'configurations'}, {runs} runs."
        " Intervals are over people: frames of one person are alike, so people are what was drawn."
    )


def _section(name: str, title: str, content: Markup) -> Markup:
    return tag("section", tag("h2", title, id=f"{name}-title"), content, id=name)


def _sections(
    groups: Sequence[Group], tables: Sequence[Table], against: str
) -> list[tuple[str, str, Markup]]:
    named = _dots(groups, against) <= NAMED_DOTS
    return [
        ("about", "What this is", about.section(groups)),
        ("tables", "Tables", _tables(tables)),
        (
            "units",
            "F1 by unit and person",
            bars.section(groups, tables, against=against, named=named),
        ),
        ("claims", "Identity and pointing", claims.section(tables)),
        ("figures", "PI maps", figures.section(groups)),
        ("reliability", "Are the probabilities right", curves.reliability(groups, against=against)),
        ("rates", "How often: coded and said", curves.rates(groups, against=against, named=named)),
        ("losses", "Losses", curves.losses(groups)),
        ("times", "Times and memory", about.times(groups)),
        ("configuration", "Configuration", about.configuration(groups)),
    ]


def _tables(tables: Sequence[Table]) -> Markup:
    if not tables:
        return tag("p", "There are no tables.")
    words = (
        "A heading sorts by its column. In brackets: 95 % interval over people. p: that the difference to"
        " the first of our rows of the same group is chance, corrected for several units. A dash is a gap;"
        " the letter beside it says why. Pointing at a number tells on how many frames and people it rests."
    )
    return join(
        tag("p", words, cls="lead"),
        *(
            join(
                tag("h3", table.title, cls="bad" if grids.warns(table.title) else None),
                grids.results(table),
            )
            for table in tables
        ),
    )


def _dots(groups: Sequence[Group], against: str) -> int:
    """How many dots of single people the page has."""
    count = 0
    for group in groups:
        for method in facts.methods(group, against):
            people = sum(len(fold.people) for fold in facts.folds(group, method, against))
            count += 2 * people * len(method.units)
    return count


def _data(groups: Sequence[Group], tables: Sequence[Table]) -> dict[str, Any]:
    """All that tables hold, unrounded, for programs."""
    return {
        "groups": [
            {
                "title": group.title, "folds": group.folds, "seeds": group.seeds,
                "notes": group.notes, "stand_ins": group.stand_ins,
            }
            for group in groups
        ],
        "tables": [
            table._asdict()
            | {
                "rows": [
                    row._asdict() | {"cells": [_cell(cell) for cell in row.cells]}
                    for row in table.rows
                ]
            }
            for table in tables
        ],
    }  # fmt: skip


def _cell(cell: Cell) -> dict[str, Any]:
    """What is known of a cell, None where a number is not finite."""
    known = {key: value for key, value in cell._asdict().items() if value not in (None, "")}
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in known.items()
    }
