"""Compares face finders: position of crops, effect on probabilities, misses, and time.

python -m benchmarks.finders --models=EXPORT,EXPORT
python -m benchmarks.finders --models=EXPORT,EXPORT --pictures=FOLDER --films=FOLDER --trees=FOLDER

Drawn people have known landmarks: crops by those are what a detector of drawn faces was trained on. Pictures and films
have none: there the finders are compared with each other. Frames of a tree in a data set's layout are compared with
dlib's crops, which builders make.
"""

import pathlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from piapdf_jax import capture, command_line, faces, paths, photographs
from piapdf_jax.detector import Detector

_MODELS = flags.DEFINE_list("models", [], "exports or .onnx files whose probabilities are compared")
_PICTURES = flags.DEFINE_string("pictures", "", "folder of photographs")
_FILMS = flags.DEFINE_string("films", "", "folder of films")
_TREES = flags.DEFINE_string("trees", "", "folder with frames of a data set, whose crops dlib made")
_PEOPLE = flags.DEFINE_integer("people", 60, "drawn people", lower_bound=2)
_FRAMES = flags.DEFINE_integer(
    "frames", 150, "frames of pictures, films and trees each, at most", 1
)

_CORNERS = np.array([[0, 0], [255, 0], [0, 255], [255, 255]], float)
_KIND = "bp4d"
_SCALES, _ROLLS, _LIGHTS = (1, 0.5, 0.25, 0.125), (0, 15, 30, 45, 60, 90, 180), (1, 0.3, 0.1, 0.05)
_FAR = 50.0  # corners this far away are of another crop

Picture = tuple[np.ndarray, np.ndarray | None]


class Measured(NamedTuple):
    """What a finder does on some pictures: how many it misses, distances of corners, changes of probabilities, ms."""

    pictures: int
    missed: int
    corners: list[float]
    changes: np.ndarray
    milliseconds: float


def drawn(count: int, *, first: int = 0) -> Iterator[Picture]:
    """Draws people with an expression, as a camera takes them, and yields picture and landmarks."""
    from data_builders.synthetic_faces import population, scene
    from data_builders.synthetic_faces.render import render

    names = population.subjects(_KIND)
    for k in range(first, first + count):
        rng = np.random.default_rng(k)
        person = population.person(_KIND, names[k % len(names)])
        strengths = population.loose_expression(rng)
        made = render(person, strengths, scene.draw_scene(rng), size=480, side=3.2)
        yield made.image, made.landmarks


def photographed(folder: pathlib.Path, most: int) -> Iterator[Picture]:
    """Reads pictures of a folder, evenly chosen."""
    found = photographs.pictures_and_films(folder, recursive=True).pictures
    for path in found[:: max(1, -(-len(found) // most))]:
        yield photographs.read_photograph(path), None


def filmed(folder: pathlib.Path, most: int) -> Iterator[Picture]:
    """Reads frames of the films of a folder."""
    found = photographs.pictures_and_films(folder, recursive=True).films
    each = max(1, most // max(1, len(found)))
    for path in found:
        film = capture.Film(path)
        step = max(1, (film.expected or each) // each)
        for shot in film.shots(lambda number, _, step=step: number % step == 0):
            if shot.picture is not None:
                yield shot.picture, None


def measure(
    finder: faces.FaceFinder,
    pictures: Sequence[Picture],
    detectors: Sequence[Detector],
    wanted: Callable[[Picture], np.ndarray | None],
) -> Measured:
    """Measures a finder.

    Args:
        finder: which.
        pictures: to look at.
        detectors: whose probabilities are compared.
        wanted: landmarks of a picture's right crop; None leaves it out.
    """
    missed, corners, crops, right, spent = 0, [], [], [], []
    for picture in pictures:
        points = wanted(picture)
        if points is None:
            continue
        begun = time.perf_counter()
        found = finder.find(picture[0]).faces
        spent.append(1000 * (time.perf_counter() - begun))
        if not found:
            missed += 1
            continue
        corners.append(apart(found[0].landmarks, points))
        crops.append(faces.crop(picture[0], found[0].landmarks)[0])
        right.append(faces.crop(picture[0], points)[0])
    changes = [np.zeros(0)]
    if crops:
        changes += [np.abs(d(np.stack(crops)) - d(np.stack(right))).ravel() for d in detectors]
    return Measured(len(spent), missed, corners, np.concatenate(changes), statistics.median(spent))


def apart(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the mean distance of the corners of two crops, in pixels of the second, which has 256."""
    there = faces.transform(_CORNERS, cv2.invertAffineTransform(faces.crop_matrix(first)))
    moved = faces.transform(there, faces.crop_matrix(second))
    return float(np.linalg.norm(moved - _CORNERS, axis=1).mean())


def changed(picture: np.ndarray, *, scale: float = 1, roll: float = 0, light: float = 1) -> Any:
    """Makes a picture smaller (in a gray frame of the same size), turned or darker; with the matrix that moved it."""
    height, width = picture.shape[:2]
    middle = ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(middle, -roll, scale)
    small = cv2.GaussianBlur(picture, (0, 0), 0.4 / scale) if scale < 1 else picture
    border: Any = (128, 128, 128)
    moved = cv2.warpAffine(
        small, matrix, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=border
    )
    return np.rint(moved * light).astype(np.uint8), matrix


def robustness(finder: faces.FaceFinder, pictures: Sequence[Picture], **change: float) -> float:
    """Returns the share of faces that are missed, or cut out somewhere else, when pictures are changed."""
    wrong = 0
    for image, points in pictures:
        moved, matrix = changed(image, **change)
        found = finder.find(moved).faces
        there = faces.transform(points, matrix)
        wrong += not found or apart(found[0].landmarks, there) > _FAR
    return wrong / len(pictures)


def _row(table: Table, name: str, finder: str, told: Measured) -> None:
    corners = told.corners or [float("nan")]
    cells = ["-", "-"]
    if len(told.changes):
        cells = [f"{told.changes.mean():.4f}", f"{np.quantile(told.changes, 0.95):.3f}"]
    table.add_row(
        *(name, finder, str(told.pictures), str(told.missed), f"{np.mean(corners):.1f}"),
        *(f"{np.quantile(corners, 0.95):.1f}", *cells, f"{told.milliseconds:.0f}"),
    )


def main(arguments: list[str]) -> None:
    """Prints both tables."""
    del arguments
    detectors = [Detector.load(path) for path in _MODELS.value]
    finders = {name: faces.make_finder(name) for name in faces.FINDERS}
    dlib = finders["dlib"]
    table = Table("pictures", "finder", "n", "missed", "corners px", "95%", "|dp|", "95%", "ms")
    people = list(drawn(_PEOPLE.value))
    for name, finder in finders.items():
        _row(
            table,
            "drawn, by known landmarks",
            name,
            measure(finder, people, detectors, lambda p: p[1]),
        )
    sources = {
        "frames of a tree, by dlib's crops": (_TREES.value, photographed),
        "photographs, by dlib's crops": (_PICTURES.value, photographed),
        "films, by dlib's crops": (_FILMS.value, filmed),
    }
    for what, (folder, read) in sources.items():
        if not folder:
            continue
        pictures = list(read(paths.local_path(folder, "folder"), _FRAMES.value))

        def by_dlib(picture: Picture) -> np.ndarray | None:
            found = dlib.find(picture[0]).faces
            return found[0].landmarks if found else None

        for name, finder in finders.items():
            _row(table, what, name, measure(finder, pictures, detectors, by_dlib))
    console = Console(width=120)
    console.print(table)
    console.print(_lost(finders, people[: max(2, len(people) // 2)]))


def _lost(finders: dict[str, faces.FaceFinder], people: Sequence[Picture]) -> Table:
    """Shares of faces that are lost when pictures are made smaller, turned or darker."""
    table = Table(
        "faces lost, drawn",
        *(f"x {v}" for v in _SCALES[1:]),
        *(f"{v} deg" for v in _ROLLS),
        *(f"light {v}" for v in _LIGHTS[1:]),
    )
    for name, finder in finders.items():
        shares = [robustness(finder, people, scale=v) for v in _SCALES[1:]]
        shares += [robustness(finder, people, roll=v) for v in _ROLLS]
        shares += [robustness(finder, people, light=v) for v in _LIGHTS[1:]]
        table.add_row(name, *(f"{100 * share:.0f}%" for share in shares))
    return table


if __name__ == "__main__":
    command_line.run(main)
