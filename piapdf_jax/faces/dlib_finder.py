"""dlib's frontal face detector with its 68-point predictor (extra ``landmarks``)."""

import logging
import math
import os
import pathlib
from typing import Protocol

import numpy as np

from piapdf_jax import commands
from piapdf_jax.faces.face import NO_FACE, Face, Found, roll_of
from piapdf_jax.faces.model_files import ModelFile, find

#: Names a file with dlib's 68-point predictor.
PREDICTOR_VARIABLE = "PIAPDF_LANDMARKS"
PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"
PREDICTOR_SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
PREDICTOR_LICENSE = (
    "dlib's 68-point predictor was trained on iBUG 300-W, whose license excludes commercial use"
)

#: Longer side of the picture that the detector searches first, pixels.
_SEARCH_SIZE = 640


class _Box(Protocol):
    """dlib's rectangle, edges in pixels."""

    def left(self) -> int: ...
    def top(self) -> int: ...
    def right(self) -> int: ...
    def bottom(self) -> int: ...
    def width(self) -> int: ...
    def height(self) -> int: ...


class DlibDetector:
    """dlib's frontal face detector and 68-point predictor (extra ``landmarks``).

    Args:
        predictor: file of the predictor; None looks where ``find_predictor`` says.

    Raises:
        FileNotFoundError: where there is no such file, or dlib is not installed.
        ValueError: for a file with another checksum.
    """

    def __init__(self, predictor: str | os.PathLike[str] | None = None):
        path = find_predictor(predictor)
        try:
            import dlib
        except ImportError as error:
            raise FileNotFoundError(
                f"dlib is not installed: {commands.install('landmarks')}"
            ) from error
        self._rectangle = dlib.rectangle
        self._detect = dlib.get_frontal_face_detector()
        self._predict = dlib.shape_predictor(str(path))
        self.digest = f"dlib-{dlib.__version__}-{PREDICTOR_SHA256[:12]}-{_SEARCH_SIZE}"
        logging.getLogger(__name__).info("%s: %s", path, PREDICTOR_LICENSE)

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """Finds landmarks, see ``LandmarkDetector``; searches a small picture first, then a larger one."""
        boxes = self._search(image)
        if not boxes:
            return None
        return self._landmarks(image, max(boxes, key=lambda found: found[1])[0])

    def _search(self, image: np.ndarray) -> list[tuple[_Box, float]]:
        """Boxes and scores of the faces of a picture."""
        shrink = min(1.0, _SEARCH_SIZE / max(image.shape[:2]))
        boxes = self._boxes(image, shrink)
        return boxes or self._boxes(image, min(1.0, 2 * shrink), upsample=int(shrink == 1.0))

    def _landmarks(self, image: np.ndarray, box: _Box) -> np.ndarray:
        shape = self._predict(np.ascontiguousarray(image), box)
        return np.array([(point.x, point.y) for point in shape.parts()], np.float32)

    def _boxes(
        self, image: np.ndarray, shrink: float, *, upsample: int = 0
    ) -> list[tuple[_Box, float]]:
        import cv2

        if min(image.shape[:2]) * shrink < 1:  # nothing would be left of the narrow side
            return []
        small = image
        if shrink < 1:
            small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        boxes, scores, _ = self._detect.run(np.ascontiguousarray(small), upsample, 0.0)
        found = []
        for box, score in zip(boxes, scores, strict=True):
            edges = (box.left(), box.top(), box.right(), box.bottom())
            found.append((self._rectangle(*(round(edge / shrink) for edge in edges)), score))
        return found


class DlibFinder(DlibDetector):
    """All faces that ``DlibDetector`` sees, as a ``FaceFinder``; its clearest face is the same, bit for bit.

    A score is 1 - exp(-s), s being the detector's own, which is above 0 and seldom above 3. Faces of less than about
    40 pixels, or turned by more than about 30 degrees, are not seen, and nothing tells why.
    """

    name = "dlib"
    license = PREDICTOR_LICENSE

    def find(self, image: np.ndarray) -> Found:
        """Finds faces, see ``FaceFinder``."""
        boxes = sorted(self._search(image), key=lambda found: -found[1])
        faces = tuple(self._face(image, box, score) for box, score in boxes)
        return Found(faces, "" if faces else NO_FACE)

    def _face(self, image: np.ndarray, box: _Box, score: float) -> Face:
        points = self._landmarks(image, box)
        sides = (float(box.left()), float(box.top()), float(box.width()), float(box.height()))
        return Face(sides, 1 - math.exp(-score), points, roll_of(points))


def find_predictor(path: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Finds and checks the file of dlib's 68-point predictor.

    Args:
        path: the file; None takes the one that the environment variable ``PIAPDF_LANDMARKS`` names,
            else the one in the installed package ``face_recognition_models``.

    Returns:
        Path of a file with the known checksum.

    Raises:
        FileNotFoundError: where there is none; the message says where to get it.
        ValueError: for a file with another checksum.
    """
    get = (
        f"{commands.install('landmarks')}, or put the path of {PREDICTOR_FILE} into {PREDICTOR_VARIABLE}"
        f" ({PREDICTOR_LICENSE})"
    )
    file = ModelFile(PREDICTOR_FILE, PREDICTOR_SHA256, "face_recognition_models", "models", get)
    return find(file, path or os.environ.get(PREDICTOR_VARIABLE), PREDICTOR_VARIABLE)
