"""The table of true labels; it lies outside the data set folder, so that no reader of records can load it."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from data_builders.synthetic_faces import population
from piapdf_jax.paths import local_path

VERSION = "1.0.0"


def truth_path(
    data_dir: str | os.PathLike[str], config: str, *, version: str = VERSION
) -> pathlib.Path:
    """Returns where the true labels of a synthetic data set lie.

    Args:
        data_dir: directory of data sets.
        config: config of the builder, such as ``bp4d``.
        version: of the data set.

    Returns:
        A ``truth.npz`` with arrays ``subject``, ``task``, ``frame`` [N], ``label_aus`` [A] (AU numbers) and
        ``clean`` [N, A] int8 (0 or 1; for DISFA intensities 0..5), coded frames only.
    """
    root = local_path(data_dir, "--data_dir") / "synthetic_faces" / "truth"
    return root / config / version / "truth.npz"


def write(path: pathlib.Path, sequences: Sequence[population.Clip]) -> None:
    """Writes the table, all at once.

    Args:
        path: from ``truth_path``.
        sequences: what to write down; their coded frames.
    """
    aus = list(sequences[0].clean)
    rows = [(s, k) for s in sequences for k in np.flatnonzero(s.coded)]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}.npz")
    np.savez_compressed(
        unfinished,
        subject=np.array([s.subject for s, _ in rows]),
        task=np.array([s.task for s, _ in rows]),
        frame=np.array([int(s.frames[k]) for s, k in rows], np.int64),
        label_aus=np.array(aus, np.int64),
        clean=np.array([[s.clean[au][k] for au in aus] for s, k in rows], np.int8),
    )
    unfinished.replace(path)
