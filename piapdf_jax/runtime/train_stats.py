"""Statistics of a training: time, counts, loss, and on request an audit of which parameters changed."""

import dataclasses
import resource
import time
from collections.abc import Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from piapdf_jax.runtime.digests import tree_digest
from piapdf_jax.types import JsonObject, Parts, PyTree

#: Fields of ``metrics.jsonl`` that say when, not what: two equal runs differ in these alone.
WALL_CLOCK = (
    "seconds",
    "first_step_seconds",
    "images_per_second",
    "input_wait",
    "peak_memory_gib",
)


@dataclasses.dataclass
class Clock:
    """Wall time of a training in seconds, summed over its restarts."""

    seconds: float = 0.0
    init_seconds: float = 0.0
    first_step_seconds: float = 0.0
    wait_seconds: float = 0.0
    steady_seconds: float = 0.0
    steady_steps: int = 0

    def __post_init__(self) -> None:
        self._last, self._step = time.monotonic(), None
        self._said = (0.0, 0.0)

    @property
    def running(self) -> bool:
        """True once the first step of this process is done."""
        return self._step is not None

    def lap(self, step: int | None = None) -> float:
        """Adds and returns the time since the last lap; time between steps counts for the rate."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        self.seconds += passed
        if step is not None and self._step is not None:
            self.steady_seconds += passed
            self.steady_steps += step - self._step
        self._step = step
        return passed

    def restore(self, saved: JsonObject) -> None:
        """Restores what the training took before it was stopped, and adds to it."""
        for name, value in saved.items():
            setattr(self, name, getattr(self, name) + value)
        self._said = (self.seconds, self.wait_seconds)

    def wait_share(self) -> float:
        """Returns the share of the time since the last call that was spent waiting for input."""
        seconds, waited = self._said
        self._said = (self.seconds, self.wait_seconds)
        passed = self.seconds - seconds
        return (self.wait_seconds - waited) / passed if passed > 0 else 0.0

    def rate(self, batch_size: int) -> float:
        """Returns images per second, the first step of each process left out."""
        return batch_size * self.steady_steps / self.steady_seconds if self.steady_steps else 0.0

    def metrics(self, batch_size: int) -> dict[str, float]:
        """Returns timing metrics for one log line."""
        return {
            "seconds": round(self.seconds, 3),
            "first_step_seconds": round(self.first_step_seconds, 3),
            "images_per_second": round(self.rate(batch_size), 2),
            "input_wait": round(self.wait_share(), 4),
        }

    def report(self, batch_size: int) -> dict[str, float]:
        """Returns the timing of a finished training."""
        names = ("seconds", "init_seconds", "first_step_seconds", "wait_seconds")
        times = {name: round(getattr(self, name), 3) for name in names}
        return {**times, "images_per_second": round(self.rate(batch_size), 2)}


class Totals:
    """Sums over all steps of the metrics named ``count_*``, exact."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}
        self._waiting: list[dict[str, jax.Array]] = []

    def add(self, metrics: dict[str, jax.Array]) -> None:
        """Adds one step's metrics; does not wait for them."""
        self._waiting.append({k: v for k, v in metrics.items() if k.startswith("count_")})

    def sums(self) -> JsonObject:
        """Returns the sums so far, numbers or lists of numbers by name, as JSON holds them."""
        for counts in jax.device_get(self._waiting):
            for name, value in counts.items():
                value = np.asarray(value)
                wide = np.float64 if np.issubdtype(value.dtype, np.floating) else np.int64
                self._sums[name] = self._sums.get(name, 0) + value.astype(wide)
        self._waiting = []
        return {name: value.tolist() for name, value in sorted(self._sums.items())}

    def restore(self, saved: JsonObject) -> None:
        """Restores the sums of a checkpoint."""
        self._sums = {name: np.asarray(sums) for name, sums in saved.items()}


class TrainStats:
    """Time and counts of one training, and what lines of metrics and its report say of them.

    Args:
        batch_size: of the global batch.
        mesh: devices.
    """

    def __init__(self, batch_size: int, mesh: Mesh) -> None:
        self.batch_size, self.mesh = batch_size, mesh
        self.clock, self.totals = Clock(), Totals()

    def row(self, step: int, metrics: dict[str, jax.Array]) -> JsonObject:
        """Returns a step's metrics as JSON holds them; counts are those of all steps so far."""
        row = {name: value.tolist() for name, value in sorted(jax.device_get(metrics).items())}
        row |= self.totals.sums()
        self.clock.lap(step)
        timing = self.clock.metrics(self.batch_size)
        return {**row, **timing, "peak_memory_gib": peak_memory(self.mesh)}

    def to_json(self, step: int) -> JsonObject:
        """Returns what a checkpoint after a step saves."""
        self.clock.lap(step)
        return {"totals": self.totals.sums(), "clock": dataclasses.asdict(self.clock)}

    def restore(self, saved: JsonObject) -> None:
        """Restores what ``to_json`` returned before the training was stopped."""
        self.totals.restore(saved["totals"])
        self.clock.restore(saved["clock"])

    def report(self, rows: list[JsonObject]) -> JsonObject:
        """Returns the report of a finished training, given its lines of metrics."""
        self.clock.lap()
        totals = self.totals.sums()
        return {
            **summarize_metrics(rows),
            **self.clock.report(self.batch_size),
            "peak_memory_gib": peak_memory(self.mesh),
            "skipped": count_skipped(totals),
            "totals": totals,
        }


def count_skipped(counts: Mapping[str, PyTree]) -> int:
    """Returns how many steps were skipped, by the metrics of one step or the totals of all."""
    names = [name for name in counts if name.endswith("skipped")]
    return sum(int(np.asarray(counts[name]).sum()) for name in names)


def peak_memory(mesh: Mesh) -> float:
    """Returns the most memory ever held, in GiB: of the fullest local device, or of this process on a CPU."""
    all_stats = [device.memory_stats() for device in mesh.local_devices]
    peaks = [
        stats["peak_bytes_in_use"] for stats in all_stats if stats and "peak_bytes_in_use" in stats
    ]
    # Linux tells a process's peak in KiB.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return round(max(peaks, default=own) / 2**30, 3)


def loss_ends(rows: list[JsonObject]) -> tuple[float | None, float | None]:
    """Computes the mean loss of the first and last 5% of the lines of metrics; None where none is finite."""
    losses = [row["loss"] for row in rows if row.get("loss") is not None]
    few = max(1, round(0.05 * len(losses)))
    if not losses:
        return None, None
    return float(np.mean(losses[:few])), float(np.mean(losses[-few:]))


def summarize_metrics(rows: list[JsonObject]) -> JsonObject:
    """Returns loss at start and end, and the first and last line of metrics whole."""
    loss_start, loss_end = loss_ends(rows)
    return {
        "loss_start": loss_start,
        "loss_end": loss_end,
        "metrics_start": rows[0] if rows else {},
        "metrics_end": rows[-1] if rows else {},
    }


class Audit:
    """Compares a finished training bitwise with its start; it costs a host copy of the start parameters.

    Args:
        state: before the first step.
        frozen: the parts that every step only reads.
    """

    def __init__(self, state: PyTree, frozen: Parts) -> None:
        self._initial = {
            part: [np.array(leaf) for leaf in jax.tree.leaves(tree)]
            for part, tree in _trained_parts(state).items()
        }
        self._frozen = tree_digest(frozen)

    def report(self, state: PyTree, frozen: Parts) -> JsonObject:
        """Returns how many leaves moved in each part, a digest of the state, and whether frozen parts stayed."""
        return {
            "trained": _moved_leaves(self._initial, _trained_parts(state)),
            "state": tree_digest(state),
            "frozen_unchanged": tree_digest(frozen) == self._frozen,
        }


def _trained_parts(state: PyTree) -> dict[str, PyTree]:
    """Parameters of a state by part: its ``params``, those of each learner in it, or all of it."""
    params = getattr(state, "params", None)
    if params is not None:
        return params if isinstance(params, dict) else {"params": params}
    learners = {
        name: getattr(state, name).params
        for name in getattr(state, "_fields", ())
        if hasattr(getattr(state, name), "params")
    }
    return learners or {"state": state}


def _moved_leaves(initial: dict[str, list[np.ndarray]], final: dict[str, PyTree]) -> JsonObject:
    """How many leaves of each part changed, and by how much at most."""
    moved = {}
    for part, before in initial.items():
        after = [np.asarray(leaf) for leaf in jax.tree.leaves(final[part])]
        pairs = list(zip(before, after, strict=True))
        moved[part] = {
            "leaves": len(pairs),
            "moved": sum(a.tobytes() != b.tobytes() for a, b in pairs),
            "max_abs_change": max(
                (float(np.max(np.abs(b.astype(np.float64) - a))) for a, b in pairs if a.size),
                default=0.0,
            ),
        }
    return moved


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """A finished training.

    Attributes:
        state: after the last step.
        frozen: the parts that every step only read.
        report: what the training did, as JSON holds it: ``steps``; ``best``, step and score of the
            state where people were kept apart to choose it; ``loss_start`` and ``loss_end``,
            means over the first and last 5% of the logged lines; ``metrics_start`` and
            ``metrics_end``, the first and last of them whole; ``seconds``, ``init_seconds``,
            ``first_step_seconds`` (compilation), ``wait_seconds`` (for input) and
            ``images_per_second`` (first step left out), over all restarts; ``peak_memory_gib``,
            of the fullest device, or of the process on a CPU; ``skipped`` steps;
            ``totals``, sums over all steps of the metrics named ``count_*``. With an audit also
            ``trained``, {part: {leaves, moved, max_abs_change}}; ``state``, a digest of the whole of
            it; ``frozen_unchanged``, bitwise.
    """

    state: PyTree
    frozen: Parts
    report: JsonObject
