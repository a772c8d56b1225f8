"""Builders by the name of their data set, those of this package and those of plugins; loads neither TFDS nor JAX."""

import importlib.util
import shlex
from collections.abc import Iterable, Sequence

from piapdf_jax import commands

BUILDERS = {
    "bp4d": "data_builders.bp4d.bp4d_dataset_builder",
    "disfa": "data_builders.disfa.disfa_dataset_builder",
    "afew_va": "data_builders.afew_va.afew_va_dataset_builder",
    "casia_webface": "data_builders.casia_webface.casia_webface_dataset_builder",
    "lfw_pairs": "data_builders.lfw_pairs.lfw_pairs_dataset_builder",
    "own": "data_builders.own.own_dataset_builder",
    "synthetic_faces": "data_builders.synthetic_faces.synthetic_faces_dataset_builder",
}


class UsageError(ValueError):
    """The command names something that does not exist."""


def check_beam(beam_options: Sequence[str] | None) -> None:
    """Refuses flags of Apache Beam where it is not installed.

    Raises:
        UsageError: naming how to install it.
    """
    if beam_options is not None and importlib.util.find_spec("apache_beam") is None:
        raise UsageError(
            f"Apache Beam is not installed: {commands.install('beam')} (in an environment of its"
            " own: it needs older releases of what others use)"
        )


def register_dataset(name: str, module: str) -> None:
    """Adds a builder from outside this package, for ``--plugin``.

    Args:
        name: of the data set, as ``data.dataset`` and the command line name it.
        module: dotted name of the module that holds its ``Builder``, importable in worker processes.

    Raises:
        ValueError: for a name that another module has.
    """
    if BUILDERS.setdefault(name, module) != module:
        raise ValueError(
            f"data set {name!r} is already registered by {BUILDERS[name]}: use another name"
        )


def can_make(name: str) -> bool:
    """Returns whether a data set has a builder that needs no original files."""
    base = name.partition("/")[0]
    if base not in BUILDERS:
        return False
    return not importlib.import_module(BUILDERS[base]).Builder.MANUAL_DOWNLOAD_INSTRUCTIONS


def import_plugins(modules: Iterable[str]) -> None:
    """Imports modules of plugins, in order.

    Args:
        modules: dotted names, found on Python's path (``python -m`` puts the current folder there).

    Raises:
        UsageError: naming the module, where it is not found or refuses what it is given, such as a
            name that is taken.
    """
    for module in modules:
        if not all(part.isidentifier() for part in module.split(".")) or module.endswith(".py"):
            raise UsageError(
                f"--plugin={module} is not the name of a module: for FOLDER/my_plugin.py run from FOLDER"
                " with --plugin=my_plugin"
            )
        try:
            importlib.import_module(module)
        except SyntaxError as error:
            raise UsageError(
                f"--plugin={module}: {error.filename}, line {error.lineno}: {error.msg}"
            ) from error
        except ModuleNotFoundError as error:
            # A module that the plugin itself misses is an error of the plugin, with its traceback.
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise
            raise UsageError(
                f"--plugin={module} is not found: run from its folder, or name that in PYTHONPATH"
            ) from error
        except ValueError as error:
            raise UsageError(f"--plugin={module}: {error}") from error


def words_of(options: str) -> list[str]:
    """Returns the words of ``--beam_options``, split as a shell does; UsageError for an open quote."""
    try:
        return shlex.split(options)
    except ValueError as error:
        raise UsageError(f"--beam_options={options}: {error}") from error
