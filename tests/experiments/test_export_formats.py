"""The command that writes and checks files of several formats, with what every installation has."""

import hashlib
import json

import light_model
import numpy as np
import pytest
from absl import app
from absl.testing import flagsaver
from programs import load

from piapdf_jax.export import check, formats
from piapdf_jax.model_json import ModelError, read_model, to_json

program = load("experiments.export")


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return light_model.write(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def written(export, tmp_path_factory):
    out = tmp_path_factory.mktemp("written")
    assert ran(export, out=str(out), formats=["stablehlo"]) == 0
    return out


def ran(place, **given):
    with flagsaver.flagsaver(**{"out": "", "check": False, **given}):
        return program.main(["export", str(place)])


def copied(written, folder):
    for path in written.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_model_json_says_what_each_file_is(export, written):
    data = (written / "model.stablehlo").read_bytes()
    told = read_model(written)
    assert told._replace(files={}) == read_model(export)
    (name, facts), *rest = told.files.items()
    assert (name, rest) == ("model.stablehlo", [])
    assert facts["sha256"] == hashlib.sha256(data).hexdigest() and facts["bytes"] == len(data)
    assert (facts["format"], facts["dtype"], facts["input_type"]) == (
        "stablehlo",
        "float32",
        "uint8",
    )
    assert facts["platforms"] == "cpu cuda tpu" and "six months" in facts["read_by"]


def test_a_folder_is_checked_again(written, tmp_path, capsys):
    assert ran(copied(written, tmp_path), check=True) == 0
    said = capsys.readouterr().out
    assert "model.stablehlo" in said and "within 1e-05 of JAX" in said
    told = json.loads((tmp_path / "check.json").read_text())
    (entry,) = told["files"]["model.stablehlo"]["runtimes"].values()
    assert told["passed"] and not told["saturated"] and 0 <= entry["max_difference"] < 1e-5
    assert entry["milliseconds_a_frame"] > 0


def test_a_difference_is_told(written, tmp_path, capsys):
    golden = check.read_golden(copied(written, tmp_path) / "golden.npz")
    shifted = golden.probabilities + np.float32(2e-5)
    np.savez(tmp_path / "golden.npz", frames=golden.frames, probabilities=shifted, dtype="float32")
    assert ran(tmp_path, check=True) == 1
    assert "not within 1e-05" in capsys.readouterr().out


def test_a_file_that_nothing_installed_runs_is_not_taken_for_checked(
    written, tmp_path, monkeypatch, capsys
):
    jax = formats.FORMATS["stablehlo"].runtimes["jax"]
    nowhere = jax._replace(packages=("no-such-package",))
    monkeypatch.setitem(formats.FORMATS["stablehlo"].runtimes, "jax", nowhere)
    assert ran(copied(written, tmp_path), check=True) == 1
    said = capsys.readouterr().out
    assert "not installed" in said
    assert "model.stablehlo was not checked: nothing that is installed here runs it" in said
    assert not json.loads((tmp_path / "check.json").read_text())["passed"]


def test_golden_frames_that_show_nothing_are_told(written, tmp_path, capsys):
    frames, probabilities, _ = check.read_golden(copied(written, tmp_path) / "golden.npz")
    ends = (probabilities > 0.5).astype(np.float32)
    np.savez(tmp_path / "golden.npz", frames=frames, probabilities=ends, dtype="float32")
    ran(tmp_path, check=True)
    assert "golden probabilities are all 0 or 1" in capsys.readouterr().out


def test_no_file_is_run_that_is_not_the_one_that_was_written(written, tmp_path, monkeypatch):
    jax = formats.FORMATS["stablehlo"].runtimes["jax"]
    ours = jax._replace(load=lambda path: pytest.fail("it was loaded"))
    monkeypatch.setitem(formats.FORMATS["stablehlo"].runtimes, "jax", ours)
    path = copied(written, tmp_path) / "model.stablehlo"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="model.stablehlo is damaged or belongs to another export"):
        check.check(tmp_path)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "lists no exported file"),
        ({"../model.stablehlo": {}}, "'../model.stablehlo', which is of no known format"),
        ({"model.onnx": {"dtype": "float32"}}, "model.onnx is missing"),
    ],
)
def test_files_that_model_json_names_wrongly(written, tmp_path, files, said):
    told = read_model(copied(written, tmp_path))._replace(files=files)
    (tmp_path / "model.json").write_text(to_json(told))
    with pytest.raises(app.UsageError, match=said):
        ran(tmp_path, check=True)


def test_files_of_an_earlier_export_do_not_stay(export, tmp_path):
    for name in ("model.onnx", "check.json"):
        (tmp_path / name).write_text("earlier")
    (tmp_path / "notes.txt").write_text("mine")
    assert ran(export, out=str(tmp_path), formats=["stablehlo"], dtype="float16") == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        *("golden.npz", "model.json", "model.stablehlo", "notes.txt")
    }
    assert read_model(tmp_path).files["model.stablehlo"]["dtype"] == "float16"


@pytest.mark.parametrize("names", [["onxx"], [], [""], ["stablehlo", "stablehlo"]])
def test_formats_that_are_none(export, tmp_path, names):
    with pytest.raises(app.UsageError, match=r"must name formats once each, of onnx, stablehlo"):
        ran(export, out=str(tmp_path / "o"), formats=names)
    assert not (tmp_path / "o").exists()


def test_what_is_missing_is_said_before_anything_is_written(export, tmp_path, monkeypatch):
    absent = formats.FORMATS["onnx"]._replace(modules=("no_such_module",))
    monkeypatch.setitem(formats.FORMATS, "onnx", absent)
    with pytest.raises(app.UsageError, match="packages to write onnx are not installed: .*onnx>=1"):
        ran(export, out=str(tmp_path / "o"), formats=["stablehlo", "onnx"])
    assert not (tmp_path / "o").exists()


def test_a_folder_passes_where_every_file_does():
    good = check.Result("a", "one", "1.0", 1e-7, 2.0)
    absent = check.Result("b", "two", "", unsupported="not installed")
    assert check.within([good], "float32") and not check.within([], "float32")
    assert not check.within([good, absent], "float32")
    # One runtime of a file is enough, and none may differ.
    assert check.within([good, absent._replace(file="a")], "float32")
    far, unknown = (good._replace(runtime="two", difference=d) for d in (1.1e-5, float("nan")))
    assert not check.within([good, far], "float32") and check.within([good, far], "float16")
    assert not check.within([good, unknown], "float32")
    # Of 8 bits any number does.
    assert check.within([far._replace(difference=0.4)], "int8")
    assert not check.within([unknown], "int8")
