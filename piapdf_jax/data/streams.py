"""Records to batches: a batch is a pure function of seed and step, whatever the number of workers and hosts.

Each stream maps a global step to the rows of that step, so a training resumes by starting its stream at a step;
no iterator state is kept and no filter stands in a stream.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from piapdf_jax.action_units import UNKNOWN, record_columns
from piapdf_jax.batch import Batch, FeedbackBatch, IdentityBatch
from piapdf_jax.data.augment import AugmentConfig, recolor, similarity, warp
from piapdf_jax.data.source import CorruptShard, Records
from piapdf_jax.records import unpack_planes


@dataclasses.dataclass(frozen=True)
class Reading:
    """How records become arrays.

    Attributes:
        image_size: side of images and maps, pixels; records hold 256.
        batch_size: global batch.
        seed: of order and augmentation.
        augment: ranges, or None for none.
        aus: FACS numbers of the label columns and, in this order, of the PI maps.
        maps: FACS numbers of the PI maps to read, () for none.
        workers: grain worker processes; 0 reads in this process.
        host, hosts: which share of each global batch this process reads.
    """

    image_size: int
    batch_size: int
    seed: int = 0
    augment: AugmentConfig | None = None
    aus: tuple[int, ...] = ()
    maps: tuple[int, ...] = ()
    workers: int = 0
    host: int = 0
    hosts: int = 1


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


def load_image(records: Records, row: int, reading: Reading, rng: np.random.Generator | None):
    """Decodes, shrinks and augments one record.

    Args:
        records: source.
        row: which.
        reading: sizes, maps, augmentation.
        rng: generator of this image, or None for no augmentation.

    Returns:
        (record, image [S, S, 3] float32 in [0, 1], maps [S, S, K] float32 of 0 and 1 or None).

    Raises:
        CorruptShard: for a picture that does not decode.
    """
    import cv2

    record = records[row]
    image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
    packed = None
    if reading.maps:
        packed = cv2.imdecode(np.frombuffer(record["pi_maps"], np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or (reading.maps and packed is None):
        raise CorruptShard(f"shard {records.shard_of(row)} holds a picture that does not decode")
    size = reading.image_size, reading.image_size
    if image.shape[:2] != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        packed = packed if packed is None else cv2.resize(packed, size, interpolation=0)
    if rng is not None and reading.augment is not None:
        image, packed = warp(image, packed, similarity(rng, reading.augment, reading.image_size))
    image = image.astype(np.float32) / np.float32(255)
    if rng is not None and reading.augment is not None:
        image = recolor(rng, reading.augment, image)
    maps = None
    if packed is not None:
        maps = unpack_planes(packed, record_columns(reading.maps)).astype(np.float32)
    return record, image, maps


def _generator(reading: Reading, name: int, step: int, slot: int) -> np.random.Generator | None:
    if reading.augment is None:
        return None
    return np.random.default_rng([reading.seed, name, step, slot])


def _host_slots(reading: Reading, count: int) -> range:
    if count % reading.hosts:
        raise ValueError(f"a batch of {count} does not divide over {reading.hosts} hosts")
    share = count // reading.hosts
    return range(reading.host * share, (reading.host + 1) * share)


def read_batch(
    places: list[tuple[Records, int, bool]], reading: Reading, *, step: int, name: int = 0
) -> Batch:
    """Reads this host's share of one batch.

    Args:
        places: for each slot of the global batch: records, row, and whether its labels are withheld.
        reading: how.
        step: global step, for the augmentation's draw.
        name: number of the stream, so that two streams of a step draw apart.

    Returns:
        A ``Batch`` of numpy arrays.
    """
    columns = record_columns(reading.aus)
    images, labels, maps, rows = [], [], [], []
    for slot in _host_slots(reading, len(places)):
        records, row, withheld = places[slot]
        rng = _generator(reading, name, step, slot)
        record, image, planes = load_image(records, row, reading, rng)
        images.append(image)
        maps.append(planes)
        known = "labels" in record and not withheld
        labels.append(
            np.asarray(record["labels"], np.float32)[columns]
            if known
            else np.full(len(columns), UNKNOWN, np.float32)
        )
        rows.append(row)
    # Batches are numpy arrays on this side of the devices.
    arrays: Any = {
        "image": np.stack(images),
        "labels": np.stack(labels),
        "pi_maps": np.stack(maps) if reading.maps else None,
        "valid": np.ones(len(rows), np.float32),
        "row": np.asarray(rows, np.int32),
    }
    return Batch(**arrays)


@dataclasses.dataclass(frozen=True)
class LabeledStream:
    """Step to ``Batch``: coded frames with labels, or any frames for their predefined maps."""

    records: Records
    reading: Reading

    def __call__(self, step: int) -> Batch:
        """The batch of one step."""
        r = self.reading
        rows = epoch_rows(len(self.records), r.batch_size, r.seed, step)
        return read_batch([(self.records, row, False) for row in rows], r, step=step)


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


@dataclasses.dataclass(frozen=True)
class IdentityStream:
    """Step to ``IdentityBatch``: faces of known people."""

    records: Records
    reading: Reading

    def __call__(self, step: int) -> IdentityBatch:
        """The batch of one step."""
        r = self.reading
        rows = epoch_rows(len(self.records), r.batch_size, r.seed, step)
        images, identities = [], []
        for slot in _host_slots(r, len(rows)):
            rng = _generator(r, 0, step, slot)
            record, image, _ = load_image(self.records, rows[slot], r, rng)
            images.append(image)
            identities.append(record["identity"])
        return IdentityBatch(np.stack(images), np.asarray(identities, np.int32))  # pyright: ignore


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
        An iterator with ``close()``.
    """
    import grain

    dataset = grain.MapDataset.range(start_step, stop).map(stream)
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    steps = dataset.to_iter_dataset(options)
    if workers:
        steps = steps.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
        )
    return iter(steps)


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
        slots = _host_slots(reading, len(rows))
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
