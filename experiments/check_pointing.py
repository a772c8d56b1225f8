"""Recomputes the table of pointing scores independently, from the files beside the tables of frames."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from experiments import recomputed
from experiments.recomputed import Sums
from experiments.report_types import Group
from experiments.trainings import TRAININGS

if TYPE_CHECKING:
    from experiments.check_rows import Study, Wanted

_TITLES = {"pi1": "PI Generator 0", "pi2": "PI Generator 1"}


def rows(study: "Study") -> dict[str, list["Wanted"]]:
    """Recomputes the pointing scores of a group, by the titles of rows.

    Args:
        study: of the group; gives intervals.
    """
    found = {}
    for title, key, files in _sources(study.group):
        shares, areas = (
            [recomputed.joined([_sums(one, name) for one in seeds]) for seeds in files.values()]
            for name in (key, "area")
        )
        cells = [c._replace(positives=None, people=None) for c in study.cells(shares)]
        chance = study.cells(areas)[-1]._replace(drawn=None, positives=None, people=None)
        found[f"{title}, {study.group.title}"] = [*cells, chance]
    return found


def _sources(group: Group) -> Iterator[tuple[str, str, dict[int, list[dict[str, np.ndarray]]]]]:
    """Title, name of the shares, and the seeds' files by fold."""
    for name, training in TRAININGS.items():
        files: dict[int, list[dict[str, np.ndarray]]] = {}
        for run in sorted(group.runs, key=lambda run: (run.fold, run.seed)):
            told = run.results["trainings"].get(name, {"digest": "-"})
            path = run.folder / name / told["digest"] / "pointing.npz"
            if path.is_file():
                with np.load(path, allow_pickle=False) as stored:
                    files.setdefault(run.fold, []).append(dict(stored.items()))
        if files and name == "pi1":
            yield "predefined maps", "predefined", files
        if files:
            yield _TITLES.get(name, f"decoder of {training.title}"), "share", files


def _sums(one: dict[str, np.ndarray], name: str) -> Sums:
    """Means by unit of one seed, by SciPy, and sums of its people."""
    told = 100.0 * one[name]
    ids, who = np.unique(one["subject"], return_inverse=True)
    means = np.array([stats.tmean(c[~np.isnan(c)]) if (c == c).any() else np.nan for c in told.T])
    sums = np.zeros((1, len(ids), told.shape[1], 3))
    for place, values in zip(who, told, strict=True):
        for unit in np.flatnonzero(~np.isnan(values)):
            sums[0, place, unit] += values[unit], 1, 1
    return Sums(ids, means[None], sums)
