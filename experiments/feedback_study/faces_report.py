"""Writes what the study on drawn faces found: numbers by seed, tables and figures, all from those numbers."""

import pathlib

from experiments import markdown
from experiments.feedback_study import (
    faces_figures,
    faces_results,
    faces_statistics,
    faces_tables,
)
from experiments.feedback_study.faces_results import Results

START = "<!-- feedback study: written by experiments.feedback_study.faces -->"
EVIDENCE = pathlib.Path("evidence", "feedback_faces")


def table(results: Results) -> str:
    """Renders all tables as Markdown."""
    parts = (
        faces_tables.arms,
        faces_tables.contrasts,
        faces_tables.people,
        faces_tables.ceiling,
        faces_tables.own_choice,
        faces_tables.ablations,
        faces_tables.mechanism,
        faces_tables.choices,
    )
    lines = [text for part in parts for text in part(results)]
    return "\n".join([*lines, "", _how(results)])


def _how(results: Results) -> str:
    about = results.about
    versions = ", ".join(f"{name} {about['versions'][name]}" for name in ("python", "jax"))
    return (
        '"±": half the width of the 95 % interval of the paired t over seeds. p: sign flips over '
        "seeds, Holm's correction over the contrasts in both ROC AUC and F1 at matched cuts. "
        f'"≈ 0": the 90 % interval lies within ± {faces_statistics.BOUND} points of F1. '
        f"{about['machine']}, {versions}: {about['seconds'] / 60:.0f} minutes."
    )


def publish(results: Results, docs: pathlib.Path) -> str:
    """Writes numbers, tables and figures into a folder of documents; returns the tables.

    Args:
        results: of the study.
        docs: folder; its ``feedback.md`` gets the tables, if there is one.
    """
    faces_results.write(results, docs / EVIDENCE)
    return render(docs)


def render(docs: pathlib.Path) -> str:
    """Makes tables and figures of the numbers that lie in a folder of documents; returns the tables.

    Raises:
        OSError: there are no numbers.
        ValueError: they are not what they should be, or ``feedback.md`` has no place for tables.
    """
    results = faces_results.read(docs / EVIDENCE)
    text = table(results)
    document = docs / "feedback.md"
    if document.exists():
        markdown.insert(document, START, text)
    faces_figures.draw(results, docs / "pictures")
    return text
