"""Runs one training of a configuration if its export does not exist, resuming where it stopped."""

import dataclasses
import functools
import json
import logging
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from experiments import scoring
from experiments.catalog import Catalog
from experiments.job import Job
from experiments.model_json import model_files
from experiments.trainings import TRAININGS
from piapdf_jax.data.prefetch import auto_workers, prefetch
from piapdf_jax.data.streams import Stream
from piapdf_jax.keys import named_key
from piapdf_jax.runtime import exports, hosts, lock, loop
from piapdf_jax.runtime.checkpoints import Validation
from piapdf_jax.runtime.digests import differences

log = logging.getLogger("piapdf")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitting:
    """Makes the exports of a run.

    Attributes:
        catalog: every training of the configuration.
        folder: of the run.
        loop_config: how trainings run.
        mesh: devices.
        tools: of a training's scores.
        write: takes a file's name in the run folder and its text.
        plugins: modules that reader processes import before they read.
    """

    catalog: Catalog
    folder: pathlib.Path
    loop_config: loop.LoopConfig
    mesh: Mesh
    tools: Callable[[Job], scoring.Tools]
    write: Callable[[str, str], None]
    plugins: tuple[str, ...] = ()

    def train(self, name: str) -> dict[str, Any]:
        """Makes a training's export unless it exists; returns its ``export.json``."""
        catalog, digest = self.catalog, self.catalog.digest(name)
        title, path = TRAININGS[name].title, exports.export_folder(catalog.runs, name, digest)
        alone = lock.Lock(
            exports.lock_path(catalog.runs, name, digest), training=title, run=str(self.folder)
        )
        with alone:
            if alone.acquire(lambda: exports.find_export(catalog.runs, name, digest) is not None):
                self._fit(catalog.job(name), digest, alone.check)
            else:
                log.info("%s: export %s exists, not trained again", title, digest)
        told = exports.read_info(path)
        stale = {"stale": catalog.stale[name]} if name in catalog.stale else {}
        self.write(f"{name}/{digest}/export.json", json.dumps(told | stale, indent=1))
        return catalog.read(name, path)

    def _fit(self, job: Job, digest: str, check: Callable[[], None]) -> None:
        """Trains, and writes the export."""
        name, fingerprint = job.name, self.catalog.fingerprint(job.name)
        folder = self.folder / name / digest
        self._warn_stale_checkpoints(name, folder)
        self.write(f"{name}/{digest}/fingerprint.json", json.dumps(fingerprint, indent=1))
        log.info("%s: training, digest %s", TRAININGS[name].title, digest)
        batches = job.stream()
        read = functools.partial(
            prefetch, batches, workers=self._workers(batches), modules=self.plugins
        )
        fitted = loop.fit(
            job.stage,
            read,
            name=name,
            steps=job.section.total_steps,
            key=named_key(jax.random.key(job.seed), name),
            inputs={other: self.catalog.exported(other) for other in job.depends_on},
            folder=folder,
            batch_size=job.section.batch_size,
            config=fingerprint,
            loop_config=self.loop_config,
            mesh=self.mesh,
            frames=batches.frames,
            validation=self._validation(job),
            check=check,
        )
        info = self._info(job, digest, fitted.report)
        exported = job.stage.export(fitted.state)
        beside = getattr(job.stage, "export_for_scoring", lambda state: None)(fitted.state)
        files = model_files(self.catalog, job, exported, self.mesh)
        exports.write_export(
            self.catalog.runs,
            *(name, digest, exported, info),
            beside=beside,
            files=files,
            check=check,
        )
        check()
        hosts.run_on_primary("checkpoints", lambda: _forget(folder))

    def _info(self, job: Job, digest: str, report: dict[str, Any]) -> dict[str, Any]:
        """What ``export.json`` says of a training beside what its parts are."""
        fingerprint = self.catalog.fingerprint(job.name)
        # A stage of a plugin may have networks of its own, and the file of weights is not asked for.
        weights = self.catalog.model.pretrained if hasattr(job.stage, "model") else "none"
        return {
            "digest": digest,
            "consumed": fingerprint["takes"],
            "report": report,
            "data": [str(part) for part in job.slices.read],
            "weights": weights,
            "fingerprint": fingerprint,
        }

    def _workers(self, batches: Stream) -> int:
        """How many processes read; a line says where ``auto`` takes fewer than the cores allow."""
        wanted = self.catalog.config.data.workers
        if wanted != "auto":
            return int(wanted)
        workers, reason = auto_workers(
            lambda: sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(batches(0)))
        )
        if reason:
            log.warning("%s", reason)
        return workers

    def _validation(self, job: Job) -> Validation | None:
        if job.slices.validation is None:
            return None
        return job.validation(scoring.mean_f1(job, self.tools(job)))

    def _warn_stale_checkpoints(self, name: str, folder: pathlib.Path) -> None:
        """Says why checkpoints of a training that stopped under another configuration are not taken."""
        here = json.loads(json.dumps(self.catalog.fingerprint(name)))
        for other in folder.parent.glob("*/fingerprint.json"):
            steps = [path.name for path in other.parent.glob("checkpoints/[0-9]*")]
            if other.parent == folder or not steps:
                continue
            found = differences(json.loads(other.read_text("utf-8")), here)
            log.warning(
                "%s: checkpoints in %s belong to another configuration and are ignored: %s",
                *(name, other.parent, "; ".join(found)),
            )


def _forget(folder: pathlib.Path) -> None:
    """Deletes the states of a training that is exported."""
    for name in ("checkpoints", "best"):
        shutil.rmtree(folder / name, ignore_errors=True)
