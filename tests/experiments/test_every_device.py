"""Scores are made on every device, in batches that divide over them, and are those of one device."""

import dataclasses
import types

import jax
import numpy as np
import pytest

from experiments import config as configs
from experiments import pointing, scoring
from experiments.pipeline import Pipeline
from piapdf_jax.runtime import mesh
from piapdf_jax.stages.base import Scores

pytestmark = pytest.mark.x64
NANO = ["model=nano", "data.image_size=64", "methods=pi2", "pi1.steps=1", "pi2.steps=1"]
NANO += ["data.dataset=synthetic_faces/small_bp4d", "pi1.dataset=synthetic_faces/small_afew_va"]
NANO += ["pi1.batch_size=8", "pi2.batch_size=8", "eval.batch_size=50"]
NANO += ["identity.dataset=synthetic_faces/small_webface"]
NANO += ["identity.pairs=synthetic_faces/small_lfw"]


def pipeline(data, runs, *settings):
    loaded = configs.load("demo", [*NANO, *settings])
    return Pipeline(loaded, data_dir=str(data), runs_dir=str(runs), name="d")


@pytest.mark.parametrize(("wanted", "read"), [(1, 8), (8, 8), (50, 56), (64, 64)])
def test_batches_of_scores_divide_over_eight_devices(small_data, tmp_path, wanted, read):
    made = pipeline(small_data, tmp_path, f"eval.batch_size={wanted}")
    assert made.mesh.size == len(jax.devices()) == 8
    assert made._tools(made.job("pi2")).reading.batch_size == read


@pytest.mark.parametrize("score", ["pi1", "pi2"])
def test_the_launcher_scores_on_every_device(small_data, tmp_path, monkeypatch, score):
    made, seen = pipeline(small_data, tmp_path), []

    def predict(exported, images):
        seen.append((len(images.sharding.device_set), len(images)))
        means = images.mean((1, 2))
        probs = np.repeat(means[:, :1], 12, 1)
        maps = np.float32(0.5) * images[..., :1] * np.ones(12, np.float32)[None, None, None]
        return Scores(probs, means, maps)

    job = made.job(score)
    object.__setattr__(job, "stage", types.SimpleNamespace(predict=predict))
    made.job("pi1").__dict__["stage"] = types.SimpleNamespace(predict=predict)
    parts = {"encoder": ({}, {}), "head": ({}, {}), "generator": ({}, {})}
    made.catalog._exported |= {"pi1": parts, "pi2": parts}
    made.catalog._digests |= dict.fromkeys(("pi1", "pi2"), "0" * 16)
    # A few frames that one host asks for itself, after the scores.
    monkeypatch.setattr(pointing, "attempted", lambda *_: {})
    with jax.numpy_dtype_promotion("standard"):
        many = made._score(score)
        assert seen and {devices for devices, _ in seen} == {8}
        assert {size for _, size in seen} == {56}
        one = dataclasses.replace(made._tools(job), mesh=mesh.data_mesh(jax.devices()[:1]))
        alone = job.training.score(job, parts, one)
    assert {devices for devices, _ in seen} == {1, 8}
    # Nothing was trained here that would say the rates of its labels.
    assert many.pop("gaps", {}) == alone.pop("gaps", {})
    flat = lambda tree: jax.tree.leaves(tree)  # noqa: E731
    np.testing.assert_allclose(flat(many), flat(alone), atol=1e-6)
    assert scoring.Tools(one.reading).mesh is None
