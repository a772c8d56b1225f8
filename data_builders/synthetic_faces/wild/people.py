"""Identities and muscles of the strangers, who vary more than the people of the other data sets."""

import dataclasses

import numpy as np

from data_builders.synthetic_faces import actions, anatomy
from data_builders.synthetic_faces.wild import creases, movements

_WIDER = 1.25  # proportions deviate so much further than those of ``anatomy``
_RESTING = {1: 0.1, 2: 0.1, 4: 0.14, 6: 0.1, 7: 0.16, 10: 0.1, 12: 0.12, 14: 0.1, 15: 0.14, 17: 0.12, 23: 0.14,
            24: 0.12}  # fmt: skip
_SHADOWS = (
    (0.25, 0.12, 0.16),
    (0.1, 0.13, 0.25),
    (0.2, 0.11, 0.06),
    (0.06, 0.06, 0.07),
    (0.12, 0.2, 0.14),
)


@dataclasses.dataclass(frozen=True)
class Manner:
    """How one person's face moves.

    Attributes:
        moves: {AU: [68, 2]}, head units at strength 1.
        resting: {AU: -0.3..0.3}, what the face looks like when nothing moves: a low brow, thin lips.
        heights: factors on the heights of mounds.
        depths: factors on the depths of folds.
        folds: factor on all folds, 0..1; smooth faces fold hardly.
        soft: blur of the folds, pixels of the canvas.
        lumps: [K, 5] mounds that belong to nobody else.
        drain: how far tightened lips lose their red, 0..1.
        tilt: standard deviation by which the halves of a face differ in strength.
    """

    moves: dict[int, np.ndarray]
    resting: dict[int, float]
    heights: np.ndarray
    depths: np.ndarray
    folds: float
    soft: float
    lumps: np.ndarray
    drain: float
    tilt: float


@dataclasses.dataclass(frozen=True)
class Stranger:
    """A person and a manner."""

    identity: anatomy.Identity
    manner: Manner


def draw_stranger(rng: np.random.Generator) -> Stranger:
    """Draws a person and how the face moves.

    Args:
        rng: source of randomness.
    """
    plain = anatomy.draw_identity(rng)
    made_up = rng.random() < (0.1 if plain.beard else 0.35)
    pale = rng.uniform(0.0, 0.3) if rng.random() < 0.4 else plain.lip_red
    identity = dataclasses.replace(
        plain,
        shape=tuple(float(_WIDER * value) for value in plain.shape),
        skin=float(rng.uniform(0, 1)),
        age=float(rng.random()),
        lip_red=float(rng.uniform(0.5, 1.0) if made_up else pale),
        brow_darkness=float(rng.uniform(0.25, 1.0)),
        glasses=int(rng.choice(3, p=(0.76, 0.14, 0.1))),
        eye_shadow=_SHADOWS[rng.integers(len(_SHADOWS))] if made_up else (),
    )
    return Stranger(identity, _draw_manner(rng))


def _draw_manner(rng: np.random.Generator) -> Manner:
    count = int(rng.integers(6, 16))
    lumps = np.stack(
        (
            rng.uniform(-0.7, 0.7, count),
            rng.uniform(-0.5, 1.25, count),
            *rng.uniform(0.04, 0.2, (2, count)),
            rng.normal(0, 0.014, count),
        ),
        1,
    )
    mounds, lines = creases.ROWS
    return Manner(
        moves=movements.draw_moves(rng),
        resting={au: float(np.clip(rng.normal(0, s), -0.3, 0.3)) for au, s in _RESTING.items()},
        heights=np.exp(rng.normal(0.1, 0.4, mounds)),
        depths=np.exp(rng.normal(-0.15, 0.45, lines)),
        folds=float(rng.uniform(0.05, 1.0) ** 1.2),
        soft=float(rng.uniform(1.0, 2.6)),
        lumps=lumps,
        drain=float(rng.uniform(0.2, 1.0)),
        tilt=float(rng.uniform(0.02, 0.2)),
    )


class Pull:
    """What strengths do to one stranger's face in one picture: ``render.Muscles``.

    Args:
        manner: the person's.
        halves: {AU: (left, right)}, factors on the strength in either half of the picture.
    """

    def __init__(self, manner: Manner, halves: dict[int, tuple[float, float]]) -> None:
        self.manner = manner
        self.halves = halves
        self.soft = manner.soft

    def move(self, landmarks: np.ndarray, strengths: dict[int, float]) -> np.ndarray:
        """Moves landmarks [68, 2], first to where this face rests."""
        points = landmarks.copy()
        for au, strength in self.manner.resting.items():
            points += np.float32(strength) * self.manner.moves[au]
        for au, strength in strengths.items():
            left, right = self.halves.get(au, (1.0, 1.0))
            factor = movements.by_side(strength * left, strength * right)
            points += factor * self.manner.moves[au]
        movements.kept_apart(points)
        return points

    def _sides(self, strengths: dict[int, float]) -> dict[int, dict[int, float]]:
        found = {-1: {}, 0: {}, 1: {}}
        for au, strength in strengths.items():
            left, right = self.halves.get(au, (1.0, 1.0))
            for side, factor in ((-1, left), (0, (left + right) / 2), (1, right)):
                found[side][au] = strength * factor
        return found

    def bulges(self, points: np.ndarray, strengths: dict[int, float]) -> list[actions.Bulge]:
        """Returns the mounds of the units and those of the person."""
        sides = self._sides(self.manner.resting | _added(self.manner.resting, strengths))
        own = [actions.Bulge(*map(float, row)) for row in self.manner.lumps]
        return own + creases.mounds(points, sides, self.manner.heights)

    def folds(
        self, points: np.ndarray, strengths: dict[int, float], *, age: float
    ) -> list[actions.SkinFold]:
        """Returns the lines of the units and of age."""
        sides = self._sides(strengths)
        own = self.manner
        return creases.lines(points, sides, own.depths, age=age, depth=own.folds)

    def tense(self, strengths: dict[int, float]) -> float:
        """Returns how far the lips are rolled in."""
        tight = min(1.0, strengths.get(23, 0.0) + 0.8 * strengths.get(24, 0.0))
        return self.manner.drain * tight


def _added(resting: dict[int, float], strengths: dict[int, float]) -> dict[int, float]:
    return {au: value + resting.get(au, 0.0) for au, value in strengths.items()}


def draw_halves(
    rng: np.random.Generator, strengths: dict[int, float], tilt: float
) -> dict[int, tuple[float, float]]:
    """Draws how unlike the halves of a face move in one picture.

    Args:
        rng: source of randomness.
        strengths: {AU: strength}.
        tilt: standard deviation between the halves.

    Returns:
        {AU: (left, right)}; now and then a unit shows on one half alone.
    """
    found = {}
    for au in strengths:
        lean = float(np.clip(rng.normal(0, tilt), -0.6, 0.6))
        if au in (2, 12, 14, 10) and rng.random() < 0.04:
            lean = float(rng.choice((-1.0, 1.0)))
        found[au] = (1 + lean, 1 - lean) if abs(lean) < 1 else (1.2 * (lean > 0), 1.2 * (lean < 0))
    return found
