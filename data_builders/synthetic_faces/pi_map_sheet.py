"""A picture of the predefined PI maps over faces, for a person to judge.

python -m data_builders.synthetic_faces.pi_map_sheet docs/pictures/pi_maps.png
"""

import dataclasses
from collections.abc import Iterator

import cv2
import numpy as np

from data_builders.synthetic_faces import anatomy, contact_sheet, population
from data_builders.synthetic_faces.render import render
from data_builders.synthetic_faces.scene import draw_scene
from piapdf_jax import command_line, faces
from piapdf_jax.action_units import ACTION_UNITS
from piapdf_jax.pi_maps import polygon_vertices, predefined_pi_maps

#: (participant, strengths, turned by degrees): at rest, a smile, a fright seen from the side.
_FACES = (
    ("F001", {}, 0.0),
    ("M004", {6: 0.8, 12: 1.0, 25: 0.6}, 4.0),
    ("F012", {1: 1.0, 2: 1.0, 25: 0.7, 26: 0.8}, 22.0),
)
_COLUMNS, _BAND, _SHIFT = 8, 16, 4
_FILL, _EDGE, _DOTS = (255, 90, 20), (255, 235, 60), (0, 190, 0)
#: The lines of a face along its landmarks: first, last, whether it closes.
_LINES = ((0, 16, False), (17, 21, False), (22, 26, False), (27, 30, False), (31, 35, False),
          (36, 41, True), (42, 47, True), (48, 59, True), (60, 67, True))  # fmt: skip


def pi_map_sheet(*, cell: int = 168) -> np.ndarray:
    """Draws faces by action units: the mean face in lines, then drawn faces; the landmarks come first.

    Args:
        cell: side of a face in pixels.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    return np.concatenate([row for face in _faces() for row in _rows(*face, cell)])


def _faces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Crops [256, 256, 3] and their landmarks [68, 2]."""
    people = [population.person("bp4d", subject) for subject in population.subjects("bp4d")]
    mean = np.mean([anatomy.neutral_landmarks(person) for person in people], axis=0)
    mean = faces.transform(mean, faces.crop_matrix(mean))
    page = np.full((256, 256, 3), 255, np.uint8)
    for first, last, closed in _LINES:
        path = np.rint(mean[first : last + 1] * 2**_SHIFT).astype(np.int32)
        cv2.polylines(page, [path], closed, (70, 70, 70), 2, cv2.LINE_AA, _SHIFT)
    yield page, mean
    for subject, strengths, yaw in _FACES:
        scene = draw_scene(population.generator("sheet", subject), spread=0.3)
        scene = dataclasses.replace(scene, noise=0.0, blur=0.0, yaw=yaw)
        picture = render(population.person("bp4d", subject), strengths, scene)
        yield picture.image, picture.landmarks.astype(np.float64)


def _rows(image: np.ndarray, points: np.ndarray, cell: int) -> Iterator[np.ndarray]:
    maps = predefined_pi_maps(points)
    dotted = image.copy()
    for point in np.rint(points * 2**_SHIFT).astype(int):
        cv2.circle(dotted, tuple(point.tolist()), 2 << _SHIFT, _DOTS, -1, cv2.LINE_AA, _SHIFT)
    cells = [_cell(dotted, "68 landmarks", cell)]
    for plane, unit in zip(np.moveaxis(maps, -1, 0), ACTION_UNITS, strict=True):
        shown = image.copy()
        inside = plane.astype(bool)
        shown[inside] = np.rint(0.5 * shown[inside] + 0.5 * np.array(_FILL)).astype(np.uint8)
        for side in polygon_vertices(points, unit.number):
            path = np.rint(side * 2**_SHIFT).astype(np.int32)
            cv2.polylines(shown, [path], True, _EDGE, 1, cv2.LINE_AA, _SHIFT)
        cells.append(_cell(shown, f"AU{unit.number} {unit.name}", cell))
    for start in range(0, len(cells), _COLUMNS):
        yield np.concatenate(cells[start : start + _COLUMNS], axis=1)


def _cell(image: np.ndarray, title: str, cell: int) -> np.ndarray:
    band = np.full((_BAND, cell, 3), 255, np.uint8)
    cv2.putText(band, title, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    small = cv2.resize(image, (cell, cell), interpolation=cv2.INTER_AREA)
    return np.concatenate([band, small])


if __name__ == "__main__":
    command_line.run(lambda arguments: contact_sheet.write(arguments, pi_map_sheet), arguments=1)
