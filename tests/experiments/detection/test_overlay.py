import cv2
import numpy as np
import pytest

from experiments.detection import maps, overlay, overlay_files
from experiments.detection.rows import Row
from piapdf_jax import capture
from piapdf_jax.capture import Shot

UNITS = (1, 12)
CUTS = {1: 0.5, 12: 0.25}


def row(frame=0, box=(200.0, 150.0, 120.0, 100.0), probabilities=(0.0, 1.0), face=0, **more):
    return Row(
        "a", frame, frame / 25, face, 0.9, "", box, 0.0, (1.0, 0.0, 0.0, 0.0), probabilities, **more
    )


@pytest.mark.parametrize(
    ("sides", "factor"),
    [((480, 640), 1), ((1080, 1920), 1), ((240, 320), 2), ((288, 360), 480 / 288), ((2160, 3840), 0.5),
     ((4000, 3000), 0.36), ((50, 20_000), 3840 / 20_000), ((1, 1), 480)],
)  # fmt: skip
def test_frames_are_drawn_at_a_size_that_can_be_read(sides, factor):
    assert overlay.scale_of(*sides) == pytest.approx(factor)
    assert overlay.scale_of(*sides[::-1]) == pytest.approx(factor)


def test_a_box_is_where_the_face_is_and_bars_are_as_long_as_probabilities():
    gray = np.full((480, 640, 3), 90, np.uint8)
    drawn = overlay.draw(gray, [row(probabilities=(0.5, 1.0))], UNITS, CUTS)
    changed = (drawn != 90).any(-1)
    # The box's left edge at x 200, between y 150 and 250, in the first color; nothing left of it.
    assert (drawn[200, 199:202] == (86, 180, 233)).all(-1).any()
    assert not changed[170:240, :190].any() and not changed[300:, :].any()
    # Between their names and their numbers, bars of units that are present: the second is twice as long as the first.
    bright = (drawn == (255, 196, 61)).all(-1)[:, 366:430].sum(1)
    first, second = (int(lines.max()) for lines in (bright[150:168], bright[168:190]))
    assert first > 20 and second / first == pytest.approx(2, abs=0.2)


def test_a_unit_below_its_cut_does_not_stand_out():
    gray = np.full((480, 640, 3), 90, np.uint8)
    for probabilities, cuts, bright in [
        ((0.49, 0.24), CUTS, False),
        ((0.5, 0.0), CUTS, True),
        ((1.0, 1.0), {1: None, 12: None}, False),
    ]:
        drawn = overlay.draw(gray, [row(probabilities=probabilities)], UNITS, cuts)
        assert (drawn == (255, 196, 61)).all(-1).any() == bright


def test_weak_units_have_a_question_mark_and_a_line_that_says_so():
    gray = np.full((480, 640, 3), 90, np.uint8)
    plain, marked = (
        overlay.draw(gray, [row(probabilities=(0.5, 0.0))], UNITS, CUTS, weak)
        for weak in ((), (12,))
    )
    names = slice(324, 370)
    # Unit 1's line is the same; that of 12 has a mark behind its name; below it is one line more.
    assert (plain[150:166, :] == marked[150:166, :]).all()
    behind = (plain[168:181, names] != marked[168:181, names]).any((0, 2))
    assert behind[-14:].any() and not behind[:28].any()
    assert (plain[188:198, 330:400] == 90).all() and (marked[188:198, 330:400] > 120).any()


@pytest.mark.parametrize(
    "box", [(-30.0, -20.0, 90.0, 90.0), (600.0, 440.0, 100.0, 100.0), (0.0, 0.0, 640.0, 480.0)]
)
@pytest.mark.parametrize("sides", [(480, 640), (1, 1), (37, 500), (99, 99)])
def test_faces_at_and_beyond_the_border(sides, box):
    picture = np.full((*sides, 3), 90, np.uint8)
    drawn = overlay.draw(picture, [row(box=box)], UNITS, CUTS)
    assert drawn.dtype == np.uint8 and drawn.shape[0] % 2 == drawn.shape[1] % 2 == 0


def test_a_frame_without_a_face_says_why():
    gray = np.full((480, 640, 3), 90, np.uint8)
    drawn = overlay.draw(gray, [Row("a", 0, 0.0, reason="too_small")], UNITS, CUTS)
    changed = (drawn != 90).any(-1)
    assert changed[:40, :200].any() and not changed[60:].any()


def shots(count, size=(96, 128), times=None):
    for k in range(count):
        time = k / 25 if times is None else times[k]
        yield Shot(k, time, np.full((*size, 3), 20 + 20 * k, np.uint8))


def plain(picture, rows):
    return picture


def levels(path):
    film = capture.Film(path)
    return film.rate, [
        round((float(np.median(s.picture)) - 20) / 20) for s in film.shots(lambda n, t: True)
    ]


def test_a_film_of_a_constant_rate_shows_every_frame_once(tmp_path, capfd):
    frames = overlay_files.drawn(shots(8), [row(k) for k in range(8)], plain)
    overlay_files.write_film(tmp_path / "a.webm", frames, rate=25.0)
    assert levels(tmp_path / "a.webm") == (25, list(range(8)))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.webm"]
    assert capfd.readouterr().err == ""


def test_a_film_of_a_variable_rate_keeps_durations(tmp_path):
    # Ticks of 0.1 s: the newest frame at 0, .1, .2, ... .5.
    frames = overlay_files.drawn(
        shots(4, times=[0.0, 0.1, 0.4, 0.5]), [row(k) for k in range(4)], plain
    )
    overlay_files.write_film(tmp_path / "a.webm", frames, rate=10.0)
    assert levels(tmp_path / "a.webm") == (10, [0, 1, 1, 1, 2, 3])


@pytest.mark.parametrize("rate", [24.0, 120.0, 1000.0, 2500.0])
def test_no_frame_is_lost_at_any_rate(tmp_path, rate):
    times = [k / rate for k in range(6)]
    frames = overlay_files.drawn(shots(6, times=times), [row(k) for k in range(6)], plain)
    overlay_files.write_film(tmp_path / "a.webm", frames, rate=rate)
    assert levels(tmp_path / "a.webm")[1] == list(range(6))


@pytest.mark.parametrize(
    ("said", "times", "rate"),
    [
        # A browser's WebM: steps of 30, 40, 40 and 50 ms.
        (1000.0, [0.0, 0.03, 0.07, 0.11, 0.16], 25),
        (30.0, [0.0, 0.03, 0.07, 0.11, 0.16], 30),
        (25.0, [0.0, 0.04, 0.08, 600.0, 600.04], 25),  # a still for ten minutes
        (None, [0.0, 0.1, 0.2], 10),
        (12.5, [3.0], 12.5),
        (None, [], 25),
    ],
)
def test_a_rate_that_a_film_cannot_have_is_not_believed(said, times, rate):
    rows = [
        row(k)._replace(timestamp=time, face_id=face)
        for k, time in enumerate(times)
        for face in (0, 1)
    ]
    assert overlay_files.film_rate(said, iter(rows)) == pytest.approx(rate)


def test_a_time_that_jumps_by_hours_does_not_fill_the_disk(tmp_path):
    frames = overlay_files.drawn(
        shots(3, times=[0.0, 7200.0, 7201.0]), [row(k) for k in range(3)], plain
    )
    overlay_files.write_film(tmp_path / "a.webm", frames, rate=1.0)
    # A minute of the first frame, then one tick each.
    assert levels(tmp_path / "a.webm")[1] == [0] * 60 + [1, 2]


def test_a_film_that_is_not_all_on_disk_is_an_error(tmp_path, monkeypatch):
    real = overlay_files._open

    class Full:
        """As OpenCV on a full disk: frames are taken, and nobody tells that they are lost."""

        def __init__(self, path, rate, size):
            self._writer, self._count = real(path, rate, size), 0

        def write(self, picture):
            self._count += 1
            if self._count <= 5:
                self._writer.write(picture)

        def release(self):
            self._writer.release()

    monkeypatch.setattr(overlay_files, "_open", Full)
    frames = overlay_files.drawn(shots(8), [row(k) for k in range(8)], plain)
    with pytest.raises(OSError, match="No space left on device: 5 of 8 frames of a.webm"):
        overlay_files.write_film(tmp_path / "a.webm", frames, rate=25.0)


def test_pictures_are_named_by_their_frames(tmp_path):
    made = (
        Shot(k, None, None if k == 4 else np.full((96, 128, 3), 20 * k, np.uint8))
        for k in (2, 4, 7)
    )
    frames = overlay_files.drawn(made, [row(k) for k in (2, 4, 7)], plain)
    overlay_files.write_pictures(tmp_path / "o", frames)
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["000002.jpg", "000007.jpg"]
    image = cv2.imread(str(tmp_path / "o" / "000007.jpg"))
    assert image.shape == (96, 128, 3) and abs(float(image.mean()) - 140) < 2
    # A second time takes the place of the first.
    overlay_files.write_pictures(tmp_path / "o", [(5, None, image)])
    assert [p.name for p in tmp_path.rglob("*")] == ["o", "000005.jpg"]


def test_rows_of_another_film_are_not_drawn():
    with pytest.raises(ValueError, match="expected frame 3, got frame 0: the file"):
        list(overlay_files.drawn(shots(2), [row(3), row(4)], plain))


def test_rows_of_one_frame_are_drawn_together():
    seen = []
    rows = [row(0), row(0, face=1), row(1)]
    list(overlay_files.drawn(shots(2), rows, lambda picture, found: seen.append(found) or picture))
    assert seen == [rows[:2], rows[2:]]


@pytest.mark.parametrize("degrees", [0, 30, -90])
def test_maps_are_painted_where_the_crop_was_cut_out(degrees):
    # A crop of a scaled and turned square around (300, 200); the map marks its lower right quarter.
    angle, scale = np.deg2rad(degrees), 2.0
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    x, y = 127.5 - (a * 300 - b * 200), 127.5 - (b * 300 + a * 200)
    quarter = np.zeros((1, 64, 64, 1), np.float32)
    quarter[:, 32:, 32:] = 1
    picture = np.full((400, 600, 3), 50, np.uint8)
    painted = maps.painted(picture, [row()._replace(crop=(a, b, x, y))], lambda crops: quarter)
    changed = (painted != 50).any(-1)
    rows, columns = np.nonzero(changed)
    crop = np.stack([a * columns - b * rows + x, b * columns + a * rows + y])
    # All that changed lies in that quarter of the crop, and it all changed: 256 / 2 / scale pixels a side, and one more
    # at each of its soft edges.
    assert crop.min() > 124 and crop.max() < 257
    assert (128 / scale) ** 2 <= changed.sum() <= (128 / scale + 2.5) ** 2


def test_two_maps_have_two_colors_and_a_frame_without_a_face_has_none():
    both = np.zeros((1, 64, 64, 2), np.float32)
    both[:, :, :32, 0], both[:, :, 32:, 1] = 1, 1
    picture = np.zeros((256, 256, 3), np.uint8)
    painted = maps.painted(picture, [row()], lambda crops: both)
    assert painted[128, 60].tolist() != painted[128, 200].tolist()
    assert [word for word, _ in maps.legend((12, 6))][1:3] == ["AU12", "AU06"]
    assert maps.legend((12, 6))[1][1] != maps.legend((12, 6))[2][1]
    nothing = maps.painted(picture, [Row("a", 0, reason="no_face")], lambda crops: both)
    assert (nothing == picture).all()
