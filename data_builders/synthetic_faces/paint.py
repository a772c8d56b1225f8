"""Soft areas and strokes, blended into a picture of linear light; only the touched window is worked on."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from data_builders.synthetic_faces.geometry import Canvas

_SHIFT = 4  # fractional bits of the coordinates that OpenCV draws


class Area(NamedTuple):
    """Coverage 0..1 [h, w] float32 of a window of the canvas."""

    window: tuple[slice, slice]
    cover: np.ndarray


def _window(canvas: Canvas, pixels: np.ndarray, margin: float) -> tuple[slice, slice]:
    x, y, width, height = cv2.boundingRect(np.asarray(pixels, np.float32))
    room = int(margin) + 1
    left, top = min(max(x - room, 0), canvas.width - 2), min(max(y - room, 0), canvas.height - 2)
    right = max(min(x + width + room, canvas.width), left + 2)
    bottom = max(min(y + height + room, canvas.height), top + 2)
    return slice(top, bottom), slice(left, right)


def _fixed(pixels: np.ndarray, window: tuple[slice, slice]) -> np.ndarray:
    corner = np.array((window[1].start, window[0].start), np.float32)
    return np.round((pixels - corner) * (1 << _SHIFT)).astype(np.int32)


def _soften(drawn: np.ndarray, soft: float) -> np.ndarray:
    if soft > 0:
        drawn = cv2.GaussianBlur(drawn, (0, 0), soft, borderType=cv2.BORDER_REPLICATE)
    return np.multiply(drawn, np.float32(1 / 255), dtype=np.float32)


def area(canvas: Canvas, outline: np.ndarray, *, soft: float = 0.0) -> Area:
    """Paints a filled outline.

    Args:
        canvas: where.
        outline: [N, 2] head units.
        soft: standard deviation of the blurred edge in pixels.

    Returns:
        Its coverage.
    """
    pixels = canvas.pixels(outline)
    window = _window(canvas, pixels, 3 * soft + 2)
    drawn = np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start), np.uint8)
    cv2.fillPoly(drawn, [_fixed(pixels, window)], (255,), cv2.LINE_AA, _SHIFT)
    return Area(window, _soften(drawn, soft))


def strokes(
    canvas: Canvas,
    lines: Sequence[np.ndarray] | np.ndarray,
    *,
    width: float,
    soft: float = 0.0,
    closed: bool = False,
) -> Area:
    """Paints lines of one width.

    Args:
        canvas: where.
        lines: each [N, 2] head units.
        width: head units; thinner than a pixel makes fainter lines.
        soft: standard deviation of the blur in pixels.
        closed: whether each line ends where it began.

    Returns:
        Their coverage.
    """
    pixels = canvas.pixels(np.concatenate(lines))
    window = _window(canvas, pixels, 3 * soft + width * canvas.scale + 2)
    drawn = np.zeros((window[0].stop - window[0].start, window[1].stop - window[1].start), np.uint8)
    thick = width * canvas.scale
    value = 255 * min(1.0, thick)
    fixed = _fixed(pixels, window)
    ends = [0, *itertools.accumulate(map(len, lines))]
    parts = [fixed[start:end] for start, end in itertools.pairwise(ends)]
    cv2.polylines(drawn, parts, closed, (value,), max(1, round(thick)), cv2.LINE_AA, _SHIFT)
    return Area(window, _soften(drawn, soft))


def ellipse(center: np.ndarray, radius_x: float, radius_y: float, *, tilt: float = 0) -> np.ndarray:
    """Returns outline [24, 2] of an ellipse in head units; ``tilt`` in degrees."""
    t = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x, y = radius_x * np.cos(t), radius_y * np.sin(t)
    a = np.deg2rad(tilt)
    turned = np.stack((x * np.cos(a) - y * np.sin(a), x * np.sin(a) + y * np.cos(a)), 1)
    return (turned + center).astype(np.float32)


def blend(
    picture: np.ndarray, where: Area, color: np.ndarray | tuple[float, ...], share: float = 1.0
) -> None:
    """Mixes a color, or a picture of the window's shape, into ``picture`` [H, W, 3] in place."""
    window = picture[where.window]
    cover = (where.cover * np.float32(share))[..., None]
    window += cover * (np.asarray(color, np.float32) - window)


def darken(picture: np.ndarray, where: Area, share: float) -> None:
    """Multiplies ``picture`` by 1 - share where the area covers it, in place."""
    picture[where.window] *= (1 - where.cover * np.float32(share))[..., None]


def over(below: np.ndarray, above: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Lays ``above`` [H, W, 3] over ``below`` [H, W, 3] where ``cover`` [H, W] says so."""
    return cv2.blendLinear(above, below, cover, 1 - cover)


def full(canvas: Canvas, where: Area) -> np.ndarray:
    """Returns the coverage over the whole canvas, [H, W] float32."""
    cover = np.zeros((canvas.height, canvas.width), np.float32)
    cover[where.window] = where.cover
    return cover
