"""Settings that every test shares, in the environment, so that started processes share them too."""

import os
import pathlib

_ROOT = pathlib.Path(__file__).resolve().parent.parent

# Before the first import of jax, which reads them once.
for _name, _value in {
    "JAX_PLATFORMS": "cpu",
    # Two devices: what runs over a mesh is tested as such, on any machine. In doubles, where equal
    # numbers are told from nearly equal ones, eight.
    "JAX_NUM_CPU_DEVICES": "8" if os.environ.get("JAX_ENABLE_X64") else "2",
    # One cache for all workers and runs, down to the smallest function: compiling takes longest.
    "JAX_COMPILATION_CACHE_DIR": str(_ROOT / ".cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    # A float32 that meets a bfloat16 or a NumPy float64 by accident is an error.
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    # The workers already use every core.
    "OMP_NUM_THREADS": "1",
}.items():
    os.environ.setdefault(_name, _value)

from piapdf_jax.runtime.allocator import keep_freed_memory  # noqa: E402

keep_freed_memory()

import jax  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402

# TFDS and Orbax read absl flags, which only absl's own main would parse.
flags.FLAGS.mark_as_parsed()


@pytest.fixture(autouse=True)
def _float_width(request: pytest.FixtureRequest) -> None:
    """Fails a test of 64-bit floats in a process of 32-bit ones, where it would mean nothing."""
    wide = any(request.node.get_closest_marker(name) for name in ("x64", "parity"))
    if wide and not jax.config.jax_enable_x64:
        pytest.fail("this test needs 64-bit floats: run it with JAX_ENABLE_X64=1")
