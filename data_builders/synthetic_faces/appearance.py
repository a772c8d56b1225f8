"""Static appearance of a person: skin color, freckles, moles and hair; drawn once per person."""

import functools
from typing import NamedTuple

import cv2
import numpy as np

from data_builders.synthetic_faces import paint
from data_builders.synthetic_faces.anatomy import Identity, neutral_landmarks
from data_builders.synthetic_faces.geometry import Canvas, curve

# Reflectance (linear RGB) of skin from very light to very dark.
_SKIN = np.array(
    ((0.78, 0.54, 0.44), (0.66, 0.42, 0.31), (0.48, 0.28, 0.185), (0.27, 0.15, 0.095), (0.13, 0.075, 0.05))
)  # fmt: skip


class Layers(NamedTuple):
    """A person's unmoving layers, linear light.

    Attributes:
        skin: [H, W, 3] float32 reflectance, with the beard.
        behind: [H, W, 3] float32 reflectance of what the face hides: hair, neck, ears.
        tone: [3] mean skin color.
        hair: [H, W, 3] float32 reflectance.
        front: [H, W] float32 coverage of the hair before the face.
        rows: the rows of the canvas that this hair reaches.
        neck: [H, W] float32 coverage of neck, shoulders and ears.
        cover: [H, W] float32 coverage of everything but the face.
    """

    skin: np.ndarray
    behind: np.ndarray
    tone: np.ndarray
    hair: np.ndarray
    front: np.ndarray
    rows: slice
    neck: np.ndarray
    cover: np.ndarray


def skin_tone(identity: Identity) -> np.ndarray:
    """Returns the mean reflectance [3] of a person's skin."""
    place = identity.skin * (len(_SKIN) - 1)
    channels = [np.interp(place, range(len(_SKIN)), np.log(_SKIN[:, c])) for c in range(3)]
    return np.exp(channels).astype(np.float32)


@functools.lru_cache(maxsize=4)
def layers(identity: Identity, canvas: Canvas) -> Layers:
    """Draws what does not move.

    Args:
        identity: the person.
        canvas: where.

    Returns:
        The layers; not to be written to.
    """
    rng = np.random.default_rng(identity.seed)
    points = neutral_landmarks(identity)
    tone = skin_tone(identity)
    skin = _skin(identity, canvas, points, tone, rng)
    hair = _strands(identity, canvas, rng)
    front, back = _hair_cover(identity, canvas, rng)
    neck = _neck_cover(canvas, float(np.abs(points[[0, 16], 0]).mean()))
    behind = paint.over(hair * np.float32(0.45), skin * np.float32(0.92), neck)
    beard = _beard(identity, canvas, points, rng)[..., None]
    skin = skin * (1 - beard * (1 - 1.5 * np.array(identity.hair, np.float32)))
    used = np.flatnonzero(front.any(axis=1))
    rows = slice(0, int(used[-1]) + 1) if len(used) else slice(0, 1)
    cover = np.maximum(np.maximum(front, back), neck)
    return Layers(skin, behind, tone, hair, front, rows, neck, cover)


def _neck_cover(canvas: Canvas, width: float) -> np.ndarray:
    """Coverage of neck, shoulders and ears."""
    column = np.array(
        (
            (0.52, 0.5),
            (0.5, 1.1),
            (0.56, 1.36),
            (0.95, 1.52),
            (1.42, 1.68),
            (1.68, 2.05),
            (1.74, 2.9),
        )
    )
    column = curve(column)
    outline = np.concatenate((column, (column * (-1, 1))[::-1]))
    neck = paint.full(canvas, paint.area(canvas, outline, soft=0.9))
    for side in (-1, 1):
        ear = paint.ellipse(np.array((side * (width + 0.03), 0.16)), 0.075, 0.2, tilt=side * 8)
        spot = paint.area(canvas, ear, soft=0.9)
        neck[spot.window] = np.maximum(neck[spot.window], spot.cover)
    return neck


def _noise(canvas: Canvas, rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Smooth noise [H, W] with unit standard deviation."""
    step = max(1, int(sigma))
    coarse = rng.standard_normal((canvas.height // step + 2, canvas.width // step + 2), np.float32)
    coarse = cv2.GaussianBlur(coarse, (0, 0), sigma / step)
    noise = cv2.resize(coarse, (canvas.width, canvas.height), interpolation=cv2.INTER_CUBIC)
    return noise / noise.std()


def _skin(identity, canvas, points, tone, rng) -> np.ndarray:
    x, y = canvas.axes()
    skin = np.empty((canvas.height, canvas.width, 3), np.float32)
    skin[:] = tone
    mottle = 1 + 0.035 * _noise(canvas, rng, 7) + 0.03 * _noise(canvas, rng, 1)
    skin *= mottle[..., None]
    red = np.zeros((canvas.height, canvas.width), np.float32)
    spots = [
        (0.0, points[30, 1] + 0.02, 0.11, 0.1, 0.8),
        (0.0, points[8, 1] - 0.15, 0.2, 0.12, 0.4),
    ]
    spots += [(side * 0.44, 0.38, 0.17, 0.15, 1.0) for side in (-1, 1)]
    for cx, cy, rx, ry, height in spots:
        bump = np.exp(-(((y - cy) / ry) ** 2))[:, None] * np.exp(-(((x - cx) / rx) ** 2))[None, :]
        red += height * bump
    red *= 0.1 + 0.25 * identity.flush
    skin *= 1 - red[..., None] * np.array((0.05, 0.55, 0.5), np.float32)
    for side in (-1, 1):  # thin skin about the eyes
        eye = points[42:48].mean(0) if side > 0 else points[36:42].mean(0)
        ring = paint.area(canvas, paint.ellipse(eye + (0, 0.04), 0.18, 0.13), soft=7)
        paint.darken(skin, ring, 0.12 + 0.14 * identity.age)
    _spots(identity, canvas, skin, tone, rng)
    return skin


def _spots(identity, canvas, skin, tone, rng) -> None:
    """Freckles and moles."""
    for _ in range(int(60 * identity.freckles)):
        center = (rng.normal(0, 0.34), rng.normal(0.25, 0.14))
        radius = rng.uniform(0.006, 0.013)
        spot = paint.area(canvas, paint.ellipse(np.array(center), radius, radius), soft=0.6)
        paint.blend(skin, spot, tone * (0.72, 0.55, 0.45), 0.75)
    for _ in range(identity.moles):
        center = (rng.uniform(-0.55, 0.55), rng.uniform(0.2, 1.05))
        radius = rng.uniform(0.011, 0.02)
        spot = paint.area(canvas, paint.ellipse(np.array(center), radius, radius), soft=0.5)
        paint.blend(skin, spot, tone * (0.4, 0.3, 0.28), 0.9)


def _strands(identity, canvas, rng) -> np.ndarray:
    """Hair color with strands that run away from the crown."""
    x, y = canvas.axes()
    dx, dy = np.meshgrid(x, y + 0.62)
    angle = (np.arctan2(dx, dy) + np.pi) * (1023 / (2 * np.pi))
    radius = np.hypot(dx, dy) * 30
    curls = 22.0 if identity.style == "curly" else 2.5
    angle = angle + curls * _noise(canvas, rng, 9 if identity.style == "curly" else 24)
    texture = cv2.GaussianBlur(rng.standard_normal((96, 1024), np.float32), (0, 0), 1.1, sigmaY=9)
    texture += 0.8 * cv2.GaussianBlur(
        rng.standard_normal((96, 1024), np.float32), (0, 0), 5, sigmaY=12
    )
    texture /= texture.std()
    strand = cv2.remap(
        texture, angle.astype(np.float32), radius.astype(np.float32), cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )  # fmt: skip
    strand = np.clip(1 + 0.3 * strand, 0.3, 2.2)
    return strand[..., None] * np.array(identity.hair, np.float32)


# Hairline of the image-right half from the ear to the middle, and volume over the skull, by style.
_HAIRLINES = {
    "short": ([(0.77, 0.12), (0.735, -0.12), (0.69, -0.36), (0.56, -0.57), (0.3, -0.65), (0, -0.66)], 0.09),
    "long": ([(0.8, 0.12), (0.74, -0.1), (0.66, -0.36), (0.45, -0.6), (0.2, -0.7), (0, -0.71)], 0.12),
    "fringe": ([(0.8, 0.12), (0.72, -0.1), (0.66, -0.34), (0.48, -0.48), (0.25, -0.51), (0, -0.5)], 0.12),
    "parted": ([(0.77, 0.1), (0.73, -0.12), (0.68, -0.34), (0.58, -0.5), (0.36, -0.6), (0, -0.66)], 0.12),
    "receding": ([(0.77, 0.1), (0.75, -0.14), (0.72, -0.4), (0.62, -0.68), (0.4, -0.84), (0, -0.76)], 0.03),
    "curly": ([(0.8, 0.12), (0.74, -0.12), (0.68, -0.36), (0.53, -0.55), (0.28, -0.62), (0, -0.62)], 0.22),
    "tied": ([(0.76, 0.02), (0.74, -0.14), (0.69, -0.38), (0.54, -0.58), (0.28, -0.67), (0, -0.69)], 0.05),
}  # fmt: skip
_SKULL = np.array(((0.78, 0.1), (0.8, -0.2), (0.75, -0.5), (0.56, -0.8), (0.3, -0.94), (0, -0.98)))
_LONG = {"long": 1.9, "fringe": 1.05, "curly": 0.35}


def _mirrored(right: np.ndarray) -> np.ndarray:
    """The right half from the ear to the middle, then the left half back down."""
    return np.concatenate((right, right[-2::-1] * (-1, 1)))


def _hair_cover(identity, canvas, rng) -> tuple[np.ndarray, np.ndarray]:
    right, volume = _HAIRLINES[identity.style]
    width = np.abs(neutral_landmarks(identity)[[0, 16], 0]).mean() / 0.755
    hairline = _mirrored(np.array(right)) + rng.normal(0, 0.012, (11, 2))
    hairline[2:-2, 1] += rng.normal(0, 0.03)
    if identity.style == "parted":
        sign = rng.choice((-1, 1))
        hairline[:, 1] += 0.16 * np.exp(-(((hairline[:, 0] - sign * 0.34) / 0.25) ** 2))
        hairline[:, 1] -= 0.12 * np.exp(-(((hairline[:, 0] + sign * 0.3) / 0.16) ** 2))
    outer = _mirrored(_SKULL * (1 + volume * np.array((0.8, 1)))) + rng.normal(0, 0.012, (11, 2))
    if identity.style == "curly":
        outer = curve(outer, steps=3)
        outer += rng.normal(0, 0.02, outer.shape)
    outline = np.concatenate((curve(outer), curve(hairline)[::-1])) * (width, 1)
    front = paint.full(canvas, paint.area(canvas, outline, soft=1.8))
    back = np.zeros_like(front)
    if identity.style in _LONG:
        end = _LONG[identity.style]
        side = 0.86 + volume * (0.55 if identity.style == "curly" else 1)
        drop = np.array((
            (side - 0.3, end + 0.04), (side - 0.03, end), (side + 0.03, end - 0.25), (side - 0.02, -0.1),
            (0.7, -0.5), (0, -0.9),
        ))  # fmt: skip
        shape = curve(_mirrored(drop + rng.normal(0, 0.02, drop.shape))) * (width, 1)
        back = paint.full(canvas, paint.area(canvas, shape, soft=2))
    ragged = 0.12 * _noise(canvas, rng, 1.5)
    edges = (cover + 4 * ragged * cover * (1 - cover) for cover in (front, back))
    front, back = (np.clip(1.5 * edge - 0.25, 0, 1).astype(np.float32) for edge in edges)
    return front, back


def _beard(identity, canvas, points, rng) -> np.ndarray:
    if identity.beard <= 0:
        return np.zeros((canvas.height, canvas.width), np.float32)
    jaw = points[2:15] * (0.99, 1.0)
    top = np.array(((0.56, 0.56), (0.36, 0.68), (0.2, 0.63), (0, 0.63)))
    outline = np.concatenate((curve(jaw), curve(_mirrored(top))))
    cover = paint.full(canvas, paint.area(canvas, outline, soft=6))
    lips = paint.full(canvas, paint.area(canvas, points[48:60], soft=2))
    grain = np.clip(0.75 + 0.35 * _noise(canvas, rng, 0.8), 0, 1)
    return cover * (1 - lips) * grain * np.float32(identity.beard)
