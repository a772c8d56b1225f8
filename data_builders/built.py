"""Counts of a built data set: its records without pictures, and the lines of the comparison."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from data_builders.progress import track
from piapdf_jax import folds

_BATCH = 256  # records read at a time


class Line(NamedTuple):
    """One number of a data set beside the published one.

    Attributes:
        what: is counted.
        found: in the data set.
        published: None where nobody published it.
        note: goes with it.
        against: what ``published`` is, where it is no published number.
    """

    what: str
    found: int
    published: int | None = None
    note: str = ""
    against: str = "published"

    @property
    def difference(self) -> int:
        """Found less published; 0 where nothing is published."""
        return 0 if self.published is None else self.found - self.published


def _records(builder: Any, split: str) -> Iterator[dict[str, Any]]:
    """The records of a split, their pictures still encoded."""
    import tensorflow_datasets as tfds

    features = [key for key in ("image", "pi_maps") if key in builder.info.features]
    skip = {key: tfds.decode.SkipDecoding() for key in features}
    try:
        source = builder.as_data_source(split, decoders=skip)
        for start in range(0, len(source), _BATCH):
            yield from source.__getitems__(range(start, min(start + _BATCH, len(source))))
    except Exception as error:  # readers raise all kinds
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"split {split} of {builder.data_dir} cannot be read ({reason}): delete that folder and"
            " build it again"
        ) from error


def columns(builder: Any, split: str, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reads some small features of all records of a split.

    Args:
        builder: as TFDS reads it from a folder.
        split: its name.
        keys: of the features.

    Returns:
        [N, ...] by key.

    Raises:
        ValueError: where a shard cannot be read.
    """
    label, total = f"{builder.name} {split}", builder.info.splits[split].num_examples
    rows = [
        [record[key] for key in keys]
        for record in track(_records(builder, split), label=label, total=total)
    ]
    found = zip(*rows, strict=True) if rows else [()] * len(keys)
    return {key: np.array(column) for key, column in zip(keys, found, strict=True)}


def coded_table(builder: Any) -> dict[str, np.ndarray]:
    """Reads all coded records.

    Args:
        builder: as TFDS reads it from a folder.

    Returns:
        ``part`` [N], and what tells and labels them: ``subject``, ``task`` [N] text, ``frame``, ``coded`` [N],
        ``labels`` [N, 15] over ``RECORD_AUS``.

    Raises:
        ValueError: where there is none, or a shard cannot be read.
    """
    keys = ("subject", "task", "frame", "labels", "coded")
    there = [part for part in (1, 2, 3) if folds.part_split(part) in builder.info.splits]
    if not there:
        raise ValueError(f"{builder.data_dir} holds no coded frame: build it again")
    tables = [columns(builder, folds.part_split(part), keys) for part in there]
    table = {key: np.concatenate([found[key] for found in tables]) for key in keys}
    parts = np.repeat(there, [len(found["frame"]) for found in tables])
    text = {key: np.char.decode(table[key], "utf-8") for key in ("subject", "task")}
    return {**table, **text, "part": parts}


def uncoded_lines(builder: Any) -> list[Line]:
    """Counts the records of each split of frames without labels."""
    splits = builder.info.splits
    return [
        Line(f"uncoded frames, {split.removesuffix('_uncoded')}", splits[split].num_examples)
        for split in splits
        if split.endswith("_uncoded")
    ]
