"""Expressions of strangers: single units and common combinations, from a trace to the maximum, and talking.

Half of the frames show units that occur together; the others combine any units. A smile is drawn independently of lips
and chin, because otherwise a detector takes one for the absence of the other.
"""

import numpy as np

from data_builders.synthetic_faces.population import Clip, generator
from piapdf_jax.action_units import BP4D_AUS

KIND = "wild"
PEOPLE = 360
SESSIONS = ("S1", "S2", "S3")
FRAMES, CODED = 12, range(1, 11)
#: Strength from which a coder writes a unit down; what is weaker is a trace.
VISIBLE = 0.2

#: What goes together: (how often, {unit: odds}); smiles of several depths, smiles that are held back by the lips, the
#: prototypes of FACS and their parts.
_TOGETHER = (
    (6, {12: 1.0, 6: 0.7, 10: 0.65, 7: 0.45, 25: 0.5, 14: 0.25}), (3, {12: 1.0, 10: 0.7, 14: 0.5, 6: 0.5, 7: 0.3}),
    (2, {12: 1.0, 25: 0.3, 6: 0.3}),
    (5, {12: 1.0, 6: 0.5, 10: 0.4, 7: 0.3, 14: 0.3, 15: 0.2, 17: 0.5, 23: 0.4, 24: 0.4}),
    (3, {6: 0.8, 7: 0.7, 10: 0.8, 4: 0.4, 25: 0.5}),
    (3, {10: 0.9, 4: 0.6, 7: 0.7, 9: 0.6, 17: 0.4, 15: 0.2}), (3, {14: 1.0, 17: 0.5, 24: 0.4, 23: 0.3, 12: 0.3}),
    (4, {1: 0.9, 2: 0.9, 5: 0.3, 26: 0.4}), (2, {1: 1.0, 4: 0.8, 15: 0.7, 17: 0.5}),
    (2, {1: 0.9, 2: 0.7, 4: 0.8, 5: 0.6, 20: 0.6, 25: 0.4}), (3, {4: 1.0, 7: 0.7, 23: 0.5, 24: 0.3, 17: 0.4}),
    (2, {15: 0.9, 17: 0.8, 24: 0.3}), (2, {23: 0.8, 24: 0.7, 17: 0.6, 14: 0.3}), (1, {4: 1.0, 1: 0.4}),
    (1, {7: 1.0, 4: 0.4, 6: 0.3}),
)  # fmt: skip
#: Units that show beside anything, those of the lips and the chin most.
_BESIDE = (1, 2, 4, 4, 4, 6, 6, 7, 7, 7, 10, 12, 14, 14, 15, 17, 17, 17, 23, 23, 24, 24)
_OFTEN = np.array([often for often, _ in _TOGETHER], float)
_OPEN = (16, 22, 25, 26, 27)
_TALK = {25: 0.7, 26: 0.5, 18: 0.2, 22: 0.25, 16: 0.25, 20: 0.2}


def subjects() -> tuple[str, ...]:
    """Returns the ids of all strangers, in order."""
    return tuple(f"W{number:03d}" for number in range(1, PEOPLE + 1))


def parts() -> dict[int, tuple[str, ...]]:
    """Returns three parts of equally many people."""
    return {part: subjects()[part - 1 :: 3] for part in (1, 2, 3)}


def clip(subject: str, session: str) -> Clip:
    """Returns what one stranger does in one session.

    Args:
        subject: of ``subjects``.
        session: of ``SESSIONS``.

    Returns:
        Frames that do not follow one another; the first and the last are uncoded. Labels are right and all known:
        1 from a strength of ``VISIBLE`` on.
    """
    frames = np.arange(FRAMES)
    strengths = [expression(generator("wild", subject, session, k)) for k in frames.tolist()]
    clean = {
        au: np.array([s.get(au, 0.0) >= VISIBLE for s in strengths], np.int8) for au in BP4D_AUS
    }
    coded = np.isin(frames, CODED)
    return Clip(subject, session, frames, coded, strengths, clean, clean)


def expression(rng: np.random.Generator) -> dict[int, float]:
    """Draws what a face does.

    Args:
        rng: source of randomness.

    Returns:
        {AU: strength 0..1}, silent units among them.
    """
    kind = rng.choice(4, p=(0.1, 0.1, 0.28, 0.52))
    found: dict[int, float] = {}
    if kind == 1:
        found[int(rng.choice(BP4D_AUS))] = _strength(rng)
    elif kind == 2:
        found = {au: _strength(rng) for au in _beside(rng, 2, 6)}
    elif kind == 3:
        whole = rng.uniform(0.3, 1.0)
        for au, odds in _TOGETHER[rng.choice(len(_TOGETHER), p=_OFTEN / _OFTEN.sum())][1].items():
            if rng.random() < odds:
                found[au] = float(np.clip(whole * rng.uniform(0.6, 1.3), 0.05, 1))
        for au in _beside(rng, 0, 4):
            found.setdefault(au, _strength(rng))
    if rng.random() < 0.3:
        talk = {
            au: float(rng.uniform(0.2, 0.9)) for au, odds in _TALK.items() if rng.random() < odds
        }
        found = talk | found
    if rng.random() < 0.06:
        found[43] = float(rng.uniform(0.3, 1.0))
    if rng.random() < 0.05:
        found[5] = float(rng.uniform(0.3, 1.0))
    return _possible(found)


def _beside(rng: np.random.Generator, low: int, high: int) -> list[int]:
    """Units that have nothing to do with one another: ``low`` to ``high - 1`` draws, each unit once."""
    return sorted(set(rng.choice(_BESIDE, rng.integers(low, high)).tolist()))


def _strength(rng: np.random.Generator) -> float:
    """A trace in one of six; else anything up to the maximum."""
    return float(
        rng.uniform(0.04, VISIBLE - 0.02) if rng.random() < 1 / 6 else rng.uniform(0.22, 1.0)
    )


def _possible(strengths: dict[int, float]) -> dict[int, float]:
    """Takes out what a face cannot do at once: pressed lips are shut, a stretched mouth is not puckered."""
    found = dict(strengths)
    if max(found.get(au, 0.0) for au in (23, 24)) >= VISIBLE:
        found = {au: s for au, s in found.items() if au not in (*_OPEN, 18)}
    if 12 in found or 14 in found or 15 in found:
        found = {au: s for au, s in found.items() if au not in (18, 20, 22)}
    if 27 in found:
        found = {au: s for au, s in found.items() if au not in (17, 26)}
    if 17 in found and 26 in found:
        found[26] *= 0.3
    return found
