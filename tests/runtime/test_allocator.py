"""Freed memory stays with the process, so that steps do not fault it in again."""

import os
import platform
import subprocess
import sys

import pytest

from piapdf_jax.runtime import allocator

FAULTS = """
import resource, sys
from piapdf_jax.runtime.allocator import keep_freed_memory
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
from piapdf_jax.runtime.allocator import keep_heap
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
    assert not allocator.keep_heap()
    assert not allocator.keep_freed_memory()


@pytest.mark.parametrize(("chosen", "expected"), [("cpu", True), ("cuda,cpu", False)])
def test_the_users_choice_of_platform_counts(monkeypatch, chosen, expected):
    monkeypatch.setitem(os.environ, "JAX_PLATFORMS", chosen)
    assert allocator.cpu_alone() is expected


def test_a_gpu_plugin_is_seen_without_starting_it(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ["xla_cuda12"])
    assert not allocator.cpu_alone()
