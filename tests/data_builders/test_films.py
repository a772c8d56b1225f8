"""Films whose frames were dropped, doubled or moved in time: each picture keeps the label row of its time.

Every picture shows its number, so that the right answer is in the film and not in the code that reads it.
"""

import os

import films
import pytest
import tensorflow_datasets as tfds
from test_faults import fails

from data_builders import film_frames
from data_builders.disfa import raw
from data_builders.disfa.disfa_dataset_builder import Builder
from data_builders.fault_report import FaultReport
from piapdf_jax import faces, video
from piapdf_jax.action_units import RECORD_AUS

ALL = [films.picture(k) for k in range(20)]
TICKS = 30  # of 600 a second: 20 frames a second


def dropped(*numbers):
    return [b"" if k in numbers else content for k, content in enumerate(ALL)]


def without(*numbers):
    return [content for k, content in enumerate(ALL) if k not in numbers]


def lasting(count, **longer):
    """Ticks of each frame: one frame's, but for some, ``_4=3`` for three frames of number 4."""
    return [TICKS * longer.get(f"_{k}", 1) for k in range(count)]


def extracted(film, folder):
    """{number by the builder: number in the picture}."""
    count = film_frames.extract(film, folder)
    found = {int(p.stem): films.shown(faces.read_image(p)) for p in folder.iterdir()}
    assert len(found) == count
    return found


@pytest.mark.parametrize("rate", [(20, 1), (30000, 1001), (24000, 1001), (1000, 1)])
@pytest.mark.parametrize(
    "lost", [(5, 6), (0, 1), (18, 19), (0, 3, 4, 5, 11), tuple(range(1, 20, 2))]
)
def test_empty_chunks_of_an_avi_move_no_other_picture(rate, lost, tmp_path):
    film = films.write_avi(tmp_path / "film.avi", dropped(*lost), rate=rate)
    found = extracted(film, tmp_path / "frames")
    assert found == {k: k for k in range(20) if k not in lost}


def test_damaged_chunks_cost_themselves_alone(tmp_path):
    """OpenCV's reader says at each of them that there is no further frame."""
    chunks = list(ALL)
    chunks[5], chunks[6], chunks[9] = b"no picture", ALL[6][:60], ALL[9][: len(ALL[9]) // 2]
    film = films.write_avi(tmp_path / "film.avi", chunks)
    found = extracted(film, tmp_path / "frames")
    assert found.keys() >= set(range(20)) - {5, 6, 9} and not {5, 6} & found.keys()
    assert all(found[k] == k for k in found.keys() - {9})


def test_an_avi_that_says_when_it_starts(tmp_path):
    film = films.write_avi(tmp_path / "film.avi", ALL[3:], start=3)
    assert extracted(film, tmp_path / "frames") == {k: k for k in range(3, 20)}


@pytest.mark.parametrize(
    ("lost", "ticks"),
    [
        ((), lasting(20)),
        ((5, 6), lasting(18, _4=3)),
        ((10,), lasting(19, _9=2)),
        ((1, 3, 5, 7, 9), lasting(15, _0=2, _1=2, _2=2, _3=2, _4=2)),
        ((12, 14, 15, 17, 18), lasting(15, _11=2, _12=3, _13=3)),
        # twelve hundredths of a frame too late and too early: a camera that is not quite regular
        ((5, 6), [TICKS + t for t in (4, -7, 3, 2, 2 * TICKS, -4, 7, -6, 3, -4, 4, 0, -4, 3, 1, -7, 6, 0)]),
    ],
)  # fmt: skip
def test_an_mp4_of_variable_rate(lost, ticks, tmp_path):
    """The rate that OpenCV says is the mean, 18 where two of twenty frames are missing."""
    film = films.write_mp4(tmp_path / "film.mp4", without(*lost), ticks)
    assert extracted(film, tmp_path / "frames") == {k: k for k in range(20) if k not in lost}


def test_an_mp4_whose_frames_are_all_late_starts_with_its_first(tmp_path):
    """As films are whose encoder put pictures into another order, without an edit list that says so."""
    film = films.write_mp4(tmp_path / "film.mp4", ALL, lasting(20), late=20 * [2 * TICKS])
    assert extracted(film, tmp_path / "frames") == {k: k for k in range(20)}
    assert video.start_delay(film) == 0


def test_an_edit_list_that_shows_nothing_at_first(tmp_path):
    edits = [(3 * TICKS, -1), (17 * TICKS, 0)]
    film = films.write_mp4(tmp_path / "film.mp4", ALL[3:], lasting(17), edits=edits)
    assert video.start_delay(film) == 0.15
    assert extracted(film, tmp_path / "frames") == {k: k for k in range(3, 20)}


def test_an_edit_list_that_leaves_out_the_first_frames(tmp_path):
    """What is shown at 0 seconds is the first picture, whatever the file still holds before it."""
    film = films.write_mp4(tmp_path / "film.mp4", ALL, lasting(20), edits=[(17 * TICKS, 3 * TICKS)])
    assert extracted(film, tmp_path / "frames") == {k: k + 3 for k in range(17)}


def test_an_avi_whose_pictures_are_decoded_in_another_order(tmp_path):
    """OpenCV says 0.05 s after the first picture and 0 s after the last; all ten are there, from 0 on."""
    film = films.write_reordered(tmp_path / "film.avi")
    found = [(number, image) for number, image in video.numbered_pictures(film)]
    assert [number for number, _ in found] == list(range(10))
    assert [round((float(image.mean()) - 20) / 20) for _, image in found] == list(range(10))


def read(builder):
    found = {}
    for split in builder.info.splits:
        for record in builder.as_data_source(split):
            found[int(record["frame"])] = record
    return found


def build(manual, data):
    builder = Builder(data_dir=data)
    builder.detector = films.AnyFace
    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    return builder


def write_empty(path):
    films.write_avi(path, dropped(5, 6))


def write_variable(path):
    films.write_mp4(path.with_suffix(".mp4"), without(5, 6), lasting(18, _4=3))


def write_late(path):
    edits = [(2 * TICKS, -1), (18 * TICKS, 0)]
    films.write_mp4(path.with_suffix(".mp4"), without(0, 1), lasting(18), edits=edits)


@pytest.mark.parametrize(
    ("write", "lost"), [(write_empty, {5, 6}), (write_variable, {5, 6}), (write_late, {0, 1})]
)
def test_records_hold_the_label_row_of_their_picture(write, lost, tmp_path):
    write(films.write_disfa(tmp_path / "manual", "SN001"))
    builder = build(tmp_path / "manual", tmp_path / "data")
    records = read(builder)
    assert records.keys() == {k + 1 for k in range(20) if k not in lost}
    column = RECORD_AUS.index(12)
    for frame, record in records.items():
        assert films.shown(record["image"]) == frame - 1
        assert record["intensities"][column] == frame % 6 and record["coded"] == 1
        assert record["labels"][column] == (frame % 6 >= 2)
    skipped = builder.info.metadata["skipped"]
    assert skipped == {
        "label row without its picture": {"count": 2, "examples": [f"SN001 row {min(lost) + 1}"]}
    }


def test_a_whole_film_that_is_only_late_beside_its_sound_keeps_all_rows(tmp_path):
    """As many pictures as rows: none is missing, however late an edit list says that they are shown."""
    path = films.write_disfa(tmp_path, "SN001").with_suffix(".mp4")
    films.write_mp4(path, ALL, lasting(20), edits=[(TICKS, -1), (20 * TICKS, 0)])
    tree = raw.find_files(tmp_path, report := FaultReport())
    film_frames.extract(path, tmp_path / "frames")
    (found,) = raw.read_videos(tree, {"SN001": tmp_path / "frames"}, report)
    rows = {frame.number: films.shown(faces.read_image(frame.path)) for frame in found.frames}
    assert rows == {row: row - 1 for row in range(1, 21)} and not report.counts


FALLING = [0] * 7 + [2 * TICKS] + [0] * 12


@pytest.mark.parametrize(
    ("ticks", "late", "said"),
    [
        (lasting(20), FALLING, "frame 8: shown at 0.400 s, which is before frame 7 (0.450 s)"),
        ([TICKS] * 4 + [0] + [TICKS] * 15, None, "is number 4, as is frame 4 (0.200 s)"),
        ([TICKS] * 4 + [5] + [TICKS] * 15, None, "is number 4, as is frame 4 (0.200 s)"),
    ],
)
def test_times_that_number_no_frames_end_the_build(ticks, late, said, tmp_path):
    path = films.write_disfa(tmp_path / "manual", "SN001").with_suffix(".mp4")
    films.write_mp4(path, ALL, ticks, late=late)
    fails("disfa", tmp_path / "manual", tmp_path / "data", path.name, said, "constant frame rate")
    assert not list((tmp_path / "data").rglob("*.jpg"))


def test_frames_of_films_that_an_earlier_version_counted_are_not_taken(tmp_path):
    film = films.write_disfa(tmp_path / "manual", "SN001")
    write_empty(film)
    state = film.stat()
    for name in (f"SN001-{state.st_size}-{state.st_mtime_ns}", "SN001"):
        old = tmp_path / "data" / ".cache" / "frames" / "disfa" / name
        old.mkdir(parents=True)
        for place, content in enumerate(without(5, 6)):
            (old / f"{place}.jpg").write_bytes(content)
    folder = Builder(data_dir=tmp_path / "data")._extracted({"SN001": film}, FaultReport())["SN001"]
    assert {p.name for p in folder.iterdir()} == {f"{k}.jpg" for k in range(20) if k not in (5, 6)}


def long_box(kind, content):
    return b"\0\0\0\1" + kind + (16 + len(content)).to_bytes(8, "big") + content


def test_a_start_in_a_header_of_another_form(tmp_path):
    """Version 1 of the boxes, lengths of 64 bits, a sound before the pictures, and a header that is cut off."""
    edits = films.box(b"elst", b"\1\0\0\0", (2).to_bytes(4, "big"), (45).to_bytes(8, "big"),
                      b"\xff" * 8, b"\0\1\0\0", (90).to_bytes(8, "big"), bytes(8), b"\0\1\0\0")  # fmt: skip
    handler = b"\0" * 8 + b"%s" + b"\0" * 12
    tracks = [
        films.box(b"trak", films.box(b"mdia", films.box(b"hdlr", handler % b"soun"))),
        films.box(b"trak", films.box(b"edts", edits), films.box(b"mdia", films.box(b"hdlr", handler % b"vide"))),
    ]  # fmt: skip
    movie = films.box(b"mvhd", b"\1\0\0\0", bytes(16), (30).to_bytes(4, "big"), bytes(80))
    content = long_box(b"free", b"12345") + long_box(b"moov", movie + b"".join(tracks))
    path = tmp_path / "film.mp4"
    path.write_bytes(films.box(b"ftyp", b"isom", bytes(4)) + content)
    assert video.start_delay(path) == 1.5
    whole = path.read_bytes()
    for end in range(12, len(whole), 7):
        path.write_bytes(whole[:end])
        assert video.start_delay(path) in (0, 1.5)


def test_a_file_that_is_no_film_has_no_pictures(tmp_path):
    path = tmp_path / "film.avi"
    for content in (b"", b"RIFF", b"ffconcat version 1.0\nfile other.avi\n", os.urandom(500)):
        path.write_bytes(content)
        assert list(video.numbered_pictures(path)) == []
