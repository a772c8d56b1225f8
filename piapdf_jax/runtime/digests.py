"""Digests of values, arrays and Python sources, and differences between configurations."""

import ast
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable

import jax
import numpy as np

from piapdf_jax.types import Json, PyTree


def digest_of(value: Json) -> str:
    """Returns sixteen hexadecimal digits of a value's canonical JSON (sorted keys, SHA-256).

    Args:
        value: what ``json.dumps`` takes; tuples count as lists.

    Raises:
        TypeError: for a value that JSON does not hold.
        ValueError: for NaN and infinities.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def tree_digest(tree: PyTree) -> str:
    """Computes SHA-256 over paths, dtypes, shapes and bytes of leaves: equal digests, bitwise equal trees.

    Args:
        tree: arrays that this process can read.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        host = np.asarray(leaf)
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        digest.update(f"{name} {host.dtype} {host.shape}\n".encode())
        digest.update(np.ascontiguousarray(host).tobytes())
    return digest.hexdigest()


def source_digest(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Computes a digest of Python sources as syntax trees: comments, docstrings and layout do not count.

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


def _canonical(node: object) -> Json:
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


def _is_bare_string(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def differences(there: Json, here: Json, name: str = "") -> list[str]:
    """Returns the fields in which two configurations differ, as ``name is A there, B here``.

    Args:
        there: what JSON holds.
        here: the same, of this run.
        name: of the field that both are.
    """
    if there == here:
        return []
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted({*there, *here}):
            inner = f"{name}.{key}" if name else str(key)
            found += differences(there.get(key), here.get(key), inner)
        return found
    return [f"{name} is {json.dumps(there)} there, {json.dumps(here)} here"]
