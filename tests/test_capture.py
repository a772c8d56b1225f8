import struct

import cv2
import numpy as np
import pytest

from piapdf_jax import capture


def write(path, pictures, *, fourcc="mp4v", rate=25.0):
    h, w = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*fourcc), rate, (w, h))
    assert writer.isOpened()
    for picture in pictures:
        writer.write(picture[..., ::-1])
    writer.release()
    return path


def gray(level, shape=(96, 128, 3)):
    return np.full(shape, level, np.uint8)


LEVELS = range(10, 250, 8)  # 30 frames
KINDS = {"mp4": "mp4v", "avi": "MJPG", "webm": "VP90", "mkv": "FFV1"}


def every(number, timestamp):
    return True


@pytest.mark.parametrize("ending", KINDS)
def test_frames_come_with_their_numbers_and_times(tmp_path, ending):
    path = write(tmp_path / f"a.{ending}", [gray(v) for v in LEVELS], fourcc=KINDS[ending])
    film = capture.Film(path)
    assert (film.expected, film.rate) == (30, 25)
    shots = list(film.shots(every))
    assert [shot.number for shot in shots] == list(range(30))
    np.testing.assert_allclose([s.timestamp for s in shots], np.arange(30) / 25, atol=1e-3)
    levels = [float(np.median(shot.picture)) for shot in shots]
    np.testing.assert_allclose(levels, LEVELS, atol=5)
    assert shots[0].picture.shape == (96, 128, 3) and shots[0].picture.dtype == np.uint8
    assert (film.read, film.notes(), film.ended_early) == (30, [], False)


def test_only_what_is_wanted_is_decoded_and_an_exception_ends_the_film(tmp_path):
    path = write(tmp_path / "a.avi", [gray(v) for v in LEVELS], fourcc="MJPG")
    film, asked = capture.Film(path), []

    def wanted(number, timestamp):
        asked.append(number)
        if number == 20:
            raise KeyError
        return number % 7 == 3

    found = []
    with pytest.raises(KeyError):
        for shot in film.shots(wanted):
            found.append((shot.number, round(float(np.median(shot.picture)))))
    assert asked == list(range(21))
    assert [number for number, _ in found] == [3, 10, 17]
    np.testing.assert_allclose(
        [level for _, level in found], [LEVELS[k] for k in (3, 10, 17)], atol=3
    )


def test_colors_are_red_green_blue(tmp_path):
    red = np.zeros((96, 128, 3), np.uint8)
    red[..., 0] = 220
    (shot,) = capture.Film(write(tmp_path / "a.avi", [red], fourcc="FFV1")).shots(every)
    assert np.abs(shot.picture[48, 64].astype(int) - (220, 0, 0)).max() < 12


def patched(path, name, change):
    """Rewrites an MP4's box of a kind, whose content ``change`` gets and returns at the same length."""
    data = bytearray(path.read_bytes())
    place = data.index(name) + 4
    (size,) = struct.unpack_from(">I", data, place - 8)
    content = bytes(data[place : place + size - 8])
    new = change(content)
    assert len(new) == len(content)
    data[place : place + size - 8] = new
    path.write_bytes(data)
    return path


#: Quarter turns clockwise: what stands in the header of a track, and where the upper left corner comes.
TURNS = {
    1: ((0, 1, -1, 0), (10, -10)),
    2: ((-1, 0, 0, -1), (-10, -10)),
    3: ((0, -1, 1, 0), (-10, 10)),
}


@pytest.mark.parametrize("turns", TURNS)
def test_a_film_of_a_phone_is_turned_upright(tmp_path, turns):
    picture = gray(40)
    picture[:40, :40] = 230  # upper left
    path = write(tmp_path / "a.mp4", [picture] * 3)
    (a, b, c, d), (y, x) = TURNS[turns]
    # Transformation of the track header, in 16.16 fixed point.
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    patched(path, b"tkhd", lambda old: old[:40] + matrix + old[76:])
    shot = next(capture.Film(path).shots(every))
    assert shot.picture.shape == ((128, 96, 3) if turns % 2 else (96, 128, 3))
    assert shot.picture[y, x].min() > 200 and shot.picture[-y, -x].max() < 80


def test_variable_rates_keep_their_times(tmp_path):
    path = write(tmp_path / "a.mp4", [gray(v) for v in LEVELS[:6]])
    data = path.read_bytes().replace(b"edts", b"free")  # which ends the film where it ended before
    count, ticks = struct.unpack_from(">2I", data, data.index(b"stts") + 12)
    assert count == 6
    # The same box with six entries is longer, and so are those around it.
    box = struct.pack(">I4s2I2I", 24, b"stts", 0, 1, count, ticks)
    durations = [ticks, 3 * ticks, 2 * ticks, ticks, 5 * ticks, ticks]
    longer = struct.pack(">I4s2I", 16 + 48, b"stts", 0, 6) + b"".join(
        struct.pack(">2I", 1, d) for d in durations
    )
    grown = len(longer) - len(box)
    assert data.index(b"mdat") < data.index(b"moov"), "chunks lie before the box and do not move"
    data = data.replace(box, longer)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        place = data.index(name) - 4
        size = struct.unpack_from(">I", data, place)[0] + grown
        data = data[:place] + struct.pack(">I", size) + data[place + 4 :]
    path.write_bytes(data)
    shots = list(capture.Film(path).shots(every))
    starts = np.concatenate([[0], np.cumsum(durations)[:-1]]) / (25 * ticks)
    np.testing.assert_allclose([shot.timestamp for shot in shots], starts, atol=1e-6)


class Reader:
    """Stands for OpenCV's reader of a film or camera."""

    def __init__(self, times, *, count=0.0, rate=25.0, came=()):
        self.times, self.place, self.released = times, -1, False
        self.said = {cv2.CAP_PROP_FRAME_COUNT: count, cv2.CAP_PROP_FPS: rate}
        self.came = iter(came)

    def isOpened(self):
        return True

    def get(self, which):
        if which == cv2.CAP_PROP_POS_MSEC:
            return 1000 * self.times[self.place]
        return self.said[which]

    def grab(self):
        self.place += 1
        return self.place < len(self.times) and self.times[self.place] is not None

    def retrieve(self):
        return True, gray(7)

    def read(self):
        came = next(self.came, False)
        return came, gray(7) if came else None

    def release(self):
        self.released = True


def film_of(monkeypatch, tmp_path, reader):
    (tmp_path / "a.mkv").write_bytes(b"\x1a\x45\xdf\xa3" + bytes(20_000))
    monkeypatch.setattr(capture, "_open", lambda path, threads: reader)
    return capture.Film(tmp_path / "a.mkv")


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ([0.0, 0.0, 0.0], [0.0, 0.04, 0.08]),
        ([0.0, 0.04, 0.02, 0.12], [0.0, 0.04, 0.08, 0.12]),
        ([float("nan"), 0.04, 0.08], [0.0, 0.04, 0.08]),
        ([-1.0, 0.04], [0.0, 0.04]),
        ([0.5, 0.54, 0.62], [0.0, 0.04, 0.12]),
        ([0.0, 0.04, 1e9, 0.12], [0.0, 0.04, 0.08, 0.12]),
        # a rate of 90,000: numbers for times
        ([0.0, 1 / 90_000, 2 / 90_000], [0.0, 0.04, 0.08]),
    ],
)
def test_times_that_are_none_or_fall(monkeypatch, tmp_path, times, wanted):
    film = film_of(monkeypatch, tmp_path, Reader(times, count=len(times)))
    found = [shot.timestamp for shot in film.shots(every)]
    assert found == pytest.approx(wanted)
    assert len(film.notes()) == (times[0] != 0.5)


@pytest.mark.parametrize(
    ("count", "came", "early", "told"),
    [
        (75, 75, False, False),
        (76, 75, False, True),  # one frame is a rounding of the duration
        (75, 32, True, True),
        (10_000, 75, True, True),
        (0, 75, False, False),
        (-5, 75, False, False),
        (2**32 - 5, 75, False, False),  # more than the file has bytes
        (70, 75, False, True),
    ],
)
def test_fewer_frames_than_were_promised(monkeypatch, tmp_path, count, came, early, told):
    film = film_of(monkeypatch, tmp_path, Reader(list(np.arange(came) / 25), count=count))
    assert len(list(film.shots(every))) == came
    assert (film.ended_early, bool(film.notes())) == (early, told)


def test_a_variable_rate_is_no_early_end(monkeypatch, tmp_path):
    # 91 of 30 a second is what a container of a mean rate guesses for these 45 frames of three seconds.
    reader = Reader([k / 15 for k in range(45)], count=91, rate=30.0)
    film = film_of(monkeypatch, tmp_path, reader)
    assert len(list(film.shots(every))) == 45
    assert not film.ended_early and film.notes() == [
        "45 frames were decoded, but the film claims 91"
    ]


def test_damaged_frames_have_a_number_and_a_time_but_no_picture(monkeypatch, tmp_path):
    reader = Reader([None, 0.04, 0.08, None, None, 0.26, None, None, 0.32], count=9)
    film = film_of(monkeypatch, tmp_path, reader)
    shots = list(film.shots(every))
    assert [shot.number for shot in shots] == list(range(9)) and reader.released
    # A frame's duration after the one before, and evenly where there is no room.
    times = [shot.timestamp for shot in shots]
    assert times == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16, 0.26, 0.28, 0.30, 0.32])
    assert [k for k, shot in enumerate(shots) if shot.picture is None] == [0, 3, 4, 6, 7]
    assert film.notes() == ["5 of 9 frames are damaged"] and not film.ended_early


FAULTS = {
    "empty.mp4": (b"", "is empty"),
    "list.m3u8": (
        b"#EXTM3U\n#EXTINF:10,\n/etc/passwd\n",
        "is not a film: it begins with b'#EXTM3U",
    ),
    "list.txt": (b"ffconcat version 1.0\nfile a.mp4\n", "is not a film: it begins with"),
    "accent.m3u8": ("#EXTM3U\n#é\0\n/etc/passwd\n".encode(), "is not a film: it begins with"),
    "picture.mp4": (b"\xff\xd8\xff\xe0" + bytes(40), "is not a film: it begins with"),
    "noise.mp4": (bytes(range(1, 256)) * 40, "is not a film: it begins with"),
    "head.mp4": (b"\0\0\0\x20ftypisom" + bytes(40), "not a film that OpenCV can read"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_film(tmp_path, name):
    data, said = FAULTS[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(capture.CaptureError, match=rf"{name} {said}|{name} is {said}"):
        capture.Film(tmp_path / name)


def test_a_film_cut_off_in_the_middle(tmp_path):
    whole = write(tmp_path / "a.mkv", [gray(v) for v in LEVELS], fourcc="MJPG").read_bytes()
    path = tmp_path / "cut.mkv"
    path.write_bytes(whole[: len(whole) // 2])
    film = capture.Film(path)
    came = len(list(film.shots(every)))
    assert 5 < came < 25 and film.ended_early
    assert film.notes() == [f"{came} frames were decoded, but the film claims 30"]
    # The index of an MP4 stands at its end.
    whole = write(tmp_path / "b.mp4", [gray(v) for v in LEVELS]).read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(capture.CaptureError, match=r"b\.mp4 is not a film"):
        capture.Film(tmp_path / "b.mp4")


def test_sound_alone_is_no_film(tmp_path):
    sound = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        8036,
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        8000,
        8000,
        1,
        8,
        b"data",
        8000,
    )
    (tmp_path / "a.wav").write_bytes(sound + bytes(8000))
    with pytest.raises(capture.CaptureError, match=r"a\.wav is not a film"):
        list(capture.Film(tmp_path / "a.wav").shots(every))


def test_a_camera_that_drops_frames_and_ends():
    reader = Reader([], came=[False, True, False, True, True])
    camera = capture.Camera(0, open=lambda index: reader)
    shots = list(camera.shots(every))
    # What it wakes up with, and its end, are no frames.
    assert [shot.picture is not None for shot in shots] == [True, False, True, True]
    times = [shot.timestamp for shot in shots]
    assert times[0] == 0 and times == sorted(times) and reader.released
    assert [shot.number for shot in shots] == [0, 1, 2, 3] and camera.read == 4
    assert camera.notes() == ["camera:0 dropped 1 of 4 frames"]


def test_a_camera_that_gives_nothing():
    reader = Reader([])
    with pytest.raises(capture.CaptureError, match="^camera:2 gives no picture$"):
        list(capture.Camera(2, open=lambda index: reader).shots(every))
    assert reader.released


def test_a_camera_is_let_go_when_nobody_reads_on():
    reader = Reader([], came=[True] * 9)
    shots = capture.Camera(0, open=lambda index: reader).shots(every)
    next(shots)
    shots.close()
    assert reader.released


def test_no_camera():
    class Absent(Reader):
        def isOpened(self):
            return False

    reader = Absent([])
    with pytest.raises(capture.CaptureError, match=r"^there is no camera:3"):
        capture.Camera(3, open=lambda index: reader)
    assert reader.released
    with pytest.raises(capture.CaptureError, match=r"^there is no camera:97"):
        capture.Camera(97)
