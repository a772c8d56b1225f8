"""Figures of the study on drawn faces: planned contrasts, share of the truth's gain, what feedback tells apart."""

import pathlib
from typing import Any

import numpy as np

from experiments.feedback_study import faces_statistics as statistics
from experiments.feedback_study.faces_results import Results, world_key
from experiments.feedback_study.faces_tables import JUDGES, LABELS, TITLES, world_title
from experiments.feedback_study.paired import interval
from piapdf_jax import command_line, commands

# Okabe and Ito's colors, which the color-blind tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
_MARKERS = ("o", "s", "^", "v")
_HEAT = ("student_threshold", "student_matched")


def pyplot() -> Any:
    """Returns the module matplotlib.pyplot, drawing without a screen.

    Raises:
        SystemExit: matplotlib is missing; one line has said how to install it.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        command_line.fail(f"figures need matplotlib: {commands.install('plots')}")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def draw(results: Results, folder: pathlib.Path) -> list[pathlib.Path]:
    """Draws the figures that the results have numbers for; returns their files."""
    plt = pyplot()
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, figure in (
        ("contrasts", contrasts(results)),
        ("share", share(results)),
        ("mechanism", mechanism(results)),
    ):
        if figure is not None:
            made.append(folder / f"feedback_{name}.png")
            figure.savefig(made[-1], dpi=110)
            plt.close(figure)
    return made


def contrasts(results: Results) -> Any:
    """Draws the planned contrasts: over the pooled worlds and in each reported one; None for none."""
    found = statistics.contrasts(results, statistics.worlds_of(results, statistics.POOLED))
    if not found:
        return None
    worlds = statistics.worlds_of(results, statistics.REPORTED)
    titles = {arm["name"]: arm["title"] for arm in results.arms}
    fig, axes = pyplot().subplots(
        1, len(statistics.METRICS), figsize=(10, 1.6 + 0.62 * len(found)), sharey=True
    )
    for axis, metric in zip(axes, statistics.METRICS, strict=True):
        if metric != "roc_auc":
            axis.axvspan(-statistics.BOUND, statistics.BOUND, color="0.92", lw=0)
        axis.axvline(0, color="0.4", lw=0.8)
        for place, (contrast, estimates) in enumerate(found.items()):
            for k, world in enumerate(worlds):
                gaps = statistics.difference(results, metric, [world], *contrast[1:])
                mean, half = interval(gaps)
                style = {"color": _COLORS[k], "marker": _MARKERS[k], "ms": 4, "lw": 1}
                axis.errorbar(mean, place + 0.15 + 0.14 * k, xerr=half, **style)
            one = estimates[metric]
            axis.errorbar(
                one.mean, place - 0.08, xerr=one.half, color="k", marker="D", ms=6, lw=2, capsize=3
            )
        axis.set_xlabel(f"{TITLES[metric]}, points", fontsize=9)
        axis.tick_params(labelsize=8)
    pairs = [f"{titles[c.first]}\nless {titles[c.second]}" for c in found]
    axes[0].set_yticks([place + 0.2 for place in range(len(found))], pairs, fontsize=8)
    axes[0].invert_yaxis()
    _legend(fig, axes[0], len(statistics.worlds_of(results, statistics.POOLED)), worlds)
    return fig


def _legend(fig: Any, axis: Any, pooled: int, worlds: list[str]) -> None:
    handles = [axis.errorbar([], [], color="k", marker="D", ms=6, lw=2, label=f"{pooled} worlds")]
    for k, world in enumerate(worlds):
        style = {"color": _COLORS[k], "marker": _MARKERS[k], "ms": 4, "lw": 1}
        handles.append(
            axis.errorbar([], [], label=world_title(world).replace("labeled ", ""), **style)
        )
    fig.legend(handles=handles, loc="upper center", ncols=len(handles), fontsize=8, frameon=False)
    fig.tight_layout(rect=(0, 0, 1, 0.94))


def share(results: Results) -> Any:
    """Draws the share of the truth's gain in ROC AUC that pseudo labels get, by world; None without such arms."""
    arms = statistics.arms_of(results)
    rows = [name for name in _HEAT if name in arms]
    if "truth" not in arms or not rows:
        return None
    axes_of = {key: sorted({w[key] for w in results.worlds}) for key in ("people", "pool", "wrong")}
    plt = pyplot()
    shape = len(rows), len(axes_of["pool"])
    fig, axes = plt.subplots(*shape, figsize=(10, 0.6 + 2.3 * shape[0]), squeeze=False)
    grids = {
        (r, c): _shares(results, name, pool, axes_of)
        for r, name in enumerate(rows)
        for c, pool in enumerate(axes_of["pool"])
    }
    ends = np.nanmax([np.nanmax(np.abs(g), initial=10) for g in grids.values()])
    limit = min(100.0, float(ends))
    titles = {arm["name"]: arm["title"] for arm in results.arms}
    for (r, c), grid in grids.items():
        axis, pool = axes[r, c], axes_of["pool"][c]
        image = _heat(axis, grid, limit, axes_of)
        if r == 0:
            title = f"{pool} new people" if pool else "own uncoded frames"
            axis.set_title(title, fontsize=9)
        if c == 0:
            axis.set_ylabel(f"{titles[rows[r]]}\n\nlabeled people", fontsize=8)
        if r == shape[0] - 1:
            axis.set_xlabel("% of labels wrong", fontsize=8)
    fig.tight_layout(rect=(0, 0, 0.91, 1))
    bar = fig.colorbar(image, cax=fig.add_axes((0.92, 0.15, 0.013, 0.7)))
    bar.set_label("% of what true labels add", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return fig


def _heat(axis: Any, grid: np.ndarray, limit: float, axes_of: dict[str, list[int]]) -> Any:
    image = axis.imshow(grid, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
    for (y, x), value in np.ndenumerate(grid):
        text = "–" if np.isnan(value) else str(round(value))
        color = "w" if abs(np.nan_to_num(value)) > 0.6 * limit else "k"
        axis.text(x, y, text, ha="center", va="center", fontsize=9, color=color)
    axis.set_xticks(range(grid.shape[1]), axes_of["wrong"], fontsize=8)
    axis.set_yticks(range(grid.shape[0]), axes_of["people"], fontsize=8)
    return image


def _shares(results: Results, name: str, pool: int, axes_of: dict[str, list[int]]) -> np.ndarray:
    """Shares in percent, labeled people by wrong labels; nan where a world or a gain of the truth is missing."""
    keys = {world_key(w["people"], w["pool"], w["wrong"]) for w in results.worlds}
    grid = np.full((len(axes_of["people"]), len(axes_of["wrong"])), np.nan)
    for y, people in enumerate(axes_of["people"]):
        for x, wrong in enumerate(axes_of["wrong"]):
            world = world_key(people, pool, wrong)
            if world not in keys:
                continue
            gap = statistics.difference(results, "roc_auc", [world], "truth", "supervised")
            mean, half = interval(gap)
            if mean > half:
                found = statistics.share_of_truth(results, "roc_auc", world, name)
                grid[y, x] = 100 * found[0]
    return grid


def mechanism(results: Results) -> Any:
    """Draws how often feedback prefers better labels, and how often the gate opens; None without these numbers."""
    if not results.mechanism:
        return None
    fig, axes = pyplot().subplots(1, 2, figsize=(10, 3.6), sharey=True)
    starts = sorted({row["start"] for row in results.mechanism})
    titles = "feedback is higher than for the teacher's labels", "the gate opens"
    for axis, key, title in zip(axes, ("prefers", "opens"), titles, strict=True):
        axis.axhline(50, color="0.7", lw=0.8, ls=":")
        for color, judges in zip(_COLORS, JUDGES, strict=False):
            for style, marker, labels in zip(("-", "--", ":"), _MARKERS, LABELS, strict=False):
                rows = {
                    r["start"]: r
                    for r in results.mechanism
                    if (r["judges"], r["labels"]) == (judges, labels)
                }
                if not rows or (key, labels) == ("prefers", "teacher"):
                    continue
                y = [100 * rows[start][key] if start in rows else np.nan for start in starts]
                label = f"{LABELS[labels]}, judged on {JUDGES[judges]}"
                axis.plot(
                    range(len(starts)), y, style, marker=marker, color=color, ms=5, label=label
                )
        axis.set_title(title, fontsize=9)
        axis.set_xticks(range(len(starts)), starts, fontsize=8)
        axis.set_xlabel("supervised steps before", fontsize=9)
        axis.tick_params(labelsize=8)
    axes[0].set_ylabel("% of batches", fontsize=9)
    axes[0].set_ylim(0, 100)
    handles, labels = axes[1].get_legend_handles_labels()
    fig.legend(handles, labels, loc="lower center", ncols=2, fontsize=8, frameon=False)
    fig.tight_layout(rect=(0, 0.18, 1, 1))
    return fig
