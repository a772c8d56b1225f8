"""Draws the PI maps of one frame over its face, and says which of its action units are labeled.

python -m data_builders.prepare synthetic_faces/bp4d --data_dir=/tmp/faces
python examples/draw_maps.py /tmp/faces/synthetic_faces/bp4d/1.0.0 --split=part1 --out=maps.png
"""

import argparse
import sys

import cv2
import numpy as np

from piapdf_jax import paths
from piapdf_jax.action_units import ACTION_UNITS, RECORD_AUS
from piapdf_jax.data.by_unit import FramesByUnit
from piapdf_jax.records import ByUnit

#: What a label says, and the color (RGB) of its map.
LABELS = {
    1: ("present", (230, 60, 50)),
    0: ("absent", (40, 120, 220)),
    -1: ("unknown", (215, 150, 0)),
}
_CELL, _CAPTION, _GAP, _COLUMNS = 256, 44, 8, 4
_NAMES = {unit.number: unit.name for unit in ACTION_UNITS}


def draw(frame: ByUnit) -> np.ndarray:
    """Returns a sheet [H, W, 3] uint8 RGB: the face, then one face a unit under its map."""
    who = "/".join(part for part in (frame.subject, frame.task, str(frame.frame)) if part)
    cells = [_cell(frame.image, who, "participant/task/frame", (0, 0, 0))]
    for au, marked in frame.maps.items():
        word, color = LABELS[frame.labels[au]]
        cells.append(
            _cell(_overlay(frame.image, marked, color), f"AU{au} {_NAMES[au]}", word, color)
        )
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % _COLUMNS)
    rows = [np.hstack(cells[start : start + _COLUMNS]) for start in range(0, len(cells), _COLUMNS)]
    return np.vstack(rows)


def _overlay(image: np.ndarray, marked: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """The face in gray, pixels of the map tinted, their edge drawn."""
    sheet = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, -1)
    sheet[marked] = (0.55 * sheet[marked] + 0.45 * np.array(color)).astype(np.uint8)
    edges, _ = cv2.findContours(marked.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(sheet, edges, -1, color, 1, cv2.LINE_AA)


def _cell(image: np.ndarray, title: str, text: str, color: tuple[int, int, int]) -> np.ndarray:
    cell = np.full((_CELL + _CAPTION, _CELL + _GAP, 3), 255, np.uint8)
    cell[:_CELL, :_CELL] = image
    for line, row, ink in ((title, 16, (0, 0, 0)), (text, 34, color)):
        place = (2, _CELL + row)
        cv2.putText(cell, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.48, ink, 1, cv2.LINE_AA)
    return cell


def main() -> None:
    """Reads the flags, and writes the picture; a mistake is one line and exit code 2."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        usage=argparse.SUPPRESS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", help="of one version, such as DATA_DIR/bp4d/1.0.0")
    parser.add_argument("--split", default="train")
    parser.add_argument(
        "--row", type=int, default=0, help="which frame of the split; -1 is the last"
    )
    parser.add_argument("--units", default=",".join(map(str, RECORD_AUS)), help="such as 1,2,12")
    parser.add_argument("--out", default="maps.png", help="PNG to write")
    flags = parser.parse_args()
    try:
        units = tuple(int(unit) for unit in flags.units.split(","))
        out = paths.target_file(flags.out, "--out")
        frames = FramesByUnit(flags.folder, flags.split, units)
        if not -len(frames) <= flags.row < len(frames):
            raise ValueError(f"--row={flags.row}: {flags.split} has {len(frames)} frames")
        data = cv2.imencode(".png", cv2.cvtColor(draw(frames[flags.row]), cv2.COLOR_RGB2BGR))[1]
        out.write_bytes(data.tobytes())
    except (OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    print(flags.out)


if __name__ == "__main__":
    main()
