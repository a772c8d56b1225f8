"""Description of a data set, read before any record: its builder, people and units, and its fingerprint."""

import hashlib
import json
import pathlib
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from piapdf_jax.data.source import MissingDataset


def fingerprint(folder: pathlib.Path, *, cache: pathlib.Path | None = None) -> str:
    """Computes a hash of a data set's description and of the content of all its shards.

    Args:
        folder: what ``dataset_folder`` returned.
        cache: JSON file that remembers a shard's checksum by path, size and time of change; None reads all again.

    Returns:
        16 hexadecimal digits.
    """
    known = {}
    if cache is not None and cache.exists():
        try:
            known = json.loads(cache.read_text())
        except ValueError:
            known = {}  # a torn cache only costs reading the shards again
    sums = {}
    for path in sorted(p for p in folder.iterdir() if "array_record" in p.name):
        stat = path.stat()
        key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
        if key not in known:
            with path.open("rb") as file:
                known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        sums[path.name] = known[key]
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        # Of two runs that write it one is read, whole; what the other knew is read from shards again.
        part = cache.with_name(f"{cache.name}.{secrets.token_hex(4)}.part")
        part.write_text(json.dumps(known))
        part.replace(cache)
    info = hashlib.sha256((folder / "dataset_info.json").read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps([info, sums], sort_keys=True).encode()).hexdigest()[:16]


def metadata(folder: pathlib.Path) -> dict[str, Any]:
    """Reads the builder's metadata, such as LFW's pairs."""
    path = folder / "metadata.json"
    return json.loads(path.read_text()) if path.exists() else {}


class Description(NamedTuple):
    """Description of a data set, known before a record is opened.

    Attributes:
        builder: name of its builder.
        kind: group of people that several configs of the builder share, "" where it has one.
        action_units: FACS numbers of its label columns, () for faces without labels.
        people: everybody in a split, by split; without a record they may be, but no other is in one.
        parts: everybody whom the builder dealt to a part, by part; {} where people and parts are published.
    """

    builder: str
    kind: str
    action_units: tuple[int, ...]
    people: dict[str, tuple[str, ...]]
    parts: Mapping[int, tuple[str, ...]] = {}

    def people_of(self, split: str) -> set[str]:
        """Returns all people in the splits of an expression such as ``part1+part2``."""
        names = [part.strip().partition("[")[0] for part in split.split("+")]
        return {subject for name in names for subject in self.people.get(name, ())}


def describe(folder: pathlib.Path) -> Description:
    """Reads the description of a data set.

    Args:
        folder: what ``dataset_folder`` returned.

    Raises:
        MissingDataset: for one that was built before data sets said this; names what to do.
    """
    try:
        told = metadata(folder)
        name = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))["name"]
        people = {split: tuple(map(str, names)) for split, names in told["people"].items()}
        parts = {int(part): tuple(map(str, who)) for part, who in told.get("parts", {}).items()}
        units = tuple(map(int, told["action_units"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingDataset(
            f"{folder / 'metadata.json'} does not name the data set's action units and people"
            f" ({type(error).__name__}: {error}): an older version built it, or it is damaged;"
            " delete the folder and build it again"
        ) from error
    return Description(str(name), str(told.get("kind", "")), units, people, parts)
