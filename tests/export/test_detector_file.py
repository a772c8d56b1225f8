"""Which exports are light detectors, and what becomes of the others."""

import hashlib

import light_model
import numpy as np
import pytest

from piapdf_jax.export.detector_file import golden_frames, golden_probabilities, read_light
from piapdf_jax.load import load_export
from piapdf_jax.model_json import ModelError, read_model, to_json
from piapdf_jax.models import shipped
from piapdf_jax.models.weight_files import WeightsError

NONE = {
    "gray times maps": (
        {"parts": ("generator", "encoder", "head")},
        "needs generator, encoder, head: a light detector has encoder and head alone",
    ),
    "a plugin's networks": (
        {"model": None, "mean": None, "std": None},
        "has networks of a plugin",
    ),
    "another export's": ({"digest": "fedcba9876543210"}, "holds the model.json of another export"),
}


@pytest.mark.parametrize("case", NONE)
def test_an_export_that_is_no_light_detector(tmp_path, case):
    changes, said = NONE[case]
    export = light_model.write(tmp_path)
    model = read_model(export)._replace(**changes)
    (export / "model.json").write_text(to_json(model))
    with pytest.raises(ModelError, match=said) as error:
        read_light(export)
    assert "\n" not in str(error.value)


def test_golden_probabilities_are_those_of_the_export(tmp_path):

    export = light_model.write(tmp_path)
    frames = golden_frames(light_model.SIZE)
    assert frames.std((1, 2, 3)).min() > 20  # of 255: pictures, not plains
    assert (frames == golden_frames(light_model.SIZE)).all()
    found = golden_probabilities(read_light(export), frames)
    assert found.shape == (4, len(light_model.UNITS)) and found.std(0).min() > 2e-5
    assert found == pytest.approx(load_export(export)[1](frames), abs=1e-6)


def test_what_is_shipped_is_one_too(tmp_path):
    """Of its parts in half precision, and of no other file than ``model.json`` names."""
    export, folder = light_model.write(tmp_path), tmp_path / "shipped"
    light = read_light(export)
    folder.mkdir()
    shipped.write_parts(folder / "parts.npz", light.parts)
    data = (folder / "parts.npz").read_bytes()
    files = {"parts.npz": {"format": "parts", "sha256": hashlib.sha256(data).hexdigest()}}
    (folder / "model.json").write_text(to_json(light.model._replace(files=files, weak_units=(6,))))
    found = read_light(folder)
    assert found.model.weak_units == (6,) and found.config == light.config
    kernel = light.parts["head"][0]["dense"]["kernel"]
    half = found.parts["head"][0]["dense"]["kernel"]
    np.testing.assert_array_equal(half, np.float16(kernel))
    assert half.dtype == np.float32 and (half != kernel).any()
    frames = golden_frames(light_model.SIZE)
    wanted = golden_probabilities(light, frames)
    assert golden_probabilities(found, frames) == pytest.approx(wanted, abs=2e-3)
    assert [type(one) for one in found.operations] == [type(one) for one in light.operations]
    (folder / "parts.npz").write_bytes(data + b" ")
    with pytest.raises(WeightsError, match="parts.npz cannot be used .its SHA-256"):
        read_light(folder)
