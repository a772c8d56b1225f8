"""The only training loop: steps, metrics, checkpoints, a clean stop. Knows the stage's contract and nothing else."""

import collections
import contextlib
import dataclasses
import logging
import math
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

from piapdf_jax.keys import named_key
from piapdf_jax.runtime.checkpoints import Checkpoints
from piapdf_jax.runtime.exports import tree_digest
from piapdf_jax.runtime.mesh import check_divides, data_mesh, replicate, replicated, shard_batch
from piapdf_jax.runtime.writers import Progress, open_writers, read_jsonl
from piapdf_jax.stages.base import Exported, Stage

log = logging.getLogger("piapdf.loop")

#: Fields of ``metrics.jsonl`` that say when, not what: the only ones that differ between two equal runs.
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
        report: what the training did, as JSON holds it: ``steps``; ``loss_start`` and ``loss_end``, means over the
            first and last 5% of the logged lines; ``seconds``, ``init_seconds``, ``first_step_seconds`` (compilation),
            ``wait_seconds`` (for input) and ``images_per_second`` (first step left out), over all restarts;
            ``skipped`` steps; ``trained``, {part: {leaves, moved, max_abs_change}}; ``frozen_unchanged``, bitwise;
            ``totals``, sums over all steps of the metrics named ``count_*``.
    """

    state: Any
    frozen: Exported
    report: dict[str, Any]


class StopSignals:
    """While it is entered, SIGINT and SIGTERM only note themselves; a second one acts as it did before."""

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

    def agreed(self) -> int | None:
        """The signal that any host received; every host must ask at the same step."""
        if jax.process_count() == 1:
            return self.received
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
        stream: first step -> iterator of host batches, with ``close()``; the position in the data is the step.
        name: of the training, for messages.
        steps: how many updates.
        key: typed key of the training; every step gets its own.
        inputs: exported parts by training name.
        folder: gets ``metrics.jsonl``, ``checkpoints/`` and ``tensorboard/``.
        log_every: steps between two lines of metrics; the first and the last step are always logged.
        checkpoint_every: steps between two checkpoints; 0 for one at the end alone.
        batch_size: of the global batch.
        digest: of everything that decides the training's numbers; a checkpoint of another is refused.
        mesh: devices; None for the first of this host.
        tensorboard: also write TensorBoard files where tensorboardX is installed.

    Returns:
        The trained state and a report.

    Raises:
        Interrupted: after SIGINT or SIGTERM, when the state is saved.
        ValueError: where a checkpoint belongs to another digest, or the batch does not divide over the devices.
    """
    mesh = mesh or data_mesh(jax.local_devices()[:1])
    check_divides(batch_size, mesh.size)
    run = _Run(stage, pathlib.Path(folder), name, steps, log_every, batch_size, mesh)
    run.start(key, inputs)
    with contextlib.ExitStack() as stack:
        checkpoints = Checkpoints(
            run.folder / "checkpoints", every=checkpoint_every, digest=digest
        )
        stack.enter_context(checkpoints)
        run.resume(checkpoints)
        if run.step < steps:
            run.train(stream, key, checkpoints)
    return Fitted(run.state, run.frozen, run.report())


@dataclasses.dataclass
class _Clock:
    """Wall time of a training, over all its restarts; ``began`` is this process's own."""

    init_seconds: float = 0.0
    first_step_seconds: float = 0.0
    wait_seconds: float = 0.0
    steady_seconds: float = 0.0
    steady_steps: int = 0
    seconds: float = 0.0
    began: float = dataclasses.field(default_factory=time.monotonic)

    def lap(self) -> float:
        """Adds the time since the last lap to ``seconds``; returns it."""
        now = time.monotonic()
        passed, self.began = now - self.began, now
        self.seconds += passed
        return passed

    def saved(self) -> dict[str, float]:
        """What a checkpoint holds."""
        self.lap()
        return {name: value for name, value in vars(self).items() if name != "began"}

    def add(self, saved: dict[str, float]) -> None:
        """Goes on from a checkpoint."""
        for name, value in saved.items():
            setattr(self, name, getattr(self, name) + value)


class _Run:
    """One training under way: its state, and what is known of it so far."""

    def __init__(
        self,
        stage: Stage,
        folder: pathlib.Path,
        name: str,
        steps: int,
        log_every: int,
        batch_size: int,
        mesh: Mesh,
    ) -> None:
        self.stage, self.folder, self.name, self.steps = stage, folder, name, steps
        self.log_every, self.batch_size, self.mesh = max(1, log_every), batch_size, mesh
        self.step = 0
        self.state: Any = None
        self.frozen: Exported = {}
        self._totals: dict[str, np.ndarray] = {}
        self._counts: list[dict[str, jax.Array]] = []
        self._clock = _Clock()

    def start(self, key: jax.Array, inputs: dict[str, Exported]) -> None:
        """Initialises; the copies keep exports that a state starts from out of reach of donation."""
        began = time.monotonic()
        state, frozen = self.stage.init(named_key(key, "init"), inputs)
        self.state, self.frozen = replicate(self.mesh, state), replicate(self.mesh, frozen)
        self._initial = {
            part: [np.array(leaf) for leaf in jax.tree.leaves(tree)]
            for part, tree in trained_parts(self.state).items()
        }
        self._frozen_digest = tree_digest(self.frozen)
        self._clock.init_seconds = time.monotonic() - began

    def resume(self, checkpoints: Checkpoints) -> None:
        """Takes the newest checkpoint, if there is one."""
        restored = checkpoints.restore_latest(self.state)
        if restored is None:
            return
        self.step, self.state = restored.step, restored.state
        self._totals = {k: np.asarray(v) for k, v in restored.meta["totals"].items()}
        self._clock.add(restored.meta["clock"])
        log.info("%s: goes on from step %d of %d", self.name, self.step, self.steps)

    def train(
        self,
        stream: Callable[[int], Iterator[Any]],
        key: jax.Array,
        checkpoints: Checkpoints,
        tensorboard: bool,
    ) -> None:
        """Steps until the end or a signal."""
        primary = jax.process_index() == 0
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(StopSignals())
            batches = stack.enter_context(contextlib.closing(stream(self.step)))  # pyright: ignore
            writer = open_writers(
                self.folder, step=self.step, primary=primary, tensorboard=tensorboard
            )
            stack.callback(writer.close)
            progress = stack.enter_context(
                Progress(self.name, self.steps, self.step, self.batch_size, shown=primary)
            )
            while self.step < self.steps:
                metrics = self._advance(batches, key)
                progress.update(self.step)
                logged = self._is_logged()
                if logged:
                    row = self._row(metrics)
                    writer.write(self.step, row)
                    progress.note(row)
                asked = stop.agreed() if logged or jax.process_count() == 1 else None
                if asked or checkpoints.due(self.step) or self.step == self.steps:
                    writer.sync()
                    self._save(checkpoints)
                if asked:
                    checkpoints.close()
                    raise Interrupted(self.name, self.step, self.steps, asked)

    def _advance(self, batches: Iterator[Any], key: jax.Array) -> dict[str, jax.Array]:
        """One step; waits for the device only where it is more than a few steps behind."""
        began = time.monotonic()
        try:
            batch = shard_batch(self.mesh, next(batches))
        except StopIteration:
            raise RuntimeError(
                f"{self.name}: the data ended at step {self.step} of {self.steps}"
            ) from None
        ready = time.monotonic()
        step_key = named_key(key, "train_step", self.step)
        state, metrics = self.stage.train_step(self.state, self.frozen, batch, step_key)
        self.state = _keep_replicated(self.mesh, state)
        self._behind.append(metrics)
        first = self._steady_since is None
        while len(self._behind) > (0 if first else _AHEAD):
            jax.block_until_ready(self._behind.popleft())
