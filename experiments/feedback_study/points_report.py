"""Table and figure of the feedback study, from its numbers."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from piapdf_jax import command_line, commands

START, END = "<!-- feedback study: written by experiments.feedback_study.points -->", "<!-- end -->"
_ROUNDS = {
    "tuned": "Learning rate and weight as each variant chose them",
    "matched": "One learning rate, feedback terms of one length",
}
#: Pairs of variants, of which the first has what the second lacks.
_PAIRS = {
    "what the gate adds to self-training": ("discrete", "constant"),
    "what MPL adds to sampled pseudo labels": ("mpl", "pseudo_sample"),
    "what exact adds to soft pseudo labels": ("exact", "pseudo_soft"),
    "what the right sign adds to the public one": ("mpl", "mpl_public"),
}
_COLUMNS = (
    *(
        "variant",
        "learning rate",
        "weight",
        "term / labeled gradient",
        "feedback > 0",
        "confidence",
    ),
    *("accuracy", "less supervised (95 %)", "its teacher, less supervised (95 %)"),
)


def interval(differences: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Mean of paired differences and half the width of its confidence interval.

    mean +- t_(n - 1) s / sqrt(n), s^2 = sum (d_i - mean)^2 / (n - 1)

    Args:
        differences: [n], one for each pair, n > 1.
        level: confidence, in (0, 1); t is Student's quantile of (1 + level) / 2, 2.093 for n = 20.

    Returns:
        Mean and half width.

    Raises:
        ValueError: fewer than two differences.
    """
    d = np.asarray(differences, np.float64)
    if d.size < 2:
        raise ValueError(f"an interval needs two differences or more, not {d.size}.")
    quantile = float(scipy.stats.t.ppf((1 + level) / 2, d.size - 1))
    return float(d.mean()), quantile * float(d.std(ddof=1)) / d.size**0.5


def difference(rows: dict[str, Any], name: str, model: str) -> np.ndarray:
    """Accuracy of a variant's model less that of the supervised network, by seed [n]."""
    base = rows["supervised"]
    return np.asarray(rows[name][model]) - np.asarray(base[base["model"]])


def table(results: dict[str, Any]) -> str:
    """Both rounds as Markdown tables, pairs of variants, signs at rising weights, and the ceiling."""
    lines = []
    for key, title in _ROUNDS.items():
        rows = results["rounds"][key]
        lines += [f"**{title}**", "", *_rule(_COLUMNS)]
        lines += [_line(_cells(rows, name)) for name in rows] + [""]
        for question, pair in _PAIRS.items():
            lines.append(f"- {question}: {_contrast(rows, *pair)}")
        lines.append("")
    lines += _signs(results["signs"])
    ceiling = results["ceiling"]
    mean, half = interval(ceiling[ceiling["model"]])
    lines.append(
        f"Supervised on all {results['study']['problem']['unlabeled']} points with true labels: "
        f'{mean:.2f} ± {half:.2f} %. "(edge)": the choice is an end of its row of candidates.'
    )
    return "\n".join(lines)


def _signs(rows: Sequence[dict[str, Any]]) -> list[str]:
    columns = (
        "weight",
        "term / labeled gradient",
        "right sign",
        "public sign",
        "difference (95 %)",
    )
    lines = ["**MPL at rising weights: accuracy of the student, by sign**", "", *_rule(columns)]
    for row in rows:
        pair = row["mpl"], row["mpl_public"]
        mean, half = interval(np.subtract(*(one["student"] for one in pair)))
        lengths = [f"{one['term_norm'] / one['labeled_norm']:.2f}" for one in pair]
        cells = [f"{pair[0]['weight']:g}", " and ".join(lengths)]
        cells += [f"{np.mean(one['student']):.2f}" for one in pair]
        lines.append(_line([*cells, f"{mean:+.2f} ± {half:.2f}"]))
    return [*lines, ""]


def _cells(rows: dict[str, Any], name: str) -> list[str]:
    row = rows[name]
    feedback = row["weight"] != 0
    cells = [row["title"] + (" (edge)" if row.get("edge") else "")]
    cells += [f"{row['learning_rate']:.3g}"]
    cells += [f"{row['weight']:.3g}" if feedback else ""]
    cells += [f"{row['term_norm'] / row['labeled_norm']:.2f}" if feedback else ""]
    cells += [f"{100 * row['positive']:.0f} %", f"{row['confidence']:.2f}"]
    cells += [f"{np.mean(row[row['model']]):.2f}"]
    if name == "supervised":
        return [*cells, "", ""]
    pairs = [interval(difference(rows, name, model)) for model in ("student", "teacher")]
    return cells + [f"{mean:+.2f} ± {half:.2f}" for mean, half in pairs]


def _contrast(rows: dict[str, Any], name: str, other: str) -> str:
    gaps = {m: np.subtract(rows[name][m], rows[other][m]) for m in ("student", "teacher")}
    texts = {model: "{:+.2f} ± {:.2f}".format(*interval(gap)) for model, gap in gaps.items()}
    return f"student {texts['student']}, teacher {texts['teacher']}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: Sequence[str]) -> list[str]:
    return [_line(columns), _line(["---"] * len(columns))]


def insert(path: pathlib.Path, text: str) -> None:
    """Puts text between the markers of a Markdown file.

    Raises:
        ValueError: a marker is missing.
    """
    page = path.read_text()
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"{path} has no lines {START!r} and {END!r} to write the table between.")
    path.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}")


def figure(results: dict[str, Any], path: pathlib.Path) -> None:
    """Paired differences to supervised: seeds, mean and interval, student and teacher.

    Args:
        results: what `points.run` returns.
        path: PNG to write.
    """
    plt = pyplot()
    rounds = results["rounds"]
    fig, axes = plt.subplots(1, len(rounds), figsize=(10, 4.2), sharex=True, sharey=True)
    for axis, (key, rows) in zip(axes, rounds.items(), strict=True):
        names = [name for name in rows if name != "supervised"]
        for place, name in enumerate(names):
            for model, color, shift in (("student", "C0", -0.14), ("teacher", "C1", 0.14)):
                gaps = difference(rows, name, model)
                mean, half = interval(gaps)
                y = place + shift
                axis.plot(gaps, np.full(len(gaps), y), ".", color=color, alpha=0.25, ms=5, mew=0)
                axis.errorbar(mean, y, xerr=half, fmt="o", color=color, ms=4, capsize=3)
        axis.axvline(0, color="0.4", lw=0.8)
        axis.set_yticks(range(len(names)), [rows[name]["title"] for name in names])
        axis.set_title(_ROUNDS[key], fontsize=9)
        axis.set_xlabel("accuracy less supervised, percentage points", fontsize=9)
        axis.tick_params(labelsize=8)
    axes[0].invert_yaxis()
    for color, model in (("C0", "student"), ("C1", "teacher")):
        axes[-1].errorbar([], [], fmt="o", color=color, ms=4, label=model)
    axes[-1].legend(fontsize=8, loc="lower right")
    fig.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def pyplot() -> Any:
    """Module matplotlib.pyplot, drawing without a screen.

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
