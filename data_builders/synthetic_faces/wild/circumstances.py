"""Random circumstances of each picture of a stranger: light, pose, gaze, crop, lens, camera, occluders."""

import dataclasses

import numpy as np

from data_builders.synthetic_faces.scene import Scene, draw_scene

#: Mean distance of a crop's corners from the right ones, in sides of the crop: that of either face finder on drawn
#: people is 6.9 of 256 pixels, and one in twenty is beyond 15 to 22 (docs/detect.md). Lognormal with that mean.
_CORNERS_MEDIAN, _CORNERS_SPREAD = 5.5 / 256, 0.65
_HALF_DIAGONAL = np.sqrt(0.5)  # of a crop, in its sides


@dataclasses.dataclass(frozen=True)
class Camera:
    """What happens to a picture after the light.

    Attributes:
        bend: radial distortion of the lens, share at the corner; positive bends outward.
        second: a second light beside the scene's: direction [3] and color [3], or ().
        side: pixels that the face was recorded at; 256 is the picture's own.
        motion: length of the smear, pixels of 256, and its angle in degrees.
        gain: [3] factors on the channels.
        saturation: 0 gray to 1.5.
        gamma: exponent on the values.
        contrast: factor about the middle.
        quality: of the JPEG, 100 for none.
        occluder: (x, y, radius x, radius y, degrees, r, g, b) in sides of the picture and 0..255, or ().
    """

    bend: float
    second: tuple[tuple[float, ...], ...]
    side: int
    motion: tuple[float, float]
    gain: tuple[float, ...]
    saturation: float
    gamma: float
    contrast: float
    quality: int
    occluder: tuple[float, ...]


def draw(rng: np.random.Generator) -> tuple[Scene, Camera]:
    """Draws the circumstances of one picture.

    Args:
        rng: source of randomness.
    """
    scene = draw_scene(rng, spread=1.15)
    around = rng.standard_normal(4)
    distance = _CORNERS_MEDIAN * np.exp(rng.normal(0, _CORNERS_SPREAD))
    along, across, larger, turned = distance * around / np.linalg.norm(around)
    shown = rng.random() < 0.12
    scene = dataclasses.replace(
        scene,
        light=_direction(rng, (-100, 100), (-55, 75)) if rng.random() < 0.5 else scene.light,
        shift=(float(along), float(across)),
        zoom=float(np.exp(larger / _HALF_DIAGONAL)),
        tilt=float(np.rad2deg(turned / _HALF_DIAGONAL)),
        gaze=tuple(float(v) for v in rng.normal(0, (0.03, 0.014))),
        exposure=float(1.25 * np.exp(rng.normal(0, 0.24))),
        blur=float(rng.gamma(1.2, 0.45)),
        noise=float(rng.gamma(1.4, 2.0)),
    )
    second = ()
    if rng.random() < 0.3:
        color = rng.uniform(0.1, 0.7) * (1 + rng.normal(0, 0.15, 3))
        second = (_direction(rng, (-110, 110), (-60, 60)), tuple(float(c) for c in color))
    gray = rng.random() < 0.12
    return scene, Camera(
        bend=float(rng.normal(0, 0.03)),
        second=second,
        side=int(rng.integers(52, 140)) if rng.random() < 0.3 else 256,
        motion=(float(rng.uniform(3, 11)), float(rng.uniform(0, 180)))
        if rng.random() < 0.12
        else (0.0, 0.0),
        gain=tuple(float(g) for g in 1 + rng.normal(0, 0.07, 3)),
        saturation=0.0 if gray else float(rng.uniform(0.5, 1.3)),
        gamma=float(np.exp(rng.normal(0, 0.2))),
        contrast=float(rng.uniform(0.7, 1.25)),
        quality=int(rng.integers(18, 96)) if rng.random() < 0.6 else 100,
        occluder=_occluder(rng) if shown else (),
    )


def _direction(rng, azimuths, heights) -> tuple[float, ...]:
    """A unit vector toward a light between two azimuths and two heights, degrees; y down, z to the camera."""
    azimuth, height = np.deg2rad((rng.uniform(*azimuths), rng.uniform(*heights)))
    level = np.cos(height)
    return (
        float(np.sin(azimuth) * level),
        float(-np.sin(height)),
        float(np.cos(azimuth) * level),
    )


def _occluder(rng) -> tuple[float, ...]:
    """A hand, a cup, a strand: an ellipse that comes in from the edge of the face."""
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.36, 0.5)
    place = 0.5 + far * np.cos(angle), 0.5 + far * np.sin(angle)
    radii = rng.uniform(0.05, 0.22), rng.uniform(0.05, 0.14)
    color = rng.uniform(10, 240) * rng.uniform(0.5, 1.0, 3)
    return tuple(float(v) for v in (*place, *radii, rng.uniform(0, 180), *color))
