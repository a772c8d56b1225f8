"""LP: AU vectors orthogonal to the shape of the face, P being landmarks less their mean, carried to F numbers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.batch import Batch
from piapdf_jax.landmarks import orthonormal_map
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.encoder import encoder_apply
from piapdf_jax.models.piap import init_part, network_apply
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.piap import PIAPStage
from piapdf_jax.stages.targets import frozen_targets, person_vector

NANO, SIZE, AUS, COUNT = MODELS["nano"], 32, 3, 4
KEY = jax.random.key(0)


def faces(seed, count=COUNT):
    """Points anywhere, but for outer eye corners a third of the picture apart."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, SIZE, (count, 68, 2))
    points[:, 45] = points[:, 36] + rng.uniform(SIZE / 3, SIZE / 2, (count, 2))
    return points.astype(np.float32)


TRAINING_FACES = faces(1, 9)


def stage(person="landmarks", **more):
    return PIAPStage(
        NANO,
        OptimizerConfig(steps=10, learning_rate=1e-2),
        LossWeights(au=0.6, ap=0.4),
        image_size=SIZE,
        num_aus=AUS,
        num_maps=0,
        person=person,
        landmarks=lambda: TRAINING_FACES,
        **more,
    )


def batch(landmarks):
    rng = np.random.default_rng(2)
    image = jnp.asarray(rng.random((COUNT, SIZE, SIZE, 3)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 2, (COUNT, AUS)), jnp.float32)
    points = None if landmarks is None else jnp.asarray(landmarks)
    return Batch(image, labels, None, jnp.ones(COUNT), jnp.arange(COUNT), points)


def shape_by_hand(points):
    """136 numbers of one face, a loop over its points in float64."""
    points = points.astype(np.float64)
    (ax, ay), (bx, by) = points[36], points[45]
    width = np.sqrt((ax - bx) ** 2 + (ay - by) ** 2)
    return (
        np.array(
            [number for x, y in points for number in ((x - (ax + bx) / 2), (y - (ay + by) / 2))]
        )
        / width
    )


def p_by_hand(points, features, seed=0):
    mean = sum(shape_by_hand(face) for face in TRAINING_FACES) / len(TRAINING_FACES)
    fixed = orthonormal_map(features, seed).astype(np.float64)
    return np.array([(shape_by_hand(face) - mean) @ fixed for face in points])


def targets(made, points):
    _, frozen = made.init(KEY, {})
    seen = batch(points)
    return frozen_targets(NANO, frozen, seen.image, seen.labels, landmarks=seen.landmarks).identity


def test_p_is_the_shape_less_that_of_the_training_frames_mapped():
    points = faces(3)
    found = np.asarray(targets(stage(), points))
    wanted = p_by_hand(points, found.shape[1])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    # Place and size of the face in the view do not count, what turns it does.
    moved = (0.5 * points + np.float32([3, -2])).astype(np.float32)
    np.testing.assert_allclose(targets(stage(), moved), found, rtol=1e-3, atol=1e-3)
    turned = points @ np.float32([[0.8, 0.6], [-0.6, 0.8]])
    assert np.abs(targets(stage(), turned) - found).max() > 0.1
    other = np.asarray(targets(stage(map_seed=1), points))
    np.testing.assert_allclose(other, p_by_hand(points, found.shape[1], 1), rtol=1e-4, atol=1e-4)
    assert np.abs(other - found).max() > 0.1


def test_without_the_mean_all_faces_point_the_same_way():
    """The reason for the mean: shapes of faces are alike, what is told by them is the little that differs."""
    rng = np.random.default_rng(4)
    face = np.column_stack([np.linspace(20, 80, 68), 50 + 25 * np.sin(np.arange(68))])
    face[36], face[45] = (35, 40), (65, 40)
    people = [shape_by_hand(face + rng.normal(0, 1.5, (68, 2))) for _ in range(30)]

    def largest(vectors):
        units = np.array([vector / np.linalg.norm(vector) for vector in vectors])
        cosines = np.abs(units @ units.T)[np.triu_indices(len(units), 1)]
        return cosines.min(), np.median(cosines)

    assert largest(people)[0] > 0.9
    assert largest(people - np.mean(people, axis=0))[1] < 0.4


def test_the_loss_of_a_step_is_that_of_angles_by_hand():
    made, points = stage(), faces(5)
    state, frozen = made.init(KEY, {})
    parts = {name: (state.params[name], state.batch_stats[name]) for name in state.params}
    seen = batch(points)
    prediction, _ = network_apply(NANO, parts, seen.image, mode="train", key=KEY)
    p = np.asarray(prediction.vector, np.float64)
    q = p_by_hand(points, p.shape[1])
    cosines = [
        abs(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in zip(p, q, strict=True)
    ]
    wanted = -np.mean(np.log(1 - np.array(cosines)))
    assert wanted > 1e-3
    _, metrics = made.train_step(state, frozen, seen, KEY)
    np.testing.assert_allclose(metrics["ap_loss"], wanted, rtol=1e-3)
    np.testing.assert_allclose(
        metrics["loss"], 0.6 * metrics["au_loss"] + 0.4 * metrics["ap_loss"], rtol=1e-6
    )


def test_a_network_that_finds_landmarks_gives_its_pooled_vector():
    encoder = init_part(NANO, "encoder", jax.random.key(7))
    state, frozen = stage("landmark_network").init(KEY, {"landmarks": {"encoder": encoder}})
    seen = batch(None)
    found = person_vector(NANO, frozen, seen.image, None)
    np.testing.assert_array_equal(found, encoder_apply(NANO, encoder, seen.image, mode="eval")[1])
    _, metrics = stage("landmark_network").train_step(state, frozen, seen, KEY)
    assert np.isfinite(metrics["ap_loss"]) and metrics["count_skipped"] == 0


def test_what_p_is_made_with_gets_no_gradient_and_is_no_part_of_the_export():
    made = stage()
    state, frozen = made.init(KEY, {})
    seen = batch(faces(6))

    def total(frozen):
        found = frozen_targets(NANO, frozen, seen.image, seen.labels, landmarks=seen.landmarks)
        return jnp.sum(found.identity)

    assert all(not np.any(leaf) for leaf in jax.tree.leaves(jax.grad(total)(frozen)))
    assert np.any(targets(made, faces(6)))
    assert set(made.export(state)) == {"encoder", "head"}


def test_missing_landmarks_are_told():
    made = stage()
    _, frozen = made.init(KEY, {})
    seen = batch(None)
    with pytest.raises(ValueError, match="P is computed from landmarks, but the batch has none"):
        frozen_targets(NANO, frozen, seen.image, seen.labels)
    with pytest.raises(ValueError, match="needs the landmarks of the training frames"):
        dataclasses.replace(made, landmarks=None).init(KEY, {})
