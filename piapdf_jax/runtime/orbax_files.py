"""Files that Orbax writes: reads parts of networks by name, and checks that a checkpoint is complete."""

import json
import pathlib
import re
from typing import NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore

from piapdf_jax.runtime.digests import tree_digest
from piapdf_jax.types import Part, Parts, PyTree

_FIELDS = ("params", "batch_stats")
_KEY = re.compile(r"\w[\w.-]*", re.ASCII)


class DigestMismatchError(ValueError):
    """What lies on disk is readable, and not what was written."""


def to_host(exported: Parts) -> dict[str, PyTree]:
    """Returns parts as they are written: NumPy arrays under ``params`` and ``batch_stats`` of each name."""
    return {
        name: dict(zip(_FIELDS, jax.tree.map(np.array, part), strict=True))
        for name, part in exported.items()
    }


def save(folder: pathlib.Path, parts: dict[str, PyTree]) -> None:
    """Writes what ``to_host`` returned; every host takes part."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, parts)


def read(folder: pathlib.Path, content: str) -> Parts:
    """Reads parts, each array on one local device.

    Args:
        folder: of the parts.
        content: ``tree_digest`` of what was written.

    Raises:
        DigestMismatchError: where other numbers come back.
        ValueError: where a name in it leads out of the folder. Orbax and the file system raise what they raise.
    """
    _check_names(folder)
    parts = restore(folder)
    if tree_digest(parts) != content:
        raise DigestMismatchError(f"{folder} is not what was written")
    return {name: Part(part["params"], part["batch_stats"]) for name, part in parts.items()}


def _check_names(folder: pathlib.Path) -> None:
    """Refuses names that lead out of a folder before Orbax, which joins them to paths, reads them."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise ValueError(f"{path} is a link")
    path = folder / "_METADATA"
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored["use_ocdbt"] is not True:
        # Of Orbax's formats the one that looks names up in its own files, not in the file system.
        raise ValueError(f"{path} is not of the format that exports are written in")
    for leaf in stored["tree_metadata"].values():
        for key in leaf["key_metadata"]:
            if not _KEY.fullmatch(str(key["key"])):
                raise ValueError(f"{path} names a part {key['key']!r}")


def restore(folder: pathlib.Path) -> dict[str, PyTree]:
    """Reads what ``save`` wrote, unchecked."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.StandardCheckpointer() as checkpointer:
        stored = checkpointer.metadata(folder).item_metadata.tree
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), stored
        )
        return checkpointer.restore(folder, target)


class WrittenCheckpoint(NamedTuple):
    """What of a checkpoint must be found on disk: its arrays' names, shapes and types, its digest."""

    step: int
    arrays: list[str]
    content: str


def find_damage(path: pathlib.Path, stored: PyTree, written: WrittenCheckpoint) -> str:
    """Returns what a checkpoint lacks on disk, "" where its arrays, its digest and bytes of every value are there."""
    found = describe_arrays(stored)
    if found != written.arrays:
        wrong = sorted({*found} ^ {*written.arrays})
        return f"written or there, but not both: {', '.join(wrong[:3])}"
    meta_files = [file.read_bytes() for file in (path / "meta").rglob("*") if file.is_file()]
    if not any(written.content.encode() in text for text in meta_files):
        return f"{path / 'meta'} does not hold what is said with it"
    # Every value is read as it lies there, not decoded: a file that is missing or cut short shows.
    base = {"driver": "file", "path": f"{path / 'state'}/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    empty = [key for key in store.list().result() if not store.read(key).result().value]
    return f"no bytes of {empty[0].decode()}" if empty else ""


def describe_arrays(tree: PyTree) -> list[str]:
    """Returns name, shape and type of every array, sorted."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]
    return sorted(
        f"{name} {tuple(leaf.shape)} {np.dtype(leaf.dtype)}"
        for name, (_, leaf) in zip(names, leaves, strict=True)
    )
