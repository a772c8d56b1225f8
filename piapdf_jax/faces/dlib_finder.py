"""dlib's frontal face detector with its 68-point predictor (extra ``landmarks``)."""

import functools
import hashlib
import importlib.util
import logging
import os
import pathlib

import numpy as np

from piapdf_jax import commands, paths

#: Names a file with dlib's 68-point predictor.
PREDICTOR_VARIABLE = "PIAPDF_LANDMARKS"
PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"
PREDICTOR_SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
PREDICTOR_LICENCE = (
    "dlib's 68-point predictor was trained on iBUG 300-W, whose licence excludes commercial use"
)

#: Longer side of the picture that the detector searches first, pixels.
_SEARCH_SIZE = 640


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
        logging.getLogger(__name__).info("%s: %s", path, PREDICTOR_LICENCE)

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """See ``LandmarkDetector``; searches a small picture first, then a larger one."""
        shrink = min(1.0, _SEARCH_SIZE / max(image.shape[:2]))
        box = self._best_box(image, shrink)
        if box is None:
            box = self._best_box(image, min(1.0, 2 * shrink), upsample=int(shrink == 1.0))
        if box is None:
            return None
        shape = self._predict(np.ascontiguousarray(image), box)
        return np.array([(point.x, point.y) for point in shape.parts()], np.float32)

    def _best_box(self, image: np.ndarray, shrink: float, *, upsample: int = 0):
        import cv2

        if min(image.shape[:2]) * shrink < 1:  # nothing would be left of the narrow side
            return None
        small = image
        if shrink < 1:
            small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        boxes, scores, _ = self._detect.run(np.ascontiguousarray(small), upsample, 0.0)
        if not scores:
            return None
        box = boxes[int(np.argmax(scores))]
        edges = (box.left(), box.top(), box.right(), box.bottom())
        return self._rectangle(*(round(edge / shrink) for edge in edges))


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
    named = path or os.environ.get(PREDICTOR_VARIABLE)
    found = paths.local_path(named, PREDICTOR_VARIABLE) if named else _installed_predictor()
    if found is None or not found.is_file():
        lacks = "is no file" if found and found.exists() else "is not there"
        missing = f"{found} {lacks}" if found else "no 68-point landmark predictor found"
        raise FileNotFoundError(
            f"{missing}: {commands.install('landmarks')}, or put the path of {PREDICTOR_FILE} into"
            f" {PREDICTOR_VARIABLE} ({PREDICTOR_LICENCE})"
        )
    state = found.stat()
    digest = _sha256(found, state.st_size, state.st_mtime_ns)
    if digest != PREDICTOR_SHA256:
        raise ValueError(
            f"{found} is not {PREDICTOR_FILE}: its sha256 is {digest}, not {PREDICTOR_SHA256}"
        )
    return found


def _installed_predictor() -> pathlib.Path | None:
    # Found without importing: the package needs pkg_resources, which new setuptools lack.
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        return None
    return pathlib.Path(next(iter(spec.submodule_search_locations)), "models", PREDICTOR_FILE)


@functools.lru_cache(maxsize=4)
def _sha256(path: pathlib.Path, size: int, changed: int) -> str:
    """Checksum of a file, read once a process unless its size or time of change differ."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
