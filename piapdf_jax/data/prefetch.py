"""Prefetches batches, in threads or in separate processes."""

import functools
import importlib
import multiprocessing
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Read = TypeVar("Read")

#: Batches that a worker process holds ready.
_BUFFERED = 2
#: Batches in shared memory for each process, the most that was seen (Grain 0.2.18): those that are
#: ready, on their way, in use, and not yet given back.
_HELD = 7
_MOST_WORKERS = 16
_SHARED_MEMORY = "/dev/shm"


def prefetch(
    stream: Callable[[int], Read],
    start_step: int,
    *,
    workers: int = 0,
    stop: int = 2**31,
    modules: tuple[str, ...] = (),
) -> Iterator[Read]:
    """Reads ahead from a step on, in threads or in spawned worker processes.

    Args:
        stream: step -> batch.
        start_step: first step.
        workers: processes; 0 uses two threads of this one. The batches are the same either way.
        stop: first step that is not read.
        modules: names of modules that each process imports before it reads.

    Returns:
        An iterator with ``close()``; its ``next`` raises ``ReaderDied`` when a worker process is gone.
    """
    import grain

    dataset = grain.MapDataset.range(start_step, stop).map(stream)
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    steps = dataset.to_iter_dataset(options)
    if not workers:
        return iter(steps)
    steps = steps.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=_BUFFERED),
        worker_init_fn=functools.partial(_start_worker, modules),
    )
    return _Watched(iter(steps))


def auto_workers(
    batch_bytes: Callable[[], int], *, cores: int | None = None, shared_bytes: int | None = None
) -> tuple[int, str]:
    """Returns the number of reader processes for this machine, and a note if memory limits it.

    None on one or two cores, which the training itself needs; else half of the cores, at most 16.
    Batches pass through shared memory, where every process holds up to seven of them.

    Args:
        batch_bytes: gives the size of this host's share of a batch, asked where it decides.
        cores: of this machine; None counts those that this process may run on.
        shared_bytes: free shared memory; None asks ``/dev/shm``.

    Returns:
        The number, and "" or the reason why it is below half of the cores.
    """
    cores = _cores() if cores is None else cores
    if cores <= 2:
        return 0, ""
    wanted = min(cores // 2, _MOST_WORKERS)
    if shared_bytes is None:
        if not os.path.isdir(_SHARED_MEMORY):
            return wanted, ""
        shared_bytes = shutil.disk_usage(_SHARED_MEMORY).free
    size = batch_bytes()
    fits = shared_bytes // (_HELD * size)
    if fits >= wanted:
        return wanted, ""
    return fits, (
        f"data.workers=auto: {fits} instead of {wanted} processes read, because {_SHARED_MEMORY} has"
        f" {shared_bytes / 2**20:.0f} MiB free and each takes {_HELD} batches of"
        f" {size / 2**20:.1f} MiB; in a container a larger one helps (docker run --shm-size=8g)"
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class ReaderDied(RuntimeError):
    """A reader process ended without an error of its own; the message says how."""


class _Watched(Generic[Read]):
    """An iterator over worker processes that tells a dead one from an error in one."""

    def __init__(self, steps: Any) -> None:
        self._steps = steps

    def __iter__(self) -> Iterator[Read]:
        return self

    def __next__(self) -> Read:
        try:
            return next(self._steps)
        except RuntimeError as error:
            found = re.search(r"exit ?code:? ?(-?\d+)", str(error), re.IGNORECASE)
            if found is None:
                raise
            raise ReaderDied(
                f"a process that reads data died with exit code {found[1]} (-9: killed, most often"
                " out of memory): lower data.workers or the batch size; the same command goes"
                " on from the last checkpoint"
            ) from error

    def close(self) -> None:
        self._steps.close()


def _end_with_parent() -> None:
    # A killed parent tells nobody. Once its readers are gone as well, Python's resource tracker gives back
    # the shared memory that batches lay in.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _start_worker(modules: tuple[str, ...], index: int, count: int) -> None:
    import cv2
    import jax

    # The parent alone answers a request to stop, which goes to all of a terminal's or a job's processes:
    # it may want batches for some steps more. Readers end with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Each worker has one core to itself, and none may take a device, not even while a module loads.
    cv2.setNumThreads(1)
    jax.config.update("jax_platforms", "cpu")
    for module in modules:
        importlib.import_module(module)
