"""The head as a relief over a plane: canvas, curves, heights, and the view that turns it and crops it."""

import dataclasses
import functools

import numpy as np

from data_builders.synthetic_faces import actions, anatomy

_PIVOT = np.array((0, 0.4, -0.35), np.float32)  # the head turns about the top of the neck


@dataclasses.dataclass(frozen=True)
class Canvas:
    """The plane that a head is drawn on, before it is turned and cropped.

    Attributes:
        width: pixels.
        height: pixels.
        scale: pixels a head unit.
        origin: pixel (x, y) of the point between the eyes.
    """

    width: int = 292
    height: int = 304
    scale: float = 108.0
    origin: tuple[float, float] = (145.5, 117.5)

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Converts head units [..., 2] to pixels [..., 2], float32."""
        return np.asarray(points, np.float32) * np.float32(self.scale) + np.array(
            self.origin, np.float32
        )

    def axes(self, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Returns head units of every ``step``-th column [W] and row [H], float32."""
        columns = (np.arange(0, self.width, step) + (step - 1) / 2 - self.origin[0]) / self.scale
        rows = (np.arange(0, self.height, step) + (step - 1) / 2 - self.origin[1]) / self.scale
        return columns.astype(np.float32), rows.astype(np.float32)


#: What an aligned crop can show, and what a picture with shoulders can.
CROP = Canvas()
WIDE = Canvas(width=520, height=460, origin=(259.5, 150.5))


@functools.lru_cache(maxsize=64)
def _spline(count: int, closed: bool, steps: int) -> np.ndarray:
    """Matrix [samples, count] of a Catmull-Rom curve through ``count`` points."""
    spans = count if closed else count - 1
    t = np.arange(steps, dtype=np.float32) / steps
    weights = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1
    )
    matrix = np.zeros((spans * steps + (not closed), count), np.float32)
    for span in range(spans):
        for k in range(4):
            index = span + k - 1
            index = index % count if closed else min(max(index, 0), count - 1)
            matrix[span * steps : (span + 1) * steps, index] += weights[:, k]
    if not closed:
        matrix[-1, -1] = 1
    return matrix


def curve(points: np.ndarray, *, closed: bool = False, steps: int = 6) -> np.ndarray:
    """Draws a smooth curve through points.

    Args:
        points: [N, D].
        closed: whether the last point is joined to the first.
        steps: samples between two points.

    Returns:
        [samples, D] float32.
    """
    return _spline(len(points), closed, steps) @ np.asarray(points, np.float32)


def relief(
    canvas: Canvas,
    identity: anatomy.Identity,
    points: np.ndarray,
    bulges: list[actions.Bulge],
    *,
    step: int = 2,
) -> np.ndarray:
    """Computes the height of the face toward the camera.

    Args:
        canvas: where.
        identity: whose.
        points: [68, 2] landmarks after the action units, head units.
        bulges: what the action units add to the resting face.
        step: a sample every ``step`` pixels.

    Returns:
        [H / step, W / step] float32, head units.
    """
    x, y = canvas.axes(step)
    jaw = points[anatomy.JAW]
    half_width = np.abs(jaw[[1, 15], 0]).mean() * 1.12
    center = 0.22
    length = max(float(jaw[8, 1]) - center, 0.5) * 1.12
    radius = (np.abs(x) / half_width)[None, :] ** 2.2
    upper, lower = np.abs((y - center) / 1.32) ** 2.2, np.abs((y - center) / length) ** 2.4
    radius = radius + np.where(y < center, upper, lower)[:, None]
    height = 0.62 - 0.62 * np.minimum(radius, 1.45)
    mounds = np.array(_mounds(identity, points) + bulges, np.float32)
    across = np.exp(-(((x[None, :] - mounds[:, :1]) / mounds[:, 2:3]) ** 2) / 2)
    down = np.exp(-(((y[None, :] - mounds[:, 1:2]) / mounds[:, 3:4]) ** 2) / 2) * mounds[:, 4:]
    return (height + down.T @ across).astype(np.float32)


def _mounds(identity: anatomy.Identity, points: np.ndarray) -> list[actions.Bulge]:
    """The resting face as mounds and hollows."""
    p = anatomy.proportions(identity)
    nose, cheek, ridge = 1 + p["nose_relief"], 1 + p["cheeks"], 1 + p["brow_ridge"]
    tip, wing = points[30], np.abs(points[[31, 35], 0]).mean()
    lip, mouth = points[51, 1], points[[60, 64], 1].mean()
    bottom, chin = points[57, 1], points[8, 1]
    bulge = actions.Bulge
    found = [
        bulge(0, points[28, 1] - 0.06, 0.055, 0.13, 0.085 * nose),
        bulge(0, points[29, 1] - 0.02, 0.06, 0.11, 0.13 * nose),
        bulge(tip[0], tip[1] + 0.02, 0.085, 0.085, 0.26 * nose),
        bulge(0, points[33, 1] + 0.015, 0.09, 0.03, -0.05),
        bulge(0, mouth, 0.27, 0.19, 0.1),
        bulge(0, (lip + mouth) / 2 - 0.005, 0.16, 0.028, 0.03),
        bulge(0, (bottom + points[66, 1]) / 2, 0.14, 0.036, 0.045),
        bulge(0, lip - 0.07, 0.022, 0.05, -0.022),
        bulge(0, bottom + 0.085, 0.16, 0.045, -0.045),
        bulge(0, chin - 0.15, 0.15, 0.11, 0.085),
        bulge(0, -0.55, 0.45, 0.25, 0.05),
    ]
    for side in (-1, 1):
        eye = points[anatomy.RIGHT_EYE if side > 0 else anatomy.LEFT_EYE].mean(0)
        found += [
            bulge(eye[0], eye[1] - 0.02, 0.17, 0.1, -0.1),
            bulge(eye[0] - side * 0.19, eye[1] + 0.0, 0.06, 0.08, -0.05),
            bulge(eye[0], eye[1], 0.105, 0.062, 0.065),
            bulge(eye[0] + side * 0.02, eye[1] - 0.21, 0.22, 0.06, 0.045 * ridge),
            bulge(side * 0.5, eye[1] + 0.31, 0.17, 0.14, 0.075 * cheek),
            bulge(side * wing * 0.78, points[33, 1] - 0.05, 0.05, 0.05, 0.1 * nose),
            bulge(side * 0.47, mouth - 0.02, 0.13, 0.16, -0.03 * (2 - cheek)),
        ]
    return found


@dataclasses.dataclass(frozen=True)
class View:
    """How head units become pixels: ``matrix`` [2, 3] times (x, y, z) plus ``offset`` [2]."""

    matrix: np.ndarray
    offset: np.ndarray

    def project(self, points: np.ndarray, depths: np.ndarray) -> np.ndarray:
        """Projects points [N, 2] in head units with their depths [N] to pixels [N, 2]."""
        return points @ self.matrix[:, :2].T + depths[:, None] * self.matrix[:, 2] + self.offset


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Computes the rotation matrix [3, 3] of a head; degrees; roll after pitch after yaw."""
    a, b, c = np.deg2rad((yaw, pitch, roll))
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    nod = np.array([[1, 0, 0], [0, np.cos(b), np.sin(b)], [0, -np.sin(b), np.cos(b)]])
    tilt = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return (tilt @ nod @ turn).astype(np.float32)


def view(turned: np.ndarray, *, scale: float, center: np.ndarray) -> View:
    """Returns the view of a turned head.

    Args:
        turned: [3, 3] from ``rotation``.
        scale: pixels a head unit.
        center: pixel (x, y) where the point between the eyes would lie in an unturned head.

    Returns:
        The view.
    """
    offset = (_PIVOT - turned @ _PIVOT)[:2] * scale + np.asarray(center, np.float32)
    return View((turned[:2] * scale).astype(np.float32), offset.astype(np.float32))


def sample(canvas: Canvas, height: np.ndarray, points: np.ndarray, *, step: int = 2) -> np.ndarray:
    """Computes heights [N] at points [N, 2] in head units, linear between the samples of ``relief``."""
    import cv2

    spot = (canvas.pixels(points) - (step - 1) / 2) / step
    found = cv2.remap(
        height,
        spot[:, None, 0],
        spot[:, None, 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return found[:, 0]


def inverse_map(
    canvas: Canvas, height: np.ndarray, seen: View, size: tuple[int, int], *, coarse: int = 4
) -> np.ndarray:
    """Computes which pixel of the canvas each pixel of the picture shows.

    Solves q = A p + a z(p) + b for p by fixed-point iteration: the relief is shallow enough for |A^-1 a dz/dp| < 1.

    Args:
        canvas: the drawing.
        height: its relief at half resolution.
        seen: the view.
        size: width and height of the picture in pixels.
        coarse: the map is solved every so many pixels and interpolated.

    Returns:
        [H, W, 2] float32, pixels of the canvas.
    """
    import cv2

    columns = np.arange(0, size[0] + coarse, coarse, dtype=np.float32)
    rows = np.arange(0, size[1] + coarse, coarse, dtype=np.float32)
    target = np.stack(np.meshgrid(columns, rows), -1) - seen.offset
    back = np.linalg.inv(seen.matrix[:, :2])
    flat = target @ back.T
    slide = back @ seen.matrix[:, 2]
    points = flat
    for _ in range(6):
        spot = (points * canvas.scale + np.array(canvas.origin, np.float32) - 0.5) / 2
        depth = cv2.remap(
            height, spot[..., 0], spot[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        points = flat - depth[..., None] * slide
    pixels = points * np.float32(canvas.scale) + np.array(canvas.origin, np.float32)
    # Every coarse-th sample must stay in its place, so the picture is stretched about pixel 0.
    stretch = np.array([[1 / coarse, 0, 0], [0, 1 / coarse, 0]], np.float32)
    return cv2.warpAffine(
        pixels, stretch, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
