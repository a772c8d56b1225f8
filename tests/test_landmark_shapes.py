"""Landmarks as numbers: place and size of the face do not count, and a map that keeps angles."""

import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.landmarks import landmark_vector, orthonormal_map, outer_eye_distance


def face() -> np.ndarray:
    points = np.random.default_rng(0).uniform(20, 230, (2, 68, 2)).astype(np.float32)
    points[0, 36], points[0, 45] = (100, 90), (160, 170)
    points[1, 36], points[1, 45] = (0, 0), (0.3, 0.4)
    return points


def test_distance_of_the_outer_eye_corners() -> None:
    """Of (100, 90) and (160, 170): 100; half a pixel counts as one."""
    for points in (face(), jnp.asarray(face())):
        np.testing.assert_allclose(outer_eye_distance(points), [100, 1], rtol=1e-6)


def test_the_vector_is_that_of_a_face_moved_and_enlarged() -> None:
    points = face()[:1]
    vector = np.asarray(landmark_vector(jnp.asarray(points)))
    by_hand = ((points[0] - (130, 130)) / 100).ravel()
    np.testing.assert_allclose(vector[0], by_hand, rtol=1e-5, atol=1e-6)
    moved = landmark_vector(2.5 * points.astype(np.float64) + (7, -40))
    np.testing.assert_allclose(moved, vector, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(vector.reshape(68, 2)[36] + vector.reshape(68, 2)[45], 0, atol=1e-6)


@pytest.mark.parametrize("features", [8, 136, 1280])
def test_the_map_keeps_angles(features: int) -> None:
    matrix = orthonormal_map(features, seed=3).astype(np.float64)
    assert matrix.shape == (136, features)
    gram = matrix @ matrix.T if features >= 136 else matrix.T @ matrix
    np.testing.assert_allclose(gram, np.eye(min(features, 136)), atol=1e-6)
    np.testing.assert_array_equal(matrix, orthonormal_map(features, seed=3))
    assert np.abs(matrix - orthonormal_map(features, seed=4)).max() > 0.1
