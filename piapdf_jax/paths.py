"""Paths given by users: local, with ``~`` expanded; unusable ones are refused in one line.

The standard library alone, for readers, builders and the launcher.
"""

import errno
import os
import pathlib
import re
import stat

#: Names the directory of data sets; TFDS reads it too.
DATA_VARIABLE = "TFDS_DATA_DIR"
_DATA_DEFAULT = "~/tensorflow_datasets"
_CACHE_VARIABLE = "XDG_CACHE_HOME"
#: Addresses such as gs://bucket/x, as pathlib shortens them too, and Windows' drives.
_ADDRESS = re.compile(r"://|^[A-Za-z][A-Za-z0-9+.-]*:[/\\]")


class PathError(ValueError):
    """A path cannot be used; the message names the flag, key or variable, the value and what is wrong."""


class NoHome(PathError):
    """A path begins with ``~`` and there is no such home directory."""


def local_path(text: str | os.PathLike[str], what: str) -> pathlib.Path:
    """Returns the absolute path that a user's text stands for, ``~`` and ``~user`` expanded.

    Args:
        text: as it was given.
        what: gave it, for messages: a flag, a key, a variable.

    Returns:
        The path, whether or not anything is there.

    Raises:
        NoHome: for the home of somebody who has none.
        PathError: for an address such as ``gs://bucket/x``, for no text, and for a NUL in it.
    """
    text = os.fspath(text)
    if not text or "\0" in text:
        raise PathError(f"{what}={text!r} is not a path: name a file or folder")
    if _ADDRESS.search(text):
        raise PathError(
            f"{what}={text} is not a path on this machine, and nothing else is read or written: mount"
            " that place, or copy what lies there"
        )
    expanded, user = os.path.expanduser(text), text.partition("/")[0][1:]
    if text.startswith("~") and (
        expanded.startswith("~") or (not user and os.environ.get("HOME") == "")
    ):
        reason = f"there is no user {user!r}" if user else "HOME is not set"
        raise NoHome(f"{what}={text}: no home directory is known ({reason}), name the path in full")
    return pathlib.Path(expanded).absolute()


def local_file(text: str | os.PathLike[str], what: str) -> pathlib.Path:
    """Returns ``local_path`` of a file that is there.

    Raises:
        FileNotFoundError: where there is none, or a folder.
        PathError: as ``local_path``.
    """
    path = local_path(text, what)
    if not path.is_file():
        raise FileNotFoundError(
            f"{what}={path} {'is not a file' if path.exists() else 'does not exist'}"
        )
    return path


def local_folder(text: str | os.PathLike[str], what: str) -> pathlib.Path:
    """Returns ``local_path`` of a folder that is there or can be made; raises PathError for a file."""
    path = local_path(text, what)
    _nearest(path, f"{what} {path} cannot be a folder")
    return path


def target_folder(text: str | os.PathLike[str], what: str) -> pathlib.Path:
    """Returns ``local_path`` of a folder that can be written to or made; raises PathError for others."""
    path = local_path(text, what)
    trouble = f"{what} {path} cannot be written to"
    place = _nearest(path, trouble)
    if not os.access(place, os.W_OK | os.X_OK):
        read_only = os.statvfs(place).f_flag & os.ST_RDONLY
        raise _unusable(trouble, errno.EROFS if read_only else errno.EACCES, place)
    return path


def target_file(text: str | os.PathLike[str], what: str) -> pathlib.Path:
    """Returns ``local_path`` of a file that can be written, in a folder that is there; raises PathError."""
    path = local_path(text, what)
    trouble = f"{what} {path} cannot be written"
    if path.is_dir():
        raise _unusable(trouble, errno.EISDIR, path)
    if not path.parent.is_dir():
        raise _unusable(trouble, errno.ENOENT, path.parent)
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise _unusable(trouble, errno.EACCES, path)
    return path


def data_dir(given: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Returns the directory of data sets, the same for builders and launcher.

    Args:
        given: value of ``--data_dir``; None takes ``TFDS_DATA_DIR``, and where that is not set or
            empty, ``~/tensorflow_datasets``.

    Raises:
        PathError: as ``local_folder``.
    """
    if given is not None:
        return local_folder(given, "--data_dir")
    named = os.environ.get(DATA_VARIABLE)
    if named:
        return local_folder(named, DATA_VARIABLE)
    try:
        return local_folder(_DATA_DEFAULT, "--data_dir")
    except NoHome as error:
        raise NoHome(
            "no home directory is known (HOME is not set), so --data_dir has no default: give it,"
            f" or set {DATA_VARIABLE}"
        ) from error


def cache_folder(name: str) -> pathlib.Path:
    """Returns where one of our caches lies: below ``XDG_CACHE_HOME``, else below ``~/.cache``.

    Args:
        name: of the cache.

    Raises:
        NoHome: where no home directory is known.
    """
    named = os.environ.get(_CACHE_VARIABLE, "")
    # The XDG specification has relative ones ignored.
    root = named if named.startswith("/") else "~/.cache"
    try:
        return local_path(f"{root}/piapdf_jax/{name}", _CACHE_VARIABLE)
    except NoHome as error:
        raise NoHome("no home directory is known (HOME is not set)") from error


def _nearest(path: pathlib.Path, trouble: str) -> pathlib.Path:
    """The folder itself, or the one above it in which the first missing folder would be made."""
    for place in (path, *path.parents):
        try:
            mode = place.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            if place.is_symlink():
                raise PathError(
                    f"{trouble}: {place} is a link to {os.readlink(place)}, which does not exist"
                ) from None
        except OSError as error:
            raise _unusable(trouble, error.errno or errno.EIO, place) from error
        else:
            if not stat.S_ISDIR(mode):
                raise _unusable(trouble, errno.ENOTDIR, place)
            return place
    raise _unusable(trouble, errno.ENOENT, path)


def _unusable(trouble: str, code: int, place: pathlib.Path) -> PathError:
    return PathError(f"{trouble} ({os.strerror(code)}: {place}); name another place")
