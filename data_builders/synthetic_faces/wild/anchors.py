"""Named points of a moving face to which bulges and folds are attached."""

import numpy as np

#: Name -> landmark of the image-right half; those on the midline serve both halves.
_LANDMARKS = {
    "brow_inner": 22, "brow": 24, "brow_outer": 25, "wing": 35, "corner": 54, "upper": 52, "lower": 56,
    "inner": 42, "outer": 45, "top": 51, "bottom": 57, "chin": 8, "root": 27, "bridge": 28, "base": 33,
}  # fmt: skip
_MIRRORED = {
    "brow_inner": 21, "brow": 19, "brow_outer": 18, "wing": 31, "corner": 48, "upper": 50, "lower": 58,
    "inner": 39, "outer": 36,
}  # fmt: skip


def anchors(points: np.ndarray, side: int) -> dict[str, np.ndarray]:
    """Returns the named places of one half of a face.

    Args:
        points: [68, 2] landmarks, head units.
        side: 1 the image-right half, -1 the other.

    Returns:
        {name: [2]}; beside the landmarks the center of the eye ``eye``, of its lower lid ``lid``, and ``axis``, the
        origin of the head, from which what hangs on no landmark is measured.
    """
    indices = _LANDMARKS if side > 0 else _LANDMARKS | _MIRRORED
    found = {name: points[index] for name, index in indices.items()}
    eye = points[42:48] if side > 0 else points[36:42]
    lid = points[[46, 47]] if side > 0 else points[[40, 41]]
    return found | {"eye": eye.mean(0), "lid": lid.mean(0), "axis": np.zeros(2, np.float32)}
