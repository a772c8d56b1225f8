"""The command that writes the shipped detector: what it refuses without any other package, and which units are weak."""

import json

import light_model
import pytest
from absl import app
from absl.testing import flagsaver
from programs import load

from experiments import shipping
from piapdf_jax.model_json import ModelError, from_json, read_model, to_json

program = load("experiments.ship")


def refusal(*arguments, **given):
    with flagsaver.flagsaver(**given), pytest.raises(app.UsageError) as error:
        program.main(["ship", *arguments])
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_missing_is_named(tmp_path):
    assert "--out: " in refusal("somewhere") and "--out: " in refusal(out=str(tmp_path))
    assert "absent" in refusal(str(tmp_path / "absent"), out=str(tmp_path / "out"))
    export = light_model.write(tmp_path)
    missing = str(tmp_path / "none.json")
    assert "--judged" in refusal(str(export), out=str(tmp_path / "out"), judged=missing)
    assert not (tmp_path / "out").exists()


def test_an_export_with_a_generator_is_none(tmp_path):
    export = light_model.write(tmp_path)
    model = read_model(export)._replace(parts=("generator", "encoder", "head"))
    (export / "model.json").write_text(to_json(model))
    told = refusal(str(export), out=str(tmp_path / "out"))
    assert "a light detector has encoder and head alone" in told


@pytest.fixture
def model(tmp_path):
    return read_model(light_model.write(tmp_path))  # of units 1, 6 and 12


def judged(tmp_path, told):
    path = tmp_path / "judged.json"
    path.write_text(json.dumps(told))
    return path


@pytest.mark.parametrize(
    ("aucs", "weak"),
    [
        ({"AU1": 0.8, "AU6": 0.7, "AU12": 0.99}, ()),
        ({"AU1": 0.699, "AU6": 0.9, "AU12": 0.2}, (1, 12)),
        ({"AU1": None, "AU6": 0.9, "AU12": 0.9}, (1,)),
        ({"AU12": 0.9, "AU26": 0.1}, (1, 6)),
    ],
)
def test_units_below_seven_tenths_or_never_judged_are_weak(tmp_path, model, aucs, weak):
    units = {key: {"auc": auc, "low": 0.0, "high": 1.0} for key, auc in aucs.items()}
    tree = {"units": units, "mean": {"auc": 0.1}}
    others = [{"digest": "f" * 16, "tree": {"units": {}}}, {"digest": model.digest, "tree": tree}]
    assert shipping.weak_units(judged(tmp_path, {"models": others}), model) == weak


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({}, "KeyError"),
        ([], "TypeError"),
        ({"AU26": 0.9}, "it names none of its units"),
        ({"AU1": 80}, "AU1 is not a number from 0 to 1"),
        ({"AU1": "good"}, "TypeError"),
        ({"models": [{"digest": "f" * 16, "tree": {"units": {}}}]}, "KeyError"),
    ],
)
def test_a_file_of_nobodys_judgment(tmp_path, model, told, said):
    with pytest.raises(shipping.ShipError, match=said) as error:
        if isinstance(told, dict) and told and "models" not in told:
            units = {key: {"auc": auc} for key, auc in told.items()}
            told = {"models": [{"digest": model.digest, "tree": {"units": units}}]}
        shipping.weak_units(judged(tmp_path, told), model)
    assert "\n" not in str(error.value)


def test_weak_units_stand_in_model_json_where_somebody_judged(model):
    assert "weak_units" not in json.loads(to_json(model))
    assert from_json(to_json(model)).weak_units is None
    for weak in ((), (1, 12)):
        text = to_json(model._replace(weak_units=weak))
        assert json.loads(text)["weak_units"] == list(weak)
        assert from_json(text).weak_units == weak
    with pytest.raises(ModelError, match=r"weak_units must be some of units \[1, 6, 12\]"):
        to_json(model._replace(weak_units=(4,)))
