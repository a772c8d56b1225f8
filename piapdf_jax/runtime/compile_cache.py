"""The persistent compilation cache: on by default, and rid of entries that cannot be read."""

import logging
import os
import pathlib
import re
import warnings
from typing import Any

import jax

log = logging.getLogger("piapdf.compile_cache")

#: Names another folder; JAX reads it too.
VARIABLE = "JAX_COMPILATION_CACHE_DIR"
_DEFAULT = "~/.cache/piapdf_jax/xla"
_UNREADABLE = re.compile(r"Error reading persistent compilation cache entry for '([^']+)'")


def enable(folder: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Keeps compiled functions on disk; before the first function is compiled.

    JAX warns of an entry that it cannot read (a run was killed while it wrote it), compiles anew,
    and never writes over an entry that is there: so it would warn in every run to come. Here such
    an entry is deleted when JAX warns of it, and the compiled function takes its place.

    Args:
        folder: of the entries; None takes ``JAX_COMPILATION_CACHE_DIR``, else
            ``~/.cache/piapdf_jax/xla``.

    Returns:
        The folder.
    """
    chosen = folder or os.environ.get(VARIABLE) or _DEFAULT
    path = pathlib.Path(chosen).expanduser()
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    warnings.filterwarnings("always", message=_UNREADABLE.pattern)
    show = warnings.showwarning

    def watch(message: Any, *args: Any, **kwargs: Any) -> None:
        found = _UNREADABLE.match(str(message))
        if found is None:
            show(message, *args, **kwargs)
        else:
            _forget(path, found[1])

    warnings.showwarning = watch
    return path


def _forget(folder: pathlib.Path, module: str) -> None:
    """Deletes the entries of a compiled module; the warning tells its name and not which entry."""
    entries = [path for path in folder.glob("*-cache") if path.name.startswith(f"{module}-")]
    for path in entries:
        path.unlink(missing_ok=True)
    log.info("%d unreadable cache entries of %s deleted in %s", len(entries), module, folder)
