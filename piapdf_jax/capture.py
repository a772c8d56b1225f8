"""Films and cameras as a person sees them: upright frames with the times at which they are shown, one at a time.

For builders, which number frames, see ``video``. OpenCV decodes, by FFmpeg; it is imported inside the functions that
use it, and JAX never is.
"""

import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

#: Frames in a row that do not decode, after which nothing more is expected of a film; and of a camera.
_TRIES, _CAMERA_TRIES = 100, 25
#: A film ends early where so many seconds, and so large a share of it, are missing.
_MISSING_SECONDS, _MISSING_SHARE = 0.15, 0.02
_FASTEST = 10**4  # frames a second
_LOOKED_AT = 512  # bytes that tell text from a film

#: Whether a frame is decoded, by its number and time in seconds.
Wanted = Callable[[int, float], bool]


class CaptureError(ValueError):
    """A film or camera cannot be read; one line that names it."""


class Shot(NamedTuple):
    """A frame: number from 0, time in seconds, and picture [H, W, 3] uint8 RGB; None where it cannot be decoded."""

    number: int
    timestamp: float
    picture: np.ndarray | None


class Film:
    """A film, read once from its start.

    Attributes:
        expected: frames that the container says it has; None where it says none.
        rate: frames a second, on the mean, as the container says; None where it says none.
        read: frames that have come so far.
        ended_early: whether clearly fewer frames came than the container says; after the last.

    Args:
        path: a file of any container that OpenCV's FFmpeg knows.
        threads: of the decoder.

    Raises:
        CaptureError: for what is no film, has no frames, or names other files, such as a play list.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 1):
        self._path = pathlib.Path(path)
        _check(self._path)
        self._reader = _open(self._path, threads)
        count, rate = (self._reader.get(which) for which in _properties("FRAME_COUNT", "FPS"))
        self.expected = int(count) if 0 < count < 2**40 else None
        self.rate = rate if 0 < rate <= _FASTEST else None
        self.read = 0
        self.ended_early = False
        self._notes: list[str] = []
        self._last = -math.inf
        self._made_up = 0

    def shots(self, wanted: Wanted) -> Iterator[Shot]:
        """Decodes frames in order.

        Args:
            wanted: which; asked once for every frame, and what it raises ends the film.

        Yields:
            The frames that are wanted. Times are those of presentation, from the first frame on; where the film says
            none, or one that is not after the last, the frame is shown one frame's duration later, and ``notes`` says
            so.
        """
        (milliseconds,) = _properties("POS_MSEC")
        failed = 0
        try:
            while failed < _TRIES:
                if not self._reader.grab():
                    failed += 1
                    continue
                failed = 0
                timestamp = self._time(self._reader.get(milliseconds) / 1000)
                number, self.read = self.read, self.read + 1
                if wanted(number, timestamp):
                    yield Shot(number, timestamp, _rgb(*self._reader.retrieve()))
            self._end()
        finally:
            self._reader.release()

    def notes(self) -> list[str]:
        """Returns what a user should know of the film, a line each; after the last frame."""
        return list(self._notes)

    def _time(self, said: float) -> float:
        step = 1 / self.rate if self.rate else 0.04
        known = math.isfinite(said) and said >= 0 and said > self._last
        if not known:
            said = max(self._last, -step) + step
            self._made_up += 1
        self._last = said
        return said

    def _end(self) -> None:
        if not self.read:
            raise CaptureError(f"{self._path} holds no frame that can be decoded")
        if self._made_up:
            self._notes.append(
                f"the film says no time, or none after the last, of {self._made_up} of {self.read} frames:"
                " they are taken to follow one frame's duration later"
            )
        if self.expected is None or self.expected == self.read:
            return
        self._notes.append(
            f"{self.read:,} frames came, where the film says that it has {self.expected:,}"
        )
        if self.rate:
            # By time: of a variable rate, the number of frames is a guess.
            promised = self.expected / self.rate
            missing = promised - self._last - 1 / self.rate
            self.ended_early = missing > max(_MISSING_SECONDS, _MISSING_SHARE * promised)


class Camera:
    """A camera, as far as it is read; attributes as of ``Film``.

    Args:
        index: of the camera, from 0.
        open: makes OpenCV's reader of it; for tests.

    Raises:
        CaptureError: where there is no such camera.
    """

    expected: int | None = None
    rate: float | None = None
    ended_early = False

    def __init__(self, index: int, *, open: Callable[[int], Any] | None = None):
        if open is None:
            _silence()
            import cv2

            open = cv2.VideoCapture
        self._reader = open(index)
        self._name = f"camera:{index}"
        if not self._reader.isOpened():
            self._reader.release()
            raise CaptureError(f"there is no {self._name}, or another program has it")
        self.read = 0
        self._dropped = 0

    def shots(self, wanted: Wanted) -> Iterator[Shot]:
        """Reads frames as they come, until the camera is gone.

        Args:
            wanted: which; asked once for every frame, and what it raises ends the film.

        Yields:
            The frames that are wanted, with seconds since the first; a frame that was dropped has no picture.
        """
        begun, failed = None, 0
        try:
            while failed < _CAMERA_TRIES:
                came, picture = self._reader.read()
                failed = 0 if came else failed + 1
                now = time.monotonic()
                begun = now if begun is None else begun
                number, self.read = self.read, self.read + 1
                self._dropped += not came
                if wanted(number, now - begun):
                    yield Shot(number, now - begun, _rgb(came, picture))
        finally:
            self._reader.release()

    def notes(self) -> list[str]:
        """Returns what a user should know, a line each."""
        return [f"{self._name} dropped {self._dropped:,} frames"] if self._dropped else []


def _check(path: pathlib.Path) -> None:
    """Refuses what FFmpeg would take for a list of other files: those are text, and no film is."""
    try:
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT)
    except OSError as error:
        raise CaptureError(f"{path} cannot be read ({error.strerror})") from error
    if not head:
        raise CaptureError(f"{path} is empty")
    if b"\0" not in head and head.isascii():
        raise CaptureError(f"{path} is text, no film")


def _open(path: pathlib.Path, threads: int) -> Any:
    _silence()
    import cv2

    # By name: another backend would count frames, and say that as the time.
    reader = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    if not reader.isOpened():
        reader.release()
        raise CaptureError(f"{path} is no film that OpenCV can read, or it has no picture")
    return reader


def _silence() -> None:
    """What FFmpeg prints of a damaged file helps nobody; rows and notes say it. It reads this once a process."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    # Nothing is fetched from other places, whatever a file says.
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")


def _properties(*names: str) -> list[int]:
    import cv2

    return [getattr(cv2, f"CAP_PROP_{name}") for name in names]


def _rgb(came: bool, picture: np.ndarray | None) -> np.ndarray | None:
    if not came or picture is None:
        return None
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
