"""One frame of one stranger."""

import functools

import numpy as np

from data_builders.synthetic_faces.population import generator
from data_builders.synthetic_faces.render import Picture, render
from data_builders.synthetic_faces.wild import behaviour, camera, circumstances
from data_builders.synthetic_faces.wild.people import Pull, Stranger, draw_halves, draw_stranger


@functools.lru_cache(maxsize=8)
def stranger(subject: str) -> Stranger:
    """Returns the face of a subject and how it moves."""
    return draw_stranger(generator("person", behaviour.KIND, subject))


def frame(subject: str, session: str, number: int, strengths: dict[int, float]) -> Picture:
    """Draws a frame.

    Args:
        subject: who.
        session: of ``behaviour.SESSIONS``.
        number: of the frame in its session.
        strengths: {AU: 0..1}, what the face does.

    Returns:
        [256, 256, 3] picture with its landmarks; ``behind`` as before the lens.
    """
    who, rng = stranger(subject), generator("scene", behaviour.KIND, subject, session, number)
    scene, recording = circumstances.draw(rng)
    halves = draw_halves(rng, strengths, who.manner.tilt)
    drawn = render(
        who.identity, strengths, scene, muscles=Pull(who.manner, halves), second=recording.second
    )
    image, landmarks = camera.record(drawn.image, drawn.landmarks, recording)
    return Picture(np.ascontiguousarray(image), landmarks, drawn.behind)
