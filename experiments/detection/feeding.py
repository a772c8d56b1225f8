"""Blocks of an input in order, whichever process makes each."""

import contextlib
import functools
import multiprocessing
import queue as queues
from collections.abc import Callable, Iterator
from typing import Any

from experiments.detection import finding
from experiments.detection.finding import Block, End, Share
from experiments.detection.inputs import Input
from experiments.detection.settings import Settings
from piapdf_jax import faces

#: Blocks that a process may be ahead of the network.
_AHEAD = 2


class InputError(ValueError):
    """An input cannot be read; the message says why, in one line."""


@contextlib.contextmanager
def feed(
    source: Input,
    settings: Settings,
    *,
    first: int,
    workers: int,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Iterator[Block | End]]:
    """Opens the stream of an input's blocks.

    Args:
        source: what is read.
        settings: which frames, which faces.
        first: number of the first block that is made.
        workers: processes; 0 reads in this one.
        stop: with no processes, whether what comes is left out.

    Yields:
        Blocks in order, then ``End``; it raises ``InputError`` where the input cannot be read or a process is gone.
    """
    if workers == 0:
        yield _here(source, settings, first, stop)
        return
    context = multiprocessing.get_context("spawn")
    shares = [Share(place, workers, first) for place in range(workers)]
    lines: list[Any] = [context.Queue(_AHEAD) for _ in shares]
    processes = [
        context.Process(target=finding.work, args=(line, source, settings, share), daemon=True)
        for line, share in zip(lines, shares, strict=True)
    ]
    for process in processes:
        process.start()
    try:
        yield _merged(lines, processes, first)
    finally:
        for process in processes:
            process.kill()
            process.join()
        for line in lines:
            line.close()


def _here(
    source: Input, settings: Settings, first: int, stop: Callable[[], bool]
) -> Iterator[Block | End]:
    finder = _finder(settings.finder)
    try:
        yield from finding.blocks(source, settings, finder, Share(first=first), stop)
    except (ValueError, OSError, MemoryError) as error:
        raise InputError(" ".join(str(error).split())) from error


@functools.lru_cache(maxsize=1)
def _finder(name: str) -> faces.FaceFinder:
    """The finder of this process, loaded once for all inputs."""
    return faces.make_finder(name)


def _merged(lines: list[Any], processes: list[Any], first: int) -> Iterator[Block | End]:
    """Block k comes from process k mod their number; the first that has none left is at the end, as all are."""
    block = first
    while True:
        place = block % len(lines)
        made = _next(lines[place], processes[place])
        if isinstance(made, str):
            raise InputError(made)
        yield made
        if isinstance(made, End):
            return
        block += 1


def _next(line: Any, process: Any) -> Block | End | str:
    while True:
        try:
            return line.get(timeout=0.5)
        except queues.Empty:
            # What it put before it ended may still be on its way.
            if process.is_alive():
                continue
            with contextlib.suppress(queues.Empty):
                return line.get(timeout=1)
            return (
                f"the process that reads it is gone (exit code {process.exitcode}); out of memory?"
            )
