"""The loss of PI stage 1 by value: weight of the maps' inside and Dice term as the stage is told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nightly import nightly

from piapdf_jax.batch import Batch
from piapdf_jax.models.generator import generator_apply
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.pi1_generator import PI1Stage

NANO, SIZE, MAPS = MODELS["nano"], 32, 5
STEPS = OptimizerConfig(steps=10, learning_rate=1e-2)
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("weight", "dice"), [(1.0, 0.0), *nightly((3.0, 0.0), (1.0, 0.5)), (2.0, 0.25)]
)
def test_the_loss_is_that_of_the_settings(weight, dice):
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.random((3, SIZE, SIZE, 3)), jnp.float32)
    planes = rng.integers(0, 2, (3, SIZE, SIZE, MAPS))
    packed = (planes << np.arange(MAPS)).sum(-1).astype(np.uint16)
    batch = Batch(image, jnp.zeros((3, 0)), jnp.asarray(packed), jnp.ones(3), jnp.arange(3))
    stage = PI1Stage(NANO, STEPS, image_size=SIZE, num_maps=MAPS, positive_weight=weight, dice=dice)
    state, frozen = stage.init(KEY, {})
    part = (state.params["generator"], state.batch_stats["generator"])
    logits, _ = generator_apply(NANO, part, image, mode="train")
    m, maps = 1 / (1 + np.exp(-np.asarray(logits, np.float64))), planes.astype(np.float64)
    expected = -np.mean(weight * maps * np.log(m) + (1 - maps) * np.log(1 - m))
    both, total = (m * maps).sum((1, 2)), (m + maps).sum((1, 2))
    expected += dice * np.mean(1 - (2 * both + 1) / (total + 1))
    _, metrics = stage.train_step(state, frozen, batch, KEY)
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-4)
