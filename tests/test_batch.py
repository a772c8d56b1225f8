"""What crosses to the devices, and what stages make of it."""

import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.batch import Batch, FeedbackBatch, images_to_float, unpack_maps
from piapdf_jax.records import pack_planes


def test_packed_maps_are_the_planes():
    maps = np.random.default_rng(0).integers(0, 2, (2, 5, 7, 12)).astype(np.uint8)
    packed = jnp.asarray(np.stack([pack_planes(planes) for planes in maps]))
    unpacked = unpack_maps(packed, 12)
    assert unpacked.dtype == jnp.float32
    np.testing.assert_array_equal(unpacked, maps)


@pytest.mark.parametrize(
    ("packed", "count"),
    [
        (np.zeros((2, 4, 4, 1), np.uint16), 12),
        (np.zeros((4, 4), np.uint16), 12),
        (np.zeros((2, 4, 4), np.uint8), 12),
        (np.zeros((2, 4, 4), np.uint16), 17),
    ],
)
def test_what_are_no_packed_maps_of_a_batch_is_refused(packed, count):
    with pytest.raises(ValueError, match=r"expected uint16 \[B, S, S\] and 1 to 16 maps, got"):
        unpack_maps(jnp.asarray(packed), count)


def test_only_bytes_become_numbers():
    image = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    packed, labels = np.full((1, 16, 16), 5, np.uint16), np.array([[0.0, 1.0, -1.0]], np.float32)
    batch = Batch(image, labels, packed, np.ones(1, np.float32), np.array([7], np.int32))  # type: ignore[arg-type]
    both = images_to_float(FeedbackBatch(batch, batch._replace(pi_maps=None), clean=image))
    np.testing.assert_array_equal(both.clean, both.labeled.image)
    for half in (both.labeled, both.unlabeled):
        np.testing.assert_allclose(half.image, image / 255.0, rtol=2e-7, atol=0)
        assert half.image.dtype == jnp.float32 and float(half.image.max()) == 1.0
        np.testing.assert_array_equal(half.labels, labels)
        assert half.record_index.dtype == jnp.int32 and half.landmarks is None
    assert images_to_float(batch).pi_maps.dtype == jnp.uint16
    floats = jnp.full((1, 2, 2, 3), 0.25)
    np.testing.assert_array_equal(images_to_float(floats), floats)
