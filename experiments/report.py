"""Prints the results of a run: one line per training, and the table of F1 with "always yes" beside it."""

import dataclasses
import logging
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments import presets, run_folder
from experiments.au_scores import METRICS
from experiments.config import ExperimentConfig
from experiments.job import Job
from experiments.landmark_scores import ROWS as PAIR_ROWS
from experiments.published import published
from experiments.trainings import METHODS, TRAININGS

_EXPECTED = {
    "data.dataset": "bp4d",
    "pi1.dataset": "afew_va",
    "identity.dataset": "casia_webface",
    "identity.pairs": "lfw_pairs",
    "landmarks.dataset": "afew_va",
    "landmarks.pairs": "lfw_pairs",
    "disfa.dataset": "disfa",
}


def stand_ins(config: ExperimentConfig, jobs: Sequence[Job]) -> dict[str, str]:
    """Returns data sets that stand in for the paper's in some trainings, by the key that chooses them."""
    read = {job.training.section for job in jobs}
    if any(not hasattr(config.section(section), "dataset") for section in read):
        read.add("data")
    if any(part.dataset == config.disfa.dataset for job in jobs for part, _ in job.slices.pools):
        read.add("disfa")
    found = {}
    for key, expected in _EXPECTED.items():
        section, name = key.split(".")
        chosen = getattr(config.section(section), name)
        if section in read and chosen != expected:
            found[key] = f"{chosen} for {expected}"
    return found


def feedback(config: ExperimentConfig, jobs: Sequence[Job]) -> str:
    """Returns which feedback some trainings are of; "" where none has any."""
    has_feedback = any(hasattr(job.stage, "export_for_scoring") for job in jobs)
    return presets.feedback_title(dataclasses.asdict(config.df)) if has_feedback else ""


def log_training(log: logging.Logger, name: str, result: dict[str, Any]) -> None:
    """Logs the result of one training: digests, losses, what moved, what stayed, and its scores."""
    report, scores = result["report"], result["scores"]
    log.info("%s [%s]", TRAININGS[name].title, result["digest"])
    taken = ", ".join(f"{other} [{digest}]" for other, digest in result["consumed"].items())
    log.info(
        "  from %s%s", " + ".join(result["data"]), f" and the exports of {taken}" if taken else ""
    )
    log.info(
        "  loss %.4f -> %.4f in %d steps, %.0f s (first step %.0f s), %.0f images/s, %d skipped",
        *(math.nan if loss is None else loss for loss in (report["loss_start"], report["loss_end"])),
        report["steps"], report["seconds"],
        report["first_step_seconds"], report["images_per_second"], report["skipped"],
    )  # fmt: skip
    if "trained" in report:
        parts = report["trained"].items()
        moved = ", ".join(f"{part} {row['moved']}/{row['leaves']}" for part, row in parts)
        stayed = report["frozen_unchanged"]
        log.info("  leaves moved: %s; frozen bitwise unchanged: %s", moved, stayed)
    for line in _of_scores(scores):
        log.info("  %s", line)
    ends = [report[f"metrics_{end}"].get("generator_gradient_norm") for end in ("start", "end")]
    if None not in ends:
        log.info("  norm of the gradient into the generator %.3g -> %.3g", *ends)
    if scores.get("maps_moved"):
        log.info("  soft maps moved by %.4f on average", scores["maps_moved"]["mean_abs"])
    counts = {key: value for key, value in report.get("totals", {}).items() if value}
    if counts:
        log.info("  %s", ", ".join(f"{key} {value:g}" for key, value in counts.items()))


def _of_scores(scores: dict[str, Any]) -> Iterator[str]:
    """A line for each kind of scores of a training, and for each reason why some are missing."""
    for against in ("published", "true"):
        if told := scores.get(against):
            means = (told.get(key) for key in ("mean_f1", "mean_always_yes"))
            mean, always = (shown(value, "{:.1f}") for value in means)
            yield f"mean F1 {mean} against {against} labels of unseen people (always yes {always})"
            for metric in METRICS:  # of plugins
                if metric in told:
                    yield f"{metric} {shown(told[metric])} against {against} labels"
    if scores.get("verification") is not None:
        accuracy, deviation = (100 * scores.get(key, 0) for key in ("verification", "deviation"))
        yield f"pair verification {accuracy:.1f}% +- {deviation:.1f} on unseen people"
    if scores.get("mse") is not None:
        mse, nme = 100 * scores["mse"], 100 * scores["nme"]
        yield f"landmarks of unseen people: mean squared error {mse:.2f}%, mean distance {nme:.1f}% of the eyes'"
    if scores.get("iou") is not None:
        per_map = {au: iou for au, iou in scores["iou_per_map"].items() if iou is not None}
        lowest = min(per_map, key=lambda au: per_map[au])
        yield (
            f"IoU with the predefined maps of unseen people {scores['iou']:.3f}"
            f" (lowest: AU{lowest} {per_map[lowest]:.3f})"
        )
    yield from (f"gap in {', '.join(names)}: {reason}" for reason, names in _by_reason(scores))


def _by_reason(scores: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """The reasons of gaps, each with the scores that it is given for."""
    found: dict[str, list[str]] = {}
    for name, reason in scores.get("gaps", {}).items():
        found.setdefault(reason, []).append(name)
    return list(found.items())


def shown(value: Any, form: str = "{}") -> str:
    """Returns a number as a table shows it, ``-`` for none."""
    return "-" if value is None or value != value else form.format(value)


def print_results(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Prints the tables of a run, and where its files are."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    rows = {m: results["trainings"][METHODS[m][-1]]["scores"] for m in results["rows"]}
    rows = {m: scores for m, scores in rows.items() if "aus" in scores}
    for same in _tested_alike(rows):
        for against in ("published", "true"):
            if against == "published" or any(against in scores for scores in same.values()):
                console.print(_f1_table(results, against, same))
    if rows:
        console.print(_size_table(results, rows))
    if found := results["trainings"].get("landmarks", {}).get("scores", {}).get("pairs"):
        console.print(_pairs_table(results, found))
    for line in _gap_lines(results):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if results["stand_ins"]:
        console.print("stand-ins: " + "; ".join(dict.fromkeys(results["stand_ins"].values())))
    for name, told in results["stale"].items():
        console.print(f"* rests on the stale export {told['digest']} of {name} (--accept_stale)")
    console.print(f"results: {folder / 'results.json'}  ({results['seconds']:.0f} s)")
    for key in run_folder.PICTURES:
        if key in results:
            console.print(f"picture: {results[key]}")


def _gap_lines(results: dict[str, Any]) -> list[str]:
    """A line for each reason of a gap, with the trainings and scores that it is given for."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, told in results["trainings"].items():
        for reason, scores in _by_reason(told["scores"]):
            found.setdefault((", ".join(scores), reason), []).append(name)
    for name, reason in results.get("gaps", {}).items():
        found[name, reason] = []
    return [
        f"- gap in {scores}{' of ' * bool(names)}{', '.join(names)}: {reason}"
        for (scores, reason), names in found.items()
    ]


def _tested_alike(rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows by what they are scored on: those of other units, or of other people, have another "always yes".

    A row without scores stands beside those of its units.
    """
    found: dict[str, dict[str, Any]] = {}
    for scored in (True, False):
        for method, scores in rows.items():
            if ("published" in scores) == scored:
                units = str(scores["aus"])
                beside = [key for key in found if key.startswith(units) and not scored]
                own = units + str(scores["published"]["always_yes"]) if scored else units
                found.setdefault(beside[0] if beside else own, {})[method] = scores
    return list(found.values())


def _title(method: str) -> str:
    return TRAININGS[METHODS[method][-1]].title


def _marked(method: str, results: dict[str, Any]) -> str:
    """The title of a row, with an asterisk where it rests on a stale export."""
    stale = any(method in told["rows"] for told in results["stale"].values())
    return _title(method) + (" *" if stale else "")


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    table.add_column("method", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _mark(results: dict[str, Any]) -> str:
    """What a title says of all rows: which feedback it is, and that other data stand in for the paper's."""
    stand_ins = " (stand-in data, see below)" if results["stand_ins"] else ""
    return mark_of_feedback(results.get("feedback", "")) + stand_ins


def mark_of_feedback(told: str) -> str:
    """Returns what a title says of the feedback of its rows, "" for rows without."""
    return f"; discrete feedback {told}" if told else ""


def _f1_table(results: dict[str, Any], against: str, rows: dict[str, Any]) -> Table:
    title = f"{results['config']}: F1 (%) per AU on unseen people, {against} labels{_mark(results)}"
    told = [scores[against] for scores in rows.values() if against in scores]
    units = next(iter(rows.values()))["aus"]
    table = _table(title, (*map(str, units), "mean"))
    blank: dict[str, Any] = dict.fromkeys(("f1", "always_yes"), [None] * len(units))
    lines = [("always yes", told[0] if told else blank, "always_yes")]
    for method, scores in rows.items():
        lines.append((_marked(method, results), scores.get(against, blank), "f1"))
        if against in scores.get("teacher", {}):
            lines.append(("  its teacher", scores["teacher"][against], "f1"))
    for name, found, key in lines:
        cells = (*found[key], found.get(f"mean_{key}"))
        table.add_row(name, *(shown(value, "{:.1f}") for value in cells))
    return table


def _pairs_table(results: dict[str, Any], found: dict[str, Any]) -> Table:
    title = f"{results['config']}: who is in two pictures, LFW's protocol (%){_mark(results)}"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), title_justify="left")
    table.add_column("vector", no_wrap=True)
    for heading in ("accuracy", "95 % interval over blocks", "paper"):
        table.add_column(heading, justify="right", no_wrap=True)
    printed = published()["section_3_2"]["verification"]
    for name, told in found.items():
        cells = ["-", "-"]
        if told is not None:
            low, high = (100 * end for end in told["interval"])
            cells = [f"{100 * told['verification']:.1f}", f"{low:.1f} to {high:.1f}"]
        table.add_row(PAIR_ROWS[name], *cells, shown(printed.get(name)))
    return table


def _size_table(results: dict[str, Any], rows: dict[str, Any]) -> Table:
    table = _table(
        f"encoder and AU head alone{mark_of_feedback(results.get('feedback', ''))}",
        ("parameters", "F1 matched", "ROC AUC", "identity probe", "chance"),
    )
    for method, scores in rows.items():
        means = [
            scores.get("published", {}).get(f"mean_{key}") for key in ("f1_matched", "roc_auc")
        ]
        matched, auc = shown(means[0], "{:.1f}"), shown(means[1], "{:.3f}")
        probe = scores.get("identity_probe")
        told = (f"{probe['accuracy']:.3f}", f"{probe['chance']:.3f}") if probe else ("-", "-")
        table.add_row(
            _marked(method, results), shown(scores.get("parameters"), "{:,}"), matched, auc, *told
        )
    return table
