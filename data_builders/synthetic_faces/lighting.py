"""Light on the head: sun and sky on the relief, cast shadows, the dark of hollows and creases, gloss."""

import cv2
import numpy as np

from data_builders.synthetic_faces import geometry
from data_builders.synthetic_faces.scene import Scene


def toward(scene: Scene) -> np.ndarray:
    """Returns direction [3] of the key light in head axes."""
    return geometry.rotation(scene.yaw, scene.pitch, scene.roll).T @ np.array(
        scene.light, np.float32
    )


def light(
    canvas: geometry.Canvas,
    coarse: np.ndarray,
    crease: np.ndarray,
    face: np.ndarray,
    hair: np.ndarray,
    scene: Scene,
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the light that each point of the head receives.

    Broad forms are lit at half resolution; the creases, which are finer, at full.

    Args:
        canvas: the drawing.
        coarse: [H / 2, W / 2] relief, head units.
        crease: [H, W] depth of the lines in the skin.
        face: [H, W] coverage of the face.
        hair: [H, W] coverage of the hair before it.
        scene: the picture's circumstances.

    Returns:
        Light [H, W, 3] and gloss [H, W], float32.
    """
    size = (canvas.width, canvas.height)
    direction = toward(scene).astype(np.float32)
    small_face, small_hair = face[::2, ::2], hair[::2, ::2]
    height = coarse * np.float32(canvas.scale / 2)
    cv2.scaleAdd(small_hair, 1.5, height, height)
    cv2.scaleAdd(cv2.GaussianBlur(crease[::2, ::2], (0, 0), 1.6), 0.9, height, height)
    gx = np.clip(cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8), -1.8, 1.8)
    gy = np.clip(cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8), -1.8, 1.8)
    length = 1 / np.sqrt(1 + gx * gx + gy * gy)
    open_sky, clear = _openness(coarse), 1 - _shadow(coarse, direction, canvas.scale / 2)
    # The chin's shade on the neck.
    below = cv2.resize(cv2.GaussianBlur(small_face[::2, ::2], (0, 0), 2.2), size[::1])[::2, ::2]
    under = 1 - 0.75 * np.roll(below, 7, axis=0) * (1 - small_face)
    facing = (direction[2] - gx * direction[0] - gy * direction[1]) * length
    key = (
        np.maximum((facing + 0.22) / 1.22, 0)
        * (0.28 + 0.72 * clear)
        * under
        * (0.45 + 0.55 * open_sky)
    )
    sky = (0.78 - 0.22 * gy * length) * open_sky * under
    colors = zip(scene.ambient, scene.key, strict=True)
    planes = [sky * np.float32(a) + key * np.float32(k) for a, k in colors]
    # Light wanders under the skin, red the farthest.
    planes[0] = cv2.addWeighted(planes[0], 0.5, cv2.GaussianBlur(planes[0], (0, 0), 1.2), 0.5, 0)
    lit = cv2.resize(cv2.merge(planes), size, interpolation=cv2.INTER_LINEAR)
    lit *= cv2.merge([_grooves(crease, direction, scene)] * 3)
    gloss = _gloss(gx, gy, length, direction) * clear * open_sky * small_face * (1 - small_hair)
    return lit, cv2.resize(gloss, size, interpolation=cv2.INTER_LINEAR)


def _grooves(crease, direction, scene) -> np.ndarray:
    """Factor [H, W] on the light in and beside a crease: a dark floor, one wall lit and one in shade."""
    hard = float(np.mean(scene.key)) / float(np.mean(scene.key) + np.mean(scene.ambient))
    x, y = 0.9 * hard * direction[0], 0.9 * hard * direction[1]
    walls = np.array([[-x - y, -2 * y, x - y], [-2 * x, 0, 2 * x], [-x + y, 2 * y, x + y]]) / 4
    slope = cv2.filter2D(crease, cv2.CV_32F, walls.astype(np.float32))
    return np.clip(1 - 0.46 * np.minimum(crease, 1.15) - slope, 0.2, 1.6)


def _gloss(gx, gy, length, direction) -> np.ndarray:
    half = direction + np.array((0, 0, 1), np.float32)
    half /= np.linalg.norm(half)
    gloss = np.maximum((half[2] - gx * half[0] - gy * half[1]) * length, 0)
    for _ in range(4):  # to the 16th power
        gloss *= gloss
    return gloss


def _shadow(coarse, direction, scale) -> np.ndarray:
    """Cast shadow 0..1 at half resolution: higher ground on the way to the light."""
    across = float(np.hypot(direction[0], direction[1])) + 1e-6
    rise = float(direction[2]) / across
    found = np.zeros_like(coarse)
    for distance in (4, 8, 13, 20, 30):
        dx, dy = distance * direction[0] / across, distance * direction[1] / across
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        moved = cv2.warpAffine(
            coarse, move, coarse.shape[::-1], flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        np.maximum(found, moved - coarse - np.float32(distance / scale * rise), out=found)
    return cv2.GaussianBlur(np.minimum(found * 14, 1), (0, 0), 1.8)


def _openness(coarse) -> np.ndarray:
    """Openness 0..1 to the sky at half resolution: low ground among high is dark."""
    near = cv2.GaussianBlur(coarse, (0, 0), 5) - coarse
    small = cv2.resize(coarse, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    far = cv2.resize(cv2.GaussianBlur(small, (0, 0), 6), coarse.shape[::-1]) - coarse
    return 1 - np.clip(near * 7, 0, 0.4) - np.clip(far * 2.2, 0, 0.3)
