"""Tables of the feedback study on points, from its numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.feedback_study.paired import interval
from experiments.markdown import heading, line

START = "<!-- feedback study: written by experiments.feedback_study.points -->"
#: Pairs of variants, of which the first has what the second lacks.
_PAIRS = {
    "what MPL adds to sampled pseudo labels": ("mpl", "pseudo_sample"),
    "what exact adds to soft pseudo labels": ("exact", "pseudo_soft"),
    "what the right sign adds to the public one": ("mpl", "mpl_public"),
}
_COLUMNS = (
    *("variant", "learning rate", "weight", "term / labeled gradient", "feedback > 0"),
    *("accuracy", "less supervised (95 %)", "its teacher, less supervised (95 %)"),
)
_SIGN_COLUMNS = (
    *("weight", "term / labeled gradient"),
    *("right sign", "public sign", "difference (95 %)"),
)


def difference(rows: dict[str, Any], name: str, model: str) -> np.ndarray:
    """Computes the accuracy of a variant's model less that of the supervised network, by seed [n]."""
    base = rows["supervised"]
    return np.asarray(rows[name][model]) - np.asarray(base[base["model"]])


def table(results: dict[str, Any]) -> str:
    """Renders variants, pairs of them, signs at rising weights, and the ceiling as Markdown."""
    rows, ceiling = results["tuned"], results["ceiling"]
    lines = ["**Learning rate and weight as each variant chose them**", "", *heading(_COLUMNS)]
    lines += [line(_cells(rows, name)) for name in rows] + [""]
    lines += [f"- {question}: {_contrast(rows, *pair)}" for question, pair in _PAIRS.items()]
    lines += ["", *_signs(results["signs"])]
    mean, half = interval(ceiling[ceiling["model"]])
    lines.append(
        f"Supervised on all {results['study']['problem']['unlabeled']} points with true labels: "
        f'{mean:.2f} ± {half:.2f} %. "(edge)": the choice is an end of its row of candidates.'
    )
    return "\n".join(lines)


def _signs(rows: Sequence[dict[str, Any]]) -> list[str]:
    title = "**MPL at rising weights: accuracy of the student, by sign**"
    lines = [title, "", *heading(_SIGN_COLUMNS)]
    for row in rows:
        pair = row["mpl"], row["mpl_public"]
        mean, half = interval(np.subtract(*(one["student"] for one in pair)))
        lengths = [f"{one['term_norm'] / one['labeled_norm']:.2f}" for one in pair]
        cells = [f"{pair[0]['weight']:g}", " and ".join(lengths)]
        cells += [f"{np.mean(one['student']):.2f}" for one in pair]
        lines.append(line([*cells, f"{mean:+.2f} ± {half:.2f}"]))
    return [*lines, ""]


def _cells(rows: dict[str, Any], name: str) -> list[str]:
    row = rows[name]
    feedback = row["weight"] != 0
    cells = [row["title"] + (" (edge)" if row["edge"] else "")]
    cells += [f"{row['learning_rate']:.3g}"]
    cells += [f"{row['weight']:.3g}" if feedback else ""]
    cells += [f"{row['term_norm'] / row['labeled_norm']:.2f}" if feedback else ""]
    cells += [f"{100 * row['positive']:.0f} %", f"{np.mean(row[row['model']]):.2f}"]
    if name == "supervised":
        return [*cells, "", ""]
    pairs = [interval(difference(rows, name, model)) for model in ("student", "teacher")]
    return cells + [f"{mean:+.2f} ± {half:.2f}" for mean, half in pairs]


def _contrast(rows: dict[str, Any], name: str, other: str) -> str:
    gaps = {m: np.subtract(rows[name][m], rows[other][m]) for m in ("student", "teacher")}
    texts = {model: "{:+.2f} ± {:.2f}".format(*interval(gap)) for model, gap in gaps.items()}
    return f"student {texts['student']}, teacher {texts['teacher']}"
