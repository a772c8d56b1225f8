"""The detector as a program uses it: what it takes, what it says, and what it refuses in words."""

import json
import re
import shutil
import sys

import drawn_people
import light_model
import numpy as np
import pytest
from light_model import UNITS
from mean_face import mean_face
from test_model_json import MODEL

from piapdf_jax import faces
from piapdf_jax.detector import Detector, cut_faces
from piapdf_jax.faces import Face, Found
from piapdf_jax.load import load_export
from piapdf_jax.model_json import ModelError, read_model

GRAY = np.full((96, 128, 3), 128, np.uint8)


class GivenFinder:
    """Says the faces that it was given."""

    name, digest, license = "given", "given-1", "free of terms"

    def __init__(self, *given, reason=""):
        self.found = Found(tuple(given), reason)

    def find(self, image):
        return self.found


def face(landmarks, *, box=(1.0, 2.0, 3.0, 4.0), score=0.5, roll=7.0):
    return Face(box, score, np.asarray(landmarks, np.float32), roll)


def means(crops):
    """Means of red, green and blue as three probabilities."""
    return (crops.mean((1, 2)) / 255).astype(np.float32)


def model(**changes):
    rates = dict.fromkeys(MODEL.units, 0.5)
    return MODEL._replace(base_rates=rates, cuts=rates, no_cut={}, **changes)


def stub(*given, reason=""):
    return Detector(model(), "opencv", means, finder=GivenFinder(*given, reason=reason))


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return light_model.write(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def detector(export):
    return Detector.load(export)


@pytest.fixture(scope="module")
def people():
    """Two persons of known landmarks side by side."""
    left, right = drawn_people.portrait(3), drawn_people.portrait(1, seed=1)
    shift = (left.image.shape[1], 0)
    return np.concatenate([left.image, right.image], 1), (left.landmarks, right.landmarks + shift)


def finder(name):
    try:
        return faces.make_finder(name)
    except FileNotFoundError as error:
        if name == "dlib":  # part of what tests need
            raise
        pytest.skip(f"the mesh's files are missing: {error}")


def test_crops_are_made_smaller_by_averaging_and_scored_as_load_export_does(export, detector):
    crops = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    blocks = crops.reshape(3, 64, 4, 64, 4, 3).mean((2, 4))
    told, probabilities = load_export(export)
    wanted = probabilities(np.rint(blocks).astype(np.uint8))
    scores = detector(crops)
    assert repr(detector) == "<Detector PIAP 0123456789abcdef: 3 units, runtime jax>"
    assert detector.runtime == "jax" and detector.model == told and told.units == UNITS
    assert scores.shape == (3, 3) and scores.dtype == np.float32
    # A half may round either way: one level in a few pixels.
    np.testing.assert_allclose(scores, wanted, atol=1e-4)
    np.testing.assert_array_equal(scores, probabilities(crops))
    np.testing.assert_allclose(detector(list(crops[1:2])), scores[1:2], atol=1e-6)
    assert np.abs(scores[0] - scores[1]).max() > 1e-6  # the network sees the crops


def test_no_crops(detector):
    scores = detector(np.zeros((0, 256, 256, 3), np.uint8))
    assert scores.shape == (0, 3) and scores.dtype == np.float32


@pytest.mark.parametrize(
    "crops",
    [
        np.zeros((256, 256, 3), np.uint8),
        np.zeros((1, 256, 256), np.uint8),
        np.zeros((1, 3, 256, 256), np.uint8),
        np.zeros((1, 256, 256, 4), np.uint8),
        np.zeros((1, 128, 128, 3), np.uint8),
        np.zeros((1, 256, 256, 3), np.float32),
        np.zeros((1, 256, 256, 3), np.int64),
    ],
    ids=lambda crops: f"{crops.dtype}{crops.shape}",
)
def test_other_crops_are_refused(detector, crops):
    wanted = re.escape("[B, 256, 256, 3] or [B, 64, 64, 3]")
    with pytest.raises(
        ValueError, match=f"{wanted}, got {crops.dtype} {re.escape(str(crops.shape))}"
    ):
        detector(crops)


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (GRAY[..., 0], "uint8 (96, 128)"),
        (np.dstack([GRAY, GRAY[..., :1]]), "uint8 (96, 128, 4)"),
        (GRAY[None], "uint8 (1, 96, 128, 3)"),
        (GRAY.transpose(2, 0, 1), "uint8 (3, 96, 128)"),
        (GRAY / 255, "float64 (96, 128, 3)"),  # no face would be seen in it
        (GRAY.astype(np.float32), "float32 (96, 128, 3)"),
        (GRAY[:0], "one without pixels, (0, 128, 3)"),
        ("photo.jpg", "str: photographs.read_photograph reads a file"),
        (None, "NoneType: photographs.read_photograph reads a file"),  # cv2.imread's, of no file
    ],
    ids=range(9),
)
def test_other_pictures_are_refused(picture, told):
    with pytest.raises(ValueError) as error:
        stub(face(mean_face())).detect(picture)
    assert str(error.value) == f"expected a picture [H, W, 3] uint8 RGB, got {told}"


def test_the_crop_is_a_square_around_the_face():
    # Eye centers 40 apart, mouth 50 below: the longer side d is 50, its box's middle (120, 125), .08 d higher is 121,
    # and 3.1 d are 155 pixels of the picture in 256 of the crop. Red counts columns, green rows.
    points = mean_face()
    points[36:42] += (100, 100) - points[36:42].mean(0)
    points[42:48] += (140, 100) - points[42:48].mean(0)
    points[30], points[48], points[54] = (120, 125), (105, 150), (135, 150)
    rows, columns = np.mgrid[:256, :256]
    picture = np.stack([columns, rows, np.full_like(rows, 51)], -1).astype(np.uint8)
    (found,) = stub(face(points, box=(9.0, 8.0, 7.0, 6.0), score=0.75, roll=0.5)).detect(picture)
    places = (np.arange(256) - 127.5) * 155 / 256
    assert found.crop.shape == (256, 256, 3) and found.crop.dtype == np.uint8
    np.testing.assert_allclose(found.crop[128, :, 0], 120 + places, atol=0.6)
    np.testing.assert_allclose(found.crop[:, 128, 1], 121 + places, atol=0.6)
    assert found.box == (9.0, 8.0, 7.0, 6.0) and (found.score, found.roll) == (0.75, 0.5)
    np.testing.assert_array_equal(found.landmarks, points.astype(np.float32))
    # Units are in the model's order, which is not that of their numbers.
    assert list(found.probabilities) == [12, 1, 26]
    assert list(found.probabilities.values()) == pytest.approx(
        [120 / 255, 121 / 255, 0.2], abs=3e-3
    )
    assert all(type(value) is float for value in found.probabilities.values())


def test_faces_keep_the_finders_order_and_their_own_crops():
    picture = np.zeros((256, 768, 3), np.uint8)
    for k, red in enumerate((50, 250, 150)):
        picture[:, 256 * k : 256 * (k + 1), 0] = red
    points = (mean_face() - 128) / 4 + 128
    clearest_first = [face(points + (256 * k, 0), score=1 - k / 4) for k in (1, 2, 0)]
    no_face = face(np.ones((68, 2)))  # all landmarks in one point: nothing can be cut out
    found = stub(clearest_first[0], no_face, *clearest_first[1:]).detect(picture)
    assert [round(255 * one.probabilities[12]) for one in found] == [250, 150, 50]
    assert [one.score for one in found] == [0.75, 0.5, 1.0]
    given = GivenFinder(no_face, *clearest_first)
    cropped, reason = cut_faces(given, picture, most=2)
    assert [int(one.crop[128, 128, 0]) for one in cropped] == [250, 150] and reason == ""
    assert cut_faces(GivenFinder(no_face), picture) == ([], "no_face")
    assert cut_faces(GivenFinder(reason="tilted"), picture) == ([], "tilted")


@pytest.mark.parametrize("weak", [None, (), (26, 12)])
def test_each_face_says_which_units_are_weak(weak):
    detector = Detector(
        model(weak_units=weak),
        "opencv",
        means,
        finder=GivenFinder(face((mean_face() - 128) / 4 + (64, 48))),
    )
    (found,) = detector.detect(GRAY)
    assert found.weak_units == weak and found[-1] == weak and len(found.probabilities) == 3


@pytest.mark.parametrize("name", ["dlib", "mesh"])
def test_drawn_people(export, people, name):
    picture, known = people
    detector = Detector.load(export, finder=finder(name))
    assert detector.finder.name == name
    found = detector.detect(picture)
    assert len(found) == 2 and 1 >= found[0].score >= found[1].score > 0
    scores = load_export(export)[1](np.stack([one.crop for one in found]))
    np.testing.assert_allclose(
        [list(one.probabilities.values()) for one in found], scores, atol=1e-6
    )
    for one in found:
        x, y, width, height = one.box
        (landmarks,) = (k for k in known if x < k[30, 0] < x + width)
        assert y < landmarks[30, 1] < y + height
        apart = np.linalg.norm(one.landmarks - landmarks, axis=1).mean()
        assert apart < 0.1 * np.linalg.norm(landmarks[36] - landmarks[45])
        assert tuple(one.probabilities) == UNITS and abs(one.roll) < 10
        # Where the recipe puts them: eyes level, 31 % of 256 apart or more, and the middle of the face inside.
        moved = faces.transform(landmarks, faces.crop_matrix(one.landmarks))
        assert 60 < moved[42:48].mean(0)[0] - moved[36:42].mean(0)[0] < 90
        assert 90 < moved[30, 0] < 166 and 100 < moved[30, 1] < 180


def test_a_picture_without_a_face_is_an_empty_list(export):
    detector = Detector.load(export, finder="dlib")
    assert detector.detect(GRAY) == []
    assert detector.detect(np.zeros((1, 1, 3), np.uint8)) == []
    assert isinstance(detector.finder, faces.DlibFinder) and detector.finder is detector.finder


@pytest.mark.parametrize("file", [False, True])
def test_unknown_runtimes_and_finders(export, tmp_path, file):
    path = tmp_path / "model.onnx" if file else export
    if file:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"runtime 'torch' is not one of jax, onnx, opencv"):
        Detector.load(path, runtime="torch")
    if not file:
        with pytest.raises(ValueError, match=r"face finder 'yunet' is not one of dlib, mesh"):
            Detector.load(path, finder="yunet")


def test_a_runtime_that_does_not_run_such_a_path(export, tmp_path):
    for runtime in ("onnx", "opencv"):
        with pytest.raises(ValueError) as error:
            Detector.load(export, runtime=runtime)
        assert f"{export} is not an .onnx file, which runtime {runtime} takes" in str(error.value)
        assert f"experiments.export {export} --out=FOLDER" in str(error.value)
    file = tmp_path / "MODEL.ONNX"
    file.write_bytes(b"")
    with pytest.raises(
        ValueError, match="runs in onnx or opencv, not in jax, which takes the folder"
    ):
        Detector.load(file, runtime="jax")


@pytest.mark.parametrize("runtime", ["jax", "onnx", "opencv"])
def test_a_runtime_that_is_not_installed(export, tmp_path, monkeypatch, runtime):
    module = {"jax": "jax", "onnx": "onnxruntime", "opencv": "cv2"}[runtime]
    path = export if runtime == "jax" else tmp_path / "model.onnx"
    if runtime != "jax":
        path.write_bytes(b"")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FileNotFoundError, match=f"runtime {runtime}: .*install") as error:
        Detector.load(path, runtime=runtime)
    assert "\n" not in str(error.value)


def test_paths_that_are_no_detector(export, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        Detector.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"model\.json does not exist"):
        Detector.load(tmp_path)
    with pytest.raises(ModelError, match="is neither the folder of an export nor an .onnx file"):
        Detector.load(export / "model.json")
    shutil.copy(export / "model.json", tmp_path)
    for content in (b"", b"PK\x03\x04 not ours"):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(
            ModelError, match=r"model\.onnx is not an \.onnx file of experiments\.export"
        ):
            Detector.load(tmp_path, runtime="opencv")


@pytest.mark.parametrize(("key", "value"), [("box_scale", 3.0), ("box_lift", 0.0), ("size", 128)])
def test_crops_of_another_recipe(export, tmp_path, key, value):
    folder = shutil.copytree(export, tmp_path / "export")
    told = json.loads((folder / "model.json").read_text())
    told["crop"][key] = value
    (folder / "model.json").write_text(json.dumps(told))
    assert read_model(folder).crop[key] == value
    with pytest.raises(ModelError) as error:
        Detector.load(folder)
    assert f"'{key}': {value}" in str(error.value)
    assert "cuts out {'size': 256, 'box_scale': 3.1, 'box_lift': 0.08}" in str(error.value)
