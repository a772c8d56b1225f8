"""Tables of the study on drawn faces as Markdown; all differences are paired by seed."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from experiments.feedback_study import faces_statistics as statistics
from experiments.feedback_study.faces_results import CUTS, MODELS, Results
from experiments.feedback_study.paired import interval
from experiments.markdown import heading, line

TITLES = {
    "roc_auc": "ROC AUC",
    "f1_matched": "F1, matched cuts",
    "f1": "F1 at 0.5",
    "f1_rare": "rare units at 0.5",
    "f1_frequent": "frequent units at 0.5",
}
JUDGES = {"training": "the labels it was trained on", "others": "other labeled people"}
LABELS = {"teacher": "the teacher's", "half": "half of the wrong ones corrected", "truth": "true"}
#: Arms whose share of the truth's gain is shown.
SHARES = ("student_threshold", "student_matched", "df_threshold", "df_matched")
#: Pairs of arms with an interval over people as well.
PEOPLE = (
    ("df_threshold", "supervised"),
    ("df_matched", "supervised"),
    ("df_matched", "df_threshold"),
)


def world_title(world: str) -> str:
    """Returns a world in words."""
    people, pool, wrong = world.split("_")
    return f"{people} labeled people, {'own' if pool == '0' else f'{pool} new'}, {wrong} % wrong"


def number(values: ArrayLike, sign: str = "+") -> str:
    """Returns a mean and half its 95 % interval; an empty text where a score does not exist."""
    if np.isnan(np.asarray(values, np.float64)).any():
        return ""
    mean, half = interval(values)
    return f"{mean:{sign}.2f} ± {half:.2f}"


def arm_titles(results: Results) -> dict[str, str]:
    """Returns titles of arms and ablations, with a mark where the choice is an end of its candidates."""
    titles = {arm["name"]: arm["title"] for arm in results.arms}
    titles |= {name: title for name, (title, _) in results.ablation_titles.items()}
    edges = {name for name, chosen in results.chosen.items() if chosen["edge"]}
    return {name: title + " (edge)" * (name in edges) for name, title in titles.items()}


def arms(results: Results) -> Iterator[str]:
    """Yields one table a reported world: every arm less supervised training, as it is handed on and its teacher."""
    columns = ["arm", *TITLES.values()]
    columns += [f"its teacher: {TITLES[m]}" for m in statistics.METRICS]
    for world in statistics.worlds_of(results, statistics.REPORTED):
        seeds = len(statistics.by_seed(results, "roc_auc", [world], "supervised"))
        yield from (f"**{world_title(world)}** ({seeds} seeds)", "", *heading(columns))
        empty = [""] * len(statistics.METRICS)
        for name, title in (("always_yes", "always yes"), ("start", "where all start")):
            cells = [number(results.references[m][world][name], "") for m in TITLES]
            yield line([title, *cells, *empty])
        titles = arm_titles(results)
        for name in statistics.arms_of(results):
            title = titles[name]
            if name == "supervised":
                scores = (statistics.by_seed(results, m, [world], name) for m in TITLES)
                yield line([title, *(number(s, "") for s in scores), *empty])
            else:
                yield line([title, *_less_supervised(results, world, name)])
        yield ""


def _less_supervised(results: Results, world: str, name: str) -> Iterator[str]:
    for metric in TITLES:
        yield number(statistics.difference(results, metric, [world], name, "supervised"))
    for metric in statistics.METRICS:
        gaps = statistics.difference(results, metric, [world], name, "supervised", "teacher")
        yield number(gaps)


def contrasts(results: Results) -> Iterator[str]:
    """Yields the planned contrasts over the pooled worlds, then in each reported one."""
    worlds = statistics.worlds_of(results, statistics.POOLED)
    found = statistics.contrasts(results, worlds)
    if not found:
        return
    titles = arm_titles(results)
    seeds = min(len(results.scores["roc_auc"][w]["supervised"]["teacher"]) for w in worlds)
    count = f"{len(worlds)} world" + "s" * (len(worlds) > 1)
    yield f"**Planned contrasts, mean over {count} by seed** ({seeds} seeds)"
    yield ""
    columns = ["contrast", "what it asks"]
    for metric in statistics.METRICS:
        columns += (
            [TITLES[metric], "p (Holm)"] if metric in statistics.PRIMARY else [TITLES[metric]]
        )
    yield from heading(columns)
    for contrast, estimates in found.items():
        cells = [f"{titles[contrast.first]} less {titles[contrast.second]}", contrast.question]
        for metric, estimate in estimates.items():
            none = " (≈ 0)" if metric != "roc_auc" and estimate.negligible else ""
            cells.append(f"{estimate.mean:+.2f} ± {estimate.half:.2f}{none}")
            cells += [_p(estimate.p)] if metric in statistics.PRIMARY else []
        yield line(cells)
    yield ""
    yield from _contrasts_by_world(results, list(found), titles)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _contrasts_by_world(
    results: Results, made: Sequence[statistics.Contrast], titles: dict[str, str]
) -> Iterator[str]:
    yield "**The same in each reported world: ROC AUC; F1 at matched cuts**"
    yield ""
    worlds = statistics.worlds_of(results, statistics.REPORTED)
    yield from heading(["contrast", *map(world_title, worlds)])
    for contrast in made:
        pair = contrast.first, contrast.second
        cells = [f"{titles[pair[0]]} less {titles[pair[1]]}"]
        for world in worlds:
            gaps = [statistics.difference(results, m, [world], *pair) for m in statistics.PRIMARY]
            cells.append("; ".join(map(number, gaps)))
        yield line(cells)
    yield ""


def ceiling(results: Results) -> Iterator[str]:
    """Yields what true labels on x_u would add, and the share of it that pseudo labels get."""
    there = statistics.arms_of(results)
    names = [name for name in SHARES if name in there]
    if "truth" not in there or not names:
        return
    titles = arm_titles(results)
    yield "**What true labels of the unlabeled frames add to ROC AUC, and the share of it that is reached**"
    yield ""
    yield from heading(["world", "true labels", *(titles[name] for name in names)])
    for world in statistics.worlds_of(results, statistics.REPORTED):
        cells = [world_title(world)]
        cells.append(
            number(statistics.difference(results, "roc_auc", [world], "truth", "supervised"))
        )
        for name in names:
            share, low, high = statistics.share_of_truth(results, "roc_auc", world, name)
            cells.append("{} % ({} to {})".format(*(round(100 * x) for x in (share, low, high))))
        yield line(cells)
    yield ""


def people(results: Results) -> Iterator[str]:
    """Yields differences of F1 with intervals over seeds and, inside of each, its test people."""
    worlds = [w for w in statistics.worlds_of(results, statistics.REPORTED) if w in results.counts]
    pairs = [
        pair
        for pair in PEOPLE
        if worlds and all(name in results.counts[worlds[0]] for name in pair)
    ]
    if not pairs:
        return
    titles = arm_titles(results)
    yield "**F1 of counts pooled over test people, 95 % over seeds and the people of each: F1 at matched cuts; at 0.5**"
    yield ""
    yield from heading(["", *map(world_title, worlds)])
    found = {
        (world, cut): statistics.over_people(results, cut, world, pairs)
        for world in worlds
        for cut in CUTS
    }
    for row, pair in enumerate(pairs):
        cells = [f"{titles[pair[0]]} less {titles[pair[1]]}"]
        for world in worlds:
            told = (found[world, cut][row] for cut in reversed(CUTS))
            cells.append("; ".join("{:+.2f} ({:+.2f} to {:+.2f})".format(*one) for one in told))
        yield line(cells)
    yield ""


def ablations(results: Results) -> Iterator[str]:
    """Yields each ablation less the arm that it varies: ROC AUC, F1 at matched cuts, F1 at 0.5."""
    arms_run = statistics.arms_of(results)
    made = {
        name: arm
        for name, (_, arm) in results.ablation_titles.items()
        if arm in arms_run and not name.endswith(statistics.OWN_CHOICE)
    }
    if not made:
        return
    metrics = ", ".join(TITLES[m] for m in statistics.METRICS)
    yield f"**Ablations, less the arm that they vary: {metrics}**"
    yield ""
    models = [(world, model) for world in results.ablations for model in reversed(MODELS)]
    columns = [f"{model}: {world_title(world)}" for world, model in models]
    yield from heading(["ablation", "of", *columns])
    titles = arm_titles(results)
    for name, arm in made.items():
        cells = [titles[name], titles[arm]]
        for world, model in models:
            scores = results.ablations[world][name][model]
            gaps = []
            for metric in statistics.METRICS:
                base = statistics.by_seed(results, metric, [world], arm, model)
                found = np.asarray(scores[metric], np.float64)
                seeds = min(len(base), len(found))
                gaps.append(number(found[:seeds] - base[:seeds]))
            cells.append("; ".join(gaps))
        yield line(cells)
    yield ""


def own_choice(results: Results) -> Iterator[str]:
    """Yields the contrasts, and others less supervised, with each arm at the rate and the weight that it chose."""
    titles = {arm["name"]: arm["title"] for arm in results.arms}
    pairs = [contrast[1:] for contrast in statistics.CONTRASTS]
    pairs += [(name, "supervised") for name in ("student_matched", "df_matched", "exact_judges")]
    rows = []
    for pair in pairs:
        cells = []
        for world, metric in itertools.product(results.ablations, statistics.METRICS):
            gaps = statistics.difference_at_own_choice(results, metric, world, *pair)
            cells += [number(gaps)] if gaps is not None else []
        if cells:
            rows.append(line([f"{titles[pair[0]]} less {titles[pair[1]]}", *cells]))
    if rows:
        yield "**Each arm at the learning rate and the weight that it chose for itself**"
        yield ""
        columns = itertools.product(map(world_title, results.ablations), statistics.METRICS)
        yield from heading(["", *(f"{world}: {TITLES[metric]}" for world, metric in columns)])
        yield from (*rows, "")


def mechanism(results: Results) -> Iterator[str]:
    """Yields how often feedback prefers labels to the teacher's own, and how often the gate opens for each."""
    if not results.mechanism:
        return
    yield "**What feedback tells apart**"
    yield ""
    columns = ["judged on", "supervised steps before", "pseudo labels"]
    yield from heading([*columns, "fb higher than for the teacher's", "gate opens", "batches"])
    for row in results.mechanism:
        prefers = "" if row["labels"] == "teacher" else f"{100 * row['prefers']:.0f} %"
        cells = [JUDGES[row["judges"]], str(row["start"]), LABELS[row["labels"]], prefers]
        yield line([*cells, f"{100 * row['opens']:.0f} %", str(row["batches"])])
    yield ""


def choices(results: Results) -> Iterator[str]:
    """Yields what each arm chose by published labels of people kept apart."""
    yield "**Learning rate and feedback weight as each arm chose them**"
    yield ""
    yield from heading(["arm", "learning rate", "weight"])
    titles = arm_titles(results)
    for name, chosen in results.chosen.items():
        weight = f"{chosen['weight']:.3g}" if chosen["weight"] else ""
        yield line([titles[name], f"{chosen['learning_rate']:.3g}", weight])
    yield ""
    yield '"(edge)": the choice is an end of its candidates, so that a better one may lie beyond.'
