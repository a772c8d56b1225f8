"""Results of the study on drawn faces: what they hold, how they are written and read.

One file, ``faces.npz``: array ``about`` is JSON (a string: worlds, arms, choices, mechanism, versions);
the others are numbers, by world:

    scores/WORLD        [arms, 2, metrics, seeds]   of teacher and student, order of `MODELS`, `METRICS`
    references/WORLD    [2, metrics, seeds]         of `REFERENCES`; nan where one has no such score
    ablations/WORLD     [ablations, 2, metrics, seeds]
    counts/WORLD/ARM    [2, 3, seeds, people, units] of one model of an arm (``about``: counted); cuts as
                        `CUTS`, counts as `COUNTS`, by test person
"""

import json
import pathlib
import zipfile
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
        references: [metric][world key][name of `REFERENCES`] -> [seeds].
        chosen: {arm: {"learning_rate", "weight", "edge"}}, weight 0 without feedback; edge: whether the
            choice is an end of its candidates.
        ablations: [world key][name][model][metric] -> [seeds].
        ablation_titles: {name: (title, arm that it varies)}.
        counts: [world key][arm][cut][count] -> [seeds, people, units] int, of the model that the arm
            hands on.
        mechanism: dicts of ``judges`` ("training", "others"), ``start`` (supervised steps), ``labels``
            ("teacher", "half", "truth"), ``prefers``, ``opens`` (shares of batches), ``batches``.
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


def write(results: Results, path: pathlib.Path) -> None:
    """Writes results, under a temporary name first."""
    fields = results._asdict()
    names = ("scores", "references", "ablations", "counts")
    arrays = {k: v for name in names for k, v in _flat(name, fields.pop(name), fields).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(fields)), **arrays)
    part.replace(path)


def _flat(name: str, tree: dict[str, Any], fields: dict[str, Any]) -> dict[str, np.ndarray]:
    """Nested dicts of vectors as one array a world, in the order of names that `about` says."""
    if name == "counts":
        return {
            f"counts/{world}/{arm}": np.array([[cuts[c][n] for n in COUNTS] for c in CUTS])
            for world, arms in tree.items()
            for arm, cuts in arms.items()
        }
    if name == "ablations":
        titles = fields["ablation_titles"]
        return {
            f"{name}/{world}": _stack([[arms[a][m] for m in MODELS] for a in titles])
            for world, arms in tree.items()
        }
    found = {}
    for world in (world_key(w["people"], w["pool"], w["wrong"]) for w in fields["worlds"]):
        by = {metric: tree[metric][world] for metric in METRICS}
        if name == "references":
            rows = [{m: by[m][reference] for m in METRICS} for reference in REFERENCES]
        else:
            arms = [arm["name"] for arm in fields["arms"]]
            rows = [[{m: by[m][arm][model] for m in METRICS} for model in MODELS] for arm in arms]
        found[f"{name}/{world}"] = _stack(rows)
    return found


def _stack(rows: Any) -> np.ndarray:
    if isinstance(rows, dict):
        return np.array([rows[metric] for metric in METRICS], np.float32)
    return np.array([_stack(row) for row in rows])


def read(path: pathlib.Path) -> Results:
    """Reads results.

    Raises:
        OSError: there is no such file.
        ValueError: it does not hold results.
    """
    try:
        with np.load(path) as file:
            fields, arrays = json.loads(str(file["about"])), {k: file[k] for k in file.files}
        return _nested(fields, arrays)
    except (KeyError, TypeError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        raise ValueError(f"{path} holds no results of the study on faces: {error}") from error


def _nested(fields: dict[str, Any], arrays: dict[str, np.ndarray]) -> Results:
    worlds = [world_key(w["people"], w["pool"], w["wrong"]) for w in fields["worlds"]]
    arms = [arm["name"] for arm in fields["arms"]]
    scores: Any = {}
    references: Any = {}
    for m, metric in enumerate(METRICS):
        scores[metric] = {
            w: {a: _models(arrays[f"scores/{w}"][k][:, m]) for k, a in enumerate(arms)}
            for w in worlds
        }
        references[metric] = {
            w: dict(zip(REFERENCES, arrays[f"references/{w}"][:, m], strict=True)) for w in worlds
        }
    titles = {name: tuple(pair) for name, pair in fields.pop("ablation_titles").items()}
    ablations: Any = {}
    counts: Any = {}
    for key, array in arrays.items():
        kind, *place = key.split("/")
        if kind == "ablations":
            ablations[place[0]] = {
                name: _models([dict(zip(METRICS, one, strict=True)) for one in array[k]])
                for k, name in enumerate(titles)
            }
        elif kind == "counts":
            cuts = [dict(zip(COUNTS, cut, strict=True)) for cut in array]
            counts.setdefault(place[0], {})[place[1]] = dict(zip(CUTS, cuts, strict=True))
    made = {"scores": scores, "references": references, "ablations": ablations, "counts": counts}
    return Results(**fields, **made, ablation_titles=titles)


def _models(pair: Any) -> dict[str, Any]:
    return dict(zip(MODELS, pair, strict=True))
