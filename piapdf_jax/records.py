"""One record on disk: feature names, shapes and dtypes, and the packing of PI maps to bits.

All data sets with action units share one record; numpy alone, so that builders, readers and workers agree
without loading anything heavy.
"""

import functools

import numpy as np

from piapdf_jax.action_units import RECORD_AUS

IMAGE_SIZE = 256
LANDMARKS = 68
PLANES = len(RECORD_AUS)

#: An AU record. ``image``: JPEG, RGB [256, 256, 3] uint8. ``pi_maps``: PNG, [256, 256, 1] uint16, bit k is the plane of
#: ``RECORD_AUS[k]``. ``landmarks``: [68, 2] float32, (x, y) pixels of the crop. ``labels``: [15] int8 over
#: ``RECORD_AUS``, 0 absent, 1 present, -1 unknown. ``intensities``: [15] int8, 0..5, -1 unknown.
#: ``subject``, ``task``: text ("" where a data set has no tasks). ``frame``: the data set's frame number.
#: ``coded``: 1 where a label row exists.
AU_FEATURES = (
    "image", "pi_maps", "landmarks", "labels", "intensities", "subject", "task", "frame", "coded",
)  # fmt: skip
#: A record of a face recognition set. ``image`` as above; ``name``: text; ``identity``: contiguous id from 0;
#: ``number``: which picture of that person, from 1.
IDENTITY_FEATURES = ("image", "name", "identity", "number")


def pack_planes(planes: np.ndarray) -> np.ndarray:
    """Packs binary PI maps into the bits of one image.

    Args:
        planes: [H, W, K] of 0 and 1 (any dtype) with K at most 16.

    Returns:
        [H, W] uint16, bit k being plane k.

    Raises:
        ValueError: for more than 16 planes.
    """
    if planes.ndim != 3 or planes.shape[-1] > 16:
        raise ValueError(f"expected [H, W, K] with K <= 16, got shape {planes.shape}")
    # A product of float32 is exact for 16 bits, and several times faster than shifting integers.
    weights = np.exp2(np.arange(planes.shape[-1], dtype=np.float32))
    return ((planes != 0).astype(np.float32) @ weights).astype(np.uint16)


def unpack_planes(packed: np.ndarray, columns: list[int]) -> np.ndarray:
    """Takes some planes out of a packed image.

    Args:
        packed: [H, W] uint16 from ``pack_planes``.
        columns: wanted planes, such as ``record_columns(BP4D_AUS)``.

    Returns:
        [H, W, len(columns)] uint8 of 0 and 1.
    """
    bits = np.asarray(columns, dtype=np.uint16)
    return (np.right_shift(packed[..., None], bits) & np.uint16(1)).astype(np.uint8)


def select_planes(packed: np.ndarray, columns: list[int]) -> np.ndarray:
    """Takes some planes out of a packed image, packed again.

    Args:
        packed: [H, W] uint16 from ``pack_planes``.
        columns: wanted planes.

    Returns:
        [H, W] uint16, bit k being plane ``columns[k]``.
    """
    # Every value is in range: clipping is only faster than checking.
    return np.take(_selection(tuple(columns)), packed, mode="clip")


@functools.lru_cache(maxsize=8)
def _selection(columns: tuple[int, ...]) -> np.ndarray:
    """[65536] uint16: what becomes of each possible pixel."""
    pixels = np.arange(2**16, dtype=np.uint16)[:, None]
    return pack_planes(unpack_planes(pixels, list(columns)))[:, 0]
