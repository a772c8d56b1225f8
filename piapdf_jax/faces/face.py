"""Protocols of face finders, and the types of their results."""

import math
from typing import NamedTuple, Protocol

import numpy as np

#: Reasons why a picture has no face, as rows of ``experiments.detect`` have them.
NO_FACE, TILTED, TOO_SMALL = "no_face", "tilted", "too_small"


class Face(NamedTuple):
    """A face of a picture; pixel centers at whole numbers.

    Attributes:
        box: x and y of the upper left corner, width and height, pixels of the picture.
        score: the finder's confidence, 0 to 1.
        landmarks: [68, 2] float32, (x, y) in pixels of the picture.
        roll: degrees by which the line from the right eye (left in the picture) to the left one is
            turned clockwise, -180 to 180.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: np.ndarray
    roll: float


class Found(NamedTuple):
    """What a finder says of a picture: its faces, the clearest first, and why there are none ("" where there are)."""

    faces: tuple[Face, ...]
    reason: str = ""


def roll_of(landmarks: np.ndarray) -> float:
    """Returns by how many degrees the line between the eyes is turned clockwise, -180 to 180.

    Args:
        landmarks: [68, 2], (x, y).
    """
    x, y = landmarks[42:48].mean(0) - landmarks[36:42].mean(0)
    return math.degrees(math.atan2(y, x))


class FaceFinder(Protocol):
    """Finds the faces of a picture.

    Attributes:
        name: as ``--finder`` has it.
        digest: another finder, or another version of one, has another.
        license: terms of its models, in one sentence.
    """

    name: str
    digest: str
    license: str

    def find(self, image: np.ndarray) -> Found:
        """Returns the faces of a picture [H, W, 3] uint8 RGB."""
        ...


class LandmarkDetector(Protocol):
    """Finds the landmarks of the clearest face of a picture."""

    #: What a cache of landmarks is kept under: another detector has another.
    digest: str

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """Finds the landmarks of one face.

        Args:
            image: [H, W, 3] uint8 RGB.

        Returns:
            [68, 2] float32, (x, y) in pixels of the picture, pixel centers at whole numbers; None
            where no face is found.
        """
        ...
