"""The command as users start it: its flags, its exit codes, and numbers that depend on no process."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import cv2
import drawn_people
import light_model
import numpy as np
import pytest

from piapdf_jax.load import load_export


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return light_model.write(tmp_path_factory.mktemp("runs"))


def picture(path, who=0, **more):
    made = drawn_people.portrait(who, **more)
    cv2.imwrite(str(path), np.ascontiguousarray(made.image[..., ::-1]))
    return made


def detect(*arguments, check=True):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.detect", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_film(path, count):
    """Two people one after the other; every fifth frame shows nobody."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 320))
    faces = [drawn_people.portrait(k, size=320).image for k in range(2)]
    for k in range(count):
        frame = faces[2 * k // count] if k % 5 else np.full((320, 320, 3), 90, np.uint8)
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp("film") / "a.avi", 20)


def test_numbers_do_not_depend_on_processes(film, export, tmp_path):
    found = []
    for workers in (0, 1, 3):
        out = tmp_path / str(workers)
        detect(
            film,
            f"--model={export}",
            f"--out={out}",
            f"--workers={workers}",
            "--batch=3",
            "--finder=dlib",
        )
        told = json.loads((out / "a.json").read_text())
        del told["created"]
        found.append(((out / "a.csv").read_bytes(), told))
    assert found[0] == found[1] == found[2]
    table = rows(tmp_path / "0" / "a.csv")
    assert [row["reason"] for row in table] == ["no_face" if k % 5 == 0 else "" for k in range(20)]
    assert [float(row["timestamp"]) for row in table] == [k / 25 for k in range(20)]


def test_probabilities_are_those_of_the_crop(export, tmp_path):
    from piapdf_jax import faces

    picture(tmp_path / "a.png")
    detect(
        tmp_path / "a.png",
        f"--model={export}",
        f"--out={tmp_path / 'o'}",
        "--threshold=matched",
        "--finder=dlib",
    )
    (row,) = rows(tmp_path / "o" / "a.csv")
    image = cv2.imread(str(tmp_path / "a.png"))[..., ::-1].copy()
    crop, _ = faces.crop(image, faces.DlibDetector()(image))
    model, probabilities = load_export(export)
    wanted = probabilities(crop[None])[0]
    for au, p in zip(model.units, wanted, strict=True):
        assert float(row[f"AU{au:02d}_p"]) == pytest.approx(float(p), abs=2e-6)
        cut = light_model.CUTS[au]
        assert row[f"AU{au:02d}_c"] == ("" if cut is None else str(int(p >= cut)))
    told = json.loads((tmp_path / "o" / "a.json").read_text())
    assert told["cuts"] == {"AU01": 0.5, "AU06": None, "AU12": 0.25}
    assert told["model"]["digest"] == light_model.DIGEST and told["finder"]["name"] == "dlib"
    assert {"python", "numpy", "jax", "opencv-python-headless"} <= told["versions"].keys()


def test_a_broken_input_is_named_and_the_exit_code_is_1(export, tmp_path):
    picture(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(9))
    done = detect(
        tmp_path / "bad.png", tmp_path / "good.png", tmp_path / "no.mp4",
        f"--model={export}", f"--out={tmp_path / 'o'}", "--finder=dlib", check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 2 and "bad.png" in lines[1] and "no.mp4" in lines[0]
    assert rows(tmp_path / "o" / "good.csv")[0]["success"] == "1"


def hostile(folder, export, name):
    if name == "version":
        told = json.loads((export / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps({**told, "schema": 1}))
        (folder / "export.json").write_text("{}")
        return folder
    return folder / "absent"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("version", "is of schema 1; this version of piapdf_jax reads schema 3"),
        ("absent", "does not exist"),
    ],
)
def test_a_model_that_cannot_be_used_is_one_line(export, tmp_path, name, said):
    model = hostile(tmp_path, export, name)
    done = detect(
        "a.png", f"--model={model}", f"--out={tmp_path / 'o'}", "--finder=dlib", check=False
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ") and said in done.stderr
    assert not (tmp_path / "o").exists()


@pytest.mark.nightly
def test_ctrl_c_is_one_line_and_the_same_command_goes_on(export, tmp_path):
    # Long enough not to be done before it is stopped, however busy the machine is.
    film = write_film(tmp_path / "a.avi", 150)
    flags = (film, f"--model={export}", f"--out={tmp_path}", "--batch=1", "--finder=dlib")
    # A shell starts what runs in the background with Ctrl-C ignored; what that starts inherits it.
    heard = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-m", "experiments.detect", *map(str, flags)]
    process = subprocess.Popen(
        [sys.executable, "-c", heard, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    rows_file = tmp_path / ".a.detect" / "rows.jsonl"
    until = time.monotonic() + 60
    while not (rows_file.exists() and rows_file.stat().st_size) and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process gets it
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines() == ["stopped; the same command resumes from there"]
    detect(*flags)
    assert len(rows(tmp_path / "a.csv")) == 150


@pytest.mark.parametrize("flag", ["--start=nan", "--end=inf", "--fps=nan"])
def test_a_time_that_is_no_number(export, tmp_path, flag):
    done = detect("a.png", f"--model={export}", f"--out={tmp_path / 'o'}", flag, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: {flag} is not a number\n"


def test_a_camera_has_no_overlay(export, tmp_path):
    done = detect(
        *("camera:0", f"--model={export}", f"--out={tmp_path}", "--overlay=video", "--finder=dlib"),
        check=False,
    )
    assert done.returncode == 2 and done.stderr.startswith(
        "error: --overlay cannot be used with a camera"
    )


def test_a_folder_that_may_not_be_written_to(export, tmp_path):
    (tmp_path / "file").touch()
    done = detect("a.png", f"--model={export}", f"--out={tmp_path / 'file' / 'o'}", check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "--out" in done.stderr and "Not a directory" in done.stderr
