"""What a run prints: a line a training, and the table of F1 with "always yes" beside it."""

import logging
import pathlib
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.config import ExperimentConfig
from experiments.methods import METHODS, TRAININGS

_EXPECTED = {
    "data.dataset": "bp4d",
    "pi1.dataset": "afew_va",
    "identity.dataset": "casia_webface",
    "identity.pairs": "lfw_pairs",
}


def stand_ins(config: ExperimentConfig) -> dict[str, str]:
    """Data sets that stand in for the paper's, by the key that chooses them."""
    found = {}
    for key, expected in _EXPECTED.items():
        section, name = key.split(".")
        chosen = getattr(getattr(config, section), name)
        if chosen != expected:
            found[key] = f"{chosen} for {expected}"
    if "disfa" in config.methods and config.disfa.dataset != "disfa":
        found["disfa.dataset"] = f"{config.disfa.dataset} for disfa"
    return found


def log_training(log: logging.Logger, name: str, result: dict[str, Any]) -> None:
    """Says what one training did: digests, losses, what moved, what stayed, and its scores."""
    report, scores = result["report"], result["scores"]
    log.info("%s [%s] took %s", TRAININGS[name].title, result["digest"], result["consumed"] or "-")
    log.info(
        "  loss %.4f -> %.4f in %d steps, %.0f s (first step %.0f s), %.0f images/s, %d skipped",
        report["loss_start"], report["loss_end"], report["steps"], report["seconds"],
        report["first_step_seconds"], report["images_per_second"], report["skipped"],
    )  # fmt: skip
    moved = ", ".join(
        f"{part} {row['moved']}/{row['leaves']}" for part, row in report["trained"].items()
    )
    log.info("  leaves moved: %s; frozen bitwise unchanged: %s", moved, report["frozen_unchanged"])
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
    if "maps_moved" in scores:
        log.info("  soft maps moved by %.4f on average", scores["maps_moved"]["mean_abs"])
    counts = {key: value for key, value in report.get("totals", {}).items() if value}
    if counts:
        log.info("  %s", ", ".join(f"{key} {value:g}" for key, value in counts.items()))


def print_results(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Prints the tables of a run, and where its files are."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    rows = {m: results["trainings"][METHODS[m][-1]] for m in results["rows"]}
    rows = {m: row for m, row in rows.items() if "aus" in row["scores"]}
    for aus in dict.fromkeys(tuple(row["scores"]["aus"]) for row in rows.values()):
        same = {m: row for m, row in rows.items() if tuple(row["scores"]["aus"]) == aus}
        for against in ("published", "true"):
            chosen = {m: r["scores"] for m, r in same.items() if against in r["scores"]}
            if chosen:
                console.print(_f1_table(results, against, aus, chosen))
    if results["stand_ins"]:
        console.print("stand-ins: " + "; ".join(results["stand_ins"].values()))
    console.print(f"results: {folder / 'results.json'}  ({results['seconds']:.0f} s)")
    if "picture" in results:
        console.print(f"picture: {results['picture']}")


def _f1_table(
    results: dict[str, Any], against: str, aus: tuple[int, ...], rows: dict[str, Any]
) -> Table:
    mark = " (stand-in data)" if results["stand_ins"] else ""
    table = Table(title=f"{results['config']}: F1 (%) on unseen people, {against} labels{mark}")
    table.add_column("method", no_wrap=True)
    for heading in (*(f"AU{au}" for au in aus), "mean", "identity probe", "parameters"):
        table.add_column(heading, justify="right", no_wrap=True)
    first = next(iter(rows.values()))[against]
    cells = [f"{value:.1f}" for value in (*first["always_yes"], first["mean_always_yes"])]
    table.add_row("always yes", *cells, "", "")
    for method, scores in rows.items():
        own = scores[against]
        probe = scores.get("identity_probe")
        told = f"{probe['accuracy']:.3f} (chance {probe['chance']:.3f})" if probe else ""
        cells = [f"{value:.1f}" for value in (*own["f1"], own["mean_f1"])]
        title = TRAININGS[METHODS[method][-1]].title
        table.add_row(title, *cells, told, f"{scores['parameters']:,}")
    return table
