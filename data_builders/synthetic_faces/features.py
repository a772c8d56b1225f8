"""The parts of a face that move: eyes, brows, nose, lips and mouth, painted by their landmarks."""

import numpy as np

from data_builders.synthetic_faces import paint
from data_builders.synthetic_faces.anatomy import Identity
from data_builders.synthetic_faces.appearance import Layers
from data_builders.synthetic_faces.geometry import Canvas, curve


def _eye_lids(points: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower lid as curves from the outer to the inner corner."""
    eye = points[36:42] if side < 0 else points[[45, 44, 43, 42, 47, 46]]
    upper, lower = curve(eye[[0, 1, 2, 3]], steps=8), curve(eye[[0, 5, 4, 3]], steps=8)
    return upper, lower


def eyes(
    canvas: Canvas, picture: np.ndarray, identity: Identity, layers: Layers, points: np.ndarray,
    gaze: tuple[float, ...],
) -> None:  # fmt: skip
    """Paints both eyes into ``picture`` [H, W, 3]."""
    dark = layers.tone * np.float32(0.16)
    for side in (-1, 1):
        upper, lower = _eye_lids(points, side)
        outline = np.concatenate((upper, lower[::-1]))
        center = (upper[12] + lower[12]) / 2
        width = np.abs(upper[-1, 0] - upper[0, 0])
        crease = (
            upper + (0, -0.034) + np.outer(np.sin(np.linspace(0, np.pi, len(upper))), (0, -0.02))
        )
        if identity.eye_shadow:
            lid = paint.area(canvas, np.concatenate((upper, (crease - (0, 0.02))[::-1])), soft=2.5)
            paint.blend(picture, lid, identity.eye_shadow, 0.55)
        paint.darken(picture, paint.strokes(canvas, [crease], width=0.018, soft=1.0), 0.5)
        paint.darken(picture, paint.area(canvas, outline, soft=3.5), 0.3)
        opening = paint.area(canvas, outline, soft=0.5)
        paint.blend(picture, opening, (0.68, 0.65, 0.62))
        _iris(canvas, picture, opening, identity, center + gaze, width)
        lid_shadow = paint.strokes(canvas, [upper + (0, 0.012)], width=0.03, soft=1.3)
        inside = lid_shadow.cover * _within(opening, lid_shadow)
        paint.darken(picture, paint.Area(lid_shadow.window, inside), 0.55)
        caruncle = paint.area(
            canvas, paint.ellipse(upper[-1] + (side * 0.012, 0.002), 0.016, 0.011), soft=0.7
        )
        paint.blend(picture, caruncle, layers.tone * (1, 0.5, 0.45), 0.8)
        lash = upper[:-2].copy()
        lash[0] += (side * 0.02, -0.004)
        paint.blend(
            picture, paint.strokes(canvas, [lash], width=0.022, soft=0.6), dark * 0.35, 0.95
        )
        paint.blend(picture, paint.strokes(canvas, [lower], width=0.011, soft=0.7), dark, 0.75)


def _within(opening: paint.Area, other: paint.Area) -> np.ndarray:
    """Coverage of ``opening`` in the window of ``other``."""
    cover = np.zeros_like(other.cover)
    rows = [max(o.start, w.start) for o, w in zip(opening.window, other.window, strict=True)]
    ends = [min(o.stop, w.stop) for o, w in zip(opening.window, other.window, strict=True)]
    if rows[0] < ends[0] and rows[1] < ends[1]:
        into = tuple(
            slice(a - w.start, b - w.start)
            for a, b, w in zip(rows, ends, other.window, strict=True)
        )
        of = tuple(
            slice(a - o.start, b - o.start)
            for a, b, o in zip(rows, ends, opening.window, strict=True)
        )
        cover[into] = opening.cover[of]
    return cover


def _iris(canvas, picture, opening, identity, center, width) -> None:
    radius = width * 0.2
    dark = np.array(identity.iris, np.float32)
    rings = (
        (1.0, dark * 0.3, 0.5),
        (0.85, dark, 0.6),
        (0.55, dark * 1.5, 0.8),
        (0.42, dark * 0.02, 0.4),
    )
    for size, color, soft in rings:
        disk = paint.area(canvas, paint.ellipse(center, radius * size, radius * size), soft=soft)
        paint.blend(picture, paint.Area(disk.window, disk.cover * _within(opening, disk)), color)


def eye_sparkle(canvas: Canvas, picture: np.ndarray, points: np.ndarray, light, gaze) -> None:
    """Paints the light's reflection on both eyeballs, over everything else."""
    for side in (-1, 1):
        upper, lower = _eye_lids(points, side)
        center = (upper[12] + lower[12]) / 2 + gaze
        spot = center + 0.022 * np.array((light[0], light[1])) + (0, -0.006)
        opening = paint.area(canvas, np.concatenate((upper, lower[::-1])), soft=0.4)
        glint = paint.area(canvas, paint.ellipse(spot, 0.011, 0.01), soft=0.5)
        paint.blend(
            picture,
            paint.Area(glint.window, glint.cover * _within(opening, glint)),
            (1, 1, 1),
            0.85,
        )


def brows(
    canvas: Canvas, picture: np.ndarray, identity: Identity, points: np.ndarray, knit: float
) -> None:
    """Paints both brows hair by hair; ``knit`` 0..1 turns the inner hairs up."""
    rng = np.random.default_rng(identity.seed + 7)
    color = np.minimum(np.array(identity.hair, np.float32) * 0.6, 0.13)
    for side in (-1, 1):
        spine = points[17:22] if side < 0 else points[26:21:-1]  # from the outer end inward
        line = curve(spine, steps=6)
        along = np.linspace(0, 1, len(line))
        thick = identity.brow_thickness * 0.05 * (0.25 + 0.75 * along**0.7) * (1 - 0.2 * along**6)
        top, bottom = line - np.outer(thick * 0.55, (0, 1)), line + np.outer(thick * 0.75, (0, 1))
        body = paint.area(canvas, np.concatenate((top, bottom[::-1])), soft=1.5)
        paint.blend(picture, body, color, 0.62 * identity.brow_darkness)
        place = rng.random(80)
        root = rng.random(80)[:, None]
        index = place * (len(line) - 1)
        start = np.stack(
            [
                np.interp(index, np.arange(len(line)), edge[:, c])
                for edge in (top, bottom)
                for c in (0, 1)
            ],
            1,
        )
        foot = start[:, :2] * (1 - root) + start[:, 2:] * root
        lean = np.stack(
            (side * (0.01 + 0.035 * (1 - place**3)), -0.012 - 0.02 * place**2 * (1 + knit)), 1
        )
        hairs = np.stack((foot, foot + lean * rng.uniform(0.7, 1.2, (80, 1))), 1)
        drawn = paint.strokes(canvas, hairs, width=0.0085, soft=0.4)
        paint.blend(picture, drawn, color * 0.6, 0.8 * identity.brow_darkness)


def nose(canvas: Canvas, picture: np.ndarray, layers: Layers, points: np.ndarray) -> None:
    """Paints nostrils, wings and the shade under the tip."""
    base = points[33]
    wing = np.abs(points[35, 0] - points[31, 0]) / 2
    under = paint.area(canvas, paint.ellipse(base + (0, -0.005), wing * 0.85, 0.035), soft=2.5)
    paint.darken(picture, under, 0.3)
    for side in (-1, 1):
        corner = points[35] if side > 0 else points[31]
        inner = points[34] if side > 0 else points[32]
        hole = paint.ellipse(
            (corner * 0.4 + inner * 0.6) + (0, -0.018), wing * 0.27, 0.02, tilt=-side * 18
        )
        paint.blend(
            picture, paint.area(canvas, hole, soft=0.9), layers.tone * (0.07, 0.045, 0.04), 0.92
        )
        rim = curve(np.stack((
            corner + (side * 0.008, -0.095), corner + (side * 0.03, -0.045), corner + (side * 0.018, 0.004),
            (corner + inner) / 2 + (0, 0.012),
        )))  # fmt: skip
        paint.darken(picture, paint.strokes(canvas, [rim], width=0.014, soft=1.2), 0.55)


def mouth(
    canvas: Canvas, picture: np.ndarray, identity: Identity, layers: Layers, points: np.ndarray,
    tense: float,
) -> paint.Area:  # fmt: skip
    """Paints lips, and teeth and tongue where the mouth is open; ``tense`` 0..1 drains and rolls in the lips.

    Returns:
        Coverage of the lips, which shine a little.
    """
    upper, lower = (
        curve(points[48:55], steps=6),
        curve(points[[48, 59, 58, 57, 56, 55, 54]], steps=6),
    )
    top, bottom = curve(points[60:65], steps=6), curve(points[[60, 67, 66, 65, 64]], steps=6)
    red = layers.tone * (0.92, 0.45, 0.45) * (1 - identity.lip_red) + np.array(
        (0.5, 0.1, 0.1)
    ) * identity.lip_red * (0.45 + 0.55 * layers.tone[0] / 0.78)
    lips = paint.area(canvas, np.concatenate((upper, lower[::-1])), soft=1.0)
    paint.blend(picture, lips, red, 0.75 * (1 - 0.6 * tense))
    paint.darken(picture, paint.area(canvas, np.concatenate((upper, top[::-1])), soft=1.0), 0.22)
    inside = np.concatenate((top, bottom[::-1]))
    gap = float((points[[65, 66, 67], 1] - points[[63, 62, 61], 1]).mean())
    if gap > 0.02:
        _open_mouth(canvas, picture, inside, top, points, gap)
    ends = np.stack((points[48], points[54]))
    middle = (top + bottom) / 2
    line = curve(np.concatenate((ends[:1] + (0.012, 0), middle[::6], ends[1:] - (0.012, 0))))
    share = 0.9 if gap < 0.03 else 0.3
    paint.blend(
        picture,
        paint.strokes(canvas, [line], width=0.014, soft=0.7),
        layers.tone * (0.12, 0.05, 0.05),
        share,
    )
    for end in ends:
        paint.darken(picture, paint.area(canvas, paint.ellipse(end, 0.022, 0.016), soft=1.8), 0.45)
    rim = lower[4:-4] + (0, 0.022)
    paint.darken(picture, paint.strokes(canvas, [rim], width=0.02, soft=2.2), 0.28)
    return lips


def _open_mouth(canvas, picture, inside, top, points, gap) -> None:
    hollow = paint.area(canvas, inside, soft=0.6)
    paint.blend(picture, hollow, (0.035, 0.012, 0.012))
    depth = min(0.075, 0.02 + gap * 0.75)
    row = top[1:-1]
    edge = row + np.outer(np.sin(np.linspace(0.25, np.pi - 0.25, len(row))) ** 0.6, (0, depth))
    teeth = paint.area(canvas, np.concatenate((row - (0, 0.02), edge[::-1])), soft=0.8)
    within = paint.Area(teeth.window, teeth.cover * _within(hollow, teeth))
    paint.blend(picture, within, (0.62, 0.58, 0.5), 0.9)
    gaps = [
        np.array(((x, points[62, 1] - 0.02), (x, points[62, 1] + depth)))
        for x in np.arange(-0.18, 0.19, 0.045)
    ]
    lines = paint.strokes(canvas, gaps, width=0.005, soft=0.5)
    paint.darken(picture, paint.Area(lines.window, lines.cover * _within(within, lines)), 0.35)
    if gap > 0.08:
        tongue = paint.area(
            canvas, paint.ellipse(points[66] + (0, -0.005), 0.13, gap * 0.35), soft=2
        )
        paint.blend(
            picture,
            paint.Area(tongue.window, tongue.cover * _within(hollow, tongue)),
            (0.3, 0.08, 0.08),
            0.8,
        )


def glasses(canvas: Canvas, picture: np.ndarray, identity: Identity, points: np.ndarray) -> None:
    """Paints spectacles, if the person wears any."""
    if not identity.glasses:
        return
    color = (0.012, 0.01, 0.01) if identity.glasses == 2 else (0.3, 0.24, 0.12)
    color = np.array(color) * (0.35 if identity.skin < 0.5 else 1.3)
    width = 0.03 if identity.glasses == 2 else 0.018
    rims = []
    for side in (-1, 1):
        eye = points[42:48].mean(0) if side > 0 else points[36:42].mean(0)
        t = np.linspace(0, 2 * np.pi, 32, endpoint=False)
        power = 0.7
        rim = np.stack((np.sign(np.cos(t)) * np.abs(np.cos(t)) ** power * 0.225,
                        np.sign(np.sin(t)) * np.abs(np.sin(t)) ** power * 0.16), 1)  # fmt: skip
        rims.append(rim + eye + (side * 0.02, 0.04))
        paint.blend(picture, paint.area(canvas, rims[-1]), (0.9, 0.92, 0.95), 0.05)
    paint.darken(
        picture,
        paint.strokes(
            canvas, [rim + (0, 0.03) for rim in rims], width=width, soft=1.5, closed=True
        ),
        0.45,
    )
    paint.blend(
        picture, paint.strokes(canvas, rims, width=width, soft=0.4, closed=True), color, 0.95
    )
    y = points[27, 1] + 0.03
    bridge = curve(np.array(((-0.11, y + 0.02), (0, y - 0.015), (0.11, y + 0.02))))
    arms = [np.array(((side * 0.6, y - 0.02), (side * 0.78, y - 0.03))) for side in (-1, 1)]
    paint.blend(picture, paint.strokes(canvas, [bridge, *arms], width=width, soft=0.5), color, 0.95)
