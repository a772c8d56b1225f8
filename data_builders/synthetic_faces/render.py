"""Renders one picture of one person: relief and colors, lighting, pose, crop and camera."""

import dataclasses
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from data_builders.synthetic_faces import (
    actions,
    anatomy,
    appearance,
    features,
    geometry,
    lighting,
    paint,
    skin_folds,
)
from data_builders.synthetic_faces import scene as scenes
from piapdf_jax import faces


class Picture(NamedTuple):
    """A finished picture.

    Attributes:
        image: [H, W, 3] uint8 RGB.
        landmarks: [68, 2] float32, (x, y) pixels, pixel centers at whole numbers.
        behind: [H, W] float32, share of the background in each pixel.
    """

    image: np.ndarray
    landmarks: np.ndarray
    behind: np.ndarray


class Muscles(Protocol):
    """What strengths of action units do to a face, in head units; the rest of the drawing follows."""

    def move(self, landmarks: np.ndarray, strengths: dict[int, float]) -> np.ndarray:
        """Moves landmarks [68, 2]."""
        ...

    def bulges(self, points: np.ndarray, strengths: dict[int, float]) -> list[actions.Bulge]:
        """Returns mounds and hollows beside moved landmarks [68, 2]."""
        ...

    def folds(
        self, points: np.ndarray, strengths: dict[int, float], *, age: float
    ) -> list[actions.SkinFold]:
        """Returns lines in the skin."""
        ...

    def tense(self, strengths: dict[int, float]) -> float:
        """Returns how far the lips are drained and rolled in, 0..1."""
        ...

    @property
    def soft(self) -> float:
        """Standard deviation, in pixels, of the blur of folds."""
        ...


class Firm:
    """The movements of ``actions`` and ``skin_folds``: the same on every face, with folds that are cut deep."""

    move = staticmethod(actions.move)
    bulges = staticmethod(actions.bulges)
    folds = staticmethod(skin_folds.folds)
    soft = 1.15

    @staticmethod
    def tense(strengths: dict[int, float]) -> float:
        """Returns the summed strength of AU23 and AU24, at most 1."""
        return min(1.0, strengths.get(23, 0.0) + strengths.get(24, 0.0))


FIRM: Muscles = Firm()


def render(
    identity: anatomy.Identity,
    strengths: dict[int, float],
    scene: scenes.Scene,
    *,
    size: int = 256,
    side: float | None = None,
    framing: dict[int, float] | None = None,
    muscles: Muscles = FIRM,
    second: tuple[tuple[float, ...], ...] = (),
) -> Picture:
    """Draws a person.

    Args:
        identity: who.
        strengths: {AU number: 0..1}, what the face does; AUs left out do nothing.
        scene: light, pose, background, lens.
        size: side of the picture in pixels.
        side: None draws the aligned crop of ``piapdf_jax.faces``; a number draws a picture before any crop, that
            many outer-eye distances wide.
        framing: strengths that the crop is laid around, where they are not those of the picture: the crop follows
            the corners of the mouth, so that without it a smile moves every pixel.
        muscles: what the strengths do.
        second: direction [3] and color [3] of a light beside the scene's; () for none.

    Returns:
        The picture and its landmarks.
    """
    canvas = geometry.CROP if side is None else geometry.WIDE
    vigorous = _vigorous(identity, strengths)
    points, coarse = _moved(canvas, identity, vigorous, muscles)
    color, cover = _draw(canvas, identity, vigorous, points, coarse, scene, muscles, second)
    depths = geometry.sample(canvas, coarse, points)
    around = points, depths
    if framing is not None:
        laid, relief = _moved(canvas, identity, _vigorous(identity, framing), muscles)
        around = laid, geometry.sample(canvas, relief, laid)
    seen = _crop_view(*around, scene, size) if side is None else _wide_view(scene, size, side)
    where = geometry.inverse_map(canvas, coarse, seen, (size, size))
    column, row = cv2.split(where)
    turned, share = (
        cv2.remap(layer, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for layer in (color, cover)
    )
    light = paint.over(scenes.background(scene, (size, size)), turned, share)
    landmarks = seen.project(points, depths)
    return Picture(scenes.develop(light, scene), landmarks.astype(np.float32), 1 - share)


def _vigorous(identity, strengths) -> dict[int, float]:
    return {au: min(1.15, s * identity.vigor) for au, s in strengths.items() if s > 0}


def _moved(canvas, identity, vigorous, muscles) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks and relief of a face that does something."""
    points = muscles.move(anatomy.neutral_landmarks(identity), vigorous)
    return points, geometry.relief(canvas, identity, points, muscles.bulges(points, vigorous))


def _crop_view(points, depths, scene, size) -> geometry.View:
    """The view that ``piapdf_jax.faces`` would crop to, but for the errors of the scene."""
    turned = geometry.rotation(scene.yaw, scene.pitch, scene.roll)
    plain = geometry.view(turned, scale=1.0, center=np.zeros(2))
    crop = faces.crop_matrix(plain.project(points, depths), size=size)
    a = np.deg2rad(scene.tilt)
    error = np.array(((np.cos(a), -np.sin(a)), (np.sin(a), np.cos(a)))) / scene.zoom
    middle = np.full(2, (size - 1) / 2)
    matrix = error @ crop[:, :2]
    offset = matrix @ plain.offset + error @ (crop[:, 2] - middle) + middle
    offset = offset + np.array(scene.shift) * size
    return geometry.View((matrix @ plain.matrix).astype(np.float32), offset.astype(np.float32))


def _wide_view(scene, size, side) -> geometry.View:
    """The view of a picture that nobody has cropped: ``side`` head units wide, the head upright or not."""
    turned = geometry.rotation(scene.yaw, scene.pitch, scene.roll)
    middle = (np.array((0.5, 0.42)) + 2 * np.array(scene.shift)) * size
    return geometry.view(turned, scale=size / (side * scene.zoom), center=middle)


def _draw(
    canvas, identity, strengths, points, coarse, scene, muscles, second
) -> tuple[np.ndarray, np.ndarray]:
    """Lit colors [H, W, 3] and coverage [H, W] of the head on its canvas."""
    layers = appearance.layers(identity, canvas)
    face = _face(canvas, points)
    skin = layers.skin.copy()
    features.eyes(canvas, skin, identity, layers, points, scene.gaze)
    features.nose(canvas, skin, layers, points)
    lips = features.mouth(canvas, skin, identity, layers, points, muscles.tense(strengths))
    features.brows(canvas, skin, identity, points, strengths.get(4, 0.0))
    behind = layers.behind.copy()
    _clothes(canvas, behind, layers, scene)
    color = paint.over(behind, skin, face)
    rows = layers.rows
    color[rows] = paint.over(color[rows], layers.hair[rows], layers.front[rows])
    features.glasses(canvas, color, identity, points)
    lines = muscles.folds(points, strengths, age=identity.age)
    crease = _creases(canvas, lines, muscles.soft)
    light, shine = lighting.light(canvas, coarse, crease, face, layers.front, scene)
    if second:
        beside = dataclasses.replace(scene, light=second[0], key=second[1], ambient=(0.0,) * 3)
        light += lighting.light(canvas, coarse, crease, face, layers.front, beside)[0]
    color *= light
    shine[lips.window] *= 1 + 1.3 * lips.cover
    color += cv2.merge([shine * np.float32(0.11 * key) for key in scene.key])
    features.eye_sparkle(canvas, color, points, lighting.toward(scene), scene.gaze)
    return color, np.maximum(face, layers.cover)


def _face(canvas, points) -> np.ndarray:
    """Coverage of the face [H, W]."""
    jaw = geometry.curve(points[anatomy.JAW], steps=4)
    width = np.abs(points[[0, 16], 0]).mean()
    skull = np.array(((0.985, -0.3), (0.87, -0.62), (0.55, -0.87), (0.2, -0.95))) * (width, 1)
    top = geometry.curve(
        np.concatenate((points[16:17], skull, (skull * (-1, 1))[::-1], points[:1]))
    )
    return paint.full(canvas, paint.area(canvas, np.concatenate((jaw, top[1:-1])), soft=0.9))


def _clothes(canvas, picture, layers, scene) -> None:
    collar = np.array(
        (
            (-1.8, 1.55),
            (-0.62, 1.48),
            (0, 1.72),
            (0.62, 1.48),
            (1.8, 1.55),
            (1.8, 2.95),
            (-1.8, 2.95),
        )
    )
    shirt = paint.area(canvas, collar, soft=1.0)
    shirt.cover[:] *= layers.neck[shirt.window]
    paint.blend(picture, shirt, scenes.clothes(scene))


def _creases(canvas, lines, blur) -> np.ndarray:
    """Depth 0..1 of the lines in the skin, [H, W] float32."""
    drawn = np.zeros((canvas.height, canvas.width), np.uint8)
    lines = sorted(lines, key=lambda fold: fold.depth)
    paths = [np.round(canvas.pixels(geometry.curve(line.points, steps=5)) * 16) for line in lines]
    paths = [path.astype(np.int32) for path in paths]
    for part, share in ((1.0, 0.55), (0.62, 1.0)):  # folds run out toward their ends
        for line, path in zip(lines, paths, strict=True):
            cut = round(len(path) * (1 - part) / 2)
            value = min(255.0, 255 * line.depth * share)
            thick = 1 if line.width < 0.017 else 2
            cv2.polylines(
                drawn, [path[cut : len(path) - cut]], False, (value,), thick, cv2.LINE_AA, 4
            )
    soft = cv2.GaussianBlur(drawn, (0, 0), blur)
    return np.multiply(soft, np.float32(2 * blur / 255), dtype=np.float32)
