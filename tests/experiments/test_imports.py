"""What a source imports: everything that runs, and nothing that only a type checker reads."""

import ast

import pytest

from experiments.imports import imported


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a.b, c", ["a.b", "c"]),
        ("from a import b", ["a", "a.b"]),
        ("from . import b", ["p.q", "p.q.b"]),
        ("from ..r import b", ["p.r", "p.r.b"]),
        ("def f():\n    import a", ["a"]),
        ("if x:\n    import a\nelse:\n    import b", ["a", "b"]),
        ("if TYPE_CHECKING:\n    import a", []),
        ("if typing.TYPE_CHECKING:\n    import a\nelse:\n    import b", ["b"]),
        ("if not TYPE_CHECKING:\n    import a", ["a"]),
        ("from piapdf_jax import pi_loss",
         ["piapdf_jax", "piapdf_jax.pi_loss", "piapdf_jax.losses"]),
    ],
)  # fmt: skip
def test_what_runs_is_imported(source, names):
    assert list(imported(ast.parse(source), "p.q.module", False)) == names


def test_a_package_imports_from_itself():
    assert list(imported(ast.parse("from . import b"), "p.q", True)) == ["p.q", "p.q.b"]
