"""Crops the face out of a picture file, or gives the reason why there is none."""

import numpy as np

from piapdf_jax import faces
from piapdf_jax.pictures import UnknownRangeError

#: Reasons, as the report has them.
UNREADABLE = "picture that cannot be read"
UNKNOWN_RANGE = "16-bit picture without a value in the upper half: near black, or not scaled"
NO_FACE = "landmarks that are no face"


def read(path: str) -> np.ndarray | str:
    """Reads a picture.

    Args:
        path: its file.

    Returns:
        [H, W, 3] uint8 RGB, or the reason why there is none.
    """
    try:
        return faces.read_image(path)
    except UnknownRangeError:
        return UNKNOWN_RANGE
    except ValueError:
        return UNREADABLE


def cut(
    path: str, landmarks: np.ndarray, case: str, faults: list[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Cuts the aligned face out of a picture file.

    Args:
        path: its file.
        landmarks: [68, 2] float, pixels of the picture.
        case: what the report calls it.
        faults: gets (reason, case) where no face can be cut out.

    Returns:
        Crop and landmarks as ``faces.crop``; None where there is a fault.
    """
    image = read(path)
    if isinstance(image, str):
        faults.append((image, case))
        return None
    try:
        return faces.crop(image, landmarks)
    except ValueError:
        faults.append((NO_FACE, case))
        return None
