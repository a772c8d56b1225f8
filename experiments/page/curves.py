"""Reliability, rates of single people, and losses, as small charts beside one another."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from experiments.page import charts, facts, style
from experiments.page.charts import PlotArea
from experiments.page.facts import Bins, Method, Rates
from experiments.page.markup import Markup, join, tag
from experiments.report_types import Group
from experiments.trainings import TRAININGS
from piapdf_jax.runtime.writers import read_jsonl

#: Points that a loss curve keeps.
POINTS = 80


class Loss(NamedTuple):
    """One training of one run.

    Attributes:
        where: its fold and seed.
        steps, values: of the points that are drawn.
    """

    where: str
    steps: list[float]
    values: list[float]


def reliability(groups: Sequence[Group], *, against: str) -> Markup:
    """Draws, for each method of each group, how often a unit is there that is said to be with some probability."""
    parts = []
    for group in groups:
        methods = facts.methods(group, against)
        if not methods:
            continue
        panels = [reliability_panel(m, facts.reliability(group, m, against)) for m in methods]
        caption = tag(
            "figcaption",
            f"Share present by {against} labels against mean probability in {facts.BINS} bins of equal width, frames"
            " of all test people, units, folds and seeds pooled; on the diagonal both agree. Gray: how"
            " many probabilities are in a bin, of the fullest one. Error: mean distance to the diagonal,"
            " weighted by these counts; in the tables it is the mean over units of each unit's own.",
        )
        parts += [tag("h3", group.title), tag("figure", tag("div", *panels, cls="grid"), caption)]
    return join(*parts) if parts else tag("p", "No table of test frames: nothing to draw.")


def reliability_panel(method: Method, bins: Bins) -> Markup:
    """Draws one method's curve over the counts of its bins."""
    area = charts.small((0, 1), (0, 1), height=246)
    points = [
        tag(
            "circle",
            tag("title", f"said {p:.3f}, coded {share:.3f}: {count:,}"),
            cx=charts.shown(area.px(p)),
            cy=charts.shown(area.py(share)),
            r="3",
            fill=method.color,
        )
        for p, share, count in zip(bins.probs, bins.shares, bins.counts, strict=True)
        if count
    ]
    cls = "ghost" if method.said.teacher else "curve strong"
    there = bins.counts > 0
    error = "no label known" if np.isnan(bins.error) else f"error {bins.error:.3f}"
    return charts.picture(
        area,
        f"Reliability of {method.title}: {error}",
        charts.axes(area, (0, 0.25, 0.5, 0.75, 1), (0, 0.25, 0.5, 0.75, 1)),
        *_histogram(area, bins.counts),
        charts.line(area.px(0), area.py(0), area.px(1), area.py(1), cls="mean"),
        charts.polyline(area, bins.probs[there], bins.shares[there], stroke=method.color, cls=cls),
        *points,
        charts.heading(area, method.title, f"{error}, {int(bins.counts.sum()):,} probabilities"),
    )


def _histogram(area: PlotArea, counts: np.ndarray) -> Iterator[Markup]:
    """Bars of counts, the fullest as high as the chart."""
    width = (area.right - area.left) / len(counts)
    for place, count in enumerate(counts):
        if count:
            top = area.py(count / counts.max())
            yield tag(
                "rect",
                x=charts.shown(area.left + place * width),
                y=charts.shown(top),
                width=charts.shown(width - 1),
                height=charts.shown(area.bottom - top),
                fill="#8c8c8c",
                fill_opacity="0.18",
            )


def rates(groups: Sequence[Group], *, against: str, named: bool) -> Markup:
    """Draws how often each person shows each unit, coded against said; a part to open for each method.

    Args:
        groups: to draw.
        against: ``published`` or ``true`` labels, which stand for what is coded.
        named: whether each dot tells whose it is.
    """
    parts = []
    for group in groups:
        methods = facts.methods(group, against)
        if not methods:
            continue
        parts.append(tag("h3", group.title))
        # What the paper is about stands open.
        first = next((m for m in methods if m.title == "PIAP-DF"), methods[-1])
        for method in methods:
            told = facts.rates(group, method, against)
            panels = [
                rates_panel(method, au, told, place, named=named)
                for place, au in enumerate(method.units)
            ]
            caption = tag(
                "figcaption",
                f"{method.title}: share of the frames (%) in which a unit is coded ({against} labels,"
                f" across) and said at 0.5 (up), seeds averaged. Each dot is one of {len(told.people)}"
                " test people; on the diagonal both rates are the same. Above: mean of said less coded over people.",
            )
            body = tag("figure", tag("div", *panels, cls="grid"), caption)
            parts.append(tag("details", tag("summary", method.title), body, open=method == first))
    return join(*parts) if parts else tag("p", "No table of test frames: nothing to draw.")


def rates_panel(method: Method, au: int, told: Rates, place: int, *, named: bool) -> Markup:
    """Draws one unit's rates of every person."""
    area = charts.small((0, 100), (0, 100), height=246)
    coded, said = told.coded[:, place], told.said[:, place]
    there = np.flatnonzero(~np.isnan(coded) & ~np.isnan(said))
    places = [(area.px(coded[k]), area.py(said[k])) for k in there]
    names = [f"{told.people[k]}: coded {coded[k]:.1f} %, said {said[k]:.1f} %" for k in there]
    bias = f"{np.mean(said[there] - coded[there]):+.1f}" if len(there) else "no label known"
    everything = "".join(f"M{charts.shown(x)} {charts.shown(y)}h0" for x, y in places)
    ring = tag("path", d=everything, stroke=method.color, cls="rings") if places else None
    return charts.picture(
        area,
        f"{method.title}, AU{au}: said less coded {bias}",
        charts.axes(area, (0, 25, 50, 75, 100), (0, 25, 50, 75, 100)),
        charts.line(area.px(0), area.py(0), area.px(100), area.py(100), cls="mean"),
        ring,
        charts.dots(places, names) if named else None,
        charts.heading(area, f"AU{au}", f"{bias}, {len(there)} people"),
    )


def losses(groups: Sequence[Group]) -> Markup:
    """Draws the loss of every training of every run."""
    parts = []
    for group in groups:
        panels, missing = [], []
        names = dict.fromkeys(name for run in group.runs for name in run.results["trainings"])
        for name in names:
            found, broken = losses_of(group, name)
            missing += broken
            if found:
                panels.append(loss_panel(name, found))
        caption = tag(
            "figcaption",
            f"Training loss by step, at most {POINTS} points a curve; one curve for each training,"
            " which folds and seeds may share. Losses of different methods are different sums.",
        )
        parts.append(tag("h3", group.title))
        if panels:
            parts.append(tag("figure", tag("div", *panels, cls="grid"), caption))
        if missing:
            parts.append(tag("p", f"No loss curve: {'; '.join(missing)}.", cls="lead"))
    return join(*parts)


def losses_of(group: Group, name: str) -> tuple[list[Loss], list[str]]:
    """Reads the losses of one training, each export once, and tells which have none."""
    by_digest: dict[str, Loss | str] = {}
    for run in group.runs:
        told = run.results["trainings"].get(name)
        if told is None or isinstance(by_digest.get(told["digest"]), Loss):
            continue
        where = f"fold {run.fold} seed {run.seed}"
        path = run.folder / name / str(told["digest"]) / "metrics.jsonl"
        loss = _read(path, where)
        problem = f"{name} of {where} has no metrics.jsonl with a loss"
        # Of runs that share an export, the one that has trained it has the losses.
        by_digest[told["digest"]] = loss or by_digest.get(told["digest"], problem)
    found = [loss for loss in by_digest.values() if isinstance(loss, Loss)]
    return found, [problem for problem in by_digest.values() if isinstance(problem, str)]


def _read(path: pathlib.Path, where: str) -> Loss | None:
    try:
        points = list(_points(read_jsonl(path)))
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    if len(points) < 2:
        return None
    kept = np.unique(np.linspace(0, len(points) - 1, POINTS).round().astype(int))
    steps, values = zip(*(points[k] for k in kept), strict=True)
    return Loss(where, list(steps), list(values))


def _points(rows: list[dict]) -> Iterator[tuple[float, float]]:
    for row in rows:
        step, loss = row.get("step"), row.get("loss")
        if isinstance(step, int | float) and isinstance(loss, int | float) and np.isfinite(loss):
            yield float(step), float(loss)


def loss_panel(name: str, found: Sequence[Loss]) -> Markup:
    """Draws one training's curves over each other."""
    first, last = (end(end(loss.steps) for loss in found) for end in (min, max))
    low = min(0.0, *(min(loss.values) for loss in found))
    high = max(max(loss.values) for loss in found)
    area = charts.small((first, max(last, first + 1)), (low, high if high > low else low + 1))
    known = TRAININGS.get(name)
    title = known.title if known else name
    ends = np.mean([loss.values[-1] for loss in found])
    curves = [
        charts.polyline(area, loss.steps, loss.values, stroke=style.color(name)) for loss in found
    ]
    runs = "1 run" if len(found) == 1 else f"{len(found)} runs"
    return charts.picture(
        area,
        f"Loss of {title}: {', '.join(loss.where for loss in found)}",
        charts.axes(area, (first, last), charts.ticks(*area.y)),
        *curves,
        charts.heading(area, title, f"{runs}, ends at {ends:.3f}"),
    )
