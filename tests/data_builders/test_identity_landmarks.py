"""Landmarks in face recognition records: those of the crop that the record holds, whoever made it."""

import dataclasses
import itertools
import json
import pathlib

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from mean_face import random_face
from test_face_recognition_sets import build, records

from data_builders import prepare, schema
from data_builders.casia_webface import casia_webface_dataset_builder as webface
from data_builders.lfw_pairs import lfw_pairs_dataset_builder as lfw
from data_builders.synthetic_faces import population
from data_builders.synthetic_faces import synthetic_faces_dataset_builder as drawn
from data_builders.synthetic_faces.render import render
from data_builders.synthetic_faces.scene import draw_scene
from piapdf_jax import faces
from piapdf_jax.data import source
from piapdf_jax.landmarks import outer_eye_distance

SIDE = 500  # of a picture of a tree, pixels
#: Chin and outer corners of the eyes, where a picture has a spot of red, green and blue.
SPOTS = (8, 36, 45)
PEOPLE = {"Ann_Lee": (1, 2, 0), "Bo_Ek": (3, 4)}


def placed_face(seed):
    """A face somewhere in a picture, turned and larger or smaller: [68, 2] float32."""
    rng = np.random.default_rng(seed)
    angle, scale = rng.uniform(-0.5, 0.5), rng.uniform(0.8, 1.6)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (random_face(rng) - 127.5) @ turn.T + SIDE / 2 + rng.uniform(-30, 30, 2)
    return np.float32(points)


class Marked:
    """Finds the face whose seed the first pixel of a picture holds, and none where that is 0."""

    digest = "marked"

    def __call__(self, image):
        seed = int(image[0, 0, 0])
        return placed_face(seed) if seed else None


def write_marked(path, seed):
    """A black picture with a spot at each of ``SPOTS``, in a color of its own."""
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for channel, place in enumerate(SPOTS):
        x, y = placed_face(seed)[place]
        image[..., channel] = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 5.0**2))
    image[0, 0] = seed
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", image.round().astype(np.uint8)[..., ::-1])[1].tobytes())


def in_crop(points):
    """The rule of the crop in complex numbers: eyes level, a square of 3.1 extents, lifted by 0.08 of one."""
    z = np.asarray(points, np.float64) @ (1, 1j)
    left, right = z[36:42].mean(), z[42:48].mean()
    z = z * np.conj(right - left) / abs(right - left)
    inner = np.array([z[36:42].mean(), z[42:48].mean(), z[30], z[48], z[54]])
    extent = max(np.ptp(inner.real), np.ptp(inner.imag))
    middle = (inner.real.min() + inner.real.max()) / 2
    middle += 1j * ((inner.imag.min() + inner.imag.max()) / 2 - 0.08 * extent)
    z = (z - middle) / (3.1 * extent) * 256
    return np.stack([z.real, z.imag], axis=1) + 255 / 2


def spots(image):
    """Where the spots of a picture lie: [3, 2] floats, the centers of gravity of its colors."""
    weights = np.clip(image.astype(np.float64) - 80, 0, None)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    places = [(weights * axis[..., None]).sum((0, 1)) for axis in (columns, rows)]
    return np.stack(places, axis=1) / weights.sum((0, 1))[:, None]


def check_marked(record, seed):
    np.testing.assert_allclose(record["landmarks"], in_crop(placed_face(seed)), atol=0.01)
    np.testing.assert_allclose(record["landmarks"][list(SPOTS)], spots(record["image"]), atol=0.5)


def test_a_picture_of_casia_webface_has_the_landmarks_of_its_crop(tmp_path):
    for name, seeds in PEOPLE.items():
        for number, seed in enumerate(seeds, 1):
            write_marked(tmp_path / "manual" / "CASIA-WebFace" / name / f"{number:03d}.png", seed)
    built = build(webface, tmp_path / "manual", tmp_path / "data", detector=Marked)
    found = records(built, "train")
    expected = {
        (name, number): seed
        for name, seeds in PEOPLE.items()
        for number, seed in enumerate(seeds, 1)
        if seed
    }
    assert found.keys() == expected.keys()
    for key, seed in expected.items():
        check_marked(found[key], seed)


def test_a_picture_of_lfw_has_the_landmarks_of_its_crop_or_the_median_face(tmp_path):
    for name, seeds in PEOPLE.items():
        for number, seed in enumerate(seeds, 1):
            write_marked(tmp_path / "manual" / "lfw" / name / f"{name}_{number:04d}.png", seed)
    pairs = "1\t1\nAnn_Lee\t1\t2\nAnn_Lee\t3\tBo_Ek\t1\n"
    (tmp_path / "manual" / "pairs.txt").write_text(pairs)
    found = records(build(lfw, tmp_path / "manual", tmp_path / "data", detector=Marked), "test")
    assert len(found) == 5
    for (name, number), record in found.items():
        if seed := PEOPLE[name][number - 1]:
            check_marked(record, seed)
    usual = np.median([placed_face(seed) for seed in (1, 2, 3, 4)], axis=0)
    np.testing.assert_allclose(found["Ann_Lee", 3]["landmarks"], in_crop(usual), atol=0.01)


DRAWN = {"lfw": "test", "webface": "train"}


@pytest.mark.parametrize("kind", DRAWN)
def test_a_drawn_face_has_the_landmarks_that_it_was_drawn_with(small_data, kind):
    folder = source.dataset_folder(small_data, f"synthetic_faces/small_{kind}")
    found = source.Records(folder, DRAWN[kind]).table()
    assert found["landmarks"].shape == (len(found["name"]), 68, 2)
    assert found["landmarks"].dtype == np.float32
    for row in range(0, len(found["name"]), 5):
        name, number = found["name"][row], int(found["number"][row])
        rng = population.generator("picture", kind, name, number)
        strengths = population.loose_expression(rng)
        picture = render(population.person(kind, name), strengths, draw_scene(rng))
        np.testing.assert_array_equal(found["landmarks"][row], picture.landmarks)


def test_dlib_finds_the_landmarks_of_a_drawn_record_in_its_picture(small_data):
    folder = source.dataset_folder(small_data, "synthetic_faces/small_lfw")
    rows = itertools.islice(tfds.builder_from_directory(folder).as_data_source("test"), 12)
    detector, errors = faces.DlibDetector(), []
    for record in rows:
        points = detector(record["image"])
        if points is not None:
            apart = np.linalg.norm(points - record["landmarks"], axis=1).mean()
            errors.append(apart / outer_eye_distance(record["landmarks"]))
    assert len(errors) >= 8
    assert np.median(errors) < 0.08


@pytest.mark.parametrize("config", drawn.Builder.BUILDER_CONFIGS, ids=lambda config: config.name)
def test_data_sets_whose_records_changed_have_another_version_and_no_others(config, tmp_path):
    made = drawn.Builder(data_dir=tmp_path, config=config.name)
    notes = {"1.0.0": "First version."}
    if config.name in DRAWN:
        notes = {"1.1.0": "Records hold landmarks.", **notes}
    described = json.loads(made.info.as_json)
    # A checksum covers both.
    assert described["version"] == str(made.version) == next(iter(notes))
    assert described["releaseNotes"] == made.release_notes == notes
    assert made.data_dir.endswith(f"synthetic_faces/{config.name}/{next(iter(notes))}")


def test_the_version_follows_the_kind(tmp_path):
    config = drawn.SyntheticFacesConfig(name="own", kind="lfw", people=2)
    assert (config.version, config.release_notes) == ("1.1.0", schema.IDENTITY_RELEASES)
    other = dataclasses.replace(config, kind="disfa")
    assert str(drawn.Builder(data_dir=tmp_path, config=other).version) == "1.0.0"


def test_a_data_set_built_before_is_left_and_the_new_one_is_read(tmp_path):
    """What the same command does where version 1.0.0 lies, whose records have no landmarks."""
    old = tmp_path / "data" / "lfw_pairs" / "1.0.0"
    old.mkdir(parents=True)
    (old / "dataset_info.json").write_text("{}")
    assert source.dataset_folder(tmp_path / "data", "lfw_pairs") == old
    manual = pathlib.Path(lfw.__file__).parent / "dummy_data"
    built = prepare.prepare("lfw_pairs", data_dir=tmp_path / "data", manual_dir=manual, workers=1)
    assert source.dataset_folder(tmp_path / "data", "lfw_pairs") == built != old
    assert source.Records(built, "test").table()["landmarks"].shape == (12, 68, 2)
    assert (old / "dataset_info.json").read_text() == "{}"
