"""Tables of mounds, hollows and folds that action units make in the skin: soft, with a depth that varies by face."""

from typing import NamedTuple

import numpy as np

from data_builders.synthetic_faces.actions import Bulge, SkinFold
from data_builders.synthetic_faces.wild.anchors import anchors

Strengths = dict[int, float]


class Mound(NamedTuple):
    """A mound of one half, ``x`` outward and ``y`` down of an anchor; its height by unit at strength 1."""

    anchor: str
    x: float
    y: float
    radius_x: float
    radius_y: float
    heights: Strengths


#: Of each half.
MOUNDS = (
    Mound("eye", 0.1, 0.27, 0.17, 0.1, {6: 0.08, 12: 0.045}),
    Mound("eye", 0.12, 0.16, 0.13, 0.04, {6: 0.045}),
    Mound("lid", 0.0, 0.05, 0.12, 0.026, {6: 0.03, 7: 0.04}),
    Mound("lid", 0.0, 0.105, 0.13, 0.022, {6: -0.03, 7: -0.012}),
    Mound("outer", 0.16, 0.02, 0.06, 0.09, {6: 0.03}),
    Mound("eye", 0.02, -0.12, 0.18, 0.035, {4: 0.045, 5: -0.02, 6: 0.02}),
    Mound("brow", -0.2, -0.03, 0.075, 0.05, {4: 0.065}),
    Mound("brow_inner", 0.05, -0.1, 0.13, 0.05, {1: 0.045}),
    Mound("brow_outer", -0.02, -0.1, 0.12, 0.05, {2: 0.04}),
    Mound("wing", 0.1, -0.08, 0.075, 0.09, {10: 0.065, 9: 0.045}),
    Mound("wing", 0.03, -0.02, 0.04, 0.04, {10: 0.03, 9: 0.035}),
    Mound("bridge", 0.085, -0.03, 0.045, 0.09, {9: 0.04}),
    Mound("corner", 0.12, -0.12, 0.1, 0.11, {12: 0.07}),
    Mound("corner", 0.03, 0.0, 0.03, 0.04, {12: -0.04}),
    Mound("corner", 0.085, 0.0, 0.04, 0.07, {14: 0.08, 24: 0.015}),
    Mound("corner", 0.02, 0.0, 0.024, 0.05, {14: -0.085, 23: 0.02}),
    Mound("corner", 0.06, 0.12, 0.06, 0.06, {15: 0.06}),
    Mound("corner", 0.0, 0.05, 0.03, 0.04, {15: -0.04}),
    Mound("lower", 0.05, 0.07, 0.07, 0.03, {17: -0.03, 15: 0.02}),
)  # fmt: skip
#: Of the middle.
MIDDLE_MOUNDS = (
    Mound("chin", 0, -0.19, 0.14, 0.075, {17: 0.1}),
    Mound("chin", 0, -0.08, 0.16, 0.05, {17: 0.03}),
    Mound("bottom", 0, 0.075, 0.17, 0.032, {17: -0.055, 24: 0.045, 23: 0.02, 16: -0.02}),
    Mound("bottom", 0, -0.03, 0.15, 0.03, {17: 0.05, 18: 0.06, 22: 0.06, 23: -0.02, 24: -0.03}),
    Mound("top", 0, -0.05, 0.19, 0.032, {24: 0.045, 23: 0.025}),
    Mound("top", 0, 0.03, 0.15, 0.03, {18: 0.06, 22: 0.06, 23: -0.02, 24: -0.03}),
    Mound("root", 0, -0.12, 0.05, 0.09, {4: 0.022, 9: 0.025}),
)  # fmt: skip


class Line(NamedTuple):
    """A fold of one half through points (anchor, outward, down); its depth by unit at strength 1, and by age."""

    points: tuple[tuple[str, float, float], ...]
    width: float
    depths: Strengths
    rest: float = 0.0


def _forehead() -> list[Line]:
    found = []
    for row in range(3):
        up, depth = 0.12 + 0.09 * row, 0.9 - 0.12 * row
        inner = (
            ("axis", 0.0, -0.32 - up),
            ("brow_inner", 0.02, -up - 0.02),
            ("brow_inner", 0.18, 0.01 - up),
        )
        outer = (("brow", -0.12, -up), ("brow_outer", 0, -up), ("brow_outer", 0.12, 0.06 - up))
        found += [Line(inner, 0.014, {1: depth}, 0.25), Line(outer, 0.014, {2: depth}, 0.2)]
    return found


def _crows_feet() -> list[Line]:
    found = []
    for down, lift in ((-0.085, -0.03), (-0.03, -0.01), (0.03, 0.015), (0.085, 0.05)):
        points = ((0.05, down * 0.35 + 0.01), (0.1, down * 0.75 + 0.01), (0.165, down + lift))
        found.append(Line(tuple(("outer", *p) for p in points), 0.012, {6: 0.8}, 0.2))
    return found


def _lips() -> list[Line]:
    found = []
    for x in (0.03, 0.1, 0.17):
        upper = (("top", x, -0.01), ("top", x * 1.1, -0.065))
        lower = (("bottom", x, 0.01), ("bottom", x * 1.1, 0.06))
        found += [
            Line(upper, 0.011, {23: 0.5, 18: 0.4}, 0.12),
            Line(lower, 0.011, {23: 0.45, 18: 0.4}, 0.05),
        ]
    return found


#: Of each half.
LINES = (
    *_forehead(), *_crows_feet(), *_lips(),
    Line((("brow_inner", -0.055, -0.12), ("brow_inner", -0.06, -0.01), ("brow_inner", -0.055, 0.075)),
         0.018, {4: 0.95}, 0.15),
    Line((("brow_inner", -0.11, -0.09), ("brow_inner", -0.115, 0.03)), 0.012, {4: 0.5}),
    Line((("brow_inner", 0.01, -0.1), ("brow_inner", 0.06, -0.075), ("brow_inner", 0.14, -0.085)),
         0.014, {4: 0.45}),
    Line((("inner", 0.03, 0.1), ("lid", 0, 0.09), ("outer", 0.03, 0.06)), 0.018, {6: 0.8, 12: 0.15}, 0.3),
    Line((("inner", 0.01, 0.055), ("lid", 0, 0.035), ("outer", -0.01, 0.05)), 0.013, {7: 0.75, 6: 0.25}),
    Line((("inner", -0.03, -0.015), ("inner", 0.02, 0.08)), 0.012, {7: 0.4}),
    Line((("root", 0.035, 0.10), ("root", 0.095, 0.04), ("root", 0.13, -0.03)), 0.014, {9: 0.8}),
    Line((("root", 0.045, 0.17), ("root", 0.115, 0.11), ("root", 0.16, 0.06)), 0.014, {9: 0.7}),
    Line((("wing", 0.03, -0.085), ("wing", 0.06, -0.03), ("wing", 0.12, 0.1)), 0.022,
         {10: 0.9, 9: 0.75, 12: 0.5}, 0.4),
    Line((("wing", 0.12, 0.1), ("corner", 0.085, -0.055), ("corner", 0.1, 0.045)), 0.022,
         {12: 0.9, 10: 0.4}, 0.28),
    Line((("wing", 0.07, -0.16), ("wing", 0.15, -0.05)), 0.016, {10: 0.4}),
    Line((("corner", 0.2, -0.16), ("corner", 0.23, -0.02), ("corner", 0.2, 0.1)), 0.016, {12: 0.3}, 0.05),
    Line((("corner", 0.035, -0.06), ("corner", 0.05, 0), ("corner", 0.03, 0.06)), 0.022, {14: 0.95}),
    Line((("corner", 0.085, -0.05), ("corner", 0.1, 0), ("corner", 0.08, 0.055)), 0.014, {14: 0.5}),
    Line((("corner", 0.015, 0.015), ("corner", 0.045, 0.09), ("corner", 0.055, 0.165)), 0.018,
         {15: 0.75}, 0.25),
    Line((("corner", -0.09, 0.09), ("corner", -0.03, 0.13)), 0.014, {15: 0.45}),
)  # fmt: skip
#: Across the middle: points of the image-right half, mirrored.
MIDDLE_LINES = (
    Line((("bottom", 0, 0.075), ("bottom", 0.12, 0.09), ("bottom", 0.2, 0.12)), 0.018,
         {17: 0.75, 24: 0.3}, 0.25),
    Line((("bottom", 0, 0.05), ("bottom", 0.15, 0.055)), 0.014, {24: 0.8, 23: 0.3}),
    Line((("top", 0, -0.03), ("top", 0.17, -0.035)), 0.012, {24: 0.6, 23: 0.3}),
    Line((("root", 0, -0.015), ("root", 0.08, -0.03)), 0.012, {9: 0.7, 4: 0.3}),
)  # fmt: skip
#: Dimples of the chin boss, (outward, up from the tip of the chin).
_PEBBLES = ((-0.1, 0.13), (0.06, 0.11), (-0.02, 0.17), (0.11, 0.17), (-0.12, 0.2), (0.03, 0.215), (-0.06, 0.24),
            (0.09, 0.235))  # fmt: skip
_PEBBLE = {17: 0.5}
ROWS = len(MOUNDS) + len(MIDDLE_MOUNDS), len(LINES) + len(MIDDLE_LINES) + 1


def _sum(table: Strengths, strengths: Strengths) -> float:
    return sum(value * strengths.get(au, 0.0) for au, value in table.items())


def mounds(points: np.ndarray, sides: dict[int, Strengths], jitter: np.ndarray) -> list[Bulge]:
    """Returns the mounds and hollows of a face.

    Args:
        points: [68, 2] moved landmarks, head units.
        sides: strengths of the image-left half (-1), the right (1) and the middle (0).
        jitter: factors on the heights, one of each of ``ROWS[0]`` rows.
    """
    found = []
    for side in (-1, 1):
        places = anchors(points, side)
        for row, factor in zip(MOUNDS, jitter, strict=False):
            x, y = places[row.anchor]
            height = factor * _sum(row.heights, sides[side])
            found.append(Bulge(x + side * row.x, y + row.y, row.radius_x, row.radius_y, height))
    places = anchors(points, 1)
    for row, factor in zip(MIDDLE_MOUNDS, jitter[len(MOUNDS) :], strict=True):
        x, y = places[row.anchor]
        height = factor * _sum(row.heights, sides[0])
        found.append(Bulge(x + row.x, y + row.y, row.radius_x, row.radius_y, height))
    return [bulge for bulge in found if abs(bulge.height) > 1e-4]


def lines(
    points: np.ndarray, sides: dict[int, Strengths], jitter: np.ndarray, *, age: float, depth: float
) -> list[SkinFold]:
    """Returns the folds of a face that are seen.

    Args:
        points: [68, 2] moved landmarks, head units.
        sides: strengths of the image-left half (-1), the right (1) and the middle (0).
        jitter: factors on the depths, one of each of ``ROWS[1]`` rows.
        age: 0..1, of what stays at rest.
        depth: factor on all.
    """
    found = []
    for side in (-1, 1):
        places = anchors(points, side)
        for line, factor in zip(LINES, jitter, strict=False):
            found.append(_fold(line, places, side, sides[side], factor, age))
    right, left = anchors(points, 1), anchors(points, -1)
    for line, factor in zip(MIDDLE_LINES, jitter[len(LINES) :], strict=False):
        half = _fold(line, right, 1, sides[0], factor, age)
        other = _fold(line, left, -1, sides[0], factor, age).points
        found.append(half._replace(points=np.concatenate((other[:0:-1], half.points))))
    for x, up in _PEBBLES:
        x, y = points[8] + (x, -up)
        ends = np.array(((x - 0.012, y), (x + 0.012, y + 0.008)), np.float32)
        found.append(SkinFold(ends, 0.02, jitter[-1] * _sum(_PEBBLE, sides[0])))
    scaled = (fold._replace(depth=min(1.0, depth * fold.depth)) for fold in found)
    return [fold for fold in scaled if fold.depth > 0.04]


def _fold(line, places, side, strengths, factor, age) -> SkinFold:
    points = [places[name] + (side * x, y) for name, x, y in line.points]
    depth = max(line.rest * age, _sum(line.depths, strengths))
    return SkinFold(np.array(points, np.float32), line.width, factor * depth)
