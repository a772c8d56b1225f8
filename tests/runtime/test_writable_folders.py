"""Folders of runs: those that are refused, and those in which everything comes back."""

import errno
import os
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.runtime import exports, orbax_files
from piapdf_jax.runtime.checkpoints import Checkpoints
from piapdf_jax.runtime.digests import tree_digest
from piapdf_jax.runtime.filesystem import FolderError, check_encoding, check_folder
from piapdf_jax.types import Part

REFUSED = {
    "a[1]": "'['",
    "[": "'['",
    "a\\b": r"'\\'",
    "run*": "'*'",
    "**": "'*'",
    "run?": "'?'",
    os.fsdecode(b"a\xff"): "not UTF-8",
    "gs:": "gs:// is an address",
    "s3:/bucket": "s3:// is an address",
    "n" * 300: os.strerror(errno.ENAMETOOLONG),
    "/".join(["n" * 200] * 25): os.strerror(errno.ENAMETOOLONG),
}
TAKEN = [" a b ", "ü漢\U0001f600", "]", "{a,b}", "%20", "a#b", "a\nb", "a:b", "s3", "n" * 200]
TAKEN += ["-~$'\"|&;@!(+)=,<>^`"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_would_not_be_found_again_is_refused(tmp_path, name):
    with pytest.raises(FolderError) as error:
        check_folder(tmp_path / name / "run")
    told = str(error.value)
    assert (
        REFUSED[name] in told
        and told.startswith(f"runs cannot be written to {tmp_path}")
        and "--runs_dir" in told
    )
    told.encode()
    assert os.listdir(tmp_path) == []


def test_a_first_folder_that_is_taken_for_a_store_is_refused():
    with pytest.raises(FolderError, match="/s3 is a store's address"):
        check_folder("/s3/runs")
    check_folder("/srv/s3/runs")


def test_a_folder_of_data_sets_may_have_any_name_in_utf8():
    for name in (*TAKEN, "a[1]", "a\\b", "*"):
        check_encoding(name, "--data_dir")
    with pytest.raises(FolderError, match=r"--data_dir /data/\\xff: its name is not UTF-8"):
        check_encoding(os.fsdecode(b"/data/\xff"), "--data_dir")


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FolderError, match=os.strerror(errno.ENOTDIR)):
        check_folder(tmp_path / "file" / "run")


@pytest.mark.parametrize("name", TAKEN)
def test_in_every_other_folder_what_is_written_comes_back(tmp_path, name):
    check_folder(tmp_path / name)
    parts = {"head": Part({"kernel": jnp.arange(6.0)}, {})}
    path = exports.write_export(tmp_path / name, "t", "a", parts, {})
    assert tree_digest(exports.read_export(path)[0]) == tree_digest(parts)
    state = {"a": jnp.arange(3.0)}
    for step in (1, 2):
        with Checkpoints(tmp_path / name / "c", every=1, config={}) as checkpoints:
            checkpoints.save(step, state, {})
    with Checkpoints(tmp_path / name / "c", every=1, config={}) as checkpoints:
        restored = checkpoints.restore_latest(state)
    assert restored is not None and restored.step == 2
    np.testing.assert_array_equal(restored.state["a"], [0, 1, 2])
    assert os.listdir(tmp_path) == [pathlib.Path(name).parts[0]]


def test_an_export_that_the_disk_keeps_otherwise_is_not_named(tmp_path, monkeypatch):
    """Where the library finds no pattern in a name but itself: the export is read back."""
    parts = {"head": Part({"kernel": jnp.arange(6.0)}, {})}
    with pytest.raises(exports.ExportError, match="not on disk as it was written") as error:
        exports.write_export(tmp_path / "a[1]", "t", "a", parts, {})
    assert "last checkpoint is kept" in str(error.value) and "\n" not in str(error.value)
    assert exports.find_export(tmp_path / "a[1]", "t", "a") is None
    assert os.listdir(tmp_path / "a[1]" / "exports" / "t") == []
    restore = orbax_files.restore
    other = {"head": {"params": {"kernel": np.zeros(6, np.float32)}, "batch_stats": {}}}
    monkeypatch.setattr(orbax_files, "restore", lambda folder: other)
    with pytest.raises(exports.ExportError, match="other numbers come back"):
        exports.write_export(tmp_path, "t", "a", parts, {})
    assert exports.find_export(tmp_path, "t", "a") is None
    monkeypatch.setattr(orbax_files, "restore", restore)
    assert exports.write_export(tmp_path, "t", "a", parts, {}).is_dir()
