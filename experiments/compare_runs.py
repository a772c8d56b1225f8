"""Compares two runs: scores with their difference, and differences of configurations and versions."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from experiments import frame_table
from experiments.frame_table import FrameTableError
from experiments.groups import flat
from experiments.run_folder import RESULTS
from experiments.runs import runs_in
from experiments.trainings import TRAININGS

#: Scores of a training: title, keys in its ``scores``, and how a number is shown.
SCORES = (
    ("mean F1 (%), coded labels", ("published", "mean_f1"), "{:.2f}"),
    ("mean F1 (%), true labels", ("true", "mean_f1"), "{:.2f}"),
    ("mean F1 (%) at matched cuts, coded labels", ("published", "mean_f1_matched"), "{:.2f}"),
    ("teacher's mean F1 (%), coded labels", ("teacher", "published", "mean_f1"), "{:.2f}"),
    ("teacher's mean F1 (%), true labels", ("teacher", "true", "mean_f1"), "{:.2f}"),
    ("mean ROC AUC, coded labels", ("published", "mean_roc_auc"), "{:.4f}"),
    ("mean ROC AUC, true labels", ("true", "mean_roc_auc"), "{:.4f}"),
    ("identity probe", ("identity_probe", "accuracy"), "{:.3f}"),
    ("pair verification", ("verification",), "{:.3f}"),
    ("IoU of maps", ("iou",), "{:.3f}"),
)
_GAP = "-"


class Side(NamedTuple):
    """One of two runs.

    Attributes:
        folder: of the run.
        config: its values by dotted key.
        versions: of packages.
        trainings: those that have been scored, by name, as ``results.json`` has them; {} before any.
    """

    folder: pathlib.Path
    config: dict[str, Any]
    versions: dict[str, Any]
    trainings: dict[str, Any]


class Difference(NamedTuple):
    """One score of one training in both runs, None for a gap."""

    training: str
    score: str
    first: float | None
    second: float | None
    form: str


def read_side(folder: pathlib.Path) -> Side:
    """Reads a run to be compared.

    Args:
        folder: of one run, or one in which there is just one.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where there are several, or a file of it cannot be read; names it.
    """
    runs = runs_in(folder)
    if len(runs) > 1:
        names = ", ".join(str(run.relative_to(folder)) for run in runs[:4])
        more = f" and {len(runs) - 4} more" if len(runs) > 4 else ""
        raise ValueError(f"{folder} holds several runs, {names}{more}: name one of them")
    told = {name: _read(runs[0] / name) for name in ("config.json", "versions.json", RESULTS)}
    trainings = told[RESULTS].get("trainings", {})
    try:
        found = {
            name: {**training, "scores": dict(training["scores"])}
            for name, training in trainings.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{runs[0] / RESULTS} cannot be read as results ({error!r})") from error
    return Side(runs[0], flat(told["config.json"]), told["versions.json"], found)


def _read(path: pathlib.Path) -> dict[str, Any]:
    """An object of JSON; {} for no file."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as an object of JSON ({error})") from error


def score_differences(first: Side, second: Side) -> list[Difference]:
    """Returns the scores that either run has, by training in the order of their table, then by ``SCORES``."""
    names = {*first.trainings, *second.trainings}
    found = []
    for name in (*(n for n in TRAININGS if n in names), *sorted(names - TRAININGS.keys())):
        for title, keys, form in SCORES:
            pair = [_score(side.trainings.get(name), keys) for side in (first, second)]
            if pair != [None, None]:
                found.append(Difference(name, title, pair[0], pair[1], form))
    return found


def _score(training: dict[str, Any] | None, keys: tuple[str, ...]) -> float | None:
    told: Any = (training or {}).get("scores")
    for key in keys[:-1]:
        told = told.get(key) if isinstance(told, dict) else None
    if not isinstance(told, dict):
        return None
    value = told.get(keys[-1])
    if value is None and keys[-1] == "mean_roc_auc":  # of a release that gave it by unit alone
        by_unit = [v for v in told.get("roc_auc") or () if isinstance(v, (int, float))]
        value = sum(by_unit) / len(by_unit) if by_unit else None
    return float(value) if isinstance(value, (int, float)) else None


def value_differences(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Returns key and both values, as text, of what differs; ``-`` where a side has no such key."""

    def shown(side: dict[str, Any], key: str) -> str:
        return json.dumps(side[key], ensure_ascii=False) if key in side else _GAP

    keys = dict.fromkeys((*first, *second))
    pairs = [(key, shown(first, key), shown(second, key)) for key in keys]
    return [(key, a, b) for key, a, b in pairs if a != b]


def notes(first: Side, second: Side) -> Iterator[str]:
    """Yields what a reader of differences must know: the same export twice, or other frames that were scored."""
    for name in sorted(first.trainings.keys() & second.trainings.keys()):
        digests = [side.trainings[name].get("digest") for side in (first, second)]
        if digests[0] == digests[1] and digests[0]:
            yield f"{name}: both runs score the same export, {digests[0]}"
        data = [_scored_data(side, name) for side in (first, second)]
        if None not in data and data[0] != data[1]:
            yield f"{name}: the runs are scored on other frames or other true labels"


def _scored_data(side: Side, name: str) -> str | None:
    """The digest of what a training was scored on; None where no table of frames says so."""
    digest = str(side.trainings[name].get("digest"))
    try:
        return frame_table.read(side.folder / name / digest / frame_table.FILE_NAME).data
    except (OSError, FrameTableError):
        return None


def compare(first: pathlib.Path, second: pathlib.Path) -> list[RenderableType]:
    """Compares two runs for a terminal.

    Args:
        first: folder of a run.
        second: folder of another; the difference is its score less that of the first.

    Returns:
        Tables of scores, of the configuration's differences and of the versions', and lines between them.

    Raises:
        FileNotFoundError: where one is no run.
        ValueError: where a file of one cannot be read, or one is several.
    """
    sides = read_side(first), read_side(second)
    titles = short_names(*(side.folder for side in sides))
    lines = list(notes(*sides))
    for side, title in zip(sides, titles, strict=True):
        if not side.trainings:
            lines.append(f"{title} has no scores yet")
    made: list[RenderableType] = [_score_table(score_differences(*sides), titles)]
    made += [Text(line) for line in lines]
    for what, values in (
        ("configuration", value_differences(sides[0].config, sides[1].config)),
        ("versions", value_differences(sides[0].versions, sides[1].versions)),
    ):
        made.append(_value_table(what, values, titles) if values else Text(f"{what}: the same"))
    return made


def short_names(first: pathlib.Path, second: pathlib.Path) -> tuple[str, str]:
    """Returns the shortest ends of two folders' paths, of two names or more, that tell them apart."""
    a, b = first.parts, second.parts
    for length in range(2, max(len(a), len(b)) + 1):
        if a[-length:] != b[-length:]:
            return str(pathlib.Path(*a[-length:])), str(pathlib.Path(*b[-length:]))
    return str(first), str(second)


def _score_table(found: list[Difference], titles: tuple[str, str]) -> Table:
    made = Table("training", "score", title="scores", box=SIMPLE_HEAD, title_justify="left")
    for title in (*titles, "difference"):
        made.add_column(escape(title), justify="right", overflow="fold")
    for row in found:
        pair = (row.first, row.second)
        cells = [_GAP if value is None else row.form.format(value) for value in pair]
        change = _GAP
        if row.first is not None and row.second is not None:
            change = row.form.replace(":", ":+").format(row.second - row.first)
        made.add_row(escape(row.training), row.score, *cells, change)
    return made


def _value_table(what: str, found: list[tuple[str, str, str]], titles: tuple[str, str]) -> Table:
    made = Table("key", title=f"{what}: differences", box=SIMPLE_HEAD, title_justify="left")
    for title in titles:
        made.add_column(escape(title), overflow="fold")
    for row in found:
        made.add_row(*map(escape, row))
    return made
