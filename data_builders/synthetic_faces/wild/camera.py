"""Simulates a camera: occluders, lens, motion blur, colors, resolution, JPEG."""

import cv2
import numpy as np

from data_builders.synthetic_faces.wild.circumstances import Camera


def record(
    image: np.ndarray, landmarks: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Records a picture.

    Args:
        image: [S, S, 3] uint8 RGB.
        landmarks: [68, 2] float32, pixels.
        camera: what happens to it.

    Returns:
        The picture, and the landmarks where the lens has put them.
    """
    size = image.shape[0]
    if camera.occluder:
        image = _behind(image, camera.occluder)
    if abs(camera.bend) > 1e-3:
        image, landmarks = _bent(image, landmarks, camera.bend)
    image = _developed(image, camera)
    if camera.motion[0]:
        image = _smeared(image, camera.motion[0] * size / 256, camera.motion[1])
    if camera.side < size:
        small = cv2.resize(image, (camera.side, camera.side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    if camera.quality < 100:
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, camera.quality])
        if not done:
            raise ValueError("OpenCV could not encode the picture")
        image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return image, landmarks.astype(np.float32)


def _behind(image, occluder) -> np.ndarray:
    x, y, radius_x, radius_y, degrees = occluder[:5]
    size = image.shape[0]
    mask = np.zeros(image.shape[:2], np.float32)
    axes = (round(radius_x * size), round(radius_y * size))
    cv2.ellipse(mask, (round(x * size), round(y * size)), axes, degrees, 0, 360, (1.0,), -1)
    mask = cv2.GaussianBlur(mask, (0, 0), size / 128)
    # Round, so that it is no flat patch.
    shade = 0.7 + 0.6 * cv2.GaussianBlur(mask, (0, 0), size / 20)
    flat = np.array(occluder[5:], np.float32) * shade[..., None]
    return np.clip(image * (1 - mask[..., None]) + flat * mask[..., None], 0, 255).astype(np.uint8)


def _bent(image, landmarks, bend) -> tuple[np.ndarray, np.ndarray]:
    """A picture seen through a lens whose r of the picture shows 1 + bend r^2 times r of the scene."""
    size = image.shape[0]
    middle = (size - 1) / 2
    x, y = np.meshgrid(*[np.arange(size, dtype=np.float32) - np.float32(middle)] * 2)
    factor = 1 + np.float32(bend) * (x * x + y * y) / np.float32(2 * middle**2)
    shown = cv2.remap(
        image, x * factor + np.float32(middle), y * factor + np.float32(middle), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    there = landmarks - middle
    seen = there
    for _ in range(4):  # r (1 + bend r^2) = there, by fixed-point iteration
        seen = there / (1 + bend * (seen**2).sum(-1, keepdims=True) / (2 * middle**2))
    return shown, seen + middle


def _developed(image, camera) -> np.ndarray:
    values = image.astype(np.float32) * (np.array(camera.gain, np.float32) / 255)
    gray = values @ np.array((0.299, 0.587, 0.114), np.float32)
    values = gray[..., None] + np.float32(camera.saturation) * (values - gray[..., None])
    values = np.clip(values, 0, 1) ** np.float32(camera.gamma)
    values = 0.5 + np.float32(camera.contrast) * (values - 0.5)
    return np.clip(255 * values + 0.5, 0, 255).astype(np.uint8)


def _smeared(image, length, degrees) -> np.ndarray:
    side = max(3, int(length) | 1)
    kernel = np.zeros((side, side), np.float32)
    kernel[side // 2] = 1
    turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), degrees, 1)
    kernel = cv2.warpAffine(kernel, turn, (side, side))
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
