"""Frames of a built data set for other programs: picture, labels and PI maps under the numbers of the units.

Reads ArrayRecord shards by directory; neither TensorFlow nor JAX is loaded.
"""

import json
import operator
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from piapdf_jax import paths
from piapdf_jax.action_units import RECORD_AUS, record_columns
from piapdf_jax.data.source import CorruptShard, MissingDataset, Records
from piapdf_jax.records import ByUnit, by_unit

#: The process that has read a record through this module; readers have threads, which no fork takes along.
_reading_process: int | None = None


class FramesByUnit(Sequence[ByUnit]):
    """Frames of one split, in the order of its records; a ``Dataset`` of PyTorch as it is.

    Reader processes open the shards for themselves. They may be spawned at any time, and forked
    before this process has read a frame.

    Args:
        folder: of a built data set, such as ``DATA_DIR/bp4d/1.0.0``; holds ``dataset_info.json``.
        split: TFDS split expression, such as ``part1+part2`` or ``train[:10%]``.
        units: wanted FACS numbers; the labels of those that the data set does not code are -1.

    Raises:
        MissingDataset: where no data set is in the folder.
        CorruptShard: for a folder or a shard that cannot be read or is none of ours.
        ValueError: for a split that is not there or empty, faces without action units, or a unit
            that records do not hold.
    """

    def __init__(
        self, folder: str | os.PathLike[str], split: str, units: Sequence[int] = RECORD_AUS
    ) -> None:
        self.folder, self.units = _data_set(folder), tuple(units)
        record_columns(self.units)
        self._records = Records(self.folder, split)
        told = json.loads((self.folder / "features.json").read_text(encoding="utf-8"))
        features = told.get("featuresDict", {}).get("features", {})
        if "pi_maps" not in features:
            raise ValueError(
                f"{self.folder} holds faces without action units: its records have"
                f" {', '.join(features)}"
            )

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int) -> ByUnit:  # pyright: ignore[reportIncompatibleMethodOverride]
        row = range(len(self))[operator.index(row)]
        _check_process()
        record = dict(self._records[row])
        for name in ("image", "pi_maps"):
            record[name] = _decoded(record[name], color=name == "image")
        try:
            return by_unit(record, self.units)
        except ValueError as error:
            shard = self._records.shard_of(row)
            raise CorruptShard(f"record {row} of shard {shard}: {error}") from error


def _check_process() -> None:
    global _reading_process
    if _reading_process not in (None, os.getpid()):
        raise RuntimeError(
            "a forked process cannot read on: frames were read before it was forked. Spawn reader"
            " processes: DataLoader(..., multiprocessing_context='spawn')"
        )
    _reading_process = os.getpid()


def _data_set(folder: str | os.PathLike[str]) -> pathlib.Path:
    path = paths.local_folder(folder, "folder")
    missing = [
        name for name in ("dataset_info.json", "features.json") if not (path / name).is_file()
    ]
    if not missing:
        return path
    versions = sorted(found.parent for found in path.glob("*.*.*/dataset_info.json"))
    hint = f"; here it is {versions[-1]}" if versions else ""
    raise MissingDataset(
        f"{path / missing[0]} does not exist: give the folder of one version of a data set, such"
        f" as DATA_DIR/bp4d/1.0.0{hint}"
    )


def _decoded(data: bytes, *, color: bool) -> np.ndarray | None:
    import cv2

    return cv2.imdecode(
        np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB if color else cv2.IMREAD_UNCHANGED
    )
