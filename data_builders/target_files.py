"""Files of a build in its target directory: written atomically, by one process, cleaned up after a crash."""

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import pathlib
import secrets
import shutil
import sys
from collections.abc import Iterator

import numpy as np

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CHECKSUM = 32  # bytes of SHA-256 behind the archive, whose own checksums leave out its headers


class TargetError(OSError):
    """The target directory is full or cannot be written to; the message says what to do."""


def write_arrays(path: pathlib.Path, **arrays: np.ndarray) -> None:
    """Writes arrays into one file, which is there either whole or not at all.

    Args:
        path: of the file; its folder is made.
        arrays: by name; none of objects.

    Raises:
        OSError: names the file.
    """
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)  # pyright: ignore[reportArgumentType]
    path.parent.mkdir(parents=True, exist_ok=True)
    # No process number: machines that share the directory count theirs alike.
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    data = packed.getvalue()
    try:
        # In two writes, so that what is large is not copied again.
        with part.open("wb") as file:
            file.write(data)
            file.write(hashlib.sha256(data).digest())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """Reads what ``write_arrays`` wrote; None for a file that is missing, torn or anything else.

    Nothing in the file is executed, and a checksum covers all of it.
    """
    try:
        data = path.read_bytes()
        if hashlib.sha256(data[:-_CHECKSUM]).digest() != data[-_CHECKSUM:]:
            return None
        with np.lib.npyio.NpzFile(io.BytesIO(data[:-_CHECKSUM]), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception:  # zipfile and NumPy raise all kinds at a file that was made to trouble them
        return None


@contextlib.contextmanager
def alone(lock: pathlib.Path, *, waiting: str) -> Iterator[bool]:
    """Holds a lock that ends with the process, however that ends.

    Args:
        lock: file of the lock; made where it is missing.
        waiting: what to say, on standard error, while another process holds it.

    Yields:
        Whether it is held; False on a file system without locks.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        held = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            held = False
        yield held


def remove_leftovers(
    data_dir: pathlib.Path, name: str, folder: pathlib.Path, kept: pathlib.Path
) -> None:
    """Removes what a build that was killed has left half-written; only for who is ``alone``.

    Args:
        data_dir: directory of data sets.
        name: of the builder.
        folder: where its finished data set will be.
        kept: where its finished units are, beside those of other recipes, which go too.
    """
    cache = data_dir / ".cache"
    leftovers = [
        *(path for path in kept.parent.glob("*") if path != kept),
        *kept.glob("*.part"),
        *folder.parent.glob(f"incomplete.*_{folder.name}"),
        *cache.glob(f"landmarks/{name}/*/*.part"),
        *cache.glob(f"frames/{name}/*.part"),
    ]
    for path in leftovers:
        remove(path)


def check_links(root: pathlib.Path) -> None:
    """Looks for links below a folder that lead out of it, as an unpacked archive may hold them.

    Args:
        root: the folder; it may be a link itself.

    Raises:
        ValueError: names the first such link and where it leads.
    """
    home = f"{os.path.realpath(root)}/"
    pending = [os.fspath(root)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    if not f"{target}/".startswith(home):
                        raise ValueError(
                            f"{entry.path} is a link to {target}, outside of --manual_dir {root}: put"
                            " the files in its place, or say --follow_links if you made it yourself"
                        )
                elif entry.is_dir():
                    pending.append(entry.path)


def remove(path: pathlib.Path) -> None:
    """Removes a file or a folder with all it holds, as far as it is there and may be removed."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def explained(data_dir: pathlib.Path) -> Iterator[None]:
    """Turns errors of the target directory into one that says what to do.

    Args:
        data_dir: the target.

    Raises:
        TargetError: where it is full, read-only or no directory. Other errors pass.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        code = error.errno if isinstance(error, OSError) else None
        # ArrayRecord's writer and TFDS put the system's words into errors of their own.
        told = [c for c in _NO_ROOM if code == c or os.strerror(c) in str(error)]
        if told:
            raise TargetError(
                f"{os.strerror(told[0])}: {data_dir} takes twice the size of the data set while it"
                " is built; make room there, then the same command goes on where it stopped"
            ) from error
        named = str(getattr(error, "filename", None) or "")
        if code and _is_target(data_dir, named):
            raise TargetError(
                f"--data_dir {data_dir} cannot be written to ({os.strerror(code)}: {named});"
                " give a directory on a disk with write access"
            ) from error
        raise


def _is_target(data_dir: pathlib.Path, named: str) -> bool:
    root = os.path.abspath(data_dir)
    return bool(named) and (os.path.abspath(named) + "/").startswith(root + "/")
