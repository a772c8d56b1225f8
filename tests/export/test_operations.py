"""The list of operations, run by a small NumPy program and as one function of JAX, says what the networks say."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoder_variants import resnet_variant, variant
from lively_parts import lively_parts, pictures
from nightly import nightly
from numpy_operations import run, sigmoid

from piapdf_jax.export import operations
from piapdf_jax.export.encoder_operations import encoder_operations
from piapdf_jax.export.folded import folded_function
from piapdf_jax.export.light_detector import light_detector
from piapdf_jax.export.operations import count_parameters
from piapdf_jax.model_json import ModelError
from piapdf_jax.models import encoders
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.piap import init_part, predict_action_units
from piapdf_jax.models.presets import MODELS

NANO = MODELS["nano"]
UNITS = 5


CASES = {
    "nano": ({}, 32),
    "resized": ({}, 48),
    "enlarged": ({}, 20),
    "odd sides": ({"encoder_size": 37}, 37),
    "very small": ({"encoder_size": 16, "encoder": variant(rows=7)}, 16),
    "one pixel": ({"encoder_size": 16, "encoder": variant(rows=7, width=0.04)}, 16),
    "symmetric": ({"convention": "pytorch"}, 32),
    "symmetric and odd": ({"convention": "torchvision_large", "encoder_size": 27}, 27),
    "ported": ({"convention": "tensorflow_ported"}, 32),
    "deeper": ({"encoder": variant(depth=0.9, rows=4, features=None)}, 32),
    "resnet": ({"encoder": resnet_variant(2, 1, 1)}, 32),
    "resnet, resized to an odd side": ({"encoder": resnet_variant(1, 2), "encoder_size": 37}, 48),
    "another input": ({"mean": (0.1, 0.5, 0.9), "std": (0.3, 1.0, 0.2)}, 32),
}


AT_NIGHT = ("very small", "one pixel")


@pytest.mark.parametrize(
    "case", [*(case for case in CASES if case not in AT_NIGHT), *nightly(*AT_NIGHT)]
)
def test_the_list_says_what_the_networks_say(case):
    changes, size = CASES[case]
    config = dataclasses.replace(NANO, **changes)
    encoder, head = lively_parts(config, size, UNITS)
    images = pictures(3, size).astype(np.float32) / np.float32(255)
    said = predict_action_units(config, {"encoder": encoder, "head": head}, jnp.asarray(images))
    listed = light_detector(config, encoder, head, image_size=size)
    found = run(listed, images.astype(np.float64))
    wanted = sigmoid(np.asarray(said.au_logits, np.float64))
    assert np.ptp(wanted, axis=0).max() > 0.2
    # Seven rows down to one pixel, where channels that hardly vary enlarge rounding.
    tolerance = 5e-5 if case == "very small" else 5e-6
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)
    folded = jax.jit(folded_function(listed, input_type="float32"))(images)
    np.testing.assert_allclose(folded, found, rtol=0, atol=tolerance)
    assert folded.dtype == jnp.float32


@pytest.mark.parametrize("encoder", ["nano", resnet_variant(2, 1, 1)], ids=["nano", "resnet"])
def test_half_precision_and_bytes_of_one_function(encoder):
    config = dataclasses.replace(NANO, encoder=encoder)
    listed = light_detector(config, *lively_parts(config, 48, UNITS), image_size=48)
    frames = pictures(3, 48)
    wanted = run(listed, frames / 255.0)
    np.testing.assert_allclose(folded_function(listed)(frames), wanted, rtol=0, atol=5e-6)
    half = np.asarray(folded_function(listed, dtype="float16")(frames))
    assert half.dtype == np.float32
    # 11 bits of a mantissa, some ten layers deep; not the other type by mistake.
    assert 1e-5 < np.abs(half - wanted).max() < 2e-2


def test_a_block_of_equal_sides_and_channels_adds_its_input_even_at_stride_two():
    # At one pixel a stride of 2 keeps the side, and the network adds what it may add.
    config = dataclasses.replace(NANO, **CASES["one pixel"][0])
    listed = light_detector(config, *lively_parts(config, 16, UNITS), image_size=16)
    inside = [o for r in listed if isinstance(r, operations.Residual) for o in r.branch]
    assert any(isinstance(o, operations.Conv) and o.stride == 2 for o in inside)


@pytest.mark.parametrize("name", ["nano", "tiny", "b1", "resnet50"])
def test_parameters_are_those_of_encoder_and_head_alone(name):
    config = ModelConfig(encoder=name)
    encoder = init_part(config, "encoder", jax.random.key(0))
    head = init_part(config, "head", jax.random.key(1), num_aus=UNITS)
    leaves = jax.tree_util.tree_flatten_with_path((encoder[0], head[0]))[0]
    # A BatchNorm's scale goes into the kernel before it; its bias stays.
    wanted = sum(leaf.size for path, leaf in leaves if path[-1].key != "scale")
    listed = light_detector(config, encoder, head, image_size=256)
    assert count_parameters(listed) == wanted


def test_arithmetic_is_float32_whatever_the_training_took():
    half = dataclasses.replace(NANO, compute_dtype="bfloat16")
    parts = lively_parts(NANO, 32, UNITS)
    one, other = (light_detector(c, *parts, image_size=32) for c in (NANO, half))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", encoders._HOMES)
def test_every_encoder_with_a_name_of_ours_exports(name):
    made = encoders.make_encoder(name, encoders.EncoderSettings())
    default = encoder_operations.dispatch(object)
    assert encoder_operations.dispatch(type(made)) is not default


def test_an_encoder_without_operations_says_so():
    @dataclasses.dataclass(frozen=True)
    class Outside(encoders.FlaxEncoder):
        pass

    with pytest.raises(ModelError, match="encoder Outside cannot be exported"):
        encoder_operations(Outside(), ({}, {}), 32)
