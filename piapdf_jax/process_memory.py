"""Memory settings of a process on a CPU: heap kept by the C library, and the number of mappings that Linux limits."""

import ctypes
import gc
import importlib.metadata
import importlib.util
import logging
import os
import pathlib
import platform
from typing import Any

# Names and numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
# The largest size_t once glibc has widened it: a plain int would stop at 2 GiB, which a step exceeds.
_NEVER = -1
#: Linux's ``vm.max_map_count`` is 65,530 by default; what one training and its scores compile fits in the rest.
MOST_MAPPINGS = 30_000
_MAPS = pathlib.Path("/proc/self/maps")
log = logging.getLogger("piapdf")


def cpu_alone() -> bool:
    """Returns whether JAX will run on the CPU, without starting it."""
    chosen = os.environ.get("JAX_PLATFORMS", "")
    if chosen:
        return chosen == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None


def keep_heap() -> bool:
    """Lets the C library keep freed memory of any size on the heap, for whatever runs in this process.

    By default glibc returns every large buffer to the kernel when it is freed. A step allocates its
    temporary buffers anew each time, so the kernel clears the same hundreds of megabytes in every
    step, which takes as long as the arithmetic of a small network. Numbers do not change; the
    process keeps the most memory it ever held. Loads nothing: it serves other frameworks too.

    Returns:
        Whether the C library took the settings; False where it is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, _NEVER)])


def keep_freed_memory() -> bool:
    """Lets the memory that a step frees stay with the process; before JAX starts its devices on a CPU.

    Only the heap of the main thread keeps buffers of any size, see ``keep_heap``, so steps run in
    the thread that calls them, when their inputs are ready.

    Returns:
        Whether the C library took the settings; False where it is not glibc.
    """
    import jax

    if platform.libc_ver()[0] != "glibc":
        return False
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return keep_heap()


def await_inputs(*inputs: Any) -> None:
    """Waits for the inputs of a step on a CPU, because a step with pending inputs runs in another thread.

    The heap of that thread keeps no freed memory, see ``keep_freed_memory``.

    Args:
        inputs: pytrees of device arrays.
    """
    import jax

    leaves = jax.tree.leaves(inputs)
    if leaves and next(iter(leaves[0].devices())).platform == "cpu":
        jax.block_until_ready(inputs)


def count_mappings() -> int | None:
    """Returns how many mappings this process holds; None where the system does not tell."""
    try:
        return _MAPS.read_bytes().count(b"\n")
    except OSError:
        return None


def keep_few_mappings(most: int = MOST_MAPPINGS) -> bool:
    """Lets go of compiled functions where the process holds too many mappings; they compile again on use.

    Each compiled function holds some, and Linux ends a process that asks for too many.

    Args:
        most: mappings that may stay.

    Returns:
        Whether they were let go; never where the system does not tell how many there are.
    """
    import jax

    held = count_mappings()
    if held is None or held <= most:
        return False
    jax.clear_caches()
    gc.collect()
    log.debug("%d mappings of memory: compiled functions were let go", held)
    return True
