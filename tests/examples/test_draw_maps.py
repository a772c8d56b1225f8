"""The example that draws maps over their face."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import cv2
import numpy as np
import pytest

from piapdf_jax.action_units import ACTION_UNITS
from piapdf_jax.data.by_unit import FramesByUnit

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "draw_maps.py"
_spec = importlib.util.spec_from_file_location("draw_maps", SOURCE)
example = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(example)
CELL, CAPTION = 264, 300  # side of a face and its gap; height of a face and its two lines


def run(*arguments):
    command = [sys.executable, str(SOURCE), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(name="folder", scope="module")
def fixture_folder(small_data):
    return small_data / "synthetic_faces" / "small_bp4d" / "1.0.0"


def test_a_sheet_of_all_units(folder, tmp_path):
    path = tmp_path / "maps.png"
    done = run(folder, "--split=part1", "--row=3", f"--out={path}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(path)]
    sheet = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    assert sheet.shape == (4 * CAPTION, 4 * CELL, 3)  # the face and 15 units
    frame = FramesByUnit(folder, "part1")[3]
    np.testing.assert_array_equal(sheet[:256, :256], frame.image)
    for place, unit in enumerate(ACTION_UNITS, 1):
        top, left = place // 4 * CAPTION, place % 4 * CELL
        face = sheet[top : top + 256, left : left + 256].astype(int)
        colored = np.ptp(face, axis=-1) > 8
        marked = frame.maps[unit.number]
        # Gray without the map, tinted within it; the line of its edge is a pixel wide on either side.
        inside = cv2.erode(marked.astype(np.uint8), np.ones((5, 5))) > 0
        outside = cv2.dilate(marked.astype(np.uint8), np.ones((5, 5))) == 0
        assert colored[inside].mean() > 0.99 and not colored[outside].any()
        reds = (face[..., 0] - face[..., 2])[inside].mean()
        assert (reds > 0) == (frame.labels[unit.number] != 0)


def test_captions_say_number_name_and_label(folder, monkeypatch):
    said = []
    monkeypatch.setattr(example.cv2, "putText", lambda image, text, *rest: said.append(text))
    frame = FramesByUnit(folder, "part1", units=(12, 26))[0]._replace(labels={12: 0, 26: -1})
    example.draw(frame)
    assert said[0] == f"{frame.subject}/{frame.task}/{frame.frame}"
    assert said[2:] == ["AU12 lip corner puller", "absent", "AU26 jaw drop", "unknown"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--split=part1", "--row=999"], "--row=999: part1 has "),
        (["--split=part9"], "has no split 'part9'"),
        (["--split=part1", "--units=43"], "records hold no AU [43]"),
        (["--split=part1", "--out=/nowhere/maps.png"], "/nowhere/maps.png"),
    ],
)
def test_a_mistake_is_one_line(folder, arguments, told):
    done = run(folder, *arguments)
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    assert told in done.stderr and done.stderr.count("\n") == 1
