"""Predefined pixel-interested (PI) maps: 68 landmarks to one binary region per action unit.

Section 3.1 and figure 3 of PIAP-DF: each action unit (AU) moves a known muscle, so the pixels that
show it lie in a polygon spanned by facial landmarks. The paper prints no vertices; these follow the
muscles of FACS and the landmark rules of JAA-Net and EAC-Net, and are the same on both halves of
the face.
"""

import functools
import re

import numpy as np

from piapdf_jax.action_units import RECORD_AUS

#: Vertices of the polygon on the image-left half of the face, by AU number. ``i``: landmark i of
#: the 68-point scheme, from 0. ``i~j@t``: the point L_i + t (L_j - L_i), t = 0.5 where left out.
#: ``(dx,dy)``: an offset in units of the distance between the inner eye corners, dx away from the
#: midline, dy toward the chin. The image-right half mirrors it.
POLYGONS = {
    1: "20 21 21~22(0,.05) 21~22(0,-.8) 21(0,-.8) 20(0,-.8)",
    2: "17(.1,0) 18 19 19~20 19~20(0,-.6) 19(0,-.6) 18(0,-.6) 17(.1,-.6)",
    4: "18(0,-.1) 19(0,-.1) 20(0,-.1) 21(0,-.1) 21~22(0,-.1) 28 39(0,-.1) 38(0,-.1)"
    " 37(0,-.1) 36~18",
    6: "36(.35,-.1) 36(0,.12) 41(0,.2) 40(0,.2) 39(0,.35) 31~1@.17(0,-.15) 31~2@.3(0,.28)"
    " 48~2@.45 1~36@.35",
    7: "36(.2,0) 37(0,-.2) 38(0,-.2) 39(-.2,0) 40(0,.25) 41(0,.25)",
    9: "27(0,-.05) 27~39@.6 39~31@.4 31(.35,-.15) 31(.2,.1) 32(0,.08) 33(0,.08) 30 29 28",
    10: "33 32 31 31(.3,-.2) 31~48(.25,0) 48(0,-.05) 60 61(0,.03) 62(0,.03)",
    12: "49 31~48@.7(.1,0) 31~1@.32(0,.3) 48~1@.5 48~2@.6 48~3@.5 48(.2,.15) 59(0,.05)",
    14: "49(0,.05) 48(0,-.25) 48~3@.35 48~4@.5 48~5@.45 59(0,.1)",
    15: "48(-.15,-.08) 48(.12,-.1) 48~4@.35 48~5@.55 48~6@.75 58~7@.6 59~6@.2",
    17: "57~8@.1 58~7@.1 59~6@.2 59~6@.5 58~7@.85 57~8@.92",
    23: "51(0,-.15) 50(0,-.15) 49(0,-.15) 48(.15,0) 59(0,.18) 58(0,.2) 57(0,.2)",
    24: "51 50 49 48 59 58 57",
    25: "51(0,-.05) 50(0,-.05) 49(0,-.05) 48(.05,0) 59(0,.3) 58(0,.35) 57(0,.35)",
    26: "51 50 49 48 48~4@.4 5~48@.25 6(0,-.05) 7(0,-.05) 8(0,-.05)",
}  # fmt: skip

_PAIRS = (
    *((i, 16 - i) for i in range(17)),
    *((i, 43 - i) for i in range(17, 27)),
    *((i, i) for i in (27, 28, 29, 30, 33, 51, 57, 62, 66)),
    *((31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),
    *((48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67)),
)

#: Landmark that takes a landmark's place when the picture is mirrored; its own inverse.
MIRROR = np.zeros(68, np.int64)
for _one, _other in _PAIRS:
    MIRROR[_one], MIRROR[_other] = _other, _one
MIRROR.flags.writeable = False

_VERTEX = re.compile(r"^(\d+)(?:~(\d+)(?:@(\.\d+))?)?(?:\((-?[\d.]+),(-?[\d.]+)\))?$")
_SHIFT = 4  # fractional bits of the vertices that OpenCV fills


def polygon_vertices(landmarks: np.ndarray, au: int) -> np.ndarray:
    """Returns the two polygons of one action unit.

    Every vertex is linear in the landmarks: V = A L + u (dx e_x + dy e_y), u being the distance
    between the inner eye corners, e_x the unit vector between the eye centers and e_y its normal
    toward the chin.

    Args:
        landmarks: [68, 2] float, (x, y) in pixels.
        au: FACS number, one of ``RECORD_AUS``.

    Returns:
        [2, V, 2] float64: the image-left and the image-right polygon, in pixels.

    Raises:
        ValueError: for landmarks of another shape, that are not finite, or whose eyes fall into one
            point.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise ValueError(f"expected 68 finite landmarks [68, 2], got shape {points.shape}")
    across = points[42:48].mean(0) - points[36:42].mean(0)
    length = np.linalg.norm(across)
    if length == 0:
        raise ValueError("the landmarks of both eyes coincide")
    axis = across / length
    unit = np.linalg.norm(points[39] - points[42])
    axes = unit * np.array([axis, [-axis[1], axis[0]]])
    weights, offsets = _matrices(au)
    return np.einsum("svl,lc->svc", weights, points) + offsets @ axes


def predefined_pi_maps(landmarks: np.ndarray, *, size: int = 256) -> np.ndarray:
    """Draws the predefined PI map of every action unit that a record holds (section 3.1).

    Args:
        landmarks: [68, 2] float, (x, y) in pixels of a square picture of ``size`` pixels, pixel
            centers at whole numbers. Landmarks outside the picture are allowed: regions are cut off
            at its border.
        size: side of the maps in pixels.

    Returns:
        [size, size, 15] uint8 of 0 and 1, plane k for ``RECORD_AUS[k]``.

    Raises:
        ValueError: as ``polygon_vertices``.
    """
    import cv2

    planes = np.zeros((len(RECORD_AUS), size, size), np.uint8)
    for plane, au in zip(planes, RECORD_AUS, strict=True):
        vertices = np.clip(polygon_vertices(landmarks, au), -8 * size, 8 * size)
        for side in np.rint(vertices * 2**_SHIFT).astype(np.int32):
            # One call a side: both in one call would leave out what they share.
            cv2.fillPoly(plane, [side], 1, shift=_SHIFT)
    return np.ascontiguousarray(np.moveaxis(planes, 0, -1))


@functools.cache
def _matrices(au: int) -> tuple[np.ndarray, np.ndarray]:
    """Landmark weights [2, V, 68] and offsets [2, V, 2] of one AU, left side first."""
    if au not in POLYGONS:
        raise ValueError(f"no polygon for AU {au}; there are {list(POLYGONS)}")
    tokens = POLYGONS[au].split()
    weights, offsets = np.zeros((len(tokens), 68)), np.zeros((len(tokens), 2))
    for row, token in enumerate(tokens):
        match = _VERTEX.match(token)
        if match is None:
            raise ValueError(f"AU {au}: {token!r} is not a vertex")
        one, other, share, dx, dy = match.groups()
        share = float(share or 0.5) if other else 0.0
        weights[row, int(one)] += 1 - share
        weights[row, int(other or one)] += share
        offsets[row] = -float(dx or 0), float(dy or 0)
    mirrored = offsets * np.array([-1.0, 1.0])
    return np.stack([weights, weights[:, MIRROR]]), np.stack([offsets, mirrored])
