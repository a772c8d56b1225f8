"""``detect`` without ``--model``: the package's own detector, or how to train one; weak units."""

import csv
import json
import pathlib

import cv2
import drawn_people
import light_model
import numpy as np
import pytest
from absl import app
from absl.testing import flagsaver
from programs import load

from experiments.detection import summary
from piapdf_jax import drawn_detector
from piapdf_jax.detector import Detector
from piapdf_jax.model_json import Model, read_model, to_json


@pytest.fixture
def run(tmp_path):
    """Runs the command on a picture of a drawn face."""
    program = load("experiments.detect")
    face = drawn_people.portrait(0).image
    cv2.imwrite(str(tmp_path / "a.png"), np.ascontiguousarray(face[..., ::-1]))

    def detect(**given):
        with flagsaver.flagsaver(out=str(tmp_path / "out"), finder="dlib", **given):
            return program.main(["detect", str(tmp_path / "a.png")])

    return detect


def shipped(monkeypatch, folder: pathlib.Path, weak: tuple[int, ...] | None) -> Model:
    """Has the package ship random networks, which JAX runs: which file a runtime reads is tested beside it."""
    export = light_model.write(folder)
    model = read_model(export)._replace(weak_units=weak)
    (export / "model.json").write_text(to_json(model))
    monkeypatch.setattr("piapdf_jax.detector.detector_file", lambda: export)
    return model


def test_where_none_is_shipped_one_line_says_how_to_train_one(run, monkeypatch, tmp_path):
    monkeypatch.setattr(drawn_detector, "FOLDER", tmp_path / "none")
    with pytest.raises(app.UsageError) as error:
        run()
    told = str(error.value)
    assert "\n" not in told and "ships no detector" in told
    assert "experiments.piapdf --config=drawn" in told and "--model" in told
    assert not (tmp_path / "out").exists()


def test_the_file_that_is_shipped_is_the_one_beside_its_model_json(monkeypatch, tmp_path):
    monkeypatch.setattr(drawn_detector, "FOLDER", tmp_path)
    (tmp_path / "model.onnx").touch()
    assert drawn_detector.detector_file() == tmp_path / "model.onnx"


def test_whose_it_is_is_said_in_one_line_and_weak_units_in_another(
    run, monkeypatch, tmp_path, capsys
):
    model = shipped(monkeypatch, tmp_path, (6, 12))
    assert run() == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"no --model: {model.title}, which this package ships, trained on drawn faces"
    assert told[1] == "weak units, to be read with care: AU06, AU12"
    found = json.loads((tmp_path / "out" / "a.json").read_text())
    assert found["model"]["weak_units"] == ["AU06", "AU12"]
    assert found["model"]["digest"] == light_model.DIGEST
    assert rows(tmp_path)[0]["weak_units"] == "AU06 AU12"


def rows(folder: pathlib.Path) -> list[dict[str, str]]:
    with (folder / "out" / "a.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_model_that_is_named_is_not_called_the_package_s_own(run, tmp_path, capsys):
    assert run(model=str(light_model.write(tmp_path))) == 0
    assert "no --model" not in (told := capsys.readouterr().out) and "weak" not in told
    found = json.loads((tmp_path / "out" / "a.json").read_text())
    assert found["model"]["weak_units"] is None
    assert "weak_units" not in rows(tmp_path)[0]


def test_bars_of_weak_units_are_marked(run, monkeypatch, tmp_path):
    """The same picture but for the marks, which stand in the bars' panel alone."""
    drawn = {}
    for weak in ((), (12,)):
        shipped(monkeypatch, tmp_path / f"{weak}", weak)
        assert run(overlay="pictures", overwrite=True) == 0
        drawn[weak] = cv2.imread(str(tmp_path / "out" / "a_overlay.jpg"))
    assert (np.abs(drawn[()].astype(int) - drawn[(12,)]) > 60).sum() > 20


def test_maps_without_a_model_are_refused(run, monkeypatch, tmp_path):
    shipped(monkeypatch, tmp_path, ())
    with pytest.raises(app.UsageError, match="--maps needs the run that trained the detector"):
        run(overlay="pictures", maps=["AU12"])


def test_units_that_nobody_judged_are_not_called_good(monkeypatch, tmp_path):
    for weak, told in ((None, None), ((), []), ((1,), ["AU01"])):
        shipped(monkeypatch, tmp_path / f"{weak}", weak)
        assert summary.weak_units(Detector.load()) == told
