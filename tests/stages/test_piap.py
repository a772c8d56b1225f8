"""L_PI of the stages that have it: its targets, soft or cut at 0.5, and its weight and Dice term."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nightly import nightly

from piapdf_jax.batch import Batch, Prediction
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.generator import generator_apply
from piapdf_jax.models.piap import init_part, network_apply
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackStage, _learner, _targets
from piapdf_jax.stages.piap import PIAPStage

NANO, SIZE, AUS, MAPS = MODELS["nano"], 32, 3, 5
STEPS = OptimizerConfig(steps=10, learning_rate=1e-2)
WEIGHTS = LossWeights(au=0.5, pi=0.5)
SIZES = {"image_size": SIZE, "num_maps": MAPS}
KEY = jax.random.key(0)


def batch():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.random((4, SIZE, SIZE, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 2, (4, AUS)), jnp.float32)
    maps = jnp.zeros((4, SIZE, SIZE), jnp.uint16)
    return Batch(image, labels, maps, jnp.ones(4), jnp.arange(4))


@pytest.fixture
def inputs():
    part = lambda name, seed, **more: init_part(NANO, name, jax.random.key(seed), **more)  # noqa: E731
    params, stats = part("generator", 2, **SIZES)
    # Its maps start at 5 %: here whole maps lie on either side of 0.5.
    params["maps"]["bias"] = jnp.linspace(0, 6, MAPS)
    piap = {
        "encoder": part("encoder", 0),
        "head": part("head", 1, num_aus=AUS),
        "decoder": part("decoder", 4, **SIZES),
    }
    return {"pi2": {"generator": (params, stats)}, "piap": piap}


def soft_maps(inputs):
    logits, _ = generator_apply(NANO, inputs["pi2"]["generator"], batch().image, mode="eval")
    soft = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    assert 0.1 < (soft >= 0.5).mean() < 0.9
    return soft


def l_pi(z, target, weight=1.0, dice=0.0):
    """L_PI in float64, as the paper and Milletari et al. print it."""
    m = 1 / (1 + np.exp(-z))
    cells = weight * target * np.log(m) + (1 - target) * np.log(1 - m)
    overlap = (2 * (m * target).sum((1, 2)) + 1) / (m.sum((1, 2)) + target.sum((1, 2)) + 1)
    return -cells.mean() + dice * (1 - overlap).mean()


@pytest.mark.parametrize("cut", [False, True])
def test_pi_loss_is_that_against_the_maps_of_the_setting(inputs, cut):
    stage = PIAPStage(
        NANO, STEPS, WEIGHTS, num_aus=AUS, init_from="piap", binarize=cut, **SIZES
    )  # fmt: skip
    state, frozen = stage.init(KEY, inputs)
    parts = {name: (state.params[name], state.batch_stats[name]) for name in state.params}
    prediction, _ = network_apply(NANO, parts, batch().image, mode="train", key=KEY)
    z, soft = np.asarray(prediction.pi_logits, np.float64), soft_maps(inputs)
    target = (soft >= 0.5).astype(np.float64) if cut else soft
    expected = l_pi(z, target)
    _, metrics = stage.train_step(state, frozen, batch(), KEY)
    np.testing.assert_allclose(metrics["pi_loss"], expected, rtol=1e-4)


@pytest.mark.parametrize("cut", [False, True])
def test_feedback_compares_with_the_maps_of_the_setting(inputs, cut):
    stage = FeedbackStage(
        NANO, STEPS, STEPS, WEIGHTS, num_aus=AUS, init_from="piap", binarize=cut, **SIZES
    )
    _, frozen = stage.init(KEY, inputs)
    found = _targets(stage, frozen, batch()).targets.pi_maps
    soft = soft_maps(inputs)
    np.testing.assert_allclose(found, soft >= 0.5 if cut else soft, atol=1e-5)


@pytest.mark.parametrize(("weight", "dice"), [*nightly((3.0, 0.0), (1.0, 0.5)), (2.0, 0.25)])
def test_maps_are_compared_with_the_weight_and_the_dice_term_of_the_setting(inputs, weight, dice):
    maps = {"positive_weight": weight, "dice": dice, "init_from": "piap", "num_aus": AUS, **SIZES}
    stage = PIAPStage(NANO, STEPS, WEIGHTS, **maps)
    state, frozen = stage.init(KEY, inputs)
    parts = {name: (state.params[name], state.batch_stats[name]) for name in state.params}
    prediction, _ = network_apply(NANO, parts, batch().image, mode="train", key=KEY)
    z, soft = np.asarray(prediction.pi_logits, np.float64), soft_maps(inputs)
    expected = l_pi(z, soft, weight, dice)
    assert abs(expected - l_pi(z, soft)) > 0.05
    _, metrics = stage.train_step(state, frozen, batch(), KEY)
    np.testing.assert_allclose(metrics["pi_loss"], expected, rtol=1e-4)
    # The whole L_PIAP of teacher and student, in which no label of an action unit is known.
    stage = FeedbackStage(NANO, STEPS, STEPS, WEIGHTS, **maps)
    told = Prediction(prediction.pi_logits, prediction.vector, jnp.zeros((4, AUS)))
    targets, labels = _targets(stage, frozen, batch()), jnp.zeros((4, AUS))
    found = _learner(stage).loss(told, targets, labels, labels > 0)
    np.testing.assert_allclose(found, 0.5 * expected, rtol=1e-4)
