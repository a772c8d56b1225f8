"""Faces in pictures: read, searched for 68 landmarks, and cut out in the one way that builders and inference share.

dlib and OpenCV are imported inside the functions that use them; JAX never is.
"""

import functools
import hashlib
import importlib.util
import logging
import os
import pathlib
import stat
from typing import Protocol

import numpy as np

from piapdf_jax import commands, paths, pictures
from piapdf_jax.records import IMAGE_SIZE

#: Names a file with dlib's 68-point predictor.
PREDICTOR_VARIABLE = "PIAPDF_LANDMARKS"
PREDICTOR_FILE = "shape_predictor_68_face_landmarks.dat"
PREDICTOR_SHA256 = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
PREDICTOR_LICENCE = (
    "dlib's 68-point predictor was trained on iBUG 300-W, whose licence excludes commercial use"
)

#: Side of the crop in units of the largest extent of eye centres, nose tip and mouth corners.
#: With these two the forehead above the brows (AU 1 and 2) and the chin are inside.
BOX_SCALE = 3.1
#: How far the centre of the crop lies above the centre of those points, in the same units.
BOX_LIFT = 0.08

#: Landmarks whose extent across is less than this share of their extent along lie on a line.
_FLAT = 0.01
#: Longer side of the picture that the detector searches first, pixels.
_SEARCH_SIZE = 640
#: Longest file that is taken for a picture; phones append films to theirs.
_MAX_BYTES = 2**30


class LandmarkDetector(Protocol):
    """Finds the landmarks of the clearest face of a picture."""

    #: What a cache of landmarks is kept under: another detector has another.
    digest: str

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """Landmarks of one face.

        Args:
            image: [H, W, 3] uint8 RGB.

        Returns:
            [68, 2] float32, (x, y) in pixels of the picture, pixel centres at whole numbers; None
            where no face is found.
        """
        ...


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


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads a picture file, whatever characters its path holds.

    Args:
        path: a JPEG, PNG or BMP, whatever its name ends with.

    Returns:
        [H, W, 3] uint8 RGB, as ``pictures.decode``.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: for what is no file, has more than a gigabyte, or is refused by ``pictures.decode``.
        MemoryError: where there is no room for the picture.
    """
    path = pathlib.Path(path)
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise ValueError(f"{path} cannot be read as a picture: it is no file")
    if state.st_size > _MAX_BYTES:
        raise ValueError(f"{path} cannot be read as a picture: it has {state.st_size:,} bytes")
    try:
        return pictures.decode(path.read_bytes(), str(path))
    except MemoryError as error:
        raise MemoryError(f"{path}: not enough memory for this picture") from error


def crop_matrix(landmarks: np.ndarray, *, size: int = IMAGE_SIZE) -> np.ndarray:
    """The similarity transform from a picture to the aligned crop.

    The line between the eye centres becomes level. In those axes a square of side ``BOX_SCALE`` d,
    d being the larger side of the box around eye centres, nose tip and mouth corners, is laid
    around the centre of that box, lifted by ``BOX_LIFT`` d. A similarity transform of the picture
    leaves the crop as it is. After the alignment of JAA-Net, with more room at the forehead.

    Args:
        landmarks: [68, 2] float, (x, y) in pixels of the picture, pixel centres at whole numbers.
        size: side of the crop in pixels.

    Returns:
        [2, 3] float64: crop point = matrix @ (x, y, 1).

    Raises:
        ValueError: for landmarks of another shape, that are not finite, or whose eyes fall into one
            point.
    """
    points = _finite(landmarks)
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    length = np.linalg.norm(right - left)
    if length == 0:
        raise ValueError("the landmarks of both eyes fall into one point")
    axis = (right - left) / length
    level = np.array([axis, [-axis[1], axis[0]]])
    stable = np.stack([left, right, points[30], points[48], points[54]]) @ level.T
    low, high = stable.min(0), stable.max(0)
    extent = (high - low).max()
    centre = (low + high) / 2 - [0.0, BOX_LIFT * extent]
    scale = size / (BOX_SCALE * extent)
    shift = (size - 1) / 2 - scale * centre
    return np.concatenate([scale * level, shift[:, None]], axis=1)


def crop(
    image: np.ndarray, landmarks: np.ndarray, size: int = IMAGE_SIZE
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the aligned face out of a picture.

    Args:
        image: [H, W, 3] uint8.
        landmarks: [68, 2] float, (x, y) in pixels of the picture.
        size: side of the crop in pixels.

    Returns:
        The crop [size, size, 3] uint8 (beyond the picture's border its edge is repeated) and the
        landmarks [68, 2] float32 in pixels of the crop.

    Raises:
        ValueError: as ``crop_matrix``; for landmarks on one line or within a pixel, all of them outside the
            picture, or one further outside than its sides are long; for a picture that would be less than a
            pixel wide or high in the crop, or has a side beyond ``pictures.MAX_SIDE``.
    """
    import cv2

    sides = image.shape[:2]
    _check_place(_finite(landmarks), sides)
    matrix = crop_matrix(landmarks, size=size)
    moved = transform(landmarks, matrix)
    scale = float(np.hypot(*matrix[:, 0]))
    if scale * BOX_SCALE > size or scale * min(sides) < 1 or max(sides) > pictures.MAX_SIDE:
        raise ValueError(
            f"no face can be cut out of {sides[1]:,} x {sides[0]:,} pixels at {scale:.3g} times that size"
        )
    if scale < 0.75:
        # Bilinear sampling alone skips pixels: average to nearly the final scale first.
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        ratio = np.array([small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]])
        matrix = np.column_stack([matrix[:, :2] / ratio, matrix[:, 2]])
        matrix[:, 2] -= matrix[:, :2] @ (0.5 * ratio - 0.5)  # resizing keeps the outer edges
        image = small
    warped = cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return warped, moved.astype(np.float32)


def _finite(landmarks: np.ndarray) -> np.ndarray:
    points = np.asarray(landmarks, np.float64)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise ValueError(f"expected 68 finite landmarks [68, 2], got shape {points.shape}")
    return points


def _check_place(points: np.ndarray, sides: tuple[int, ...]) -> None:
    """Refuses what would make a record of a smudge or of the picture's border alone."""
    corner = np.array(sides[::-1])
    where = f"a picture of {corner[0]:,} x {corner[1]:,} pixels"
    if ((points < -corner) | (points > 2 * corner)).any():
        raise ValueError(f"a landmark lies further outside {where} than that is long")
    if not ((points > -0.5) & (points < corner - 0.5)).all(1).any():
        raise ValueError(f"all landmarks lie outside {where}")
    along, across = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if across < _FLAT * along:
        raise ValueError(f"all landmarks lie on one line of {where}")


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies an affine matrix [2, 3] to points [..., 2]; float64 [..., 2]."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
