"""Names, folders and models that nobody would choose, and what is told of them."""

import io
import json
import os
import pathlib
import sys

import bright
import cv2
import numpy as np
import pytest
from bright import frame

from experiments.detection import command, inputs, progress
from experiments.detection.outputs import Outputs
from experiments.detection.settings import Settings
from piapdf_jax.faces import finders


@pytest.fixture(autouse=True)
def _bright(monkeypatch):
    monkeypatch.setitem(finders.FINDERS, "bright", bright.BrightFinder)


def run(out, *texts, detector=None, overwrite=False, overlay="none", kind="csv", **more):
    out.mkdir(exist_ok=True)
    sources, faults = inputs.collect([str(text) for text in texts], recursive=True)
    wanted = Outputs(out=out, overlay=overlay, kind=kind)
    settings = Settings(**{"finder": "bright", "batch": 4, **more})
    made = detector or bright.detector()
    return faults + command.run(sources, settings, made, wanted, workers=0, overwrite=overwrite)


def picture(path, *squares):
    path.parent.mkdir(exist_ok=True)
    done, data = cv2.imencode(".png", frame(*squares)[..., ::-1])
    path.write_bytes(data)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_fault_is_told_again_when_the_input_is_done_before(tmp_path, capsys):
    whole = bright.write(tmp_path / "whole.avi", [frame((20, 20, 200))] * 50)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "bad.png").write_bytes(b"none")
    first = run(tmp_path / "out", cut, tmp_path / "bad.png")
    assert len(first) == 2 and "ends early" in first[0] and "bad.png" in first[1]
    capsys.readouterr()
    assert run(tmp_path / "out", cut, tmp_path / "bad.png") == first
    told = capsys.readouterr()
    assert told.out.count("done before") == 2 and told.err.count("error: ") == 2
    assert json.loads((tmp_path / "out" / "cut.json").read_text())["faults"][0].startswith("ends")


def test_what_was_deleted_is_made_again(tmp_path):
    film = bright.write(tmp_path / "a.avi", [frame((20, 20, 200))] * 3)
    assert run(tmp_path / "out", film, overlay="pictures") == []
    table = tmp_path / "out" / "a.csv"
    before = table.read_bytes()
    for name in ("a.csv", "a_overlay"):
        (tmp_path / "out" / name).rename(tmp_path / name)
        assert run(tmp_path / "out", film, overlay="pictures") == []
        assert names(tmp_path / "out") == ["a.csv", "a.json", "a_overlay"]
    assert table.read_bytes() == before


def test_what_replaces_a_table_leaves_nothing_of_the_former_one(tmp_path):
    film = bright.write(tmp_path / "a.avi", [frame((20, 20, 200))] * 3)
    out = tmp_path / "out"
    assert run(out, film, overlay="pictures") == []
    assert names(out) == ["a.csv", "a.json", "a_overlay"]
    (out / "a.txt").touch()
    assert run(out, film, overlay="video", kind="parquet", overwrite=True) == []
    assert names(out) == ["a.json", "a.parquet", "a.txt", "a_overlay.webm"]
    assert run(out, film, overwrite=True) == []
    assert names(out) == ["a.csv", "a.json", "a.txt"]


@pytest.mark.parametrize("overlay", ["pictures", "video"])
def test_an_overlay_of_no_frame_is_not_written(tmp_path, overlay):
    film = bright.write(tmp_path / "a.avi", [frame((20, 20, 200))] * 3)
    (tmp_path / "bad.png").write_bytes(b"none")
    for _ in range(2):
        run(tmp_path / "out", film, tmp_path / "bad.png", overlay=overlay, start=9.0)
        assert names(tmp_path / "out") == ["a.csv", "a.json", "bad.csv", "bad.json"]
    assert json.loads((tmp_path / "out" / "a.json").read_text())["outputs"]["overlay"] is None


def test_a_folder_of_the_user_is_no_overlay_to_replace(tmp_path):
    film = bright.write(tmp_path / "a.avi", [frame((20, 20, 200))] * 3)
    (tmp_path / "out" / "a_overlay").mkdir(parents=True)
    (tmp_path / "out" / "a_overlay" / "mine.txt").touch()
    (fault,) = run(tmp_path / "out", film, overlay="pictures")
    assert "a_overlay already exists" in fault
    assert names(tmp_path / "out" / "a_overlay") == ["mine.txt"]


def test_overlays_beside_the_inputs_are_no_inputs(tmp_path):
    picture(tmp_path / "day" / "b.c.png", (20, 20, 200))
    picture(tmp_path / "day" / "holiday_overlay.png", (20, 20, 200))
    bright.write(tmp_path / "day" / "a.avi", [frame((20, 20, 200))] * 3)
    for overlay in ("pictures", "video"):
        assert run(tmp_path / "day", tmp_path / "day", overlay=overlay, overwrite=True) == []
    assert run(tmp_path / "day", tmp_path / "day" / "b.c.png", overlay="pictures") == []
    listed, _ = inputs.collect([str(tmp_path / "day")], recursive=True)
    assert [[os.path.basename(file) for file in one.files] for one in listed] == [
        ["b.c.png", "holiday_overlay.png"],
        ["a.avi"],
    ]


def test_an_input_that_cannot_be_read_leaves_nothing(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(40))
    for _ in range(2):
        film, camera = run(tmp_path / "out", tmp_path / "bad.mp4", "camera:97")
        assert "bad.mp4" in film and "there is no camera:97" in camera
        assert names(tmp_path / "out") == []
    (fault,) = run(tmp_path / "out", f"camera:{10**20}")
    assert fault.endswith("does not exist")


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path):
    picture(tmp_path / "day" / "a.png", (20, 20, 200))
    for name in ("b.png", "c.mp4"):
        os.mkfifo(tmp_path / "day" / name)
    (tmp_path / "day" / "d.png").symlink_to("nothing")
    listed, _ = inputs.collect([str(tmp_path / "day")], recursive=False)
    assert [[os.path.basename(file) for file in one.files] for one in listed] == [
        ["a.png", "d.png"]
    ]


@pytest.mark.parametrize(
    ("text", "stem"), [(".", "day"), ("../day", "day"), ("below/..", "day"), ("../link", "link")]
)
def test_a_folder_by_another_name_has_its_own(tmp_path, monkeypatch, text, stem):
    picture(tmp_path / "day" / "a.png")
    (tmp_path / "day" / "below").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "day")
    monkeypatch.chdir(tmp_path / "day")
    (one,), _ = inputs.collect([text], recursive=False)
    assert one.stem == stem and one.text == text


def test_names_as_long_as_a_disk_has_them(tmp_path):
    first = picture(tmp_path / ("é" * 125 + "1.png"), (20, 20, 200))
    second = picture(tmp_path / ("é" * 125 + "2.png"), (20, 20, 200))
    assert run(tmp_path / "out", first, second, overlay="pictures") == []
    stem = "é" * 100
    assert names(tmp_path / "out") == sorted(
        f"{stem}{number}{ending}"
        for number in ("", "_2")
        for ending in (".csv", ".json", "_overlay.jpg")
    )


def test_probabilities_that_are_no_numbers_are_a_fault(tmp_path):
    made = bright.detector()
    made._probabilities = lambda crops: np.full((len(crops), 3), np.nan, np.float32)
    (fault,) = run(tmp_path / "out", picture(tmp_path / "a.png", (20, 20, 200)), detector=made)
    assert "gives probabilities that are not finite" in fault
    assert names(tmp_path / "out") == []


def test_a_line_is_a_line_whatever_a_name_holds(capsys, tmp_path):
    path = picture(tmp_path / "a\nb\r\x1b[2J\udcff, é.png", (20, 20, 200))
    assert run(tmp_path / "out", path) == []
    lines = capsys.readouterr().out.split("\n")
    assert len(lines) == 3 and "a\\nb\\r\\x1b[2J\\udcff, é.png: 1 frames" in lines[0]


def test_an_encoding_without_a_letter():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    progress.say("é.png", stream)
    assert raw.getvalue() == b"\\xe9.png\n"


def test_nobody_reads_what_is_told(tmp_path):
    film = bright.write(tmp_path / "a.avi", [frame()] * 3)
    reading, writing = os.pipe()
    os.close(reading)
    before = sys.stdout
    with open(writing, "w") as sys.stdout:
        try:
            assert run(tmp_path / "out", film) == []
        finally:
            sys.stdout = before
    assert names(pathlib.Path(tmp_path / "out")) == ["a.csv", "a.json"]
