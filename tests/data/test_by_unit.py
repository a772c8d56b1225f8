"""Frames by unit number from a built set: values, indices, processes, damaged folders; the document's programs."""

import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from piapdf_jax.data import by_unit
from piapdf_jax.data.by_unit import FramesByUnit
from piapdf_jax.data.source import CorruptShard, MissingDataset, Records

ROOT = pathlib.Path(__file__).parents[2]
#: FACS numbers in the order of the bits, written down by hand.
BITS = (1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26)


@pytest.fixture(name="folder", scope="module")
def fixture_folder(small_data):
    return small_data / "synthetic_faces" / "small_bp4d" / "1.0.0"


def test_frames_are_what_tfds_reads_sorted_by_unit(folder):
    frames = FramesByUnit(folder, "part2")
    plain = tfds.builder_from_directory(folder).as_data_source("part2")
    assert len(frames) == len(plain) == sum(1 for _ in frames)
    for row in (0, 17, len(plain) - 1):
        frame, record = frames[row], plain[row]
        np.testing.assert_array_equal(frame.image, record["image"])
        np.testing.assert_array_equal(frame.landmarks, record["landmarks"])
        assert frame.labels == dict(zip(BITS, record["labels"].tolist(), strict=True))
        pixels = record["pi_maps"][..., 0].astype(int)
        for bit, au in enumerate(BITS):
            np.testing.assert_array_equal(frame.maps[au], pixels // 2**bit % 2 == 1)
        assert frame.subject == record["subject"].decode() and frame.frame == record["frame"]
        assert frame.coded is True
    assert any(frame.labels[12] == 1 for frame in frames) and frames[0].labels[26] == -1


def test_ends_like_a_sequence(folder):
    frames = FramesByUnit(folder, "part1[:5]", units=(12,))
    assert len(list(frames)) == 5 and list(frames[0].maps) == [12]
    assert frames[-1].frame == frames[4].frame == frames[np.int64(4)].frame
    records = Records(folder, "part1[:5]")
    assert len(list(records)) == 5 and records[-1]["frame"] == records[4]["frame"]
    for these in (frames, records):
        for row in (5, -6):
            with pytest.raises(IndexError):
                these[row]
        with pytest.raises(TypeError):
            these[1.5]


def test_another_process_opens_the_shards_for_itself(folder):
    frames = FramesByUnit(folder, "part1[:5]")
    again = pickle.loads(pickle.dumps(frames))
    np.testing.assert_array_equal(again[3].image, frames[3].image)


def test_a_process_forked_after_a_read_is_told_to_be_spawned(folder, monkeypatch):
    frames = FramesByUnit(folder, "part1[:5]")
    assert frames[0]
    # As a forked process finds what it has inherited.
    monkeypatch.setattr(by_unit, "_reading_process", os.getpid() + 1)
    with pytest.raises(RuntimeError, match=r"multiprocessing_context='spawn'"):
        frames[0]
    monkeypatch.setattr(by_unit, "_reading_process", None)
    assert frames[0]


@pytest.mark.parametrize(
    ("place", "split", "error", "told"),
    [
        ("nowhere", "part1", MissingDataset, "nowhere/dataset_info.json does not exist"),
        ("small_bp4d", "part1", MissingDataset, "; here it is .*small_bp4d/1.0.0$"),
        ("small_lfw/1.1.0", "test", ValueError, "faces without action units"),
        ("small_bp4d/1.0.0", "part9", ValueError, "has no split 'part9'; it has"),
    ],
)
def test_places_that_hold_no_such_frames(small_data, place, split, error, told):
    with pytest.raises(error, match=told):
        FramesByUnit(small_data / "synthetic_faces" / place, split)


def _cut(folder):
    shard = next(folder.glob("*part1.array_record*"))
    shard.write_bytes(shard.read_bytes()[:1000])
    return shard.name


def _lose(folder):
    shard = next(folder.glob("*part1.array_record*"))
    shard.unlink()
    return shard.name


def _foreign(folder):
    path = folder / "features.json"
    path.write_text(json.dumps({"pythonClassName": "torch.Tensor"}))
    return path.name


def _without_labels(folder):
    path = folder / "features.json"
    told = json.loads(path.read_text())
    del told["featuresDict"]["features"]["labels"]
    path.write_text(json.dumps(told))
    return "there is no 'labels' among"


@pytest.mark.parametrize("spoil", [_cut, _lose, _foreign, _without_labels])
def test_a_damaged_or_foreign_folder_is_one_error(folder, tmp_path, spoil):
    copy = shutil.copytree(folder, tmp_path / "1.0.0")
    name = spoil(copy)
    with pytest.raises(CorruptShard, match=name) as told:
        FramesByUnit(copy, "part1")[0]
    assert str(copy) in str(told.value)
    (copy / "features.json").unlink()
    with pytest.raises(MissingDataset, match=r"features\.json does not exist"):
        FramesByUnit(copy, "part1")


def test_the_programs_of_the_document_run_without_tensorflow_and_jax(folder):
    text = (ROOT / "data_builders" / "README.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(programs) == 2
    code = (
        "\n".join(programs).replace("/data/tfds/bp4d/1.0.0", str(folder))
        + """
import sys
assert frame.image.shape == (256, 256, 3) and frame.labels[12] in (1, 0, -1)
assert (by_unit(record).maps[12] == frame.maps[12]).all() and frame.maps[12].any()
assert unpack_planes(record["pi_maps"]).shape == (256, 256, 15)
print(sorted({"tensorflow", "jax", "torch"} & set(sys.modules)))
"""
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
