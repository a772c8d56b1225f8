"""The compilation cache: entries that cannot be read are replaced, folders that strangers write to are not used."""

import os
import shutil
import subprocess
import sys

import pytest
from hostile import stranger

from piapdf_jax import compile_cache

PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
logging.getLogger("jax").setLevel(logging.ERROR)
import jax, jax.numpy as jnp
from piapdf_jax import compile_cache

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
        "import sys, warnings; from piapdf_jax import compile_cache;"
        "compile_cache.enable(sys.argv[1]); warnings.warn('mind the gap')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "mind the gap" in done.stderr


@pytest.mark.parametrize(
    "spoiled", ["folder", "entry", "link", "stranger", "entry of a stranger", "parent", "file"]
)
def test_a_cache_that_strangers_may_write_to_is_not_used(tmp_path, monkeypatch, spoiled):
    folder = tmp_path / "above" / "xla"
    assert compile_cache._distrust(folder) is None
    assert folder.stat().st_mode & 0o077 == 0
    entry = folder / "jit_f-123-cache"
    entry.write_bytes(b"code")
    folder.chmod(0o770)  # a group's write access is the user's choice
    assert compile_cache._distrust(folder) is None
    named = entry if "entry" in spoiled else folder
    if spoiled in ("folder", "entry"):
        named.chmod(0o777)
    elif "stranger" in spoiled:
        stranger(monkeypatch, named)
        # Where the reader is not root, it is the reader who is another: then all is a stranger's.
        named = named if os.geteuid() == 0 else folder
    elif spoiled == "link":
        shutil.move(entry, tmp_path / "outside")
        entry.symlink_to(tmp_path / "outside")
        named = entry
    elif spoiled == "parent":
        named = folder.parent
        named.chmod(0o777)
    else:
        shutil.rmtree(folder)
        folder.write_bytes(b"")
    reasons = {"link": "is a link", "parent": "may replace", "file": "File exists"}
    reasons |= {"folder": "may write to", "entry": "may write to"}
    told = compile_cache._distrust(folder) or ""
    assert str(named) in told and reasons.get(spoiled, "belongs to user") in told


def test_an_entry_of_a_stranger_is_not_run(tmp_path, monkeypatch):
    """The whole way: the variable names the folder, JAX reads that by itself, and one line is said."""
    folder = tmp_path / "xla"
    monkeypatch.setenv(compile_cache.VARIABLE, str(folder))
    run("")
    told, _ = run("")
    assert "not kept" not in told and not told.endswith("hits 0\n")
    before = sorted(os.listdir(folder))
    folder.chmod(0o777)
    told, errors = run("")
    warning, last = told.splitlines()
    assert str(folder) in warning and compile_cache.VARIABLE in warning and not errors
    assert last.startswith("value ") and last.endswith("hits 0")
    assert sorted(os.listdir(folder)) == before


def test_an_address_is_taken_as_it_is(monkeypatch):
    told = {}
    monkeypatch.setattr(compile_cache.jax.config, "update", told.__setitem__)
    assert compile_cache.enable("gs://bucket/xla") is None
    assert told["jax_compilation_cache_dir"] == "gs://bucket/xla"


@pytest.fixture
def taken(monkeypatch):
    """What JAX is told, by name; nothing is watched."""
    told = {}
    monkeypatch.setattr(compile_cache.jax.config, "update", told.__setitem__)
    monkeypatch.setattr(compile_cache, "_watch", lambda path: None)
    return told


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({}, "home/.cache/piapdf_jax/xla"),
        ({"XDG_CACHE_HOME": "{here}/caches"}, "caches/piapdf_jax/xla"),
        ({"XDG_CACHE_HOME": "caches"}, "home/.cache/piapdf_jax/xla"),  # relative: to be ignored
        ({compile_cache.VARIABLE: "~/xla"}, "home/xla"),
        ({compile_cache.VARIABLE: ""}, "home/.cache/piapdf_jax/xla"),
        ({compile_cache.VARIABLE: "xla"}, "xla"),
    ],
)
def test_the_cache_lies_where_variables_say(tmp_path, monkeypatch, taken, variables, where):
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", compile_cache.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(here=tmp_path))
    assert compile_cache.enable() == tmp_path / where
    assert taken["jax_compilation_cache_dir"] == str(tmp_path / where)
    assert (tmp_path / where).is_dir() and not (tmp_path / "~").exists()


@pytest.mark.parametrize("variable", ["", "~/xla"])
def test_without_a_home_nothing_is_kept_and_the_run_goes_on(monkeypatch, taken, caplog, variable):
    monkeypatch.setenv("HOME", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv(compile_cache.VARIABLE, variable)
    assert compile_cache.enable() is None
    assert taken == {"jax_compilation_cache_dir": None}
    (line,) = caplog.messages
    assert "no home directory is known" in line and compile_cache.VARIABLE in line
