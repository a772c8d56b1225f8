"""Boxes of faces and bars of their action units, drawn on frames."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.detection.rows import Row

#: Shorter side of what is drawn, pixels: smaller frames are enlarged to it, larger ones shrunk to the second.
_SMALLEST, _LARGEST = 480, 1080
_LONGEST = 3840
#: Colors of faces by number, RGB.
_PALETTE = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
)
_PRESENT, _ABSENT, _TEXT, _MARK, _SHADE = (
    (255, 196, 61),
    (150, 160, 170),
    (245, 245, 245),
    (255, 255, 255),
    0.62,
)

Cuts = dict[int, float | None]


def scale_of(height: int, width: int) -> float:
    """Returns the factor by which a frame is enlarged or shrunk, so that text on it can be read."""
    short, long = sorted((height, width))
    factor = min(max(1.0, _SMALLEST / short), max(_LARGEST, _SMALLEST) / short)
    return min(factor, _LONGEST / long)


def draw(
    picture: np.ndarray,
    rows: Sequence[Row],
    units: Sequence[int],
    cuts: Cuts,
    weak: Sequence[int] = (),
) -> np.ndarray:
    """Draws a frame's rows.

    Args:
        picture: [H, W, 3] uint8 RGB.
        rows: of this frame; of one without a face the reason is written.
        units: FACS numbers, in the order of the probabilities.
        cuts: a unit that is present, from its cut on, stands out; None for a unit without one.
        weak: units that are not told well; they have a question mark.

    Returns:
        [H', W', 3] uint8 RGB, sides even.
    """
    import cv2

    factor = scale_of(*picture.shape[:2])
    sides = [max(2, 2 * round(side * factor / 2)) for side in picture.shape[1::-1]]
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    canvas = cv2.resize(picture, sides, interpolation=way)
    step = max(12, round(min(sides) / 34))
    for row in rows:
        if row.box is None or row.probabilities is None:
            _label(canvas, row.reason.replace("_", " "), (step // 2, step // 2), step, _TEXT)
            continue
        _face(canvas, row, [v * factor for v in row.box], step)
    for row in rows:
        if row.box is not None and row.probabilities is not None:
            size = _panel(len(units) + bool(weak), step)
            place = _beside([v * factor for v in row.box], canvas.shape, size, step)
            _bars(canvas, row, (units, cuts, weak), place, size, step)
    return canvas


def _face(canvas: np.ndarray, row: Row, box: Sequence[float], step: int) -> None:
    import cv2

    color = _PALETTE[(row.face_id or 0) % len(_PALETTE)]
    x, y, w, h = (round(v) for v in box)
    cv2.rectangle(canvas, (x, y), (x + w, y + h), color, max(1, step // 7), cv2.LINE_AA)
    _label(canvas, f"face {row.face_id}", (x, y - round(1.2 * step)), step, color)


def _beside(
    box: Sequence[float], shape: Sequence[int], size: tuple[int, int], step: int
) -> tuple[int, int]:
    """Upper left corner of the bars: right of the face where there is room, else left of it, inside the frame."""
    width, height = size
    x, y, w, _ = box
    right = x + w + step / 2
    left = right if right + width <= shape[1] else x - width - step / 2
    if left < 0:
        left = shape[1] - width
    top = min(max(0, y), shape[0] - height)
    return max(0, round(left)), max(0, round(top))


def _panel(lines: int, step: int) -> tuple[int, int]:
    return round(9.9 * step), round((lines + 0.6) * step)


def _bars(
    canvas: np.ndarray,
    row: Row,
    told: tuple[Sequence[int], Cuts, Sequence[int]],
    place: tuple[int, int],
    size: tuple[int, int],
    step: int,
) -> None:
    import cv2

    (units, cuts, weak), (left, top), (width, height) = told, place, size
    shaded = canvas[top : top + height, left : left + width]
    shaded[:] = (shaded * (1 - _SHADE)).astype(np.uint8)
    bar, room = left + round(3.4 * step), round(4.2 * step)
    for k, (au, probability) in enumerate(zip(units, row.probabilities or (), strict=True)):
        line = top + round((k + 0.3) * step)
        cut = cuts.get(au)
        present = cut is not None and probability >= cut
        color = _PRESENT if present else _ABSENT
        low, high = line + round(0.2 * step), line + round(0.8 * step)
        cv2.rectangle(canvas, (bar, low), (bar + room, high), (70, 74, 80), 1)
        cv2.rectangle(canvas, (bar, low), (bar + round(room * probability), high), color, -1)
        if cut is not None:
            at = bar + round(room * cut)
            cv2.line(canvas, (at, low - 1), (at, high + 1), _MARK, max(1, step // 12))
        name = f"AU{au:02d}{'?' if au in weak else ''}"
        _text(canvas, name, (left + step // 4, line), step, color)
        _text(canvas, f"{probability:.2f}", (bar + room + step // 4, line), step, color)
    if weak:
        line = top + round((len(units) + 0.3) * step)
        _text(canvas, "? weak unit", (left + step // 4, line), step, _ABSENT)


def write_legend(canvas: np.ndarray, words: Sequence[tuple[str, Any]]) -> None:
    """Writes words along the lower edge, each in its color, on as many lines as they need."""
    import cv2

    step = max(12, round(min(canvas.shape[:2]) / 34))
    lines: list[list[tuple[str, Any, int]]] = [[]]
    for text, color in words:
        (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, step / 32, 1)
        room = canvas.shape[1] - sum(w + step for _, _, w in lines[-1])
        if lines[-1] and width + step > room:
            lines.append([])
        lines[-1].append((text, color, width))
    for k, line in enumerate(reversed(lines)):
        x, y = 0, canvas.shape[0] - round(1.2 * step * (k + 1))
        for text, color, width in line:
            _label(canvas, text, (x, y), step, color)
            x += width + step // 2


def _label(canvas: np.ndarray, text: str, place: tuple[int, int], step: int, color: Any) -> None:
    """Text on a shade of its own, moved into the frame."""
    import cv2

    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, step / 32, 1)
    x = min(max(0, place[0]), max(0, canvas.shape[1] - width - step // 2))
    y = min(max(0, place[1]), canvas.shape[0] - step)
    shaded = canvas[y : y + round(1.1 * step), x : x + width + step // 2]
    shaded[:] = (shaded * (1 - _SHADE)).astype(np.uint8)
    _text(canvas, text, (x + step // 4, y), step, color)


def _text(canvas: np.ndarray, text: str, place: tuple[int, int], step: int, color: Any) -> None:
    import cv2

    where = (place[0], place[1] + math.ceil(0.78 * step))
    thick = max(1, round(step / 20))
    cv2.putText(canvas, text, where, cv2.FONT_HERSHEY_SIMPLEX, step / 32, color, thick, cv2.LINE_AA)
