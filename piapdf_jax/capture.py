"""Reads films and cameras: upright frames with their presentation times, one at a time.

Builders, which need frame numbers, use ``video``. OpenCV decodes, by FFmpeg; it is imported inside the functions that
use it, and JAX never is.
"""

import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from piapdf_jax import film_kinds, opencv_messages

if TYPE_CHECKING:
    import cv2

#: Frames in a row that do not decode, after which nothing more is expected of a film; and of a camera.
_TRIES, _CAMERA_TRIES = 100, 25
_CAMERA_WAIT = 0.02  # seconds from a frame that did not come to the next try
#: A film ends early where so many seconds, and so large a share of it, are missing.
_MISSING_SECONDS, _MISSING_SHARE = 0.15, 0.02
_FASTEST = 10**4  # frames a second
_LONGEST = 10**6  # seconds of a film
_STEP = 0.04  # seconds from a frame to the next, where the film says no rate

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
        read: frames that have come so far, damaged ones among them.
        ended_early: after the last frame, whether clearly fewer came than the container says: 0.15 seconds and 2 % of
            its length are missing.

    Args:
        path: a file of any container that OpenCV's FFmpeg knows.
        threads: of the decoder.

    Raises:
        CaptureError: for what is no film, has no frames, or names other files, such as a play list.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 1):
        self._path = pathlib.Path(path)
        fault = film_kinds.fault(self._path)
        if fault:
            raise CaptureError(f"{self._path} {fault}")
        self._reader = _open(self._path, threads)
        count, rate = (self._reader.get(which) for which in _properties("FRAME_COUNT", "FPS"))
        # A frame takes a byte at least: other numbers are made up.
        self.expected = int(count) if 0 < count <= self._path.stat().st_size else None
        self.rate = rate if 0 < rate <= _FASTEST else None
        self.read = 0
        self.ended_early = False
        self._notes: list[str] = []
        self._first, self._last = 0.0, -math.inf
        self._made_up = self._at_end = self._damaged = 0

    def shots(self, wanted: Wanted) -> Iterator[Shot]:
        """Decodes frames in order; to be called once.

        Args:
            wanted: which; asked once for every frame, and what it raises ends the film.

        Yields:
            The frames that are wanted. Times are those of presentation, from the first frame on; where the film says
            none, or one that is not after the last, the frame is shown one frame's duration later, and ``notes`` says
            so. A damaged frame has no picture, and is taken to follow the one before by as much, or by less where the
            next leaves less.

        Raises:
            CaptureError: where no frame can be decoded.
        """
        (milliseconds,) = _properties("POS_MSEC")
        failed = 0
        try:
            while failed < _TRIES:
                # OpenCV says of each damaged frame, as at the end, that there is none.
                if not self._reader.grab():
                    failed += 1
                    continue
                before = max(self._last, -self._step())
                timestamp = self._time(self._reader.get(milliseconds) / 1000, failed)
                apart = min(self._step(), (timestamp - before) / (failed + 1))
                for lost in range(1, failed + 1):
                    self._damaged += 1
                    yield from self._shot(before + lost * apart, wanted, lambda: (False, None))
                failed = 0
                yield from self._shot(timestamp, wanted, self._reader.retrieve)
            self._end()
        finally:
            self._reader.release()

    def notes(self) -> list[str]:
        """Returns what a user should know of the film, a line each; after the last frame."""
        return list(self._notes)

    def _shot(
        self, timestamp: float, wanted: Wanted, decode: Callable[[], tuple[bool, np.ndarray | None]]
    ) -> Iterator[Shot]:
        number, self.read = self.read, self.read + 1
        if wanted(number, timestamp):
            yield Shot(number, timestamp, _rgb(*decode()))

    def _step(self) -> float:
        return 1 / self.rate if self.rate else _STEP

    def _time(self, said: float, lost: int) -> float:
        """Seconds from the first frame to one before which so many are lost."""
        known = 0 <= said <= _LONGEST  # NaN is not
        if self._last == -math.inf:
            # Of an AVI whose decoder holds frames back, as for B-frames, all times are late; see ``video``.
            self._first = said - lost * self._step() if known else 0.0
        timestamp = said - self._first
        # What follows the last faster than any camera goes is no time but a number.
        if known and timestamp > self._last + 1 / _FASTEST:
            self._at_end = 0
        else:
            timestamp = max(self._last, -self._step()) + (lost + 1) * self._step()
            self._made_up += 1
            self._at_end += 1
        self._last = timestamp
        return timestamp

    def _end(self) -> None:
        if not self.read:
            raise CaptureError(f"{self._path} holds no frame that can be decoded")
        held_back = self._at_end <= round(self._first / self._step())
        unknown = self._made_up - (self._at_end if held_back else 0)
        if unknown:
            self._notes.append(
                f"no time, or none after the last, is given for {unknown:,} of {self.read:,} frames:"
                " each is placed one frame's duration after the one before"
            )
        if self._damaged:
            self._notes.append(f"{self._damaged:,} of {self.read:,} frames are damaged")
        if self.expected is None or self.expected == self.read:
            return
        self._notes.append(
            f"{self.read:,} frames were decoded, but the film claims {self.expected:,}"
        )
        # By time: of a variable rate, the number of frames is a guess.
        step = self._step() if self.rate or self.read < 2 else self._last / (self.read - 1)
        promised = self.expected * step
        missing = promised - self._last - step
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

    def __init__(self, index: int, *, open: Callable[[int], "cv2.VideoCapture"] | None = None):
        if open is None:
            opencv_messages.silence()
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

        Raises:
            CaptureError: where no frame comes at all.
        """
        begun: float | None = None
        # Times at which no frame came. Those before the first are of a camera that wakes up, the last ones its end.
        lost: list[float] = []
        try:
            while len(lost) < _CAMERA_TRIES:
                came, picture = self._reader.read()
                now = time.monotonic()
                if not came:
                    lost.append(now)
                    time.sleep(_CAMERA_WAIT)
                    continue
                if begun is None:
                    begun, lost = now, []
                self._dropped += len(lost)
                for at, shown in [*((at, None) for at in lost), (now, picture)]:
                    number, self.read = self.read, self.read + 1
                    if wanted(number, at - begun):
                        yield Shot(number, at - begun, _rgb(shown is not None, shown))
                lost = []
            if not self.read:
                raise CaptureError(f"{self._name} gives no picture")
        finally:
            self._reader.release()

    def notes(self) -> list[str]:
        """Returns what a user should know, a line each."""
        if not self._dropped:
            return []
        return [f"{self._name} dropped {self._dropped:,} of {self.read:,} frames"]


def _open(path: pathlib.Path, threads: int) -> "cv2.VideoCapture":
    opencv_messages.silence()
    import cv2

    # In full, for http:/x may be a folder's file; as bytes, for OpenCV crashes on names that are not UTF-8. By name of
    # the backend: another one would count frames, and say that as the time.
    name: Any = os.fsencode(path.absolute())
    reader = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
    if not reader.isOpened():
        reader.release()
        raise CaptureError(f"{path} is not a film that OpenCV can read, or it has no picture")
    return reader


def _properties(*names: str) -> list[int]:
    import cv2

    return [getattr(cv2, f"CAP_PROP_{name}") for name in names]


def _rgb(came: bool, picture: np.ndarray | None) -> np.ndarray | None:
    if not came or picture is None:
        return None
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
