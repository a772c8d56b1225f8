"""Which sizes decide a part: those that change its start values or its computation, and no other."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoder_variants import variant

from piapdf_jax.models.config import PART_FIELDS, ModelConfig, part_settings
from piapdf_jax.models.decoder import decoder_apply, init_decoder
from piapdf_jax.models.encoder import encoder_apply, init_encoder
from piapdf_jax.models.generator import generator_apply, init_generator
from piapdf_jax.models.heads import head_apply, init_head
from piapdf_jax.models.presets import MODELS

#: As deep as it takes for a block to have a branch that can be dropped.
BASE = dataclasses.replace(
    MODELS["nano"], encoder=variant(depth=2.0), bn_momentum=None, stochastic_depth=0.1
)
OTHER = {
    "encoder": variant(width=0.5),
    "encoder_size": 48,
    "dropout": 0.4,
    "stochastic_depth": 0.3,
    "convention": "pytorch",
    "bn_momentum": 0.7,
    "unet_widths": (8, 16),
    "unet_blocks": 2,
    "unet_stem_stride": 1,
    "decoder_widths": (8, 16),
    "decoder_stride": 1,
    "pi_prior": 0.3,
    "mean": (0.4, 0.4, 0.4),
    "std": (0.3, 0.3, 0.3),
    "compute_dtype": "bfloat16",
}
#: Looked up before any part is made: the file's hash stands for it, where an encoder starts from it.
FILE = {"pretrained", "pretrained_sha256"}
KEY, SIZE = jax.random.key(0), 32


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


PARTS = {
    "generator": (
        lambda c: init_generator(c, KEY, image_size=SIZE, num_maps=3),
        lambda c, part, x: generator_apply(c, part, x, mode="train"),
        shape(2, SIZE, SIZE, 3),
    ),
    "encoder": (
        lambda c: init_encoder(c, KEY),
        lambda c, part, x: encoder_apply(c, part, x, mode="train", key=KEY),
        shape(2, SIZE, SIZE, 3),
    ),
    "head": (
        lambda c: init_head(c, KEY, features=32, num_aus=3),
        lambda c, part, x: head_apply(c, part, x, mode="train", key=KEY),
        shape(2, 32),
    ),
    "decoder": (
        lambda c: init_decoder(c, KEY, feature_shape=(4, 4, 32), image_size=SIZE, num_maps=3),
        lambda c, part, x: decoder_apply(c, part, x, image_size=SIZE, mode="train"),
        shape(2, 4, 4, 32),
    ),
}


def seen(config, name):
    """Start values of a part, its computation as text, and the numbers in it."""
    init, apply, inputs = PARTS[name]
    part = init(config)
    values = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(part)]
    with jax.numpy_dtype_promotion("standard"):
        made = jax.make_jaxpr(lambda p, x: apply(config, p, x))(part, inputs)
    return values, str(made), [str(value) for value in made.consts]


@pytest.mark.parametrize("name", PARTS)
def test_the_listed_sizes_decide_a_part_and_no_other(name):
    fields = {field.name for field in dataclasses.fields(ModelConfig)} - FILE
    assert fields == OTHER.keys()
    before = seen(BASE, name)
    decides = {
        field for field in fields
        if seen(dataclasses.replace(BASE, **{field: OTHER[field]}), name) != before
    }  # fmt: skip
    assert decides == set(PART_FIELDS[name]) - FILE


def test_settings_are_those_of_the_parts():
    told = part_settings(BASE, ("head", "decoder"))
    assert told["dropout"] == 0.1 and told["decoder_stride"] == 2 and "unet_blocks" not in told
    assert part_settings(BASE, None).keys() == {f.name for f in dataclasses.fields(ModelConfig)} - {
        "pretrained"
    }
