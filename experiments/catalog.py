"""Trainings of a configuration and their exports: found by digest, or older ones on request."""

import functools
import hashlib
import logging
import pathlib
from typing import Any

from experiments.config import ConfigError, ExperimentConfig
from experiments.data_slices import DataSlice
from experiments.datasets import DataSets
from experiments.fingerprint import fingerprint
from experiments.job import Job
from experiments.trainings import METHODS, TRAININGS, ordered
from piapdf_jax.data import description
from piapdf_jax.model_json import FILE_NAME, Model, read_model
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.pretrained import resolve
from piapdf_jax.runtime import exports
from piapdf_jax.runtime.digests import digest_of
from piapdf_jax.types import Parts

log = logging.getLogger("piapdf")


class Catalog:
    """Trainings of a configuration, with their fingerprints and exports.

    Args:
        config: the experiment.
        datasets: its data sets.
        runs: folder of all runs; holds ``exports/``.
        accept_stale: trainings whose newest export is taken where settings and data agree and
            sources do not.

    Attributes:
        stale: exports taken so, by training: ``digest``, and the ``sources`` that differ.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        datasets: DataSets,
        runs: pathlib.Path,
        accept_stale: tuple[str, ...] = (),
    ) -> None:
        self.config, self.datasets, self.runs = config, datasets, runs
        self.accept_stale = accept_stale
        self.stale: dict[str, dict[str, Any]] = {}
        self._jobs: dict[str, Job] = {}
        self._fingerprints: dict[str, dict[str, Any]] = {}
        self._digests: dict[str, str] = {}
        self._exported: dict[str, Parts] = {}

    def job(self, name: str) -> Job:
        """Returns the job of a training, made once."""
        if name not in self._jobs:
            networks, described = (lambda: self.model), self.described
            self._jobs[name] = Job(TRAININGS[name], self.config, self.datasets, networks, described)
        return self._jobs[name]

    @functools.cached_property
    def model(self) -> ModelConfig:
        """Sizes of the networks, with the file of weights that encoders start from looked up and read.

        Raises:
            WeightsError: when that file is not there or not what it should be.
        """
        return resolve(self.config.model)

    def fingerprint(self, name: str) -> dict[str, Any]:
        """Returns all that decides a training's numbers."""
        if name not in self._fingerprints:
            job = self.job(name)
            taken = {other: self.digest(other) for other in job.depends_on}
            cache = self.runs / ".checksums.json"
            self._fingerprints[name] = fingerprint(job, taken, cache=cache)
        return self._fingerprints[name]

    def digest(self, name: str) -> str:
        """Returns the digest of the export to use for a training: its own, or an accepted stale one."""
        if name not in self._digests:
            digest = digest_of(self.fingerprint(name))
            if name in self.accept_stale and not exports.find_export(self.runs, name, digest):
                digest = self._accepted(name) or digest
            self._digests[name] = digest
        return self._digests[name]

    def _accepted(self, name: str) -> str | None:
        found = exports.find_stale(self.runs, name, self.fingerprint(name))
        if found is None:
            taken = self.fingerprint(name)["takes"]
            log.warning(
                "%s: --accept_stale finds no export with these settings, data%s",
                *(name, f" and of {', '.join(taken)} as they are now" if taken else ""),
            )
            return None
        digest, sources = found
        self.stale[name] = {"digest": digest, "sources": sources}
        told = ", ".join(sources[:4]) + (f" and {len(sources) - 4} more" if sources[4:] else "")
        log.warning("%s: stale export %s is used; sources that differ: %s", name, digest, told)
        return digest

    def stale_rows(self, rows: list[str]) -> dict[str, Any]:
        """Returns accepted stale exports, and the rows that rest on each."""
        rests_on = {row: self.rests_on(METHODS[row][-1]) for row in rows}
        return {
            name: {**told, "rows": [row for row in rows if name in rests_on[row]]}
            for name, told in self.stale.items()
        }

    def rests_on(self, name: str) -> set[str]:
        """Returns a training and all trainings whose exports it depends on, in order."""
        return {name}.union(*map(self.rests_on, self.job(name).depends_on))

    def exported(self, name: str) -> Parts:
        """Reads the parts of a finished training from disk.

        Raises:
            ConfigError: when it is not there, naming training and digest.
        """
        if name not in self._exported:
            path = exports.find_export(self.runs, name, self.digest(name))
            if path is None:
                asked = self.config.methods
                left_out = "--stages leaves it out: add it to --stages"
                if name not in ordered(asked, self.job):
                    left_out = f"no method in methods={','.join(asked)} trains it"
                raise ConfigError(
                    f"training {name!r} with digest {self.digest(name)} has no export in"
                    f" {self.runs / 'exports'} and {left_out}"
                )
            self._exported[name], _ = exports.read_export(path)
        return self._exported[name]

    def read(self, name: str, path: pathlib.Path) -> dict[str, Any]:
        """Reads a training's export, keeps its parts, and returns what ``export.json`` says."""
        self._exported[name], info = exports.read_export(path)
        return info

    def described(self, name: str) -> Model | None:
        """Reads the ``model.json`` of a training's export; None where it has none."""
        folder = exports.export_folder(self.runs, name, self.digest(name))
        return read_model(folder) if (folder / FILE_NAME).is_file() else None

    def beside(self, name: str) -> Parts:
        """Reads the parts that lie beside a training's export, which scores alone are made of."""
        return exports.read_beside(exports.export_folder(self.runs, name, self.digest(name)))

    def data_digest(self, part: DataSlice, truth: pathlib.Path | None) -> str:
        """Returns the digest of what exports are scored on: files of the data set, split, people, truth."""
        cache = self.runs / ".checksums.json"
        files = description.fingerprint(part.folder, cache=cache)
        labels = hashlib.sha256(truth.read_bytes()).hexdigest() if truth is not None else ""
        return digest_of([files, part.split, part.include, part.exclude, labels])
