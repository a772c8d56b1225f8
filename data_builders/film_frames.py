"""Frames of films as picture files, which builders and face finders read as they read others."""

import os
import pathlib
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from piapdf_jax import video

#: Why the frames of a film are left out, as the report has it.
UNREADABLE = "film that cannot be read"
_JPEG_QUALITY = 97


class Extraction(NamedTuple):
    """Arguments of ``extract``."""

    film: pathlib.Path
    folder: pathlib.Path
    only: tuple[int, ...] | None = None


def run_extraction(wanted: Extraction) -> int | None:
    """Runs ``extract`` for a film, in a pool of processes."""
    return extract(*wanted)


def extract(
    film: pathlib.Path, folder: pathlib.Path, only: Collection[int] | None = None
) -> int | None:
    """Writes frames of a film as JPEG files named by their numbers from 0, unless they are there already.

    Args:
        film: a video that OpenCV reads.
        folder: gets the pictures; it is there either whole or not at all.
        only: numbers of the wanted frames; None for all.

    Returns:
        How many pictures there are; None for a film that cannot be read.

    Raises:
        FilmError: for a film whose times number no frames.
    """
    if folder.is_dir():
        return sum(1 for _ in folder.iterdir())
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    wanted = None if only is None else frozenset(only)
    seen = count = 0
    for number, image in video.numbered_pictures(film):
        if not seen:
            part.mkdir(parents=True)
        seen += 1
        if wanted is None or number in wanted:
            count += 1
            (part / f"{number}.jpg").write_bytes(_jpeg(image, f"frame {number} of {film}"))
    if not seen:
        return None
    part.replace(folder)
    return count


def _jpeg(image: np.ndarray, name: str) -> bytes:
    """The bytes of an RGB picture [H, W, 3] uint8."""
    import cv2

    # Not cv2.imwrite: on some systems it fails on a path with letters beyond ASCII, without a word.
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    done, data = cv2.imencode(".jpg", image[..., ::-1], options)
    if not done:
        raise ValueError(f"OpenCV could not encode {name}")
    return data.tobytes()
