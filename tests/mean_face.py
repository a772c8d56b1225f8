"""A frontal, neutral, mirror-symmetric face in the 256-pixel crop, for tests."""

import numpy as np

from piapdf_jax.pi_maps import MIRROR

_LEFT_HALF_AND_MIDLINE = {
    **dict(enumerate([(-87, -33), (-85, -11), (-82, 11), (-77.5, 33), (-70.5, 54), (-58.5, 73)])),
    **dict(enumerate([(-42.5, 89), (-23, 101), (0, 104.5)], 6)),
    **dict(enumerate([(-70.5, -54), (-60, -65.5), (-45, -70), (-29, -69), (-13.5, -63.5)], 17)),
    **dict(enumerate([(0, -41), (0, -26.5), (0, -12), (0, 3)], 27)),
    **dict(enumerate([(-17.5, 16), (-9, 19), (0, 21)], 31)),
    **dict(enumerate([(-54, -34.5), (-44.5, -40), (-33, -40), (-23, -33.5)], 36)),
    **dict(enumerate([(-33.5, -30.5), (-45, -30)], 40)),
    **dict(enumerate([(-33, 48), (-20.5, 41), (-9, 37.5), (0, 39.5)], 48)),
    **dict(enumerate([(0, 62), (-9.5, 61), (-21, 57), (-27.5, 48), (-9, 46), (0, 47)], 57)),
    66: (0, 50),
    67: (-9, 49),
}
#: The other half, counted the way the 68-point scheme runs: along each contour.
_RIGHT_HALF = {
    **{16 - i: i for i in range(8)},
    **{26 - k: 17 + k for k in range(5)},
    **{35: 31, 34: 32, 45: 36, 44: 37, 43: 38, 42: 39, 47: 40, 46: 41},
    **{54: 48, 53: 49, 52: 50, 55: 59, 56: 58, 64: 60, 63: 61, 65: 67},
}


def mean_face() -> np.ndarray:
    """[68, 2] float64, (x, y) in pixels of the crop."""
    points = dict(_LEFT_HALF_AND_MIDLINE)
    points |= {to: (-points[of][0], points[of][1]) for to, of in _RIGHT_HALF.items()}
    return np.array([points[i] for i in range(68)], np.float64) + 127.5


def random_face(rng: np.random.Generator) -> np.ndarray:
    """The mean face with a brow, mouth and head movement and a little noise: [68, 2] float64."""
    points = mean_face() - 127.5
    points[17:27, 1] -= rng.uniform(-6, 12)
    points[[48, 60], 0] -= rng.uniform(-4, 8)
    points[[54, 64], 0] += rng.uniform(-4, 8)
    points[[48, 54, 60, 64], 1] -= rng.uniform(-4, 6)
    opening = rng.uniform(0, 20)
    points[55:60, 1] += opening
    points[65:68, 1] += opening
    points[4:13, 1] += opening / 2
    points[:, 0] = points[:, 0] * rng.uniform(0.85, 1.05) + rng.uniform(-0.1, 0.1) * points[:, 1]
    return points + 127.5 + rng.normal(0, 0.5, points.shape)


def mirror_landmarks(landmarks: np.ndarray, *, size: int = 256) -> np.ndarray:
    """Landmarks of the picture mirrored left to right.

    Args:
        landmarks: [..., 68, 2] float, (x, y) in pixels, pixel centers at whole numbers.
        size: width of the picture in pixels.

    Returns:
        [..., 68, 2] of the same dtype, in the 68-point order of the mirrored picture.
    """
    mirrored = landmarks[..., MIRROR, :].copy()
    mirrored[..., 0] = size - 1 - mirrored[..., 0]
    return mirrored
