"""Names that ``import piapdf_jax`` hands on lazily, as a type checker sees them."""

import ast
import pathlib

import piapdf_jax


def test_names_that_load_on_first_use_are_typed():
    tree = ast.parse(pathlib.Path(piapdf_jax.__file__).read_text(encoding="utf-8"))
    (typed,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(typed.test) == "TYPE_CHECKING"
    homes = {}
    for node in typed.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            # A name as itself: that is how a checker knows that it is handed on.
            assert alias.name == alias.asname
            homes[alias.name] = node.module
    assert homes == piapdf_jax._HOMES
