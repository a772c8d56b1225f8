"""How many processes read, by cores and shared memory; how they end."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from piapdf_jax.data import prefetch

MIB = 2**20


@pytest.mark.parametrize(
    ("cores", "free", "batch", "workers"),
    [
        (1, 0, 1, 0),
        (2, 0, 1, 0),
        (3, 10**12, MIB, 1),
        (4, 10**12, MIB, 2),
        (16, 10**12, MIB, 8),
        (64, 10**12, MIB, 16),
        (256, 10**12, MIB, 16),
        # 64 MB of a plain container: 7 batches of 3 MiB are 21 MiB a process.
        (16, 64 * MIB, 3 * MIB, 3),
        (16, 64 * MIB, 12 * MIB, 0),
        (4, 42 * MIB, 3 * MIB, 2),
        (4, 42 * MIB - 1, 3 * MIB, 1),
    ],
)
def test_half_of_the_cores_read_where_shared_memory_holds_their_batches(
    cores, free, batch, workers
):
    found, reason = prefetch.auto_workers(lambda: batch, cores=cores, shared_bytes=free)
    assert found == workers
    fewer = cores > 2 and workers < min(cores // 2, 16)
    assert bool(reason) == fewer
    if fewer:
        assert "\n" not in reason
        assert f"{workers} instead of {min(cores // 2, 16)}" in reason and "/dev/shm" in reason


def test_free_shared_memory_is_asked_of_the_system(monkeypatch):
    asked = []

    def usage(path):
        asked.append(path)
        return shutil._ntuple_diskusage(64 * MIB, 0, 64 * MIB)  # type: ignore[attr-defined]

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(prefetch, "_cores", lambda: 8)
    monkeypatch.setattr(prefetch.os.path, "isdir", lambda path: True)
    assert prefetch.auto_workers(lambda: 3 * MIB)[0] == 3
    assert asked == ["/dev/shm"]


def test_the_batch_is_not_read_where_it_decides_nothing():
    def never():
        raise AssertionError("a batch was read")

    assert prefetch.auto_workers(never, cores=2) == (0, "")


PARENT = """
import os
import signal
import sys
import time

import numpy as np
from absl import flags

from piapdf_jax.data.prefetch import prefetch

flags.FLAGS.mark_as_parsed()


def stream(step):
    return {"image": np.full(int(sys.argv[1]), step, np.uint8), "reader": np.full(1, os.getpid())}


if __name__ == "__main__":
    batches = prefetch(stream, 0, workers=2)
    readers = {int(next(batches)["reader"][0]) for _ in range(2)}
    print(*readers, flush=True)
    sys.stdin.readline()
    # More than lies ready: the readers still read.
    print([int(next(batches)["image"][0]) for _ in range(30)], flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    """A process with two readers, the size of what they hold in shared memory, and their numbers."""
    program = tmp_path_factory.mktemp("reading") / "parent.py"
    program.write_text(PARENT)
    size = 100_000 + os.getpid()  # so that these files are told from those of other processes
    root = str(pathlib.Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    parent = subprocess.Popen(
        [sys.executable, str(program), str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
    )
    assert parent.stdout is not None
    readers = [int(number) for number in parent.stdout.readline().split()]
    assert len(readers) == 2 and parent.pid not in readers
    yield parent, size, readers
    for number in (parent.pid, *readers):
        if alive(number):
            os.kill(number, signal.SIGKILL)
    parent.communicate()


def alive(number):
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(number)], capture_output=True, text=True)
    return told.stdout.strip()[:1] not in ("", "Z")


def shared(size):
    return [path for path in pathlib.Path("/dev/shm").glob("psm_*") if path.stat().st_size == size]


def test_a_request_to_stop_that_readers_get_as_well_leaves_them_reading(reading):
    parent, _, readers = reading
    for number in readers:
        os.kill(number, signal.SIGINT)
        os.kill(number, signal.SIGTERM)
    time.sleep(0.2)
    parent.stdin.write("\n")
    parent.stdin.flush()
    assert parent.stdout.readline() == f"{list(range(2, 32))}\n"


def test_readers_of_a_killed_process_end_and_leave_no_shared_memory(reading):
    parent, size, readers = reading
    watched = os.path.isdir("/dev/shm")
    if watched:
        assert shared(size)
        mapped = pathlib.Path(f"/proc/{parent.pid}/maps").read_text().split()
        locks = [pathlib.Path(path) for path in mapped if path.startswith("/dev/shm/")]
    parent.kill()
    parent.wait()
    until = time.monotonic() + 10
    while time.monotonic() < until and (any(map(alive, readers)) or (watched and shared(size))):
        time.sleep(0.05)
    assert not any(map(alive, readers))
    if watched:
        assert not shared(size)
        assert locks and not any(path.exists() for path in locks)
