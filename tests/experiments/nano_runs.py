"""The demo shrunk to seconds, for tests that train."""

import json
import pathlib

from experiments import config as configs
from experiments.pipeline import Pipeline

# Feedback as printed: one phase of one kind of step, which compiles faster than two.
NANO = ["df=paper", "model=nano", "data.image_size=64", "eval.batch_size=48", "run.log_every=1"]
NANO += ["run.audit=true", "eval.pointing_frames=20"]
NANO += [f"{name}.batch_size=8" for name in ("pi1", "pi2", "identity", "baseline", "piap", "df")]
NANO += [f"{name}.steps=4" for name in ("pi1", "pi2", "identity", "baseline", "piap", "df")]
NANO += ["disfa.batch_size=8", "disfa.steps=3", "disfa.dataset=synthetic_faces/small_disfa"]
NANO += ["data.dataset=synthetic_faces/small_bp4d", "pi1.dataset=synthetic_faces/small_afew_va"]
NANO += ["identity.dataset=synthetic_faces/small_webface"]
NANO += ["identity.pairs=synthetic_faces/small_lfw"]


def run(data, runs, *settings, stages=(), config="demo", name=""):
    loaded = configs.load(config, [*NANO, *settings])
    pipeline = Pipeline(
        loaded, data_dir=str(data), runs_dir=str(runs), name=name or loaded.name, stages=stages
    )
    return pipeline.run()


def contents(runs: pathlib.Path) -> dict[str, str]:
    """Bitwise digests of all exports, by training."""
    infos = [json.loads(path.read_text()) for path in runs.glob("exports/*/*/export.json")]
    return {info["training"]: info["content"] for info in infos}
