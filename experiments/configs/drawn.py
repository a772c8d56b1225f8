"""The whole method on hundreds of drawn strangers: a detector that belongs to nobody, for faces that nobody drew.

    python -m experiments.piapdf --config=drawn
    python -m experiments.judge runs/exports/piapdf/DIGEST --tree=DIR --truth=FILE --pairs=DIR

``demo`` on ``synthetic_faces/wild``, longer. What it is worth where it was not made: docs/judge.md.
"""

import dataclasses

from experiments.config import ExperimentConfig
from experiments.configs.demo import demo
from piapdf_jax.models.presets import MODELS


def drawn() -> ExperimentConfig:
    """Returns lengths that fit 75 minutes of two cores."""
    base = demo()
    change = dataclasses.replace
    wild = "synthetic_faces/wild"
    return change(
        base,
        name="drawn",
        fold=3,
        methods=("piap", "piapdf"),
        model=MODELS["small"],
        data=change(base.data, dataset=wild, image_size=128),
        pi1=change(base.pi1, steps=600, dataset=wild),
        pi2=change(base.pi2, steps=600),
        baseline=change(base.baseline, steps=2700, learning_rate=1e-2, warmup=0.1),
        piap=change(base.piap, steps=5000, learning_rate=1e-2, warmup=0.1),
        df=change(base.df, steps=200),
        run=change(base.run, log_every=20, checkpoint_every=500),
    )


CONFIGS = {"drawn": drawn}
