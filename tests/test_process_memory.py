"""Freed memory stays with the process, so that steps do not fault it in again; and mappings of memory are few."""

import os
import platform
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from piapdf_jax import process_memory

FAULTS = """
import resource, sys
from piapdf_jax.process_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
import jax, jax.numpy as jnp
step = jax.jit(lambda x: jnp.outer(x, x))  # 64 MiB: more than glibc keeps of its own accord
x = jax.block_until_ready(jnp.ones(4096))
for n in range(24):
    if n == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(choice: str, code: str = FAULTS) -> int:
    told = subprocess.run(
        [sys.executable, "-c", code, choice], capture_output=True, text=True, check=True
    )
    return int(told.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_steps_no_longer_fault_their_buffers_in():
    assert page_faults("keep") < page_faults("default") / 10


HEAP = """
import resource, sys
from piapdf_jax.process_memory import keep_heap
if sys.argv[1] == "keep":
    assert keep_heap()
import numpy
for n in range(24):
    if n == 4:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    numpy.full(2**24, n, numpy.float32)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
assert "jax" not in sys.modules
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_the_heap_keeps_the_buffers_of_another_library_without_loading_jax():
    assert page_faults("keep", HEAP) < page_faults("default", HEAP) / 10


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not process_memory.keep_heap()
    assert not process_memory.keep_freed_memory()


@pytest.mark.parametrize(("chosen", "expected"), [("cpu", True), ("cuda,cpu", False)])
def test_the_users_choice_of_platform_counts(monkeypatch, chosen, expected):
    monkeypatch.setitem(os.environ, "JAX_PLATFORMS", chosen)
    assert process_memory.cpu_alone() is expected


def test_a_gpu_plugin_is_seen_without_starting_it(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ["xla_cuda12"])
    assert not process_memory.cpu_alone()


@pytest.mark.parametrize("lines, most, gone", [(21, 20, True), (20, 20, False), (None, 0, False)])
def test_functions_are_let_go_above_the_bound_alone(tmp_path, monkeypatch, lines, most, gone):
    maps = tmp_path / "maps"
    if lines is not None:
        maps.write_text("7f00-7f01 r-xp\n" * lines)
    monkeypatch.setattr(process_memory, "_MAPS", maps)
    double = jax.jit(lambda x: x * 2)
    double(jnp.ones(3))
    assert process_memory.count_mappings() == lines
    assert process_memory.keep_few_mappings(most) is gone
    assert double._cache_size() == (0 if gone else 1)
    assert double(jnp.ones(3)).tolist() == [2, 2, 2]


def test_linux_tells_how_many_there_are():
    if not process_memory._MAPS.exists():
        pytest.skip("not Linux")
    assert 20 < process_memory.count_mappings() < 65_530
