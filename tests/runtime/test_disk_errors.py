"""What was saved outlives a full disk, and the error names the path and the bytes."""

import errno
import os
import threading
import time
from contextlib import suppress

import jax
import numpy as np
import pytest
from toy_stage import BATCH, ToyStream, lines, toy_fit

from piapdf_jax.runtime.checkpoints import Checkpoints
from piapdf_jax.runtime.digests import tree_digest
from piapdf_jax.runtime.exports import find_export, write_export
from piapdf_jax.runtime.filesystem import DiskError, explain_disk_errors, replacing

# Orbax's writes of other arrays that were under way fail as well, after the one that is told.
noisy = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def roomy_disk(small_disk):
    """A file system of its own with room, and a function that gives it another size."""
    where, remount = small_disk
    remount("size=100m")
    return where, lambda size: remount(f"size={size}")


def arrays(number):
    """0.8 MB that do not compress."""
    return {"a": np.random.default_rng(number).integers(0, 256, 800_000).astype(np.uint8)}


@noisy
def test_a_checkpoint_that_does_not_fit_names_itself_and_keeps_the_others(roomy_disk):
    where, resize = roomy_disk
    folder = where / "c"
    with (
        pytest.raises(DiskError) as refused,
        Checkpoints(folder, every=1, config={"a": 1}) as checkpoints,
    ):
        for step in (1, 2):
            checkpoints.save(step, arrays(step), {})
        checkpoints._manager.wait_until_finished()
        resize("2m")
        for step in (3, 4):
            checkpoints.save(step, arrays(step), {})
    assert refused.value.errno == errno.ENOSPC
    told = str(refused.value)
    assert f"{folder}/3 of 800,000 bytes could not be written" in told
    assert "the checkpoint of step 2 is whole" in told and "start the same command again" in told
    resize("100m")
    target = jax.tree.map(jax.numpy.asarray, arrays(0))
    with Checkpoints(folder, every=1, config={"a": 1}) as checkpoints:
        step, state, _ = checkpoints.restore_latest(target)
        assert step == 2 and tree_digest(state) == tree_digest(arrays(2))
        checkpoints.save(3, arrays(3), {})
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]


@noisy
def test_a_training_on_a_full_disk_ends_with_one_error_and_goes_on(roomy_disk, tmp_path):
    where, _ = roomy_disk
    straight = toy_fit(tmp_path / "straight", 17)

    def filling(step):
        for batch in ToyStream(step):
            if batch.record_index[0] == 8 * BATCH:  # checkpoints come after 5, 10 and 15 steps
                with suppress(OSError), (where / "ballast").open("wb", buffering=0) as ballast:
                    while True:
                        ballast.write(bytes(4096))
            yield batch

    with pytest.raises(DiskError, match="could not be written"):
        toy_fit(where / "run", 17, stream=filling)
    (where / "ballast").unlink()
    fitted = toy_fit(where / "run", 17)
    assert tree_digest(fitted.state) == tree_digest(straight.state)
    assert lines(where / "run") == lines(tmp_path / "straight")


@noisy
def test_an_export_that_does_not_fit_leaves_nothing(roomy_disk):
    where, resize = roomy_disk
    resize("1m")
    exported = {"head": (arrays(1), {"b": arrays(2)})}
    with pytest.raises(DiskError, match="d1 of 1,600,000 bytes .* last checkpoint is whole"):
        write_export(where, "toy", "d1", exported, {})
    assert find_export(where, "toy", "d1") is None
    assert list((where / "exports" / "toy").iterdir()) == []
    resize("100m")
    assert write_export(where, "toy", "d1", exported, {}).is_dir()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_refusals_are_told_by_number_or_by_words_however_deep(tmp_path, number):
    def deep(error):
        try:
            raise error
        except Exception as inner:
            raise ValueError("write failed") from inner

    words = ValueError(f"RESOURCE_EXHAUSTED: file 11: {os.strerror(number)} [os_error_code]")
    for error in (OSError(number, os.strerror(number)), words):
        refused = pytest.raises(DiskError, match=f"{tmp_path}/x of 5 bytes")
        with refused as told, explain_disk_errors(tmp_path / "x", 5):
            deep(error)
        assert told.value.errno == number
    with (
        pytest.raises(ValueError, match="no room for doubt"),
        explain_disk_errors(tmp_path / "x", 5),
    ):
        raise ValueError("no room for doubt")


def test_metrics_that_do_not_fit_name_their_file(tmp_path):
    from piapdf_jax.runtime.writers import JsonlWriter

    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full here")
    writer = JsonlWriter(tmp_path / "metrics.jsonl")
    writer._file.close()
    writer._file = open("/dev/full", "w")  # noqa: SIM115
    with pytest.raises(DiskError, match=r"metrics.jsonl of \d+ bytes"):
        writer.write(1, {"loss": 0.5})
    writer.close()


def test_of_two_that_write_a_file_one_is_read_and_whole(tmp_path):
    path, size, ended = tmp_path / "new" / "results.json", 100_000, threading.Event()

    def write(letter):
        while not ended.is_set():
            with replacing(path) as part:
                assert part.suffix == ".json"
                part.write_text(letter * size)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    while not path.exists():
        time.sleep(0.01)
    read = [path.read_text() for _ in range(200)]
    ended.set()
    for thread in threads:
        thread.join()
    assert {(len(text), len({*text})) for text in read} == {(size, 1)}
    assert os.listdir(path.parent) == ["results.json"]


def test_a_file_that_could_not_be_written_stays_as_it_was(tmp_path):
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(OSError, match="full"), replacing(path) as part:
        part.write_text("ne")
        raise OSError("full")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["results.json"]
