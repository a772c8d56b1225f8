"""Movement of landmarks by each action unit, and how it varies between people.

Where FACS lets a unit look in several ways, each is a variant, and a person has a share of every one: lips are
tightened by rolling them in or by narrowing the mouth, a dimple goes outward, inward or up.
"""

from typing import NamedTuple

import numpy as np

from data_builders.synthetic_faces import actions
from data_builders.synthetic_faces.anatomy import SIDE, both_halves

#: {AU: {landmark: (outward, down)}} where it is not that of ``actions``; head units at strength 1.
_MOVES = {
    5: {43: (0, -0.022), 44: (0, -0.024), 46: (0, 0.004), 47: (0, 0.004)},
    14: {54: (0.02, 0.004), 64: (0.02, 0.004), 53: (0.012, 0.012), 55: (0.014, -0.014),
         52: (0, 0.01), 51: (0, 0.008), 56: (0, -0.014), 57: (0, -0.012)},
    16: {57: (0, 0.045), 56: (0.01, 0.045), 55: (0.01, 0.03), 66: (0, 0.035), 65: (0, 0.032)},
    17: {57: (0, -0.062), 56: (0, -0.06), 55: (0, -0.04), 65: (0, -0.034), 66: (0, -0.038),
         62: (0, -0.032), 63: (0, -0.028), 51: (0, -0.022), 52: (0, -0.02), 53: (0, -0.006),
         54: (0, 0.022), 64: (0, 0.02), 8: (0, -0.018), 9: (0, -0.014)},
    18: {54: (-0.12, 0), 64: (-0.12, 0), 53: (-0.07, -0.004), 55: (-0.07, 0.004), 52: (-0.01, -0.012),
         51: (0, -0.016), 56: (-0.015, 0.012), 57: (0, 0.016)},
    20: {54: (0.09, 0.03), 64: (0.09, 0.03), 53: (0.05, 0.014), 55: (0.05, 0.006), 51: (0, 0.008),
         57: (0, -0.008)},
    22: {54: (-0.09, 0), 64: (-0.09, 0), 53: (-0.04, -0.02), 55: (-0.04, 0.025), 52: (0, -0.035),
         51: (0, -0.032), 56: (0, 0.045), 57: (0, 0.045), 62: (0, -0.02), 63: (0, -0.018),
         65: (0, 0.03), 66: (0, 0.034)},
    23: {53: (-0.008, 0.024), 52: (-0.002, 0.032), 51: (0, 0.03), 55: (-0.01, -0.028),
         56: (-0.003, -0.042), 57: (0, -0.042), 54: (-0.012, 0), 64: (-0.012, 0)},
    24: {53: (0.002, 0.026), 52: (0, 0.034), 51: (0, 0.032), 55: (0.002, -0.034),
         56: (0, -0.05), 57: (0, -0.05), 62: (0, 0.006), 66: (0, -0.006)},
    27: {62: (0, -0.01), 63: (0, -0.01), 51: (0, -0.016), 52: (0, -0.016), 65: (0, 0.26),
         66: (0, 0.28), 64: (-0.03, 0.1), 54: (-0.035, 0.1), 55: (-0.02, 0.2), 56: (0, 0.27),
         57: (0, 0.28), 8: (0, 0.27), 9: (0, 0.26), 10: (0, 0.2), 11: (0, 0.12), 12: (0, 0.04)},
    43: {43: (0, 0.085), 44: (0, 0.085)},
}  # fmt: skip
MOVES = {au: actions.MOVES[au] for au in actions.MOVES} | {
    au: both_halves(moves) for au, moves in _MOVES.items()
}


class Variant(NamedTuple):
    """A way in which people differ: a person's share of it lies in ``low..high``."""

    low: float
    high: float
    moves: np.ndarray


_VARIANTS = {
    # The whole brow goes along, or its inner end alone.
    1: [(-0.2, 1.0, {24: (0, -0.03), 25: (0, -0.01)}), (-0.5, 0.5, {22: (-0.02, 0), 23: (-0.012, 0)})],
    2: [(-0.2, 1.0, {23: (0, -0.03), 24: (0, -0.02)})],
    # Knit more than lowered, or the entire brow lowered more than knit, or its inner end alone.
    4: [(-1.0, 1.0, {22: (-0.03, -0.02), 23: (-0.025, -0.01), 24: (-0.015, 0)}),
        (-0.4, 0.6, {22: (0, 0.02), 23: (0, 0.012), 25: (0, -0.012), 26: (0, -0.012)}),
        (0.0, 1.0, {22: (0.01, 0.01), 23: (0.005, 0.02), 24: (0, 0.03), 25: (0, 0.045), 26: (0, 0.04)}),
        (0.0, 1.0, {43: (0, 0.012), 44: (0, 0.012)})],
    6: [(-0.5, 1.0, {46: (0, -0.014), 47: (0, -0.012)}), (-0.8, 0.5, {25: (0, 0.014), 26: (0, 0.016)})],
    7: [(-0.8, 1.0, {43: (0, 0.014), 44: (0, 0.014), 46: (0, 0.012), 47: (0, 0.012)})],
    10: [(-0.5, 1.0, {51: (0, -0.02), 62: (0, -0.024), 63: (0, -0.02), 52: (0, -0.012)}),
         (-0.3, 1.0, {53: (0.01, -0.03), 54: (0.01, -0.02), 64: (0.01, -0.02)}),
         # The lower lip comes along, so that the mouth stays shut.
         (0.0, 1.0, {62: (0, 0.02), 63: (0, 0.022), 66: (0, -0.012), 65: (0, -0.012), 56: (0, -0.012),
                     57: (0, -0.012)})],
    # Wide or high; lips thinned by the pull or not.
    12: [(-1.0, 1.0, {54: (0.03, 0.02), 64: (0.03, 0.02), 53: (0.015, 0.01), 55: (0.015, 0.01)}),
         (-0.5, 1.0, {51: (0, 0.014), 52: (0, 0.014), 56: (0, -0.014), 57: (0, -0.014)})],
    14: [(-0.8, 1.0, {54: (0.04, 0), 64: (0.04, 0), 53: (0.014, 0), 55: (0.014, 0)}),
         (-0.5, 1.0, {54: (0, -0.035), 64: (0, -0.03), 53: (0, -0.01), 55: (0, -0.02)})],
    15: [(-0.6, 1.0, {54: (0.02, 0), 64: (0.02, 0), 55: (0.02, 0.01)}),
         (-0.5, 1.0, {57: (0, 0.014), 56: (0, 0.014), 51: (0, 0.012), 62: (0, 0.01), 66: (0, 0.01)})],
    # The lower lip pushes the upper one up, or rolls out before it.
    17: [(-0.6, 1.0, {51: (0, -0.02), 52: (0, -0.018), 62: (0, -0.01), 63: (0, -0.01)}),
         (-0.5, 1.0, {56: (0, 0.024), 57: (0, 0.026), 55: (0, 0.012)}),
         (-0.5, 1.0, {8: (0, -0.02), 9: (0, -0.02), 10: (0, -0.01)}),
         # Corners stay where they are, or seem to droop.
         (-1.2, 0.3, {54: (0, 0.022), 64: (0, 0.02), 53: (0, 0.01), 55: (0, 0.01)})],
    23: [(0.0, 1.0, {54: (-0.07, 0), 64: (-0.07, 0), 53: (-0.035, -0.006), 55: (-0.035, 0.006)}),
         (-0.6, 0.6, {51: (0, 0.01), 52: (0, 0.01), 56: (0, -0.01), 57: (0, -0.01)})],
    24: [(-1.0, 1.0, {54: (0.022, 0.006), 64: (0.022, 0.006), 53: (0.01, 0), 55: (0.01, 0)}),
         (-0.3, 1.0, {57: (0, -0.016), 56: (0, -0.014), 66: (0, -0.014), 62: (0, -0.014), 51: (0, -0.01)})],
}  # fmt: skip
VARIANTS = {
    au: [Variant(low, high, both_halves(moves)) for low, high, moves in listed]
    for au, listed in _VARIANTS.items()
}
_STRETCH = 0.18  # standard deviation of the logarithm of how far a person's moves go, each way


def draw_moves(rng: np.random.Generator) -> dict[int, np.ndarray]:
    """Draws how one person's landmarks move.

    Args:
        rng: source of randomness.

    Returns:
        {AU: [68, 2] float32}, head units at strength 1.
    """
    found = {}
    for au, moves in MOVES.items():
        own = moves.copy()
        for variant in VARIANTS.get(au, ()):
            own += np.float32(rng.uniform(variant.low, variant.high)) * variant.moves
        found[au] = own * np.exp(rng.normal(0, _STRETCH, 2)).astype(np.float32)
    return found


def by_side(left: float, right: float) -> np.ndarray:
    """Returns factors [68, 1] on moves: of the image-left half, of the right, and their mean on the midline."""
    share = (1 + SIDE) / 2
    return ((1 - share) * left + share * right).astype(np.float32)[:, None]


def kept_apart(points: np.ndarray, *, lips: float = 0.008, lid: float = 0.004) -> None:
    """Keeps lips from crossing or vanishing and lids from crossing, in place.

    Args:
        points: [68, 2] head units.
        lips: height of a closed mouth between the inner landmarks, and of lips that are rolled in.
        lid: height of a closed eye.
    """
    for upper, lower in ((61, 67), (62, 66), (63, 65)):
        if points[lower, 1] - points[upper, 1] < lips:
            middle = (points[lower, 1] + points[upper, 1]) / 2
            points[upper, 1], points[lower, 1] = middle - lips / 2, middle + lips / 2
    for outer, inner in ((50, 61), (51, 62), (52, 63)):
        points[outer, 1] = min(points[outer, 1], points[inner, 1] - lips)
    for outer, inner in ((58, 67), (57, 66), (56, 65)):
        points[outer, 1] = max(points[outer, 1], points[inner, 1] + 1.4 * lips)
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46)):
        points[upper, 1] = min(points[upper, 1], points[lower, 1] - lid)
