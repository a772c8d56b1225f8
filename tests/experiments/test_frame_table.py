"""Tables of test frames: what is written comes back, and what is none is named."""

import dataclasses

import numpy as np
import pytest

from experiments import frame_table
from experiments.frame_table import FrameTable, FrameTableError


def table(**more):
    count, aus = 3, (1, 12)
    values = {
        "training": "df",
        "digest": "0123456789abcdef",
        "fold": 2,
        "seed": 7,
        "dataset": "bp4d",
        "data": "fedc",
        "aus": aus,
        "subject": np.array(["F001", "F001", "Zoë"]),
        "task": np.array(["T1", "T8", ""]),
        "frame": np.array([4, 2_000_000_000_000, 6]),
        "coded": np.array([[1, 0], [0, -1], [1, 1]], np.int8),
        "probs": np.array([[0.25, 0.5], [1e-7, 1.0], [0.1, 0.9]], np.float32),
        "base_rates": np.array([0.3, np.nan]),
        "cuts": np.array([0.42, np.nan]),
        "true": np.zeros((count, len(aus)), np.int8),
        "teacher_probs": np.full((count, len(aus)), 0.5, np.float32),
        "probe_correct": np.array([1, 0, -1], np.int8),
        "probe_chance": 0.5,
    }
    return FrameTable(**(values | more))


def test_a_table_comes_back_bitwise(tmp_path):
    path = tmp_path / "df" / "0123" / frame_table.FILE_NAME
    written = table()
    frame_table.write(path, written)
    assert [file.name for file in path.parent.iterdir()] == [frame_table.FILE_NAME]
    read = frame_table.read(path)
    for field in dataclasses.fields(FrameTable):
        before, after = getattr(written, field.name), getattr(read, field.name)
        assert type(before) is type(after), field.name
        np.testing.assert_array_equal(before, after, field.name)
        assert getattr(before, "dtype", None) == getattr(after, "dtype", None)


def test_what_is_unknown_stays_none(tmp_path):
    frame_table.write(tmp_path / "f.npz", table(true=None, teacher_probs=None, probe_correct=None))
    read = frame_table.read(tmp_path / "f.npz")
    assert read.true is None and read.teacher_probs is None and read.probe_correct is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"coded": np.zeros((3, 3), np.int8)},
        {"task": np.array(["T1"])},
        {"cuts": np.zeros(3)},
        {"true": np.zeros((2, 2), np.int8)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_arrays_of_other_sizes_are_refused(wrong):
    with pytest.raises(FrameTableError, match=rf"{next(iter(wrong))} must be \("):
        table(**wrong)


def test_what_is_no_table_is_named(tmp_path):
    path = tmp_path / "frames.npz"
    with pytest.raises(FileNotFoundError):
        frame_table.read(path)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(FrameTableError, match=str(path)):
        frame_table.read(path)
    frame_table.write(path, table())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FrameTableError, match=str(path)):
        frame_table.read(path)
    np.savez(path, schema=2)
    with pytest.raises(FrameTableError, match="its schema is 2, this program reads 1"):
        frame_table.read(path)
    np.savez(path, schema=1, aus=np.array([object()], dtype=object), allow_pickle=True)
    with pytest.raises(FrameTableError, match="pickle"):
        frame_table.read(path)
