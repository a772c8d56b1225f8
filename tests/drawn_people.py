"""Drawn pictures of people of whom every landmark is known, as a camera would take them."""

import numpy as np

from data_builders.synthetic_faces import population
from data_builders.synthetic_faces.render import Picture, render
from data_builders.synthetic_faces.scene import draw_scene

KIND = "bp4d"


def portrait(
    who: int = 0,
    *,
    size: int = 480,
    side: float = 3.0,
    seed: int = 0,
    strengths: dict[int, float] | None = None,
) -> Picture:
    """Draws a person, ``side`` outer-eye distances to the picture's width; image [size, size, 3] and landmarks."""
    person = population.person(KIND, population.subjects(KIND)[who])
    scene = draw_scene(np.random.default_rng(seed), spread=0.3)
    return render(person, strengths or {}, scene, size=size, side=side)
