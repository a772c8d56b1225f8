"""BlazeFace (short range): boxes and six points of the faces of a square, by ``cv2.dnn``.

Reference: Bazarevsky et al., BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs, 2019.
"""

from typing import NamedTuple

import numpy as np

#: Side of the square that the network sees, pixels.
SIDE = 128
#: Cells of a side, and anchors of each cell, by layer of the network.
_LAYERS = ((16, 2), (8, 6))
_MIN_SCORE = 0.5
#: Boxes that share more of their union are of one face.
_SAME = 0.3
_SCORES, _PLACES = "classificators", "regressors"


class Detection(NamedTuple):
    """A face.

    Attributes:
        score: 0 to 1.
        box: [4], x, y, width, height.
        points: [6, 2]: right eye, left eye (right in an upright picture), nose tip, mouth, right and left ear.
    """

    score: float
    box: np.ndarray
    points: np.ndarray


class BlazeFace:
    """The network.

    Args:
        path: of its .tflite file.
    """

    def __init__(self, path: str):
        import cv2

        self._net = cv2.dnn.readNetFromTFLite(path)
        self._anchors = anchors()

    def __call__(self, square: np.ndarray) -> list[Detection]:
        """Finds the faces of a square, the clearest first.

        Args:
            square: [128, 128, 3] uint8 RGB.

        Returns:
            Boxes and points in pixels of the square.
        """
        import cv2

        blob = cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5, 127.5, 127.5))
        self._net.setInput(blob)
        # Two calls: a list of names is not taken by every version.
        logits = np.asarray(self._net.forward(_SCORES)).reshape(-1)
        places = np.asarray(self._net.forward(_PLACES)).reshape(-1, 16)
        return merged(*decoded(logits, places, self._anchors))


def anchors() -> np.ndarray:
    """Returns the middles of the network's anchors, [896, 2] in pixels: those of cells, row by row."""
    found = []
    for cells, each in _LAYERS:
        middles = (np.arange(cells) + 0.5) * (SIDE / cells)
        y, x = np.meshgrid(middles, middles, indexing="ij")
        found.append(np.repeat(np.stack([x.ravel(), y.ravel()], 1), each, 0))
    return np.concatenate(found)


def decoded(
    logits: np.ndarray, places: np.ndarray, middles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turns what the network says into faces.

    Args:
        logits: [N].
        places: [N, 16]: middle of the box, its width and height, six points; pixels, places from the anchor on.
        middles: [N, 2], of the anchors.

    Returns:
        Scores [M] of those that are likely, and [M, 8, 2]: upper left corner, lower right corner, six points.
    """
    likely = logits > np.log(_MIN_SCORE / (1 - _MIN_SCORE))
    scores = 1 / (1 + np.exp(-np.clip(logits[likely], -80, 80)))
    pairs = places[likely].reshape(-1, 8, 2)
    middle, size, points = pairs[:, 0], pairs[:, 1], pairs[:, 2:]
    anchor = middles[likely]
    corners = np.stack([middle - size / 2, middle + size / 2], 1)
    return scores, np.concatenate([corners, points], 1) + anchor[:, None]


def merged(scores: np.ndarray, places: np.ndarray) -> list[Detection]:
    """Makes one detection of those that overlap: their mean, weighted by score.

    Args:
        scores: [M].
        places: [M, 8, 2], as ``decoded`` returns them.

    Returns:
        Detections, the clearest first; the score is the highest of its kind.
    """
    left = list(np.argsort(-scores))
    found = []
    while left:
        best = left[0]
        same = [k for k in left if _overlap(places[best], places[k]) > _SAME or k == best]
        left = [k for k in left if k not in same]
        weight = scores[same] / scores[same].sum()
        mean = np.tensordot(weight, places[same], 1)
        box = np.concatenate([mean[0], mean[1] - mean[0]])
        found.append(Detection(float(scores[best]), box, mean[2:]))
    return found


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    low, high = np.maximum(first[0], second[0]), np.minimum(first[1], second[1])
    shared = np.prod(np.maximum(high - low, 0))
    union = np.prod(first[1] - first[0]) + np.prod(second[1] - second[0]) - shared
    return float(shared / union) if union > 0 else 0.0
