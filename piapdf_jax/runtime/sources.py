"""Digest of Python sources, by what they say and not by how they are laid out."""

import ast
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from piapdf_jax.runtime.exports import digest_of


def source_digest(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Digest of Python sources as syntax trees: comments, docstrings and layout do not count.

    Args:
        paths: files, in any order; a file counts under its name and its folder's.

    Returns:
        Sixteen hexadecimal digits, the same on every version of Python.

    Raises:
        FileNotFoundError: for a file that is not there.
        SyntaxError: for one that is not Python.
    """
    trees = {}
    for path in map(pathlib.Path, paths):
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        trees[f"{path.resolve().parent.name}/{path.name}"] = _canonical(tree)
    return digest_of(trees)


def _canonical(node: Any) -> Any:
    """A syntax tree as lists, without empty fields: versions of Python differ in those."""
    if isinstance(node, ast.AST):
        fields = [
            [name, _canonical(value)]
            for name, value in ast.iter_fields(node)
            if value is not None and value != [] and name not in ("kind", "type_ignores")
        ]
        return [type(node).__name__, *fields]
    if isinstance(node, list):
        return [_canonical(item) for item in node if not _is_bare_string(item)]
    return repr(node)


def _is_bare_string(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
