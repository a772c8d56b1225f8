"""Claims as numbers beside chance: the identity probe, and where maps point."""

from collections.abc import Sequence
from typing import NamedTuple

from experiments.page import charts, style
from experiments.page.charts import Frame
from experiments.page.markup import Markup, join, tag
from experiments.report_types import Cell, Table
from experiments.trainings import TRAININGS

#: Headings of columns that say what a number would be by chance.
_CHANCE = ("chance", "area")
#: Pixels of one row.
_ROW = 24


class Claim(NamedTuple):
    """One row: a number, its interval, and chance."""

    title: str
    cell: Cell
    chance: float | None


def is_claim(table: Table) -> bool:
    """Returns True for a table that has a column of chance."""
    return _chance_of(table) is not None and len(table.columns) > 1


def _chance_of(table: Table) -> int | None:
    for place, name in enumerate(table.columns):
        if any(word in name.lower() for word in _CHANCE):
            return place
    return None


def section(tables: Sequence[Table]) -> Markup:
    """Draws every table of a report that has a column of chance."""
    found = [table for table in tables if is_claim(table)]
    if not found:
        return tag(
            "p",
            "Neither was measured: there is no identity probe in the tables of test frames, and no"
            " truth to point at.",
        )
    return join(*(_figure(table) for table in found))


def _figure(table: Table) -> Markup:
    place = _chance_of(table)
    first = next(k for k in range(len(table.columns)) if k != place)
    claims = [Claim(row.title, row.cells[first], row.cells[place or 0].value) for row in table.rows]
    drawn = [claim for claim in claims if claim.cell.value is not None]
    gaps = [f"{c.title}: {c.cell.note or 'no value'}" for c in claims if c.cell.value is None]
    caption = tag(
        "figcaption",
        f"{table.title}: {table.columns[first]}, with its 95 % interval over people where there is one."
        f" Upright line: {table.columns[place or 0]}. {' '.join(table.notes)}"
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
    frame = Frame(720, height, 270, 6, 690, height - 24, (0, high), (0, max(len(claims), 1)))
    rules = [
        join(
            charts.line(frame.px(v), frame.top, frame.px(v), frame.bottom, cls="rule"),
            charts.text(frame.px(v), frame.bottom + 16, f"{v:g}", anchor="middle"),
        )
        for v in charts.ticks(0, high)
    ]
    rows = [_row(frame, k, claim) for k, claim in enumerate(claims)]
    return charts.picture(frame, title, *rules, *rows, cls="wide")


def _row(frame: Frame, place: int, claim: Claim) -> Markup:
    y = frame.top + _ROW * (place + 0.5)
    value, low, high = claim.cell[:3]
    assert value is not None
    between = None
    if low is not None and high is not None:
        between = charts.line(frame.px(low), y, frame.px(high), y, cls="interval")
    chance = None
    if claim.chance is not None:
        x = frame.px(claim.chance)
        chance = charts.line(x, y - 8, x, y + 8, cls="interval")
    dot = tag(
        "circle",
        tag("title", f"{claim.title}: {value:.1f}"),
        cx=charts.shown(frame.px(value)),
        cy=charts.shown(y),
        r="4.5",
        fill=_color(claim.title),
    )
    name = claim.title if len(claim.title) <= 42 else claim.title[:41] + "\N{HORIZONTAL ELLIPSIS}"
    label = charts.text(frame.left - 8, y + 4, name, anchor="end", cls="on")
    return join(label, between, chance, dot)


def _color(title: str) -> str:
    """A row's title begins with that of its method; the longest that fits is meant."""
    fitting = [t for t in TRAININGS.values() if title.startswith(t.title)]
    return style.color(max(fitting, key=lambda t: len(t.title)).name) if fitting else "#8c8c8c"
