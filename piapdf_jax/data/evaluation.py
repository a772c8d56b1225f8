"""One pass over a split for evaluation: in the order of the rows, not augmented."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from piapdf_jax.batch import Batch
from piapdf_jax.data.frames import ReaderConfig, SampleRef, host_slice, read_batch
from piapdf_jax.data.prefetch import prefetch
from piapdf_jax.data.source import Records


@dataclasses.dataclass(frozen=True)
class EvaluationStream:
    """Step to ``Batch``: one pass in the order of the rows, not augmented, the end padded with the last row."""

    records: Records
    reading: ReaderConfig

    def __len__(self) -> int:
        return -(-len(self.records) // self.reading.batch_size)

    def __call__(self, step: int) -> Batch:
        """Reads the batch of one step; ``mask`` is 0 for padding."""
        reading = dataclasses.replace(self.reading, augment=None)
        rows = np.arange(step * reading.batch_size, (step + 1) * reading.batch_size)
        inside = rows < len(self.records)
        samples = [
            SampleRef(self.records, int(row)) for row in np.minimum(rows, len(self.records) - 1)
        ]
        slots = host_slice(reading, len(rows))
        mask = inside[slots.start : slots.stop].astype(np.float32)
        return read_batch(samples, reading, step=step)._replace(mask=mask)  # pyright: ignore


def evaluation_batches(records: Records, reading: ReaderConfig) -> Iterator[Batch]:
    """Yields the batches of one pass over a split, read ahead; face recognition sets come with every label -1."""
    stream = EvaluationStream(records, reading)
    steps = prefetch(stream, 0, workers=0, stop=len(stream))
    try:
        yield from steps
    finally:
        steps.close()  # pyright: ignore[reportAttributeAccessIssue]
