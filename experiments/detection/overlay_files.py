"""Frames with boxes and bars as files: a picture for each, or a film."""

import contextlib
import errno
import itertools
import os
import pathlib
import shutil
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from experiments.detection.rows import Row
from piapdf_jax import capture

#: Draws rows on a picture [H, W, 3] uint8 RGB.
Draw = Callable[[np.ndarray, Sequence[Row]], np.ndarray]
_QUALITY = 92
#: Seconds by which a frame may come before its tick, and the share of a tick that they may be.
_EARLY, _EARLY_SHARE = 1e-3, 0.25
#: Frames a second of a film that says no rate; steps that are looked at; how many times too high what it says may be.
_RATE, _STEPS, _TOO_HIGH = 25.0, 10_000, 2
_LONGEST = 60.0  # seconds that a frame is shown


def drawn(
    shots: Iterable[Any], rows: Iterable[Row], draw: Draw
) -> Iterator[tuple[int, float | None, np.ndarray]]:
    """Draws frames that were looked at, as their rows say.

    Args:
        shots: the frames of the rows, in order.
        rows: of all frames, in order.
        draw: draws a frame.

    Yields:
        Number, time and picture; a frame that cannot be decoded is left out.
    """
    for shot, (number, group) in zip(
        shots, itertools.groupby(rows, lambda row: row.frame), strict=False
    ):
        if shot.number != number:
            raise ValueError(
                f"expected frame {number}, got frame {shot.number}: the file has changed since it was read"
            )
        if shot.picture is not None:
            yield shot.number, shot.timestamp, draw(shot.picture, list(group))


def write_pictures(
    folder: pathlib.Path, frames: Iterable[tuple[int, float | None, np.ndarray]]
) -> None:
    """Writes a JPEG for each frame, named by its number, into a folder that is made anew; none where there is no frame.

    Raises:
        OSError: where the disk refuses one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for number, _, picture in frames:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06d}.jpg").write_bytes(_jpeg(picture))


def write_picture(
    path: pathlib.Path, frames: Iterable[tuple[int, float | None, np.ndarray]]
) -> None:
    """Writes the first frame as a JPEG; nothing where there is none."""
    for _, _, picture in frames:
        path.write_bytes(_jpeg(picture))
        return


def film_rate(said: float | None, rows: Iterable[Row]) -> float:
    """Returns frames a second of the film of an overlay: those that are said, unless far fewer came.

    Where a container says none, as browsers' WebM does, FFmpeg takes its clock's 1,000 ticks a second for frames.

    Args:
        said: frames a second that should come; None where nobody knows.
        rows: of the frames, in order; the first 10,000 frames are looked at.
    """
    times = (time for time, _ in itertools.groupby(row.timestamp or 0.0 for row in rows))
    steps = [b - a for a, b in itertools.pairwise(itertools.islice(times, _STEPS + 1))]
    came = 1 / statistics.median(steps) if steps else None
    if came is None:
        return said or _RATE
    return said if said and said <= _TOO_HIGH * came else came


def write_film(
    path: pathlib.Path,
    frames: Iterable[tuple[int, float | None, np.ndarray]],
    *,
    rate: float,
) -> None:
    """Writes a film, VP9 in WebM, of one rate: at each tick it shows the newest frame, so that durations are kept.

    Of no frame there is none. A frame is shown for a minute at most: one time that is wrong would fill a disk.

    Args:
        path: of the film.
        frames: in order of their times, all of one size.
        rate: frames a second.

    Raises:
        OSError: where OpenCV cannot write it, or not all of it is on disk.
    """
    import cv2

    writer, size, count = None, (0, 0), 0
    try:
        for picture in _ticked(frames, rate):
            if writer is None:
                size = picture.shape[1::-1]
                writer = _open(path, rate, size)
            writer.write(cv2.cvtColor(_sized(picture, size), cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        if writer is not None:
            writer.release()
    if writer is not None:
        _check_written(path, count)


def _ticked(
    frames: Iterable[tuple[int, float | None, np.ndarray]], rate: float
) -> Iterator[np.ndarray]:
    """The picture of each tick: the newest frame."""
    early = min(_EARLY, _EARLY_SHARE / rate)
    first, tick = 0.0, 0
    newest: np.ndarray | None = None
    for _, timestamp, picture in frames:
        now = timestamp or 0.0
        first = now if newest is None else first + max(0.0, now - first - tick / rate - _LONGEST)
        while newest is not None and tick / rate < now - first - early:
            yield newest
            tick += 1
        newest = picture
    if newest is not None:
        yield newest


def _check_written(path: pathlib.Path, frames: int) -> None:
    """Checks the file on disk, because OpenCV does not report a full disk."""
    film = capture.Film(path)
    for _ in film.shots(lambda *_: False):
        pass
    if film.read != frames:
        told = f"{film.read:,} of {frames:,} frames of {path.name} are on disk"
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {told}")


def _open(path: pathlib.Path, rate: float, size: Sequence[int]) -> Any:
    import cv2

    # As bytes: OpenCV crashes at text that is no UTF-8.
    name: Any = os.fsencode(path)
    with _no_words_of_opencv():
        writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"VP90"), rate, tuple(size))
    if not writer.isOpened():
        raise OSError(f"{path}: OpenCV cannot write a film here")
    return writer


@contextlib.contextmanager
def _no_words_of_opencv() -> Iterator[None]:
    """It says on standard error, whatever its log level, that WebM has no mark for VP9, and writes it all the same."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _sized(picture: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A film may change its size; what is written has one."""
    if picture.shape[1::-1] == tuple(size):
        return picture
    import cv2

    return cv2.resize(picture, tuple(size), interpolation=cv2.INTER_AREA)


def _jpeg(picture: np.ndarray) -> bytes:
    import cv2

    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise OSError("OpenCV cannot write a JPEG")
    return data.tobytes()
