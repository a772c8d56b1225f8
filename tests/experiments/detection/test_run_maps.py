"""Maps of PI Generator 1, found from the export of a detector through the exports that it was trained with."""

import jax
import light_model
import numpy as np
import pytest
from test_model_json import MODEL

from experiments.detection.maps import MapsError, load_maps
from piapdf_jax.model_json import to_json
from piapdf_jax.models.config import part_settings
from piapdf_jax.models.generator import generator_apply
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.runtime.exports import write_export

CONFIG, SIZE = MODELS["nano"], light_model.SIZE
KNOWN = (1, 2, 12)  # units of the generator's maps
DIGEST = "aaaaaaaaaaaaaaaa"


def write_generator(runs, *, flat):
    """Writes an export of PI stage 2; ``flat``: the maps' biases, -1, 0 and 2, are all that counts."""
    generator, stats = init_part(
        CONFIG, "generator", jax.random.key(3), image_size=SIZE, num_maps=len(KNOWN)
    )
    if flat:
        generator["maps"] = {
            "kernel": np.zeros_like(generator["maps"]["kernel"]),
            "bias": np.array([-1, 0, 2], np.float32),
        }
    mean, std = CONFIG.normalization
    told = MODEL._replace(
        training="pi2", digest=DIGEST, parts=("generator",), image_size=SIZE, mean=mean, std=std,
        model=part_settings(CONFIG, ("generator",)),
    )  # fmt: skip
    info = {"fingerprint": {"settings": {"maps": list(KNOWN)}}}
    exported = {"generator": (generator, stats)}
    write_export(runs, "pi2", DIGEST, exported, info, files={"model.json": to_json(told)})
    return generator, stats


def write_link(runs, training, digest, consumed):
    parts = {"part": ({"x": np.zeros(1, np.float32)}, {})}
    return write_export(runs, training, digest, parts, {"consumed": consumed})


def write_chain(runs):
    """The detector's export, whose training took another's, whose training took the generator's."""
    write_link(runs, "df", "b" * 16, {"pi2": DIGEST})
    return write_link(runs, "piapdf", "c" * 16, {"absent": "d" * 16, "df": "b" * 16})


def test_maps_are_those_of_the_units_in_their_order(tmp_path):
    write_generator(tmp_path, flat=True)
    maps = load_maps(write_chain(tmp_path), (12, 1))
    found = maps(np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8))
    assert found.shape == (2, SIZE, SIZE, 2) and found.dtype == np.float32
    # Odds of a map at rest are 1 to 19 (``pi_prior`` 0.05); a bias multiplies them by its exponential.
    odds = np.exp([2.0, -1.0]) / 19
    wanted = odds / (1 + odds)
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=1e-6)


def test_maps_are_of_the_picture(tmp_path):
    generator = write_generator(tmp_path, flat=False)
    maps = load_maps(write_chain(tmp_path), KNOWN)
    crops = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    crops = crops.repeat(4, 1).repeat(4, 2)  # their averages over blocks are whole numbers
    images = crops[:, ::4, ::4].astype(np.float32) / 255
    logits = jax.jit(lambda x: generator_apply(CONFIG, generator, x, mode="eval")[0])(images)
    wanted = 1 / (1 + np.exp(-np.asarray(logits)))
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(maps(crops), wanted, atol=1e-5)


def test_a_unit_without_a_map(tmp_path):
    write_generator(tmp_path, flat=True)
    with pytest.raises(MapsError, match="no map of AU06; it has those of AU01, AU02, AU12"):
        load_maps(write_chain(tmp_path), (12, 6))


def test_a_run_without_a_generator(tmp_path):
    with pytest.raises(MapsError, match=r"was trained without PI Generator 1"):
        load_maps(light_model.write(tmp_path), (12,))
    with pytest.raises(MapsError, match=rf"{DIGEST}, which .* was trained with, does not exist"):
        load_maps(write_chain(tmp_path), (12,))


@pytest.mark.parametrize("name", ["model.onnx", "."])
def test_an_onnx_file_has_no_maps(tmp_path, name):
    (tmp_path / "model.onnx").touch()
    with pytest.raises(MapsError, match="holds the detector alone; PI Generator 1 is an export of"):
        load_maps(tmp_path / name, (12,))
