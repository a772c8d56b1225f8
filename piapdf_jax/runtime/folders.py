"""Folders that runs cannot be written to, told before a run begins."""

import os
import pathlib

# Orbax (0.12) looks for what it has written through patterns, in which these stand for other names, and
# TensorStore takes the last of them for a separator.
_PATTERNS = "[*?\\"
# etils, through which Orbax opens files, takes these for addresses of stores: as the first folder of a
# path, and before a colon.
_STORES = ("gs", "s3", "az", "hf")
_SCHEMES = (*_STORES, "file", "http", "https", "hdfs")
# As long as what is written below the folder of a run may become.
_BELOW = pathlib.Path("t" * 32, "d" * 16, "checkpoints", "9" * 9, *("x" * 60,) * 3)


class FolderError(ValueError):
    """A folder that a run cannot be written to."""


def check_folder(path: str | os.PathLike[str]) -> None:
    """Refuses a folder whose name keeps checkpoints and exports from being found again, or none.

    Args:
        path: absolute, without links; it need not be there.

    Raises:
        FolderError: naming it and what of it is wrong.
    """
    path = pathlib.Path(path)
    wrong = _wrong(path)
    if wrong:
        raise FolderError(
            f"runs cannot be written to {_shown(path)}: {wrong}; give another --runs_dir or --name"
        )


def check_encoding(path: str | os.PathLike[str], flag: str) -> None:
    """Refuses a path that the libraries which read data sets cannot be told of.

    Args:
        path: any.
        flag: what it was given by, for the message.

    Raises:
        FolderError: where it is not UTF-8.
    """
    if _shown(path) != os.fspath(path):
        raise FolderError(f"{flag} {_shown(path)}: its name is not UTF-8; give another")


def _wrong(path: pathlib.Path) -> str:
    found = [character for character in str(path) if character in _PATTERNS]
    if found:
        return f"{found[0]!r} is a pattern to the library that writes checkpoints"
    if _shown(path) != str(path):
        return "its name is not UTF-8"
    if path.parts[1:2] and path.parts[1] in _STORES:
        return f"/{path.parts[1]} is a store's address to the library that writes checkpoints"
    for part in path.parts:
        if part.endswith("gs:") or (part.endswith(":") and part[:-1] in _SCHEMES):
            return f"{part}// is an address, and runs go to a file system"
    try:
        os.stat(path / _BELOW)
    except (FileNotFoundError, PermissionError):
        pass  # the first is as it should be, of the second the writing says more
    except OSError as error:
        return str(error.strerror)
    return ""


def _shown(path: str | os.PathLike[str]) -> str:
    """A path as UTF-8, with what is none escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")
