"""Results of the study on drawn faces: their structure, and reading and writing of their files.

A folder of small files, from which tables and figures can be made again:

    study.json      worlds, arms, choices, mechanism, versions
    WORLD.csv       kind (score, reference, ablation), name, model, metric, then a column for each seed; four digits
    counts.npz      WORLD/ARM: [2, 3, seeds, people, units] of the model that an arm hands on; cuts as ``CUTS``,
                    counts as ``COUNTS``, by test person
"""

import csv
import json
import pathlib
from typing import Any, NamedTuple

import numpy as np

MODELS = ("teacher", "student")
#: Against true labels of the test people. ROC AUC and F1 are means over units in percent, log loss is
#: in nats. "matched": cuts at which as many test frames are positive as labeled frames are; else 0.5.
METRICS = (
    "roc_auc",
    "f1_matched",
    "f1",
    "f1_rare",
    "f1_frequent",
    "f1_matched_rare",
    "f1_matched_frequent",
    "log_loss",
)
#: The network that all arms start from, and F1 of saying yes to every frame.
REFERENCES = ("start", "always_yes")
CUTS, COUNTS = ("half", "matched"), ("tp", "fp", "fn")

Scores = dict[str, dict[str, dict[str, dict[str, np.ndarray]]]]


class Results(NamedTuple):
    """What the study found.

    Attributes:
        worlds: dicts of ``people`` (labeled), ``pool`` (new people without labels, 0: the labeled
            people's own uncoded frames), ``wrong`` (percent of published labels), ``seeds``.
        arms: dicts of ``name``, ``title``, ``model`` ("teacher" or "student", the one it hands on).
        scores: [metric][world key][arm][model] -> [seeds]; seed k is the same people, labels and start
            in every arm of a world.
        references: [metric][world key][name of ``REFERENCES``] -> [seeds].
        chosen: {arm: {"learning_rate", "weight", "edge"}}, weight 0 without feedback; edge: whether the
            choice is an end of its candidates.
        ablations: [world key][name][model][metric] -> [seeds].
        ablation_titles: {name: (title, arm that it varies)}.
        counts: [world key][arm][cut][count] -> [seeds, people, units] int, of the model that the arm
            hands on.
        mechanism: dicts of ``judges`` ("training", "others"), ``start`` (supervised steps), ``labels``
            ("teacher", "half", "truth"), ``batches``, and shares of these: ``prefers``, feedback above that
            of the teacher's labels (None for those), and ``opens``, feedback above 0.
        about: versions, machine, seconds, and settings as they were.
    """

    worlds: list[dict[str, Any]]
    arms: list[dict[str, Any]]
    scores: Scores
    references: dict[str, dict[str, dict[str, np.ndarray]]]
    chosen: dict[str, dict[str, Any]]
    ablations: dict[str, dict[str, dict[str, dict[str, np.ndarray]]]]
    ablation_titles: dict[str, tuple[str, str]]
    counts: dict[str, dict[str, dict[str, dict[str, np.ndarray]]]]
    mechanism: list[dict[str, Any]]
    about: dict[str, Any]


def world_key(people: int, pool: int, wrong: int) -> str:
    """Returns the key of a world, such as ``20_0_5``: labeled people, new people, percent wrong."""
    return f"{people}_{pool}_{wrong}"


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
    # JSON has no nan.
    fields["mechanism"] = [
        {key: None if value != value else value for key, value in row.items()}
        for row in results.mechanism
    ]
    (folder / "study.json").write_text(json.dumps(fields, indent=1, allow_nan=False) + "\n")
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
    with np.load(folder / "counts.npz", allow_pickle=False) as file:
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
