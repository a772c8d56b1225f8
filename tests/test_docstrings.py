"""Public docstrings say what a function does: their first word is a verb in the third person."""

import ast
import pathlib
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("piapdf_jax", "experiments", "data_builders")
_WORDS = """
    Accumulates Adds Appends Applies Averages Blocks Brings Builds Calls Changes Checks
    Clears Closes Colors Compares Computes Converts Convolves Copies Corrects Counts Creates
    Cuts Deals Decodes Deletes Describes Develops Draws Drops Encodes Ends Enlarges
    Estimates Evaluates Exits Exports Filters Finds Fits Fixes Flushes Folds Freezes Gates
    Gives Hands Holds Imports Initializes Joins Judges Keeps Lays Leaves Lets Lists Loads
    Logs Looks Makes Maps Measures Merges Mirrors Mixes Moves Multiplies Normalizes Notes
    Numbers Opens Packs Paints Parses Passes Prints Projects Puts Quantizes Raises Reads
    Recomputes Records Refuses Releases Removes Renders Replicates Resizes Restores Returns
    Rounds Runs Samples Saves Says Scores Selects Sends Sets Shows Silences Splits Starts
    Steps Stops Sums Surrounds Syncs Takes Tells Tests Trains Turns Unpacks Updates
    Validates Verifies Waits Warms Writes Yields
"""
VERBS = frozenset(_WORDS.split())
Function = ast.FunctionDef | ast.AsyncFunctionDef


def is_noun(function: Function) -> bool:
    """Whether its docstring says what something is: that of a property."""
    return any("property" in ast.unparse(mark) for mark in function.decorator_list)


def public_functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """Functions of a module, and methods of its classes, by name; a call of an object is public."""
    for node in tree.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if not isinstance(method, Function) or is_noun(method):
                    continue
                if not method.name.startswith("_") or method.name == "__call__":
                    yield f"{node.name}.{method.name}", method


def wrong_in(source: str) -> list[str]:
    """Public functions whose docstring is missing or begins with another word."""
    found = []
    for name, function in public_functions(ast.parse(source)):
        first = (ast.get_docstring(function) or "nothing").split(maxsplit=1)[0]
        if first.rstrip(",.:;") not in VERBS:
            found.append(f"{name} begins with {first!r}")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_public_docstrings_begin_with_a_verb(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = [
        f"{path.relative_to(ROOT).as_posix()}: {line}"
        for path in files
        for line in wrong_in(path.read_text(encoding="utf-8"))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ('def f():\n    """Returns one."""', []),
        ('def f():\n    """Return one."""', ["f begins with 'Return'"]),
        ('def f():\n    """The one."""', ["f begins with 'The'"]),
        ("def f():\n    pass", ["f begins with 'nothing'"]),
        ("def _f():\n    pass", []),
        ('class A:\n    """One."""\n    def f(self):\n        """One."""', ["A.f begins with 'One.'"]),
        ('class A:\n    """One."""\n    def __call__(self):\n        """One."""',
         ["A.__call__ begins with 'One.'"]),
        ('class A:\n    """One."""\n    @property\n    def f(self):\n        """One."""', []),
        ("class _A:\n    def f(self):\n        pass", []),
    ],
)  # fmt: skip
def test_what_is_found(source, wrong):
    assert wrong_in(source) == wrong
