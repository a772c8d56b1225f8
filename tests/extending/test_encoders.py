"""Encoders of a run by name: one from outside, the file of docs/extending.md, through every stage of the method."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILE = re.search(r"```python\n(# small_net\.py\n.*?)```", TEXT, re.S)[1]
COMMANDS = [line for line in TEXT.splitlines() if "--plugin=small_net" in line]
#: As a user's: other people's modules mix dtypes, which the tests of our own code forbid.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUMPY_DTYPE_PROMOTION": "standard"}
STAGES = ("pi1", "pi2", "identity", "baseline", "piap", "df")
SETTINGS = ["model=nano", "model.encoder=small_net", "data.image_size=64", "model.encoder_size=64"]
SETTINGS += [f"{name}.{key}" for name in STAGES for key in ("steps=2", "batch_size=8")]
SETTINGS += ["eval.batch_size=48", "data.dataset=synthetic_faces/small_bp4d"]
SETTINGS += [
    "pi1.dataset=synthetic_faces/small_afew_va",
    "identity.pairs=synthetic_faces/small_lfw",
]
SETTINGS += ["identity.dataset=synthetic_faces/small_webface"]


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    (folder / "small_net.py").write_text(FILE, encoding="utf-8")
    return folder


def ran(folder, arguments, code=0):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(name="exports", scope="module")
def fixture_exports(folder, small_data):
    """The method's first command of the document, two steps a stage."""
    launch = shlex.split(COMMANDS[0])[1:]
    more = [f"--set={setting}" for setting in SETTINGS]
    ran(folder, [*launch, *more, f"--data_dir={small_data}", "--runs_dir=runs"])
    found = {
        path.parent.parent.name: path.parent for path in folder.glob("runs/exports/*/*/export.json")
    }
    assert set(found) == {"pi1", "pi2", "identity", "piap", "piapdf"}
    return found


def test_the_file_is_one_of_sixty_lines():
    assert len(FILE.splitlines()) <= 60


def test_every_stage_has_the_encoder_from_outside(exports):
    """128 numbers a vector: Encoder P's, the AU network's, and the one that sees twelve maps."""
    from piapdf_jax.runtime.exports import read_export

    shapes = {}
    for name in ("pi2", "identity", "piap", "piapdf"):
        parts, _ = read_export(exports[name])
        kernels = [
            np.shape(leaf["kernel"]) for leaf in parts["encoder"][0].values() if "kernel" in leaf
        ]
        shapes[name] = (kernels[0], kernels[-1][-1])
        told = json.loads((exports[name] / "export.json").read_text())["fingerprint"]
        assert told["settings"]["stage"]["encoder"]["widths"] == [16, 32, 64, 128]
        sources = set(told["sources"])
        assert "small_net" in sources and "piapdf_jax.models.encoders" in sources
        assert not {s for s in sources if "efficientnet" in s or "resnet" in s}, name
    assert shapes == {
        "pi2": ((3, 3, 12, 16), 128),
        **dict.fromkeys(("identity", "piap", "piapdf"), ((3, 3, 3, 16), 128)),
    }


def test_what_uses_such_an_export_needs_its_plugin(exports, folder, small_data):
    words = ["-m", "experiments.score", str(exports["piapdf"]), f"--data_dir={small_data}"]
    words += ["--dataset=synthetic_faces/small_bp4d", "--split=part3"]
    _, told = ran(folder, words, code=2)
    assert told.count("\n") == 1 and "encoder 'small_net'" in told and "--plugin=MODULE" in told
    out, _ = ran(folder, [*words, "--plugin=small_net"])
    assert "mean" in out
    words = ["-m", "experiments.export", str(exports["piapdf"]), "--out=onnx", "--plugin=small_net"]
    _, told = ran(folder, words, code=2)
    assert told.count("\n") == 1 and "encoder SmallEncoder does not export to ONNX" in told


def test_an_encoder_that_is_not_known_is_one_line(folder):
    _, told = ran(
        folder,
        ["-m", "experiments.piapdf", "--config=demo", "--set=model.encoder=small_net"],
        code=2,
    )
    assert told.count("\n") == 1 and "resnet50" in told and "model.encoder" in told
