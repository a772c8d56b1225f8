"""The only training loop: steps, metrics, checkpoints, a clean stop; knows no model and no loss."""

import contextlib
import dataclasses
import logging
import os
import pathlib
from collections.abc import Callable, Iterator

import jax
from jax.sharding import Mesh

from piapdf_jax.runtime.checkpoints import BestCheckpoint, Checkpoints, Validation
from piapdf_jax.runtime.hosts import as_host_lost, primary
from piapdf_jax.runtime.mesh import check_divides, data_mesh
from piapdf_jax.runtime.steps import (
    Frames,
    Interrupted,
    NonFiniteGuard,
    Profile,
    StepRunner,
    StopSignals,
)
from piapdf_jax.runtime.train_stats import Audit, TrainResult, TrainStats, count_skipped
from piapdf_jax.runtime.writers import MultiWriter, Progress, open_writers, read_jsonl
from piapdf_jax.stages.base import Stage
from piapdf_jax.types import JsonObject, Parts, PyTree

log = logging.getLogger("piapdf.loop")


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """Runtime options that do not affect results.

    Attributes:
        log_every: steps between two lines of metrics; the first and last step always have one.
        checkpoint_every: steps between two checkpoints; 0 for one at the end alone.
        max_skipped: more steps than this without a finite loss and gradient end the training.
        profile_steps: so many steps are profiled, once the first has compiled; 0 for none.
        tensorboard: also write TensorBoard files where tensorboardX is installed.
        audit: also report what moved, bitwise, at the price of a host copy of the start parameters.
    """

    log_every: int = 50
    checkpoint_every: int = 1000
    max_skipped: int = 20
    profile_steps: int = 0
    tensorboard: bool = True
    audit: bool = False


def fit(
    stage: Stage,
    stream: Callable[[int], Iterator[PyTree]],
    *,
    name: str,
    steps: int,
    key: jax.Array,
    inputs: dict[str, Parts],
    folder: str | os.PathLike[str],
    batch_size: int,
    config: JsonObject,
    loop_config: LoopConfig = LoopConfig(),
    mesh: Mesh | None = None,
    frames: Frames | None = None,
    validation: Validation | None = None,
    check: Callable[[], None] = lambda: None,
) -> TrainResult:
    """Trains a stage, or resumes it from its last checkpoint.

    Args:
        stage: what trains.
        stream: first step -> iterator of host batches, with ``close()``.
        name: of the training, for messages.
        steps: how many updates.
        key: typed key of the training; every step gets its own.
        inputs: exported parts by training name.
        folder: gets ``metrics.jsonl``, ``checkpoints/``, ``tensorboard/``, and ``profile/`` and
            ``not_finite/`` where there is cause.
        batch_size: of the global batch.
        config: all that decides the training's numbers, as JSON holds it; a checkpoint of another
            is refused.
        loop_config: how it runs.
        mesh: devices; None for the first of this host.
        frames: step -> names of its frames, for the message about numbers that are not finite.
        validation: how states are compared, where people are kept apart for that.
        check: called on every host before anything is written; raises where it may not be.

    Returns:
        The last state, or with a validation the best one, and a report.

    Raises:
        Interrupted: after SIGINT or SIGTERM, when the state is saved.
        NonFiniteError: when too many steps had to be skipped; the batch of the last one is saved.
        DiskError: when the disk refuses a checkpoint or a line of metrics.
        HostLost: when another host is gone.
        ValueError: where a checkpoint belongs to another configuration, or the batch does not
            divide over the devices.
    """
    devices = data_mesh(jax.local_devices()[:1]) if mesh is None else mesh
    check_divides(batch_size, devices.size)
    folder = pathlib.Path(folder)
    run = StepRunner(name, steps, stage, devices, key, TrainStats(batch_size, devices))
    run.start(inputs)
    audit = Audit(run.state, run.frozen) if loop_config.audit else None
    every = loop_config.checkpoint_every
    with (
        Checkpoints(folder / "checkpoints", every=every, config=config) as checkpoints,
        BestCheckpoint(folder / "best", config, validation) as best,
    ):
        loop = _TrainLoop(run, checkpoints, best, loop_config, folder, check)
        loop.restore()
        if run.step < steps:
            loop.train(stream, frames)
        loop.restore_best()
    report: JsonObject = {"steps": run.step, "best": best.to_json()}
    report |= run.stats.report(read_jsonl(folder / "metrics.jsonl"))
    if audit is not None:
        report |= audit.report(run.state, run.frozen)
    return TrainResult(run.state, run.frozen, report)


@dataclasses.dataclass
class _TrainLoop:
    """One training under way, between its steps: lines of metrics, checkpoints, the best state, a stop."""

    run: StepRunner
    checkpoints: Checkpoints
    best: BestCheckpoint
    config: LoopConfig
    folder: pathlib.Path
    check: Callable[[], None]

    def restore(self) -> None:
        """Restores the newest checkpoint, if there is one."""
        run, restored = self.run, self.checkpoints.restore_latest(self.run.state)
        if restored is not None:
            run.step, run.state = restored.step, restored.state
            run.stats.restore(restored.meta)
            self.best.restore(restored.meta["best"])
            log.info("%s: resumes from step %d of %d", run.name, run.step, run.steps)

    def restore_best(self) -> None:
        """Restores the best state in place of the last one, where there is a validation."""
        restored = self.best.restore_state(self.run.state)
        if restored is not None:
            self.run.state = restored.state

    def train(self, stream: Callable[[int], Iterator[PyTree]], frames: Frames | None) -> None:
        """Runs the steps to the end or a signal, and closes what they needed whatever happens."""
        run, config, folder, tells = self.run, self.config, self.folder, primary()
        run.guard = NonFiniteGuard(
            run.name, config.max_skipped, folder / "not_finite", stream, frames
        )
        run.guard.count = count_skipped(run.stats.totals.sums())
        with (
            contextlib.closing(
                open_writers(folder, step=run.step, primary=tells, tensorboard=config.tensorboard)
            ) as writer,
            Progress(run.name, run.step, run.steps, run.stats.batch_size, shown=tells) as progress,
            contextlib.closing(stream(run.step)) as batches,  # pyright: ignore[reportArgumentType]
            Profile(folder / "profile", config.profile_steps) as run.profile,
            StopSignals() as stop,
        ):
            try:
                while run.step < run.steps:
                    self._step(batches, writer, progress, stop)
            except jax.errors.JaxRuntimeError as error:
                raise as_host_lost(error) or error from error

    def _step(
        self, batches: Iterator[PyTree], writer: MultiWriter, progress: Progress, stop: StopSignals
    ) -> None:
        run, row = self.run, None
        metrics = run.advance(batches)
        ends = run.step in (1, run.steps)
        validated = self.best.due(run.step, run.steps)
        if validated or ends or run.step % max(1, self.config.log_every) == 0:
            row = run.stats.row(run.step, metrics)
            self.check()
            if validated:
                exported = run.stage.export(run.state)
                row["validation_f1"] = self.best.consider(run.step, run.state, exported)
            writer.write(run.step, row)
        progress.update(run.step, row)
        signum = stop.poll(row is not None)
        if signum or self.checkpoints.due(run.step) or run.step == run.steps:
            run.wait()
            self.check()
            writer.sync()
            meta = {**run.stats.to_json(run.step), "best": self.best.to_json()}
            self.checkpoints.save(run.step, run.state, meta)
        if signum:
            raise Interrupted(run.name, run.step, run.steps, signum)
