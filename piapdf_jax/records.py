"""One record on disk: feature names, shapes and dtypes, and the packing of PI maps to bits.

All data sets with action units share one record; numpy alone, so that builders, readers and workers agree
without loading anything heavy. Labels, intensities and PI maps of a record are in one order, that of ``RECORD_AUS``:

    bit    0    1    2    3    4    5    6    7    8    9   10   11   12   13   14
    unit   1    2    4    6    7    9   10   12   14   15   17   23   24   25   26

``by_unit`` gives them under the numbers of the units instead.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from piapdf_jax.action_units import RECORD_AUS, record_columns

IMAGE_SIZE = 256
LANDMARKS = 68
_BITS = 16

#: An AU record. ``image``: JPEG, RGB [256, 256, 3] uint8. ``pi_maps``: PNG, [256, 256, 1] uint16, bit k is the plane of
#: ``RECORD_AUS[k]``. ``landmarks``: [68, 2] float32, (x, y) pixels of the crop. ``labels``: [15] int8 over
#: ``RECORD_AUS``, 0 absent, 1 present, -1 unknown. ``intensities``: [15] int8, 0..5, -1 unknown.
#: ``subject``, ``task``: text ("" where a data set has no tasks). ``frame``: the data set's frame number.
#: ``coded``: 1 where a label row exists.
AU_FEATURES = (
    "image", "pi_maps", "landmarks", "labels", "intensities", "subject", "task", "frame", "coded",
)  # fmt: skip
#: A record of a face recognition set. ``image`` and ``landmarks`` as above; ``name``: text; ``identity``: contiguous id
#: from 0; ``number``: which picture of that person, from 1.
IDENTITY_FEATURES = ("image", "landmarks", "name", "identity", "number")

_SHAPES = {
    "image": ((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8),
    "landmarks": ((LANDMARKS, 2), np.float32),
    "labels": ((len(RECORD_AUS),), np.int8),
    "intensities": ((len(RECORD_AUS),), np.int8),
}


def pack_planes(planes: np.ndarray) -> np.ndarray:
    """Packs binary PI maps into the bits of one image.

    Args:
        planes: [H, W, K] of 0 and 1 (any dtype) with K from 1 to 16.

    Returns:
        [H, W] uint16, bit k being plane k.

    Raises:
        ValueError: for another shape, or for values between or beyond 0 and 1, such as probabilities.
    """
    planes = np.asarray(planes)
    if planes.ndim != 3 or not 1 <= planes.shape[-1] <= _BITS:
        raise ValueError(f"expected [H, W, K] with 1 <= K <= {_BITS}, got shape {planes.shape}")
    present = planes != 0
    # Of bytes the largest tells as much, in a tenth of the time.
    unsigned = planes.dtype.kind in "bu"
    if planes.max(initial=0) > 1 if unsigned else not np.array_equal(planes, present):
        raise ValueError(
            f"expected planes of 0 and 1, got {planes.dtype} with other values: binarize them first,"
            " such as `probabilities >= 0.5`; a packed image is none of planes"
        )
    # A product of float32 is exact for 16 bits, and several times faster than shifting integers.
    weights = np.exp2(np.arange(planes.shape[-1], dtype=np.float32))
    return (present.astype(np.float32) @ weights).astype(np.uint16)


def unpack_planes(packed: np.ndarray, columns: Sequence[int] | None = None) -> np.ndarray:
    """Takes some planes out of a packed image.

    Args:
        packed: [H, W] uint16 from ``pack_planes``, or [H, W, 1] as a record holds it.
        columns: wanted planes by bit, such as ``record_columns(BP4D_AUS)``; None for the 15 of
            ``RECORD_AUS``.

    Returns:
        [H, W, len(columns)] uint8 of 0 and 1.

    Raises:
        ValueError: for an array of another shape or dtype, or a column that is no bit.
    """
    bits = np.array(
        _checked_columns(range(len(RECORD_AUS)) if columns is None else columns), np.uint16
    )
    return (np.right_shift(_one_image(packed)[..., None], bits) & np.uint16(1)).astype(np.uint8)


def select_planes(packed: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """Takes some planes out of a packed image, packed again.

    Args:
        packed: [H, W] uint16 from ``pack_planes``, or [H, W, 1] as a record holds it.
        columns: wanted planes by bit.

    Returns:
        [H, W] uint16, bit k being plane ``columns[k]``.

    Raises:
        ValueError: as ``unpack_planes``.
    """
    # Every value is in range: clipping is only faster than checking.
    return np.take(_selection(tuple(columns)), _one_image(packed), mode="clip")


@functools.lru_cache(maxsize=8)
def _selection(columns: tuple[int, ...]) -> np.ndarray:
    """[65536] uint16: what becomes of each possible pixel."""
    pixels = np.arange(2**_BITS, dtype=np.uint16)[:, None]
    return pack_planes(unpack_planes(pixels, columns))[:, 0]


def _one_image(packed: object) -> np.ndarray:
    """[H, W] uint16 of what may be the planes of one image, packed."""
    packed = np.asarray(packed)
    fits = packed.ndim == 2 or (packed.ndim == 3 and packed.shape[-1] == 1)
    if not fits or packed.dtype.kind != "u" or packed.dtype.itemsize != 2:
        raise ValueError(
            "expected the packed planes of one image, uint16 [H, W] or [H, W, 1], got"
            f" {packed.dtype} {packed.shape}{_reason(packed)}"
        )
    return packed.reshape(packed.shape[:2])


def _reason(packed: np.ndarray) -> str:
    """What probably went wrong, for the message."""
    if packed.ndim == 4:
        return ": take the images of a batch one by one"
    if packed.ndim == 3 and packed.shape[-1] in (3, len(RECORD_AUS), _BITS):
        return ": these are a picture or planes already"
    if packed.dtype.kind in "SO":
        return ": decode the PNG first, all of its 16 bits"
    return ": read the PNG with all of its 16 bits, and leave its numbers as they are"


def _checked_columns(columns: Sequence[int]) -> list[int]:
    found = np.asarray(columns)
    integers = not found.size or found.dtype.kind in "iu"
    if found.ndim != 1 or not integers or not ((found >= 0) & (found < _BITS)).all():
        raise ValueError(
            f"columns are a list of bits, 0 to {_BITS - 1}, got {found.tolist()}: record_columns((1, 12))"
            " gives those of AU1 and AU12, and by_unit gives maps by unit number"
        )
    return found.astype(int).tolist()


class ByUnit(NamedTuple):
    """One record under the numbers of its action units.

    Attributes:
        image: [256, 256, 3] uint8 RGB.
        labels: {FACS number: 1 present, 0 absent, -1 unknown}.
        maps: {FACS number: [256, 256] bool}, the predefined PI maps.
        intensities: {FACS number: 0 to 5, -1 unknown}.
        landmarks: [68, 2] float32, (x, y) in pixels of ``image``.
        subject: participant.
        task: "" where the data set has none.
        frame: the data set's own frame number.
        coded: whether the data set has a label row for the frame.
    """

    image: np.ndarray
    labels: dict[int, int]
    maps: dict[int, np.ndarray]
    intensities: dict[int, int]
    landmarks: np.ndarray
    subject: str
    task: str
    frame: int
    coded: bool


def by_unit(record: Mapping[str, Any], units: Sequence[int] = RECORD_AUS) -> ByUnit:
    """Gives a record's labels and PI maps under the numbers of their action units.

    Args:
        record: as TFDS reads it, pictures decoded.
        units: wanted FACS numbers.

    Returns:
        The record; every dictionary in the order of ``units``.

    Raises:
        ValueError: for a record without action units, with other shapes, or with pictures that are
            still encoded, or for a unit that records do not hold.
    """
    missing = [name for name in AU_FEATURES if name not in record]
    if missing:
        raise ValueError(
            f"expected a record with action units, whose features are {', '.join(AU_FEATURES)}:"
            f" there is no {missing[0]!r} among {', '.join(map(str, record))}"
        )
    columns = record_columns(tuple(units))
    planes = unpack_planes(record["pi_maps"], columns).astype(bool)
    found = {name: np.asarray(record[name]) for name in _SHAPES}
    for name, (shape, dtype) in _SHAPES.items():
        if found[name].shape != shape or found[name].dtype != dtype:
            raise ValueError(
                f"expected {name!r} to be {np.dtype(dtype)} {shape}, got {found[name].dtype}"
                f" {found[name].shape}"
            )
    if planes.shape[:2] != found["image"].shape[:2]:
        raise ValueError(f"expected PI maps of {IMAGE_SIZE} pixels, got {planes.shape[:2]}")

    def cells(name: str) -> dict[int, int]:
        return {au: int(found[name][k]) for au, k in zip(units, columns, strict=True)}

    return ByUnit(
        image=found["image"],
        labels=cells("labels"),
        # Each map its own memory: a view would keep all of them.
        maps={au: planes[..., k].copy() for k, au in enumerate(units)},
        intensities=cells("intensities"),
        landmarks=found["landmarks"],
        subject=_text(record["subject"]),
        task=_text(record["task"]),
        frame=int(record["frame"]),
        coded=bool(record["coded"]),
    )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
