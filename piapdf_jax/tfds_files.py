"""Validates the files of a data set's folder that TFDS trusts, before TFDS opens them.

``features.json`` names Python classes, and TFDS imports the module of any it does not know;
``dataset_info.json`` names files, and TFDS opens whatever they are joined to. The standard library
alone, for readers and builders. Only what TFDS itself writes for our records is accepted, in
exactly its spelling: protocol buffers also accept other spellings of each name, and have fields that hold a second
description as text.
"""

import json
import os
import pathlib
import re
from typing import Any

_CLASSES = "tensorflow_datasets.core.features."
#: The classes that the features of our records are made of.
FEATURE_CLASSES = frozenset(
    _CLASSES + name
    for name in (
        "features_dict.FeaturesDict",
        "image_feature.Image",
        "scalar.Scalar",
        "tensor_feature.Tensor",
        "text_feature.Text",
    )
)
#: How TFDS names shards where nobody asks for another way.
SHARD_NAME = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_FORMAT = "array_record"
_NAME = re.compile(r"\w+", re.ASCII)
_FEATURE = {
    "pythonClassName",
    "description",
    "valueRange",
    "featuresDict",
    "tensor",
    "text",
    "image",
}
_CONTENT = {"shape", "dtype", "encoding", "encodingFormat", "useColormap"}
_CONTENT |= {"minimum", "maximum", "optional"}
_INFO = {"name", "version", "description", "citation", "location", "releaseNotes", "splits"}
_INFO |= {"redistributionInfo", "supervisedKeys", "moduleName", "fileFormat", "sizeInBytes"}
_INFO |= {"configName", "configDescription", "configTags", "downloadSize", "downloadChecksums"}
_INFO |= {"disableShuffling", "nondeterministicOrder"}
_SPLIT = {"name", "numBytes", "shardLengths", "numShards", "filepathTemplate"}


def validate_tfds_dir(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Refuses a data set's folder whose opening would import a foreign module or read a file outside it.

    Args:
        folder: holds ``dataset_info.json``, ``features.json`` and shards.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: where one of the two files is missing.
        ValueError: names the file and what in it is refused.
    """
    path = pathlib.Path(folder)
    _check_feature(path / "features.json", _read(path / "features.json"))
    _check_info(path / "dataset_info.json", _read(path / "dataset_info.json"))
    # A link within the folder, or of the folder as a whole, leads nowhere else.
    home = path.resolve()
    for entry in path.iterdir():
        if entry.is_symlink() and entry.resolve().parent != home:
            raise ValueError(
                f"{entry} is a link to {entry.resolve()}, outside its data set: put that file in its"
                " place, or link the whole folder"
            )
    return path


def _check_feature(path: pathlib.Path, told: object) -> None:
    """One feature as TFDS writes it, and those within it."""
    feature = _check_keys(path, told, _FEATURE)
    if feature.get("pythonClassName") not in FEATURE_CLASSES:
        raise _refused(path, feature.get("pythonClassName"), "no class of our records' features")
    for kind in ("tensor", "text", "image"):
        _check_keys(path, feature.get(kind, {}), _CONTENT)
    inner = feature.get("featuresDict", {})
    _check_keys(path, inner, {"features"})
    for name, below in inner.get("features", {}).items():
        if not _NAME.fullmatch(name):
            raise _refused(path, name, "no name of a feature")
        _check_feature(path, below)


def _check_info(path: pathlib.Path, told: object) -> None:
    """Names that shards' names are made of."""
    info = _check_keys(path, told, _INFO)
    if info.get("fileFormat") != _FORMAT:
        raise _refused(path, info.get("fileFormat"), f"not the format of our shards ({_FORMAT})")
    splits = info.get("splits", [])
    for part in (info, *splits):
        if part is not info:
            _check_keys(path, part, _SPLIT)
        if not isinstance(part.get("name"), str) or not _NAME.fullmatch(part["name"]):
            raise _refused(path, part.get("name"), "no name of a data set or split")
    for split in splits:
        template = split.get("filepathTemplate", SHARD_NAME)
        if template != SHARD_NAME:
            raise _refused(path, template, f"not how our shards are called ({SHARD_NAME})")


def _check_keys(path: pathlib.Path, found: object, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise _refused(path, found, "not what TFDS writes there")
    for key in sorted(found.keys() - allowed):
        raise _refused(path, key, "which TFDS does not write of our records")
    return found


def _refused(path: pathlib.Path, value: object, reason: str) -> ValueError:
    return ValueError(
        f"{path} names {value!r:.200}, {reason}: delete its folder and build the data set again"
    )


def _read(path: pathlib.Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} cannot be read as JSON ({error}): delete its folder and build it again"
        ) from error
