"""The detector that lies in this repository: whole, small, of the same numbers in both files, with its own card."""

import configparser
import hashlib
import pathlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_builders.synthetic_faces.wild import behavior, draw
from piapdf_jax import drawn_detector
from piapdf_jax.action_units import BP4D_AUS
from piapdf_jax.detector import Detector
from piapdf_jax.load import networks
from piapdf_jax.model_json import read_model
from piapdf_jax.models import shipped
from piapdf_jax.models.piap import predict_action_units

FOLDER = drawn_detector.FOLDER
CARD = FOLDER / "MODEL_CARD.md"
#: A stranger of the part that no training read.
PLACE = (behavior.subjects()[0], behavior.SESSIONS[0], 0)
FILES = (drawn_detector.ONNX_FILE, drawn_detector.PARTS_FILE)


@pytest.fixture(scope="module")
def model():
    return read_model(FOLDER)


def test_files_are_those_that_its_description_names(model):
    assert sorted(model.files) == sorted(FILES)
    for name in FILES:
        content = (FOLDER / name).read_bytes()
        facts = model.files[name]
        assert (len(content), hashlib.sha256(content).hexdigest()) == (
            facts["bytes"],
            facts["sha256"],
        )
        assert 0 < facts["difference"] <= 2e-3
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 4_000_000
    assert tuple(model.units) == BP4D_AUS and model.training == "piapdf"
    assert {data.name.partition("/")[0] for data in model.data} == {"synthetic_faces"}


def test_its_card_is_of_it(model):
    text = CARD.read_text(encoding="utf-8")
    weak = ", ".join(f"AU{au}" for au in model.weak_units)
    assert f"`{model.digest}`" in text and f"**Weak** (below 0.7): {weak}." in text
    for au in model.units:
        assert text.count(f"| AU{au} |") >= 2


def test_its_license_is_that_of_the_software(model):
    declared = configparser.ConfigParser()
    declared.read(pathlib.Path(__file__).parents[2] / "setup.cfg", encoding="utf-8")
    terms = {license.of: license.terms for license in model.licences}
    text = CARD.read_text(encoding="utf-8")
    for of in ("software piapdf_jax", "weights of this detector"):
        assert terms[of] == declared["metadata"]["license"]
        assert f"\n- {of}: {terms[of]} (LICENSE)\n" in text
    for license in model.licences:
        assert f"\n- {license.of}: {license.terms} ({license.source})\n" in text


#: What strangers of the part that no training read show: each of twelve shows two of them.
SHOWN = ({}, {12: 1.0, 6: 0.8}, {1: 0.8, 2: 0.8}, {4: 1.0, 17: 0.9})


@pytest.fixture(scope="module")
def strangers():
    """[24, 256, 256, 3] uint8 RGB: twelve people of all sessions, in scenes of their own."""
    return np.stack(
        [
            draw.frame(who, behavior.SESSIONS[k % 3], k, SHOWN[(k + shift) % 4]).image
            for k, who in enumerate(behavior.parts()[1][::10][:12])
            for shift in (0, 1)
        ]
    )


def of_parts(model, crops):
    """What parts.npz says of crops, run by JAX in float32."""
    size = model.image_size
    small = np.stack([cv2.resize(c, (size, size), interpolation=cv2.INTER_AREA) for c in crops])
    parts = shipped.read_parts(model.files[drawn_detector.PARTS_FILE]["sha256"])
    images = jnp.asarray(small, jnp.float32) / np.float32(255)
    with jax.default_matmul_precision("highest"):
        said = predict_action_units(networks(FOLDER, model), parts, images)
    return np.asarray(jax.nn.sigmoid(said.au_logits))


@pytest.mark.parametrize("runtime", ["opencv", "onnx"])
def test_half_precision_moves_faces_by_little(model, strangers, runtime):
    """docs/exports.md has what was measured of 288 of them."""
    if runtime == "onnx":
        pytest.importorskip("onnxruntime")
    found = Detector.load(FOLDER / drawn_detector.ONNX_FILE, runtime=runtime)(strangers)
    wanted = of_parts(model, strangers)
    assert np.ptp(wanted, axis=0).min() > 0.1  # they show different things
    moved = np.abs(found - wanted)
    assert moved.max() < 5e-3 and moved.mean() < 4e-4, (moved.max(), moved.mean())


def test_it_sees_a_smile(model):
    """Of a stranger who smiles and one who does not."""
    crops = np.stack([draw.frame(*PLACE, strengths).image for strengths in ({}, {12: 1.0, 6: 0.8})])
    found = Detector.load(FOLDER / drawn_detector.ONNX_FILE, runtime="opencv")(crops)
    smile = found[:, model.units.index(12)]
    assert smile[1] > 0.9 and smile[0] < 0.5, smile
