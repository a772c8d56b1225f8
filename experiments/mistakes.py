"""Errors that the user can fix: their messages say how, in one line."""

from experiments.config import ConfigError
from piapdf_jax import paths
from piapdf_jax.data.prefetch import ReaderDied
from piapdf_jax.data.source import CorruptShard, MissingDataset, NoRecords
from piapdf_jax.models.weight_files import WeightsError
from piapdf_jax.runtime import exports
from piapdf_jax.runtime.checkpoints import CheckpointError
from piapdf_jax.runtime.filesystem import DiskError, FolderError
from piapdf_jax.runtime.steps import NonFiniteError

USER_ERRORS = (
    ConfigError,
    WeightsError,
    MissingDataset,
    CorruptShard,
    NoRecords,
    DiskError,
    NonFiniteError,
    exports.ExportError,
    CheckpointError,
    FolderError,
    ReaderDied,
    FileNotFoundError,
    PermissionError,
    paths.PathError,
)
