"""The scores of an export on a data set, as tables for a terminal: a unit a row."""

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from experiments.report import shown

#: Columns of a table: heading, key of the scores, how a number is shown; the first two are F1 at other cuts.
_COLUMNS = (
    ("matched", "f1_matched", "{:.1f}"),
    ("model cuts", "f1_model_cuts", "{:.1f}"),
    ("ROC AUC", "roc_auc", "{:.3f}"),
    ("AUPRC", "auprc", "{:.3f}"),
    ("MCC", "mcc", "{:.3f}"),
)


def tables(scored: dict[str, Any]) -> Iterator[Table]:
    """Yields a table by unit against coded labels, and one against true labels where they are known.

    Args:
        scored: scores as ``export_scores.score`` gives them.
    """
    for key, words in (("published", "coded"), ("true", "true")):
        if key in scored:
            title = (
                f"{scored['export']['training']} {scored['export']['digest']} on {scored['dataset']}"
                f"[{scored['split']}]: {scored['frames']:,} frames of {scored['people']} people,"
                f" {words} labels; F1 in %"
            )
            weak = scored["export"].get("weak_units", ())
            names = [f"AU{au}{' (weak)' if au in weak else ''}" for au in scored["aus"]]
            yield _table(escape(title), names, scored[key])


def _table(title: str, units: list[str], scores: dict[str, Any]) -> Table:
    made = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    made.add_column("unit", no_wrap=True)
    headings = ("positive", "people", "always yes", "F1", "95 % interval")
    for heading in (*headings, *(heading for heading, _, _ in _COLUMNS)):
        made.add_column(heading, justify="right", no_wrap=True)
    for k, unit in enumerate(units):
        counts = (f"{scores['positive_frames'][k]:,}", str(scores["people_showing"][k]))
        row = {key: scores[key][k] for key in ("always_yes", "f1", "f1_interval")}
        row |= {key: scores[key][k] for _, key, _ in _COLUMNS}
        made.add_row(unit, *counts, *_cells(row))
    keys = ("always_yes", "f1", "f1_interval", *(key for _, key, _ in _COLUMNS))
    made.add_section()
    made.add_row("mean", "", "", *_cells({key: scores[f"mean_{key}"] for key in keys}))
    return made


def _cells(row: dict[str, Any]) -> Iterator[str]:
    low, high = row["f1_interval"]
    yield shown(row["always_yes"], "{:.1f}")
    yield shown(row["f1"], "{:.1f}")
    yield "-" if low is None or high is None else f"{low:.1f} to {high:.1f}"
    yield from (shown(row[key], form) for _, key, form in _COLUMNS)
