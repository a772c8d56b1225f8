"""The only training loop: steps, metrics, checkpoints, a clean stop; knows no model and no loss."""

import collections
import contextlib
import dataclasses
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from piapdf_jax.runtime.account import (
    Clock,
    Fitted,
    Totals,
    moved_leaves,
    peak_memory,
    told_by_rows,
    trained_parts,
)
from piapdf_jax.runtime.best import Best, Validation
from piapdf_jax.runtime.checkpoints import Checkpoints
from piapdf_jax.runtime.hosts import lost, primary
from piapdf_jax.runtime.mesh import check_divides, data_mesh
from piapdf_jax.runtime.part_files import tree_digest
from piapdf_jax.runtime.profiling import Profile
from piapdf_jax.runtime.signals import Interrupted, StopSignals
from piapdf_jax.runtime.skips import Frames, Skips, skipped
from piapdf_jax.runtime.step import load_step, start_state, update
from piapdf_jax.runtime.writers import MultiWriter, Progress, open_writers, read_jsonl
from piapdf_jax.stages.base import Stage
from piapdf_jax.types import Parts

log = logging.getLogger("piapdf.loop")

# Steps that the host may run before the device: their batches are on the device when it wants them.
_AHEAD = 2


@dataclasses.dataclass(frozen=True)
class Running:
    """What only says how a training runs; no number of it depends on this.

    Attributes:
        log_every: steps between two lines of metrics; the first and last step always have one.
        checkpoint_every: steps between two checkpoints; 0 for one at the end alone.
        max_skipped: more steps than this without a finite loss and gradient end the training.
        profile_steps: so many steps are profiled, once the first has compiled; 0 for none.
        tensorboard: also write TensorBoard files where tensorboardX is installed.
    """

    log_every: int = 50
    checkpoint_every: int = 1000
    max_skipped: int = 20
    profile_steps: int = 0
    tensorboard: bool = True


def fit(
    stage: Stage,
    stream: Callable[[int], Iterator[Any]],
    *,
    name: str,
    steps: int,
    key: jax.Array,
    inputs: dict[str, Parts],
    folder: str | os.PathLike[str],
    batch_size: int,
    config: dict[str, Any],
    running: Running = Running(),
    mesh: Mesh | None = None,
    frames: Frames | None = None,
    validation: Validation | None = None,
    check: Callable[[], None] = lambda: None,
) -> Fitted:
    """Trains a stage, or goes on where its last checkpoint stands.

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
        running: how it runs.
        mesh: devices; None for the first of this host.
        frames: step -> names of its frames, for the message about numbers that are not finite.
        validation: how states are compared, where people are kept apart for that.
        check: called on every host before anything is written; raises where it may not be.

    Returns:
        The last state, or with a validation the best one, and a report.

    Raises:
        Interrupted: after SIGINT or SIGTERM, when the state is saved.
        NotFinite: when too many steps had to be skipped; the batch of the last one is saved.
        DiskError: when the disk refuses a checkpoint or a line of metrics.
        HostLost: when another host is gone.
        ValueError: where a checkpoint belongs to another configuration, or the batch does not
            divide over the devices.
    """
    devices = data_mesh(jax.local_devices()[:1]) if mesh is None else mesh
    check_divides(batch_size, devices.size)
    folder = pathlib.Path(folder)
    run = _Run(stage, name, steps, batch_size, devices)
    run.start(key, inputs)
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpoints(folder / "checkpoints", every=running.checkpoint_every, config=config)
        )
        best = stack.enter_context(Best(folder / "best", config, validation))
        run.resume(checkpoints, best)
        tensorboard = running.tensorboard
        writer = open_writers(folder, step=run.step, primary=primary(), tensorboard=tensorboard)
        stack.callback(writer.close)
        if run.step < steps:
            progress = Progress(name, run.step, steps, batch_size, shown=primary())
            stack.enter_context(progress)
            batches = stack.enter_context(contextlib.closing(stream(run.step)))  # pyright: ignore
            run.profile = stack.enter_context(Profile(folder / "profile", running.profile_steps))
            run.skips = Skips(name, running.max_skipped, folder / "not_finite", stream, frames)
            run.check = check
            try:
                run.train(batches, key, checkpoints, writer, progress, max(1, running.log_every))
            except jax.errors.JaxRuntimeError as error:
                raise lost(error) or error from error
        run.choose()
    return Fitted(run.state, run.frozen, run.report(read_jsonl(folder / "metrics.jsonl")))


class _Run:
    """One training under way: its state, and what is known of it so far."""

    def __init__(self, stage: Stage, name: str, steps: int, batch_size: int, mesh: Mesh) -> None:
        self.stage, self.name, self.steps = stage, name, steps
        self.batch_size, self.mesh = batch_size, mesh
        self.step = 0
        self.state: Any = None
        self.frozen: Parts = {}
        self.clock = Clock()
        self.totals = Totals()
        self.under_way: collections.deque[tuple[int, dict[str, jax.Array]]] = collections.deque()
        self.profile: Profile
        self.skips: Skips
        self.best: Best
        self.check: Callable[[], None]

    def start(self, key: jax.Array, inputs: dict[str, Parts]) -> None:
        """Creates the state before the first step."""
        self.state, self.frozen = start_state(self.stage, self.mesh, key, inputs)
        self.initial = {
            part: [np.array(leaf) for leaf in jax.tree.leaves(tree)]
            for part, tree in trained_parts(self.state).items()
        }
        self.frozen_digest = tree_digest(self.frozen)
        self.clock.init_seconds = self.clock.lap()

    def resume(self, checkpoints: Checkpoints, best: Best) -> None:
        """Takes the newest checkpoint, if there is one."""
        self.best = best
        restored = checkpoints.restore_latest(self.state)
        if restored is None:
            return
        self.step, self.state = restored.step, restored.state
        self.totals.go_on(restored.meta["totals"])
        self.clock.go_on(restored.meta["clock"])
        best.go_on(restored.meta["best"])
        log.info("%s: goes on from step %d of %d", self.name, self.step, self.steps)

    def train(
        self,
        batches: Iterator[Any],
        key: jax.Array,
        checkpoints: Checkpoints,
        writer: MultiWriter,
        progress: Progress,
        log_every: int,
    ) -> None:
        """Steps until the end or a signal; the host may be a few steps ahead of the devices."""
        self.skips.count = skipped(self.totals.sums())
        with StopSignals() as stop:
            while self.step < self.steps:
                metrics = self._advance(batches, key)
                self._settle(_AHEAD)
                row, validated = None, self.best.due(self.step, self.steps)
                if validated or self.step in (1, self.steps) or self.step % log_every == 0:
                    row = self._row(metrics)
                    self.check()
                    if validated:
                        exported = self.stage.export(self.state)
                        score = self.best.consider(self.step, self.state, exported)
                        row["validation_f1"] = score
                    writer.write(self.step, row)
                progress.update(self.step, row)
                asked = stop.agreed(row is not None)
                if asked or checkpoints.due(self.step) or self.step == self.steps:
                    self._settle(0)
                    self.check()
                    writer.sync()
                    self._save(checkpoints)
                if asked:
                    raise Interrupted(self.name, self.step, self.steps, asked)

    def _settle(self, ahead: int) -> None:
        """Waits until at most so many steps are under way, and looks at what the others skipped."""
        while len(self.under_way) > ahead:
            step, metrics = self.under_way.popleft()
            jax.block_until_ready(metrics)
            self.skips.add(step, metrics)

    def _advance(self, batches: Iterator[Any], key: jax.Array) -> dict[str, jax.Array]:
        batch = self._next(batches)
        batch, key = load_step(self.mesh, key, batch, self.step)
        if self.mesh.devices.flat[0].platform == "cpu":
            # A step whose inputs wait runs in another thread, whose heap keeps no freed memory.
            jax.block_until_ready((batch, key))
        first, began = not self.clock.running, time.monotonic()
        with self.profile.step(self.step, first) as wait:
            self.state, metrics = update(self.stage, self.mesh, self.state, self.frozen, batch, key)
            if wait:
                jax.block_until_ready(metrics)
        self.step += 1
        if first:  # compilation
            self.clock.first_step_seconds += time.monotonic() - began
            self.clock.lap(self.step)
        self.totals.add(metrics)
        self.under_way.append((self.step, metrics))
        return metrics

    def _next(self, batches: Iterator[Any]) -> Any:
        """The next batch; waiting for it counts where the devices had nothing else to do."""
        began = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            raise RuntimeError(f"{self.name}: data ended at step {self.step} of {self.steps}")
        last = jax.tree.leaves(self.under_way[-1][1]) if self.under_way else []
        if all(leaf.is_ready() for leaf in last):
            self.clock.wait_seconds += time.monotonic() - began
        return batch

    def _row(self, metrics: dict[str, jax.Array]) -> dict[str, Any]:
        """A step's metrics as JSON holds them; counts are those of all steps so far."""
        row = {name: value.tolist() for name, value in sorted(jax.device_get(metrics).items())}
        row |= self.totals.sums()
        self.clock.lap(self.step)
        return {
            **row,
            **self.clock.told(self.batch_size),
            "peak_memory_gib": peak_memory(self.mesh),
        }

    def _save(self, checkpoints: Checkpoints) -> None:
        self.clock.lap(self.step)
        meta = {
            "totals": self.totals.sums(),
            "clock": dataclasses.asdict(self.clock),
            "best": self.best.told(),
        }
        checkpoints.save(self.step, self.state, meta)

    def choose(self) -> None:
        """Takes the best state instead of the last one, where there is a choice."""
        restored = self.best.restore(self.state)
        if restored is not None:
            self.state = restored.state

    def report(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """What the training did, from what is known at its end and its lines of metrics."""
        self.clock.lap()
        totals = self.totals.sums()
        return {
            "steps": self.step,
            "best": self.best.told(),
            **told_by_rows(rows),
            **self.clock.report(self.batch_size),
            "peak_memory_gib": peak_memory(self.mesh),
            "skipped": skipped(totals),
            "trained": moved_leaves(self.initial, trained_parts(self.state)),
            "state": tree_digest(self.state),
            "frozen_unchanged": tree_digest(self.frozen) == self.frozen_digest,
            "totals": totals,
        }
