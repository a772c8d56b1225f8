"""Every full-size train step lowers for CUDA and TPU from a machine that has neither."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import config as configs
from piapdf_jax.batch import Batch, FeedbackBatch, IdentityBatch
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.piap import init_part
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackStage
from piapdf_jax.stages.identity import IdentityStage
from piapdf_jax.stages.pi1_generator import PI1Stage
from piapdf_jax.stages.pi2_refine import PI2Stage
from piapdf_jax.stages.piap import PIAPStage

MODEL = configs.load("bp4d_fold1", ["model.pretrained=none"]).model
SIZE, BATCH, AUS = 256, 2, 12
STEPS = OptimizerConfig(steps=100, learning_rate=1e-3)
WEIGHTS = LossWeights(au=0.5, pi=0.45, ap=0.05)
KEY = jax.random.key(0)


def batch() -> Batch:
    image = jnp.zeros((BATCH, SIZE, SIZE, 3))
    labels, maps = jnp.zeros((BATCH, AUS)), jnp.zeros((BATCH, SIZE, SIZE), jnp.uint16)
    return Batch(image, labels, maps, jnp.ones(BATCH), jnp.zeros(BATCH, jnp.int32))


def given() -> dict:
    """What the trainings before hand on, at full size."""
    part = lambda name, **more: init_part(MODEL, name, KEY, image_size=SIZE, **more)  # noqa: E731
    encoder, decoder = part("encoder"), part("decoder", num_maps=AUS)
    generator, head = part("generator", num_maps=AUS), part("head", num_aus=AUS)
    return {
        "pi1": {"generator": generator},
        "pi2": {"generator": generator},
        "identity": {"encoder": encoder},
        "piap": {"encoder": encoder, "head": head, "decoder": decoder},
    }


def stages() -> dict:
    sizes = {"image_size": SIZE, "num_maps": AUS}
    feedback = FeedbackStage(
        MODEL, STEPS, STEPS, WEIGHTS, num_aus=AUS, init_from="piap", compile="whole", **sizes
    )
    identities = IdentityBatch(batch().image, jnp.zeros(BATCH, jnp.int32))
    return {
        "pi1": (PI1Stage(MODEL, STEPS, **sizes), batch()),
        "pi2": (PI2Stage(MODEL, STEPS, num_aus=AUS, **sizes), batch()),
        "identity": (
            IdentityStage(MODEL, STEPS, image_size=SIZE, num_identities=10_575),
            identities,
        ),
        "piap": (PIAPStage(MODEL, STEPS, WEIGHTS, num_aus=AUS, **sizes), batch()),
        "piapdf": (feedback, FeedbackBatch(batch(), batch())),
    }


@pytest.mark.parametrize("name", ["pi1", "pi2", "identity", "piap", "piapdf"])
def test_full_size_step_lowers_for_cuda_and_tpu(name):
    stage, data = stages()[name]
    state, frozen = stage.init(KEY, given())
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
