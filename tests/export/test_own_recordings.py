"""The ten lines of docs/own.md, as a user runs them who installed a wheel and has a folder of films."""

import csv
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from data_builders.synthetic_faces.raw_layouts import write_raw

pytestmark = [
    pytest.mark.export,
    pytest.mark.skipif(
        "PIAPDF_INSTALLED" not in os.environ, reason="make export-check installs a wheel"
    ),
]
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "own.md"
SCRIPT = re.search(r"## Ten lines\n\n```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[1]
#: What makes seconds of it: small networks, four steps, a few drawn people for Encoder P.
SMALL = ["df=paper", "model=nano", "data.image_size=64"]
SMALL += [f"{name}.batch_size=8" for name in ("pi1", "pi2", "identity", "baseline", "piap", "df")]
SMALL += [f"{name}.steps=4" for name in ("pi1", "pi2", "identity", "baseline", "piap", "df")]
SMALL += ["identity.dataset=synthetic_faces/small_webface"]
SMALL += ["identity.pairs=synthetic_faces/small_lfw"]
#: BP4D's, of which the csv calls AU 4 by a name that BP4D does not have.
UNITS = [1, 2, 6, 7, 10, 12, 14, 15, 17, 23, 24, 25]
FRAMES = 12  # of a film


@pytest.fixture(name="folder", scope="module")
def fixture_folder(small_data, tmp_path_factory):
    """A folder in which the lines have run, and what they said."""
    folder = tmp_path_factory.mktemp("outside")
    recordings = write_raw("own", folder / "recordings", people=6, size=128, video=True)
    table = recordings / "labels.csv"
    table.write_text(table.read_text().replace("AU4,", "AU25,", 1))
    (folder / "tfds").mkdir()
    (folder / "tfds" / "synthetic_faces").symlink_to(small_data / "synthetic_faces")
    settings = " ".join(f"--set {setting}" for setting in SMALL)
    script = SCRIPT.replace("--config=demo", f"--config=demo {settings}")
    assert script != SCRIPT
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "TFDS_DATA_DIR")}
    # Compiling takes longest, and a user's machine is one device.
    clean |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "JAX_NUM_CPU_DEVICES": "1"}
    clean["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
    clean["PATH"] = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder, done.stdout


def test_there_are_ten_lines_at_most():
    lines = SCRIPT.splitlines()
    assert len(lines) <= 10 and len(set(re.findall(r"python -m (\S+)", SCRIPT))) == 7


def test_the_data_set_holds_what_the_csv_says(folder):
    where, said = folder
    assert "participants: 6" in said and "expected numbers compared: 5, differing: 0" in said
    metadata = json.loads((where / "tfds" / "own" / "1.0.0" / "metadata.json").read_text())
    assert metadata["action_units"] == UNITS and metadata["skipped"] == {}
    assert sorted(map(len, metadata["parts"].values())) == [2, 2, 2]
    # The first two and last two frames of a drawn film are coded by nobody.
    with (where / "recordings" / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if any(row[f"AU{au}"] for au in UNITS)]
    assert metadata["read"]["coded frames"] == len(rows) > 0


def test_what_was_trained_tells_the_units_of_the_csv(folder):
    where, said = folder
    (export,) = where.glob("runs/exports/piapdf/*")
    told = json.loads((export / "model.json").read_text())
    assert told["units"] == UNITS
    assert {"own", "synthetic_faces/small_webface"} <= {data["name"] for data in told["data"]}
    (results,) = where.glob("runs/own/*/results.json")
    scores = json.loads(results.read_text())["trainings"]["piapdf"]["scores"]["published"]
    assert len(scores["f1"]) == len(UNITS)
    assert (where / "report" / "index.html").stat().st_size > 10_000
    assert re.search(r"mean", said)


def test_the_detector_reads_the_films(folder):
    where, _ = folder
    check = json.loads((where / "detector" / "check.json").read_text())
    assert check and (where / "detector" / "model.onnx").is_file()
    tables = sorted((where / "units").glob("*.csv"))
    assert [path.stem for path in tables] == [
        path.stem for path in sorted((where / "recordings" / "films").glob("*.avi"))
    ]
    for path in tables:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["frame"]) for row in rows] == list(range(FRAMES))
        faces = [row for row in rows if row["success"] == "1"]
        assert len(faces) >= FRAMES - 2
        assert all(0 < float(row[f"AU{au:02d}_p"]) < 1 for row in faces for au in UNITS)
