"""Sortable tables of a page, with intervals, tests and reasons for missing values."""

import string
from collections.abc import Iterable, Sequence
from typing import Any

from experiments.page.markup import Markup, join, tag
from experiments.report_types import Cell, Row, Table

#: What stands below a row's title, by its kind.
_FROM = {"paper": "the paper"}
#: Columns of numbers from 0 to 1 (MCC from -1), which need three decimals.
_SHARES = ("roc auc", "auprc", "mcc", "calibration", "p", "iou")


def results(table: Table) -> Markup:
    """Writes a table of a report.

    Args:
        table: its ``name`` becomes the id, ``table-NAME``.
    """
    digits = [_digits(table, place) for place in range(len(table.columns))]
    marks = _marks(table)
    heads = [_head("method"), *(_head(_column(name)) for name in table.columns)]
    rows = [_row(row, digits, marks) for row in table.rows]
    below = [f"{mark}: {note}" for note, mark in marks.items()] + list(table.notes)
    body = tag(
        "table",
        tag("caption", _size(table)),
        tag("thead", tag("tr", *heads)),
        tag("tbody", *rows),
        id=f"table-{table.name}",
    )
    return join(scroll(body, table.title), notes(below))


def _size(table: Table) -> str:
    rows = "1 row" if len(table.rows) == 1 else f"{len(table.rows)} rows"
    return f"{rows}, {len(table.columns)} columns of numbers"


def notes(lines: Iterable[str]) -> Markup | None:
    """Writes what stands below a table; None for nothing."""
    items = [tag("li", line, cls="bad" if warns(line) else None) for line in dict.fromkeys(lines)]
    return tag("ul", *items, cls="notes") if items else None


def warns(line: str) -> bool:
    """Returns True for words about data that stand in for the paper's, which are shown in red."""
    return "stand-in" in line.lower()


def scroll(content: Markup, label: str) -> Markup:
    """Puts what may be wide into a box that scrolls on its own, by keyboard as well."""
    return tag("div", content, cls="scroll", tabindex="0", role="region", aria_label=label)


def plain(
    caption: str,
    columns: Sequence[str],
    rows: Iterable[tuple[str, Sequence[Any]]],
    *,
    differs: Sequence[str] = (),
    text: bool = False,
) -> Markup:
    """Writes a table that has no intervals.

    Args:
        caption: above it.
        columns: headings, the first one's over the rows' names.
        rows: names, and cells: numbers as text or what else is to be read.
        differs: names of rows to set off.
        text: whether cells are words, which stand left and may be broken.
    """
    body = [
        tag(
            "tr",
            tag("th", name, scope="row"),
            *(tag("td", cell) for cell in cells),
            cls="differs" if name in differs else None,
        )
        for name, cells in rows
    ]
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *map(_head, columns))),
        tag("tbody", *body),
        cls="text" if text else None,
    )
    return scroll(table, caption)


def _head(name: str) -> Markup:
    return tag("th", tag("button", name, type="button"), scope="col")


def _column(name: str) -> str:
    return f"AU{name}" if name.isdigit() else name


def _digits(table: Table, place: int) -> int:
    """Decimals of a column: none for counts, three for shares of one, else one."""
    if table.columns[place].lower() in _SHARES:
        return 3
    cells = [row.cells[place] for row in table.rows if row.cells[place].value is not None]
    counts = all(row.kind == "ours" for row in table.rows) and all(
        cell.low is None and float(cell.value or 0).is_integer() for cell in cells
    )
    return 0 if counts else 1


def _marks(table: Table) -> dict[str, str]:
    """Letters for what is noted of cells, in the order of rows."""
    found = dict.fromkeys(cell.note for row in table.rows for cell in row.cells if cell.note)
    letters = [
        *string.ascii_lowercase,
        *(a + b for a in string.ascii_lowercase for b in "abcdefgh"),
    ]
    return {note: letters[k % len(letters)] for k, note in enumerate(found)}


def _row(row: Row, digits: Sequence[int], marks: dict[str, str]) -> Markup:
    small = [words for words in (_FROM.get(row.kind), row.note) if words]
    head = tag("th", row.title, *(tag("small", words) for words in small), scope="row")
    cells = [_cell(cell, n, marks) for cell, n in zip(row.cells, digits, strict=True)]
    return tag("tr", head, *cells, cls=row.kind)


def _cell(cell: Cell, digits: int, marks: dict[str, str]) -> Markup:
    mark = tag("sup", marks[cell.note]) if cell.note else None
    if cell.value is None:
        return tag("td", "-", mark, title=cell.note or None)
    small = []
    if cell.low is not None and cell.high is not None:
        small.append(f"[{cell.low:.{digits}f}, {cell.high:.{digits}f}]")
    if cell.p is not None:
        small.append(f"p {_p(cell.p)}")
    return tag(
        "td",
        f"{cell.value:,.{digits}f}",
        mark,
        *(tag("small", words) for words in small),
        data_v=repr(float(cell.value)),
        title=told(cell) or None,
    )


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def told(cell: Cell) -> str:
    """Says what a number rests on, in words."""
    words = []
    if cell.positives is not None:
        words.append(f"{cell.positives:,} frames show it")
    if cell.people is not None:
        words.append(f"{cell.people:,} people")
    if cell.better is not None:
        words.append(f"better with probability {cell.better:.2f}")
    return "; ".join([*words, *([cell.note] if cell.note else [])])
