"""Joint augmentation of an image, its packed PI maps and its landmarks, numpy and OpenCV.

One draw is one similarity transform and one change of color, so that image, maps and landmarks stay in register. A
flip mirrors the maps, renames the landmarks and swaps nothing among the labels: an action unit is coded present on
either side of the face.
"""

import dataclasses
from typing import Annotated

import numpy as np

from piapdf_jax.pi_maps import MIRROR
from piapdf_jax.ranges import Chance, Range, Share


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the random draw; every range is symmetric about "no change".

    Attributes:
        flip: probability of mirroring left and right.
        rotation: degrees.
        scale: relative change of size.
        shift: fraction of the side.
        brightness: added to a [0, 1] image.
        contrast: relative change about the mean.
        saturation: relative change about the gray image.
    """

    flip: Share = 0.5
    rotation: Annotated[float, Range(0, 180)] = 8.0
    scale: Chance = 0.08
    shift: Share = 0.06
    brightness: Share = 0.15
    contrast: Share = 0.25
    saturation: Share = 0.25


def sample_affine(rng: np.random.Generator, config: AugmentConfig, size: int) -> np.ndarray:
    """Draws the transform from source pixels to augmented pixels.

    Args:
        rng: numpy generator of this image.
        config: ranges.
        size: side of source and result, pixels.

    Returns:
        [2, 3] float64, as ``cv2.warpAffine`` takes it.
    """
    angle = np.deg2rad(rng.uniform(-config.rotation, config.rotation))
    zoom = 1.0 + rng.uniform(-config.scale, config.scale)
    shift = rng.uniform(-config.shift, config.shift, 2) * size
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    if rng.uniform() < config.flip:
        turn = turn @ np.array([[-1.0, 0.0], [0.0, 1.0]])
    center = np.full(2, (size - 1) / 2)
    return np.column_stack([turn, center + shift - turn @ center])


def warp(image: np.ndarray, packed: np.ndarray | None, matrix: np.ndarray):
    """Moves an image and its packed PI maps by one transform, the border repeated, maps empty outside.

    Args:
        image: [S, S, 3] uint8.
        packed: [S, S] uint16 bit planes, or None.
        matrix: [2, 3] from ``sample_affine``.

    Returns:
        The moved image and planes.
    """
    import cv2

    size = image.shape[1], image.shape[0]
    image = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if packed is not None:
        # Bits of different planes must not blend, so the planes move by nearest neighbor.
        packed = cv2.warpAffine(packed, matrix, size, flags=cv2.INTER_NEAREST)
    return image, packed


def warp_landmarks(landmarks: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Moves landmarks as ``warp`` moves their image; after a flip they stand in the order of the mirrored face.

    Args:
        landmarks: [68, 2] float, (x, y) in pixels, pixel centers at whole numbers.
        matrix: [2, 3] from ``sample_affine``.

    Returns:
        [68, 2] of the same dtype.
    """
    if np.linalg.det(matrix[:, :2]) < 0:
        landmarks = landmarks[MIRROR]
    return (landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(landmarks.dtype)


def color_jitter(rng: np.random.Generator, config: AugmentConfig, image: np.ndarray) -> np.ndarray:
    """Changes saturation, contrast and brightness, all at once.

    With gray g(x) the mean of a pixel's channels and m the mean of g, the new color is
    m + c (g + s (I - g) - m) + b = c s I + c (1 - s) g + (1 - c) m + b, affine in the old one.

    Args:
        rng: numpy generator of this image.
        config: ranges.
        image: [S, S, 3] uint8.

    Returns:
        The changed image, uint8, rounded and clipped to [0, 255].
    """
    import cv2

    saturation = 1 + rng.uniform(-config.saturation, config.saturation)
    contrast = 1 + rng.uniform(-config.contrast, config.contrast)
    brightness = 255 * rng.uniform(-config.brightness, config.brightness)
    mean = np.mean(cv2.mean(image)[:3])
    colors = contrast * (saturation * np.eye(3) + (1 - saturation) / 3)
    offset = np.full(3, (1 - contrast) * mean + brightness)
    return cv2.transform(image, np.column_stack([colors, offset]))
