"""Files and folders: checks of where a run can be written, errors of full or broken disks, and atomic writes."""

import contextlib
import errno
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Iterator

_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# Orbax passes on what TensorStore says, as text: its errors have no number of their own.
_WORDS = {os.strerror(number).lower(): number for number in _ERRNOS}

# Orbax (0.12) looks for what it has written through patterns, in which these stand for other names, and
# TensorStore takes the last of them for a separator.
_PATTERNS = "[*?\\"
# etils, through which Orbax opens files, takes these for addresses of stores: as the first folder of a
# path, and before a colon.
_STORES = ("gs", "s3", "az", "hf")
_SCHEMES = (*_STORES, "file", "http", "https", "hdfs")
# As long as what is written below the folder of a run may become.
_BELOW = pathlib.Path("t" * 32, "d" * 16, "checkpoints", "9" * 9, *("x" * 60,) * 3)


class DiskError(OSError):
    """A file could not be written because the disk is full, read-only or broken."""


class FolderError(ValueError):
    """A folder that a run cannot be written to."""


@contextlib.contextmanager
def explain_disk_errors(
    path: str | os.PathLike[str], nbytes: int, kept: str = ""
) -> Iterator[None]:
    """Turns errors of a full or broken disk, however deeply nested, into one that says what to do.

    Args:
        path: what is written.
        nbytes: its size in memory; 0 where nobody knows it.
        kept: what is safe on disk all the same, for the message.

    Raises:
        DiskError: naming the path, the bytes and the free space; other errors pass as they are.
    """
    try:
        yield
    except Exception as error:
        number = _refused(error)
        if number is None:
            raise
        free = _free(pathlib.Path(path))
        raise DiskError(
            number,
            f"{os.strerror(number)}: {path}{f' of {nbytes:,} bytes' if nbytes else ''} could not be written"
            f" ({free:,} bytes are free there){'; ' + kept if kept else ''};"
            " make room and start the same command again",
        ) from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a temporary file that atomically replaces another one.

    So of two runs that write the same file one is read, and never half of one.

    Args:
        path: what is written; its folder is made.

    Yields:
        The file to write, with the same suffix.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sync_tree(folder: pathlib.Path) -> None:
    """Brings every file of a folder, and the folder's own entries, to disk."""
    for path in [*folder.rglob("*"), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refused(error: BaseException | None) -> int | None:
    """The error number of a disk's refusal among an error and its causes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _ERRNOS:
            return error.errno
        text = str(error).lower()
        for words, number in _WORDS.items():
            if re.search(rf"\b{re.escape(words)}\b", text):
                return number
        error = error.__cause__ or error.__context__
    return None


def _free(path: pathlib.Path) -> int:
    """Free bytes where a path lies or would lie."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


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
    """Refuses a path that cannot be passed to the libraries that read data sets.

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
