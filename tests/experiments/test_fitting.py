"""What keeps runs of the launcher out of each other's way, and out of folders where work would be lost."""

import os
import subprocess
import sys

import pytest

from experiments import config as configs
from experiments.pipeline import USER_ERRORS, Pipeline
from piapdf_jax.runtime import lock
from piapdf_jax.runtime.checkpoints import CheckpointError
from piapdf_jax.runtime.filesystem import FolderError


def pipeline(tmp_path, runs="runs"):
    loaded = configs.load("demo", [])
    return Pipeline(
        loaded, data_dir=str(tmp_path / "data"), runs_dir=str(tmp_path / runs), name="x"
    )


COMMANDS = """
import sys

from experiments import piapdf, pipeline
from piapdf_jax.runtime.lock import LockLost


def run(self):
    raise LockLost("pi1: another run has it")


pipeline.Pipeline.run = run
data, *folders = sys.argv[1:]
for runs in folders:
    sys.argv = ["piapdf", "--config=demo", f"--data_dir={data}", f"--runs_dir={runs}"]
    try:
        piapdf.run()
    except SystemExit as ended:
        print(ended.code)
"""


def test_what_would_lose_work_ends_the_command_with_one_line(tmp_path):
    """A folder whose files are not found again before data are drawn, a lost lock at the next save."""
    wrong, right = tmp_path / "a[1]", tmp_path / "b"
    command = [sys.executable, "-c", COMMANDS, str(tmp_path / "data"), str(wrong), str(right)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["2", "3"], done.stderr
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: runs cannot be written to {wrong}/")
    assert second == "error: pi1: another run has it"
    assert os.listdir(tmp_path) == []


def test_a_name_in_the_way_to_the_run_counts_as_well(tmp_path):
    with pytest.raises(FolderError, match="is a pattern"):
        pipeline(tmp_path, "runs*")
    (tmp_path / "a?").mkdir()
    (tmp_path / "plain").symlink_to(tmp_path / "a?")
    with pytest.raises(FolderError, match="is a pattern"):
        pipeline(tmp_path, "plain")
    assert {FolderError, CheckpointError} <= {*USER_ERRORS}


def test_two_runs_of_one_folder_leave_its_files_whole(tmp_path):
    one, other = pipeline(tmp_path), pipeline(tmp_path)
    one._write("results.json", "one" * 100)
    with (one.folder / "results.json").open() as reading:
        other._write("results.json", "other")
        assert reading.read() == "one" * 100
    assert (one.folder / "results.json").read_text() == "other"
    assert os.listdir(one.folder) == ["results.json"]


def test_a_training_is_not_begun_while_another_run_makes_it(tmp_path, monkeypatch):
    """Its files are written under the lock, and it is looked for again when that is held."""
    made = pipeline(tmp_path).fitting
    (tmp_path / "pi1").mkdir()
    monkeypatch.setattr(type(made.catalog), "digest", lambda self, name: "d1")
    entered = []

    class Held(lock.Lock):
        def acquire(self, done):
            entered.append((self.path, done()))
            raise lock.LockLost("held by another")

    monkeypatch.setattr(lock, "Lock", Held)
    with pytest.raises(lock.LockLost):
        made.train("pi1")
    runs = tmp_path / "runs"
    assert entered == [(runs / "exports" / "pi1" / ".d1.lock", False)]
    assert not runs.exists()
