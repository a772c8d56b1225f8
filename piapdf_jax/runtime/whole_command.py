"""What a pass says of the command that it is a part of: which of several runs, and the time left of all."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator


@dataclasses.dataclass(frozen=True)
class Command:
    """What passes are a part of, where one command makes several runs.

    Attributes:
        title: of a pass by its name, such as ``fold 2, seed 0, Baseline``.
        left: a pass's name and its seconds left (None: unknown) -> those of the whole command.
    """

    title: Callable[[str], str]
    left: Callable[[str, float | None], float | None]


_COMMAND: contextvars.ContextVar[Command | None] = contextvars.ContextVar("command", default=None)


def current() -> Command | None:
    """Returns the command that a pass which begins now is a part of; None for none."""
    return _COMMAND.get()


@contextlib.contextmanager
def part_of(command: Command) -> Iterator[None]:
    """Lets every pass inside say which run it is of, and the time left of the whole command."""
    token = _COMMAND.set(command)
    try:
        yield
    finally:
        _COMMAND.reset(token)


def duration(seconds: float | None) -> str:
    """Returns a time as people read it: ``45 s``, ``12 min``, ``3 h 05 min``; ``-`` for unknown."""
    if seconds is None:
        return "-"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
