"""Films that are damaged, say what is not so, or have strange names; every picture shows its number."""

import os
import pathlib
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).parent / "data_builders"))

import films

from piapdf_jax import capture

ALL = [films.picture(k) for k in range(10)]
TIMES = [k / 20 for k in range(10)]


def read(path):
    film = capture.Film(path)
    return film, list(film.shots(lambda number, timestamp: True))


def numbers(shots):
    return [None if shot.picture is None else films.shown(shot.picture) for shot in shots]


def times(shots):
    return [round(shot.timestamp, 6) for shot in shots]


def test_frames_that_a_decoder_holds_back_come_with_their_times(tmp_path):
    film, shots = read(films.write_reordered(tmp_path / "a.avi"))
    # Frame k has gray value 20 k + 20, at 20 frames a second.
    grays = [float(np.median(shot.picture)) for shot in shots]
    np.testing.assert_allclose(grays, np.arange(20, 220, 20), atol=4)
    assert times(shots) == TIMES and film.notes() == []


def test_times_begin_with_the_first_frame(tmp_path):
    _, shots = read(films.write_avi(tmp_path / "a.avi", ALL, start=3))
    assert times(shots) == TIMES
    film, shots = read(films.write_avi(tmp_path / "b.avi", [b"", b"", *ALL[:3], b"", *ALL[3:]]))
    assert numbers(shots) == list(range(10))
    # A frame that was dropped leaves a gap.
    assert times(shots) == [k / 20 for k in range(11) if k != 3]
    assert film.notes() == ["10 frames were decoded, but the film claims 13"]
    assert not film.ended_early
    edits = [(60, -1), (300, 0)]
    _, shots = read(films.write_mp4(tmp_path / "c.mp4", ALL, [30] * 10, edits=edits))
    assert times(shots) == TIMES


@pytest.mark.parametrize("ending", ["avi", "mp4"])
@pytest.mark.parametrize("lost", [(4, 5), (7,), (2, 6, 8)])
def test_damaged_frames_keep_their_place(tmp_path, ending, lost):
    chunks = [bytes(len(chunk)) if k in lost else chunk for k, chunk in enumerate(ALL)]
    if ending == "avi":
        path = films.write_avi(tmp_path / "a.avi", chunks)
    else:
        path = films.write_mp4(tmp_path / "a.mp4", chunks, [30] * 10)
    film, shots = read(path)
    assert numbers(shots) == [None if k in lost else k for k in range(10)]
    assert [shot.number for shot in shots] == list(range(10)) and times(shots) == TIMES
    assert film.notes() == [f"{len(lost)} of 10 frames are damaged"] and not film.ended_early


@pytest.mark.parametrize("chunks", [[], [b"no picture"] * 3], ids=["none", "damaged"])
def test_a_film_without_a_frame(tmp_path, chunks):
    path = films.write_avi(tmp_path / "a.avi", chunks)
    with pytest.raises(capture.CaptureError, match=r"a\.avi (holds no frame|is not a film)"):
        read(path)


def with_count(path, count):
    """Writes into both headers of an AVI how many frames it has."""
    data = bytearray(films.write_avi(path, ALL).read_bytes())
    for place in (data.index(b"avih") + 24, data.index(b"vidsMJPG") + 32):
        struct.pack_into("<I", data, place, count)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("count", "expected", "early"),
    [(10, 10, False), (300, 300, True), (0, None, False), (2**32 - 5, None, False)],
)
def test_numbers_of_frames_that_are_not_so(tmp_path, count, expected, early):
    film, shots = read(with_count(tmp_path / "a.avi", count))
    assert numbers(shots) == list(range(10)) and times(shots) == TIMES
    assert (film.expected, film.ended_early) == (expected, early)
    told = [f"10 frames were decoded, but the film claims {count}"]
    assert film.notes() == (told if early else [])


def test_a_rate_that_no_camera_has(tmp_path):
    film, shots = read(films.write_avi(tmp_path / "a.avi", ALL, rate=(90_000, 1)))
    assert film.rate is None and numbers(shots) == list(range(10))
    # 25 frames a second, and the user is told.
    assert times(shots) == [k / 25 for k in range(10)]
    assert len(film.notes()) == 1 and "no time" in film.notes()[0]


def test_a_film_cut_off_behind_its_index(tmp_path):
    data = films.write_avi(tmp_path / "a.avi", ALL).read_bytes()
    place = data.index(ALL[6])  # frames 0 ... 5 are whole
    (tmp_path / "a.avi").write_bytes(data[:place])
    film, shots = read(tmp_path / "a.avi")
    assert numbers(shots) == list(range(6)) and times(shots) == TIMES[:6]
    assert film.ended_early
    assert film.notes() == ["6 frames were decoded, but the film claims 10"]


WRITTEN = {"mpg": "MPG1", "ts": "MPG2", "wmv": "WMV2", "flv": "FLV1", "mov": "mp4v", "m4v": "mp4v"}


@pytest.mark.parametrize("ending", WRITTEN)
def test_kinds_of_films(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*WRITTEN[ending]), 25.0, (64, 64))
    assert writer.isOpened()
    for content in ALL:
        writer.write(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))
    writer.release()
    _, shots = read(path.rename(tmp_path / "by_its_content"))
    assert numbers(shots) == list(range(10))
    np.testing.assert_allclose(times(shots), np.arange(10) / 25, atol=1e-3)


def test_a_transport_stream_that_begins_within_a_packet(tmp_path):
    packets = b"".join(b"\x47" + bytes(187) for _ in range(6))
    for start in (0, 1, 100):
        (tmp_path / "a.ts").write_bytes(packets[start:])
        with pytest.raises(capture.CaptureError, match="not a film that OpenCV can read"):
            capture.Film(tmp_path / "a.ts")
    (tmp_path / "a.ts").write_bytes(packets[: 2 * 188])
    with pytest.raises(capture.CaptureError, match="it begins with b'G"):
        capture.Film(tmp_path / "a.ts")


NAMES = [
    b"caf\xe9.avi",
    b'a,"b"\nc.avi',
    b"shot_%04d.avi",
    b"http:/x.avi",
    b"concat:a|b.avi",
    b"-.avi",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_names_of_files(tmp_path, monkeypatch, name):
    """OpenCV takes some for patterns and addresses, and crashes on those that are not UTF-8."""
    monkeypatch.chdir(tmp_path)
    path = pathlib.Path(os.fsdecode(name))
    films.write_avi(path, ALL[:3])
    assert numbers(read(path)[1]) == [0, 1, 2]


def test_memory_stays_constant(tmp_path):
    # A smooth picture: what is freed of a large file would be taken for pictures.
    frame = cv2.imencode(".jpg", np.full((720, 1280, 3), 90, np.uint8))[1].tobytes()
    film = capture.Film(films.write_avi(tmp_path / "a.avi", [frame] * 120))
    held = []
    for shot in film.shots(lambda number, timestamp: True):
        assert shot.picture.shape == (720, 1280, 3)
        held.append(resident())
    # All pictures together have 332 MB.
    assert len(held) == 120 and max(held[20:]) - held[20] < 40e6


def resident():
    """Bytes of memory that this process has now."""
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


LOUD = """
import sys, cv2
from piapdf_jax import capture, photographs
for read in (
    lambda: list(capture.Film("damaged.avi").shots(lambda number, timestamp: True)),
    lambda: list(capture.Film("cut.mp4").shots(lambda number, timestamp: True)),
    lambda: photographs.read_photograph("cut.webp"),
    lambda: capture.Camera(97),
):
    try:
        print(len(read()))
    except ValueError as error:
        print(error)
"""


def test_nothing_is_printed_of_what_is_damaged(tmp_path):
    films.write_avi(tmp_path / "damaged.avi", [*ALL[:4], ALL[4][:300] + bytes(200), *ALL[5:]])
    whole = films.write_mp4(tmp_path / "a.mp4", ALL, [30] * 10).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    picture = cv2.imencode(".webp", np.zeros((40, 60, 3), np.uint8))[1].tobytes()
    (tmp_path / "cut.webp").write_bytes(picture[:-9])
    root = str(pathlib.Path(__file__).parents[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENCV_")}
    done = subprocess.run(
        [sys.executable, "-c", LOUD],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        *("10", "cut.mp4", "cut.webp", "there")
    ]
