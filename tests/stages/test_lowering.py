"""Train steps lower for CUDA and TPU from a machine that has neither: small networks, nightly those of full size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import config as configs
from piapdf_jax.batch import Batch, FeedbackBatch, IdentityBatch
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.config import ModelConfig
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackStage
from piapdf_jax.stages.identity import IdentityStage
from piapdf_jax.stages.pi1_generator import PI1Stage
from piapdf_jax.stages.pi2_refine import PI2Stage
from piapdf_jax.stages.piap import PIAPStage

#: Networks and the side of their images.
FULL_SIZE = (configs.load("bp4d_fold1", ["model.pretrained=none"]).model, 256)
NANO = (MODELS["nano"], 32)
BATCH, AUS = 2, 12
STEPS = OptimizerConfig(steps=100, learning_rate=1e-3)
WEIGHTS = LossWeights(au=0.5, pi=0.45, ap=0.05)
KEY = jax.random.key(0)
NIGHTLY = pytest.mark.nightly


def batch(size: int) -> Batch:
    image = jnp.zeros((BATCH, size, size, 3))
    labels, maps = jnp.zeros((BATCH, AUS)), jnp.zeros((BATCH, size, size), jnp.uint16)
    return Batch(image, labels, maps, jnp.ones(BATCH), jnp.zeros(BATCH, jnp.int32))


def given(model: ModelConfig, size: int) -> dict:
    """What the trainings before hand on."""
    part = lambda name, **more: init_part(model, name, KEY, image_size=size, **more)  # noqa: E731
    encoder, decoder = part("encoder"), part("decoder", num_maps=AUS)
    generator, head = part("generator", num_maps=AUS), part("head", num_aus=AUS)
    return {
        "pi1": {"generator": generator},
        "pi2": {"generator": generator},
        "identity": {"encoder": encoder},
        "piap": {"encoder": encoder, "head": head, "decoder": decoder},
    }


def stages(model: ModelConfig, size: int) -> dict:
    sizes = {"image_size": size, "num_maps": AUS}
    feedback = FeedbackStage(
        model, STEPS, STEPS, WEIGHTS, num_aus=AUS, init_from="piap", compile="whole", **sizes
    )
    data = batch(size)
    identity = IdentityStage(model, STEPS, image_size=size, num_identities=10_575)
    return {
        "pi1": (PI1Stage(model, STEPS, **sizes), data),
        "pi2": (PI2Stage(model, STEPS, num_aus=AUS, **sizes), data),
        "identity": (identity, IdentityBatch(data.image, jnp.zeros(BATCH, jnp.int32))),
        "piap": (PIAPStage(model, STEPS, WEIGHTS, num_aus=AUS, **sizes), data),
        "piapdf": (feedback, FeedbackBatch(data, data)),
    }


@pytest.mark.parametrize(
    "networks", [pytest.param(NANO, id="nano"), pytest.param(FULL_SIZE, id="b1", marks=NIGHTLY)]
)
@pytest.mark.parametrize("name", ["pi1", "pi2", "identity", "piap", "piapdf"])
def test_step_lowers_for_cuda_and_tpu(name, networks):
    stage, data = stages(*networks)[name]
    state, frozen = stage.init(KEY, given(*networks))
    step = jax.jit(lambda state, frozen, data, key: stage.train_step(state, frozen, data, key))
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), (state, frozen, data, KEY)
    )
    exported = jax.export.export(step, platforms=["cuda", "tpu"])(*shapes)
    assert exported.platforms == ("cuda", "tpu")
    leaves = len(jax.tree.leaves(state))
    assert [a.shape for a in exported.out_avals[:leaves]] == [
        x.shape for x in jax.tree.leaves(state)
    ]
