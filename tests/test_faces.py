import hashlib
import pathlib
import subprocess
import sys
import tarfile

import cv2
import numpy as np
import pytest
from mean_face import mean_face, mirror_landmarks, random_face

from piapdf_jax import faces
from piapdf_jax.faces import dlib_finder, model_files
from piapdf_jax.pi_maps import polygon_vertices

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data" / "bp4d-small.tar.gz"


def similarity(angle, scale, shift):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, shift])


def test_crop_puts_the_eyes_level_and_keeps_the_shape():
    for seed in range(10):
        face = random_face(np.random.default_rng(seed))
        view = faces.transform(face, similarity(0.5, 2.3, [400, 90]))
        moved = faces.transform(view, faces.crop_matrix(view))
        left, right = moved[36:42].mean(0), moved[42:48].mean(0)
        assert abs(left[1] - right[1]) < 1e-9 and left[0] < right[0]
        lengths = (
            np.linalg.norm(moved - moved[0], axis=1)[1:]
            / np.linalg.norm(face - face[0], axis=1)[1:]
        )
        np.testing.assert_allclose(lengths, lengths[0], rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_crop_does_not_see_a_similarity_transform(seed):
    rng = np.random.default_rng(seed)
    face = random_face(rng)
    moved = similarity(rng.uniform(-3, 3), rng.uniform(0.2, 5), rng.uniform(-300, 300, 2))
    square = np.vstack([moved, [0, 0, 1]])
    np.testing.assert_allclose(
        faces.crop_matrix(faces.transform(face, moved)) @ square,
        faces.crop_matrix(face),
        atol=1e-9,
    )


def test_crop_of_the_mirrored_picture_is_the_mirrored_crop():
    face = random_face(np.random.default_rng(0))
    direct = faces.transform(face, faces.crop_matrix(face))
    mirrored = mirror_landmarks(face)
    other = faces.transform(mirrored, faces.crop_matrix(mirrored))
    np.testing.assert_allclose(mirror_landmarks(other), direct, atol=1e-9)


def test_forehead_and_chin_are_inside_the_crop():
    face = faces.transform(mean_face(), faces.crop_matrix(mean_face()))
    for au in (1, 2, 26):
        vertices = polygon_vertices(face, au)
        assert vertices.min() >= 2 and vertices.max() <= 253
    assert face.min() >= 0 and face.max() <= 255


@pytest.mark.parametrize("size", [256, 64])
@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_picture_and_landmarks_move_together(scale, size):
    """Discs drawn on landmarks are found again where the crop says the landmarks are."""
    placed = faces.transform(mean_face(), similarity(0.3, scale, [150 * scale, 10 * scale]))
    side = int(420 * scale)
    for landmark in (8, 19, 30, 45, 48):
        image = np.zeros((side, side, 3), np.uint8)
        place = tuple(int(16 * value) for value in np.round(placed[landmark] * 16) / 16)
        cv2.circle(image, place, int(64 * scale), (255, 255, 255), -1, cv2.LINE_AA, shift=4)
        cropped, moved = faces.crop(image, placed, size)
        assert cropped.shape == (size, size, 3) and moved.dtype == np.float32
        weight = cropped[..., 0].astype(np.float64)
        y, x = np.mgrid[:size, :size]
        found = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
        np.testing.assert_allclose(found, moved[landmark], atol=0.25)


@pytest.mark.parametrize("broken", [np.zeros((67, 2)), np.full((68, 2), np.nan), np.zeros((68, 2))])
def test_landmarks_that_are_none(broken):
    with pytest.raises(ValueError, match="landmarks"):
        faces.crop_matrix(broken)


def lying(**changes):
    """The mean face, 190 pixels wide, with some landmarks elsewhere."""
    points = mean_face()
    for number, place in changes.items():
        points[int(number[1:])] = place
    return points


NO_FACES = {
    "not a number": lying(p7=(np.nan, 3)),
    "without end": lying(p7=(np.inf, 3)),
    "all in a point": np.full((68, 2), 30.0),
    "within a pixel": 100 + mean_face() / 1000,
    "level line": mean_face() * [1, 0] + [0, 50],
    "oblique line": np.linspace(10, 90, 68)[:, None] * [1, 2],
    "left of it": mean_face() - [400, 0],
    "below it": mean_face() + [0, 300],
    "an eye far away": lying(p36=(-100_000, 90)),
    "a chin far away": lying(p8=(90, 901)),
    "beyond numbers": lying(p36=(1e200, 90)),
}


@pytest.mark.parametrize("fault", NO_FACES)
def test_landmarks_that_no_face_has_cut_out_nothing(fault):
    image = np.zeros((300, 300, 3), np.uint8)
    assert faces.crop(image, mean_face())[0].shape == (256, 256, 3)
    with pytest.raises(ValueError, match="landmark|no face can be cut out"):
        faces.crop(image, NO_FACES[fault])


def test_a_face_that_the_border_cuts_is_cut_out():
    image = np.full((300, 300, 3), 77, np.uint8)
    for shift in ([-150, 0], [200, 0], [0, -120], [0, 200]):
        cropped, moved = faces.crop(image, mean_face() + shift)
        assert (cropped == 77).all() and np.isfinite(moved).all()


@pytest.mark.parametrize("sides", [(1, 2000), (2000, 1), (2, 30_000), (300, 32_767)])
def test_pictures_that_are_thin_or_very_long_show_no_face(sides):
    image, long = np.zeros((*sides, 3), np.uint8), np.array(sides[::-1])
    face = (mean_face() - mean_face().min(0)) / np.ptp(mean_face(), axis=0)
    # As large as the picture; as flat as a face may be; a face of the usual size.
    flat = np.minimum(2.9 * long, 290 * long.min())
    for place in (face * long, face * flat - 0.9 * long.min(), face * 200):
        with pytest.raises(ValueError, match=f"{long[0]:,} x {long[1]:,} pixels"):
            faces.crop(image, place)


def test_dlib_finds_nothing_in_a_thin_picture():
    detector = faces.DlibDetector()
    for sides in ((1, 2000), (2000, 1), (1, 1), (3, 2000)):
        assert detector(np.full((*sides, 3), 128, np.uint8)) is None


def test_pictures_with_any_path_are_read(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "Gesichter äöü 顔" / "bild é.png"
    path.parent.mkdir()
    path.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    np.testing.assert_array_equal(faces.read_image(path), image)


@pytest.mark.parametrize("kept", [0, 3, 500, -2])
def test_broken_pictures_are_errors_that_name_the_file(tmp_path, kept):
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = cv2.imencode(".jpg", image)[1].tobytes()
    path = tmp_path / "0001.jpg"
    path.write_bytes(data[:kept])
    with pytest.raises(ValueError, match="0001.jpg"):
        faces.read_image(path)
    with pytest.raises(FileNotFoundError, match="0002.jpg"):
        faces.read_image(tmp_path / "0002.jpg")


def test_the_variable_of_the_predictor_is_a_path_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for named, error, said in (
        ("~/no.dat", FileNotFoundError, f"^{tmp_path}/no.dat does not exist"),
        (
            "gs://b/x.dat",
            ValueError,
            "^PIAPDF_LANDMARKS=gs://b/x.dat is not a path on this machine",
        ),
    ):
        monkeypatch.setenv(faces.PREDICTOR_VARIABLE, named)
        with pytest.raises(error, match=said):
            faces.find_predictor()


def test_missing_predictor_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv(faces.PREDICTOR_VARIABLE, raising=False)
    monkeypatch.setattr(model_files, "_installed", lambda file: None)
    with pytest.raises(FileNotFoundError, match=r"pip install .*dlib-bin.*PIAPDF_LANDMARKS"):
        faces.find_predictor()
    monkeypatch.setenv(faces.PREDICTOR_VARIABLE, str(tmp_path / "other.dat"))
    with pytest.raises(FileNotFoundError, match="other.dat does not exist"):
        faces.find_predictor()


def test_predictor_is_found_by_path_environment_and_package(tmp_path, monkeypatch):
    files = {name: tmp_path / name for name in ("path.dat", "environment.dat")}
    package = tmp_path / "face_recognition_models" / "models"
    package.mkdir(parents=True)
    files["package"] = package / faces.PREDICTOR_FILE
    for path in files.values():
        path.write_bytes(b"predictor")
    # The package raises when it is imported, as the real one does under new setuptools.
    (package.parent / "__init__.py").write_text("raise ImportError('pkg_resources')")
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = hashlib.sha256(b"predictor").hexdigest()
    monkeypatch.setattr(dlib_finder, "PREDICTOR_SHA256", digest)
    monkeypatch.delenv(faces.PREDICTOR_VARIABLE, raising=False)
    assert faces.find_predictor() == files["package"]
    monkeypatch.setenv(faces.PREDICTOR_VARIABLE, str(files["environment.dat"]))
    assert faces.find_predictor() == files["environment.dat"]
    assert faces.find_predictor(files["path.dat"]) == files["path.dat"]


def test_predictor_with_another_checksum(tmp_path):
    path = tmp_path / "points.dat"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"points\.dat.*sha256"):
        faces.find_predictor(path)


def test_jax_and_dlib_stay_out():
    code = (
        "import sys, piapdf_jax.faces, piapdf_jax.pi_maps, piapdf_jax.records;"
        "print([name for name in ('jax', 'flax', 'dlib', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.shared
def test_dlib_finds_landmarks_in_rendered_faces():
    if not SHARED.exists():
        pytest.skip(f"no {SHARED}")
    detector = faces.DlibDetector()
    seen = 0
    with tarfile.open(SHARED) as archive:
        for member in archive:
            if not member.name.endswith(".jpg"):
                continue
            data = np.frombuffer(archive.extractfile(member).read(), np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
            points = detector(image)
            assert points is not None and points.shape == (68, 2)
            cropped, moved = faces.crop(image, points)
            assert cropped.shape == (256, 256, 3)
            assert 30 < np.linalg.norm(moved[39] - moved[42]) < 70
            assert moved[36:48, 1].mean() < moved[30, 1] < moved[48:60, 1].mean()
            seen += 1
            if seen == 3:
                break
    assert seen == 3
    assert detector(np.full((120, 120, 3), 128, np.uint8)) is None


def test_crop_by_hand():
    points = np.full((68, 2), 48.0)
    points[36:42], points[42:48] = (36, 40), (60, 40)
    points[30], points[48], points[54] = (48, 52), (40, 64), (56, 64)
    # Extent 24; the center (48, 52) lifted by 0.08 of it; a square of 3.1 extents on 256 pixels.
    scale = 256 / (3.1 * 24)
    expected = [[scale, 0, 127.5 - scale * 48], [0, scale, 127.5 - scale * (52 - 0.08 * 24)]]
    np.testing.assert_allclose(faces.crop_matrix(points), expected, atol=1e-9)
