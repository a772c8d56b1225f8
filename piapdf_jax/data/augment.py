"""Joint augmentation of an image and its packed PI maps, numpy and OpenCV.

One draw is one similarity transform and one change of colour, so that image and maps stay in register. A flip
mirrors the maps and swaps nothing among the labels: an action unit is coded present on either side of the face.
"""

import dataclasses

import numpy as np


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

    flip: float = 0.5
    rotation: float = 8.0
    scale: float = 0.08
    shift: float = 0.06
    brightness: float = 0.15
    contrast: float = 0.25
    saturation: float = 0.25


def similarity(rng: np.random.Generator, config: AugmentConfig, size: int) -> np.ndarray:
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
    centre = np.full(2, (size - 1) / 2)
    return np.column_stack([turn, centre + shift - turn @ centre])


def warp(image: np.ndarray, packed: np.ndarray | None, matrix: np.ndarray):
    """Moves an image and its packed PI maps by one transform, the border repeated, maps empty outside.

    Args:
        image: [S, S, 3] uint8.
        packed: [S, S] uint16 bit planes, or None.
        matrix: [2, 3] from ``similarity``.

    Returns:
        The moved image and planes.
    """
    import cv2

    size = image.shape[1], image.shape[0]
    image = cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if packed is not None:
        # Bits of different planes must not blend, so the planes move by nearest neighbour.
        packed = cv2.warpAffine(packed, matrix, size, flags=cv2.INTER_NEAREST)
    return image, packed


def recolor(rng: np.random.Generator, config: AugmentConfig, image: np.ndarray) -> np.ndarray:
    """Changes saturation, contrast and brightness.

    Args:
        rng: numpy generator of this image.
        config: ranges.
        image: [S, S, 3] float32 in [0, 1].

    Returns:
        The changed image, clipped to [0, 1].
    """
    saturation = np.float32(1 + rng.uniform(-config.saturation, config.saturation))
    contrast = np.float32(1 + rng.uniform(-config.contrast, config.contrast))
    brightness = np.float32(rng.uniform(-config.brightness, config.brightness))
    gray = image.mean(-1, keepdims=True)
    image = gray + saturation * (image - gray)
    return np.clip((image - gray.mean()) * contrast + gray.mean() + brightness, 0, 1)
