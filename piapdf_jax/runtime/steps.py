"""Runs the steps of a training a little ahead of the devices; watches for non-finite steps and signals; profiles."""

import collections
import contextlib
import logging
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from piapdf_jax import process_memory
from piapdf_jax.runtime.mesh import init_state, load_step, update
from piapdf_jax.runtime.train_stats import TrainStats, count_skipped
from piapdf_jax.stages.base import Stage
from piapdf_jax.types import Parts, PyTree

#: Step -> names of its frames (subject/task/frame), by part of the batch.
Frames = Callable[[int], dict[str, list[str]]]
# Steps that the host may run before the device: their batches are on the device when it wants them.
_AHEAD = 2
_NAMED = 8  # frames in a message; the file names them all
#: So many useless steps in a row are worth a warning.
_USELESS, _USELESS_METRIC = 20, "count_useless_"
log = logging.getLogger("piapdf.loop")


class NonFiniteError(Exception):
    """A training ended because too many steps had no finite loss and gradient.

    Attributes:
        name: of the training.
        step: the last step that was skipped, counted from 1.
        path: the file that holds its batch.
    """

    def __init__(self, name: str, step: int, path: pathlib.Path, message: str) -> None:
        super().__init__(message)
        self.name, self.step, self.path = name, step, path


class NonFiniteGuard:
    """Counts skipped steps of a training up to a limit, and warns of many useless ones in a row.

    A step is useless for a reason when its metric ``count_useless_<reason>`` is not 0.

    Args:
        name: of the training.
        limit: more than this end it.
        folder: where the batch of the last one is saved.
        stream: first step -> iterator of batches, which are a function of the step alone.
        frames: step -> names of its frames, or None where nobody knows them.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        folder: pathlib.Path,
        stream: Callable[[int], Iterator[PyTree]],
        frames: Frames | None,
    ) -> None:
        self.name, self.limit, self.folder = name, limit, folder
        self._stream, self._frames = stream, frames
        self.count, self._in_a_row = 0, 0
        self._useless: set[str] = set()

    def add(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Notes the metrics of one step, counted from 1.

        Raises:
            NonFiniteError: past the limit, with the batch saved.
        """
        self._warn(step, metrics)
        now = count_skipped(metrics)
        self.count += now
        if not now or self.count <= self.limit:
            return
        frames = self._frames(step - 1) if self._frames else {}
        path = self._save(step, frames)
        named = [f"{part}: {_shortened(names)}" for part, names in frames.items()]
        raise NonFiniteError(
            self.name,
            step,
            path,
            f"{self.name}: loss or gradient was not finite in {self.count} steps, more than"
            f" run.max_skipped={self.limit}; the last was step {step}"
            f"{' with ' + '; '.join(named) if named else ''}. Its batch is saved in {path}",
        )

    def _warn(self, step: int, metrics: dict[str, jax.Array]) -> None:
        found = [n for n, value in metrics.items() if n.startswith(_USELESS_METRIC) and int(value)]
        self._useless = {*self._useless, *found} if found else set()
        self._in_a_row = self._in_a_row + 1 if found else 0
        if self._in_a_row == _USELESS:
            names = sorted(n.removeprefix(_USELESS_METRIC) for n in self._useless)
            reason = ", ".join(name.replace("_", " ") for name in names)
            first = step - _USELESS + 1
            log.warning("%s: no step from %d to %d was useful: %s", self.name, first, step, reason)

    def _save(self, step: int, frames: dict[str, list[str]]) -> pathlib.Path:
        """The batch of a step, read again, this host's share of it."""
        with contextlib.closing(self._stream(step - 1)) as batches:  # pyright: ignore
            batch = next(batches)
        leaves = jax.tree_util.tree_leaves_with_path(batch)
        arrays = {
            jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf)
            for path, leaf in leaves
        }
        arrays |= {f"frames.{part}": np.array(names) for part, names in frames.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step_{step}.host_{jax.process_index()}.npz"
        np.savez_compressed(path, **arrays)  # pyright: ignore[reportArgumentType]
        return path


def _shortened(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


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


class StopSignals:
    """Notes a first SIGINT or SIGTERM while it is entered; a second acts as before."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, signal.Handlers | int | Callable[..., object] | None] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: object) -> None:
        self.received = number
        self.__exit__()
        log.warning("stopping after this step; a second signal stops at once")

    def poll(self, together: bool) -> int | None:
        """Returns the signal that any host received, or None.

        Args:
            together: whether every host asks after this step; several hosts stop only then.
        """
        if jax.process_count() == 1 or not together:
            return self.received if jax.process_count() == 1 else None
        everywhere = multihost_utils.process_allgather(np.int32(self.received or 0))
        return int(np.max(everywhere)) or None


class Profile:
    """Traces some steps of a training, as a context manager; the one that compiles is left out.

    Args:
        folder: of the trace.
        steps: how many; 0 for none.
    """

    def __init__(self, folder: pathlib.Path, steps: int) -> None:
        self.folder, self.left, self._tracing = folder, steps, False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @contextlib.contextmanager
    def step(self, number: int, first: bool) -> Iterator[bool]:
        """Surrounds one step; yields whether to wait for it, because it compiles or ends the trace.

        Args:
            number: of the step.
            first: whether it compiles.
        """
        if first or not self.left:
            yield first
            return
        if not self._tracing:
            jax.profiler.start_trace(self.folder)
            self._tracing = True
        self.left -= 1
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield not self.left
        if not self.left:
            self._stop()

    def _stop(self) -> None:
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
            log.info("profile written to %s", self.folder)


class StepRunner:
    """Runs the steps of a training, the host a few steps ahead of the devices.

    Args:
        name: of the training.
        steps: how many there are.
        stage: what trains.
        mesh: devices.
        key: typed key of the training; every step gets its own.
        stats: counts and times every step.
    """

    def __init__(
        self,
        name: str,
        steps: int,
        stage: Stage,
        mesh: Mesh,
        key: jax.Array,
        stats: TrainStats,
    ) -> None:
        self.name, self.steps, self.stage, self.mesh = name, steps, stage, mesh
        self.key, self.stats = key, stats
        self.step = 0
        self.state: PyTree = None
        self.frozen: Parts = {}
        self.guard: NonFiniteGuard
        self.profile: Profile
        self._in_flight: collections.deque[tuple[int, dict[str, jax.Array]]] = collections.deque()

    def start(self, inputs: dict[str, Parts]) -> None:
        """Creates the state before the first step, from exported parts by training name."""
        self.state, self.frozen = init_state(self.stage, self.mesh, self.key, inputs)
        self.stats.clock.init_seconds = self.stats.clock.lap()

    def advance(self, batches: Iterator[PyTree]) -> dict[str, jax.Array]:
        """Starts one step on the next batch; returns its metrics, which may not be there yet.

        Raises:
            NonFiniteError: of an earlier step, when too many had to be skipped.
            RuntimeError: where the data ended.
        """
        clock = self.stats.clock
        batch, key = load_step(self.mesh, self.key, self._next(batches), self.step)
        process_memory.await_inputs(batch, key)
        first, began = not clock.running, time.monotonic()
        with self.profile.step(self.step, first) as wait:
            self.state, metrics = update(self.stage, self.mesh, self.state, self.frozen, batch, key)
            if wait:
                jax.block_until_ready(metrics)
        self.step += 1
        if first:  # compilation
            clock.first_step_seconds += time.monotonic() - began
            clock.lap(self.step)
        self.stats.totals.add(metrics)
        self._in_flight.append((self.step, metrics))
        self.wait(_AHEAD)
        return metrics

    def wait(self, ahead: int = 0) -> None:
        """Waits until at most so many steps are under way, and looks at what the others skipped."""
        while len(self._in_flight) > ahead:
            step, metrics = self._in_flight.popleft()
            jax.block_until_ready(metrics)
            self.guard.add(step, metrics)

    def _next(self, batches: Iterator[PyTree]) -> PyTree:
        """The next batch; waiting for it counts where the devices had nothing else to do."""
        began = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            raise RuntimeError(f"{self.name}: data ended at step {self.step} of {self.steps}")
        last = jax.tree.leaves(self._in_flight[-1][1]) if self._in_flight else []
        if all(leaf.is_ready() for leaf in last):
            self.stats.clock.wait_seconds += time.monotonic() - began
        return batch
