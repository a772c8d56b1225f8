"""Effect of each action unit on the face: moved landmarks, bulges and folds of the skin (FACS).

Everything is given for the image-right half at full strength, x outward; the other half mirrors it. Bulges and folds
are placed relative to landmarks, so that they follow the person and the other action units.
"""

from typing import NamedTuple

import numpy as np

from data_builders.synthetic_faces.anatomy import both_halves

#: AU -> {landmark: (outward, down)} in head units at strength 1.
_MOVES = {
    1: {22: (0.0, -0.11), 23: (0.0, -0.085), 24: (0, -0.035), 25: (0, -0.005), 43: (0, -0.012)},
    2: {26: (0, -0.075), 25: (0, -0.115), 24: (0, -0.08), 23: (0, -0.02), 44: (0, -0.012)},
    4: {22: (-0.045, 0.065), 23: (-0.035, 0.065), 24: (-0.025, 0.05), 25: (-0.01, 0.035),
        26: (0, 0.012), 43: (0, 0.012), 44: (0, 0.01)},
    6: {46: (0, -0.026), 47: (0, -0.02), 44: (0, 0.012), 43: (0, 0.006), 45: (-0.008, 0.0),
        25: (0, 0.016), 26: (-0.005, 0.022)},
    7: {46: (0, -0.024), 47: (0, -0.026), 44: (0, 0.02), 43: (0, 0.022)},
    9: {22: (-0.02, 0.045), 23: (-0.01, 0.04), 24: (0, 0.02), 35: (0.02, -0.045),
        34: (0.005, -0.035), 33: (0, -0.025), 30: (0, -0.035), 29: (0, -0.02), 51: (0, -0.03),
        52: (0, -0.035), 53: (0, -0.03), 62: (0, -0.012), 63: (0, -0.016), 47: (0, -0.012)},
    10: {51: (0, -0.05), 52: (0.005, -0.066), 53: (0.015, -0.058), 54: (0.01, -0.012),
         62: (0, -0.034), 63: (0.005, -0.042), 64: (0.005, -0.012), 35: (0.02, -0.028),
         34: (0.005, -0.016), 33: (0, -0.008)},
    12: {54: (0.09, -0.095), 64: (0.09, -0.088), 53: (0.055, -0.035), 52: (0.015, 0.004),
         51: (0, 0.014), 63: (0.025, -0.008), 65: (0.025, -0.012), 55: (0.055, -0.055),
         56: (0.02, -0.03), 57: (0, -0.02), 35: (0.018, -0.01), 34: (0.006, -0.004),
         12: (0.012, -0.01), 13: (0.012, -0.008)},
    14: {54: (0.045, 0.008), 64: (0.045, 0.008), 53: (0.02, 0.01), 55: (0.025, -0.014),
         52: (0, 0.006), 51: (0, 0.006), 56: (0, -0.01), 57: (0, -0.01)},
    15: {54: (0.015, 0.1), 64: (0.015, 0.095), 53: (0.0, 0.034), 55: (0.005, 0.06),
         56: (0, 0.012), 63: (0, 0.006), 65: (0, 0.008)},
    17: {57: (0, -0.055), 56: (0, -0.055), 55: (0, -0.035), 65: (0, -0.03), 66: (0, -0.034),
         62: (0, -0.03), 63: (0, -0.026), 51: (0, -0.02), 52: (0, -0.02), 53: (0, -0.008),
         54: (0, 0.02), 64: (0, 0.018), 8: (0, -0.045), 9: (0, -0.04), 10: (0, -0.02)},
    23: {54: (-0.075, 0), 64: (-0.075, 0), 53: (-0.035, 0.018), 52: (-0.005, 0.024),
         51: (0, 0.022), 55: (-0.038, -0.022), 56: (-0.008, -0.034), 57: (0, -0.034)},
    24: {54: (0.018, 0.006), 64: (0.018, 0.006), 53: (0.008, 0.034), 52: (0, 0.046),
         51: (0, 0.044), 55: (0.008, -0.044), 56: (0, -0.064), 57: (0, -0.064)},
    25: {62: (0, -0.016), 63: (0, -0.014), 65: (0, 0.045), 66: (0, 0.05), 51: (0, -0.014),
         52: (0, -0.014), 53: (0, -0.008), 55: (0, 0.03), 56: (0, 0.048), 57: (0, 0.05)},
    26: {62: (0, -0.005), 65: (0, 0.15), 66: (0, 0.16), 64: (-0.015, 0.055), 54: (-0.02, 0.055),
         55: (-0.012, 0.12), 56: (0, 0.16), 57: (0, 0.165), 8: (0, 0.16), 9: (0, 0.155),
         10: (0, 0.125), 11: (0, 0.075), 12: (0, 0.03)},
}  # fmt: skip
MOVES = {au: both_halves(moves) for au, moves in _MOVES.items()}

_LIP_GAP = 0.008  # height of a closed mouth between the inner landmarks


class SkinFold(NamedTuple):
    """A line in the skin: ``points`` [N, 2] in head units, ``width`` in head units, ``depth`` 0..1.

    A negative depth is a ridge.
    """

    points: np.ndarray
    width: float
    depth: float


class Bulge(NamedTuple):
    """A soft mound in the skin: center, radii and height in head units; negative is a hollow."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    height: float


def move(landmarks: np.ndarray, strengths: dict[int, float]) -> np.ndarray:
    """Moves landmarks as action units do.

    Args:
        landmarks: [68, 2] float32 at rest, head units.
        strengths: {AU number: strength, 0 (absent) to 1 (as strong as it gets)}.

    Returns:
        [68, 2] float32.

    Raises:
        KeyError: for an AU that has no moves.
    """
    points = landmarks.copy()
    for au, strength in strengths.items():
        points += np.float32(strength) * MOVES[au]
    _keep_lips_apart(points)
    _keep_eyes_open(points)
    return points


def _keep_lips_apart(points: np.ndarray) -> None:
    """Lips may thin and press, but neither cross nor vanish."""
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        gap = points[lower, 1] - points[upper, 1]
        if gap < _LIP_GAP:
            middle = (points[lower, 1] + points[upper, 1]) / 2
            points[upper, 1], points[lower, 1] = middle - _LIP_GAP / 2, middle + _LIP_GAP / 2
    for outer, inner in ((50, 61), (51, 62), (52, 63)):
        points[outer, 1] = min(points[outer, 1], points[inner, 1] - 0.018)
    for outer, inner in ((58, 67), (57, 66), (56, 65)):
        points[outer, 1] = max(points[outer, 1], points[inner, 1] + 0.024)


def _keep_eyes_open(points: np.ndarray) -> None:
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        gap = points[lower, 1] - points[upper, 1]
        if gap < 0.022:
            points[upper, 1], points[lower, 1] = points[lower, 1] - 0.022, points[lower, 1]


def bulges(points: np.ndarray, strengths: dict[int, float]) -> list[Bulge]:
    """Returns the mounds and hollows that action units add to the skin.

    Args:
        points: [68, 2] landmarks after ``move``, head units.
        strengths: {AU number: strength}.

    Returns:
        Mounds of both halves.
    """
    s = {au: strengths.get(au, 0.0) for au in MOVES}
    found = [Bulge(0, points[8, 1] - 0.17, 0.13, 0.085, 0.075 * s[17])]
    found.append(Bulge(0, points[57, 1] + 0.085, 0.17, 0.035, -0.035 * s[17] + 0.045 * s[24]))
    found.append(Bulge(0, points[51, 1] - 0.055, 0.19, 0.035, 0.045 * s[24]))
    found.append(Bulge(0, points[27, 1] - 0.12, 0.05, 0.09, 0.02 * s[4] + 0.02 * s[9]))
    for side in (-1, 1):
        eye, brow, corner, wing = _anchors(points, side)
        x, y = eye
        found += [
            Bulge(x + side * 0.1, y + 0.27, 0.16, 0.09, 0.075 * s[6] + 0.05 * s[12]),
            Bulge(x + side * 0.01, y + 0.105, 0.13, 0.03, 0.035 * s[6] + 0.035 * s[7]),
            Bulge(x + side * 0.26, y + 0.02, 0.06, 0.09, 0.025 * s[6]),
            Bulge(brow[0] - side * 0.2, brow[1] - 0.03, 0.075, 0.05, 0.06 * s[4]),
            Bulge(side * 0.2, brow[1] - 0.1, 0.13, 0.05, 0.04 * s[1]),
            Bulge(side * 0.52, brow[1] - 0.08, 0.12, 0.05, 0.035 * s[2]),
            Bulge(brow[0] + side * 0.04, (brow[1] + y) / 2, 0.2, 0.035, 0.04 * s[4]),
            Bulge(corner[0] + side * 0.1, corner[1] - 0.11, 0.09, 0.1, 0.06 * s[12]),
            Bulge(corner[0] + side * 0.075, corner[1] + 0.0, 0.035, 0.06, 0.075 * s[14]),
            Bulge(corner[0] + side * 0.02, corner[1] + 0.0, 0.022, 0.05, -0.07 * s[14]),
            Bulge(corner[0] + side * 0.05, corner[1] + 0.11, 0.06, 0.06, 0.05 * s[15]),
            Bulge(wing[0] + side * 0.1, wing[1] - 0.08, 0.07, 0.09, 0.06 * s[10] + 0.04 * s[9]),
            Bulge(side * 0.085, points[28, 1] - 0.03, 0.045, 0.09, 0.035 * s[9]),
        ]
    return [bulge for bulge in found if abs(bulge.height) > 1e-4]


def _anchors(points: np.ndarray, side: int) -> tuple[np.ndarray, ...]:
    """Eye center, brow center, mouth corner and nose wing of one half."""
    eye = points[42:48] if side > 0 else points[36:42]
    brow, corner, wing = (24, 54, 35) if side > 0 else (19, 48, 31)
    return eye.mean(0), points[brow], points[corner], points[wing]
