"""Whole stages over devices: parameters after three steps on 1, 2 and 8 devices are the same."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.batch import Batch, FeedbackBatch
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.runtime import mesh
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackStage
from piapdf_jax.stages.piap import PIAPStage

pytestmark = pytest.mark.x64

NANO, SIZE, BATCH, AUS, MAPS = MODELS["nano"], 32, 16, 3, 5
STEPS = OptimizerConfig(steps=10, learning_rate=1e-2, kind="sgd")
WEIGHTS = LossWeights(au=0.5, pi=0.45, ap=0.05)
SIZES = {"image_size": SIZE, "num_maps": MAPS}


def batch(seed, dtype):
    rng = np.random.default_rng(seed)
    image = rng.random((BATCH, SIZE, SIZE, 3)).astype(dtype)
    # Devices hold unequal numbers of known labels.
    labels = rng.integers(-1, 2, (BATCH, AUS)).astype(dtype)
    maps = rng.integers(0, 2**MAPS, (BATCH, SIZE, SIZE)).astype(np.uint16)
    points = rng.uniform(0, SIZE, (BATCH, 68, 2)).astype(dtype)
    rows = np.arange(BATCH, dtype=np.int32)
    return Batch(image, labels, maps, np.ones(BATCH, dtype), rows, points)


def inputs():
    part = lambda name, seed, **more: init_part(NANO, name, jax.random.key(seed), **more)  # noqa: E731
    return {
        "pi2": {"generator": part("generator", 2, **SIZES)},
        "identity": {"encoder": part("encoder", 3)},
        "piap": {
            "encoder": part("encoder", 0),
            "head": part("head", 1, num_aus=AUS),
            "decoder": part("decoder", 4, **SIZES),
        },
    }


STAGES = {
    "piap": lambda: PIAPStage(NANO, STEPS, WEIGHTS, num_aus=AUS, init_from="piap", **SIZES),
    "lp": lambda: PIAPStage(
        NANO,
        STEPS,
        LossWeights(au=0.5, ap=0.5),
        num_aus=AUS,
        init_from="piap",
        person="landmarks",
        landmarks=lambda: batch(9, np.float32).landmarks,
        **SIZES,
    ),
    "piapdf": lambda: FeedbackStage(
        NANO, STEPS, STEPS, WEIGHTS, num_aus=AUS, init_from="piap", **SIZES
    ),
    # Fine-tuning from the start: a step of feedback is the row above.
    "tuned": lambda: FeedbackStage(
        NANO,
        *[STEPS, STEPS],
        LossWeights(au=1.0),
        num_aus=AUS,
        init_from="piap",
        finetune_optimizer=STEPS,
        **SIZES,
    ),
}


def trained(name, devices, dtype, steps=3):
    made = jax.devices()[:devices]
    assert len(made) == devices
    over, stage = mesh.data_mesh(made), STAGES[name.removeprefix("judged ")]()
    state, frozen = stage.init(jax.random.key(0), inputs())
    cast = lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x  # noqa: E731
    state, frozen = (mesh.replicate(over, jax.tree.map(cast, tree)) for tree in (state, frozen))
    for step in range(steps):
        host = batch(step, dtype)
        if "piapdf" in name:
            unlabeled = batch(100 + step, dtype)._replace(labels=0 * host.labels - 1)
            judge = batch(200 + step, dtype) if "judged" in name else None
            host = FeedbackBatch(host, unlabeled, judge)
        state, metrics = stage.train_step(
            state, frozen, mesh.shard_batch(over, host), jax.random.key(step)
        )
    return state, metrics


def params(state):
    learners = [state.student, state.teacher] if hasattr(state, "teacher") else [state]
    return [learner.params for learner in learners]


@pytest.mark.parametrize(
    ("name", "dtype", "tolerance", "numbers"),
    [
        ("piap", np.float64, 1e-10, (2, 8)),
        ("piap", np.float32, 1e-4, (2, 8)),
        ("lp", np.float64, 1e-10, (8,)),
        ("piapdf", np.float64, 1e-10, (2,)),
        ("judged piapdf", np.float64, 1e-10, (8,)),
        ("tuned", np.float64, 1e-10, (8,)),
    ],
)
def test_parameters_after_three_steps(name, dtype, tolerance, numbers):
    with jax.numpy_dtype_promotion("standard"):  # Flax's own statistics mix widths in doubles
        check(name, dtype, tolerance, numbers)


def check(name, dtype, tolerance, numbers):
    alone, told = trained(name, 1, dtype)
    moved = jax.tree.map(
        lambda a, b: np.abs(np.asarray(a) - b).max(), params(alone)[0], inputs_of(alone)
    )
    assert np.median(jax.tree.leaves(moved)) > 1e-5
    for devices in numbers:
        spread, metrics = trained(name, devices, dtype)
        # Biases that BatchNorm takes away again have no gradient but rounding.
        chex.assert_trees_all_close(params(spread), params(alone), rtol=tolerance, atol=tolerance)
        if "piapdf" in name:
            assert float(metrics["coefficient"]) == float(told["coefficient"]) != 0
            np.testing.assert_allclose(metrics["feedback"], told["feedback"], rtol=1e-7)


def inputs_of(state):
    """What its parameters were before the first step."""
    given = inputs()["piap"]
    return {name: given[name][0] for name in params(state)[0]}
