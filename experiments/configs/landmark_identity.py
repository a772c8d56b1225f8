"""Section 3.2's case: vectors of landmark regression do not tell people apart, those of Encoder P do.

    python -m experiments.piapdf --config=landmark_identity
    python -m experiments.piapdf --config=landmark_identity_demo

The paper: ResNet-50 on AFEW-VA, mean squared error 0.6 %, the 1000 numbers before its last layer verify 58 % of LFW's
pairs; Encoder P 96.2 %. Encoder P is a ResNet-50 here as well. Lengths and rates are ours.
"""

import dataclasses

from experiments.config import ExperimentConfig
from experiments.configs.bp4d import bp4d
from experiments.configs.demo import demo
from piapdf_jax.models.presets import MODELS


def landmark_identity() -> ExperimentConfig:
    """Returns ResNet-50 from ImageNet, 256 px: Encoder P and landmark regression."""
    base = bp4d(1)
    return dataclasses.replace(
        base,
        name="landmark_identity",
        methods=("landmarks",),
        model=dataclasses.replace(base.model, encoder="resnet50"),
    )


def landmark_identity_demo() -> ExperimentConfig:
    """Returns the same on drawn faces with a small ResNet, in minutes on two CPU cores."""
    base = demo()
    change = dataclasses.replace
    return change(
        base,
        name="landmark_identity_demo",
        methods=("landmarks",),
        # As the demo's encoder but for its kind.
        model=change(MODELS["tiny"], encoder="resnet14"),
    )


CONFIGS = {
    "landmark_identity": landmark_identity,
    "landmark_identity_demo": landmark_identity_demo,
}
