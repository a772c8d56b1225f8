"""A film that is looked at, killed again and again; and one that is long."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import cv2
import drawn_people
import light_model
import numpy as np
import pytest

from benchmarks.detect import draw_film, memory
from piapdf_jax import capture

pytestmark = pytest.mark.soak

KILLS = 5 * int(os.environ.get("SOAK_KILLS", "2"))
FRAMES = 75


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return light_model.write(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A face that goes to and fro, gone for some frames."""
    face = drawn_people.portrait(size=240).image
    path = tmp_path_factory.mktemp("film") / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (360, 288))
    for k in range(FRAMES):
        frame = np.full((288, 360, 3), 90, np.uint8)
        if not 30 <= k < 36:
            x = round(60 + 55 * np.sin(k / 9))
            frame[24:264, x : x + 240] = face
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path


def start(film, export, out, *flags):
    command = [
        sys.executable,
        "-m",
        "experiments.detect",
        str(film),
        f"--model={export}",
        f"--out={out}",
    ]
    return subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process):
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


FLAGS = ("--batch=4", "--overlay=video", "--finder=mesh", "--workers=2")


def results(out):
    """Table and json without its time of day, and the frames of the overlay, whose bytes hold random ids."""
    told = json.loads((out / "walk.json").read_text())
    del told["created"]
    shots = capture.Film(out / "walk_overlay.webm").shots(lambda number, time: True)
    frames = [shot.picture.tobytes() for shot in shots]
    names = sorted(path.name for path in out.iterdir())
    return (out / "walk.csv").read_bytes(), told, frames, names


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def test_killed_at_any_moment_the_same_command_goes_on(film, export, tmp_path):
    begun = time.monotonic()
    finished(start(film, export, tmp_path / "straight", *FLAGS))
    whole = time.monotonic() - begun
    straight = results(tmp_path / "straight")
    lines = straight[0].decode().splitlines()
    assert len(lines) == 1 + FRAMES and sum(",no_face," in line for line in lines) == 6
    assert len(straight[2]) == FRAMES and straight[1]["frames"]["with_a_face"] == FRAMES - 6
    chance, kills, chain, went_on = random.Random(7), 0, 0, 0
    while kills < KILLS:
        out = tmp_path / f"chain{chain}"
        chain += 1
        while True:
            begun, anew = time.monotonic(), not out.exists()
            process = start(film, export, out, *FLAGS)
            try:
                process.wait(chance.uniform(0.2, 1.0) * whole if kills < KILLS else 300)
                if (
                    anew
                ):  # the machine is less busy than it was, and later moments would hit nothing
                    whole = min(whole, 0.95 * (time.monotonic() - begun))
                break
            except subprocess.TimeoutExpired:
                below = children(process.pid)
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                went_on += (out / ".walk.detect").exists()
                assert_gone(below)
        assert process.returncode == 0, process.communicate()[0]
        process.communicate()
        assert results(out) == straight
    print(f"{kills} kills in {chain} chains; {went_on} left rows to go on from")
    assert went_on >= KILLS / 4


def assert_gone(pids):
    """Processes that read for one that was killed end as well."""
    until = time.monotonic() + 10
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until, "processes were left behind"
        time.sleep(0.05)


def test_memory_is_constant_over_a_long_film(export, tmp_path):
    film = draw_film(tmp_path / "long.mp4", 40)
    process = start(film, export, tmp_path / "out", "--finder=mesh", "--workers=1")
    samples = []
    while process.poll() is None:
        samples.append(memory(process.pid))
        time.sleep(0.2)
    said = finished(process)
    assert "1000 frames, 1000 with a face" in said
    count = len(samples)
    early, late = max(samples[count // 4 : count // 2]), max(samples[count // 2 :])
    print(f"{early:.0f} MiB in the second quarter, {late:.0f} in the second half; {count} samples")
    assert count > 40 and late - early < 50
    assert os.path.getsize(tmp_path / "out" / "long.csv") > 10_000
