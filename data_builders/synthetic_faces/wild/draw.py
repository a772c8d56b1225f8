"""One frame of one stranger."""

import dataclasses
import functools

import numpy as np

from data_builders.synthetic_faces.population import generator
from data_builders.synthetic_faces.render import Picture, render
from data_builders.synthetic_faces.wild import behavior, camera, circumstances
from data_builders.synthetic_faces.wild.people import Pull, Stranger, draw_halves, draw_stranger


@functools.lru_cache(maxsize=8)
def stranger(subject: str) -> Stranger:
    """Returns the face of a subject and how it moves."""
    return draw_stranger(generator("person", behavior.KIND, subject))


def frame(subject: str, session: str, number: int, strengths: dict[int, float]) -> Picture:
    """Draws a frame.

    Args:
        subject: who.
        session: of ``behavior.SESSIONS``.
        number: of the frame in its session.
        strengths: {AU: 0..1}, what the face does.

    Returns:
        [256, 256, 3] picture with its landmarks; ``behind`` as before the lens.
    """
    who, scene, recording, pull = _setting(subject, session, number, strengths)
    drawn = render(who.identity, strengths, scene, muscles=pull, second=recording.second)
    image, landmarks = camera.record(drawn.image, drawn.landmarks, recording)
    return Picture(np.ascontiguousarray(image), landmarks, drawn.behind)


def steady(
    subject: str, session: str, number: int, strengths: dict[int, float], shown: dict[int, float]
) -> np.ndarray:
    """Draws a frame of which some units are left out, all else as if they were there.

    Args:
        subject: who.
        session: of ``behavior.SESSIONS``.
        number: of the frame in its session.
        strengths: {AU: 0..1}, what the face does in that frame; crop and halves are those of it.
        shown: those of them that are drawn.

    Returns:
        [256, 256, 3] uint8 RGB, at full resolution and without compression, which would change pixels that no unit
        moves.
    """
    who, scene, recording, pull = _setting(subject, session, number, strengths)
    drawn = render(
        who.identity, shown, scene, framing=strengths, muscles=pull, second=recording.second
    )
    sharp = dataclasses.replace(recording, side=drawn.image.shape[0], quality=100)
    return camera.record(drawn.image, drawn.landmarks, sharp)[0]


def _setting(subject: str, session: str, number: int, strengths: dict[int, float]):
    """Who is drawn, in which scene, by which camera, and how the halves pull."""
    who, rng = stranger(subject), generator("scene", behavior.KIND, subject, session, number)
    scene, recording = circumstances.draw(rng)
    halves = draw_halves(rng, strengths, who.manner.tilt)
    return who, scene, recording, Pull(who.manner, halves)
