"""What a rename puts in place is on disk before: a machine that loses power keeps it whole."""

import itertools
import json
import os
import pathlib
import threading
import time

import jax.numpy as jnp
import pytest
from toy_stage import toy_fit

from piapdf_jax.runtime import exports, filesystem, writers
from piapdf_jax.runtime.checkpoints import Validation


def content(path):
    """What a sync of a path brings to disk: a file's bytes, a folder's names."""
    if path.is_dir():
        return sorted(os.listdir(path))
    return path.read_bytes()


class Recorder:
    """Watches os.fsync, os.rename and os.replace.

    Attributes:
        slow: renames into these folders and syncs of these files take a while.
        synced: the content of each file and folder by inode, when it was last synced.
        renamed: for each rename source and target, the files and folders in the source that were
            not synced as they were then, and ``synced`` at that time.
    """

    def __init__(self, monkeypatch):
        self.renamed, self.synced, self.lock = [], {}, threading.RLock()
        self.slow = set()
        sync = os.fsync

        def fsync(descriptor):
            path = pathlib.Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path in self.slow:
                time.sleep(0.3)
            sync(descriptor)
            with self.lock:
                self.synced[path.stat().st_ino] = content(path)

        monkeypatch.setattr(os, "fsync", fsync)
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, self.watching(getattr(os, name)))

    def watching(self, move):
        def moved(source, target, **options):
            source, target = pathlib.Path(source), pathlib.Path(target)
            if target.parent in self.slow:
                time.sleep(0.3)
            with self.lock:
                missing, synced = self.unsynced(source), dict(self.synced)
                self.renamed.append((source, target, missing, synced))
            return move(source, target, **options)

        return moved

    def unsynced(self, path):
        paths = [path, *path.rglob("*")] if path.is_dir() else [path]
        return [p.name for p in paths if self.synced.get(p.stat().st_ino) != content(p)]

    def to(self, target):
        """Source and unsynced names of the one rename to a path."""
        ((source, _, missing, _),) = [move for move in self.renamed if move[1] == target]
        return source, missing


@pytest.fixture
def recorder(monkeypatch):
    return Recorder(monkeypatch)


def test_an_export_is_synced_whole_before_it_gets_its_name(tmp_path, recorder):
    kernel = jnp.arange(6.0).reshape(2, 3)
    parts = {"encoder": ({"kernel": kernel}, {"mean": jnp.ones(3)}), "head": ({"b": kernel}, {})}
    path = exports.write_export(tmp_path, "t", "a", parts, {"report": {}})
    source, missing = recorder.to(path)
    assert source.parent == path.parent and source.name.startswith(".a.")
    assert missing == []
    held = {item.relative_to(path).parts[0] for item in path.rglob("*")}
    assert held == {"parts", "export.json"}


@pytest.mark.parametrize("there", ["", '{"step": 1}\n{"step": 2}\n{"step": 9}\n{"st'])
def test_metrics_that_are_kept_are_synced_before_they_take_the_place_of_the_old(
    tmp_path, recorder, there
):
    path = tmp_path / "metrics.jsonl"
    path.write_text(there)
    writer = writers.JsonlWriter(path, step=2)
    source, missing = recorder.to(path)
    assert source == tmp_path / "metrics.jsonl.tmp" and missing == []
    assert path.read_text() == there[: len('{"step": 1}\n{"step": 2}\n')]
    writer.write(3, {"loss": 0.5})
    assert recorder.unsynced(path) == ["metrics.jsonl"]
    writer.sync()
    assert recorder.unsynced(path) == []
    writer.close()


def test_a_tree_is_synced_with_every_file_and_folder(tmp_path, recorder):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "empty").mkdir()
    for name in ("1", "a/2", "a/b/3", "a/b/.4"):
        (tmp_path / name).write_text(name)
    filesystem.sync_tree(tmp_path)
    assert recorder.unsynced(tmp_path) == []
    assert len(recorder.synced) == 8


def test_a_checkpoint_tells_of_nothing_that_is_not_on_disk(tmp_path, recorder):
    """Of no line of metrics that is not synced, and of no best state that is not in its place."""
    better = itertools.count()
    recorder.slow = {tmp_path / "best", tmp_path / "metrics.jsonl"}
    toy_fit(tmp_path, 11, validation=Validation(3, lambda exported: float(next(better))))
    targets = [target.relative_to(tmp_path) for _, target, _, _ in recorder.renamed]
    best = {step: targets.index(pathlib.Path("best", str(step))) for step in (3, 6, 9, 11)}
    metrics = (tmp_path / "metrics.jsonl").stat().st_ino
    for step, lines in {5: [1, 3], 10: [1, 3, 6, 9], 11: [1, 3, 6, 9, 11]}.items():
        place = targets.index(pathlib.Path("checkpoints", str(step)))
        assert best[max(told for told in best if told <= step)] < place
        rows = recorder.renamed[place][3][metrics].splitlines()
        assert [json.loads(row)["step"] for row in rows][: len(lines)] == lines
