"""Finds what a source file imports, from its syntax tree."""

import ast
from collections.abc import Iterator

import piapdf_jax

_TYPED = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imported(tree: ast.AST, name: str, is_package: bool) -> Iterator[str]:
    """Yields dotted names of what a source imports when it runs: modules, and names of modules that may be modules.

    Args:
        tree: of the source.
        name: of its module.
        is_package: whether it is an ``__init__.py``.
    """
    parts = name.split(".")
    for node in _nodes_that_run(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = parts[: len(parts) - node.level + is_package]
                base = ".".join(filter(None, (*above, base)))
            yield base
            for alias in node.names:
                yield f"{base}.{alias.name}"
                # Names that this package loads when they are first used.
                if base == piapdf_jax.__name__ and alias.name in piapdf_jax._HOMES:
                    yield piapdf_jax._HOMES[alias.name]


def _nodes_that_run(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node but what only a type checker reads: no number rests on that."""
    yield node
    below = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test) in _TYPED:
        below = iter(node.orelse)
    for child in below:
        yield from _nodes_that_run(child)
