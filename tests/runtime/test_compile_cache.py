"""Entries of the compilation cache that cannot be read are replaced, whatever is wrong with them."""

import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
logging.getLogger("jax").setLevel(logging.ERROR)
import jax, jax.numpy as jnp
from piapdf_jax.runtime import compile_cache

hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.endswith("/cache_hits")))
compile_cache.enable(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

def fold(x):
    return jnp.tanh(x @ x).sum()

print("value", float(jax.jit(fold)(jnp.eye(3))), "hits", sum(hits))
"""


def run(folder):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def nothing(data: bytes) -> bytes:
    return b""


def garbage(data: bytes) -> bytes:
    return b"\x00" * len(data)


@pytest.mark.parametrize("spoil", [cut, nothing, garbage])
def test_an_unreadable_entry_is_deleted_and_written_anew(tmp_path, spoil):
    first, _ = run(tmp_path)
    (entry,) = tmp_path.glob("jit_fold-*-cache")
    whole = entry.read_bytes()
    entry.write_bytes(spoil(whole))
    told, errors = run(tmp_path)
    assert "1 unreadable cache entries of jit_fold deleted" in told and not errors
    assert len(entry.read_bytes()) > len(whole) // 2
    again, errors = run(tmp_path)
    assert "unreadable" not in again and not errors
    values = [text.rsplit("value ", 1)[1].split()[0] for text in (first, told, again)]
    assert values[0] == values[1] == values[2]
    hits = [int(text.split()[-1]) for text in (first, told, again)]
    assert hits[2] > hits[1] >= hits[0] == 0


def test_other_warnings_are_shown(tmp_path):
    code = (
        "import sys, warnings; from piapdf_jax.runtime import compile_cache;"
        "compile_cache.enable(sys.argv[1]); warnings.warn('mind the gap')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "mind the gap" in done.stderr
