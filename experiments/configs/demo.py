"""The whole method on drawn faces, in minutes on two CPU cores.

    python -m experiments.piapdf --config=demo
    python -m experiments.piapdf --config=demo --set folds=1,2,3 --set seeds=0,1

``bp4d_fold1`` with the synthetic data sets, a small model, few steps, and feedback as chosen.
"""

import dataclasses

from experiments import presets
from experiments.config import ExperimentConfig
from experiments.configs.bp4d import bp4d
from piapdf_jax.models.presets import MODELS


def demo() -> ExperimentConfig:
    """Returns sizes and lengths that fit a laptop; every line of code is that of ``bp4d_fold1``."""
    base = bp4d(1)
    change = dataclasses.replace
    # Short trainings: drawn faces differ in pose and light already.
    gentle = change(
        base.data.augment,
        rotation=4.0, scale=0.04, shift=0.03, brightness=0.1, contrast=0.1, saturation=0.1,
    )  # fmt: skip
    paired = {"batch_size": 32, "pairs": "synthetic_faces/lfw"}
    identity = {"steps": 250, "learning_rate": 6e-3, "dataset": "synthetic_faces/webface"}
    landmarks = {"steps": 300, "learning_rate": 3e-3, "dataset": "synthetic_faces/afew_va"}
    fresh = {"steps": 1000, "learning_rate": 1e-2, "warmup": 0.2}
    feedback = change(
        base.df,
        **{"steps": 60, "learning_rate": 5e-4, "student_learning_rate": 5e-4},
        **{"fresh_steps": 1200, "fresh_warmup": 0.2, "finetune_learning_rate": 1e-3},
        **{"fresh_learning_rate": 1e-2, "fresh_student_learning_rate": 1e-2},
        disfa_fraction=0.0,
    )
    return change(
        base,
        name="demo",
        methods=("baseline", "piap", "piapdf"),
        model=MODELS["tiny"],
        data=change(base.data, dataset="synthetic_faces/bp4d", image_size=96, augment=gentle),
        pi1=change(base.pi1, steps=200, dataset="synthetic_faces/afew_va", learning_rate=1e-2),
        pi2=change(base.pi2, steps=120, learning_rate=1e-3),
        identity=change(base.identity, **paired, **identity),
        landmarks=change(base.landmarks, **paired, **landmarks),
        **{name: change(getattr(base, name), **fresh) for name in ("baseline", "pi3", "ap", "lp")},
        piap=change(base.piap, steps=1200, learning_rate=1e-2, warmup=0.2),
        # What docs/feedback.md found best; the full-size configurations keep the letter of the paper.
        df=presets.with_feedback(feedback, "chosen"),
        disfa=change(base.disfa, steps=200, learning_rate=2e-3, dataset="synthetic_faces/disfa"),
        run=change(base.run, log_every=10, checkpoint_every=500),
    )


CONFIGS = {"demo": demo}
