"""The loss of Encoder P's training against its formula in NumPy, in double precision."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoder_variants import variant

from piapdf_jax.batch import IdentityBatch
from piapdf_jax.models.encoder import encoder_apply
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.identity import IdentityStage

#: Deep enough for a branch that stochastic depth drops, so that the loss depends on the key.
MODEL = dataclasses.replace(MODELS["nano"], encoder=variant(depth=0.7), stochastic_depth=0.5)
STEPS = OptimizerConfig(steps=10, learning_rate=1e-3)
SIZE, PEOPLE = 32, 4
WHO = np.array([0, 1, 2, 3, 0, 1])
KEY = jax.random.key(7)


@functools.cache
def start():
    """Images, the encoder's vectors of them in float64, and a kernel of people.

    One person's direction is turned away from all vectors and one toward them: with a margin of 1
    the first is past pi - 1, where ArcFace's other formula holds.
    """
    stage = IdentityStage(MODEL, STEPS, SIZE, PEOPLE)
    state, _ = stage.init(jax.random.key(0), {})
    part = (state.params["encoder"], state.batch_stats["encoder"])
    images = np.random.default_rng(1).random((len(WHO), SIZE, SIZE, 3), dtype=np.float32)
    forward = jax.jit(functools.partial(encoder_apply, MODEL, mode="train"))
    vector = np.asarray(forward(part, jnp.asarray(images), key=KEY)[1], np.float64)
    middle = vector.mean(0) / np.linalg.norm(vector.mean(0))
    kernel = np.asarray(state.params["people"]["kernel"]).copy()
    kernel[:, 0] -= 2 * np.linalg.norm(kernel[:, 0]) * middle
    kernel[:, 1] += 1.5 * np.linalg.norm(kernel[:, 1]) * middle
    return images, vector, kernel


def first_loss(**settings):
    stage = IdentityStage(MODEL, STEPS, SIZE, PEOPLE, **settings)
    images, _, kernel = start()
    state, frozen = stage.init(jax.random.key(0), {})
    people = {"kernel": jnp.asarray(kernel)}
    state = state._replace(params={**state.params, "people": people})
    batch = IdentityBatch(jnp.asarray(images), jnp.asarray(WHO, jnp.int32))
    return stage.train_step(state, frozen, batch, KEY)[1]["loss"]


def cross_entropy(logits):
    """Mean of -log softmax at the true class."""
    logits = logits - logits.max(1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -logs[np.arange(len(WHO)), WHO].mean()


@pytest.mark.parametrize(
    ("settings", "margin", "scale"),
    [({}, 0.3, 16.0), ({"margin": 1.0, "scale": 10.0}, 1.0, 10.0)],
    ids=["by default", "of a wide margin"],
)
def test_first_loss_is_the_cross_entropy_of_arcface(settings, margin, scale):
    """Deng et al. (CVPR 2019), equation 3; past pi - margin, as in their code, linear."""
    _, vector, kernel = start()
    unit = vector / np.linalg.norm(vector, axis=1, keepdims=True)
    cosines = unit @ (kernel / np.linalg.norm(kernel, axis=0))
    logits = scale * cosines
    late = []
    for row, person in enumerate(WHO):
        angle = np.arccos(cosines[row, person])
        late.append(angle > np.pi - margin)
        shifted = np.cos(angle + margin)
        if late[-1]:
            shifted = np.cos(angle) - margin * np.sin(margin)
        logits[row, person] = scale * shifted
    assert any(late) == (margin == 1.0) and not all(late)
    np.testing.assert_allclose(first_loss(**settings), cross_entropy(logits), rtol=1e-4)


def test_first_loss_without_arcface_is_the_cross_entropy_of_plain_products():
    _, vector, kernel = start()
    loss = first_loss(arcface=False, margin=1.0, scale=10.0)
    np.testing.assert_allclose(loss, cross_entropy(vector @ kernel), rtol=1e-4)


def test_an_identity_vector_does_not_depend_on_the_other_pictures_of_its_batch():
    stage = IdentityStage(MODEL, STEPS, SIZE, PEOPLE)
    state, _ = stage.init(jax.random.key(0), {})
    exported, images = stage.export(state), jnp.asarray(start()[0])
    many, one = stage.predict(exported, images).vector, stage.predict(exported, images[:1]).vector
    np.testing.assert_allclose(many[:1], one, rtol=1e-4, atol=1e-5)
    assert np.abs(np.asarray(many[0] - many[1])).max() > 1e-6
