"""What a user sees while frames are looked at."""

import sys
import time
from typing import Any

from experiments.detection.engine import Counts

_SECONDS = {True: 0.5, False: 15.0}


class Progress:
    """Prints frames a second and time left: on a terminal a line that is written over, else a line now and then.

    Args:
        name: of the input.
        expected: frames that will be looked at; None where nobody knows.
    """

    def __init__(self, name: str, expected: int | None):
        self._name, self._expected = name, expected
        self._terminal = sys.stderr.isatty()
        self._begun = self._told = time.monotonic()
        self._first: int | None = None

    def __call__(self, counts: Counts, seconds: dict[str, Any]) -> None:
        """Tells of a block that is finished."""
        del seconds
        if self._first is None:
            # What was finished before the command began says nothing of its speed.
            self._first, self._begun = counts.frames, time.monotonic()
            return
        now = time.monotonic()
        if now - self._told < _SECONDS[self._terminal] or now == self._begun:
            return
        self._told = now
        speed = (counts.frames - self._first) / (now - self._begun)
        left = ""
        if self._expected is not None and speed > 0 and self._expected >= counts.frames:
            left = f" of {self._expected}, {_clock((self._expected - counts.frames) / speed)} left"
        line = f"{self._name}: frame {counts.frames}{left}, {speed:.1f} frames/s"
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Clears the line."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
