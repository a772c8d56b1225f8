"""Normalization of 68 landmarks for learning and comparison; works on arrays of NumPy and of JAX."""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax

#: NumPy's arrays or JAX's.
Array = TypeVar("Array", np.ndarray, "jax.Array")

#: Landmarks of the 68-point scheme at the outer corners of the eyes, image-left and image-right.
OUTER_EYE_CORNERS = (36, 45)
#: Numbers of a face's landmarks.
COORDINATES = 136


def outer_eye_distance(landmarks: Array) -> Array:
    """Computes the distance of the outer eye corners, by which errors of landmarks are normalized.

    Args:
        landmarks: [..., 68, 2] floats, (x, y) in pixels.

    Returns:
        [...] pixels, at least 1.
    """
    left, right = (landmarks[..., corner, :] for corner in OUTER_EYE_CORNERS)
    distance: Any = ((left - right) ** 2).sum(-1) ** 0.5
    return distance.clip(1)


def landmark_vector(landmarks: Array) -> Array:
    """Computes the shape of a face as numbers: ``(landmarks - c) / d``, flattened.

    c is the point midway between the outer eye corners and d their distance, so neither place nor size of the face
    counts.

    Args:
        landmarks: [..., 68, 2] floats, (x, y) in pixels.

    Returns:
        [..., 136], x and y of each landmark in turn.
    """
    left, right = (landmarks[..., corner, :] for corner in OUTER_EYE_CORNERS)
    middle = ((left + right) / 2)[..., None, :]
    shape = (landmarks - middle) / outer_eye_distance(landmarks)[..., None, None]
    return shape.reshape(*shape.shape[:-2], COORDINATES)


def orthonormal_map(features: int, seed: int) -> np.ndarray:
    """Draws a fixed linear map from 136 numbers to F that keeps angles as far as F allows.

    Args:
        features: F.
        seed: of the draw.

    Returns:
        [136, F] float32 of orthonormal rows, or columns where F is below 136.
    """
    rng = np.random.default_rng([seed, features])
    size = (max(features, COORDINATES), min(features, COORDINATES))
    basis, triangle = np.linalg.qr(rng.normal(size=size))
    # Of the two signs that QR leaves open, the one that makes the draw uniform (Mezzadri, 2007).
    basis = basis * np.sign(np.diag(triangle))
    return (basis.T if features >= COORDINATES else basis).astype(np.float32)
