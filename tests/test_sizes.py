"""Files and functions stay short enough to be read in one go."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
#: Lines of a file, by folder.
FOLDERS = {
    **dict.fromkeys(("piapdf_jax", "experiments", "data_builders", "benchmarks", "examples"), 300),
    "tests": 500,
}
#: One file that is to be read, or copied into another project, alone.
FILES = {"piapdf_jax/feedback.py": 450}
#: Lines of a function without decorators and docstring: what a caller reads does not count.
FUNCTION = 40


def long_functions(source: str) -> list[str]:
    """Functions that are too long, each with its lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            found += [f"{node.name}: {lines}"] * (lines > FUNCTION)
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_and_functions_are_short(folder):
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    wrong = []
    for path in paths:
        name, source = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        lines = len(source.splitlines())
        if lines > FILES.get(name, FOLDERS[folder]):
            wrong.append(f"{name}: {lines} lines")
        wrong += [f"{name}: {line} lines" for line in long_functions(source)]
    assert not wrong


@pytest.mark.parametrize("lines, count", [(FUNCTION, 0), (FUNCTION + 1, 1)])
def test_a_long_function_is_found(lines, count):
    body = "".join(f"    x = {k}\n" for k in range(lines - 1))
    doc = '    """Says\n\n    much.\n    """\n'
    for source in (f"def f():\n{body}", f"@a\n@b\ndef f():\n{doc}{body}"):
        assert len(long_functions(source)) == count
