"""docs/faults.md and the tests agree: every cell is filled, every test that it names exists and is of that builder."""

import ast
import importlib
import inspect
import pathlib
import re

import pytest

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "faults.md"
BUILDERS = ["bp4d", "disfa", "afew_va", "casia_webface", "lfw_pairs", "own"]
FAULTS = [
    "truncated picture",
    "empty csv or label file",
    "csv without the column of an action unit",
    "label that is not a number",
    "label row without its frame",
    "frame without its label row",
    "duplicated frame",
    "landmark list that is not 68 long",
    "unknown subject id",
    "path with letters beyond ASCII",
    "unreadable film",
    "wrong or empty --manual_dir",
    "malformed pairs.txt",
    "folder without pictures",
    "read-only target",
    "full target",
    "kill -9 in the middle",
]
#: Opens the second table, of faults that are not one builder's.
FIELD = "\n## Faults from the field\n"
KINDS = [
    "Wrong numbers without a word",
    "Work lost or blocked",
    "Not where the user said",
    "A user's mistake is one line and exit code 2",
    "Pictures and folders as they are in the wild",
    "Reading for others",
]
_LINK = re.compile(r"\[([^\]]*)\]\[(\w+)\]")
_TEST = re.compile(r"(test_\w+\.py)::(test_\w+)")
_INLINE = re.compile(r"\[(test_\w+\.py)::(test_\w+)\]\((\S+)\)")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_REASON = re.compile(r"cannot occur: \S+ \S+.*")


def table(text):
    """Rows of cells, and {reference: target} of the links below the table."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return rows, dict(re.findall(r"^\[(\w+)\]: (\S+)$", text, re.MULTILINE))


def covers(module, test, builder):
    """Whether a test that is run by name of the builder is run for this one."""
    for mark in getattr(getattr(module, test), "pytestmark", []):
        if mark.name == "parametrize" and mark.args[0] == "name":
            names = [getattr(value, "values", (value,))[0] for value in mark.args[1]]
            return builder in names or not set(names) & set(BUILDERS)
    return True


def defined_in(path):
    """Names of the tests of a file, whether or not what they need is installed."""
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, _FUNCTIONS)}


def complaint_of_the_field(cell):
    """What is wrong with the tests of a fault from the field; "" where nothing is."""
    found = _INLINE.findall(cell)
    if not found or _INLINE.sub("", cell).strip(", "):
        return f"no list of tests: {cell!r}"
    for file, name, target in found:
        path = PAGE.parent / target
        if path.name != file or not path.is_file():
            return f"the link of {file}::{name} leads to {path}"
        if name not in defined_in(path):
            return f"{file}::{name} does not exist"
    return ""


def complaint(cell, builder, targets):
    """What is wrong with a cell; "" where nothing is."""
    links = _LINK.findall(cell)
    if not links:
        return "" if _REASON.fullmatch(cell) else f"neither a test nor a reason: {cell!r}"
    for text, reference in links:
        named = _TEST.fullmatch(text)
        if named is None:
            return f"{text!r} is not file::test_name"
        path = PAGE.parent / targets.get(reference, "")
        if path.name != named[1] or not path.is_file():
            return f"the link of {text!r} leads to {path}"
        if named[2] not in defined_in(path):
            return f"{text!r} does not exist"
        if not covers(importlib.import_module(path.stem), named[2], builder):
            return f"{text!r} does not run for {builder}"
    return ""


def test_every_cell_names_a_test_that_exists_or_a_reason():
    (header, _, *rows), targets = table(PAGE.read_text().partition(FIELD)[0])
    assert header == ["fault", *BUILDERS]
    assert [row[0] for row in rows] == FAULTS
    assert {len(row) for row in rows} == {1 + len(BUILDERS)}
    wrong = [
        f"{row[0]}, {builder}: {said}"
        for row in rows
        for builder, cell in zip(BUILDERS, row[1:], strict=True)
        if (said := complaint(cell, builder, targets))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_test_of_faults_stands_in_the_table():
    module = importlib.import_module("test_faults")
    tests = [name for name, _ in inspect.getmembers(module, inspect.isfunction)]
    named = {test for _, test in _TEST.findall(PAGE.read_text())}
    assert {name for name in tests if name.startswith("test_")} <= named


def test_every_fault_from_the_field_names_tests_that_exist():
    (header, _, *rows), _ = table(PAGE.read_text().partition(FIELD)[2])
    assert header == ["kind", "fault", "what happens", "test"]
    assert {len(row) for row in rows} == {4}
    # Each kind in one piece, in the order of the list, none left out.
    assert list(dict.fromkeys(row[0] for row in rows)) == KINDS
    assert [KINDS.index(row[0]) for row in rows] == sorted(KINDS.index(row[0]) for row in rows)
    assert len({row[1] for row in rows}) == len(rows)
    wrong = [f"{row[1]}: {said}" for row in rows if (said := complaint_of_the_field(row[3]))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            "[test_target_files.py::test_a_read_only_disk_is_named](../tests/data_builders/test_target_files.py)",
            "",
        ),
        ("", "no list of tests"),
        ("cannot occur: it reads no films", "no list of tests"),
        (
            "[test_target_files.py::test_none](../tests/data_builders/test_target_files.py)",
            "does not exist",
        ),
        ("[test_target_files.py::test_none](../tests/runtime/test_target_files.py)", "leads to"),
    ],
)
def test_a_wrong_row_of_the_field_is_found(cell, said):
    found = complaint_of_the_field(cell)
    assert said in found and bool(said) == bool(found)


GOOD = "counted: [test_faults.py::test_truncated_picture_is_counted][faults]"


@pytest.mark.parametrize(
    ("cell", "builder", "said"),
    [
        (GOOD, "bp4d", ""),
        ("cannot occur: it reads no films", "bp4d", ""),
        (GOOD, "lfw_pairs", "does not run for lfw_pairs"),
        ("", "bp4d", "neither a test nor a reason"),
        ("cannot occur:", "bp4d", "neither a test nor a reason"),
        ("[test_faults.py][faults]", "bp4d", "is not file::test_name"),
        ("[test_faults.py::test_none][faults]", "bp4d", "does not exist"),
        (GOOD.replace("][faults]", "][bp4d]"), "bp4d", "leads to"),
        (GOOD.replace("][faults]", "][nowhere]"), "bp4d", "leads to"),
        (f"{GOOD}, [test_faults.py::test_none][faults]", "bp4d", "does not exist"),
    ],
)
def test_a_wrong_cell_is_found(cell, builder, said):
    targets = {"faults": "../tests/data_builders/test_faults.py", "bp4d": "decisions.md"}
    found = complaint(cell, builder, targets)
    assert said in found and bool(said) == bool(found)
