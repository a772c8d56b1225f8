"""Runs the trainings of a configuration: skips what is exported, goes on where one stopped, scores, reports."""

import dataclasses
import functools
import importlib.util
import json
import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any

from data_builders.prepare import UsageError, prepare
from data_builders.target_files import TargetError
from experiments import (
    checks,
    figure1,
    frame_table,
    gaps,
    lacks,
    pointing,
    report,
    run_folder,
    scoring,
)
from experiments.catalog import Catalog
from experiments.config import ConfigError, ExperimentConfig
from experiments.data_slices import DataSlice
from experiments.datasets import DataSets
from experiments.fitting import Fitting
from experiments.job import Job
from experiments.mistakes import USER_ERRORS
from experiments.process import run_json, versions
from experiments.trainings import METHODS, TRAININGS, ordered
from piapdf_jax import paths, process_memory
from piapdf_jax.runtime import exports, hosts, loop, mesh
from piapdf_jax.runtime.filesystem import check_encoding, check_folder
from piapdf_jax.stages.base import Stage
from piapdf_jax.types import Parts

log = logging.getLogger("piapdf")


class Pipeline:
    """One run.

    Args:
        config: the experiment.
        data_dir: where data sets lie.
        runs_dir: RUNS; holds ``exports/`` and one folder a run.
        name: of the run; its folder is ``RUNS/<name>/fold<k>_seed<s>/``.
        stages: train only these; () for all.
        profile: steps of each training to profile.
        accept_stale: trainings whose newest export is taken where settings and data agree and
            sources do not.
        plugins: modules that reader processes import before they read.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        *,
        data_dir: str,
        runs_dir: str,
        name: str,
        stages: tuple[str, ...] = (),
        profile: int = 0,
        accept_stale: tuple[str, ...] = (),
        plugins: tuple[str, ...] = (),
    ) -> None:
        for flag, names in (("stage", stages), ("training in --accept_stale:", accept_stale)):
            unknown = [name for name in names if name not in TRAININGS]
            if unknown:
                known = ", ".join(TRAININGS)
                raise ConfigError(f"unknown {flag} {unknown[0]!r}; there are {known}")
        self.config = config
        self.runs = paths.target_folder(runs_dir, "--runs_dir").resolve()
        self.folder = run_folder.run_folder(self.runs, name, config)
        check_folder(self.folder)
        check_encoding(data_dir, "--data_dir")
        self.datasets = DataSets(config, data_dir, self._prepare)
        self.plugins = plugins
        self.catalog = Catalog(config, self.datasets, self.runs, accept_stale)
        self.job, self.fingerprint = self.catalog.job, self.catalog.fingerprint
        self.digest, self.exported = self.catalog.digest, self.catalog.exported
        self.stages = stages or ordered(config.methods, self.job)
        unasked = sorted(set(self.stages) - set(ordered(config.methods, self.job)))
        if unasked:
            asked = ",".join(config.methods)
            raise ConfigError(f"--stages={unasked[0]}: no method in methods={asked} trains it")
        self.mesh = mesh.data_mesh()
        self.loop_config = loop.LoopConfig(
            **dataclasses.asdict(config.run),
            profile_steps=profile,
            tensorboard=importlib.util.find_spec("tensorboardX") is not None,
        )

    @functools.cached_property
    def fitting(self) -> Fitting:
        """What makes the exports."""
        return Fitting(
            catalog=self.catalog,
            folder=self.folder,
            loop_config=self.loop_config,
            mesh=self.mesh,
            tools=self._tools,
            write=self._write,
            plugins=self.plugins,
        )

    @functools.cached_property
    def wanted(self) -> list[str]:
        """The trainings of this command in order, checked when first asked for.

        Raises:
            one of USER_ERRORS: for what is missing or does not go together.
        """
        wanted = [name for name in ordered(self.config.methods, self.job) if name in self.stages]
        self._check(wanted)
        return wanted

    def run(
        self, *, trained: Callable[[str, dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Trains, scores and writes ``results.json`` and the picture.

        Args:
            trained: takes each training's name and what ``export.json`` says, and is who prints the
                tables; None to print them here.

        Returns:
            What ``results.json`` holds.
        """
        began = time.monotonic()
        wanted = self.wanted
        self._write("config.json", run_json(self.config))
        self._write("versions.json", json.dumps(versions(), indent=2))
        used = set().union(*map(self.catalog.rests_on, wanted))
        unused = sorted(set(self.catalog.accept_stale) - used)
        if unused:
            log.warning("--accept_stale names %s, which nothing in this run depends on", unused[0])
        if not self.loop_config.tensorboard:
            log.info("tensorboardX is not installed: metrics go to metrics.jsonl alone")
        results: dict[str, Any] = {"trainings": {}}
        for name in wanted:
            info = self.fitting.train(name)
            if trained is not None:
                trained(name, info)
            results["trainings"][name] = {**info, "scores": self._score(name)}
            report.log_training(log, name, results["trainings"][name])
            process_memory.keep_few_mappings()
        if {"pi1", "pi2"} <= set(wanted):
            hosts.run_on_primary("picture", lambda: results.update(self._picture()))
        results = self._whole(results)
        results["seconds"] = round(time.monotonic() - began, 1)
        self._write(run_folder.RESULTS, json.dumps(results, indent=1, allow_nan=False))
        if hosts.primary() and trained is None:
            report.print_results(results, self.folder)
        return results

    def _whole(self, results: dict[str, Any]) -> dict[str, Any]:
        """The results of this command and of those before it, and what they rest on."""
        scored = results["trainings"]
        head = {"config": self.config.name, "versions": versions()}
        head["truth"] = self.config.eval.truth
        rows = [m for m in self.config.methods if METHODS[m][-1] in scored]
        results = head | results | {"rows": rows}
        if hosts.primary():
            results = run_folder.with_earlier(
                results, self.folder, self._digest_now, self.config.methods
            )
        jobs = [self.job(name) for name in results["trainings"]]
        results["stand_ins"] = report.stand_ins(self.config, jobs)
        results["feedback"] = report.feedback(self.config, jobs)
        results["stale"] = self.catalog.stale_rows(results["rows"])
        return gaps.plain(results)

    def _digest_now(self, name: str) -> str | None:
        """The digest of a training that an earlier command scored; None where it cannot be told."""
        try:
            return self.digest(name)
        except (*USER_ERRORS, ValueError):
            return None

    def _prepare(self, dataset: str) -> None:
        """Makes a data set that needs no original files, on one host."""

        def make() -> None:
            try:
                prepare(dataset, data_dir=self.datasets.data_dir)
            except (UsageError, TargetError) as error:
                raise ConfigError(str(error)) from error

        hosts.run_on_primary("data set", make)

    def _write(self, name: str, text: str) -> None:
        """Writes a file of the run folder, on one host."""
        if hosts.primary():
            run_folder.write(self.folder / name, text)

    def _check(self, wanted: list[str]) -> None:
        """Finds what is missing before hours go into the first training, and tells what a fold lacks."""
        to_train, look = [], lacks.Lacks(self._truth)
        checks.before_data(map(self.job, wanted), self.mesh.size, self.runs / "exports")
        for name in wanted:
            job, digest = self.job(name), self.digest(name)
            self._truth(job)
            if exports.find_export(self.runs, name, digest) is None:
                to_train.append(job)
                checks.records(job)
                for other in job.depends_on:
                    if other not in wanted:
                        self.exported(other)
        checks.divide(to_train, self.mesh.size)
        checks.encoders(to_train)
        for job in to_train:
            look.check(job)
        for line in look.lines([self.job(name) for name in wanted]):
            if hosts.primary():
                log.warning("%s", line)

    def _tools(self, job: Job) -> scoring.Tools:
        return scoring.Tools(
            job.reading(training=False, devices=self.mesh.size),
            self.mesh,
            self._truth(job),
            self._finished,
            model=lambda: self.catalog.described(job.name),
            beside=lambda: self.catalog.beside(job.name),
            keep=lambda frames: self._keep(job, frames),
        )

    def _keep(self, job: Job, frames: dict[str, Any]) -> None:
        """Writes what an export said of each test frame, on one host."""
        test = job.slices.test
        assert test is not None
        if hosts.primary():
            name, digest = job.name, self.digest(job.name)
            table = frame_table.FrameTable(
                training=name,
                digest=digest,
                fold=self.config.fold,
                seed=self.config.seed,
                dataset=test.dataset,
                data=self.catalog.data_digest(test, self._truth(job)),
                **frames,
            )
            frame_table.write(self.folder / name / digest / frame_table.FILE_NAME, table)

    def _score(self, name: str) -> dict[str, Any]:
        """The scores of an export on unseen people, with the reasons of those that cannot be made."""
        job, lost = self.job(name), {}
        scores = {"aus": list(job.units)} if job.training.feed.labels else {}
        if job.slices.test is None:
            lost["scores"] = lacks.no_scores(job)
        else:
            exported, tools = self.exported(name), self._tools(job)
            scores = gaps.attempt(
                lost,
                "scores",
                lambda: dict(job.training.score(job, exported, tools)),
                otherwise=scores,
                expected=USER_ERRORS,
                together=True,
            )
            place = self.folder / name / self.digest(name)
            points = functools.partial(
                pointing.attempted, lost, job, exported, self._truth_of, place
            )
            hosts.run_on_primary("pointing", lambda: scores.update(points(USER_ERRORS)))
        return gaps.with_gaps(gaps.plain(scores), lost)

    def _truth(self, job: Job) -> pathlib.Path | None:
        """The table of true labels: named by the configuration, or that of a synthetic data set."""
        test = job.slices.test
        return self._truth_of(test, bool(job.training.feed.labels)) if test is not None else None

    def _truth_of(self, test: DataSlice, needed: bool) -> pathlib.Path | None:
        dataset = test.dataset
        if self.config.eval.truth and dataset == self.config.data.dataset:
            return paths.local_file(self.config.eval.truth, "eval.truth")
        if dataset.startswith("synthetic_faces/"):
            from data_builders.synthetic_faces import truth_path

            path = truth_path(self.datasets.data_dir, dataset.split("/")[1])
            if needed and not path.exists():
                raise FileNotFoundError(
                    f"{path}, the true labels of {dataset!r}, does not exist: delete the data set's"
                    " folder, and it is drawn again"
                )
            return path
        return None

    def _picture(self) -> dict[str, Any]:
        """Draws the PI maps and figure 1; returns where, or why not."""
        expected = (*USER_ERRORS, OSError, gaps.Gap)
        return figure1.drawn(self.folder, self.job("pi2"), self._finished, expected)

    def _finished(self, name: str) -> tuple[Stage, Parts]:
        return self.job(name).stage, self.exported(name)
