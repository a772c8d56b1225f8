"""Recordings of one's own, for tests: films whose frames show their numbers, pictures, and a csv as people write it."""

import pathlib
from collections.abc import Sequence

import bp4d_tree
import films


def write_csv(root: pathlib.Path, *lines: str, end: str = "\n", encoding: str = "utf-8") -> None:
    """``labels.csv`` of some lines."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_bytes("".join(line + end for line in lines).encode(encoding))


def write_pictures(root: pathlib.Path, people: Sequence[str], *, frames: int = 4) -> pathlib.Path:
    """Pictures for ``bp4d_tree.FrameDetector``: of frame k AU 4 is present where k is odd, AU 12 unknown in frame 0."""
    rows = []
    for person in people:
        for k in range(frames):
            bp4d_tree.write_picture(root / person / f"{k}.png", 10 * (k + 1), seed=len(rows))
            rows.append(f"{person}/{k}.png,{person},{k},{k % 2},{'' if k == 0 else 1}")
    write_csv(root, "path,subject,frame,AU4,AU12", *rows)
    return root


def write_films(root: pathlib.Path, names: Sequence[str], *, lost: Sequence[int] = ()) -> None:
    """AVI films of ten frames for ``films.AnyFace``; some are empty chunks."""
    for name in names:
        chunks = [b"" if k in lost else films.picture(k) for k in range(10)]
        films.write_avi(root / name, chunks)
