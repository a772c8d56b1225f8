"""Recomputes every number of a report's tables from the files of frames, by independent code, and lists differences.

Scores and counts must agree to 1e-6. Resampled numbers must agree within ``Z`` standard errors for both numbers of
draws: compared are, for an end of an interval, the share of the other code's draws below it; for p and ``better``, the
share itself.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from experiments import check_pointing, recomputed
from experiments.check_rows import Study, Wanted
from experiments.published import published
from experiments.recomputed import Draws
from experiments.report_types import Cell, Group, Row, Table

_CLOSE = 1e-6
_OTHERS = (
    "scores", "differences", "matched_differences", "auc_differences", "evidence", "identity_probe", "pointing",
)  # fmt: skip


def check(
    groups: Sequence[Group],
    tables: Sequence[Table],
    *,
    against: str = "published",
    printed_resamples: int = 10_000,
    resamples: int = 10_000,
    seed: int = 1,
) -> list[str]:
    """Returns what differs or is missing, a line each: table, row, column, both numbers; [] where all agrees.

    Args:
        groups: of the runs that the tables were made from.
        tables: all of the report.
        against: ``published`` or ``true`` labels.
        printed_resamples: of the tables.
        resamples: of this check.
        seed: of its draws.

    Raises:
        CheckError: without scikit-learn.
    """
    recomputed.sklearn_metrics()
    studies = [Study(group, against, Draws(printed_resamples, resamples), seed) for group in groups]
    return [line for table in tables for line in _lines(table, studies)]


def _lines(table: Table, studies: Sequence[Study]) -> Iterator[str]:
    rows = _rows_of(table, studies)
    if rows is None:
        yield f"{table.name}: not checked, there is no other program for this table"
        return
    rows = {("ours", title): cells for title, cells in rows.items()} | _of_paper(table)
    shown = {(_source(row), row.title) for row in table.rows}
    yield from (f"{table.name}, {key[1]}: this row is missing" for key in rows if key not in shown)
    for row in table.rows:
        wanted = rows.get((_source(row), row.title))
        if wanted is None or len(wanted) != len(row.cells):
            yield f"{table.name}, {row.title}: no other program can tell this row"
            continue
        for column, cell, other in zip(table.columns, row.cells, wanted, strict=True):
            where = f"{table.name}, {row.title}, {column}"
            yield from (f"{where}: {line}" for line in _differs(cell, other, studies))


def _rows_of(table: Table, studies: Sequence[Study]) -> dict[str, list[Wanted]] | None:
    """Recomputes the rows of a table that are ours, by their titles; None for a table of another name."""
    if table.name not in {*published()["tables"], *_OTHERS}:
        return None
    units = [int(column) for column in table.columns if column.isdigit()]
    found: dict[str, list[Wanted]] = {}
    for study in studies:
        if table.name in published()["tables"]:
            told = published()["tables"][table.name]["rows"]
            names = [row["training"] for row in told if "training" in row]
            found |= study.paper(units, names + ["lp", "longer"] * (table.name == "table3"))
        elif table.name == "scores":
            found |= study.scores(table.columns)
        elif table.name == "differences":
            found |= study.differences(units, study.f1)
        elif table.name == "matched_differences":
            matched = functools.partial(study.f1, cut="matched")
            found |= study.differences(units, matched)
        elif table.name == "auc_differences":
            found |= study.differences(units, study.auc, scale=100)
        elif table.name == "evidence":
            found |= study.evidence(units)
        elif table.name == "identity_probe":
            found |= study.probe()
        elif table.name == "pointing":
            found |= check_pointing.rows(study)
    return found


def _source(row: Row) -> str:
    return "ours" if row.kind in ("ours", "floor") else "published"


def _differs(cell: Cell, wanted: Wanted, studies: Sequence[Study]) -> Iterator[str]:
    for name in ("value", "positives", "people"):
        printed, other = getattr(cell, name), getattr(wanted, name)
        if (printed is None) != (other is None) or (
            printed is not None and not np.isclose(printed, other, rtol=0, atol=_CLOSE)
        ):
            yield f"{name} is printed as {printed}, recomputed as {other}"
    draws = studies[0].draws if studies else Draws(1, 1)
    for name, share in (("low", 0.025), ("high", 0.975)):
        yield from _end_differs(name, getattr(cell, name), wanted.drawn, share, draws)
    if (cell.p is None) != (wanted.p is None) or (
        cell.p is not None and wanted.p and not wanted.p[0] <= cell.p <= wanted.p[1]
    ):
        yield f"p is printed as {cell.p}, recomputed as {wanted.p} (lowest, highest)"
    if (cell.better is None) != (wanted.better is None) or (
        cell.better is not None
        and wanted.better is not None
        and not abs(cell.better - wanted.better) <= draws.margin(wanted.better)
    ):
        yield f"better is printed as {cell.better}, recomputed as {wanted.better}"


def _end_differs(
    name: str, printed: float | None, drawn: np.ndarray | None, share: float, draws: Draws
) -> Iterator[str]:
    told = None if drawn is None else float(np.percentile(drawn, 100 * share))
    if (printed is None) != (told is None):
        yield f"{name} is printed as {printed}, recomputed as {told}"
    if printed is None or drawn is None:
        return
    # Equal draws are many where people are few: the end may lie anywhere among them.
    below, reached = (drawn < printed - _CLOSE).mean(), (drawn <= printed + _CLOSE).mean()
    margin = draws.margin(share)
    if np.isnan(printed) or below > share + margin or reached < share - margin:
        yield f"{name} is printed as {printed}, recomputed as {told}"


def _of_paper(table: Table) -> dict[tuple[str, str], list[Wanted]]:
    """Rows of the paper's data file, their means made anew."""
    found = {}
    for told in published()["tables"].get(table.name, {"rows": ()})["rows"]:
        f1 = [float(value) for value in told["f1"]]
        cells = [Wanted(value) for value in (*f1, sum(f1) / len(f1))]
        found["published", told["method"]] = cells
    return found
