"""What one draw does to image, maps and landmarks; oracles are float64 NumPy and maps drawn anew."""

import dataclasses

import cv2
import numpy as np
import pytest
from mean_face import mean_face, mirror_landmarks

from piapdf_jax.action_units import BP4D_AUS, RECORD_AUS, record_columns
from piapdf_jax.data import augment, streams
from piapdf_jax.data.frames import ReaderConfig
from piapdf_jax.pi_maps import predefined_pi_maps
from piapdf_jax.records import pack_planes, unpack_planes

STILL = augment.AugmentConfig(
    flip=0.0, rotation=0.0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0, saturation=0.0
)


class Faces:
    """Records of one face, its maps drawn from its landmarks."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, row: int) -> dict:
        landmarks = mean_face().astype(np.float32)
        image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
        return {
            "image": cv2.imencode(".png", image)[1].tobytes(),
            "pi_maps": cv2.imencode(".png", pack_planes(predefined_pi_maps(landmarks)))[
                1
            ].tobytes(),
            "landmarks": landmarks,
            "labels": np.zeros(len(RECORD_AUS), np.int8),
        }


def stream(size: int, config) -> streams.LabeledStream:
    reading = ReaderConfig(size, 16, augment=config, aus=BP4D_AUS, maps=BP4D_AUS, landmarks=True)
    return streams.LabeledStream(Faces(), reading)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [256, 128])
@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_maps_of_moved_landmarks_are_the_moved_maps(size, flip):
    config = dataclasses.replace(augment.AugmentConfig(), flip=flip)
    batch = stream(size, config)(0)
    columns = record_columns(BP4D_AUS)
    both = either = 0
    for packed, landmarks in zip(batch.pi_maps, batch.landmarks, strict=True):
        drawn = predefined_pi_maps(np.asarray(landmarks), size=size)[..., columns] > 0
        moved = unpack_planes(np.asarray(packed), list(range(len(columns)))) > 0
        both, either = both + (drawn & moved).sum((0, 1)), either + (drawn | moved).sum((0, 1))
    assert (both / either).min() > {256: 0.93, 128: 0.87}[size]
    assert np.ptp(batch.landmarks, axis=0).max() > 0.05 * size


def test_flip_gives_the_landmarks_of_the_mirrored_picture():
    (moved, *_) = stream(256, dataclasses.replace(STILL, flip=1.0))(0).landmarks
    np.testing.assert_allclose(moved, mirror_landmarks(mean_face()), atol=1e-3)


def test_landmarks_go_where_their_pixels_go():
    rng = np.random.default_rng(3)
    landmarks = rng.uniform(60, 190, (68, 2)).round()
    for _ in range(20):
        matrix = augment.sample_affine(rng, augment.AugmentConfig(), 256)
        moved = augment.warp_landmarks(landmarks, matrix)
        one = 30  # the tip of the nose stays itself in the mirror
        image = np.zeros((256, 256, 3), np.uint8)
        x, y = landmarks[one].astype(int)
        image[y - 2 : y + 3, x - 2 : x + 3] = 200
        mass = augment.warp(image, None, matrix)[0][..., 0].astype(float)
        rows, columns = np.mgrid[:256, :256]
        center = [(mass * axis).sum() / mass.sum() for axis in (columns, rows)]
        np.testing.assert_allclose(moved[one], center, atol=0.1)


def test_color_is_saturation_then_contrast_then_brightness():
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    config = augment.AugmentConfig(brightness=0.3, contrast=0.5, saturation=0.5)
    for seed in range(10):
        draw = np.random.default_rng(seed)
        saturation, contrast = 1 + draw.uniform(-0.5, 0.5), 1 + draw.uniform(-0.5, 0.5)
        brightness = draw.uniform(-0.3, 0.3)
        unit = image / 255.0
        gray = unit.mean(-1, keepdims=True)
        mixed = gray + saturation * (unit - gray)
        expected = np.clip((mixed - gray.mean()) * contrast + gray.mean() + brightness, 0, 1)
        changed = augment.color_jitter(np.random.default_rng(seed), config, image)
        assert changed.dtype == np.uint8
        # Rounded to whole levels, by coefficients of ten fractional bits.
        np.testing.assert_allclose(changed, 255 * expected, rtol=0, atol=1)


def test_no_range_no_change():
    batch, record = stream(256, STILL)(0), Faces()[0]
    image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
    assert all(np.array_equal(seen, image) for seen in batch.image)
    np.testing.assert_allclose(batch.landmarks[0], record["landmarks"], atol=1e-4)
