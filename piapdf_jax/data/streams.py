"""Records to batches: a batch is a pure function of seed and step, whatever the number of workers and hosts.

Each stream maps a global step to the rows of that step, so a training resumes by starting its stream at a step;
no iterator state is kept, and no stream filters records.
"""

import dataclasses
import functools
from typing import Any, Protocol

import numpy as np

from piapdf_jax.batch import Batch, IdentityBatch
from piapdf_jax.data.frames import (
    ReaderConfig,
    SampleRef,
    frame_name,
    read_batch,
    read_identities,
)
from piapdf_jax.data.source import Records


@functools.lru_cache(maxsize=8)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, size]).permutation(size)


def epoch_rows(
    size: int, batch_size: int, seed: int, step: int, *, epoch_offset: int = 0
) -> np.ndarray:
    """Returns the rows of one step: whole batches of an epoch's permutation, the remainder dropped.

    Args:
        size: number of records.
        batch_size: rows a step; a set smaller than one batch is repeated to fill it.
        seed: of the permutations.
        step: global step.
        epoch_offset: take the batch that comes this many steps later in the same epoch, wrapping inside it. With
            0 < epoch_offset < batches an epoch the rows are disjoint from those of ``epoch_offset=0``.

    Returns:
        [batch_size] int64.
    """
    batches = max(1, size // batch_size)
    epoch, position = divmod(step, batches)
    rows = _permutation(seed, epoch, size)
    start = (position + epoch_offset) % batches * batch_size
    return np.resize(rows[start : start + batch_size], batch_size)


class Stream(Protocol):
    """Batches as a function of the global step."""

    def __call__(self, step: int) -> Any:
        """Reads the batch of a step, from 0; of several hosts, this one's share."""
        ...

    def frames(self, step: int) -> dict[str, list[str]]:
        """Returns the names of the frames of a step, of all hosts, by part of the batch."""
        ...


@dataclasses.dataclass(frozen=True)
class LabeledStream:
    """Step to ``Batch``: coded frames with labels, or any frames for their predefined maps."""

    records: Records
    reading: ReaderConfig

    def __call__(self, step: int) -> Batch:
        """Reads the batch of one step."""
        samples = [SampleRef(self.records, int(row)) for row in self._rows(step)]
        return read_batch(samples, self.reading, step=step)

    def _rows(self, step: int) -> np.ndarray:
        return epoch_rows(len(self.records), self.reading.batch_size, self.reading.seed, step)

    def frames(self, step: int) -> dict[str, list[str]]:
        """Returns the names of the frames of one step."""
        return {"frames": [frame_name(self.records[row]) for row in self._rows(step)]}


@dataclasses.dataclass(frozen=True)
class IdentityStream:
    """Step to ``IdentityBatch``: faces of known people."""

    records: Records
    reading: ReaderConfig

    def __call__(self, step: int) -> IdentityBatch:
        """Reads the batch of one step."""
        return read_identities(self.records, self._rows(step), self.reading, step=step)

    def _rows(self, step: int) -> np.ndarray:
        return epoch_rows(len(self.records), self.reading.batch_size, self.reading.seed, step)

    def frames(self, step: int) -> dict[str, list[str]]:
        """Returns the names of the pictures of one step."""
        return {"frames": [frame_name(self.records[row]) for row in self._rows(step)]}
