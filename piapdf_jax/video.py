"""Decodes films to pictures, each numbered by the time at which it is shown.

A picture is not numbered by its place among those that decode: a film leaves out frames, as chunks without content or
by showing one for longer, and every later number would move. OpenCV decodes, by FFmpeg; what it says of times:

- AVI: the number of the chunk, so that empty ones count, and the rate in its header. Codecs that put pictures into
  another order (B-frames) make all times late by as many chunks as the decoder holds back.
- MP4: times from the first picture on, and as the rate the mean, which dropped frames make smaller. That a film starts
  later than at 0 stands in its edit list alone.
"""

import math
import mmap
import pathlib
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    import cv2

Taken = TypeVar("Taken")

#: What stands behind the first length of an MP4 or QuickTime file.
_MP4 = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
#: Frames in a row that do not decode, after which nothing more is expected; OpenCV says the same at the end.
_TRIES = 100
_LONGEST = 10**6  # seconds of a film
_FASTEST = 10**4  # frames a second
_NOTHING = memoryview(b"")
_ADVICE = "convert the film to a constant frame rate"


class FilmError(ValueError):
    """The times of a film do not order its frames; the message names file and frame."""


def is_film(path: pathlib.Path) -> bool:
    """Returns whether a file is an AVI or MP4 film; OpenCV would open the files that a play list names."""
    with path.open("rb") as file:
        first = file.read(12)
    return (first[:4], first[8:]) == (b"RIFF", b"AVI ") or first[4:8] in _MP4


def numbered_pictures(path: pathlib.Path, *, first: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """Decodes a film.

    Args:
        path: AVI or MP4.
        first: number of a picture that is shown at 0.

    Yields:
        Number and picture [H, W, 3] uint8 RGB; none for a file that OpenCV cannot decode.

    Raises:
        FilmError: as ``picture_numbers``, before the first picture.
    """
    import cv2

    numbers = picture_numbers(path, first=first)
    if not numbers:
        return
    pictures = _decoded(path, lambda reader: reader.retrieve())
    for number, (there, picture) in zip(numbers, pictures, strict=True):
        if not there:
            raise FilmError(f"{path}: OpenCV does not show the frame of number {number}; {_ADVICE}")
        yield number, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def picture_numbers(path: pathlib.Path, *, first: int = 0) -> list[int]:
    """Returns the number of each picture that decodes, round(time x frame rate) + first.

    Args:
        path: AVI or MP4.
        first: number of a picture that is shown at 0.

    Raises:
        FilmError: where a time falls or is none, two pictures come to one number, or no rate is known.
    """
    if not is_film(path):
        return []
    import cv2

    asked = (cv2.CAP_PROP_POS_MSEC, cv2.CAP_PROP_FPS)
    said = np.array(list(_decoded(path, lambda reader: [reader.get(what) for what in asked])))
    if not len(said):
        return []
    return number_times(said[:, 0] / 1000, said[0, 1], path, start=start_delay(path), first=first)


def number_times(
    times: np.ndarray, rate: float, path: pathlib.Path, *, start: float = 0.0, first: int = 0
) -> list[int]:
    """Numbers frames by their times.

    Args:
        times: [N] seconds, as OpenCV says them after each frame.
        rate: frames a second, as the container says; where that is but the mean of frames that lie on a finer grid,
            the grid's is taken.
        path: of the film, for messages.
        start: seconds to add to all.
        first: number at 0 seconds.

    Returns:
        [N] numbers, rising.

    Raises:
        FilmError: as ``picture_numbers``.
    """
    if not len(times):
        return []
    times = _in_time(times, rate)
    _check_times(times + start, path)
    rate = _frame_rate(times, rate)
    if not math.isfinite(rate):
        raise FilmError(f"{path}, frame 0: the film has no frame rate; {_ADVICE}")
    # Where the film starts is rounded once: half a frame there is not half a frame at each picture.
    place = np.floor((start + times[0]) * rate + 0.5) + np.floor((times - times[0]) * rate + 0.5)
    numbers = [first + int(number) for number in place]
    for frame, number in enumerate(numbers):
        if frame and number == numbers[frame - 1]:
            raise FilmError(
                f"{path}, frame {frame}: shown at {start + times[frame]:.3f} s, which at {rate:.6g}"
                f" frames a second is number {number}, as is frame {frame - 1}"
                f" ({start + times[frame - 1]:.3f} s); {_ADVICE}"
            )
    return numbers


def _check_times(times: np.ndarray, path: pathlib.Path) -> None:
    if len(times) > 1 and not times.any():
        raise FilmError(f"{path}, frame 1: the film holds no times of its frames; {_ADVICE}")
    before = 0.0
    for frame, time in enumerate(times.tolist()):
        if not 0 <= time <= _LONGEST:
            raise FilmError(f"{path}, frame {frame}: {time} s is not a time; {_ADVICE}")
        if time < before:
            raise FilmError(
                f"{path}, frame {frame}: shown at {time:.3f} s, which is before frame {frame - 1}"
                f" ({before:.3f} s); {_ADVICE}"
            )
        before = time


def _decoded(path: pathlib.Path, take: Callable[["cv2.VideoCapture"], Taken]) -> Iterator[Taken]:
    """What ``take`` gets from OpenCV's reader after each frame; a frame that is damaged does not end the film."""
    import cv2

    # By name: another backend would count frames, and say that as the time.
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    failed = 0
    while failed < _TRIES:
        if reader.grab():
            failed = 0
            yield take(reader)
        else:
            failed += 1
    reader.release()


def _in_time(times: np.ndarray, rate: float) -> np.ndarray:
    """Times without the delay of a decoder that puts pictures into order.

    Without times of display, as in AVI, each picture comes with the time of the chunk that made the decoder give it
    out, and the pictures of the end, for which no chunk was left, with 0.
    """
    timed = np.flatnonzero(times)
    late = len(times) - 1 - timed[-1] if len(timed) else 0
    if not late or not rate > 0 or times[0] * rate < late - 0.5:
        return times
    before = times[0] - np.arange(late, 0, -1) / rate
    return np.concatenate([before.clip(0), times[: timed[-1] + 1]])


def _frame_rate(times: np.ndarray, stated: float) -> float:
    """The rate of the grid on which frames lie; NaN where none is said and none fits."""
    stated = stated if 0 < stated <= _FASTEST else math.nan
    # A mean may be replaced, for frames that were left out count in it; a rate that is said may not.
    if len(times) < 3 or abs(stated * (times[-1] - times[0]) - (len(times) - 1)) > 2:
        return stated
    grid = _grid_rate(times)
    for near in (0.1, 0.25, 0.4):
        for rate in (stated, grid):
            if _off_grid(times, rate) <= near:
                return rate
    return stated


def _grid_rate(times: np.ndarray) -> float:
    """The rate under which intervals are whole numbers of frames: half of them one, or two on the mean; else NaN.

    A finer grid would fit one frame that is shown too early, and give all others numbers far apart.
    """
    intervals = np.diff(times)
    intervals = intervals[intervals > 0]
    if not len(intervals):
        return math.nan
    step = float(np.quantile(intervals, 0.125, method="lower"))
    single = intervals[np.rint(intervals / step) == 1]
    frames = np.rint(intervals / single.mean())
    likely = (frames == 1).mean() >= 0.5 or frames.mean() <= 2
    return float(frames.sum() / intervals.sum()) if likely else math.nan


def _off_grid(times: np.ndarray, rate: float) -> float:
    """How far some frame lies from the grid of a rate, in frames, up to 0.5; NaN for no rate."""
    places = (times - times[0]) * rate
    return float(np.abs(places - np.rint(places)).max())


def start_delay(path: pathlib.Path) -> float:
    """Returns how many seconds an MP4 film shows nothing at its start, as its edit list says; 0 for others."""
    with path.open("rb") as file:
        if file.read(12)[4:8] not in _MP4:
            return 0.0
        boxes = _boxes(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
        movie = list(_boxes(dict(boxes).get(b"moov", _NOTHING)))
    times = dict(movie).get(b"mvhd", _NOTHING)
    place = 20 if times[:1] == b"\1" else 12
    scale = int.from_bytes(times[place : place + 4], "big")
    for kind, track in movie:
        parts = dict(_boxes(track)) if kind == b"trak" else {}
        handler = dict(_boxes(parts.get(b"mdia", _NOTHING))).get(b"hdlr", _NOTHING)
        if handler[8:12] == b"vide" and scale:
            edits = dict(_boxes(parts.get(b"edts", _NOTHING))).get(b"elst", _NOTHING)
            return _empty_edits(edits) / scale
    return 0.0


def _empty_edits(edits: memoryview) -> int:
    """Ticks before the first edit that shows something."""
    entry = struct.Struct(">Qq4x" if edits[:1] == b"\1" else ">Ii4x")
    ticks = 0
    for place in range(8, len(edits) - entry.size + 1, entry.size):
        duration, start = entry.unpack_from(edits, place)
        if start != -1:
            return ticks
        ticks += duration
    return 0


def _boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and content of the boxes of an MP4 file, or of those in one."""
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1 and place + 16 <= len(data):
            (size,), head = struct.unpack_from(">Q", data, place + 8), 16
        size = size or len(data) - place  # 0: up to the end
        if size < head:
            return
        yield kind, data[place + head : place + size]
        place += size
