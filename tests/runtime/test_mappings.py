"""Compiled functions are let go where a process holds too many mappings of memory, and not before."""

import jax
import jax.numpy as jnp
import pytest

from piapdf_jax.runtime import mappings


@pytest.mark.parametrize("lines, most, gone", [(21, 20, True), (20, 20, False), (None, 0, False)])
def test_functions_are_let_go_above_the_bound_alone(tmp_path, monkeypatch, lines, most, gone):
    maps = tmp_path / "maps"
    if lines is not None:
        maps.write_text("7f00-7f01 r-xp\n" * lines)
    monkeypatch.setattr(mappings, "_MAPS", maps)
    double = jax.jit(lambda x: x * 2)
    double(jnp.ones(3))
    assert mappings.count() == lines
    assert mappings.keep_few(most) is gone
    assert double._cache_size() == (0 if gone else 1)
    assert double(jnp.ones(3)).tolist() == [2, 2, 2]


def test_linux_tells_how_many_there_are():
    if not mappings._MAPS.exists():
        pytest.skip("not Linux")
    assert 20 < mappings.count() < 65_530
