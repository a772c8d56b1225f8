"""Draws a contact sheet, people by action units, for visual inspection.

python -m data_builders.synthetic_faces.contact_sheet docs/pictures/synthetic_faces.png
"""

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np
from absl import app

from data_builders.synthetic_faces import population
from data_builders.synthetic_faces.render import render
from data_builders.synthetic_faces.scene import draw_scene
from piapdf_jax import command_line, paths
from piapdf_jax.action_units import RECORD_AUS

_PEOPLE = ("F001", "M001", "F004", "M003", "F012", "M008")
_COLUMNS = {"neutral": {}} | {f"AU{au}": {au: 1.0} for au in RECORD_AUS} | {
    "6+12+25": {6: 0.9, 12: 1.0, 25: 0.7}, "1+2+26": {1: 1.0, 2: 1.0, 25: 0.5, 26: 0.7},
}  # fmt: skip
_HEADER = 16


def contact_sheet(*, cell: int = 88, wrap: int = 9) -> np.ndarray:
    """Draws people by action units: two bands of columns, calm pose, no noise, so that only the face differs.

    Args:
        cell: side of a face in pixels.
        wrap: columns of a band.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    names = list(_COLUMNS)
    bands = [_band(names[start : start + wrap], cell) for start in range(0, len(names), wrap)]
    width = max(band.shape[1] for band in bands)
    padded = [
        np.pad(b, ((0, 0), (0, width - b.shape[1]), (0, 0)), constant_values=255) for b in bands
    ]
    return np.concatenate(padded)


def _band(names: list[str], cell: int) -> np.ndarray:
    header = np.full((_HEADER, cell * len(names), 3), 255, np.uint8)
    for k, name in enumerate(names):
        place = (k * cell + 4, _HEADER - 5)
        cv2.putText(header, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
    rows: list[np.ndarray] = [header]
    for subject in _PEOPLE:
        face = population.person("bp4d", subject)
        scene = draw_scene(population.generator("sheet", subject), spread=0.3)
        scene = dataclasses.replace(scene, noise=0.0, blur=0.0)
        cells = [render(face, _COLUMNS[name], scene).image for name in names]
        cells = [cv2.resize(image, (cell, cell), interpolation=cv2.INTER_AREA) for image in cells]
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows)


def write(arguments: list[str], draw: Callable[[], np.ndarray]) -> None:
    """Writes a sheet [H, W, 3] uint8 RGB as the PNG file that a command line names."""
    if len(arguments) != 2:
        raise app.UsageError("give the file to write")
    path, sheet = paths.target_file(arguments[1], "file"), draw()
    done, data = cv2.imencode(".png", sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise ValueError("OpenCV could not encode the sheet")
    path.write_bytes(data.tobytes())


if __name__ == "__main__":
    command_line.run(lambda arguments: write(arguments, contact_sheet), arguments=1)
