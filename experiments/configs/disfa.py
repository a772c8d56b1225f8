"""PIAP fine-tuned to DISFA: the row PIAP of the paper's table 2.

    python -m experiments.piapdf --config=disfa
    python -m experiments.piapdf --config=disfa_fold1

Fold k starts from the ``piap`` export of ``bp4d_fold`` k, and trains whatever of it is missing.
"""

import dataclasses
import functools

from experiments.config import ExperimentConfig
from experiments.configs.bp4d import bp4d


def disfa(fold: int) -> ExperimentConfig:
    """Returns ``bp4d_fold`` k up to PIAP, then the whole encoder under L_PIAP with a new 8-way head."""
    return dataclasses.replace(bp4d(fold), name=f"disfa_fold{fold}", methods=("disfa",))


def disfa_folds() -> ExperimentConfig:
    """Returns all three folds, one after another."""
    return dataclasses.replace(disfa(1), name="disfa", folds=(1, 2, 3))


CONFIGS = {
    "disfa": disfa_folds,
    **{f"disfa_fold{fold}": functools.partial(disfa, fold) for fold in (1, 2, 3)},
}
