"""Records to the arrays of one batch: decoded, shrunk, augmented, and this process's share of them."""

import dataclasses
import threading
import weakref
from typing import Any, NamedTuple

import numpy as np

from piapdf_jax.action_units import UNKNOWN, record_columns
from piapdf_jax.batch import Batch, IdentityBatch
from piapdf_jax.data.augment import AugmentConfig, color_jitter, sample_affine, warp, warp_landmarks
from piapdf_jax.data.source import CorruptShard, Record, Records
from piapdf_jax.records import LANDMARKS, select_planes


@dataclasses.dataclass(frozen=True)
class ReaderConfig:
    """How records become arrays.

    Attributes:
        image_size: side of images and maps, pixels; records hold 256.
        batch_size: global batch.
        seed: of order and augmentation.
        augment: ranges, or None for none.
        aus: FACS numbers of the label columns and, in this order, of the PI maps.
        maps: FACS numbers of the PI maps to read, () for none.
        landmarks: whether the batches of frames carry landmarks.
        host, hosts: which share of each global batch this process reads.
        keep_bytes: memory that the decoded frames of a training's data set may take, in each process that reads;
            those of a larger one are decoded anew in every epoch. No number depends on it.
    """

    image_size: int
    batch_size: int
    seed: int = 0
    augment: AugmentConfig | None = None
    aus: tuple[int, ...] = ()
    maps: tuple[int, ...] = ()
    landmarks: bool = False
    host: int = 0
    hosts: int = 1
    keep_bytes: int = 2**28


class SampleRef(NamedTuple):
    """Where one frame of a batch comes from.

    Attributes:
        records: its source.
        record_index: position of the record there.
        hide_labels: whether the batch has its labels as unknown.
    """

    records: Records
    record_index: int
    hide_labels: bool = False


class Frame(NamedTuple):
    """One record, read.

    Attributes:
        record: as it came from its shard; in a training maybe without its pictures.
        image: [S, S, 3] uint8 RGB.
        pi_maps: [S, S] uint16, bit k is the map of ``ReaderConfig.maps[k]``; None where none are read.
        landmarks: [68, 2] float32, (x, y) in pixels of ``image``; None where none are read.
    """

    record: Record
    image: np.ndarray
    pi_maps: np.ndarray | None
    landmarks: np.ndarray | None


def frame_name(record: Record) -> str:
    """Returns subject/task/frame of a record, or name/number in a face recognition set."""
    if "name" in record:
        return f"{record['name'].decode()}/{record['number']}"
    place = (record["subject"].decode(), record["task"].decode(), str(record["frame"]))
    return "/".join(part for part in place if part)


def load_frame(
    records: Records, row: int, reading: ReaderConfig, rng: np.random.Generator | None = None
) -> Frame:
    """Decodes, shrinks and augments one record.

    Args:
        records: source.
        row: which.
        reading: size, maps, landmarks, augmentation.
        rng: generator of this image, or None for no augmentation.

    Returns:
        The frame; image, maps and landmarks in register.

    Raises:
        CorruptShard: for a picture that does not decode.
    """
    augment = reading.augment
    if rng is None or augment is None:
        record, image, packed, landmarks = _shrunk_frame(records, row, reading)
    else:
        record, image, packed, landmarks = _kept_frame(records, row, reading)
        matrix = sample_affine(rng, augment, reading.image_size)
        image, packed = warp(image, packed, matrix)
        landmarks = landmarks if landmarks is None else warp_landmarks(landmarks, matrix)
        image = color_jitter(rng, augment, image)
    if packed is not None:
        packed = select_planes(packed, record_columns(reading.maps))
    return Frame(record, image, packed, landmarks)


_kept: weakref.WeakKeyDictionary[Records, dict[tuple[object, ...], Frame]] = (
    weakref.WeakKeyDictionary()
)
_kept_lock = threading.Lock()


def _kept_frame(records: Records, row: int, reading: ReaderConfig) -> Frame:
    """The frame of ``_shrunk_frame``, decoded once for as long as its records live: half of what reading costs."""
    size = reading.image_size
    if len(records) * size**2 * (5 if reading.maps else 3) > reading.keep_bytes:
        return _shrunk_frame(records, row, reading)
    with _kept_lock:
        known = _kept.setdefault(records, {})
    key = int(row), size, bool(reading.maps), reading.landmarks
    if key not in known:
        frame = _shrunk_frame(records, row, reading)
        fields = {k: v for k, v in frame.record.items() if k not in ("image", "pi_maps")}
        known[key] = frame._replace(record=fields)
    return known[key]


def _shrunk_frame(records: Records, row: int, reading: ReaderConfig) -> Frame:
    """One record, decoded and shrunk."""
    import cv2

    record = records[row]
    image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
    packed = landmarks = None
    if reading.maps:
        packed = cv2.imdecode(np.frombuffer(record["pi_maps"], np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or (reading.maps and packed is None):
        raise CorruptShard(f"shard {records.shard_of(row)} holds a picture that does not decode")
    if reading.landmarks:
        landmarks = np.asarray(record["landmarks"], np.float32)
    image, packed, landmarks = _shrink(image, packed, landmarks, reading.image_size)
    return Frame(record, image, packed, landmarks)


def _shrink(
    image: np.ndarray, packed: np.ndarray | None, landmarks: np.ndarray | None, size: int
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Everything at another size; the center of the picture stays its center."""
    import cv2

    before = image.shape[0]
    if before == size:
        return image, packed, landmarks
    image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    if packed is not None:
        # The exact kind takes the pixel in the middle of an area, the plain one its corner.
        packed = cv2.resize(packed, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    if landmarks is not None:
        landmarks = (landmarks + np.float32(0.5)) * np.float32(size / before) - np.float32(0.5)
    return image, packed, landmarks


def host_slice(reading: ReaderConfig, count: int) -> range:
    """Returns the slots of a global batch that this process reads.

    Raises:
        ValueError: where the batch is not divisible by the number of hosts.
    """
    if count % reading.hosts:
        raise ValueError(f"a batch of {count} is not divisible by {reading.hosts} hosts")
    share = count // reading.hosts
    return range(reading.host * share, (reading.host + 1) * share)


def _generator(
    reading: ReaderConfig, name: int, step: int, slot: int
) -> np.random.Generator | None:
    if reading.augment is None:
        return None
    return np.random.default_rng([reading.seed, name, step, slot])


def read_batch(
    samples: list[SampleRef], reading: ReaderConfig, *, step: int, name: int = 0
) -> Batch:
    """Reads this host's share of one batch.

    Args:
        samples: one for each slot of the global batch.
        reading: how.
        step: global step, for the augmentation's draw.
        name: number of the stream, so that two streams of a step draw apart.

    Returns:
        A ``Batch`` of numpy arrays.
    """
    columns, size = record_columns(reading.aus), reading.image_size
    slots = host_slice(reading, len(samples))
    count = len(slots)
    # Batches are numpy arrays on this side of the devices.
    arrays: dict[str, Any] = {
        "image": np.empty((count, size, size, 3), np.uint8),
        "labels": np.full((count, len(columns)), UNKNOWN, np.float32),
        "pi_maps": np.empty((count, size, size), np.uint16) if reading.maps else None,
        "mask": np.ones(count, np.float32),
        "record_index": np.array([samples[slot].record_index for slot in slots], np.int32),
        "landmarks": np.empty((count, LANDMARKS, 2), np.float32) if reading.landmarks else None,
    }
    for k, slot in enumerate(slots):
        sample = samples[slot]
        frame = load_frame(
            sample.records, sample.record_index, reading, _generator(reading, name, step, slot)
        )
        for field in ("image", "pi_maps", "landmarks"):
            if arrays[field] is not None:
                arrays[field][k] = getattr(frame, field)
        if "labels" in frame.record and not sample.hide_labels:
            arrays["labels"][k] = np.asarray(frame.record["labels"])[columns]
    return Batch(**arrays)


def read_identities(
    records: Records, rows: np.ndarray, reading: ReaderConfig, *, step: int
) -> IdentityBatch:
    """Reads this host's share of one batch of known people.

    Args:
        records: source.
        rows: [B] of the global batch.
        reading: how.
        step: global step, for the augmentation's draw.

    Returns:
        An ``IdentityBatch`` of numpy arrays.
    """
    frames = [
        load_frame(records, rows[slot], reading, _generator(reading, 0, step, slot))
        for slot in host_slice(reading, len(rows))
    ]
    arrays: Any = np.stack([frame.image for frame in frames])
    identities: Any = np.array([frame.record["identity"] for frame in frames], np.int32)
    return IdentityBatch(arrays, identities)
