"""A small tree in BP4D's distributed layout, and a detector for its pictures, for tests."""

import pathlib

import cv2
import numpy as np

from piapdf_jax.action_units import BP4D_AUS

SIDE = 96
#: Gray value of the first pixel of a picture in which the detector finds nothing.
NO_FACE = 0


def face_points(shift: float) -> np.ndarray:
    """[68, 2] float32: a crude face whose jaw says which picture it was found in."""
    points = np.random.default_rng(5).uniform(30, 60, (68, 2))
    points[36:42], points[42:48] = (36, 40), (60, 40)
    points[[36, 45], 0] += (-3, 3)
    points[[39, 42], 0] += (3, -3)
    points[30], points[48], points[54] = (48, 52), (40, 64), (56, 64)
    # The jaw has no part in the crop, which would undo a movement of the whole face.
    points[:17] += shift / 10
    return points.astype(np.float32)


class FrameDetector:
    """Reads the number that ``write_picture`` hid in the first pixel."""

    digest = "frame-1"

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        number = int(image[:8, :8].mean().round())
        return None if number == NO_FACE else face_points(number)


class NoDetector:
    """Fails the test that asks it for landmarks."""

    digest = FrameDetector.digest

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        raise AssertionError("the cache should have known these landmarks")


def write_picture(path: pathlib.Path, mark: int, *, seed: int = 0) -> None:
    """A noisy gradient whose upper left corner is a block of the gray value ``mark``."""
    rng = np.random.default_rng([mark, seed])
    ramp = np.linspace(40, 220, SIDE)[:, None, None] + rng.normal(0, 8, (SIDE, SIDE, 3))
    image = ramp.clip(0, 255).astype(np.uint8)
    image[:16, :16] = mark
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())


def label_row(frame: int, *, flip: int = 0) -> dict[int, int]:
    """Labels of one frame: a pattern of frame and AU in which some cells are 9."""
    return {au: (9, 0, 1, 1, 0)[(frame + au + flip) % 5] for au in BP4D_AUS}


def write_labels(path: pathlib.Path, frames: list[int], *, header: list[int] | None = None) -> None:
    """An AU_OCC file with columns 0 to 40, whose order the reader has to take from the header."""
    header = list(range(41)) if header is None else header
    lines = [",".join(map(str, header))]
    for frame in frames:
        cells = {0: frame, **label_row(frame)}
        lines.append(",".join(str(cells.get(column, 9)) for column in header))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_tree(
    root: pathlib.Path,
    *,
    subjects: tuple[str, ...] = ("F001", "F003", "F004"),
    tasks: tuple[str, ...] = ("T1", "T2"),
    folder: str = "2D+3D",
    labels: str = "AUCoding/AU_OCC",
    name: str = "{}.jpg",
    offset: int = 0,
) -> pathlib.Path:
    """Six frames a video, numbered 11 to 16 in the label file, of which 12 to 14 are coded."""
    for subject in subjects:
        for task in tasks:
            for frame in range(11, 17):
                path = root / folder / subject / task / name.format(frame + offset)
                write_picture(path, 10 * (frame - 10), seed=sum(map(ord, subject + task)))
            write_labels(root / labels / f"{subject}_{task}.csv", [12, 13, 14])
    return root
