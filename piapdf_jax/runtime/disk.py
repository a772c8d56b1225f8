"""What a full or broken disk does to a write: an error that names the file and its size."""

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


class DiskError(OSError):
    """A file could not be written because the disk is full, read-only or broken."""


@contextlib.contextmanager
def naming_disk_errors(path: str | os.PathLike[str], nbytes: int, kept: str = "") -> Iterator[None]:
    """Turns a disk's refusal, however deep it lies, into one error that a person can act on.

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
    """Gives a file beside another to write to, which then takes its place at once.

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
