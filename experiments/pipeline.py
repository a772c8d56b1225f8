"""Runs the trainings of a configuration: skips what is exported, goes on where one stopped, scores, reports."""

import dataclasses
import functools
import importlib.util
import json
import logging
import pathlib
import shutil
import time
from typing import Any

import jax
import numpy as np

from data_builders.disk import TargetError
from data_builders.prepare import UsageError, prepare
from experiments import pictures, report, scoring
from experiments.catalog import Catalog
from experiments.config import ConfigError, ExperimentConfig
from experiments.datasets import DataSets
from experiments.job import Job
from experiments.process import config_json, versions
from experiments.trainings import METHODS, TRAININGS, ordered
from piapdf_jax import paths
from piapdf_jax.data.prefetch import ReaderDied, auto_workers, prefetch
from piapdf_jax.data.source import CorruptShard, MissingDataset
from piapdf_jax.data.streams import Stream
from piapdf_jax.keys import named_key
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.runtime import exports, hosts, loop, mesh
from piapdf_jax.runtime.best import Validation
from piapdf_jax.runtime.checkpoints import differences
from piapdf_jax.runtime.disk import DiskError
from piapdf_jax.runtime.skips import NotFinite

USER_ERRORS = (
    ConfigError,
    WeightsError,
    MissingDataset,
    CorruptShard,
    DiskError,
    NotFinite,
    exports.ExportError,
    ReaderDied,
    FileNotFoundError,
    PermissionError,
    paths.PathError,
)
log = logging.getLogger("piapdf")


class Pipeline:
    """One run.

    Args:
        config: the experiment.
        data_dir: where data sets lie.
        runs_dir: RUNS; holds ``exports/`` and one folder a run.
        name: of the run folder.
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
        self.folder = self.runs / name
        self.datasets = DataSets(config, data_dir, self._prepare)
        self.plugins = plugins
        self.catalog = Catalog(config, self.datasets, self.runs, accept_stale)
        self.job, self.fingerprint = self.catalog.job, self.catalog.fingerprint
        self.digest, self.exported = self.catalog.digest, self.catalog.exported
        self.stages = stages or ordered(config.methods)
        unasked = sorted(set(self.stages) - set(ordered(config.methods)))
        if unasked:
            raise ConfigError(f"--stages={unasked[0]}: no method of {config.methods} trains that")
        self.mesh = mesh.data_mesh()
        self.running = loop.Running(
            log_every=config.run.log_every,
            checkpoint_every=config.run.checkpoint_every,
            max_skipped=config.run.max_skipped,
            profile_steps=profile,
            tensorboard=importlib.util.find_spec("tensorboardX") is not None,
        )

    def run(self) -> dict[str, Any]:
        """Trains, scores and writes ``results.json`` and the picture.

        Returns:
            What ``results.json`` holds.
        """
        began = time.monotonic()
        self._write("config.json", config_json(self.config))
        self._write("versions.json", json.dumps(versions(), indent=2))
        wanted = [name for name in ordered(self.config.methods) if name in self.stages]
        self._check(wanted)
        used = set().union(*map(self.catalog.rests_on, wanted))
        unused = sorted(set(self.catalog.accept_stale) - used)
        if unused:
            log.warning("--accept_stale names %s, on which nothing of this run rests", unused[0])
        if not self.running.tensorboard:
            log.info("tensorboardX is not installed: metrics go to metrics.jsonl alone")
        results: dict[str, Any] = {
            "config": self.config.name,
            "versions": versions(),
            "stand_ins": report.stand_ins(self.config, [self.job(name) for name in wanted]),
            "trainings": {},
        }
        for name in wanted:
            info = self._train(name)
            results["trainings"][name] = {**info, "scores": self._score(name)}
            report.log_training(log, name, results["trainings"][name])
        results["rows"] = [m for m in self.config.methods if METHODS[m][-1] in wanted]
        results["stale"] = self.catalog.stale_rows(results["rows"])
        if {"pi1", "pi2"} <= set(wanted):
            results["picture"] = str(self.folder / "pi_maps.png")
            hosts.first("picture", self._picture)
        results["seconds"] = round(time.monotonic() - began, 1)
        self._write("results.json", json.dumps(results, indent=1))
        if hosts.primary():
            report.print_results(results, self.folder)
        return results

    def _prepare(self, dataset: str) -> None:
        """Makes a data set that needs no original files, on one host."""

        def make() -> None:
            try:
                prepare(dataset, data_dir=self.datasets.data_dir)
            except (UsageError, TargetError) as error:
                raise ConfigError(str(error)) from error

        hosts.first("data set", make)

    def _write(self, name: str, text: str) -> None:
        """Writes a file of the run folder, on one host."""
        if hosts.primary():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _check(self, wanted: list[str]) -> None:
        """Finds what is missing before hours go into the first training."""
        for name in wanted:
            job, digest = self.job(name), self.digest(name)
            self._truth(job)
            if exports.find_export(self.runs, name, digest) is None:
                for other in job.depends_on:
                    if other not in wanted:
                        self.exported(other)

    def _train(self, name: str) -> dict[str, Any]:
        job, digest = self.job(name), self.digest(name)
        folder = self.folder / name / digest
        path = exports.find_export(self.runs, name, digest)
        if path is None:
            path = self._fit(job, digest, folder)
        else:
            log.info("%s: export %s is there, not trained again", TRAININGS[name].title, digest)
        told = json.loads((path / "export.json").read_text("utf-8"))
        stale = {"stale": self.catalog.stale[name]} if name in self.catalog.stale else {}
        self._write(f"{name}/{digest}/export.json", json.dumps(told | stale, indent=1))
        return self.catalog.read(name, path)

    def _fit(self, job: Job, digest: str, folder: pathlib.Path) -> pathlib.Path:
        """Trains, and writes the export; returns its folder."""
        name, consumed = job.name, self.fingerprint(job.name)["takes"]
        self._tell_of_others(name, folder)
        decided = json.dumps(self.fingerprint(name), indent=1)
        self._write(f"{name}/{digest}/fingerprint.json", decided)
        log.info("%s: training, digest %s", TRAININGS[name].title, digest)
        batches = job.stream()
        read = functools.partial(
            prefetch, batches, workers=self._workers(batches), modules=self.plugins
        )
        fitted = loop.fit(
            job.stage,
            read,
            name=name,
            steps=job.section.steps,
            key=named_key(jax.random.key(job.seed), name),
            inputs={other: self.exported(other) for other in job.depends_on},
            folder=folder,
            batch_size=job.section.batch_size,
            config=self.fingerprint(name),
            running=self.running,
            mesh=self.mesh,
            frames=batches.frames,
            validation=self._validation(job),
        )
        info = {"digest": digest, "consumed": consumed, "report": fitted.report}
        slices = job.slices
        info["data"] = [str(part) for part in (slices.train, *(pool for pool, _ in slices.pools))]
        # A stage of a plugin may have networks of its own, and the file of weights is not asked for.
        info["weights"] = self.catalog.model.pretrained if hasattr(job.stage, "model") else "none"
        info["fingerprint"] = self.fingerprint(name)
        path = exports.write_export(self.runs, name, digest, job.stage.export(fitted.state), info)
        hosts.first("checkpoints", lambda: _forget(folder))
        return path

    def _workers(self, batches: Stream) -> int:
        """How many processes read; a line says where ``auto`` takes fewer than the cores allow."""
        if self.config.data.workers != "auto":
            return int(self.config.data.workers)
        workers, reason = auto_workers(
            lambda: sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(batches(0)))
        )
        if reason:
            log.warning("%s", reason)
        return workers

    def _validation(self, job: Job) -> Validation | None:
        if job.slices.validation is None:
            return None
        return job.validation(scoring.mean_f1(job, self._tools(job)))

    def _tools(self, job: Job) -> scoring.Tools:
        return scoring.Tools(
            job.reading(training=False, devices=self.mesh.size),
            self.mesh,
            self._truth(job),
            lambda name: (self.job(name).stage, self.exported(name)),
        )

    def _tell_of_others(self, name: str, folder: pathlib.Path) -> None:
        """Says why checkpoints of a training that stopped under another configuration are not taken."""
        here = json.loads(json.dumps(self.fingerprint(name)))
        for other in folder.parent.glob("*/fingerprint.json"):
            steps = [path.name for path in other.parent.glob("checkpoints/[0-9]*")]
            if other.parent == folder or not steps:
                continue
            found = differences(json.loads(other.read_text("utf-8")), here)
            log.warning(
                "%s: checkpoints in %s belong to another configuration and are not taken: %s",
                *(name, other.parent, "; ".join(found)),
            )

    def _score(self, name: str) -> dict[str, Any]:
        job = self.job(name)
        return job.training.score(job, self.exported(name), self._tools(job))

    def _truth(self, job: Job) -> pathlib.Path | None:
        """The table of true labels: named by the configuration, or that of a synthetic data set."""
        dataset = job.slices.test.dataset
        if self.config.eval.truth and dataset == self.config.data.dataset:
            return paths.local_file(self.config.eval.truth, "eval.truth")
        if dataset.startswith("synthetic_faces/"):
            from data_builders.synthetic_faces import truth_path

            path = truth_path(self.datasets.data_dir, dataset.split("/")[1])
            if job.training.feed.labels and not path.exists():
                raise FileNotFoundError(
                    f"{path}, the true labels of {dataset!r}, is not there: delete the data set's"
                    " folder, and it is drawn again"
                )
            return path
        return None

    def _picture(self) -> None:
        generators = {
            "PI Generator 0": (self.job("pi1").stage, self.exported("pi1")),
            "PI Generator 1": (self.job("pi2").stage, self.exported("pi2")),
        }
        reading = dataclasses.replace(self.job("pi2").reading(training=False), host=0, hosts=1)
        path = self.folder / "pi_maps.png"
        pictures.pi_maps(path, self.job("pi2").slices.test.records(), reading, generators)


def _forget(folder: pathlib.Path) -> None:
    """Deletes the states of a training that is exported."""
    for name in ("checkpoints", "best"):
        shutil.rmtree(folder / name, ignore_errors=True)
