"""One picture of one person: relief and colours, lit, turned, cropped and photographed."""

from typing import NamedTuple

import cv2
import numpy as np

from data_builders.synthetic_faces import (
    actions, anatomy, appearance, features, folds, geometry, paint, scene as scenes,
)  # fmt: skip

_CROP = 2.4  # side of a crop in outer-eye distances of the average face


class Picture(NamedTuple):
    """A finished picture.

    Attributes:
        image: [H, W, 3] uint8 RGB.
        landmarks: [68, 2] float32, (x, y) pixels, pixel centres at whole numbers.
        behind: [H, W] float32, share of the background in each pixel.
    """

    image: np.ndarray
    landmarks: np.ndarray
    behind: np.ndarray


def render(
    identity: anatomy.Identity,
    strengths: dict[int, float],
    scene: scenes.Scene,
    *,
    size: int = 256,
    crop: float = _CROP,
) -> Picture:
    """Draws a person.

    Args:
        identity: who.
        strengths: {AU number: 0..1}, what the face does; AUs left out do nothing.
        scene: light, pose, background, lens.
        size: side of the picture in pixels.
        crop: side of the picture in head units.

    Returns:
        The picture and its landmarks.
    """
    canvas = geometry.Canvas()
    vigorous = {au: min(1.15, s * identity.vigor) for au, s in strengths.items() if s > 0}
    points = actions.move(anatomy.neutral_landmarks(identity), vigorous)
    coarse = geometry.relief(canvas, identity, points, vigorous)
    color, cover = _draw(canvas, identity, vigorous, points, coarse, scene)
    depths = geometry.sample(canvas, coarse, points)
    seen = _frame(points, depths, scene, size, crop)
    where = geometry.inverse_map(canvas, coarse, seen, (size, size))
    turned, share = (
        cv2.remap(layer, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for layer in (color, cover)
    )
    light = paint.over(scenes.background(scene, (size, size)), turned, share)
    landmarks = seen.project(points, depths)
    return Picture(scenes.develop(light, scene), landmarks.astype(np.float32), 1 - share)


def _frame(points, depths, scene, size, crop) -> geometry.View:
    """The view of a crop: eyes level, five points centred, but for the errors of the scene."""
    turned = geometry.rotation(scene.yaw, scene.pitch, scene.roll)
    plain = geometry.view(turned, scale=1.0, center=np.zeros(2))
    seen = plain.project(points, depths)
    left, right = seen[anatomy.LEFT_EYE].mean(0), seen[anatomy.RIGHT_EYE].mean(0)
    level = np.rad2deg(np.arctan2(right[1] - left[1], right[0] - left[0]))
    turned = geometry.rotation(0, 0, scene.tilt - level) @ turned
    center = (points[anatomy.LEFT_EYE].mean(0) + points[anatomy.RIGHT_EYE].mean(0)) / 2 + (0, 0.3)
    depth = depths[[30, 48, 54]].mean()
    scale = size / (crop * scene.zoom)
    plain = geometry.view(turned, scale=scale, center=np.zeros(2))
    middle = plain.project(center[None], np.array([depth * 0.8]))[0]
    wanted = (np.array((0.5, 0.5)) + scene.shift) * size
    return geometry.View(plain.matrix, (plain.offset + wanted - middle).astype(np.float32))


def _draw(canvas, identity, strengths, points, coarse, scene) -> tuple[np.ndarray, np.ndarray]:
    """Lit colours [H, W, 3] and coverage [H, W] of the head on its canvas."""
    layers = appearance.layers(identity, canvas)
    face, neck, cover = _silhouette(canvas, points, layers)
    skin = layers.skin.copy()
    features.eyes(canvas, skin, identity, layers, points, scene.gaze)
    features.nose(canvas, skin, layers, points)
    lips = features.mouth(canvas, skin, identity, layers, points)
    crease = _creases(canvas, points, strengths, identity.age)
    features.brows(canvas, skin, identity, points, strengths.get(4, 0.0))
    body = layers.neck.copy()
    _clothes(canvas, body, scene)
    color = paint.over(layers.inner, body, neck)
    color = paint.over(color, skin, face)
    color = paint.over(color, layers.hair, layers.front)
    features.glasses(canvas, color, identity, points)
    light, shine = _light(canvas, coarse, crease, face, layers.front, scene)
    color *= light
    shine *= face * (1 - layers.front) * 0.11
    shine[lips.window] += lips.cover * shine[lips.window] * 1.3
    color += cv2.merge([shine * np.float32(key) for key in scene.key])
    features.eye_sparkle(canvas, color, points, _in_head(scene), scene.gaze)
    return color, cover


def _silhouette(canvas, points, layers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coverage of the face, of neck and ears, and of everything but the background."""
    jaw = geometry.curve(points[anatomy.JAW], steps=4)
    width = np.abs(points[[0, 16], 0]).mean()
    skull = np.array(((0.985, -0.3), (0.87, -0.62), (0.55, -0.87), (0.2, -0.95))) * (width, 1)
    top = geometry.curve(np.concatenate((points[16:17], skull, (skull * (-1, 1))[::-1], points[:1])))
    face = paint.full(canvas, paint.area(canvas, np.concatenate((jaw, top[1:-1])), soft=0.9))
    column = np.array(((0.52, 0.5), (0.5, 1.1), (0.52, 1.35), (0.75, 1.5), (1.5, 1.68), (1.5, 2.2)))
    outline = np.concatenate((column, (column * (-1, 1))[::-1]))
    neck = paint.full(canvas, paint.area(canvas, outline, soft=0.9))
    for side in (-1, 1):
        ear = paint.ellipse(np.array((side * (width + 0.03), 0.16)), 0.075, 0.2, tilt=side * 8)
        spot = paint.area(canvas, ear, soft=0.9)
        neck[spot.window] = np.maximum(neck[spot.window], spot.cover)
    cover = np.maximum(np.maximum(face, neck), np.maximum(layers.front, layers.back))
    return face, neck, cover


def _clothes(canvas, body, scene) -> None:
    collar = np.array(((-1.6, 1.55), (-0.62, 1.48), (0, 1.72), (0.62, 1.48), (1.6, 1.55), (1.6, 2.4), (-1.6, 2.4)))
    paint.blend(body, paint.area(canvas, collar, soft=1.0), scenes.clothes(scene))


def _creases(canvas, points, strengths, age) -> np.ndarray:
    """Depth 0..1 of the lines in the skin, [H, W] float32."""
    drawn = np.zeros((canvas.height, canvas.width), np.uint8)
    lines = sorted(folds.folds(points, strengths, age=age), key=lambda fold: fold.depth)
    for part, share in ((1.0, 0.55), (0.62, 1.0)):  # folds run out toward their ends
        for line in lines:
            path = geometry.curve(line.points, steps=5)
            cut = round(len(path) * (1 - part) / 2)
            pixels = np.round(canvas.pixels(path[cut : len(path) - cut]) * 16).astype(np.int32)
            value = min(255.0, 255 * line.depth * share)
            thick = 1 if line.width < 0.017 else 2
            cv2.polylines(drawn, [pixels], False, (value,), thick, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(drawn, (0, 0), 1.15)
    return soft.astype(np.float32) * np.float32(2.3 / 255)


def _in_head(scene) -> np.ndarray:
    """Direction of the key light in head axes."""
    return geometry.rotation(scene.yaw, scene.pitch, scene.roll).T @ np.float32(scene.light)


def _light(canvas, coarse, crease, face, hair, scene) -> tuple[np.ndarray, np.ndarray]:
    """Light [H, W, 3] that each point of the head receives, and its gloss [H, W]."""
    size = (canvas.width, canvas.height)
    toward = _in_head(scene)
    height = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) * np.float32(canvas.scale)
    height += cv2.addWeighted(cv2.GaussianBlur(crease, (0, 0), 3.0), 1.6, crease, -1.5, 0)
    cv2.scaleAdd(hair, 3.0, height, height)
    gx = np.clip(cv2.Sobel(height, cv2.CV_32F, 1, 0, scale=1 / 8), -1.8, 1.8)
    gy = np.clip(cv2.Sobel(height, cv2.CV_32F, 0, 1, scale=1 / 8), -1.8, 1.8)
    length = 1 / np.sqrt(1 + gx * gx + gy * gy)
    facing = (toward[2] - gx * toward[0] - gy * toward[1]) * length
    half = toward + (0, 0, 1)
    half = half / np.linalg.norm(half)
    gloss = np.maximum((half[2] - gx * half[0] - gy * half[1]) * length, 0)
    for _ in range(4):  # to the 16th power
        gloss *= gloss
    shadow = _shadow(coarse, toward, canvas.scale / 2)
    hollow = _hollow(coarse)
    # The chin's shade on the neck.
    below = cv2.resize(cv2.GaussianBlur(face[::4, ::4], (0, 0), 2.2), size)
    shadow = cv2.resize(shadow, size, interpolation=cv2.INTER_LINEAR)
    open_sky = cv2.resize(hollow, size, interpolation=cv2.INTER_LINEAR)
    open_sky *= (1 - 0.42 * np.minimum(crease, 1.2))
    under = 1 - 0.75 * np.roll(below, 14, axis=0) * (1 - face)
    sky = (0.78 - 0.22 * gy * length) * open_sky * under
    key = np.maximum((facing + 0.22) / 1.22, 0) * (1 - 0.72 * shadow) * under
    key *= 0.45 + 0.55 * open_sky
    colors = zip(scene.ambient, scene.key, strict=True)
    red, green, blue = (sky * np.float32(a) + key * np.float32(k) for a, k in colors)
    # Light wanders under the skin, red the farthest.
    red = cv2.addWeighted(red, 0.55, cv2.GaussianBlur(red, (0, 0), 2.0), 0.45, 0)
    return cv2.merge((red, green, blue)), gloss * (1 - shadow) * open_sky


def _shadow(coarse, toward, scale) -> np.ndarray:
    """Cast shadow 0..1 at half resolution: higher ground on the way to the light."""
    across = float(np.hypot(toward[0], toward[1])) + 1e-6
    rise = float(toward[2]) / across
    found = np.zeros_like(coarse)
    for distance in (4, 8, 13, 20, 30):
        dx, dy = distance * toward[0] / across, distance * toward[1] / across
        move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        moved = cv2.warpAffine(
            coarse, move, coarse.shape[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        np.maximum(found, moved - coarse - distance / scale * rise, out=found)
    return cv2.GaussianBlur(np.minimum(found * 14, 1), (0, 0), 1.8)


def _hollow(coarse) -> np.ndarray:
    """Openness 0..1 to the sky at half resolution: low ground among high is dark."""
    near = cv2.GaussianBlur(coarse, (0, 0), 5) - coarse
    far = cv2.GaussianBlur(coarse, (0, 0), 12) - coarse
    return 1 - np.clip(near * 7, 0, 0.4) - np.clip(far * 2.2, 0, 0.3)
