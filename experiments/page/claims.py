"""Claims as numbers beside chance: the identity probe, and where maps point."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from experiments.page import charts, style
from experiments.page.charts import PlotArea
from experiments.page.markup import Markup, join, tag
from experiments.report_types import Cell, Row, Table
from experiments.trainings import TRAININGS

#: Words by which a heading says what a number would be by chance.
_CHANCE = ("chance", "area")
_WORDS = re.compile(r"[a-z]+")
#: Pixels of one row.
_ROW = 24


class Claim(NamedTuple):
    """One row: a number, its interval, and chance."""

    title: str
    cell: Cell
    chance: float | None


def claims_of(table: Table) -> list[Claim]:
    """Returns a table's rows beside chance; [] for a table that does not tell it.

    What would be by chance stands in a column, or in a row below what was measured.

    Args:
        table: of the report; its mean counts, or its first column where it has none.
    """
    columns = [place for place, name in enumerate(table.columns) if not _is_chance(name)]
    lines = [row for row in table.rows if not _is_chance(row.title)]
    by_column = next((k for k in range(len(table.columns)) if k not in columns), None)
    by_row = next((row for row in table.rows if _is_chance(row.title)), None)
    if not columns or not lines or (by_column is None and by_row is None):
        return []
    main = _main(table)

    def chance(row: Row) -> float | None:
        if by_column is not None:
            return row.cells[by_column].value
        return by_row.cells[main].value if by_row else None

    return [Claim(row.title, row.cells[main], chance(row)) for row in lines]


def _is_chance(name: str) -> bool:
    return any(word in _WORDS.findall(name.lower()) for word in _CHANCE)


def _main(table: Table) -> int:
    """The column that is drawn."""
    names = [name.lower() for name in table.columns]
    return names.index("mean") if "mean" in names else [*map(_is_chance, names)].index(False)


def section(tables: Sequence[Table]) -> Markup:
    """Draws every table of a report that tells what would be by chance."""
    found = [(table, claims) for table in tables if (claims := claims_of(table))]
    if not found:
        return tag(
            "p",
            "Neither was measured: there is no identity probe in the tables of test frames, and no"
            " truth to point at.",
        )
    return join(*(_figure(table, claims) for table, claims in found))


def _figure(table: Table, claims: Sequence[Claim]) -> Markup:
    drawn = [claim for claim in claims if claim.cell.value is not None]
    gaps = [f"{c.title}: {c.cell.note or 'no value'}" for c in claims if c.cell.value is None]
    caption = tag(
        "figcaption",
        f"{table.title}: {table.columns[_main(table)]}, with its 95 % interval over people where there is"
        f" one. Upright line: what would be by chance. {' '.join(table.notes)}"
        f"{' No value: ' + '; '.join(gaps) + '.' if gaps else ''}",
    )
    chart = tag("div", panel(table.title, drawn), cls="scroll") if drawn else None
    return join(tag("h3", table.title), tag("figure", chart, caption))


def panel(title: str, claims: Sequence[Claim]) -> Markup:
    """Draws claims below one another, each a dot with a lying interval and a line at chance."""
    most = max(max(c.cell.value or 0, c.cell.high or 0, c.chance or 0) for c in claims)
    ends = charts.ticks(0, max(most, 1e-9))
    high = ends[-1] if ends[-1] >= most else ends[-1] + (ends[1] - ends[0] if len(ends) > 1 else 1)
    height = 30 + _ROW * len(claims)
    area = PlotArea(720, height, 270, 6, 690, height - 24, (0, high), (0, max(len(claims), 1)))
    rules = [
        join(
            charts.line(area.px(v), area.top, area.px(v), area.bottom, cls="rule"),
            charts.text(area.px(v), area.bottom + 16, f"{v:g}", anchor="middle"),
        )
        for v in charts.ticks(0, high)
    ]
    rows = [_row(area, k, claim) for k, claim in enumerate(claims)]
    return charts.picture(area, title, *rules, *rows, cls="wide")


def _row(area: PlotArea, place: int, claim: Claim) -> Markup:
    y = area.top + _ROW * (place + 0.5)
    value, low, high = claim.cell[:3]
    assert value is not None
    between = None
    if low is not None and high is not None:
        between = charts.line(area.px(low), y, area.px(high), y, cls="interval")
    chance = None
    if claim.chance is not None:
        x = area.px(claim.chance)
        chance = charts.line(x, y - 8, x, y + 8, cls="interval")
    dot = tag(
        "circle",
        tag("title", f"{claim.title}: {value:.1f}"),
        cx=charts.shown(area.px(value)),
        cy=charts.shown(y),
        r="4.5",
        fill=_color(claim.title),
    )
    name = claim.title if len(claim.title) <= 42 else claim.title[:41] + "\N{HORIZONTAL ELLIPSIS}"
    label = charts.text(area.left - 8, y + 4, name, anchor="end", cls="on")
    return join(label, between, chance, dot)


def _color(title: str) -> str:
    """A row's title begins with that of its method; the longest that fits is meant."""
    fitting = [t for t in TRAININGS.values() if title.startswith(t.title)]
    return style.color(max(fitting, key=lambda t: len(t.title)).name) if fitting else "#8c8c8c"
