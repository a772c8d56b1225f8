"""Pictures that are damaged, too large, of an unknown range or without room for a face: every builder counts them."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from mean_face import mean_face
from test_faults import NAMES, ONE, OTHER, PICTURE, build, dummy, fails, skipped, total, write_pairs
from test_faults import whole as whole

from data_builders import crops, landmarks, portraits, prepare, videos
from data_builders.lfw_pairs import lfw_pairs_dataset_builder as lfw
from piapdf_jax import pictures


def damaged(data):
    middle = len(data) // 2
    return data[:middle] + bytes(1500) + data[middle + 1500 :]


def huge(data):
    if data.startswith(b"\x89PNG"):
        header = b"IHDR" + struct.pack(">II", 65_500, 65_500) + data[24:29]
        return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", 65_500, 65_500) + data[place + 4 :]


def deep(data):
    """As a camera of 12 bits leaves it in 16."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".png", image.astype(np.uint16) * 16)[1].tobytes()


FAULTS = {damaged: crops.UNREADABLE, huge: crops.UNREADABLE, deep: crops.UNKNOWN_RANGE}


@pytest.mark.parametrize("name", NAMES[:-1])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_picture_that_is_refused_is_counted(name, fault, whole, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    picture = manual / PICTURE[name]
    picture.write_bytes(fault(picture.read_bytes()))
    built = build(name, manual, tmp_path / "data")
    assert total(built) == whole[name] - 1
    (reason,) = skipped(built)
    assert reason == FAULTS[fault]
    (case,) = skipped(built)[reason]
    assert PICTURE[name].endswith(case)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refused_picture_of_lfw_is_counted_unless_a_pair_names_it(fault, whole, tmp_path):
    manual = dummy("lfw_pairs", tmp_path / "manual")
    picture = manual / PICTURE["lfw_pairs"]
    picture.write_bytes(fault(picture.read_bytes()))
    fails("lfw_pairs", manual, tmp_path / "data", f"picture 2 of {ONE}", "cannot be read")
    write_pairs(manual, f"{ONE}\t1\t3", f"{ONE}\t1\t{OTHER}\t1")
    built = build("lfw_pairs", manual, tmp_path / "data")
    assert total(built) == whole["lfw_pairs"] - 1
    assert skipped(built) == {FAULTS[fault]: [f"{ONE}/{ONE}_0002.jpg"]}


@pytest.mark.parametrize("name", NAMES)
def test_bytes_behind_a_picture_cost_nothing(name, whole, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    picture = manual / PICTURE[name]
    picture.write_bytes(picture.read_bytes() + bytes(2000))
    built = build(name, manual, tmp_path / "data")
    assert total(built) == whole[name] and not skipped(built)


THIN = {
    # Frames of a video without a face borrow landmarks, which this one has no room for.
    "bp4d": crops.NO_FACE,
    "disfa": crops.NO_FACE,
    "afew_va": crops.NO_FACE,
    "casia_webface": "no face found",
    "own": crops.NO_FACE,
    "lfw_pairs": crops.NO_FACE,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_of_2000_pixels_by_1_is_counted(name, whole, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    picture = manual / PICTURE[name]
    thin = cv2.imencode(picture.suffix, np.full((1, 2000, 3), 128, np.uint8))[1]
    picture.write_bytes(thin.tobytes())
    if name == "lfw_pairs":
        fails(name, manual, tmp_path / "data", f"picture 2 of {ONE}")
        write_pairs(manual, f"{ONE}\t1\t3", f"{ONE}\t1\t{OTHER}\t1")
    built = build(name, manual, tmp_path / "data")
    assert total(built) == whole[name] - 1
    (case,) = skipped(built)[THIN[name]]
    assert skipped(built).keys() == {THIN[name]} and PICTURE[name].endswith(case)


@pytest.mark.parametrize("name", ["casia_webface", "afew_va"])
def test_a_folder_called_a_picture_ends_no_build(name, whole, tmp_path):
    manual = dummy(name, tmp_path / "manual")
    picture = manual / PICTURE[name]
    picture.unlink()
    picture.mkdir()
    built = build(name, manual, tmp_path / "data")
    assert total(built) == whole[name] - 1
    (cases,) = skipped(built).values()
    assert [case.rsplit("/", 1)[-1].partition(".")[0] for case in cases] == [picture.stem]


PLACES = {"outside": (5000, 5000), "one far outside": None, "without end": (np.inf, 0)}


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a" / "b" / "0007.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(cv2.imencode(".png", np.full((300, 300, 3), 90, np.uint8))[1].tobytes())
    return path


@pytest.mark.parametrize("place", PLACES)
def test_landmarks_outside_are_counted_where_records_are_made(place, picture):
    points = np.float32([mean_face()] * 2)
    if PLACES[place] is None:
        points[1, 36] = 1e6, 0
    else:
        points[1] += np.float32(PLACES[place])
    frames = tuple(videos.VideoFrame(number, str(picture), None) for number in (1, 2))
    made = videos.make(videos.Block("F001", "T1", frames, points))
    assert [key for key, _ in made.examples] == ["F001_T1_00001"]
    assert made.faults == [(crops.NO_FACE, "a/b/0007.png")]
    person = portraits.Person("Ann", 0, (str(picture),) * 2, (1, 2), points)
    made = portraits.make(person)
    assert [key for key, _ in made.examples] == ["Ann_00001"]
    assert made.faults == [(crops.NO_FACE, "b/0007.png")]
    with pytest.raises(ValueError, match=r"b/0007\.png: landmarks that are no face"):
        lfw.make(person)


class Center:
    """Finds the mean face in every picture."""

    digest = "center"

    def __call__(self, image):
        return np.float32(mean_face())


def test_landmarks_of_another_reader_are_not_taken_over(picture, tmp_path, monkeypatch):
    asked = landmarks.VideoFiles("v", (str(picture),), (), str(tmp_path / "cache"), Center)
    assert landmarks.find_landmarks(asked).origin.tolist() == [landmarks.FOUND]
    state = picture.stat()
    # Another content with the size and time of before, which only reading tells.
    picture.write_bytes(b"\0" * state.st_size)
    landmarks.os.utime(picture, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert landmarks.find_landmarks(asked).origin.tolist() == [landmarks.FOUND]
    monkeypatch.setattr(pictures, "digest", lambda: "another")
    assert landmarks.find_landmarks(asked).origin.tolist() == [landmarks.UNREADABLE]


def test_a_picture_without_room_in_memory_ends_the_build_with_its_name(
    tmp_path, monkeypatch, capsys
):
    manual = dummy("afew_va", tmp_path / "manual")

    def full(data, name):
        raise MemoryError(f"{name} cannot be read as a picture: not enough memory")

    monkeypatch.setattr(pictures, "decode", full)
    monkeypatch.setattr(
        prepare, "_main", lambda _: build("afew_va", manual, tmp_path / "data") and 0
    )
    assert prepare._guarded(["prepare", "afew_va"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("prepare: ") and "00000.png" in line and "not enough memory" in line
