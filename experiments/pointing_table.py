"""Table of the share of each PI map on the pixels that its unit moves; known only for drawn faces."""

from collections.abc import Iterator, Sequence

import numpy as np

from experiments.cells import Said, Study, of_columns
from experiments.paper_tables import method_title
from experiments.pointing import FILE_NAME
from experiments.report_types import Cell, Group, Row, Run, Table
from piapdf_jax.person_sums import Fold, of_seeds, share_sums

_TITLES = {"pi1": "PI Generator 0", "pi2": "PI Generator 1"}
_NOTES = (
    "Share of a map's mass on pixels that its unit moves: a face drawn with the unit less the same face"
    " drawn without it, above 2 gray levels; frames that show the unit. Chance is the share of the"
    " picture that these pixels cover, and so the score of a map that is the same everywhere.",
)

Arrays = dict[str, np.ndarray]


def pointing(studies: Sequence[Study]) -> Table | None:
    """Makes the table of pointing scores in percent; None where no run has any.

    Args:
        studies: of the groups.
    """
    rows, units = [], ()
    for study in studies:
        for title, files, key in _sources(study.group):
            own = tuple(int(au) for au in files[0][1]["aus"])
            if units and own != units:
                continue
            units = own
            cells = tuple(_cells(files, key, study.resamples))
            rows.append(Row(f"{title}, {study.group.title}", "ours", cells))
    if not rows:
        return None
    title = "Pointing score: % of a PI map's mass on the pixels that its unit moves"
    return Table("pointing", title, (*map(str, units), "mean", "chance"), tuple(rows), _NOTES)


def _sources(group: Group) -> Iterator[tuple[str, list[tuple[int, Arrays]], str]]:
    """Title, files by fold, and name of the shares in them, for each source of maps of a group."""
    names = dict.fromkeys(name for run in group.runs for name in run.results["trainings"])
    for name in names:
        files = [(run.fold, told) for run in group.runs if (told := _read(run, name)) is not None]
        if files:
            if "predefined" in files[0][1]:
                yield "predefined maps", files, "predefined"
            decoder = f"decoder of {method_title(Said(name))}"
            yield _TITLES.get(name, decoder), files, "share"


def _read(run: Run, name: str) -> Arrays | None:
    told = run.results["trainings"].get(name)
    if told is None:
        return None
    path = run.folder / name / told["digest"] / FILE_NAME
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except Exception:  # missing, or cut short: zip files and arrays fail in many ways
        return None


def _cells(files: list[tuple[int, Arrays]], key: str, resamples: int) -> Iterator[Cell]:
    shares, areas = (_folds(files, name) for name in (key, "area"))
    count = shares[0].sums.shape[2]
    for column in range(count):
        yield of_columns(shares, np.array([column]), resamples=resamples)
    yield of_columns(shares, np.arange(count), resamples=resamples)
    yield of_columns(areas, np.arange(count), resamples=resamples)._replace(low=None, high=None)


def _folds(files: list[tuple[int, Arrays]], name: str) -> list[Fold]:
    found: dict[int, list[Fold]] = {}
    for fold, arrays in files:
        known = ~np.isnan(arrays[name])
        found.setdefault(fold, []).append(share_sums(100 * arrays[name], known, arrays["subject"]))
    return [of_seeds(seeds) for _, seeds in sorted(found.items())]
