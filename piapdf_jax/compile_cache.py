"""The persistent compilation cache: on by default, in a trusted folder, with unreadable entries deleted."""

import logging
import os
import pathlib
import re
import stat
import warnings
from typing import Any

import jax

from piapdf_jax import paths

log = logging.getLogger("piapdf.compile_cache")

#: Names another folder; JAX reads it too.
VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")


def enable(folder: str | os.PathLike[str] | None = None) -> pathlib.Path | None:
    """Keeps compiled functions on disk; before the first function is compiled.

    Entries are machine code that JAX loads, so whoever writes one runs it here. A folder is used
    only where it and its files belong to this user or root, the world may write to none of them,
    and nobody may put another folder in its place. Write access of a group is no hindrance: where
    everybody has a group of their own it is the usual setting, else it is the user's choice.

    JAX warns of an entry that it cannot read (a run was killed while it wrote it), compiles anew,
    and never writes over an entry that is there: so it would warn in every run to come. Here such
    an entry is deleted when JAX warns of it, and the compiled function takes its place.

    Args:
        folder: of the entries; None takes ``JAX_COMPILATION_CACHE_DIR``, else
            ``piapdf_jax/xla`` in ``XDG_CACHE_HOME`` or ``~/.cache``. Made, for this user alone,
            where it is not there. An address such as ``gs://bucket/xla`` is taken as it is: its
            owner decides who writes.

    Returns:
        The folder; None for an address, and where a warning says why nothing is kept.
    """
    chosen = os.fspath(folder or os.environ.get(VARIABLE) or "")
    path, reason = (None, None) if "://" in chosen else _folder(chosen)
    if reason:
        log.warning(
            "compiled functions are not kept in %s: %s; name a folder of your own in %s",
            *(path or chosen or "~/.cache", reason, VARIABLE),
        )
        # JAX has read the variable by itself.
        jax.config.update("jax_compilation_cache_dir", None)
        return None
    jax.config.update("jax_compilation_cache_dir", str(path or chosen))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if path:
        _watch(path)
    return path


def _folder(chosen: str) -> tuple[pathlib.Path | None, str | None]:
    """The folder that is meant, and why it is not used."""
    try:
        path = paths.local_path(chosen, VARIABLE) if chosen else paths.cache_folder("xla")
    except paths.PathError as error:
        return None, str(error)
    return path, _distrust(path)


def _distrust(path: pathlib.Path) -> str | None:
    """Why entries of a folder cannot be trusted, or None; the folder is made where it is missing."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # What a link leads to counts, and the folders on the way to that.
        real = path.resolve(strict=True)
        for above in real.parents:
            if _world_writes(above.stat()) and not above.stat().st_mode & stat.S_ISVTX:
                return f"everybody may replace folders in {above} (chmod o-w)"
        for entry in (real, *real.iterdir()):
            try:
                state = entry.lstat()
            except FileNotFoundError:  # another run has just deleted it
                continue
            if state.st_uid not in (os.geteuid(), 0):
                return f"{entry} belongs to user {state.st_uid}, not to you or root (chown, or rm)"
            if stat.S_ISLNK(state.st_mode):
                return f"{entry} is a link to another place (rm)"
            if _world_writes(state):
                return f"everybody may write to {entry} (chmod o-w)"
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    return None


def _world_writes(state: os.stat_result) -> bool:
    return bool(state.st_mode & stat.S_IWOTH)


def _watch(path: pathlib.Path) -> None:
    """Deletes entries that JAX warns of, and shows all other warnings."""
    warnings.filterwarnings("always", message=_UNREADABLE.pattern)
    show = warnings.showwarning

    def watch(message: Any, *args: Any, **kwargs: Any) -> None:
        found = _UNREADABLE.match(str(message))
        if found is None:
            show(message, *args, **kwargs)
        else:
            _forget(path, found[1])

    warnings.showwarning = watch


def _forget(folder: pathlib.Path, module: str) -> None:
    """Deletes the entries of a compiled module; the warning tells its name and not which entry."""
    entries = [path for path in folder.glob("*-cache") if path.name.startswith(f"{module}-")]
    for path in entries:
        path.unlink(missing_ok=True)
    log.info("%d unreadable cache entries of %s deleted in %s", len(entries), module, folder)
