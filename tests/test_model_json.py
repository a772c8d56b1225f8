"""``model.json``: what is written is read; another version or another content is refused in one line."""

import json
import math
import subprocess
import sys

import pytest

from piapdf_jax import model_json
from piapdf_jax.model_json import Data, License, Model, ModelError, from_json, read_model, to_json

MODEL = Model(
    training="piap",
    title="PIAP",
    digest="0123456789abcdef",
    units=(12, 1, 26),
    image_size=64,
    mean=(0.5, 0.4, 0.3),
    std=(0.25, 0.25, 1.0),
    parts=("encoder", "head"),
    model={
        "encoder": "nano",
        "dropout": 0.25,
        "bn_momentum": None,
        "mean": [0.5, 0.4, 0.3],
        "convention": "tensorflow",
    },
    crop={"size": 256, "box_scale": 3.1, "box_lift": 0.08},
    base_rates={12: 0.5, 1: 0.0, 26: None},
    cuts={12: 0.625, 1: None, 26: None},
    no_cut={1: "no training frame shows it", 26: "no label of it is known in the training frames"},
    frames={"labeled": 8, "scored": 4},
    data=(Data("piap", "bp4d", "1.0.0", "part1+part2", 28, True),),
    stand_ins={"pi1.dataset": "bp4d for afew_va"},
    licences=(License("data set bp4d", "ask Zoë", "https://example.org"),),
    files={"model.onnx": {"format": "onnx", "bytes": 12, "half": False}},
)


def told(**changes):
    return {**json.loads(to_json(MODEL)), **changes}


def test_what_is_written_is_read(tmp_path):
    text = to_json(MODEL)
    (tmp_path / "model.json").write_text(text, encoding="utf-8")
    assert read_model(tmp_path) == read_model(tmp_path / "model.json") == MODEL
    assert to_json(read_model(tmp_path)) == text
    plain = json.loads(text)
    assert plain["schema"] == 3 == next(iter(plain.values()))
    assert plain["units"] == [12, 1, 26] and plain["cuts"] == {"12": 0.625, "1": None, "26": None}
    # Objects of JSON have no order: dictionaries are in that of the units whoever wrote the file.
    assert from_json(json.dumps(plain, sort_keys=True)) == MODEL
    assert tuple(from_json(json.dumps(plain, sort_keys=True)).cuts) == MODEL.units


@pytest.mark.parametrize("schema", [0, 1, 2, 99, "3", 3.0, True, None, [3]])
def test_another_version_is_refused(schema):
    with pytest.raises(ModelError) as error:
        from_json(json.dumps({**told(), "schema": schema, "new": 1}), "runs/model.json")
    assert str(error.value) == (
        f"runs/model.json is of schema {schema!r}; this version of piapdf_jax reads schema 3"
    )


#: Weak units stand there only of a detector that was judged.
@pytest.mark.parametrize("key", [key for key in MODEL._fields if key != "weak_units"])
def test_a_key_that_is_missing_or_twice(key):
    short = told()
    short.pop(key)
    with pytest.raises(ModelError, match=f"a/model.json: key '{key}' is missing"):
        from_json(json.dumps(short), "a/model.json")
    twice = json.dumps(told())[:-1] + f', "{key}": 1}}'
    with pytest.raises(ModelError, match=f"key '{key}' appears twice"):
        from_json(twice)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "key 'extra' is unknown"),
        ({"units": []}, "units must be a list of one or more"),
        ({"units": [1, 1, 26]}, "units names one twice"),
        ({"units": ["12", 1, 26]}, r"units\[0\] must be a whole number above 0, not '12'"),
        ({"units": [12.0, 1, 26]}, r"units\[0\] must be a whole number"),
        ({"units": [12, 1]}, r"base_rates must be of units \[12, 1\], not \[12, 1, 26\]"),
        ({"image_size": True}, "image_size must be a whole number above 0, not True"),
        ({"image_size": 0}, "image_size must be"),
        ({"mean": [0.5, 0.4]}, "mean must be a list of 3"),
        ({"mean": None}, "mean must be that of model"),
        ({"mean": [0.1, 0.4, 0.3]}, "mean must be that of model"),
        ({"std": [0.25, 0.25, 0]}, r"std\[2\] must be a number above 0"),
        ({"model": None}, "mean must be that of model, and null where model is"),
        ({"model": {"encoder": {"a": 1}}}, "model.encoder must be text, a number"),
        ({"model": []}, "model must be an object"),
        ({"digest": "../../etc"}, "digest must be 16 hexadecimal digits"),
        ({"parts": "encoder"}, "parts must be a list"),
        ({"crop": {"size": 256, "box_scale": 3.1}}, "key crop.'box_lift' is missing"),
        ({"crop": {"size": 256, "box_scale": -1, "box_lift": 0}}, "crop.box_scale must be"),
        ({"base_rates": {"12": 1.5, "1": 0, "26": None}}, "base_rates.12 must be a number from 0"),
        ({"base_rates": {"AU12": 0.5}}, "base_rates must name action units, not 'AU12'"),
        ({"cuts": {"12": "0.5", "1": None, "26": None}}, "cuts.12 must be a number from 0 to 1"),
        ({"cuts": {"12": None, "1": None, "26": None}}, "no_cut must give the reasons of units"),
        ({"no_cut": {}}, r"no_cut must give the reasons of units \[1, 26\]"),
        ({"frames": {"labeled": 8, "scored": -1}}, "frames.scored must be a whole number from 0"),
        ({"frames": {"labeled": 10**400, "scored": 1}, "mean": [10**400] * 3}, "mean.0. must be"),
        ({"data": [{"training": "piap"}]}, r"key data\[0\].'labeled' is missing"),
        ({"stand_ins": {"a": 1}}, "stand_ins.a must be text"),
        ({"licences": []}, "licences must be a list of one or more"),
        ({"files": ["model.onnx"]}, "files must be an object"),
        ({"files": {"model.onnx": {"bytes": {}}}}, "files.model.onnx.bytes must be text, a number"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(ModelError, match=message) as error:
        from_json(json.dumps(told(**change)), "runs/model.json")
    assert str(error.value).startswith("runs/model.json: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "[1]", '"a"', "{", '{"schema": 3', "[" * 100_000, "null", "{}"]
)
def test_what_is_no_such_file(text):
    with pytest.raises(ModelError, match="cannot be read as JSON|does not say its version"):
        from_json(text)


def test_numbers_that_json_does_not_hold():
    for word in ("NaN", "Infinity", "-Infinity", "1e999"):
        text = to_json(MODEL).replace("0.625", word)
        with pytest.raises(ModelError, match=r"cuts\.12 must be a number"):
            from_json(text)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="JSON"):
            to_json(MODEL._replace(cuts={12: value, 1: None, 26: None}))
    with pytest.raises(ModelError, match=r"cuts\.12"):
        to_json(MODEL._replace(cuts={12: 2.0, 1: None, 26: None}))


def test_places_without_the_file(tmp_path, monkeypatch):
    with pytest.raises(
        FileNotFoundError, match=r"model\.json does not exist: its training has no head"
    ):
        read_model(tmp_path)
    for address in ("gs://bucket/export", "gs:/bucket/export"):
        with pytest.raises(ValueError, match=f"export={address} is not a path on this machine"):
            read_model(address)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model.json").write_text(to_json(MODEL))
    assert read_model("~/model.json") == read_model("~") == MODEL
    (tmp_path / "model.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelError, match=r"model\.json is not text"):
        read_model(tmp_path)


def test_reading_it_loads_the_standard_library_alone():
    code = "import sys, piapdf_jax.model_json; print({'numpy', 'jax', 'orbax'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n" and model_json.SCHEMA == 3
