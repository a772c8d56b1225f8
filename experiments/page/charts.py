"""Charts as SVG by hand: scales, axes, dots and curves, in pixels with one decimal."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.page.markup import Markup, join, tag


class PlotArea(NamedTuple):
    """The rectangle that data are drawn into, and what its edges stand for.

    Attributes:
        width, height: of the whole picture, in pixels.
        left, top, right, bottom: edges of the rectangle, in pixels.
        x, y: (first, last) value of each axis; y's last is at the top.
    """

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]

    def px(self, value: float) -> float:
        """Returns where a value of the x axis is, in pixels."""
        first, last = self.x
        return self.left + (self.right - self.left) * (value - first) / (last - first)

    def py(self, value: float) -> float:
        """Returns where a value of the y axis is, in pixels."""
        first, last = self.y
        return self.bottom - (self.bottom - self.top) * (value - first) / (last - first)


def small(x: tuple[float, float], y: tuple[float, float], *, height: float = 200) -> PlotArea:
    """Returns the rectangle of one of many small charts."""
    return PlotArea(280, height, 34, 40, 272, height - 22, x, y)


def heading(area: PlotArea, name: str, detail: str) -> Markup:
    """Writes what a small chart shows, and below it on what it rests."""
    short = name if len(name) <= 32 else name[:31] + "\N{HORIZONTAL ELLIPSIS}"
    return join(
        text(area.left, 14, short, cls="name"), text(area.left, 29, detail) if detail else None
    )


def shown(value: float) -> str:
    """Writes a coordinate: one decimal, no more."""
    # Adding 0 turns -0 into 0.
    return f"{round(float(value), 1) + 0:.1f}".removesuffix(".0")


def picture(area: PlotArea, title: str, *children: Any, cls: str | None = None) -> Markup:
    """Makes a chart that has a title, for those who hear a page as well."""
    box = f"0 0 {shown(area.width)} {shown(area.height)}"
    return tag("svg", tag("title", title), *children, role="img", viewBox=box, cls=cls)


def text(
    x: float, y: float, words: Any, *, anchor: str = "start", cls: str | None = None
) -> Markup:
    """Writes words that begin, end or are centered at a place."""
    kept = None if anchor == "start" else anchor
    return tag("text", words, x=shown(x), y=shown(y), text_anchor=kept, cls=cls)


def line(x1: float, y1: float, x2: float, y2: float, *, cls: str) -> Markup:
    """Draws a straight line."""
    return tag("path", d=f"M{shown(x1)} {shown(y1)}L{shown(x2)} {shown(y2)}", cls=cls)


def axes(
    area: PlotArea, x_ticks: Sequence[float], y_ticks: Sequence[float], *, x_digits: str = "g"
) -> Markup:
    """Draws horizontal rules with their values, the base line, and values below it."""
    rules = [
        join(
            line(area.left, area.py(v), area.right, area.py(v), cls="rule"),
            text(area.left - 5, area.py(v) + 4, f"{v:g}", anchor="end"),
        )
        for v in y_ticks
    ]
    below = [
        text(area.px(v), area.bottom + 15, f"{v:{x_digits}}", anchor=_anchor(area, v))
        for v in x_ticks
    ]
    base = line(area.left, area.bottom, area.right, area.bottom, cls="axis")
    return join(*rules, base, *below)


def _anchor(area: PlotArea, value: float) -> str:
    return "end" if value == area.x[1] else "middle"


def polyline(
    area: PlotArea, xs: Iterable[float], ys: Iterable[float], *, stroke: str, cls: str = "curve"
) -> Markup:
    """Draws a curve through points; where a value is nan it is interrupted."""
    parts, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if np.isnan(y):
            pen = "M"
            continue
        parts.append(f"{pen}{shown(area.px(x))} {shown(area.py(y))}")
        pen = "L"
    return tag("path", d="".join(parts), stroke=stroke, cls=cls)


def dots(places: Sequence[tuple[float, float]], names: Sequence[str] | None) -> Markup:
    """Draws dots at pixels, each with its name; without names all are one path, a tenth of the size."""
    if names is None:
        path = "".join(f"M{shown(x)} {shown(y)}h0" for x, y in places)
        return tag("path", d=path, cls="dots") if places else join()
    return join(
        *(
            tag("circle", tag("title", name), cx=shown(x), cy=shown(y), r="1.7", cls="dot")
            for (x, y), name in zip(places, names, strict=True)
        )
    )


def whisker(x: float, low: float, high: float) -> Markup:
    """Draws a standing interval between two heights in pixels, its ends marked."""
    across = "".join(f"M{shown(x - 3)} {shown(y)}h6" for y in (low, high))
    return tag("path", d=f"M{shown(x)} {shown(low)}V{shown(high)}{across}", cls="interval")


def ticks(low: float, high: float, *, count: int = 4) -> list[float]:
    """Returns round values between two limits, about so many."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    step = 10.0 ** np.floor(np.log10(raw))
    step = next(float(step * k) for k in (1, 2, 5, 10) if step * k >= raw - 1e-12)
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [float(f"{k * step:.10g}") for k in range(first, last + 1)]


def key(stroke: str, *, hollow: bool = False) -> Markup:
    """Draws a small field of a color, for a legend; the words beside it say what it is."""
    fill = {"fill": "none", "stroke": stroke, "stroke_width": "2"} if hollow else {"fill": stroke}
    box = tag("rect", x="2", y="2", width="18", height="8", **fill)
    # A second mark keeps the square visible on paper of its own color.
    edge = tag("rect", x="1.5", y="1.5", width="19", height="9", fill="none", cls="rule")
    return tag("svg", tag("title", "color"), box, edge, cls="key", viewBox="0 0 22 12", role="img")
