"""Progress shown to the user while frames are processed."""

import os
import sys
import time
from typing import Any, TextIO

from experiments.detection.engine import Counts

_SECONDS = {True: 0.5, False: 15.0}


def shown(name: str) -> str:
    """Returns a name that fits on a line: control characters, and bytes that are no text, are written as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def say(text: str, file: TextIO | None = None) -> None:
    """Prints a line of its own.

    Args:
        text: what it says; names in it may hold anything.
        file: None for standard output; where nobody reads it any more, as behind ``| head``, the work goes on unseen.
    """
    file = file or sys.stdout
    if file is None:  # closed from the start
        return
    code = file.encoding or "utf-8"
    try:
        print(shown(text).encode(code, "backslashreplace").decode(code), file=file, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


class Progress:
    """Prints frames a second and time left: on a terminal a line that is written over, else a line now and then.

    Args:
        name: of the input.
        expected: frames that will be looked at; None where nobody knows.
    """

    def __init__(self, name: str, expected: int | None):
        self._name, self._expected = shown(name), expected
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
            say(line, sys.stderr)

    def close(self) -> None:
        """Clears the line."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
