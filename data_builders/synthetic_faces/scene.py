"""Random circumstances of each picture: light, pose, gaze, background, clothes, lens."""

import dataclasses
import functools

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True)
class Scene:
    """One picture's circumstances.

    Attributes:
        yaw, pitch, roll: pose of the head, degrees.
        light: [3] unit vector toward the key light, camera axes (x right, y down, z to the camera).
        key: [3] its color and strength.
        ambient: [3] color and strength of light from everywhere.
        exposure: factor on the finished picture.
        gaze: shift of the irises, head units.
        zoom: error of the crop's size, as a factor.
        shift: error of the crop's place, share of its side.
        tilt: error of the crop's angle, degrees.
        blur: standard deviation of the lens, pixels.
        noise: standard deviation of the sensor, 0..255.
        seed: of background, clothes and noise.
    """

    yaw: float
    pitch: float
    roll: float
    light: tuple[float, ...]
    key: tuple[float, ...]
    ambient: tuple[float, ...]
    exposure: float
    gaze: tuple[float, ...]
    zoom: float
    shift: tuple[float, ...]
    tilt: float
    blur: float
    noise: float
    seed: int


def draw_scene(rng: np.random.Generator, *, spread: float = 1.0) -> Scene:
    """Draws the circumstances of a picture.

    Args:
        rng: source of randomness.
        spread: factor on pose and crop errors.

    Returns:
        The scene.
    """
    bend = np.clip(rng.standard_normal(3), -2, 2) * (12, 7.5, 5) * spread
    azimuth, height = np.deg2rad((rng.uniform(-75, 75), rng.uniform(-8, 60)))
    light = np.array(
        (np.sin(azimuth) * np.cos(height), -np.sin(height), np.cos(azimuth) * np.cos(height))
    )
    strength = rng.uniform(0.45, 1.1)
    warmth = rng.normal(0, 0.09)
    tint = np.array((1 + warmth, 1, 1 - warmth)) * (1 + rng.normal(0, 0.025, 3))
    other = rng.normal(0, 0.07)
    ambient = (
        np.array((1 + other, 1, 1 - other)) * (1.2 - 0.75 * strength) * rng.uniform(0.85, 1.15)
    )
    return Scene(
        *(float(angle) for angle in bend),
        light=tuple(float(v) for v in light),
        key=tuple(float(v) for v in strength * tint),
        ambient=tuple(float(v) for v in ambient),
        exposure=float(1.25 * np.exp(rng.normal(0, 0.16))),
        gaze=tuple(float(v) for v in rng.normal(0, (0.016, 0.008))),
        zoom=float(np.exp(rng.normal(0, 0.05 * spread))),
        shift=tuple(float(v) for v in rng.normal(0, 0.024 * spread, 2)),
        tilt=float(rng.normal(0, 3.0 * spread)),
        blur=float(max(0.0, rng.normal(0.35, 0.35))),
        noise=float(rng.uniform(0.5, 3.5)),
        seed=int(rng.integers(2**31)),
    )


def background(scene: Scene, size: tuple[int, int]) -> np.ndarray:
    """Draws a blurred room behind the head.

    Args:
        scene: the picture's circumstances.
        size: width and height in pixels.

    Returns:
        [H, W, 3] float32, linear light.
    """
    rng = np.random.default_rng(scene.seed)
    base = rng.uniform(0.08, 0.8) * rng.uniform(0.55, 1.0, 3)
    room = np.empty((24, 24, 3), np.float32)
    room[:] = base
    ramp = np.linspace(-1, 1, 24, dtype=np.float32)
    room *= 1 + rng.uniform(-0.35, 0.35) * ramp[:, None, None]
    room *= 1 + rng.uniform(-0.35, 0.35) * ramp[None, :, None]
    for _ in range(rng.integers(0, 6)):
        x, y, w, h = rng.integers(0, 20, 2).tolist() + rng.integers(2, 12, 2).tolist()
        room[y : y + h, x : x + w] = room[y : y + h, x : x + w] * 0.4 + 0.6 * rng.uniform(
            0.03, 0.8, 3
        )
    room = cv2.GaussianBlur(room, (0, 0), float(rng.uniform(0.4, 2.0)))
    room *= np.array(scene.ambient, np.float32) + np.float32(0.3) * np.array(scene.key, np.float32)
    large = cv2.resize(room, size, interpolation=cv2.INTER_LINEAR)
    return np.maximum(large, 0.005)


def clothes(scene: Scene) -> np.ndarray:
    """Draws the reflectance [3] of the clothes."""
    rng = np.random.default_rng(scene.seed + 1)
    return (rng.uniform(0.04, 0.75) * rng.uniform(0.35, 1.0, 3)).astype(np.float32)


def develop(light: np.ndarray, scene: Scene) -> np.ndarray:
    """Develops linear light into a picture: exposure, lens, tone, noise.

    Args:
        light: [H, W, 3] float32.
        scene: the picture's circumstances.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    rng = np.random.default_rng(scene.seed + 2)
    if scene.blur > 0.3:
        light = cv2.GaussianBlur(light, (0, 0), scene.blur)
    # A shoulder instead of a hard clip, then display gamma 2.
    light = light * np.array(scene.exposure, np.float32)
    np.maximum(light, 0, out=light)
    light /= 1 + np.float32(0.18) * light
    shown = np.sqrt(light, out=light)
    height, width = shown.shape[:2]
    noise = _grain(max(height, width))
    y, x = rng.integers(0, noise.shape[0] - height + 1), rng.integers(0, noise.shape[1] - width + 1)
    part = noise[y : y + height, x : x + width]
    return cv2.addWeighted(shown, 255.0, part, scene.noise, 0, dtype=cv2.CV_8U)


@functools.lru_cache(maxsize=2)
def _grain(size: int) -> np.ndarray:
    """A sheet of sensor noise [2 size, 2 size, 3], from which pictures cut theirs."""
    rng = np.random.default_rng(size)
    grain = rng.standard_normal((2 * size, 2 * size, 1), np.float32)
    return grain + cv2.resize(
        0.5 * rng.standard_normal((size, size, 3), np.float32), (2 * size, 2 * size)
    )
