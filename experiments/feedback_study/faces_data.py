"""Drawn people of the study on faces: what of their pictures a small network reads, and true labels.

240 people whom no data set of ``data_builders.synthetic_faces`` holds, in the tasks of BP4D. A picture is
the histogram of oriented gradients of its gray copy of 96 pixels (after Dalal and Triggs, CVPR 2005):
cells of 8 pixels, 8 directions, without the outermost cells.
"""

import concurrent.futures
import multiprocessing
import pathlib
from typing import NamedTuple

import cv2
import numpy as np

from data_builders.synthetic_faces import population
from data_builders.synthetic_faces.render import render
from data_builders.synthetic_faces.scene import draw_scene
from piapdf_jax import folds
from piapdf_jax.action_units import BP4D_AUS
from piapdf_jax.runtime.digests import digest_of
from piapdf_jax.runtime.filesystem import replacing

#: Ids of BP4D's kind, of which the data sets go no further than F120 and M120.
PEOPLE = tuple(f"{sex}{number}" for number in range(201, 321) for sex in "FM")
#: Frames of a sequence that are drawn, and which of them a coder would see.
FRAMES, CODED = (0, 2, 6, 11), (False, True, True, False)
UNITS = BP4D_AUS
#: Share of all frames of the data set that show each unit.
RATES = np.array([population.BP4D_RATES[unit] for unit in UNITS])
_RULES = population.Rules("bp4d", wrong_labels=0.0, unknown=0.0)
_SIDE, _CELL, _BINS = 96, 8, 8
generator = population.generator


class Faces(NamedTuple):
    """Frames of P people, K a person, tasks in order and ``FRAMES`` within.

    Attributes:
        people: P ids.
        hog: [P, K, D] float32.
        labels: [P, K, C] int8, true labels of ``UNITS``.
        coded: [K] bool.
    """

    people: tuple[str, ...]
    hog: np.ndarray
    labels: np.ndarray
    coded: np.ndarray


def features(image: np.ndarray) -> np.ndarray:
    """Computes the oriented gradients of a picture: square roots of the shares of its cells and directions.

    A pixel's gradient counts by its length, parted between the two directions nearest to its own.

    Args:
        image: [H, W, 3] uint8 RGB, a face.

    Returns:
        [800] float32 of length 1, or 0 for a picture of one color; row by row of cells.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    gray = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    x, y = (cv2.Sobel(gray, cv2.CV_32F, *order, ksize=1) for order in ((1, 0), (0, 1)))
    place = np.arctan2(y, x) % np.pi * np.float32(_BINS / np.pi)
    apart = np.abs(place[..., None] - np.arange(_BINS, dtype=np.float32))
    share = np.maximum(0, 1 - np.minimum(apart, _BINS - apart))
    count = _SIDE // _CELL
    cells = (np.hypot(x, y)[..., None] * share).reshape(count, _CELL, count, _CELL, _BINS)
    inner = cells.sum((1, 3))[1:-1, 1:-1].ravel()
    return np.sqrt(inner / max(inner.sum(), np.float32(1e-6)))


def load(
    folder: pathlib.Path,
    people: tuple[str, ...] = PEOPLE,
    tasks: tuple[str, ...] = folds.BP4D_TASKS,
) -> Faces:
    """Returns the frames of people, drawn once and kept.

    Two processes draw 7,680 frames in five minutes.

    Args:
        folder: where they are kept, by checksum: another drawing is another file.
        people: ids such as F201.
        tasks: of BP4D.
    """
    path = folder / f"faces_{checksum(people, tasks)}.npz"
    if not path.is_file():
        processes = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=processes) as pool:
            drawn = list(pool.map(_draw, people, [tasks] * len(people)))
        hog, labels = (np.array(column) for column in zip(*drawn, strict=True))
        with replacing(path) as part:
            np.savez_compressed(part, hog=hog, labels=labels)
    with np.load(path, allow_pickle=False) as file:
        hog, labels = file["hog"].astype(np.float32), file["labels"]
    return Faces(people, hog, labels, np.tile(CODED, len(tasks)))


def checksum(people: tuple[str, ...], tasks: tuple[str, ...]) -> str:
    """Computes a digest of what is drawn: of the settings, and of the first and last person in the first task."""
    drawn = [_draw(person, tasks[:1]) for person in (people[0], people[-1])]
    # Rounded, lest the last bit of another processor is another drawing.
    told = [[np.round(64 * hog.astype(np.float64)).tolist(), y.tolist()] for hog, y in drawn]
    return digest_of([told, people, tasks, FRAMES, CODED])


def _draw(person: str, tasks: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Features [K, D] float16 and labels [K, C] of a person."""
    cv2.setNumThreads(1)
    face = population.person("bp4d", person)
    hog, labels = [], []
    for task in tasks:
        clip = population.sequence(_RULES, person, task)
        for frame in FRAMES:
            number = int(clip.frames[frame])
            scene = draw_scene(population.generator("scene", "bp4d", person, task, number))
            hog.append(features(render(face, clip.strengths[frame], scene).image))
            labels.append([clip.clean[unit][frame] for unit in UNITS])
    return np.array(hog, np.float16), np.array(labels, np.int8)
