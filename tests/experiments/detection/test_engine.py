import errno
import json
import os
import signal

import bright
import numpy as np
import pytest
from bright import frame

from experiments.detection import command, engine, inputs, summary
from experiments.detection.journal import Journal
from experiments.detection.outputs import Outputs
from experiments.detection.settings import Settings
from piapdf_jax.faces import finders


@pytest.fixture(autouse=True)
def _bright(monkeypatch):
    monkeypatch.setitem(finders.FINDERS, "bright", bright.BrightFinder)


def settings(**more):
    return Settings(**{"finder": "bright", "batch": 4, **more})


def rows_of(path, tmp_path, **more):
    (source,), faults = inputs.collect([str(path)], recursive=False)
    assert not faults
    journal = Journal(tmp_path, source.stem, "f")
    finished = engine.run(
        source, settings(**more), bright.detector(), journal, workers=0, progress=lambda *_: None
    )
    rows = list(journal.rows())
    journal.delete()
    return rows, finished


#: Two faces that move; one alone; none for two frames; a cut to another place.
FRAMES = [
    *(frame((10 + 3 * k, 20, 200), (150 - 2 * k, 70, 150)) for k in range(5)),
    frame((24, 20, 200)),
    frame(),
    frame(),
    *(frame((22 - 2 * k, 22, 200)) for k in range(3)),
    *(frame((20, 20, 230), background=(20, 160, 220)) for _ in range(2)),
]


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 32])
def test_rows_by_hand(tmp_path, batch):
    path = bright.write(tmp_path / "a.avi", FRAMES)
    rows, finished = rows_of(path, tmp_path, batch=batch)
    found = [(row.frame, row.face_id, row.reason) for row in rows]
    two = [(k, face, "") for k in range(5) for face in (0, 1)]
    one = [(5, 0, ""), (6, None, "no_face"), (7, None, "no_face")]
    last = [(8, 0, ""), (9, 0, ""), (10, 0, ""), (11, 2, ""), (12, 2, "")]
    assert found == two + one + last
    assert [row.timestamp for row in rows[::2]] == [round(row.frame / 25, 6) for row in rows[::2]]
    assert rows[0].box == pytest.approx((10, 20, 60, 60), abs=2)
    assert rows[3].box == pytest.approx((148, 70, 60, 60), abs=2)
    red = {0: 200, 1: 150, 2: 230}
    for row in rows:
        if row.success:
            assert row.probabilities == pytest.approx([red[row.face_id] / 255] * 3, abs=0.02)
    assert finished.counts.reasons == {"no_face": 2}
    assert (finished.counts.frames, finished.counts.with_face, finished.counts.faces) == (
        13,
        11,
        16,
    )
    assert (
        finished.description["read"] == finished.description["expected"] == 13
        and not finished.description["broken"]
    )


def test_the_clearest_face_alone(tmp_path):
    rows, _ = rows_of(bright.write(tmp_path / "a.avi", FRAMES), tmp_path, faces="one")
    assert len(rows) == 13 and {row.face_id for row in rows} == {0, None, 1}
    assert all(row.box[0] < 100 for row in rows if row.box)


def test_a_part_of_a_film_keeps_its_numbers_and_times(tmp_path):
    path = bright.write(tmp_path / "a.avi", [frame((10, 20, 200))] * 75)
    rows, finished = rows_of(path, tmp_path, every=5, start=1.0, end=2.0)
    assert [(row.frame, row.timestamp) for row in rows] == [
        (25, 1.0),
        (30, 1.2),
        (35, 1.4),
        (40, 1.6),
        (45, 1.8),
    ]
    # What was not asked for is not missing.
    assert not finished.description["broken"] and finished.description["notes"] == []


def outputs(tmp_path, **more):
    return Outputs(out=tmp_path / "out", **more)


def run(tmp_path, paths, *, overwrite=False, recursive=False, wanted=None, **more):
    (tmp_path / "out").mkdir(exist_ok=True)
    sources, faults = inputs.collect([str(path) for path in paths], recursive=recursive)
    faults += command.run(
        sources,
        settings(**more),
        bright.detector(),
        wanted or outputs(tmp_path),
        workers=0,
        overwrite=overwrite,
    )
    return faults


def told(path):
    found = json.loads(path.read_text())
    del found["created"]
    return found


class Stopped(BaseException):
    pass


@pytest.mark.parametrize("block", range(4))
def test_a_command_that_was_stopped_goes_on(tmp_path, monkeypatch, block):
    path = bright.write(tmp_path / "a.avi", FRAMES)
    assert run(tmp_path, [path]) == []
    straight = {p.name: p.read_bytes() for p in (tmp_path / "out").glob("*.csv")}
    whole = told(tmp_path / "out" / "a.json")
    for left in (tmp_path / "out").iterdir():
        left.unlink()
    real, blocks = Journal.append, []

    def stop(self, number, rows, state):
        if number == block:
            raise Stopped
        blocks.append(number)
        real(self, number, rows, state)

    monkeypatch.setattr(Journal, "append", stop)
    with pytest.raises(Stopped):
        run(tmp_path, [path])
    assert not list((tmp_path / "out").glob("*.csv"))
    monkeypatch.setattr(Journal, "append", lambda *a: (blocks.append(a[1]), real(*a)))
    assert run(tmp_path, [path]) == []
    assert blocks == list(range(4))
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").glob("*.csv")} == straight
    assert told(tmp_path / "out" / "a.json") == whole
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.csv", "a.json"]


def test_what_is_done_is_not_done_again_and_nothing_is_replaced_unasked(tmp_path, capsys):
    path = bright.write(tmp_path / "a.avi", FRAMES)
    assert run(tmp_path, [path]) == []
    table = tmp_path / "out" / "a.csv"
    first = table.stat().st_mtime_ns
    assert run(tmp_path, [path]) == [] and table.stat().st_mtime_ns == first
    assert "done before" in capsys.readouterr().out
    (fault,) = run(tmp_path, [path], every=2)
    assert "a.json already exists, made from another input, model or other flags" in fault
    assert table.stat().st_mtime_ns == first
    assert run(tmp_path, [path], every=2, overwrite=True) == []
    assert len(table.read_text().splitlines()) == 1 + 10


def test_a_broken_input_does_not_keep_the_others(tmp_path, capsys):
    good = bright.write(tmp_path / "good.avi", FRAMES[:3])
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(40))
    (tmp_path / "bad.jpg").write_bytes(b"")
    absent = tmp_path / "absent.mp4"
    faults = run(tmp_path, [tmp_path / "bad.mp4", absent, tmp_path / "bad.jpg", good])
    assert [any(name in f for f in faults) for name in ("bad.mp4", "absent.mp4", "bad.jpg")] == [
        True
    ] * 3
    assert len(faults) == 3 and "error: " in capsys.readouterr().err
    rows = (tmp_path / "out" / "bad.jpg.csv").read_text().splitlines()
    assert rows[1].endswith(",0.000000,0,unreadable,,,,,,,,,,,")
    assert len((tmp_path / "out" / "good.csv").read_text().splitlines()) == 7
    assert not (tmp_path / "out" / "bad.mp4.csv").exists()


def test_no_face_in_any_frame_is_a_result(tmp_path):
    path = bright.write(tmp_path / "a.avi", [frame()] * 3)
    assert run(tmp_path, [path]) == []
    lines = (tmp_path / "out" / "a.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1:7] for line in lines] == [
        [str(k), f"{k / 25:.6f}", "", "0.000000", "0", "no_face"] for k in range(3)
    ]
    found = told(tmp_path / "out" / "a.json")
    assert found["frames"] == {"read": 3, "expected": 3, "looked_at": 3, "with_a_face": 0}
    assert found["reasons"] == {"no_face": 3} and found["faces"] == 0


def picture(path, *squares):
    import cv2

    cv2.imwrite(str(path), np.ascontiguousarray(frame(*squares)[..., ::-1]))
    return path


def test_a_folder_has_one_table_of_its_pictures_and_one_of_each_film(tmp_path):
    folder = tmp_path / "day"
    (folder / "below").mkdir(parents=True)
    picture(folder / "b,1.png", (20, 20, 200))
    picture(folder / "a.png", (20, 20, 150), (150, 20, 150))
    (folder / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    picture(folder / "below" / "d.png")
    bright.write(folder / "f.avi", FRAMES[:2])
    (fault,) = run(tmp_path, [folder], recursive=True)
    assert "c.png" in fault
    import csv

    with (tmp_path / "out" / "day.csv").open(newline="") as file:
        rows = [
            (r["input"].removeprefix(f"{folder}/"), r["frame"], r["face_id"], r["reason"])
            for r in csv.DictReader(file)
        ]
    assert rows == [
        ("a.png", "0", "0", ""),
        ("a.png", "0", "1", ""),
        ("b,1.png", "1", "0", ""),
        ("below/d.png", "2", "", "no_face"),
        ("c.png", "3", "", "unreadable"),
    ]
    assert (tmp_path / "out" / "f.csv").exists()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "day.csv",
        "day.json",
        "f.csv",
        "f.json",
    ]


def test_inputs_of_one_name_have_tables_of_their_own(tmp_path):
    for place in ("x", "y"):
        (tmp_path / place).mkdir()
        picture(tmp_path / place / "a.png", (20, 20, 200))
    bright.write(tmp_path / "a.avi", FRAMES[:1])
    paths = [tmp_path / "x" / "a.png", tmp_path / "y" / "a.png", tmp_path / "a.avi"]
    sources, _ = inputs.collect([str(p) for p in paths], recursive=False)
    assert [source.stem for source in sources] == ["a.png", "a.png_2", "a.avi"]
    # Named twice, it is one.
    again, _ = inputs.collect([str(paths[0])] * 2, recursive=False)
    assert [source.stem for source in again] == ["a"]


def test_the_checksum_is_that_of_the_file(tmp_path):
    import hashlib

    path = bright.write(tmp_path / "a.avi", FRAMES[:1])
    assert run(tmp_path, [path]) == []
    found = told(tmp_path / "out" / "a.json")["input"]
    assert found == {
        "name": str(path),
        "kind": "film",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
    }


@pytest.mark.parametrize("overlay", ["pictures", "video"])
def test_an_overlay_has_the_frames_that_were_looked_at(tmp_path, overlay):
    from piapdf_jax import capture

    path = bright.write(tmp_path / "a.avi", FRAMES)
    wanted = outputs(tmp_path, overlay=overlay)
    assert run(tmp_path, [path], wanted=wanted, every=2) == []
    name = told(tmp_path / "out" / "a.json")["outputs"]["overlay"]
    if overlay == "pictures":
        assert name == "a_overlay"
        assert sorted(p.name for p in (tmp_path / "out" / name).iterdir()) == [
            f"{k:06d}.jpg" for k in range(0, 13, 2)
        ]
    else:
        film = capture.Film(tmp_path / "out" / name)
        shots = list(film.shots(lambda n, t: True))
        assert name == "a_overlay.webm" and film.rate == 12.5 and len(shots) == 7
        assert shots[0].picture.shape == (480, 854, 3)


class Camera:
    """Stands for OpenCV's reader of a camera."""

    def __init__(self, index):
        self.left = iter([frame((20, 20, 200)), None, frame((22, 20, 200)), frame()])

    def isOpened(self):
        return True

    def read(self):
        picture = next(self.left, None)
        return picture is not None, None if picture is None else picture[..., ::-1]

    def release(self):
        pass


def test_a_camera_that_drops_and_ends(tmp_path, monkeypatch):
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    faults = run(tmp_path, ["camera:0"], batch=1)
    lines = (tmp_path / "out" / "camera0.csv").read_text().splitlines()[1:]
    found = [line.split(",") for line in lines[:4]]
    assert [(c[0], c[1], c[3], c[6]) for c in found] == [
        ("camera:0", "0", "0", ""),
        ("camera:0", "1", "", "unreadable"),
        ("camera:0", "2", "0", ""),
        ("camera:0", "3", "", "no_face"),
    ]
    assert float(found[0][2]) == 0 and float(found[2][2]) > 0
    assert all("frame 1 cannot be decoded" in f or "camera:0" in f for f in faults)


def test_a_camera_is_looked_at_anew_and_replaces_nothing_unasked(tmp_path, monkeypatch):
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    run(tmp_path, ["camera:0"], batch=1)
    table = tmp_path / "out" / "camera0.csv"
    first = table.read_bytes()
    (fault,) = run(tmp_path, ["camera:0"], batch=1)
    assert "camera0.json already exists" in fault and table.read_bytes() == first
    run(tmp_path, ["camera:0"], batch=1, overwrite=True)
    # Other times, the same frames.
    assert len(table.read_bytes().splitlines()) == len(first.splitlines())
    (tmp_path / "out" / ".camera0.detect").mkdir()
    (fault,) = run(tmp_path, ["camera:0"], batch=1)
    assert "holds rows of an interrupted command" in fault


def test_ctrl_c_ends_a_camera_and_keeps_its_rows(tmp_path, monkeypatch):
    class Endless(Camera):
        count = 0

        def read(self):
            self.count += 1
            if self.count == 6:
                os.kill(os.getpid(), signal.SIGINT)
            return self.count != 3, frame((20, 20, 200))[..., ::-1]

    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", Endless)
    before = signal.getsignal(signal.SIGINT)
    assert run(tmp_path, ["camera:0"], batch=4) == ["camera:0: frame 2 cannot be decoded"]
    rows = (tmp_path / "out" / "camera0.csv").read_text().splitlines()[1:]
    assert 5 <= len(rows) <= 8
    assert [k for k, row in enumerate(rows) if ",0,unreadable," in row] == [2]
    assert all(",1,," in row for k, row in enumerate(rows) if k != 2)
    found = told(tmp_path / "out" / "camera0.json")
    assert found["notes"] == [f"camera:0 dropped 1 of {found['frames']['read']} frames"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_full_disk_ends_one_input_in_one_line_and_keeps_its_rows(tmp_path, monkeypatch, capsys):
    path = bright.write(tmp_path / "a.avi", FRAMES)
    real = Journal.append

    def full(self, number, rows, state):
        if number == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, number, rows, state)

    monkeypatch.setattr(Journal, "append", full)
    (fault,) = run(tmp_path, [path])
    assert "No space left on device" in fault and "start the same command again" in fault
    assert "\n" not in fault and "Traceback" not in capsys.readouterr().err
    made = []
    monkeypatch.setattr(Journal, "append", lambda *a: (made.append(a[1]), real(*a)))
    assert run(tmp_path, [path]) == [] and made == [2, 3]


@pytest.mark.parametrize("recursive", [False, True])
def test_a_folder_without_pictures(tmp_path, recursive):
    (tmp_path / "empty" / "below").mkdir(parents=True)
    (tmp_path / "empty" / "notes.txt").touch()
    sources, (fault,) = inputs.collect([str(tmp_path / "empty")], recursive=recursive)
    assert sources == [] and "holds no picture and no film" in fault
    assert ("--recursive" in fault) == (not recursive)


def test_a_camera_that_there_is_not(tmp_path):
    (fault,) = run(tmp_path, ["camera:97"])
    assert fault.startswith("camera:97: there is no camera:97")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_command_that_was_stopped_between_its_table_and_its_json_goes_on(tmp_path, monkeypatch):
    path = bright.write(tmp_path / "a.avi", FRAMES)

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(summary, "write", stop)
        with pytest.raises(Stopped):
            run(tmp_path, [path])
    table = tmp_path / "out" / "a.csv"
    before = table.read_bytes()
    assert not (tmp_path / "out" / "a.json").exists()
    assert run(tmp_path, [path]) == []
    assert table.read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.csv", "a.json"]
