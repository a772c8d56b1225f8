"""The only training loop: steps, metrics, checkpoints, a clean stop; knows no model and no loss."""

import collections
import contextlib
import dataclasses
import logging
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from piapdf_jax.batch import unit_images
from piapdf_jax.keys import named_key
from piapdf_jax.runtime.account import Clock, Totals, loss_ends, moved_leaves, trained_parts
from piapdf_jax.runtime.checkpoints import Checkpoints
from piapdf_jax.runtime.exports import tree_digest
from piapdf_jax.runtime.mesh import (
    check_divides,
    data_mesh,
    keep_replicated,
    replicate,
    shard_batch,
)
from piapdf_jax.runtime.writers import MultiWriter, Progress, open_writers, read_jsonl
from piapdf_jax.stages.base import Exported, Stage

log = logging.getLogger("piapdf.loop")

#: Fields of ``metrics.jsonl`` that say when, not what: two equal runs differ in these alone.
WALL_CLOCK = ("seconds", "images_per_second")
_AHEAD = 2  # steps that the host may run before the device


class Interrupted(Exception):
    """A training was asked to stop, and has saved its state.

    Attributes:
        name: of the training.
        step: updates done and saved.
        signum: the signal that asked.
    """

    def __init__(self, name: str, step: int, steps: int, signum: int) -> None:
        super().__init__(f"{name}: stopped and saved at step {step} of {steps}")
        self.name, self.step, self.signum = name, step, signum


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A finished training.

    Attributes:
        state: after the last step.
        frozen: the parts that every step only read.
        report: what the training did, as JSON holds it: ``steps``; ``loss_start`` and ``loss_end``,
            means over the first and last 5% of the logged lines; ``metrics_start`` and
            ``metrics_end``, the first and last of them whole; ``seconds``, ``init_seconds``,
            ``first_step_seconds`` (compilation), ``wait_seconds`` (for input) and
            ``images_per_second`` (first step left out), over all restarts; ``skipped`` steps;
            ``trained``, {part: {leaves, moved, max_abs_change}}; ``frozen_unchanged``, bitwise;
            ``totals``, sums over all steps of the metrics named ``count_*``.
    """

    state: Any
    frozen: Exported
    report: dict[str, Any]


class StopSignals:
    """While it is entered, a first SIGINT or SIGTERM only notes itself; a second acts as before."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: Any) -> None:
        self.received = number
        self.__exit__()
        log.warning("stopping after this step; a second signal stops at once")

    def agreed(self, together: bool) -> int | None:
        """The signal that any host received, or None.

        Args:
            together: whether every host asks after this step; several hosts stop only then.
        """
        if jax.process_count() == 1 or not together:
            return self.received if jax.process_count() == 1 else None
        everywhere = multihost_utils.process_allgather(np.int32(self.received or 0))
        return int(np.max(everywhere)) or None


def fit(
    stage: Stage,
    stream: Callable[[int], Iterator[Any]],
    *,
    name: str,
    steps: int,
    key: jax.Array,
    inputs: dict[str, Exported],
    folder: str | os.PathLike[str],
    log_every: int,
    checkpoint_every: int,
    batch_size: int,
    digest: str,
    mesh: Mesh | None = None,
    tensorboard: bool = True,
) -> Fitted:
    """Trains a stage, or goes on where its last checkpoint stands.

    Args:
        stage: what trains.
        stream: first step -> iterator of host batches, with ``close()``.
        name: of the training, for messages.
        steps: how many updates.
        key: typed key of the training; every step gets its own.
        inputs: exported parts by training name.
        folder: gets ``metrics.jsonl``, ``checkpoints/`` and ``tensorboard/``.
        log_every: steps between two lines of metrics; the first and last step always have one.
        checkpoint_every: steps between two checkpoints; 0 for one at the end alone.
        batch_size: of the global batch.
        digest: of all that decides the training's numbers; a checkpoint of another is refused.
        mesh: devices; None for the first of this host.
        tensorboard: also write TensorBoard files where tensorboardX is installed.

    Returns:
        The trained state and a report.

    Raises:
        Interrupted: after SIGINT or SIGTERM, when the state is saved.
        ValueError: where a checkpoint belongs to another digest, or the batch does not divide over
            the devices.
    """
    devices = data_mesh(jax.local_devices()[:1]) if mesh is None else mesh
    check_divides(batch_size, devices.size)
    folder = pathlib.Path(folder)
    run = _Run(stage, name, steps, batch_size, devices)
    run.start(key, inputs)
    primary = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpoints(folder / "checkpoints", every=checkpoint_every, digest=digest)
        )
        run.resume(checkpoints)
        writer = open_writers(folder, step=run.step, primary=primary, tensorboard=tensorboard)
        stack.callback(writer.close)
        if run.step < steps:
            progress = Progress(name, run.step, steps, batch_size, shown=primary)
            stack.enter_context(progress)
            batches = stack.enter_context(contextlib.closing(stream(run.step)))  # pyright: ignore
            run.train(batches, key, checkpoints, writer, progress, max(1, log_every))
    return Fitted(run.state, run.frozen, run.report(read_jsonl(folder / "metrics.jsonl")))


class _Run:
    """One training under way: its state, and what is known of it so far."""

    def __init__(self, stage: Stage, name: str, steps: int, batch_size: int, mesh: Mesh) -> None:
        self.stage, self.name, self.steps = stage, name, steps
        self.batch_size, self.mesh = batch_size, mesh
        self.step = 0
        self.state: Any = None
        self.frozen: Exported = {}
        self.clock = Clock()
        self.totals = Totals()

    def start(self, key: jax.Array, inputs: dict[str, Exported]) -> None:
        """Initialises; copies, so that donation never reaches the exports a state starts from."""
        state, frozen = self.stage.init(named_key(key, "init"), inputs)
        self.state, self.frozen = replicate(self.mesh, state), replicate(self.mesh, frozen)
        self.initial = {
            part: [np.array(leaf) for leaf in jax.tree.leaves(tree)]
            for part, tree in trained_parts(self.state).items()
        }
        self.frozen_digest = tree_digest(self.frozen)
        self.clock.init_seconds = self.clock.lap()

    def resume(self, checkpoints: Checkpoints) -> None:
        """Takes the newest checkpoint, if there is one."""
        restored = checkpoints.restore_latest(self.state)
        if restored is None:
            return
        self.step, self.state = restored.step, restored.state
        self.totals.go_on(restored.meta["totals"])
        self.clock.go_on(restored.meta["clock"])
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
        behind: collections.deque[Any] = collections.deque()
        with StopSignals() as stop:
            while self.step < self.steps:
                behind.append(self._advance(batches, key))
                if len(behind) > _AHEAD:
                    jax.block_until_ready(behind.popleft())
                row = None
                if self.step in (1, self.steps) or self.step % log_every == 0:
                    row = self._row(behind[-1])
                    writer.write(self.step, row)
                progress.update(self.step, row)
                asked = stop.agreed(row is not None)
                if asked or checkpoints.due(self.step) or self.step == self.steps:
                    writer.sync()
                    self._save(checkpoints)
                if asked:
                    raise Interrupted(self.name, self.step, self.steps, asked)

    def _advance(self, batches: Iterator[Any], key: jax.Array) -> dict[str, jax.Array]:
        began = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            raise RuntimeError(f"{self.name}: data ended at step {self.step} of {self.steps}")
        self.clock.wait_seconds += time.monotonic() - began
        batch = unit_images(shard_batch(self.mesh, batch))
        key = named_key(key, "train_step", self.step)
        if self.mesh.devices.flat[0].platform == "cpu":
            # A step whose inputs wait runs in another thread, whose heap keeps no freed memory.
            jax.block_until_ready((batch, key))
        first, began = not self.clock.running, time.monotonic()
        state, metrics = self.stage.train_step(self.state, self.frozen, batch, key)
        self.state = keep_replicated(self.mesh, state)
        self.step += 1
        if first:  # compilation
            jax.block_until_ready(metrics)
            self.clock.first_step_seconds += time.monotonic() - began
            self.clock.lap(self.step)
        self.totals.add(metrics)
        return metrics

    def _row(self, metrics: dict[str, jax.Array]) -> dict[str, Any]:
        self.totals.sums()
        row = {name: value.tolist() for name, value in sorted(jax.device_get(metrics).items())}
        self.clock.lap(self.step)
        rate = self.clock.rate(self.batch_size)
        return {**row, "seconds": round(self.clock.seconds, 3), "images_per_second": round(rate, 2)}

    def _save(self, checkpoints: Checkpoints) -> None:
        self.clock.lap(self.step)
        meta = {"totals": self.totals.sums(), "clock": dataclasses.asdict(self.clock)}
        checkpoints.save(self.step, self.state, meta)

    def report(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """What the training did, from what is known at its end and its lines of metrics."""
        loss_start, loss_end = loss_ends(rows)
        totals = self.totals.sums()
        skipped = [np.sum(sums) for name, sums in totals.items() if name.endswith("skipped")]
        self.clock.lap()
        return {
            "steps": self.step,
            "loss_start": loss_start,
            "loss_end": loss_end,
            "metrics_start": rows[0] if rows else {},
            "metrics_end": rows[-1] if rows else {},
            **{
                name: round(getattr(self.clock, name), 3)
                for name in ("seconds", "init_seconds", "first_step_seconds", "wait_seconds")
            },
            "images_per_second": round(self.clock.rate(self.batch_size), 2),
            "skipped": int(sum(skipped)),
            "trained": moved_leaves(self.initial, trained_parts(self.state)),
            "frozen_unchanged": tree_digest(self.frozen) == self.frozen_digest,
            "totals": totals,
        }
