"""What a run prints: a line a training, and the table of F1 with "always yes" beside it."""

import logging
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments.config import ExperimentConfig
from experiments.job import Job
from experiments.scoring import METRICS
from experiments.trainings import METHODS, TRAININGS

_EXPECTED = {
    "data.dataset": "bp4d",
    "pi1.dataset": "afew_va",
    "identity.dataset": "casia_webface",
    "identity.pairs": "lfw_pairs",
    "disfa.dataset": "disfa",
}


def stand_ins(config: ExperimentConfig, jobs: Sequence[Job]) -> dict[str, str]:
    """Data sets that stand in for the paper's in some trainings, by the key that chooses them."""
    read = {"data", *(job.training.section for job in jobs)}
    if any(part.dataset == config.disfa.dataset for job in jobs for part, _ in job.slices.pools):
        read.add("disfa")
    found = {}
    for key, expected in _EXPECTED.items():
        section, name = key.split(".")
        chosen = getattr(config.section(section), name)
        if section in read and chosen != expected:
            found[key] = f"{chosen} for {expected}"
    return found


def log_training(log: logging.Logger, name: str, result: dict[str, Any]) -> None:
    """Says what one training did: digests, losses, what moved, what stayed, and its scores."""
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
    moved = ", ".join(
        f"{part} {row['moved']}/{row['leaves']}" for part, row in report["trained"].items()
    )
    log.info("  leaves moved: %s; frozen bitwise unchanged: %s", moved, report["frozen_unchanged"])
    for against in ("published", "true"):
        if against in scores:
            log.info(
                "  mean F1 %.1f against %s labels of unseen people (always yes %.1f)",
                scores[against]["mean_f1"], against, scores[against]["mean_always_yes"],
            )  # fmt: skip
            for metric in METRICS:  # of plugins
                if metric in scores[against]:
                    value = scores[against][metric]
                    log.info("  %s %s against %s labels", metric, value, against)
    if "verification" in scores:
        log.info(
            "  pair verification %.1f%% +- %.1f on unseen people",
            100 * scores["verification"], 100 * scores["deviation"],
        )  # fmt: skip
    if "iou" in scores:
        lowest = min(scores["iou_per_map"].items(), key=lambda item: item[1])
        log.info(
            "  IoU with the predefined maps of unseen people %.3f (lowest: AU%s %.3f)",
            scores["iou"], *lowest,
        )  # fmt: skip
    ends = [report[f"metrics_{end}"].get("generator_gradient_norm") for end in ("start", "end")]
    if None not in ends:
        log.info("  norm of the gradient into the generator %.3g -> %.3g", *ends)
    if "maps_moved" in scores:
        log.info("  soft maps moved by %.4f on average", scores["maps_moved"]["mean_abs"])
    counts = {key: value for key, value in report.get("totals", {}).items() if value}
    if counts:
        log.info("  %s", ", ".join(f"{key} {value:g}" for key, value in counts.items()))


def print_results(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Prints the tables of a run, and where its files are."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    rows = {m: results["trainings"][METHODS[m][-1]]["scores"] for m in results["rows"]}
    rows = {m: scores for m, scores in rows.items() if "aus" in scores}
    for tested in dict.fromkeys(map(_tested, rows.values())):
        same = {m: scores for m, scores in rows.items() if _tested(scores) == tested}
        for against in ("published", "true"):
            chosen = {m: scores for m, scores in same.items() if against in scores}
            if chosen:
                console.print(_f1_table(results, against, chosen))
    if rows:
        console.print(_size_table(results, rows))
    if results["stand_ins"]:
        console.print("stand-ins: " + "; ".join(results["stand_ins"].values()))
    for name, told in results["stale"].items():
        console.print(f"* rests on the stale export {told['digest']} of {name} (--accept_stale)")
    console.print(f"results: {folder / 'results.json'}  ({results['seconds']:.0f} s)")
    if "picture" in results:
        console.print(f"picture: {results['picture']}")


def _tested(scores: dict[str, Any]) -> str:
    """What a row is scored on: rows of other units, or of other people, have another "always yes"."""
    return str((scores["aus"], scores["published"]["always_yes"]))


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


def _f1_table(results: dict[str, Any], against: str, rows: dict[str, Any]) -> Table:
    mark = " (stand-in data, see below)" if results["stand_ins"] else ""
    title = f"{results['config']}: F1 (%) per AU on unseen people, {against} labels{mark}"
    one = next(iter(rows.values()))
    table, first = _table(title, (*map(str, one["aus"]), "mean")), one[against]
    for name, f1, mean in (
        ("always yes", first["always_yes"], first["mean_always_yes"]),
        *((_marked(m, results), rows[m][against]["f1"], rows[m][against]["mean_f1"]) for m in rows),
    ):
        table.add_row(name, *(f"{value:.1f}" for value in (*f1, mean)))
    return table


def _size_table(results: dict[str, Any], rows: dict[str, Any]) -> Table:
    table = _table(
        "encoder and AU head alone",
        ("parameters", "identity probe", "chance"),
    )
    for method, scores in rows.items():
        probe = scores.get("identity_probe")
        told = (f"{probe['accuracy']:.3f}", f"{probe['chance']:.3f}") if probe else ("-", "-")
        table.add_row(_marked(method, results), f"{scores['parameters']:,}", *told)
    return table
