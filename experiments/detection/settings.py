"""Settings that determine the rows of ``experiments.detect``, besides the input and the model."""

import dataclasses
import hashlib
import json
from typing import Any

FACES = ("all", "one")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Choices of one command.

    Attributes:
        finder: name of the face finder.
        faces: ``all`` of a frame, or the clearest ``one``.
        every: every N-th frame of a film is looked at.
        fps: of a film at most so many frames a second are looked at; None for all.
        start: seconds of a film before the first frame that is looked at.
        end: seconds of a film from which on no frame is looked at; None for its end.
        threshold: a unit is present from this probability on; None takes the cuts of ``model.json``.
        batch: faces of a batch, all padded to that many.
    """

    finder: str
    faces: str = "all"
    every: int = 1
    fps: float | None = None
    start: float = 0.0
    end: float | None = None
    threshold: float | None = 0.5
    batch: int = 32

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values by name."""
        return dataclasses.asdict(self)


def digest(told: Any) -> str:
    """Computes sixteen hexadecimal digits of a value's canonical JSON."""
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Selection:
    """Which frames of a film are looked at, and in which block of frames each of those comes.

    Frames are asked for in order. Blocks are of ``settings.batch`` frames that are looked at, so that they are the
    same however many processes share them.

    Args:
        settings: ``every``, ``fps``, ``start`` and ``end``.
    """

    def __init__(self, settings: Settings):
        self._settings = settings
        self._last_tick: int | None = None

    def __call__(self, number: int, timestamp: float | None) -> bool:
        """Returns whether a frame is looked at.

        Raises:
            PastEnd: for the first frame at or after ``end``.
        """
        s = self._settings
        if timestamp is None:
            return number % s.every == 0
        if s.end is not None and timestamp >= s.end - _HALF_DIGIT:
            raise PastEnd
        if timestamp < s.start - _HALF_DIGIT or number % s.every:
            return False
        if s.fps is None:
            return True
        # The first frame at or after each multiple of 1 / fps.
        tick = int((timestamp + _HALF_DIGIT) * s.fps)
        if tick == self._last_tick:
            return False
        self._last_tick = tick
        return True


class PastEnd(Exception):
    """No later frame is looked at."""


#: Times have six digits.
_HALF_DIGIT = 5e-7
