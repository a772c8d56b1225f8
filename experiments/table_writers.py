"""Tables as aligned text, CSV, LaTeX and JSON."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from experiments.report_types import Cell, Row, Table

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}",
    ">": r"\textgreater{}",
}  # fmt: skip
#: What a spreadsheet would read as a formula.
_FORMULA = ("=", "+", "-", "@")
#: Columns of numbers that are shares or counts, and so are not printed as percent are.
_DIGITS = {"ROC AUC": 3, "AUPRC": 3, "MCC": 3, "calibration": 3, "parameters": 0}


def _plain(text: str) -> str:
    """A text in one line, without what moves a cursor or turns the direction of writing."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def digits_of(table: Table, column: int) -> int:
    """Returns after how many decimals a column is rounded; counts have none."""
    if table.name == "evidence":
        return 0
    return _DIGITS.get(table.columns[column], 1)


def shown(cell: Cell, digits: int) -> str:
    """Returns a number as tables show it, with its interval: ``64.4 [58.1, 70.3]``; ``-`` for none."""
    if cell.value is None:
        return "-"
    text = f"{cell.value:,.{digits}f}"
    if cell.low is not None and cell.high is not None:
        text += f" [{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
    return text


def to_text(table: Table) -> str:
    """Returns a table for a terminal: values by column, intervals and comparisons in lines of their own below."""
    head = ["", *map(_plain, table.columns)]
    lines = []
    for row in table.rows:
        values = [shown(cell._replace(low=None), d) for cell, d in _with_digits(table, row)]
        lines.append([_plain(row.title), *values])
        for name, texts in _below(table, row):
            lines.append([f"  {name}", *texts])
    widths = [max(len(line[k]) for line in [head, *lines]) for k in range(len(head))]
    text = [_plain(table.title), ""]
    for line in [head, *lines]:
        numbers = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        text.append("  ".join([line[0].ljust(widths[0]), *numbers]).rstrip())
    text += ["", *(f"- {_plain(note)}" for note in (*table.notes, *_row_notes(table)))]
    return "\n".join(text) + "\n"


def _with_digits(table: Table, row: Row) -> Iterator[tuple[Cell, int]]:
    for place, cell in enumerate(row.cells):
        yield cell, digits_of(table, place)


def _below(table: Table, row: Row) -> Iterator[tuple[str, list[str]]]:
    """Lines below a row, of those that say something."""
    cells = list(_with_digits(table, row))
    lines = {
        "from": [_or_blank(cell.low, d) for cell, d in cells],
        "to": [_or_blank(cell.high, d) for cell, d in cells],
        "p": [_p(cell.p) for cell, _ in cells],
        "better": [_or_blank(cell.better, 2) for cell, _ in cells],
    }
    yield from ((name, texts) for name, texts in lines.items() if any(texts))


def _or_blank(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    """A p value is never 0: it is at least one in as many permutations as were made."""
    return "<0.001" if value is not None and value < 0.0005 else _or_blank(value, 3)


def _row_notes(table: Table) -> list[str]:
    notes = [f"{row.title}: {row.note}" for row in table.rows if row.note]
    gaps: dict[str, list[str]] = {}
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell.note:
                gaps.setdefault(f"{row.title}: {cell.note}", []).append(column)
    return notes + [f"{told} ({', '.join(columns)})" for told, columns in gaps.items()]


_FIELDS = ("value", "low", "high", "p", "better", "positives", "people", "note")


def to_csv(table: Table) -> str:
    """Returns a line a cell: table, method, kind, column, and all that the cell says, unrounded."""
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    out.writerow(["table", "method", "kind", "column", *_FIELDS, "row_note"])
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            told = ["" if value is None else value for value in cell]
            names = [table.name, row.title, row.kind, column, *told[:-1], cell.note, row.note]
            out.writerow([_no_formula(value) for value in names])
    return file.getvalue()


def _no_formula(value: Any) -> Any:
    """A text that a spreadsheet would calculate, as text."""
    if not isinstance(value, str):
        return value
    text = _plain(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def to_latex(table: Table) -> str:
    """Returns a ``tabular`` for the package booktabs: intervals as subscripts, notes as comments below."""
    head = " & ".join(["method", *map(_latex, table.columns)])
    lines = [
        f"% {_plain(table.title)}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        head + r" \\",
        r"\midrule",
    ]
    kind = table.rows[0].kind if table.rows else ""
    for row in table.rows:
        if (row.kind == "floor") != (kind == "floor") and row.kind == "floor":
            lines.append(r"\midrule")
        kind = row.kind
        cells = [_latex_cell(cell, digits) for cell, digits in _with_digits(table, row)]
        lines.append(" & ".join([_latex(row.title), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [f"% {_plain(note)}" for note in (*table.notes, *_row_notes(table))]
    return "\n".join(lines) + "\n"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in _plain(text))


def _latex_cell(cell: Cell, digits: int) -> str:
    if cell.value is None:
        return "--"
    text = f"{cell.value:.{digits}f}"
    if cell.low is None or cell.high is None:
        return f"${text}$" if text.startswith("-") else text
    return f"${text}_{{\\scriptscriptstyle [{cell.low:.{digits}f}, {cell.high:.{digits}f}]}}$"


def to_json(tables: Sequence[Table]) -> str:
    """Returns all cells of all tables, unrounded; null for what is not there."""
    told = [
        {
            "name": table.name,
            "title": table.title,
            "columns": table.columns,
            "rows": [
                row._asdict() | {"cells": [c._asdict() for c in row.cells]} for row in table.rows
            ],
            "notes": table.notes,
        }
        for table in tables
    ]
    return json.dumps(told, indent=1, allow_nan=False) + "\n"
