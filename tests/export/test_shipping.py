"""A shipped detector from an export: both files against JAX in float32, and what is too large or too different."""

import hashlib
import json

import jax
import light_model
import numpy as np
import pytest
from lively_parts import pictures

from experiments import shipping
from piapdf_jax.detector import Detector
from piapdf_jax.load import load_export
from piapdf_jax.model_json import License, read_model
from piapdf_jax.models import shipped
from piapdf_jax.runtime.exports import read_export

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return light_model.write(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def written(export, tmp_path_factory):
    out = tmp_path_factory.mktemp("shipped") / "drawn"
    out.mkdir()
    (out / "MODEL_CARD.md").write_text("who it is\n")
    shipping.ship(export, out)
    return out


def test_the_folder_has_three_files_that_belong_together(written, export):
    assert sorted(path.name for path in written.iterdir()) == [
        "MODEL_CARD.md", "model.json", "model.onnx", "parts.npz"
    ]  # fmt: skip
    assert (written / "MODEL_CARD.md").read_text() == "who it is\n"
    model = read_model(written)
    terms = (License("software piapdf_jax", "Apache-2.0", "LICENSE"), *read_model(export).licences)
    assert model._replace(files={}) == read_model(export)._replace(licences=terms)
    for name, facts in model.files.items():
        data = (written / name).read_bytes()
        assert (facts["bytes"], facts["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert facts["dtype"] == "float16" and 0 < facts["difference"] <= 2e-3


def test_both_say_of_other_pictures_what_the_export_says(written, export):
    crops = pictures(6, 256)
    wanted = load_export(export)[1](crops)
    assert np.ptp(wanted, axis=0).min() > 0.05
    assert Detector.load(written)(crops) == pytest.approx(wanted, abs=2e-3)
    told = shipped.read_description("nano", written)
    found, (parts, _) = shipped.read_parts(told.sha256, written), read_export(export)
    assert set(found) == {"encoder", "head"}
    for name in found:
        jax.tree.map(
            lambda half, full: np.testing.assert_array_equal(half, np.float16(full)),
            *(found[name], parts[name]),
        )


def unwritten(out):
    return not out.exists()


def test_what_is_too_large_is_not_put_there(export, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "MOST", 1000)
    with pytest.raises(shipping.ShipError, match=r"MB together .*more than 0.001") as error:
        shipping.ship(export, tmp_path / "out")
    assert "\n" not in str(error.value) and unwritten(tmp_path / "out")


def test_parts_that_say_something_else_are_not_put_there(export, tmp_path, monkeypatch):
    write = shipped.write_parts

    def wrong(path, parts):
        kernel = parts["head"][0]
        write(path, {**parts, "head": (jax.tree.map(lambda leaf: leaf * 1.2, kernel), {})})

    monkeypatch.setattr(shipped, "write_parts", wrong)
    with pytest.raises(shipping.ShipError, match=r"float32 on golden frames: parts.npz by") as told:
        shipping.ship(export, tmp_path / "out")
    assert "model.onnx" not in str(told.value) and unwritten(tmp_path / "out")


def test_weak_units_are_named_beside_the_files(export, tmp_path):
    path = tmp_path / "judged.json"
    units = {f"AU{au}": {"auc": auc} for au, auc in ((1, 0.9), (6, 0.5), (12, 0.8))}
    told = {"digest": read_model(export).digest, "tree": {"units": units}}
    path.write_text(json.dumps({"models": [told]}))
    assert shipping.ship(export, tmp_path / "out", path).weak_units == (6,)
    assert read_model(tmp_path / "out").weak_units == (6,)
    # What was shipped can be shipped again, and stays judged.
    assert shipping.ship(tmp_path / "out", tmp_path / "again").weak_units == (6,)
