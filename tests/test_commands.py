"""Commands that messages name: they exist, and work where the user stands."""

import ast
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from started import ROOT

from piapdf_jax import commands
from piapdf_jax.export.formats import FORMATS

FOLDERS = ("piapdf_jax", "experiments", "data_builders", "benchmarks", "examples")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")]
MODULE = re.compile(r"python -m ([\w.]+\w)")
#: What is no module of ours and is there in every environment that the pages make.
OTHERS = {"pip", "venv", "pytest"}
METADATA = """Metadata-Version: 2.1
Name: piapdf_jax
Version: 9
Requires-Dist: numpy>=2.1
Provides-Extra: landmarks
Requires-Dist: dlib-bin>=20.0.1; extra == "landmarks"
Requires-Dist: models[all]<2,>=1 ; (python_version > "3") and extra == 'landmarks'
Requires-Dist: matplotlib>=3.9; extra == "plots"
"""


def texts(source: str):
    """The strings of a source that are no docstrings, and the docstrings."""
    tree = ast.parse(source)
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield id(node) in docs, node.value


def calls(source: str, name: str):
    """First arguments of the calls of a function of ``commands``."""
    for node in ast.walk(ast.parse(source)):
        called = isinstance(node, ast.Call) and ast.unparse(node.func) == f"commands.{name}"
        if called and isinstance(node.args[0], ast.Constant):
            yield node.args[0].value


def wrong(source: str) -> list[str]:
    """What a source tells users to type that need not work where they stand."""
    found = []
    for is_doc, text in texts(source):
        if "pip install -e" in text or "piapdf_jax[" in text:
            found.append(text)
        if "python -m" in text and not is_doc:
            found.append(text)
        found += [name for name in MODULE.findall(text) if not exists(name)]
    return found


def exists(module: str) -> bool:
    return module in OTHERS or importlib.util.find_spec(module) is not None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_names_a_command_that_does_not_work_everywhere(path):
    assert not wrong(path.read_text())


@pytest.mark.parametrize(
    "source",
    [
        "raise E(\"pip install 'piapdf_jax[landmarks]'\")",
        "raise E(f\"no {x}: pip install -e '.[plots]'\")",
        "raise E(f'build it with python -m data_builders.prepare {name}')",
        '"""python -m experiments.piapfd --config=demo"""',
    ],
)
def test_a_command_that_does_not_work_is_found(source):
    assert wrong(source)


def test_commands_that_are_made_are_of_modules_and_extras_that_exist():
    modules, extras = [], []
    for path in SOURCES:
        modules += calls(path.read_text(), "python")
        extras += calls(path.read_text(), "install")
    assert {"experiments.piapdf", "experiments.status"} <= set(modules)
    extras += [found.extra for found in FORMATS.values() if found.extra]
    extras += [r.extra for found in FORMATS.values() for r in found.runtimes.values() if r.extra]
    told = {"landmarks", "weights", "beam", "plots", "parity", "heic", "export", "export-check"}
    told |= {"litert"}
    assert told == set(extras)
    assert all(map(exists, modules))
    text = (ROOT / "setup.cfg").read_text()
    assert all(f"\n{extra} =\n" in text for extra in extras)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_modules_that_exist_and_a_configuration(page):
    text = page.read_text()
    assert "pip install 'piapdf_jax" not in text  # no index has it
    assert all(exists(name) for name in MODULE.findall(text))
    joined = text.replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if "-m experiments.piapdf " in line]
    assert all("--config=" in line for line in lines)


def test_what_is_installed_is_what_the_extra_is_made_of():
    """pip itself, without an index: it reads the names, and finds them in the tests' environment."""
    words = shlex.split(commands.install("landmarks")) + ["--dry-run", "--no-index", "--no-deps"]
    assert words[1:4] == ["-m", "pip", "install"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "already satisfied: dlib-bin>=20" in done.stdout
    assert "already satisfied: face_recognition_models>=0.3" in done.stdout


def outside_of_a_clone(tmp_path, code, metadata=""):
    """Runs code with the module as an installation has it."""
    package = tmp_path / "site" / "piapdf_jax"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    shutil.copy(ROOT / "piapdf_jax" / "commands.py", package)
    if metadata:
        folder = tmp_path / "site" / "piapdf_jax-9.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(metadata)
    start = (
        f"import sys; sys.path.insert(0, {str(package.parent)!r}); from piapdf_jax import commands;"
    )
    done = subprocess.run(
        # no site packages, in which another installation may lie
        [sys.executable, "-S", "-c", start + code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    return done.stdout.strip()


def test_an_installation_knows_its_extras_by_its_metadata(tmp_path):
    code = "import importlib.util as u; u.find_spec = lambda n: 1; print(commands.install('landmarks'))"
    words = shlex.split(outside_of_a_clone(tmp_path, code, METADATA))
    assert words[1:] == ["-m", "pip", "install", "dlib-bin>=20.0.1", "models[all]<2,>=1"]


def test_a_copy_of_the_sources_says_where_the_extra_is_listed(tmp_path):
    said = outside_of_a_clone(tmp_path, "print(commands.install('landmarks'))")
    assert said == "install what setup.cfg of piapdf_jax lists as 'landmarks'"


def test_the_interpreter_is_named_as_the_shell_finds_it(tmp_path, monkeypatch):
    folder = tmp_path / "an environment" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/nowhere")
    command = commands.python("a.b", "--x=my data", "y")
    assert shlex.split(command) == [str(folder / "python"), "-m", "a.b", "--x=my data", "y"]
    monkeypatch.setenv("PATH", str(folder))
    assert commands.python("a.b", "--x=1") == "python -m a.b --x=1"


def test_an_environment_without_pip_is_served_by_uv(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pip" else real(name)
    )
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    words = shlex.split(commands.install("plots"))
    assert words == ["uv", "pip", "install", "--python", sys.executable, "matplotlib>=3.9"]


def test_the_extra_for_tensorboard_brings_what_writes_and_what_shows():
    words = shlex.split(commands.install("tensorboard"))
    names = {re.split("[<>=]", word)[0] for word in words[4:]}
    assert names == {"tensorboard", "tensorboardX"}


def test_pages_are_found():
    assert pathlib.Path("README.md") in [page.relative_to(ROOT) for page in PAGES]
