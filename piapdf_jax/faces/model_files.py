"""Third-party model files: located through an environment variable or an installed package, and checked."""

import functools
import hashlib
import importlib.util
import os
import pathlib
from typing import NamedTuple

from piapdf_jax import paths


class ModelFile(NamedTuple):
    """A file that this package does not bring.

    Attributes:
        name: of the file.
        sha256: of its content.
        package: top level package that brings it.
        folder: in that package.
        get: what to do where it is missing, a sentence.
    """

    name: str
    sha256: str
    package: str
    folder: str
    get: str


def find(file: ModelFile, named: str | os.PathLike[str] | None, variable: str) -> pathlib.Path:
    """Finds and checks a file.

    Args:
        file: which.
        named: path that was named; None looks in the installed package, which is not imported.
        variable: what named it, for messages.

    Raises:
        FileNotFoundError: where there is none; the message says where to get it.
        ValueError: for a file with another checksum.
    """
    found = paths.local_path(named, variable) if named else _installed(file)
    if found is None or not found.is_file():
        lacks = "is not a file" if found and found.exists() else "does not exist"
        missing = f"{found} {lacks}" if found else f"no {file.name} found"
        raise FileNotFoundError(f"{missing}: {file.get}")
    state = found.stat()
    digest = _sha256(found, state.st_size, state.st_mtime_ns)
    if digest != file.sha256:
        raise ValueError(f"{found} is not {file.name}: its sha256 is {digest}, not {file.sha256}")
    return found


def _installed(file: ModelFile) -> pathlib.Path | None:
    # Found without importing: such packages ask for others that they do not need for this.
    spec = importlib.util.find_spec(file.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return pathlib.Path(next(iter(spec.submodule_search_locations)), file.folder, file.name)


@functools.lru_cache(maxsize=8)
def _sha256(path: pathlib.Path, size: int, changed: int) -> str:
    """Checksum of a file, read once a process unless its size or time of change differ."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
