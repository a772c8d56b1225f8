"""What a user has who installed a wheel and stands outside of any checkout."""

import csv
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig

import drawn_people
import light_model
import numpy as np
import pytest

pytestmark = pytest.mark.export
SITE = pathlib.Path(sysconfig.get_path("purelib"))
ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(folder, *command):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PIAPDF_LANDMARKS")}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=clean, capture_output=True, text=True, check=False
    )


def script(name):
    return pathlib.Path(sys.executable).with_name(name)


@pytest.mark.skipif(
    "PIAPDF_INSTALLED" not in os.environ, reason="make export-check installs a wheel"
)
def test_packages_are_those_of_the_wheel(tmp_path):
    for name in ("piapdf_jax", "experiments", "data_builders"):
        found = importlib.util.find_spec(name)
        assert SITE in pathlib.Path(found.origin).parents
    assert not (pathlib.Path.cwd() / "setup.cfg").exists()


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    out = tmp_path_factory.mktemp("detector")
    export = light_model.write(tmp_path_factory.mktemp("runs"))
    done = run(out, sys.executable, "-m", "experiments.export", export, f"--out={out}")
    assert done.returncode == 0, done.stderr
    return out / "model.onnx"


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    import cv2

    picture = drawn_people.portrait()
    path = tmp_path_factory.mktemp("photo") / "portrait.jpg"
    cv2.imwrite(str(path), np.ascontiguousarray(picture.image[..., ::-1]))
    return path, picture.landmarks


@pytest.mark.parametrize("program", ["module", "script"])
def test_a_photograph_and_a_file_are_all_that_is_needed(tmp_path, detector, photo, program):
    path, landmarks = photo
    command = [sys.executable, "-m", "experiments.detect"]
    if program == "script":
        command = [script("piapdf-detect")]
    done = run(
        tmp_path,
        *command,
        path,
        f"--model={detector}",
        "--out=units",
        "--overlay=pictures",
        "--finder=dlib",
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "units").iterdir()) == [
        "portrait.csv",
        "portrait.json",
        "portrait_overlay.jpg",
    ]
    with (tmp_path / "units" / "portrait.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    x, y, width, height = (float(row[name]) for name in ("x", "y", "width", "height"))
    inside = (landmarks > (x - width / 4, y - height / 4)) & (
        landmarks < (x + 1.25 * width, y + 1.25 * height)
    )
    assert row["success"] == "1" and inside.all(1).mean() > 0.9
    assert all(0 < float(row[f"AU{au:02d}_p"]) < 1 for au in light_model.UNITS)
    told = json.loads((tmp_path / "units" / "portrait.json").read_text())
    assert told["runtime"] == "onnx" and told["model"]["digest"] == light_model.DIGEST
    assert any("excludes commercial use" in license["terms"] for license in told["licences"])


@pytest.mark.parametrize("program", ["module", "script"])
def test_a_photograph_alone_is_read_by_the_detector_of_the_wheel(tmp_path, photo, program):
    command = [sys.executable, "-m", "experiments.detect"]
    if program == "script":
        command = [script("piapdf-detect")]
    done = run(tmp_path, *command, photo[0], "--out=units", "--finder=dlib")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[:2]
    assert first == "no --model: PIAP-DF, which this package ships, trained on drawn faces"
    assert second == "weak units, to be read with care: AU14, AU17"
    with (tmp_path / "units" / "portrait.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    # Those of BP4D, by hand.
    units = ["01", "02", "04", "06", "07", "10", "12", "14", "15", "17", "23", "24"]
    assert [name for name in row if name.endswith("_p")] == [f"AU{unit}_p" for unit in units]
    assert all(0 < float(row[f"AU{unit}_p"]) < 1 for unit in units)
    assert row["success"] == "1" and row["weak_units"] == "AU14 AU17"
    told = json.loads((tmp_path / "units" / "portrait.json").read_text())
    assert told["model"]["weak_units"] == ["AU14", "AU17"]
    assert {"of": "software piapdf_jax", "terms": "Apache-2.0", "source": "LICENSE"} in (
        told["licences"]
    )


@pytest.mark.parametrize(
    ("name", "flag"),
    [("piapdf", "--config"), ("piapdf-detect", "--overlay"), ("piapdf-prepare", "--manual_dir")],
)
def test_every_script_has_help(tmp_path, name, flag):
    done = run(tmp_path, script(name), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    module = {"piapdf-prepare": "data_builders.prepare", "piapdf": "experiments.piapdf"}
    assert flag in done.stdout and module.get(name, "experiments.detect") in done.stdout
    # its own flags alone, and not those of every library that it imports
    assert done.stdout.count("\n") < 120


@pytest.mark.parametrize("program", [("-m", "experiments.piapdf"), "piapdf"])
def test_the_launcher_prints_its_settings(tmp_path, program):
    command = [script(program)] if isinstance(program, str) else [sys.executable, *program]
    done = run(tmp_path, *command, "--config=demo", "--set=df.drop_rate=0.25", "--print_config")
    assert done.returncode == 0, done.stderr
    settings = json.loads(done.stdout)
    assert settings["df"]["drop_rate"] == 0.25 and settings["data"]["dataset"]
    assert not list(tmp_path.iterdir())


def test_the_feedback_of_the_readme_runs_in_an_empty_folder(tmp_path):
    section = (
        (ROOT / "README.md").read_text(encoding="utf-8").split("## Discrete feedback alone")[1]
    )
    (code,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    (tmp_path / "snippet.py").write_text(code, encoding="utf-8")
    done = run(tmp_path, sys.executable, "snippet.py")
    assert done.returncode == 0, done.stderr
    # tests/extending/test_feedback_examples.py has the numbers by hand
    fb, coefficient = map(float, done.stdout.split())
    assert fb < 0 and coefficient == pytest.approx(-0.1)


def test_the_two_moons_run_in_a_folder_that_holds_nothing_else(tmp_path):
    shutil.copy(ROOT / "examples" / "two_moons.py", tmp_path)
    done = run(tmp_path, sys.executable, "two_moons.py", "moons.png", "--steps=20")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "moons.png").read_bytes().startswith(b"\x89PNG")
