"""Records to batches: a batch is a pure function of seed and step, whatever the number of workers and hosts.

Each stream maps a global step to the rows of that step, so a training resumes by starting its stream at a step;
no iterator state is kept and no filter stands in a stream.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from piapdf_jax.batch import Batch, FeedbackBatch, IdentityBatch
from piapdf_jax.data.frames import (
    Reading,
    frame_name,
    host_slots,
    read_batch,
    read_identities,
)
from piapdf_jax.data.source import Records


@functools.lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, size]).permutation(size)


def epoch_rows(size: int, batch_size: int, seed: int, step: int, *, ahead: int = 0) -> np.ndarray:
    """Rows of one step: whole batches of an epoch's permutation, the remainder dropped.

    Args:
        size: number of records.
        batch_size: rows a step; a set smaller than one batch is repeated to fill it.
        seed: of the permutations.
        step: global step.
        ahead: take the batch that comes this many steps later in the same epoch, wrapping inside it. With
            0 < ahead < batches an epoch the rows are disjoint from those of ``ahead=0``.

    Returns:
        [batch_size] int64.
    """
    batches = max(1, size // batch_size)
    epoch, position = divmod(step, batches)
    rows = _permutation(seed, epoch, size)
    start = (position + ahead) % batches * batch_size
    return np.resize(rows[start : start + batch_size], batch_size)


class Stream(Protocol):
    """Batches as a function of the global step."""

    def __call__(self, step: int) -> Any:
        """The batch of a step, from 0; of several hosts, this one's share."""
        ...

    def frames(self, step: int) -> dict[str, list[str]]:
        """Names of the frames of a step, of all hosts, by part of the batch."""
        ...


@dataclasses.dataclass(frozen=True)
class LabeledStream:
    """Step to ``Batch``: coded frames with labels, or any frames for their predefined maps."""

    records: Records
    reading: Reading

    def __call__(self, step: int) -> Batch:
        """The batch of one step."""
        r = self.reading
        return read_batch([(self.records, row, False) for row in self._rows(step)], r, step=step)

    def _rows(self, step: int) -> np.ndarray:
        return epoch_rows(len(self.records), self.reading.batch_size, self.reading.seed, step)

    def frames(self, step: int) -> dict[str, list[str]]:
        """Names of the frames of one step."""
        return {"frames": [frame_name(self.records[row]) for row in self._rows(step)]}


@dataclasses.dataclass(frozen=True)
class FeedbackStream:
    """Step to ``FeedbackBatch`` (section 3.3): x_l and, disjoint from it by construction, x_u.

    Attributes:
        coded: labeled frames of the training people.
        pools: sources of unlabeled frames with their shares of x_u; shares sum to at most 1.
        relabel_fraction: share of x_u that are coded frames with their labels withheld.
        reading: how.
    """

    coded: Records
    pools: tuple[tuple[Records, float], ...]
    relabel_fraction: float
    reading: Reading

    def rows(self, step: int) -> tuple[np.ndarray, list[tuple[Records, int, bool]]]:
        """Labeled rows of a step, and the places of its unlabeled frames."""
        r = self.reading
        size = len(self.coded)
        batches = size // r.batch_size
        labeled = epoch_rows(size, r.batch_size, r.seed, step)
        recycled = round(self.relabel_fraction * r.batch_size) if self.pools else r.batch_size
        if recycled and batches < 2:
            raise ValueError(
                f"{size} labeled frames are too few to withhold some from a batch of {r.batch_size}:"
                " lower the batch size or set df.relabel_fraction=0"
            )
        places: list[tuple[Records, int, bool]] = []
        if recycled:
            again = epoch_rows(size, r.batch_size, r.seed, step, ahead=max(1, batches // 2))
            places += [(self.coded, int(row), True) for row in again[:recycled]]
        left = r.batch_size - recycled
        for number, (records, share) in enumerate(self.pools):
            last = number == len(self.pools) - 1
            count = left if last else min(left, round(share * r.batch_size))
            rows = epoch_rows(len(records), max(count, 1), r.seed + 1 + number, step)[:count]
            places += [(records, int(row), True) for row in rows]
            left -= count
        return labeled, places

    def __call__(self, step: int) -> FeedbackBatch:
        """The batch of one step."""
        labeled, places = self.rows(step)
        coded = [(self.coded, int(row), False) for row in labeled]
        return FeedbackBatch(
            labeled=read_batch(coded, self.reading, step=step),
            unlabeled=read_batch(places, self.reading, step=step, name=1),
        )

    def frames(self, step: int) -> dict[str, list[str]]:
        """Names of the frames of one step, labeled and unlabeled."""
        labeled, places = self.rows(step)
        return {
            "labeled": [frame_name(self.coded[row]) for row in labeled],
            "unlabeled": [frame_name(records[row]) for records, row, _ in places],
        }


@dataclasses.dataclass(frozen=True)
class IdentityStream:
    """Step to ``IdentityBatch``: faces of known people."""

    records: Records
    reading: Reading

    def __call__(self, step: int) -> IdentityBatch:
        """The batch of one step."""
        return read_identities(self.records, self._rows(step), self.reading, step=step)

    def _rows(self, step: int) -> np.ndarray:
        return epoch_rows(len(self.records), self.reading.batch_size, self.reading.seed, step)

    def frames(self, step: int) -> dict[str, list[str]]:
        """Names of the pictures of one step."""
        return {"frames": [frame_name(self.records[row]) for row in self._rows(step)]}


def iterate(
    stream: Callable[[int], Any], start_step: int, *, workers: int = 0, stop: int = 2**31
) -> Iterator[Any]:
    """Reads ahead from a step on, in threads or in spawned worker processes.

    Args:
        stream: step -> batch.
        start_step: first step.
        stop: first step that is not read.
        workers: processes; 0 uses two threads of this one. The batches are the same either way.

    Returns:
        An iterator with ``close()``; its ``next`` raises ``ReaderDied`` when a worker process is gone.
    """
    import grain

    dataset = grain.MapDataset.range(start_step, stop).map(stream)
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    steps = dataset.to_iter_dataset(options)
    if not workers:
        return iter(steps)
    steps = steps.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2),
        worker_init_fn=_start_worker,
    )
    return _Watched(iter(steps))


class ReaderDied(RuntimeError):
    """A reader process ended without an error of its own; the message says how."""


class _Watched:
    """An iterator over worker processes that tells a dead one from an error in one."""

    def __init__(self, steps: Any) -> None:
        self._steps = steps

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._steps)
        except RuntimeError as error:
            found = re.search(r"exit ?code:? ?(-?\d+)", str(error), re.IGNORECASE)
            if found is None:
                raise
            raise ReaderDied(
                f"a process that reads data died with exit code {found[1]} (-9: killed, most often"
                " for want of memory): lower data.workers or the batch size; the same command goes"
                " on from the last checkpoint"
            ) from error

    def close(self) -> None:
        self._steps.close()


def _start_worker(index: int, count: int) -> None:
    import cv2
    import jax

    # Each worker has one core to itself, and none may take a device.
    cv2.setNumThreads(1)
    jax.config.update("jax_platforms", "cpu")


@dataclasses.dataclass(frozen=True)
class EvaluationStream:
    """Step to ``Batch``: one pass in the order of the rows, not augmented, the end padded with the last row."""

    records: Records
    reading: Reading

    def __len__(self) -> int:
        return -(-len(self.records) // self.reading.batch_size)

    def __call__(self, step: int) -> Batch:
        """The batch of one step; ``valid`` is 0 for padding."""
        reading = dataclasses.replace(self.reading, augment=None)
        rows = np.arange(step * reading.batch_size, (step + 1) * reading.batch_size)
        inside = rows < len(self.records)
        places = [
            (self.records, int(row), False) for row in np.minimum(rows, len(self.records) - 1)
        ]
        slots = host_slots(reading, len(rows))
        valid = inside[slots.start : slots.stop].astype(np.float32)
        return read_batch(places, reading, step=step)._replace(valid=valid)  # pyright: ignore


def evaluation_batches(records: Records, reading: Reading) -> Iterator[Batch]:
    """One pass over a split, read ahead; face recognition sets come with every label -1."""
    stream = EvaluationStream(records, reading)
    steps = iterate(stream, 0, workers=0, stop=len(stream))
    try:
        yield from steps
    finally:
        steps.close()  # pyright: ignore[reportAttributeAccessIssue]
