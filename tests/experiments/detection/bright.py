"""Films whose faces are bright squares, a finder that sees those, and a detector that says how red a crop is."""

import pathlib

import cv2
import numpy as np
from light_model import UNITS
from mean_face import mean_face
from test_model_json import MODEL

from piapdf_jax.detector import Detector
from piapdf_jax.faces import NO_FACE, Face, Found

SIDE = 60
BACKGROUND = (40, 40, 40)


class BrightFinder:
    """A face is a square of which red is above 100; its landmarks are the mean face in it."""

    name, digest, license = "bright", "bright-1", "free of terms"

    def find(self, image: np.ndarray) -> Found:
        mask = (image[..., 0] > 100).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        found = [
            self._face(*map(float, stats[k, :4])) for k in range(1, count) if stats[k, 4] > 500
        ]
        found.sort(key=lambda face: -face.score)
        return Found(tuple(found), "" if found else NO_FACE)

    def _face(self, x: float, y: float, w: float, h: float) -> Face:
        points = mean_face()
        points = (points - points.min(0)) / np.ptp(points, axis=0) * (w, h) + (x, y)
        return Face((x, y, w, h), 1 - x / 1000, points.astype(np.float32), 0.0)


def redness(crops: np.ndarray) -> np.ndarray:
    """The mean red of a crop's middle, as the probability of every unit."""
    side = crops.shape[1]
    middle = slice(2 * side // 5, 3 * side // 5)
    red = crops[:, middle, middle, 0].mean((1, 2)) / 255
    return np.repeat(red[:, None], len(UNITS), 1).astype(np.float32)


def detector() -> Detector:
    units = {au: 0.5 for au in UNITS}
    model = MODEL._replace(units=UNITS, base_rates=units, cuts=units, no_cut={})
    return Detector(model, "opencv", redness, finder=BrightFinder())


def frame(
    *squares: tuple[int, int, int], background: tuple[int, int, int] = BACKGROUND
) -> np.ndarray:
    """A picture with squares at (x, y) of a red."""
    picture = np.full((144, 256, 3), background, np.uint8)
    for x, y, red in squares:
        picture[y : y + SIDE, x : x + SIDE] = (red, 60, 60)
    return picture


def write(path: pathlib.Path, frames: list[np.ndarray], rate: float = 25.0) -> pathlib.Path:
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"FFV1"), rate, frames[0].shape[1::-1]
    )
    for picture in frames:
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
    writer.release()
    return path
