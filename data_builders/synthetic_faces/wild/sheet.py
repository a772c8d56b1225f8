"""Draws a contact sheet of strangers for visual inspection: units at full strength, and frames as recorded.

python -m data_builders.synthetic_faces.wild.sheet docs/pictures/synthetic_faces_wild.png
"""

import dataclasses

import cv2
import numpy as np

from data_builders.synthetic_faces import contact_sheet
from data_builders.synthetic_faces.population import generator
from data_builders.synthetic_faces.render import render
from data_builders.synthetic_faces.scene import draw_scene
from data_builders.synthetic_faces.wild import behavior, draw
from data_builders.synthetic_faces.wild.people import Pull
from piapdf_jax import command_line
from piapdf_jax.action_units import BP4D_AUS

_CALM = ("W002", "W009", "W014", "W020", "W024")
_ROWS = 5  # of recorded frames


def sheet(*, cell: int = 96) -> np.ndarray:
    """Draws the sheet: above, strangers by units in a calm scene; below, each frame of another stranger.

    Args:
        cell: side of a face in pixels.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    columns = {"neutral": {}} | {f"AU{au}": {au: 1.0} for au in BP4D_AUS}
    rows = [np.concatenate([_titled(cell, name) for name in columns], axis=1)]
    for subject in _CALM:
        faces = [_calm(subject, strengths) for strengths in columns.values()]
        rows.append(np.concatenate([_small(face, cell) for face in faces], axis=1))
    rows.append(np.full((8, rows[0].shape[1], 3), 255, np.uint8))
    others = iter(behavior.subjects()[30:])
    for _ in range(_ROWS):
        cells = [_recorded(next(others), cell) for _ in columns]
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows)


def _calm(subject: str, strengths: dict[int, float]) -> np.ndarray:
    who = draw.stranger(subject)
    scene = draw_scene(generator("sheet", subject), spread=0.3)
    scene = dataclasses.replace(scene, noise=0.0, blur=0.0)
    pull = Pull(who.manner, {})
    return render(who.identity, strengths, scene, framing={}, muscles=pull).image


def _recorded(subject: str, cell: int) -> np.ndarray:
    """The fourth frame of a stranger, with the units that show."""
    strengths = behavior.clip(subject, behavior.SESSIONS[0]).strengths[3]
    image = _small(draw.frame(subject, behavior.SESSIONS[0], 3, strengths).image, cell)
    shown = "+".join(str(au) for au in BP4D_AUS if strengths.get(au, 0) >= behavior.VISIBLE)
    for color, thick in (((0, 0, 0), 2), ((255, 255, 255), 1)):
        _say(image, shown, (3, cell - 4), color, thick)
    return image


def _titled(cell: int, name: str) -> np.ndarray:
    header = np.full((16, cell, 3), 255, np.uint8)
    return _say(header, name, (4, 11), (0, 0, 0), 1)


def _say(image, text, place, color, thick) -> np.ndarray:
    return cv2.putText(
        image, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, color, thick, cv2.LINE_AA
    )


def _small(image: np.ndarray, cell: int) -> np.ndarray:
    return cv2.resize(image, (cell, cell), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    command_line.run(lambda arguments: contact_sheet.write(arguments, sheet), arguments=1)
