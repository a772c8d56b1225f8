"""Numbers of the study on drawn faces as small files, from which tables and figures can be made again.

    study.json      worlds, arms, choices, mechanism, versions
    WORLD.csv       kind (score, reference, ablation), name, model, metric, then a column for each seed
    counts.npz      WORLD/ARM: true and false positives and missed ones of each test person, as `faces_results`

Scores have four digits.
"""

import csv
import json
import pathlib
from typing import Any

import numpy as np

from experiments.feedback_study.faces_results import COUNTS, CUTS, METRICS, Results, world_key

_FIELDS = ("worlds", "arms", "chosen", "ablation_titles", "mechanism", "about")
_KEY = ("kind", "name", "model", "metric")


def write(results: Results, folder: pathlib.Path) -> None:
    """Writes results into a folder; files of worlds that they do not have are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = [world_key(w["people"], w["pool"], w["wrong"]) for w in results.worlds]
    for old in folder.glob("*.csv"):
        if old.stem not in keys:
            old.unlink()
    fields = {name: getattr(results, name) for name in _FIELDS}
    (folder / "study.json").write_text(json.dumps(fields, indent=1) + "\n")
    for key in keys:
        with (folder / f"{key}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            rows = _rows(results, key)
            writer.writerow([*_KEY, *range(max(len(row[-1]) for row in rows))])
            writer.writerows([*place, *(f"{x:.4g}" for x in seeds)] for *place, seeds in rows)
    arrays = {
        f"{world}/{arm}": np.array([[cuts[c][n] for n in COUNTS] for c in CUTS], np.uint16)
        for world, arms in results.counts.items()
        for arm, cuts in arms.items()
    }
    np.savez_compressed(folder / "counts.npz", allow_pickle=False, **arrays)


def _rows(results: Results, world: str) -> list[tuple[Any, ...]]:
    """Kind, name, model, metric and the scores of a world."""
    rows: list[tuple[Any, ...]] = []
    for metric in METRICS:
        for name, models in results.scores[metric][world].items():
            rows += [("score", name, model, metric, seeds) for model, seeds in models.items()]
        for name, seeds in results.references[metric][world].items():
            rows.append(("reference", name, "", metric, seeds))
    for name, models in results.ablations.get(world, {}).items():
        for model, scores in models.items():
            rows += [("ablation", name, model, metric, scores[metric]) for metric in METRICS]
    return rows


def read(folder: pathlib.Path) -> Results:
    """Reads results from a folder.

    Raises:
        OSError: a file is missing.
        ValueError: a file does not hold what it should.
    """
    fields = json.loads((folder / "study.json").read_text())
    fields["ablation_titles"] = {k: tuple(v) for k, v in fields["ablation_titles"].items()}
    trees: dict[str, Any] = {"score": {}, "reference": {}, "ablation": {}}
    for world in fields["worlds"]:
        key = world_key(world["people"], world["pool"], world["wrong"])
        with (folder / f"{key}.csv").open(newline="") as file:
            head, *rows = csv.reader(file)
        if tuple(head[:4]) != _KEY:
            raise ValueError(f"{folder / key}.csv does not begin with the columns {_KEY}.")
        for kind, name, model, metric, *seeds in rows:
            path = (key, name, model, metric) if kind == "ablation" else (metric, key, name, model)
            _put(trees[kind], [step for step in path if step], np.array(seeds, np.float64))
    counts: dict[str, Any] = {}
    with np.load(folder / "counts.npz") as file:
        for place in file.files:
            cuts = [dict(zip(COUNTS, cut, strict=True)) for cut in file[place]]
            _put(counts, place.split("/"), dict(zip(CUTS, cuts, strict=True)))
    return Results(
        **fields,
        scores=trees["score"],
        references=trees["reference"],
        ablations=trees["ablation"],
        counts=counts,
    )


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    *places, last = path
    for place in places:
        tree = tree.setdefault(place, {})
    tree[last] = value
