"""Targets that are full, read-only or no directory: one line that says what to do, and the next run goes on."""

import os
import subprocess

import interrupted
import pytest
from nightly import nightly

from data_builders import prepare, target_files

CLIPS = 12


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A tree, and its files as a build without a fault writes them."""
    manual = interrupted.write_clips(tmp_path_factory.mktemp("afew") / "manual", copies=CLIPS - 2)
    folder = prepare.prepare("afew_va", data_dir=manual.parent / "data", manual_dir=manual)
    return manual, interrupted.contents(folder)


def one_line(done, code=1):
    """What a command that failed has said last, after its progress; never a traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    *before, last = done.stderr.splitlines()
    assert last.startswith("prepare: ")
    assert all(line.startswith("afew_va ") for line in before), before
    return last


def goes_on(manual, data, expected):
    """Builds to the end; how many units were there from before."""
    finished = len(interrupted.unit_files(data))
    done = interrupted.run(interrupted.command("afew_va", manual, data))
    assert done.returncode == 0, done.stderr
    assert interrupted.contents(data / "afew_va" / "1.0.0") == expected
    assert not interrupted.leftovers(data)
    if finished:
        said = f"afew_va: {finished} units of work taken from an interrupted build"
        assert said in done.stderr.splitlines()
    return finished


def shard_bytes(expected):
    return sum(len(data) for name, data in expected.items() if "array_record" in name)


@pytest.mark.parametrize("share", [0.4, *nightly(1.4, 1.85)])
def test_a_full_disk_is_named_and_the_next_run_goes_on(clips, small_disk, share):
    """The disk is full among the units, in the shards of a split, and in the last of them."""
    manual, expected = clips
    data, remount = small_disk
    remount(f"size={int(share * shard_bytes(expected))}")
    line = one_line(interrupted.run(interrupted.command("afew_va", manual, data)))
    assert "No space left on device" in line and str(data) in line and "make room there" in line
    assert not (data / "afew_va" / "1.0.0").exists()
    remount("size=100m")
    finished = goes_on(manual, data, expected)
    assert 0 < finished <= CLIPS and (finished == CLIPS) == (share > 1.5)


@pytest.mark.parametrize("kilobytes", [40, *nightly(1000)])
def test_a_limit_of_sizes_is_named_and_the_next_run_goes_on(clips, tmp_path, kilobytes):
    """The system refuses to write on within a unit, or within a shard."""
    manual, expected = clips
    arguments = interrupted.command("afew_va", manual, tmp_path / "data")
    limited = ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "bash", *arguments]
    line = one_line(interrupted.run(limited))
    assert "File too large" in line and str(tmp_path / "data") in line and "make room" in line
    assert not (tmp_path / "data" / "afew_va" / "1.0.0").exists()
    assert (goes_on(manual, tmp_path / "data", expected) > 0) == (kilobytes == 1000)


def test_a_read_only_disk_is_named(clips, small_disk):
    manual, _ = clips
    data, remount = small_disk
    remount("ro")
    line = one_line(interrupted.run(interrupted.command("afew_va", manual, data)), code=2)
    assert f"--data_dir {data} cannot be written to (Read-only file system: {data})" in line


def test_a_disk_that_becomes_read_only_under_the_build(clips, small_disk):
    manual, expected = clips
    data, remount = small_disk
    remount("size=100m")
    (data / ".cache" / "records").mkdir(parents=True)
    subprocess.run(["mount", "--bind", data / ".cache" / "records", data / ".cache" / "records"],
                   check=True)  # fmt: skip
    try:
        remounting = ["mount", "-o", "remount,ro,bind", data / ".cache" / "records"]
        subprocess.run(remounting, check=True)
        line = one_line(interrupted.run(interrupted.command("afew_va", manual, data)))
    finally:
        subprocess.run(["umount", "-l", data / ".cache" / "records"], check=True)
    assert f"cannot be written to (Read-only file system: {data}/.cache/records/" in line
    assert goes_on(manual, data, expected) == 0


@pytest.mark.parametrize("below", ["", "tfds"])
def test_a_file_in_the_place_of_the_target(clips, tmp_path, below):
    manual, _ = clips
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / below
    line = one_line(interrupted.run(interrupted.command("afew_va", manual, target)), code=2)
    assert f"--data_dir {target} cannot be a folder (Not a directory: {tmp_path}/file)" in line


def test_a_finished_data_set_on_a_read_only_disk_is_taken(clips, small_disk):
    manual, expected = clips
    data, remount = small_disk
    remount("size=100m")
    goes_on(manual, data, expected)
    remount("ro")
    done = interrupted.run(interrupted.command("afew_va", manual, data))
    assert (done.returncode, done.stderr) == (0, "")


def test_faults_of_other_places_pass_as_they_are(tmp_path):
    for error in (PermissionError(13, "Permission denied", "/elsewhere/1.png"), OSError("odd"),
                  RuntimeError("something else")):  # fmt: skip
        with pytest.raises(type(error)) as caught, target_files.explained(tmp_path):
            raise error
        assert caught.value is error


def test_a_failed_write_leaves_nothing_and_names_its_file(tmp_path, monkeypatch):
    import numpy as np

    path = tmp_path / "x.npz"

    def full(self, target):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(type(path), "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        target_files.write_arrays(path, keys=np.zeros(3))
    assert caught.value.filename == str(path) and not list(tmp_path.iterdir())
