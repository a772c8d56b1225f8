"""Crops faces out of pictures, in the one way that builders and inference share.

OpenCV is imported inside the functions that use it; JAX never is.
"""

import numpy as np

from piapdf_jax import pictures
from piapdf_jax.records import IMAGE_SIZE

#: Side of the crop in units of the largest extent of eye centers, nose tip and mouth corners.
#: With these two the forehead above the brows (AU 1 and 2) and the chin are inside.
BOX_SCALE = 3.1
#: How far the center of the crop lies above the center of those points, in the same units.
BOX_LIFT = 0.08

#: Landmarks whose extent across is less than this share of their extent along lie on a line.
_FLAT = 0.01


def crop_matrix(landmarks: np.ndarray, *, size: int = IMAGE_SIZE) -> np.ndarray:
    """Computes the similarity transform from a picture to the aligned crop.

    The line between the eye centers becomes level. In those axes a square of side ``BOX_SCALE`` d,
    d being the larger side of the box around eye centers, nose tip and mouth corners, is laid
    around the center of that box, lifted by ``BOX_LIFT`` d. A similarity transform of the picture
    leaves the crop as it is. After the alignment of JAA-Net, with more room at the forehead.

    Args:
        landmarks: [68, 2] float, (x, y) in pixels of the picture, pixel centers at whole numbers.
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
        raise ValueError("the landmarks of both eyes coincide")
    axis = (right - left) / length
    level = np.array([axis, [-axis[1], axis[0]]])
    stable = np.stack([left, right, points[30], points[48], points[54]]) @ level.T
    low, high = stable.min(0), stable.max(0)
    extent = (high - low).max()
    center = (low + high) / 2 - [0.0, BOX_LIFT * extent]
    scale = size / (BOX_SCALE * extent)
    shift = (size - 1) / 2 - scale * center
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
    sides = image.shape[:2]
    _check_place(_finite(landmarks), sides)
    matrix = crop_matrix(landmarks, size=size)
    moved = transform(landmarks, matrix)
    scale = float(np.hypot(*matrix[:, 0]))
    if scale * BOX_SCALE > size or scale * min(sides) < 1 or max(sides) > pictures.MAX_SIDE:
        raise ValueError(
            f"no face can be cut out of {sides[1]:,} x {sides[0]:,} pixels at {scale:.3g} times that size"
        )
    return cut_out(image, matrix, size), moved.astype(np.float32)


def cut_out(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Cuts a square out of a picture by a similarity transform; beyond the border the picture's edge is repeated.

    Args:
        image: [H, W, 3] uint8.
        matrix: [2, 3], from the picture to the square.
        size: side of the square in pixels.

    Returns:
        [size, size, 3] uint8.
    """
    import cv2

    scale = float(np.hypot(*matrix[:, 0]))
    if scale < 0.75:
        # Bilinear sampling alone skips pixels: average to nearly the final scale first.
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        ratio = np.array([small.shape[1] / image.shape[1], small.shape[0] / image.shape[0]])
        matrix = np.column_stack([matrix[:, :2] / ratio, matrix[:, 2]])
        matrix[:, 2] -= matrix[:, :2] @ (0.5 * ratio - 0.5)  # resizing keeps the outer edges
        image = small
    return cv2.warpAffine(
        image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def shrink_crops(crops: np.ndarray, size: int) -> np.ndarray:
    """Makes crops as small as networks take them, as frames of a training are.

    Args:
        crops: [B, 256, 256, 3] uint8, or of side ``size`` already.
        size: side of the result in pixels.

    Returns:
        [B, size, size, 3] uint8.

    Raises:
        ValueError: for crops of another shape or type.
    """
    crops = np.asarray(crops)
    sides = {IMAGE_SIZE, size}
    if (
        crops.dtype != np.uint8
        or crops.ndim != 4
        or crops.shape[1:] not in {(s, s, 3) for s in sides}
    ):
        wanted = " or ".join(f"[B, {side}, {side}, 3]" for side in sorted(sides, reverse=True))
        raise ValueError(f"expected uint8 RGB crops {wanted}, got {crops.dtype} {crops.shape}")
    if crops.shape[1] == size or not len(crops):
        return crops
    import cv2

    return np.stack([cv2.resize(c, (size, size), interpolation=cv2.INTER_AREA) for c in crops])


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
        raise ValueError(f"a landmark lies outside {where} by more than its side")
    if not ((points > -0.5) & (points < corner - 0.5)).all(1).any():
        raise ValueError(f"all landmarks lie outside {where}")
    along, across = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if across < _FLAT * along:
        raise ValueError(f"all landmarks lie on one line of {where}")


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Applies an affine matrix [2, 3] to points [..., 2]; float64 [..., 2]."""
    return np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
