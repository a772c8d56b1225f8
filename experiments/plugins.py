"""Plugins: ``--plugin=MODULE`` imports a module that registers trainings, encoders, data sets or metrics."""

from collections.abc import Sequence

from data_builders.registry import UsageError, import_plugins, register_dataset
from experiments.au_scores import register_metric
from experiments.config import ConfigError
from experiments.trainings import register_training
from piapdf_jax.models.encoders import register_encoder

__all__ = [
    "load",
    "register_dataset",
    "register_encoder",
    "register_metric",
    "register_training",
]


def load(modules: Sequence[str]) -> None:
    """Imports modules of plugins, in order; before a configuration is read.

    Args:
        modules: dotted names, found on Python's path (``python -m`` puts the current folder there).

    Raises:
        ConfigError: naming the module, where it is not found or what it registers is taken.
    """
    try:
        import_plugins(modules)
    except UsageError as error:
        raise ConfigError(str(error)) from error
