import os
import time

import cv2
import numpy as np
import pytest

from data_builders import schema
from piapdf_jax import records
from piapdf_jax.action_units import RECORD_AUS

POINTS = np.stack([np.linspace(40, 210, 68), np.linspace(60, 200, 68) % 90 + 60], 1)


def example(**changes):
    parts = {
        "image": np.full((256, 256, 3), 90, np.uint8),
        "landmarks": POINTS,
        "labels": {1: 1, 24: 0, 12: -1},
        "subject": "F001",
        "task": "T1",
        "frame": 7,
        "coded": True,
    }
    return schema.au_example(**{**parts, **changes})


def test_features_are_named_as_records_name_them():
    assert tuple(schema.au_features()) == records.AU_FEATURES
    assert tuple(schema.identity_features()) == records.IDENTITY_FEATURES


def test_labels_and_intensities_stand_in_their_columns():
    made = example(intensities={1: 5, 26: 0})
    assert made["labels"].dtype == made["intensities"].dtype == np.int8
    labels = dict(zip(RECORD_AUS, made["labels"].tolist(), strict=True))
    assert labels == {**dict.fromkeys(RECORD_AUS, -1), 1: 1, 24: 0}
    intensities = dict(zip(RECORD_AUS, made["intensities"].tolist(), strict=True))
    assert intensities == {**dict.fromkeys(RECORD_AUS, -1), 1: 5, 26: 0}
    assert (example()["intensities"] == -1).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": {1: 9}}, "AU 1 has the value 9"),
        ({"labels": {43: 1}}, "43"),
        ({"intensities": {1: 6}}, "AU 1 has the value 6"),
        ({"image": np.zeros((256, 256, 3), np.float32)}, "uint8"),
        ({"image": np.zeros((128, 128, 3), np.uint8)}, "128"),
        ({"landmarks": POINTS[:49]}, "68"),
    ],
)
def test_values_that_no_record_may_hold(changes, said):
    with pytest.raises(ValueError, match=said):
        example(**changes)


def test_examples_are_encoded_by_their_features():
    encoded = schema.au_features().encode_example(example())
    assert isinstance(encoded["image"], bytes) and encoded["landmarks"].dtype == np.float32
    features, image = schema.identity_features(), np.zeros((256, 256, 3), np.uint8)
    told = {"image": image, "name": "Ada", "identity": 3, "number": 1}
    person = features.encode_example(schema.identity_example(landmarks=POINTS, **told))
    assert person["identity"] == 3 and person["landmarks"].dtype == np.float32
    np.testing.assert_array_equal(person["landmarks"], POINTS.astype(np.float32))
    with pytest.raises(ValueError, match="68"):
        features.encode_example(schema.identity_example(landmarks=POINTS[:49], **told))


def test_jpeg_keeps_color_at_full_resolution():
    """Alternate red and blue columns: halved color resolution would make them all purple."""
    image = np.zeros((256, 256, 3), np.uint8)
    image[:, ::2, 0] = image[:, 1::2, 2] = 200
    data = schema.encode_jpeg(image)
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(back.astype(int) - image).mean() < 6
    assert data[data.index(b"\xff\xc0") + 11] == 0x11  # sampling factors of the first component


def test_png_keeps_sixteen_bits():
    planes = np.random.default_rng(0).integers(0, 2**15, (256, 256), dtype=np.uint16)
    data = np.frombuffer(schema.encode_png(planes), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), planes)


def later(item):
    """Finishes the later the smaller it is."""
    time.sleep(0.02 * (6 - item))
    return item, os.getpid()


def leave(item):
    os._exit(1) if item == 2 else None


def test_worker_processes_keep_the_order_and_read_no_further_ahead_than_needed():
    taken = []
    source = (taken.append(item) or item for item in range(6))
    results = schema.parallel(later, source, workers=1)
    assert next(results) == (0, os.getpid()) and taken == [0]
    taken.clear()
    source = (taken.append(item) or item for item in [0, 1, 2, 3, 4, 5] * 10)
    results = schema.parallel(later, source, workers=2)
    assert next(results)[0] == 0 and len(taken) <= 8
    results.close()
    done = list(schema.parallel(later, range(6), workers=2))
    assert [item for item, _ in done] == list(range(6))
    assert os.getpid() not in {process for _, process in done}


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(ChildProcessError, match="--workers"):
        list(schema.parallel(leave, range(40), workers=2))
