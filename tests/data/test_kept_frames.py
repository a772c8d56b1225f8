"""Frames of a training are decoded once where they fit into memory, and are the same as decoded anew."""

import dataclasses
import gc
import weakref

import numpy as np
import pytest
from memory_records import MemoryRecords, reading

from piapdf_jax.data.augment import AugmentConfig
from piapdf_jax.data.frames import SampleRef, read_batch

AUGMENT = AugmentConfig(flip=0.5, rotation=8.0)
#: By hand: three rows of 64 pixels, three bytes of color and two of maps.
NEEDED = 3 * 64 * 64 * 5


class Counted(MemoryRecords):
    """Records that count how often each row is asked for."""

    def __init__(self, size, seed=0):
        super().__init__(size, seed)
        self.asked = dict.fromkeys(range(size), 0)

    def __getitem__(self, row):
        self.asked[int(row)] += 1
        return super().__getitem__(row)


def epochs(records, config, count=3):
    rows = (0, 2, 1, 2)
    samples = [SampleRef(records, row) for row in rows]
    return [read_batch(samples, config, step=step) for step in range(count)]


@pytest.mark.parametrize("maps", [True, False])
def test_what_is_kept_is_what_is_decoded(maps):
    config = reading(augment=AUGMENT, **({} if maps else {"maps": ()}))
    kept = epochs(Counted(3), config)
    anew = epochs(Counted(3), dataclasses.replace(config, keep_bytes=0))
    for one, two in zip(kept, anew, strict=True):
        for field in ("image", "labels", "pi_maps", "record_index"):
            np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
    assert not np.array_equal(kept[0].image, kept[1].image)


@pytest.mark.parametrize(
    ("limit", "times"), [(NEEDED, [1, 1, 1]), (NEEDED - 1, [3, 3, 6])], ids=["fits", "too large"]
)
def test_each_row_is_asked_for_once_where_all_fit(limit, times):
    records = Counted(3)
    epochs(records, reading(augment=AUGMENT, keep_bytes=limit))
    assert list(records.asked.values()) == times


def test_frames_of_another_size_or_with_maps_are_others():
    records = Counted(3)
    with_maps = reading(augment=AUGMENT)
    for config in (
        with_maps,
        reading(augment=AUGMENT, image_size=32),
        reading(augment=AUGMENT, maps=()),
    ):
        (batch,) = epochs(records, config, count=1)
        assert batch.image.shape[1] == config.image_size
        assert (batch.pi_maps is None) == (config.maps == ())
    assert list(records.asked.values()) == [3, 3, 3]


def test_what_is_only_looked_at_is_not_kept_and_nothing_outlives_its_records():
    records = Counted(3)
    epochs(records, reading())
    assert list(records.asked.values()) == [3, 3, 6]
    epochs(records, reading(augment=AUGMENT))
    gone = weakref.ref(records)
    del records
    gc.collect()
    assert gone() is None
