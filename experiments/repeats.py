"""Folds and seeds in one command: every pair is checked before the first one trains, then they run in order."""

import contextlib
import dataclasses
import itertools
import logging
import math
import statistics
from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments.config import ExperimentConfig
from experiments.pipeline import Pipeline
from experiments.report import mark_of_feedback, shown
from experiments.trainings import METHODS, TRAININGS
from piapdf_jax import commands
from piapdf_jax.runtime import exports, hosts
from piapdf_jax.runtime.writers import WholeCommand, format_duration, part_of

log = logging.getLogger("piapdf")


def singles(config: ExperimentConfig) -> list[ExperimentConfig]:
    """Returns the experiments that a configuration stands for, alike but for ``fold`` and ``seed``.

    The order is the same on every host: seeds outside, folds inside, as they were given.
    """
    pairs = itertools.product(config.seeds or (config.seed,), config.folds or (config.fold,))
    return [
        dataclasses.replace(config, fold=fold, seed=seed, folds=(), seeds=())
        for seed, fold in pairs
    ]


def run(config: ExperimentConfig, **options: Any) -> list[dict[str, Any]]:
    """Runs every fold and seed of a configuration.

    Args:
        config: the experiment.
        options: of each ``Pipeline``.

    Returns:
        What each ``results.json`` holds, in order.

    Raises:
        one of ``pipeline.USER_ERRORS``: for a mistake in any fold or seed, before the first one trains.
    """
    alone = singles(config)
    if len(alone) == 1:
        return [Pipeline(alone[0], **options).run()]
    pipelines = []
    for single in alone:
        pipelines.append(Pipeline(single, **options))
        with _named(single):
            pipelines[-1].wanted  # noqa: B018 - checks
    timing, found = Timing(), []
    for pipeline in pipelines:
        timing.expect(pipeline)
    for number, single in enumerate(alone, start=1):
        # What it has read and made goes with it.
        pipeline = pipelines.pop(0)
        log.info("run %d of %d: %s", number, len(alone), _title(single))
        with part_of(timing.command(pipeline)):
            found.append(pipeline.run(trained=timing.trainer(pipeline)))
        log.info("results: %s", pipeline.folder / "results.json")
    if hosts.primary():
        print_summary(config.name, alone, found)
        base = pipeline.folder.parent
        told = commands.python("experiments.tables", str(base), f"--out={base / 'report'}")
        print(f"results: {base}/fold*_seed*/results.json")
        print(f"tables with intervals over people: {told}")
    return found


def _title(config: ExperimentConfig) -> str:
    return f"fold {config.fold}, seed {config.seed}"


@contextlib.contextmanager
def _named(config: ExperimentConfig) -> Iterator[None]:
    """Lets every line that is logged inside say which run it is about."""

    def name(record: logging.LogRecord) -> bool:
        record.msg = f"{_title(config)}: {record.msg}"
        return True

    log.addFilter(name)
    try:
        yield
    finally:
        log.removeFilter(name)


class Timing:
    """What a command has still to train, and how long that takes by what it has trained so far."""

    def __init__(self) -> None:
        # digest -> (training, images that it reads)
        self._waiting: dict[str, tuple[str, float]] = {}
        # training -> seconds, images
        self._measured: dict[str, tuple[float, float]] = {}

    def expect(self, pipeline: Pipeline) -> None:
        """Notes the trainings of a run that have no export; those that runs share count once."""
        for name in pipeline.wanted:
            digest = pipeline.digest(name)
            if exports.find_export(pipeline.runs, name, digest) is None:
                section = pipeline.job(name).section
                images = section.total_steps * section.batch_size * section.accumulate
                self._waiting[digest] = name, float(images)

    def done(self, digest: str, seconds: float) -> None:
        """Notes that a training is done; one that was exported before the command says nothing of time."""
        if digest in self._waiting:
            name, images = self._waiting.pop(digest)
            before = self._measured.get(name, (0.0, 0.0))
            self._measured[name] = before[0] + seconds, before[1] + images

    def left(self, current: str, own: float | None) -> float | None:
        """Returns the seconds left of the command.

        Args:
            current: digest of what trains now, "" for something else.
            own: seconds that it still takes; None for unknown.

        Returns:
            That and the trainings that wait: images to read by seconds an image of the same training,
            or else of all so far. None where nothing was measured that tells it.
        """
        rest = [told for digest, told in self._waiting.items() if digest != current]
        times = [self._seconds(name, images) for name, images in rest]
        if (current in self._waiting and own is None) or any(time is None for time in times):
            return None
        return (own or 0.0) + math.fsum(time for time in times if time is not None)

    def _seconds(self, name: str, images: float) -> float | None:
        told = [self._measured[name]] if name in self._measured else [*self._measured.values()]
        read = sum(images for _, images in told)
        return images * sum(seconds for seconds, _ in told) / read if read else None

    def command(self, pipeline: Pipeline) -> WholeCommand:
        """Returns what the passes of a run are told of the whole command."""

        def title(name: str) -> str:
            told = TRAININGS[name].title if name in TRAININGS else name
            return f"{_title(pipeline.config)}, {told}"

        def left(name: str, own: float | None) -> float | None:
            return self.left(pipeline.digest(name) if name in TRAININGS else "", own)

        return WholeCommand(title, left)

    def trainer(self, pipeline: Pipeline) -> Any:
        """Returns what a run tells of each training that it has made or found."""

        def trained(name: str, info: dict[str, Any]) -> None:
            self.done(pipeline.digest(name), info["report"]["seconds"])
            log.info("%s left of the whole command", format_duration(self.left("", None)))

        return trained


def summary(
    runs: list[ExperimentConfig],
    results: list[dict[str, Any]],
    against: str,
    score: str = "mean_f1",
) -> dict[str, dict[int | None, float | None]]:
    """Returns a score by method and fold, averaged over seeds; under None the mean over folds.

    Args:
        runs: their configurations.
        results: of each, as ``results.json`` holds them.
        against: ``published`` or ``true`` labels.
        score: key of the scores against them.

    Returns:
        Scores; None where a seed or a fold of the command has none. Methods without any are left out.
    """
    found: dict[str, dict[int | None, float | None]] = {}
    for method in METHODS:
        by_fold: dict[int | None, list[float | None]] = {}
        for config, told in zip(runs, results, strict=True):
            training = (
                told["trainings"].get(METHODS[method][-1], {}) if method in told["rows"] else {}
            )
            value = training.get("scores", {}).get(against, {}).get(score)
            by_fold.setdefault(config.fold, []).append(value)
        means = {fold: _mean(values) for fold, values in by_fold.items()}
        if any(value is not None for values in by_fold.values() for value in values):
            found[method] = {**means, None: _mean(list(means.values()))}
    return found


def spread(
    runs: list[ExperimentConfig], results: list[dict[str, Any]], against: str, method: str
) -> float | None:
    """Computes the standard deviation over seeds (n - 1) of a method's mean F1 over folds; None for fewer than two."""
    means = []
    for seed in dict.fromkeys(run.seed for run in runs):
        own = [k for k, run in enumerate(runs) if run.seed == seed]
        told = summary([runs[k] for k in own], [results[k] for k in own], against)
        means.append(told.get(method, {}).get(None))
    known = [mean for mean in means if mean is not None]
    return statistics.stdev(known) if len(known) == len(means) > 1 else None


def _mean(values: list[float | None]) -> float | None:
    """The mean; None where one is missing, because a mean over other folds is another number."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def print_summary(name: str, runs: list[ExperimentConfig], results: list[dict[str, Any]]) -> None:
    """Prints the mean F1 of each method, over folds and in each, against published and true labels."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    stand_ins = list(dict.fromkeys(s for told in results for s in told["stand_ins"].values()))
    stale = {row for told in results for found in told["stale"].values() for row in found["rows"]}
    seeds = list(dict.fromkeys(run.seed for run in runs))
    over = f"mean of seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    mark = mark_of_feedback(next((told.get("feedback", "") for told in results), ""))
    mark += " (stand-in data, see below)" if stand_ins else ""
    for against in ("published", "true"):
        if summary(runs, results, against):
            title = f"{name}: mean F1 (%) on unseen people, {over}, {against} labels{mark}"
            # No title of the table, which would break at its width.
            console.print(title, markup=False, highlight=False, soft_wrap=True)
            console.print(_summary_table(runs, results, against, stale))
    if stand_ins:
        console.print("stand-ins: " + "; ".join(stand_ins), markup=False)
    if stale:
        console.print("* rests on a stale export (--accept_stale)")


def _summary_table(
    runs: list[ExperimentConfig], results: list[dict[str, Any]], against: str, stale: set[str]
) -> Table:
    """A row a method: F1 of each fold and their mean, how far seeds spread where there are several, and ROC AUC."""
    folds = list(dict.fromkeys(run.fold for run in runs))
    several = ("sd over seeds",) if len({run.seed for run in runs}) > 1 else ()
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("method", no_wrap=True)
    for heading in (*(f"fold {fold}" for fold in folds), "mean", *several, "ROC AUC"):
        table.add_column(heading, justify="right", no_wrap=True)
    auc = summary(runs, results, against, "mean_roc_auc")
    for method, told in summary(runs, results, against).items():
        title = TRAININGS[METHODS[method][-1]].title + " *" * (method in stale)
        means = [shown(told[fold], "{:.1f}") for fold in (*folds, None)]
        means += [shown(spread(runs, results, against, method), "{:.1f}") for _ in several]
        table.add_row(title, *means, shown(auc.get(method, {}).get(None), "{:.3f}"))
    return table
