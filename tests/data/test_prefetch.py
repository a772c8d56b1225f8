"""How many processes read: by cores, and by the shared memory that batches pass through."""

import shutil

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
