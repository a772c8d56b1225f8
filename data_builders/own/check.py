"""Checks of your own recordings, for which there are no published counts."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from data_builders.built import Line, coded_table, columns
from data_builders.videos import FRAME_FAULTS
from piapdf_jax import folds
from piapdf_jax.action_units import RECORD_AUS, UNKNOWN, record_columns

_KEYS = ("subject", "task", "frame", "labels", "coded")
_NOTE = "nobody has published counts of it; what must hold of any data set is checked"


def lines(builder: Any, metadata: dict[str, Any]) -> list[Line]:
    """Counts people, frames and units, and what may not be.

    Args:
        builder: as TFDS reads it from a folder.
        metadata: that go with it.

    Returns:
        One line a number; those that may not be have an expected one.

    Raises:
        ValueError: where it holds no coded frame, or a shard cannot be read.
    """
    table, units = coded_table(builder), [int(au) for au in metadata.get("action_units", [])]
    found = [Line("participants", len(np.unique(table["subject"])), note=_NOTE)]
    found += [Line("coded frames", len(table["part"]))]
    for part in (1, 2, 3):
        rows = table["part"] == part
        people = f"{len(np.unique(table['subject'][rows]))} people"
        found.append(Line(f"coded frames, part {part}", int(rows.sum()), note=people))
    found += [line for au in units for line in _unit_lines(au, table)]
    return found + list(_rules(builder, metadata, units))


def _unit_lines(au: int, table: dict[str, np.ndarray]) -> Iterator[Line]:
    """How often a unit is present, in all and by part, and how often nobody knows."""
    cells = table["labels"][:, record_columns((au,))[0]]
    for name, some in [("", cells)] + [
        (f", part {part}", cells[table["part"] == part]) for part in (1, 2, 3)
    ]:
        known, present = int((some != UNKNOWN).sum()), int((some == 1).sum())
        rate = f"{100 * present / known:.2f} % of the known cells" if known else "no known cell"
        yield Line(f"AU{au} present{name}", present, note=rate)
    yield Line(f"AU{au} unknown", int((cells == UNKNOWN).sum()))


def _rules(builder: Any, metadata: dict[str, Any], units: list[int]) -> Iterator[Line]:
    """What may not be, over the records of all splits."""
    tables = {split: columns(builder, split, _KEYS) for split in builder.info.splits}
    part_of = {name: part for part, people in metadata["parts"].items() for name in people}
    elsewhere, seen, wrong = set(), set(), {"twice": 0, "coded": 0, "units": 0}
    named = np.isin(RECORD_AUS, units)
    for split, table in tables.items():
        part = next(k for k in (1, 2, 3) if split.startswith(folds.part_split(k)))
        names = [value.decode() for value in table["subject"]]
        elsewhere |= {name for name in names if part_of.get(name) != str(part)}
        for who in zip(names, table["task"].tolist(), table["frame"].tolist(), strict=True):
            wrong["twice"] += who in seen
            seen.add(who)
        known = table["labels"] != UNKNOWN
        coded = not split.endswith("_uncoded")
        wrong["coded"] += int(((table["coded"] != coded) | (known.any(axis=1) != coded)).sum())
        wrong["units"] += int(known[:, ~named].any(axis=1).sum())
    left_out = metadata.get("skipped", {})
    lost = sum(left_out.get(reason, {}).get("count", 0) for reason in FRAME_FAULTS)
    vanished = metadata["read"]["pictures and frames"] - len(seen) - wrong["twice"] - lost
    for what, count in (
        ("people with frames of another part than theirs", len(elsewhere)),
        ("frames that appear twice", wrong["twice"]),
        ("frames with labels among those without, or the reverse", wrong["coded"]),
        ("frames with labels of units that the data set does not name", wrong["units"]),
        ("frames that were read, and are neither a record nor left out", vanished),
    ):
        yield Line(what, count, 0, against="expected")
