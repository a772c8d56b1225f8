"""Trainings, data sets and metrics from outside: ``--plugin=MODULE`` imports a module, which registers them."""

import importlib
from collections.abc import Sequence

from data_builders.prepare import register_dataset
from experiments.config import ConfigError
from experiments.scoring import register_metric
from experiments.trainings import register_training

__all__ = ["load", "register_dataset", "register_metric", "register_training"]


def load(modules: Sequence[str]) -> None:
    """Imports modules of plugins, in order; before a configuration is read.

    Args:
        modules: dotted names, found on Python's path (``python -m`` puts the current folder there).

    Raises:
        ConfigError: naming the module, where it is not found or what it registers is taken.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if not module.startswith(str(error.name)):
                raise
            raise ConfigError(
                f"--plugin={module} is not found: run from its folder, or name that in PYTHONPATH"
            ) from error
        except ValueError as error:
            raise ConfigError(f"--plugin={module}: {error}") from error
