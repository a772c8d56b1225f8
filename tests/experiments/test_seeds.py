"""What a seed decides: the order of frames, and the key of every step of every training."""

import dataclasses
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import config as configs
from experiments.config import TrainSection
from experiments.feeds import LABELED
from experiments.pipeline import Pipeline
from experiments.trainings import METHODS, TRAININGS, Training
from piapdf_jax.stages.base import (
    OptimizerConfig,
    Scores,
    create_state,
    export_parts,
    update_if_finite,
)

SETTINGS = [
    "df=paper",
    "model=nano",
    "data.image_size=32",
    "data.workers=0",
    "data.dataset=synthetic_faces/small_bp4d",
    "pi1.dataset=synthetic_faces/small_afew_va",
    "identity.dataset=synthetic_faces/small_webface",
    "identity.pairs=synthetic_faces/small_lfw",
    "disfa.dataset=synthetic_faces/small_disfa",
]
SECTIONS = ("pi1", "pi2", "identity", "baseline", "pi3", "ap", "lp", "piap", "df", "disfa")
TRAINED = (
    "pi1",
    "pi2",
    "identity",
    "baseline",
    "pi3",
    "ap",
    "lp",
    "piap",
    "longer",
    "df",
    "piapdf",
    "disfa",
)
STEPS = 3


def a_pipeline(data, runs, *settings):
    loaded = configs.load("demo", [*SETTINGS, *settings])
    return Pipeline(loaded, data_dir=str(data), runs_dir=str(runs), name="s")


def orders(data, runs, *settings):
    """The frames of three steps of every training, part by part."""
    sizes = [f"{name}.batch_size=8" for name in SECTIONS]
    pipeline = a_pipeline(data, runs, *sizes, *settings)
    found = {}
    for name in TRAINED:
        stream = pipeline.job(name).stream()
        for step in range(STEPS):
            for part, names in stream.frames(step).items():
                found.setdefault((name, part), []).append(names)
    return found


def test_another_seed_reads_another_order_of_frames(small_data, tmp_path):
    first, second = (orders(small_data, tmp_path, f"seed={seed}") for seed in (0, 1))
    assert first == orders(small_data, tmp_path, "seed=0")
    # All folds and seeds share the networks that these two train.
    shared = {key for key in first if key[0] in ("pi1", "identity")}
    assert len(shared) == 2 and all(first[key] == second[key] for key in shared)
    for key in first.keys() - shared:
        for one, other in zip(first[key], second[key], strict=True):
            assert one != other, key
            assert len(set(one)) == 8, key
        steps = [tuple(names) for names in first[key]]
        assert len(set(steps)) == STEPS, key
    own = orders(small_data, tmp_path, "pi1.seed=5", "identity.seed=6")
    assert all(own[key] != first[key] for key in shared)
    assert all(own[key] == first[key] for key in first.keys() - shared)


@dataclasses.dataclass(frozen=True)
class Recorder:
    """A stage of one number that writes down the keys it is given."""

    told: str

    def init(self, key, inputs):
        KEYS[self.told, "init"] = words(key)
        parts = {name: ({"x": jnp.zeros(1)}, {}) for name in ("encoder", "head")}
        return create_state(parts, OPTIMIZER.build()), {}

    def train_step(self, state, frozen, batch, key):
        KEYS[self.told, int(state.step)] = words(key)
        ones = jax.tree.map(jnp.ones_like, state.params)
        return update_if_finite(OPTIMIZER.build(), state, jnp.float32(1), ones, state.batch_stats)

    def export(self, state):
        return export_parts(state, ("encoder", "head"))

    def predict(self, exported, images):
        return Scores(None, None, None)


OPTIMIZER = OptimizerConfig(steps=STEPS, learning_rate=0.1)
KEYS = {}


def words(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def named(key, name, step=0):
    """The key of a named stream at a step, as ``piapdf_jax.keys`` says in words."""
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return jax.random.fold_in(jax.random.fold_in(key, word), step)


@pytest.fixture
def recorded(small_data, tmp_path, monkeypatch):
    """Runs two trainings of a seed through the launcher's pipeline and returns their keys."""
    names = ("keys_one", "keys_two")
    for name in names:
        training = Training(
            name,
            name,
            name,
            lambda job: Recorder(job.name),
            LABELED,
            lambda job, exported, tools: {},
            settings=TrainSection(steps=STEPS, batch_size=4),
        )
        monkeypatch.setitem(TRAININGS, name, training)
        monkeypatch.setitem(METHODS, name, (name,))

    def run(seed):
        KEYS.clear()
        methods = f"methods={','.join(names)}"
        pipeline = a_pipeline(small_data, tmp_path / str(seed), methods, f"seed={seed}")
        pipeline.run()
        return dict(KEYS)

    return run


def test_every_step_of_every_training_and_seed_has_its_own_key(recorded):
    found = {}
    for seed in (0, 1):
        keys = recorded(seed)
        expected = {}
        for name in ("keys_one", "keys_two"):
            root = named(jax.random.key(seed), name)
            expected[name, "init"] = words(named(root, "init"))
            for step in range(STEPS):
                expected[name, step] = words(named(root, "train_step", step))
        assert keys == expected
        found |= {(seed, *place): key for place, key in keys.items()}
    assert len(set(found.values())) == len(found) == 2 * 2 * (STEPS + 1)
