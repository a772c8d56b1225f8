"""Landmark regression: its loss, what it exports, and the network that has learned nothing."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.batch import Batch
from piapdf_jax.losses import landmark_loss
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.landmarks import LandmarkStage

SIZE, FACES, CLASSES = 48, 4, 20
MODEL = MODELS["nano"]
STAGE = LandmarkStage(MODEL, OptimizerConfig(steps=60, learning_rate=1e-2), SIZE, CLASSES)


def faces() -> np.ndarray:
    rng = np.random.default_rng(1)
    points = rng.uniform(4, SIZE - 4, (FACES, 68, 2)).astype(np.float32)
    points[:, 36], points[:, 45] = (10, 15), (38, 17)
    return points


def batch() -> Batch:
    images = np.random.default_rng(2).uniform(0, 1, (FACES, SIZE, SIZE, 3)).astype(np.float32)
    blank, rows = np.zeros((FACES, 0), np.float32), np.arange(FACES, dtype=np.int32)
    return jax.tree.map(
        jnp.asarray, Batch(images, blank, None, np.ones(FACES, np.float32), rows, faces())
    )


def coordinates_of(points: np.ndarray) -> np.ndarray:
    """Of a point in the middle of the image (0, 0), of its first pixel's outer corner (-.5, -.5)."""
    return np.stack([[(x + 0.5) / SIZE - 0.5, (y + 0.5) / SIZE - 0.5] for x, y in points]).ravel()


def test_the_loss_is_the_error_in_units_of_the_eyes() -> None:
    rng, points = np.random.default_rng(0), faces()
    said = rng.normal(0, 0.3, (FACES, 136)).astype(np.float32)
    total = 0.0
    for face, numbers in zip(points, said, strict=True):
        eyes = np.hypot(*(face[36] - face[45]))
        for (x, y), (u, v) in zip(face, numbers.reshape(68, 2), strict=True):
            in_pixels = ((u + 0.5) * SIZE - 0.5, (v + 0.5) * SIZE - 0.5)
            total += ((in_pixels[0] - x) ** 2 + (in_pixels[1] - y) ** 2) / eyes**2
    found = landmark_loss(jnp.asarray(said), jnp.asarray(points), SIZE)
    np.testing.assert_allclose(found, total / (FACES * 136), rtol=1e-5)


def test_whoever_says_the_truth_has_no_loss() -> None:
    points = faces()
    said = jnp.asarray(np.stack([coordinates_of(face) for face in points]), jnp.float32)
    assert float(landmark_loss(said, jnp.asarray(points), SIZE)) < 1e-10
    # A face that is one pixel off everywhere, in units of eyes 28.07 px apart.
    moved = jnp.asarray(points + np.float32(1))
    np.testing.assert_allclose(landmark_loss(said, moved, SIZE), 1 / (28**2 + 2**2), rtol=1e-4)


def test_a_training_learns_every_part_and_exports_it() -> None:
    state, frozen = STAGE.init(jax.random.key(0), {})
    assert frozen == {}
    before = jax.tree.map(np.asarray, state.params)
    data, losses = batch(), []
    for step in range(60):
        state, metrics = STAGE.train_step(state, {}, data, jax.random.key(step))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.2 * losses[0]
    same = jax.tree.map(lambda a, b: bool((a == np.asarray(b)).all()), before, state.params)
    assert not any(jax.tree.leaves(same))
    exported = STAGE.export(state)
    assert set(exported) == {"encoder", "landmarks"}
    said = STAGE.vectors(exported, data.image)
    assert [x.shape for x in said] == [(FACES, CLASSES), (FACES, 32), (FACES, 136)]
    # The 136 are a linear function of the numbers before the last layer, and these of the pooled vector.
    layers = jax.tree.map(np.asarray, exported["landmarks"][0])
    for layer, given, made in (("classes", 1, 0), ("regression", 0, 2)):
        by_hand = np.asarray(said[given]) @ layers[layer]["kernel"] + layers[layer]["bias"]
        np.testing.assert_allclose(said[made], by_hand, rtol=1e-4, atol=1e-5)
    scores = STAGE.predict(exported, data.image)
    assert scores.au_probs is None
    np.testing.assert_array_equal(scores.vector, said.pooled)


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    state, _ = STAGE.init(jax.random.key(0), {})
    before = jax.tree.map(np.asarray, state.params)
    data = batch()._replace(landmarks=jnp.full((FACES, 68, 2), jnp.nan))
    state, metrics = STAGE.train_step(state, {}, data, jax.random.key(0))
    assert int(metrics["count_skipped"]) == 1
    chex.assert_trees_all_equal(before, state.params)


@pytest.mark.parametrize("pretrained", ["none", "/a/file/that/is/not/read"])
def test_an_untrained_network_has_the_statistics_of_images_and_random_weights(
    pretrained: str,
) -> None:
    model = dataclasses.replace(MODEL, pretrained=pretrained, pretrained_sha256="0" * 64)
    stage = dataclasses.replace(STAGE, model=model)
    rng = np.random.default_rng(5)
    images = [rng.uniform(0, s, (3, SIZE, SIZE, 3)).astype(np.float32) for s in (1, 0.4)]
    parts = stage.untrained(jax.random.key(3), [jnp.asarray(x) for x in images])
    params, stats = parts["encoder"]
    means, variances = [], []
    for batch_of in images:
        small = jax.image.resize(batch_of, (3, 32, 32, 3), "linear", antialias=True)
        stem = jax.lax.conv_general_dilated(
            (small - 0.5) / 0.25, params["stem"]["kernel"], (2, 2), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        means.append(np.asarray(stem).mean((0, 1, 2)))
        variances.append(np.asarray(stem).var((0, 1, 2)))
    np.testing.assert_allclose(stats["stem_norm"]["mean"], np.mean(means, 0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(stats["stem_norm"]["var"], np.mean(variances, 0), rtol=1e-3)
    other = stage.untrained(jax.random.key(4), [jnp.asarray(x) for x in images])["encoder"][0]
    assert not np.array_equal(params["stem"]["kernel"], other["stem"]["kernel"])
