"""Commands that messages suggest, spelled so that they work in the user's environment.

Imports only the standard library, for readers, builders and the launcher.
"""

import configparser
import importlib.metadata
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import sys

_NAME = "piapdf_jax"
_EXTRA = re.compile(r"\s*(?P<needed>[^;]+?)\s*;.*\bextra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]")


def python(module: str, *arguments: str) -> str:
    """Returns the command that runs a module with this interpreter.

    Args:
        module: dotted name.
        arguments: after it, unquoted.
    """
    return " ".join((_interpreter(), "-m", module, *map(shlex.quote, arguments)))


def prepare(dataset: str, data_dir: str | os.PathLike[str], *flags: str) -> str:
    """Returns the command that builds a data set; all but drawn faces need their original files.

    Args:
        dataset: its name.
        data_dir: directory of data sets.
        flags: others that it needs.
    """
    arguments = [*flags, dataset, f"--data_dir={data_dir}"]
    if dataset.partition("/")[0] != "synthetic_faces":
        arguments.append("--manual_dir=FOLDER_OF_THE_ORIGINAL_FILES")
    return python("data_builders.prepare", *arguments)


def install(extra: str) -> str:
    """Returns the command that installs the packages of an extra.

    No index has this package, and not every user stands in a clone of it: so the command names the
    packages of the extra, as the clone's ``setup.cfg`` or the installed metadata have them.

    Args:
        extra: a key of ``options.extras_require``.
    """
    packages = _extras().get(extra)
    if not packages:  # a copy of the sources alone
        return f"install what setup.cfg of {_NAME} lists as {extra!r}"
    if importlib.util.find_spec("pip") is None and shutil.which("uv"):
        return shlex.join(["uv", "pip", "install", "--python", sys.executable, *packages])
    return python("pip", "install", *packages)


def _interpreter() -> str:
    found = shutil.which("python")
    # Links are left as they are: that of an environment leads to the interpreter it was made from.
    if found and os.path.abspath(found) == os.path.abspath(sys.executable):
        return "python"
    return shlex.quote(sys.executable or "python3")


def _extras() -> dict[str, list[str]]:
    """Packages by extra."""
    clone = configparser.ConfigParser(interpolation=None)
    clone.read(pathlib.Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    if clone.get("metadata", "name", fallback="") == _NAME:  # newer than what was installed of it
        extras = clone["options.extras_require"]
        return {extra: text.strip().splitlines() for extra, text in extras.items()}
    found: dict[str, list[str]] = {}
    try:
        needed = importlib.metadata.requires(_NAME) or []
    except importlib.metadata.PackageNotFoundError:
        needed = []
    for match in filter(None, map(_EXTRA.match, needed)):
        found.setdefault(match["extra"], []).append(match["needed"])
    return found
