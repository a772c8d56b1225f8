"""A built set in PyTorch, read by processes of its own; counted again with NumPy."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

pytestmark = pytest.mark.parity

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "torch_dataset.py"
#: BP4D's units and their bits in a record, written down by hand.
UNITS = {1: 0, 2: 1, 4: 2, 6: 3, 7: 4, 10: 6, 12: 7, 14: 8, 15: 9, 17: 10, 23: 11, 24: 12}


def test_the_example_counts_what_is_there(small_data):
    folder = small_data / "synthetic_faces" / "small_bp4d" / "1.0.0"
    command = [sys.executable, str(SOURCE), str(folder), "--split=part1[:70]"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain = list(tfds.builder_from_directory(folder).as_data_source("part1[:70]"))
    labels = np.stack([record["labels"] for record in plain])
    maps = np.stack([record["pi_maps"][..., 0] for record in plain])
    expected = [
        f"AU{au}: present in {(labels[:, bit] == 1).sum()} of {(labels[:, bit] >= 0).sum()}"
        f" known frames, {(maps >> bit & 1).sum()} pixels of maps"
        for au, bit in UNITS.items()
    ]
    assert done.stdout.splitlines() == expected
    wrong = [*command[:2], str(folder.parent)]
    done = subprocess.run(wrong, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ") and f"here it is {folder}" in done.stderr


_LOADER = """
import sys
import torch
from piapdf_jax.data.by_unit import FramesByUnit

if __name__ == "__main__":
    frames = FramesByUnit(sys.argv[1], "part1[:24]", units=(12, 26))
    loader = torch.utils.data.DataLoader(
        frames, batch_size=8, num_workers=2, multiprocessing_context="fork"
    )
    seen = 0
    for batch in list(loader):  # read before a frame is read here
        assert batch.image.shape == (8, 256, 256, 3) and batch.image.dtype == torch.uint8
        assert batch.maps[12].shape == (8, 256, 256) and batch.maps[12].dtype == torch.bool
        assert batch.labels[26].tolist() == [-1] * 8 and len(batch.subject) == 8
        for k in range(8):
            assert (batch.image[k].numpy() == frames[seen + k].image).all()
            assert (batch.maps[12][k].numpy() == frames[seen + k].maps[12]).all()
        seen += 8
    assert seen == 24
"""


def test_frames_are_a_dataset_as_they_are_in_forked_processes(small_data, tmp_path):
    (tmp_path / "program.py").write_text(_LOADER)
    folder = small_data / "synthetic_faces" / "small_bp4d" / "1.0.0"
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_the_dataset_has_five_lines():
    text = SOURCE.read_text(encoding="utf-8")
    lines = text[text.index("class Faces") : text.index("def main")].strip().splitlines()
    assert len(lines) == 5
