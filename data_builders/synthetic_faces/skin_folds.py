"""Lines that action units fold into the skin, and those that age leaves at rest."""

import numpy as np

from data_builders.synthetic_faces.actions import MOVES, SkinFold


def folds(points: np.ndarray, strengths: dict[int, float], *, age: float) -> list[SkinFold]:
    """Draws every visible line of a face.

    Args:
        points: [68, 2] landmarks after the action units have moved them, head units.
        strengths: {AU number: strength}.
        age: 0..1, depth of the lines at rest.

    Returns:
        Lines of both halves whose depth is visible.
    """
    s = {au: strengths.get(au, 0.0) for au in MOVES}
    found = _middle(points, s)
    for side in (-1, 1):
        found += _forehead(points, s, side, age)
        found += _eye(points, s, side, age)
        found += _cheek(points, s, side, age)
        found += _mouth(points, s, side)
    return [fold for fold in found if abs(fold.depth) > 0.04]


def _line(*points: tuple[float, float], width: float, depth: float) -> SkinFold:
    return SkinFold(np.array(points, np.float32), width, depth)


def _middle(points: np.ndarray, s: dict[int, float]) -> list[SkinFold]:
    lip, chin, root = points[57, 1], points[8, 1], points[27, 1]
    arc = s[17] * 0.055
    found = [
        _line((-0.2, lip + 0.1 + arc), (0, lip + 0.085 - arc), (0.2, lip + 0.1 + arc),
              width=0.018, depth=0.25 + 0.65 * s[17]),
        _line((-0.15, lip + 0.055), (0, lip + 0.05), (0.15, lip + 0.055), width=0.014,
              depth=0.95 * s[24]),
        _line((-0.17, points[51, 1] - 0.035), (0, points[51, 1] - 0.03),
              (0.17, points[51, 1] - 0.035), width=0.012, depth=0.75 * s[24]),
        _line((-0.08, root - 0.03), (0, root - 0.015), (0.08, root - 0.03), width=0.012,
              depth=0.7 * s[9] + 0.35 * s[4]),
    ]  # fmt: skip
    for x, y in ((-0.1, 0.13), (0.06, 0.11), (-0.02, 0.17), (0.11, 0.17), (-0.12, 0.2),
                 (0.03, 0.215), (-0.06, 0.24), (0.09, 0.235)):  # fmt: skip
        found.append(_line((x - 0.012, chin - y), (x + 0.012, chin - y + 0.008), width=0.02,
                           depth=0.55 * s[17]))  # fmt: skip
    return found


def _forehead(points: np.ndarray, s: dict[int, float], side: int, age: float) -> list[SkinFold]:
    inner, middle, outer = points[(22, 24, 25) if side > 0 else (21, 19, 18), :]
    found = []
    for row in range(3):
        up = 0.13 + 0.095 * row
        rest = 0.22 * max(0.0, age - 0.35)
        medial = max(rest, (0.95 - 0.12 * row) * s[1])
        lateral = max(rest, (0.95 - 0.12 * row) * s[2])
        y = inner[1] - up
        found.append(
            _line(
                (0, y - 0.01 + 0.012 * row),
                (side * 0.14, y - 0.02),
                (side * 0.3, y + 0.035 - 0.03 * s[2]),
                width=0.014,
                depth=medial,
            )
        )
        found.append(
            _line(
                (side * 0.3, middle[1] - up + 0.01),
                (outer[0], outer[1] - up),
                (side * 0.68, outer[1] - up + 0.075),
                width=0.014,
                depth=lateral,
            )
        )
    x = abs(inner[0]) * 0.55
    found += [
        _line((side * (x + 0.012), inner[1] - 0.12), (side * x, inner[1] - 0.01),
              (side * (x + 0.005), inner[1] + 0.075), width=0.018, depth=0.15 * age + 0.95 * s[4]),
        _line((side * 0.02, inner[1] - 0.09), (side * 0.018, inner[1] + 0.03), width=0.012,
              depth=0.55 * s[4]),
        _line((side * (x + 0.07), inner[1] - 0.1), (side * (x + 0.12), inner[1] - 0.075),
              (side * (x + 0.2), inner[1] - 0.085), width=0.014, depth=0.5 * s[4]),
    ]  # fmt: skip
    return found


def _eye(points: np.ndarray, s: dict[int, float], side: int, age: float) -> list[SkinFold]:
    inner, outer = points[(42, 45) if side > 0 else (39, 36), :]
    lower = points[(46, 47) if side > 0 else (41, 40), 1].mean()
    center = (inner[0] + outer[0]) / 2
    found = []
    for dy, lift in ((-0.085, -0.03), (-0.03, -0.01), (0.03, 0.015), (0.085, 0.05)):
        found.append(
            _line((outer[0] + side * 0.05, outer[1] + dy * 0.35 + 0.01),
                  (outer[0] + side * 0.1, outer[1] + dy * 0.75 + 0.01),
                  (outer[0] + side * 0.165, outer[1] + dy + lift), width=0.012,
                  depth=0.2 * max(0.0, age - 0.3) + 0.85 * s[6])
        )  # fmt: skip
    bag = max(0.16 + 0.2 * age, 0.85 * s[6])
    found += [
        _line((inner[0] + side * 0.03, lower + 0.075), (center, lower + 0.125 - 0.015 * s[6]),
              (outer[0] + side * 0.03, lower + 0.08 - 0.05 * s[6]), width=0.018, depth=bag),
        _line((inner[0] + side * 0.01, lower + 0.025), (center, lower + 0.05),
              (outer[0] - side * 0.01, lower + 0.025), width=0.013, depth=0.8 * s[7] + 0.2 * s[6]),
        _line((inner[0] - side * 0.03, inner[1] - 0.015), (inner[0] + side * 0.02, lower + 0.05),
              width=0.012, depth=0.45 * s[7]),
        _line((side * 0.035, points[27, 1] + 0.10), (side * 0.095, points[27, 1] + 0.04),
              (side * 0.13, points[27, 1] - 0.03), width=0.014, depth=0.85 * s[9]),
        _line((side * 0.045, points[27, 1] + 0.17), (side * 0.115, points[27, 1] + 0.11),
              (side * 0.16, points[27, 1] + 0.06), width=0.014, depth=0.75 * s[9]),
    ]  # fmt: skip
    return found


def _cheek(points: np.ndarray, s: dict[int, float], side: int, age: float) -> list[SkinFold]:
    wing, corner = points[(35, 54) if side > 0 else (31, 48), :]
    rest = 0.08 + 0.4 * age
    upper = max(rest, 0.95 * s[10], 0.8 * s[9], 0.6 * s[12])
    lower = max(0.7 * rest, 0.95 * s[12], 0.45 * s[10])
    bend = side * (0.105 + 0.03 * s[10])
    middle = (wing[0] + bend, (wing[1] + corner[1]) / 2 - 0.04)
    return [
        _line((wing[0] + side * 0.03, wing[1] - 0.085 - 0.02 * s[9]),
              (wing[0] + side * 0.06, wing[1] - 0.03), middle, width=0.022, depth=upper),
        _line(middle, (corner[0] + side * 0.075, corner[1] - 0.055),
              (corner[0] + side * 0.1, corner[1] + 0.045), width=0.022, depth=lower),
        _line((wing[0] + side * 0.07, wing[1] - 0.16), (wing[0] + side * 0.15, wing[1] - 0.05),
              width=0.016, depth=0.45 * s[10]),
    ]  # fmt: skip


def _mouth(points: np.ndarray, s: dict[int, float], side: int) -> list[SkinFold]:
    corner, upper, lower = points[(54, 52, 56) if side > 0 else (48, 50, 58), :]
    found = [
        _line((corner[0] + side * 0.035, corner[1] - 0.065), (corner[0] + side * 0.05, corner[1]),
              (corner[0] + side * 0.03, corner[1] + 0.065), width=0.022, depth=1.0 * s[14]),
        _line((corner[0] + side * 0.085, corner[1] - 0.05), (corner[0] + side * 0.1, corner[1]),
              (corner[0] + side * 0.08, corner[1] + 0.055), width=0.014, depth=0.55 * s[14]),
        _line((corner[0] + side * 0.015, corner[1] + 0.015),
              (corner[0] + side * 0.045, corner[1] + 0.09),
              (corner[0] + side * 0.055, corner[1] + 0.165), width=0.018, depth=0.8 * s[15]),
        _line((corner[0] - side * 0.09, corner[1] + 0.09), (corner[0] - side * 0.03,
              corner[1] + 0.13), width=0.014, depth=0.5 * s[15]),
    ]  # fmt: skip
    for x in (0.045, 0.115, 0.185):
        rise = 0.25 * max(0.0, x - 0.08)
        found += [
            _line((side * x, upper[1] - 0.012 + rise), (side * x * 1.12, upper[1] - 0.07 + rise),
                  width=0.011, depth=0.55 * s[23]),
            _line((side * x, lower[1] + 0.012 - rise), (side * x * 1.12, lower[1] + 0.065 - rise),
                  width=0.011, depth=0.5 * s[23]),
        ]  # fmt: skip
    return found
