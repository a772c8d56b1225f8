"""Tracks faces from frame to frame by the overlap of their boxes; no recognition."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Box = tuple[float, float, float, float]

#: Boxes that share less of their union are of two faces.
MIN_OVERLAP = 0.3
#: A face that is not found keeps its number for so many frames that are looked at.
PATIENCE = 10
#: Mean difference of hue, saturation and value (0 to 255) of two pictures at which a film was cut.
CUT = 27.0
_THUMBNAIL = (64, 36)


class Tracker:
    """Numbers faces from 0: a box goes on with the number of the earlier box that it overlaps most.

    Args:
        state: as ``state`` returned it; None for a start.
    """

    def __init__(self, state: dict[str, Any] | None = None):
        state = state or {"next": 0, "faces": []}
        self._next: int = state["next"]
        self._faces: dict[int, tuple[Box, int]] = {
            number: (tuple(box), age) for number, box, age in state["faces"]
        }

    def state(self) -> dict[str, Any]:
        """Returns all that later frames depend on, as JSON holds it."""
        return {
            "next": self._next,
            "faces": [[number, list(box), age] for number, (box, age) in self._faces.items()],
        }

    def number(self, boxes: Sequence[Box], *, cut: bool = False) -> list[int]:
        """Returns the numbers of a frame's faces.

        Args:
            boxes: of its faces: x, y, width, height.
            cut: whether the film was cut before this frame, after which all numbers are new.
        """
        if cut:
            self._faces = {}
        known = list(self._faces)
        pairs = sorted(
            (-overlap(self._faces[number][0], box), known.index(number), row)
            for number in known
            for row, box in enumerate(boxes)
        )
        taken: dict[int, int] = {}
        for shared, place, row in pairs:
            if -shared >= MIN_OVERLAP and row not in taken and known[place] not in taken.values():
                taken[row] = known[place]
        for row in range(len(boxes)):
            if row not in taken:
                taken[row] = self._next
                self._next += 1
        aged = {number: (box, age + 1) for number, (box, age) in self._faces.items()}
        self._faces = {number: kept for number, kept in aged.items() if kept[1] <= PATIENCE}
        self._faces |= {taken[row]: (box, 0) for row, box in enumerate(boxes)}
        return [taken[row] for row in range(len(boxes))]


def overlap(first: Box, second: Box) -> float:
    """Returns the area that two boxes share, as a share of their union."""
    sides = [
        min(first[k] + first[k + 2], second[k] + second[k + 2]) - max(first[k], second[k])
        for k in (0, 1)
    ]
    if min(sides) <= 0:
        return 0.0
    shared = sides[0] * sides[1]
    union = first[2] * first[3] + second[2] * second[3] - shared
    return shared / union if union > 0 else 0.0


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """Returns what ``is_cut`` compares of a picture [H, W, 3] uint8 RGB: a small one of hue, saturation and value."""
    import cv2

    small = cv2.resize(picture, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2HSV_FULL).astype(np.int16)


def is_cut(before: np.ndarray | None, now: np.ndarray) -> bool:
    """Returns whether a film was cut between two thumbnails: the mean difference is ``CUT`` or more.

    Hue is a circle. The measure is that of PySceneDetect's content detector.
    """
    if before is None:
        return False
    difference = np.abs(now - before)
    hue = difference[..., 0]
    difference[..., 0] = np.minimum(hue, 256 - hue)
    return float(difference.mean()) >= CUT
