"""Charts of F1 by unit: a bar for each method with its interval, and a dot for each person."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.page import charts, facts
from experiments.page.charts import PlotArea
from experiments.page.facts import Method
from experiments.page.markup import Markup, join, tag
from experiments.report_types import Cell, Group, Table

#: Share of a method's slot that its bar takes.
_BAR = 0.72
#: Pixels that a bar is wide at most.
_WIDEST = 30


class Bar(NamedTuple):
    """What is drawn of one method in the chart of one unit.

    Attributes:
        method: whose.
        cell: F1 and its interval.
        people: F1 by id, of those who show the unit.
    """

    method: Method
    cell: Cell
    people: dict[str, float]


def section(
    groups: Sequence[Group], tables: Sequence[Table], *, against: str, named: bool
) -> Markup:
    """Draws F1 of all groups.

    Args:
        groups: to draw.
        tables: whose cells have the intervals.
        against: ``published`` or ``true`` labels, those of the tables.
        named: whether each dot tells whose it is.
    """
    parts = []
    for group in groups:
        for units, methods in facts.by_units(facts.methods(group, against)):
            parts.append(_chart(group, units, methods, tables, against, named))
    return join(*parts) if parts else tag("p", "No table of test frames: nothing to draw.")


def legend(methods: Sequence[Method]) -> Markup:
    """Writes which color is which method; a teacher's square is hollow."""
    return tag(
        "ul",
        *(
            tag("li", charts.key(method.color, hollow=method.said.teacher), method.title)
            for method in methods
        ),
        cls="legend",
    )


def _chart(
    group: Group,
    units: tuple[int, ...],
    methods: Sequence[Method],
    tables: Sequence[Table],
    against: str,
    named: bool,
) -> Markup:
    cells = [facts.f1_cells(tables, group, method, against) for method in methods]
    people = [facts.people_f1(facts.folds(group, method, against)) for method in methods]
    always = facts.row_of(tables, group, "always yes")
    floors = dict(zip(always[0].columns, always[1].cells, strict=True)) if always else {}
    if always and always[0].columns[:-1] != tuple(map(str, units)):
        floors = {}
    panels = []
    for place, name in enumerate((*map(str, units), "mean")):
        bars = []
        for method, row, (ids, f1) in zip(methods, cells, people, strict=True):
            own = {} if name == "mean" else _known(ids, f1[:, place])
            bars.append(Bar(method, row.get(name, Cell(None)), own))
        panels.append(panel(name, bars, floor=floors.get(name, Cell(None)).value, named=named))
    data = " and ".join(dict.fromkeys(_datasets(group, methods)))
    total = len(people[0][0])
    return join(
        tag("h3", f"{group.title}: {data}"),
        legend(methods),
        tag(
            "figure", tag("div", *panels, cls="grid"), _caption(total, people[0][1], units, against)
        ),
    )


def _datasets(group: Group, methods: Sequence[Method]) -> list[str]:
    names = [method.said.training for method in methods]
    return [run.frames[n].dataset for run in group.runs for n in names if n in run.frames]


def _known(ids: Sequence[str], values: np.ndarray) -> dict[str, float]:
    return {who: float(value) for who, value in zip(ids, values, strict=True) if value == value}


def _caption(total: int, f1: np.ndarray, units: Sequence[int], against: str) -> Markup:
    missing = {au: int(n) for au, n in zip(units, np.isnan(f1).sum(axis=0), strict=True) if n}
    left_out = "; ".join(f"AU{au}: {n}" for au, n in missing.items())
    told = f" Left out as people without a frame that shows the unit: {left_out}."
    return tag(
        "figcaption",
        f"F1 (%) of each unit against {against} labels, on {total} test people. Bar: frames pooled by"
        " fold, mean over folds and seeds, as in the tables. Line: 95 % interval over people. Dot: one"
        " person, mean over seeds. Dashed: saying yes always. Above each chart: frames that show the"
        f" unit, and people who do.{told if missing else ''}",
    )


def panel(name: str, bars: Sequence[Bar], *, floor: float | None, named: bool) -> Markup:
    """Draws one unit.

    Args:
        name: FACS number of the unit, or ``mean``.
        bars: of the methods, from left to right.
        floor: F1 of saying yes always.
        named: whether each dot tells whose it is.
    """
    area = charts.small((0, max(len(bars), 1)), (0, 100))
    head, rests = _heading(name, bars)
    gaps = [f"{bar.method.title}: {bar.cell.note}" for bar in bars if bar.cell.value is None]
    title = f"F1 of {head}: " + "; ".join(_told(bar) for bar in bars)
    drawn = [_bar(area, place, bar, named) for place, bar in enumerate(bars)]
    if floor is not None:
        y = area.py(floor)
        drawn.append(charts.line(area.left, y, area.right, y, cls="mean"))
    words = tag("p", f"{head}: no value. {'; '.join(gaps)}", cls="lead") if gaps else None
    chart = charts.picture(
        area,
        title,
        charts.axes(area, (), (0, 25, 50, 75, 100)),
        *drawn,
        charts.heading(area, head, rests),
    )
    return tag("div", chart, words)


def _heading(name: str, bars: Sequence[Bar]) -> tuple[str, str]:
    if name == "mean":
        return "mean over units", ""
    known = [bar.cell for bar in bars if bar.cell.positives is not None]
    rests = f"{known[0].positives:,} frames, {known[0].people} people" if known else ""
    return f"AU{name}", rests


def _told(bar: Bar) -> str:
    value, low, high = bar.cell[:3]
    if value is None:
        return f"{bar.method.title} none"
    between = "" if low is None else f" [{low:.1f}, {high:.1f}]"
    return f"{bar.method.title} {value:.1f}{between}"


def _half(area: PlotArea) -> float:
    """Half of a bar's width in pixels."""
    return min(_BAR / 2 * (area.px(1) - area.px(0)), _WIDEST / 2)


def _bar(area: PlotArea, place: int, bar: Bar, named: bool) -> Markup | None:
    if bar.cell.value is None:
        return None
    middle, half = area.px(place + 0.5), _half(area)
    left, right = middle - half, middle + half
    top = area.py(bar.cell.value)
    hollow = {"fill_opacity": "0.15", "stroke": bar.method.color, "stroke_dasharray": "3 2"}
    rect = tag(
        "rect",
        tag("title", _told(bar)),
        x=charts.shown(left),
        y=charts.shown(top),
        width=charts.shown(right - left),
        height=charts.shown(area.bottom - top),
        fill=bar.method.color,
        **(hollow if bar.method.said.teacher else {"fill_opacity": "0.62"}),
    )
    names = [f"{who}: {value:.1f}" for who, value in bar.people.items()]
    # Multiples of the golden section lie apart without being drawn by lot.
    spread = [(k * 0.618) % 1 - 0.5 for k in range(len(names))]
    places = [
        (middle + across * 1.6 * half, area.py(value))
        for across, value in zip(spread, bar.people.values(), strict=True)
    ]
    low, high = bar.cell.low, bar.cell.high
    between = None
    if low is not None and high is not None:
        between = charts.whisker(middle, area.py(low), area.py(high))
    return join(rect, charts.dots(places, names if named else None), between)
