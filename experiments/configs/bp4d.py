"""PIAP-DF on BP4D, subject-exclusive folds: the row PIAP-DF of the paper's tables 1 and 3.

python -m experiments.piapdf --config=bp4d
python -m experiments.piapdf --config=bp4d --set methods=all --set seeds=0,1,2
python -m experiments.piapdf --config=bp4d_fold1 --set methods=baseline,pi2,pi3,ap,df,piap,piapdf
"""

import dataclasses
import functools

from experiments.config import ExperimentConfig


def bp4d(fold: int) -> ExperimentConfig:
    """Returns the paper's sizes: EfficientNet-B1, 256x256 images, 12 maps, 7x7x1280 into the decoder."""
    return ExperimentConfig(name=f"bp4d_fold{fold}", fold=fold)


def bp4d_folds() -> ExperimentConfig:
    """Returns all three folds, one after another."""
    return dataclasses.replace(bp4d(1), name="bp4d", folds=(1, 2, 3))


CONFIGS = {
    "bp4d": bp4d_folds,
    **{f"bp4d_fold{fold}": functools.partial(bp4d, fold) for fold in (1, 2, 3)},
}
