"""Encoders of a run by name: one from outside, the file of docs/extending.md, through every stage of the method."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILE = re.search(r"```python\n(# small_net\.py\n.*?)```", TEXT, re.S)[1]
COMMANDS = [line for line in TEXT.splitlines() if "--plugin=small_net" in line]
#: As a user's: other people's modules mix dtypes, which the tests of our own code forbid.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_NUMPY_DTYPE_PROMOTION": "standard"}
RESNET = "resnet14"
STAGES = ("pi1", "pi2", "identity", "landmarks", "baseline", "piap", "df", "lp")
SETTINGS = ["df=paper", "model=nano", "data.image_size=64", "model.encoder_size=64"]
SETTINGS += ["eval.batch_size=48", "eval.pointing_frames=20"]
SETTINGS += [f"{name}.{key}" for name in STAGES for key in ("steps=2", "batch_size=8")]
SETTINGS += ["data.dataset=synthetic_faces/small_bp4d"]
SETTINGS += [f"{name}.dataset=synthetic_faces/small_afew_va" for name in ("pi1", "landmarks")]
SETTINGS += [f"{name}.pairs=synthetic_faces/small_lfw" for name in ("identity", "landmarks")]
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
        timeout=600,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def first_command(data):
    return [*shlex.split(COMMANDS[0])[1:], f"--data_dir={data}", "--runs_dir=runs"]


def trained(folder, launch, *settings):
    """The export of each training, two steps long."""
    before = set(folder.glob("runs/exports/*/*/export.json"))
    ran(folder, [*launch, *(f"--set={setting}" for setting in (*SETTINGS, *settings))])
    made = set(folder.glob("runs/exports/*/*/export.json")) - before
    return {path.parent.parent.name: path.parent for path in made}


@pytest.fixture(name="exports", scope="module")
def fixture_exports(folder, small_data):
    """The first command of the document, and landmarks as the person-specific vector."""
    settings = ["model.encoder=small_net", "methods=piapdf,lp", "lp.person=landmark_network"]
    return trained(folder, first_command(small_data), *settings)


@pytest.fixture(name="baseline", scope="module")
def fixture_baseline(folder, small_data):
    """The export of the shortest training of that command."""
    settings = ["model.encoder=small_net", "methods=baseline"]
    return trained(folder, first_command(small_data), *settings)["baseline"]


def test_the_file_is_one_of_sixty_lines():
    assert len(FILE.splitlines()) <= 60


def encoders_of(exports):
    """By training: the shape of the first kernel, length of the vector, and what its digest knows of encoders."""
    from piapdf_jax.runtime.exports import read_export

    found = {}
    for name, folder in exports.items():
        parts, info = read_export(folder)
        if "encoder" in parts:
            params = parts["encoder"][0]
            first = params["stem" if "stem" in params else "Conv_0"]["kernel"].shape
            sources = set(info["fingerprint"]["sources"])
            kinds = {kind for kind in KINDS if any(kind in source for source in sources)}
            found[name] = (first, vector_length(parts["encoder"]), kinds)
    return found


KINDS = ("small_net", "efficientnet", "resnet")


def vector_length(part):
    """The largest number of channels of a running mean: in these networks the last one's."""
    return max(leaf.shape[-1] for leaf in jax.tree.leaves(part[1]))


@pytest.mark.nightly
def test_every_stage_has_the_encoder_from_outside(exports):
    """Encoder P, the AU network, landmark regression, and the encoder that sees twelve maps."""
    assert set(exports) == {"pi1", "pi2", "identity", "landmarks", "lp", "piap", "piapdf"}
    rgb = dict.fromkeys(
        ("identity", "landmarks", "lp", "piap", "piapdf"), ((3, 3, 3, 16), 128, {"small_net"})
    )
    assert encoders_of(exports) == {"pi2": ((3, 3, 12, 16), 128, {"small_net"}), **rgb}
    told = json.loads((exports["piap"] / "export.json").read_text())["fingerprint"]
    assert told["settings"]["stage"]["encoder"]["widths"] == [16, 32, 64, 128]


@pytest.mark.nightly
def test_a_resnet_of_one_block_a_stage_goes_the_same_way(folder, small_data):
    launch = [
        "-m",
        "experiments.piapdf",
        "--config=demo",
        f"--data_dir={small_data}",
        "--runs_dir=runs",
    ]
    found = encoders_of(trained(folder, launch, f"model.encoder={RESNET}", "methods=piapdf"))
    rgb = dict.fromkeys(("identity", "piap", "piapdf"), ((7, 7, 3, 32), 1024, {"resnet"}))
    assert found == {"pi2": ((7, 7, 12, 32), 1024, {"resnet"}), **rgb}


def test_what_uses_such_an_export_needs_its_plugin(baseline, folder, small_data):
    words = ["-m", "experiments.score", str(baseline), f"--data_dir={small_data}"]
    words += ["--dataset=synthetic_faces/small_bp4d", "--split=part3"]
    _, told = ran(folder, words, code=2)
    assert told.count("\n") == 1 and "encoder 'small_net'" in told and "--plugin=MODULE" in told
    out, _ = ran(folder, [*words, "--plugin=small_net"])
    assert "mean" in out
    words = ["-m", "experiments.export", str(baseline), "--out=onnx", "--plugin=small_net"]
    _, told = ran(folder, words, code=2)
    assert told.count("\n") == 1 and "encoder SmallEncoder cannot be exported" in told


def test_an_encoder_that_is_not_known_is_one_line(folder):
    _, told = ran(
        folder,
        ["-m", "experiments.piapdf", "--config=demo", "--set=model.encoder=small_net"],
        code=2,
    )
    assert told.count("\n") == 1 and "resnet50" in told and "model.encoder" in told
