"""Merges the blocks of an input in order, whichever process makes each."""

import contextlib
import functools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from experiments.detection import finding
from experiments.detection.finding import Block, End, Share
from experiments.detection.inputs import Input
from experiments.detection.settings import Settings
from piapdf_jax import faces


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
    lines, processes = _started(source, settings, first, workers)
    try:
        yield _merged(lines, processes, first)
    finally:
        for process in processes:
            process.kill()
            process.join()
        for line in lines:
            line.close()


def _started(
    source: Input, settings: Settings, first: int, workers: int
) -> tuple[list[Any], list[Any]]:
    """Lines to read from, and the process at the other end of each."""
    context, lines, processes = multiprocessing.get_context("spawn"), [], []
    for place in range(workers):
        line, end = context.Pipe(duplex=False)
        arguments = (end, source, settings, Share(place, workers, first))
        process = context.Process(target=finding.work, args=arguments, daemon=True)
        process.start()
        end.close()  # or nobody would see that a process is gone in the middle of a block
        lines.append(line)
        processes.append(process)
    return lines, processes


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


def _merged(lines: Sequence[Any], processes: Sequence[Any], first: int) -> Iterator[Block | End]:
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
    try:
        return line.recv()
    except (EOFError, OSError):
        process.join()
        return f"the process that reads it is gone (exit code {process.exitcode}); out of memory?"
