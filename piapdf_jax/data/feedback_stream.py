"""Labeled and unlabeled frames of one step of discrete feedback (section 3.3)."""

import dataclasses

import numpy as np

from piapdf_jax.batch import Batch, FeedbackBatch
from piapdf_jax.data.frames import ReaderConfig, SampleRef, frame_name, read_batch
from piapdf_jax.data.source import Records
from piapdf_jax.data.streams import epoch_rows


@dataclasses.dataclass(frozen=True)
class FeedbackStream:
    """Step to ``FeedbackBatch`` (section 3.3): x_l and, disjoint from it by construction, x_u.

    From step ``steps`` on, in the fine-tuning, a ``Batch`` of x_l alone, the next ones in the same order.

    Attributes:
        coded: labeled frames of the training people.
        pools: sources of unlabeled frames with their shares of x_u; shares sum to at most 1.
        relabel_fraction: share of x_u that are coded frames with their labels withheld.
        reading: how.
        judges: labeled frames of other people, a batch of which judges each step; None for none.
        steps: of feedback; None for no end.
        clean: read x_u without augmentation as well.
        unlabeled_ratio: frames of x_u a frame of x_l.
    """

    coded: Records
    pools: tuple[tuple[Records, float], ...]
    relabel_fraction: float
    reading: ReaderConfig
    judges: Records | None = None
    steps: int | None = None
    clean: bool = False
    unlabeled_ratio: int = 1

    def check(self) -> None:
        """Checks that there are enough labeled frames to hide the labels of some.

        Raises:
            ValueError: naming how many there are, and what would do.
        """
        size, batch_size = len(self.coded), self.reading.batch_size
        batches = 1 + -(-self._num_relabeled // batch_size)
        if self._num_relabeled and size < batches * batch_size:
            other = "or set df.relabel_fraction=0"
            alone = "(df.relabel_fraction is 1 without other unlabeled frames)"
            raise ValueError(
                f"{size} labeled frames are too few for a batch of {batch_size} and {self._num_relabeled}"
                f" more whose labels are hidden: lower the batch size to {max(1, size // batches)}"
                f" {other if self.pools else alone}"
            )

    @property
    def _num_relabeled(self) -> int:
        """How many frames of x_u are coded ones; all where there are no others."""
        size = self._unlabeled
        return round(self.relabel_fraction * size) if self.pools else size

    @property
    def _unlabeled(self) -> int:
        return self.unlabeled_ratio * self.reading.batch_size

    def rows(self, step: int) -> tuple[np.ndarray, list[SampleRef]]:
        """Returns the labeled rows of a step, and its unlabeled frames."""
        self.check()
        r = self.reading
        size = len(self.coded)
        labeled = epoch_rows(size, r.batch_size, r.seed, step)
        num_relabeled = self._num_relabeled
        samples = [
            SampleRef(self.coded, int(row), hide_labels=True)
            for row in self._other_rows(step, num_relabeled)
        ]
        left = self._unlabeled - num_relabeled
        for number, (records, share) in enumerate(self.pools):
            last = number == len(self.pools) - 1
            count = left if last else min(left, round(share * self._unlabeled))
            rows = epoch_rows(len(records), max(count, 1), r.seed + 1 + number, step)[:count]
            samples += [SampleRef(records, int(row), hide_labels=True) for row in rows]
            left -= count
        return labeled, samples

    def _other_rows(self, step: int, count: int) -> np.ndarray:
        """So many coded rows of other batches of the epoch, from the opposite one on."""
        r, size = self.reading, len(self.coded)
        others = size // r.batch_size - 1
        offsets = [max(0, (others + 1) // 2 - 1) + k for k in range(-(-count // r.batch_size))]
        rows = [
            epoch_rows(size, r.batch_size, r.seed, step, epoch_offset=a % others + 1)
            for a in offsets
        ]
        return np.concatenate(rows)[:count] if rows else np.zeros(0, np.int64)

    def _samples(self, step: int) -> tuple[list[SampleRef], ...]:
        """Where the labeled frames of a step are, the unlabeled ones, and those that judge, if any."""
        labeled, unlabeled = self.rows(step)
        coded = [SampleRef(self.coded, int(row)) for row in labeled]
        if self._is_fine_tuning(step):
            return coded, [], []
        judging: list[SampleRef] = []
        if self.judges is not None:
            # An order of their own, after those of the pools; a small set is repeated.
            size, seed = self.reading.batch_size, self.reading.seed + 1 + len(self.pools)
            rows = epoch_rows(len(self.judges), size, seed, step)
            judging = [SampleRef(self.judges, int(row)) for row in rows]
        return coded, unlabeled, judging

    def _is_fine_tuning(self, step: int) -> bool:
        return self.steps is not None and step >= self.steps

    def __call__(self, step: int) -> FeedbackBatch | Batch:
        """Reads the batch of one step; a plain one of labeled frames after the last step of feedback."""
        samples = self._samples(step)
        read = [
            read_batch(part, self.reading, step=step, name=k) if part else None
            for k, part in enumerate(samples)
        ]
        labeled, unlabeled, judge = read
        assert labeled is not None
        if unlabeled is None:
            return labeled
        plain = dataclasses.replace(self.reading, augment=None)
        clean = read_batch(samples[1], plain, step=step).image if self.clean else None
        return FeedbackBatch(labeled, unlabeled, judge, clean)

    def frames(self, step: int) -> dict[str, list[str]]:
        """Returns the names of the frames of one step: labeled, and where there are any unlabeled and judging ones."""
        parts = zip(("labeled", "unlabeled", "judge"), self._samples(step), strict=True)
        return {
            name: [frame_name(sample.records[sample.record_index]) for sample in part]
            for name, part in parts
            if part
        }
