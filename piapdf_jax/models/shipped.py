"""The detector that this package ships, trained on drawn faces: its parts in half precision, to start a training from.

It lies in ``drawn_detector.FOLDER`` as ``experiments.ship`` writes it.
"""

import hashlib
import io
import json
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from piapdf_jax import commands, drawn_detector
from piapdf_jax.drawn_detector import MODEL_FILE, PARTS_FILE
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.types import Part, PyTree

_COLLECTIONS = ("params", "batch_stats")


class Description(NamedTuple):
    """Fields of a shipped detector's ``model.json`` that describe its encoder.

    Attributes:
        encoder: its name.
        convention: padding and BatchNorm, a key of ``layers.CONVENTIONS``; None for the encoder's own.
        mean: of red, green and blue in [0, 1].
        std: of the same.
        sha256: of the file of parts.
    """

    encoder: str
    convention: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str


def read_description(encoder: str, folder: pathlib.Path | None = None) -> Description:
    """Reads the description of a shipped detector.

    Args:
        encoder: name of the one that is to start from it.
        folder: of the detector; None for the package's own.

    Raises:
        WeightsError: in one line, where none is shipped, it is of another encoder, or its description is damaged.
    """
    folder = folder or drawn_detector.FOLDER
    path = folder / MODEL_FILE
    if not path.is_file():
        command = commands.python("experiments.ship", "EXPORT", f"--out={folder}")
        raise WeightsError(f"this installation ships no detector ({path} is missing): {command}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        model, file = content["model"], content["files"][PARTS_FILE]
        mean, std = (tuple(map(float, model[key])) for key in ("mean", "std"))
        found = Description(
            str(model["encoder"]), model.get("convention"), mean, std, str(file["sha256"])
        )
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise WeightsError(f"{path} does not describe {PARTS_FILE} ({reason})") from error
    if found.encoder != encoder:
        raise WeightsError(
            f"the shipped detector has encoder {found.encoder!r}, model.encoder is {encoder!r}: use"
            f" --set model={found.encoder}"
        )
    return found


def read_parts(sha256: str, folder: pathlib.Path | None = None) -> dict[str, Part]:
    """Reads the parts of a shipped detector.

    Args:
        sha256: of their file, from ``read_description``.
        folder: of the detector; None for the package's own.

    Returns:
        (params, batch_stats) by name of the part, NumPy arrays of float32.

    Raises:
        WeightsError: where the file is missing, another one, or not what ``write_parts`` writes.
    """
    path = (folder or drawn_detector.FOLDER) / PARTS_FILE
    try:
        data = path.read_bytes()
        # Before anything looks into it.
        if (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise ValueError(f"its SHA-256 is {found}, not {sha256} as {MODEL_FILE} says")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return _nested(arrays)
    except Exception as error:  # NumPy and its zip files raise all kinds
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path} cannot be used ({reason}): reinstall the package") from error


def write_parts(path: pathlib.Path, parts: Mapping[str, Part]) -> None:
    """Writes parts in half precision, unfolded, with their running statistics, so that a training can go on from them.

    Args:
        path: of the file.
        parts: (params, batch_stats) by name, float32.

    Raises:
        ValueError: for numbers that half precision does not hold.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, part in parts.items():
        for collection, tree in zip(_COLLECTIONS, part, strict=True):
            for place, leaf in _flat(tree):
                # Beyond its range half precision has infinities; the check names them.
                with np.errstate(over="ignore"):
                    half = np.asarray(leaf).astype(np.float16)
                key = "/".join((name, collection, *place))
                if not np.isfinite(half).all():
                    raise ValueError(f"{key} holds numbers that half precision does not")
                arrays[key] = half
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _flat(tree: PyTree, place: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], PyTree]]:
    """Leaves of nested dictionaries with their keys, in their order."""
    if not isinstance(tree, Mapping):
        return [(place, tree)]
    return [found for key in tree for found in _flat(tree[key], (*place, key))]


def _nested(arrays: Mapping[str, np.ndarray]) -> dict[str, Part]:
    """The inverse of ``_flat`` for all parts, in float32."""
    found: dict[str, dict[str, PyTree]] = {}
    for key, array in arrays.items():
        if array.dtype != np.float16 or not np.isfinite(array).all():
            raise ValueError(f"{key} holds {array.dtype}, or values that are not numbers")
        name, collection, *inner, leaf = key.split("/")
        tree = found.setdefault(name, {each: {} for each in _COLLECTIONS})[collection]
        for module in inner:
            tree = tree.setdefault(module, {})
        tree[leaf] = array.astype(np.float32)
    return {name: Part(part["params"], part["batch_stats"]) for name, part in found.items()}
