"""Mappings of memory: each compiled function holds some, and Linux ends a process that asks for too many."""

import gc
import logging
import pathlib

import jax

#: Linux's ``vm.max_map_count`` is 65,530 by default; what one training and its scores compile fits in the rest.
MOST = 30_000
_MAPS = pathlib.Path("/proc/self/maps")
log = logging.getLogger("piapdf")


def count() -> int | None:
    """Returns how many mappings this process holds; None where the system does not tell."""
    try:
        return _MAPS.read_bytes().count(b"\n")
    except OSError:
        return None


def keep_few(most: int = MOST) -> bool:
    """Lets go of compiled functions where the process holds too many mappings; they compile again on use.

    Args:
        most: mappings that may stay.

    Returns:
        Whether they were let go; never where the system does not tell how many there are.
    """
    held = count()
    if held is None or held <= most:
        return False
    jax.clear_caches()
    gc.collect()
    log.debug("%d mappings of memory: compiled functions were let go", held)
    return True
