"""Parts of networks on disk: a folder of Orbax's with parameters and running statistics by name of the part."""

import hashlib
import json
import pathlib
import re
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from piapdf_jax.types import Part, Parts

_FIELDS = ("params", "batch_stats")
_KEY = re.compile(r"\w[\w.-]*", re.ASCII)


class NotAsWrittenError(ValueError):
    """What lies on disk is readable, and not what was written."""


def tree_digest(tree: Any) -> str:
    """SHA-256 over paths, dtypes, shapes and bytes of leaves: equal digests, bitwise equal trees.

    Args:
        tree: arrays that this process can read.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        host = np.asarray(leaf)
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        digest.update(f"{name} {host.dtype} {host.shape}\n".encode())
        digest.update(np.ascontiguousarray(host).tobytes())
    return digest.hexdigest()


def on_host(exported: Parts) -> dict[str, Any]:
    """Returns parts as they are written: NumPy arrays under ``params`` and ``batch_stats`` of each name."""
    return {
        name: dict(zip(_FIELDS, jax.tree.map(np.array, part), strict=True))
        for name, part in exported.items()
    }


def save(folder: pathlib.Path, parts: dict[str, Any]) -> None:
    """Writes what ``on_host`` returned; every host takes part."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder, parts)


def read(folder: pathlib.Path, content: str) -> Parts:
    """Reads parts, each array on one local device.

    Args:
        folder: of the parts.
        content: ``tree_digest`` of what was written.

    Raises:
        NotAsWrittenError: where other numbers come back.
        ValueError: where a name in it leads out of the folder. Orbax and the file system raise what they raise.
    """
    _check_names(folder)
    parts = restore(folder)
    if tree_digest(parts) != content:
        raise NotAsWrittenError(f"{folder} is not what was written")
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


def restore(folder: pathlib.Path) -> dict[str, Any]:
    """Reads what ``save`` wrote, unchecked."""
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with ocp.StandardCheckpointer() as checkpointer:
        stored = checkpointer.metadata(folder).item_metadata.tree
        target = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), stored
        )
        return checkpointer.restore(folder, target)
