"""Half precision arithmetic follows float32 closely, and leaves float32 what must stay so."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nightly import nightly

from piapdf_jax.batch import Batch
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.records import pack_planes
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.pi1_generator import PI1Stage
from piapdf_jax.stages.piap import PIAPStage

SIZE, BATCH, AUS, STEPS = 32, 8, 12, 20
OPTIMIZER = OptimizerConfig(steps=100, learning_rate=1e-2, warmup=0.01)
KEY = jax.random.key(0)


def batch(step: int) -> Batch:
    """Bright patches, one for each AU that is present, on noise."""
    rng = np.random.default_rng([7, step])
    labels = rng.integers(0, 2, (BATCH, AUS)).astype(np.float32)
    maps = np.zeros((SIZE, SIZE, AUS), np.float32)
    for k in range(AUS):
        maps[k * 2 : k * 2 + 8, (5 * k) % 24 : (5 * k) % 24 + 8, k] = 1
    shown = np.clip((maps * labels[:, None, None]).sum(-1, keepdims=True), 0, 1)
    image = (0.3 + 0.4 * shown + rng.normal(0, 0.05, (BATCH, SIZE, SIZE, 3))).astype(np.float32)
    everyone = np.broadcast_to(pack_planes(maps.astype(np.uint8)), (BATCH, SIZE, SIZE))
    return Batch(
        *map(jnp.asarray, (image, labels, everyone, np.ones(BATCH, np.float32), np.arange(BATCH)))
    )


def models() -> list:
    return [dataclasses.replace(MODELS["nano"], compute_dtype=d) for d in ("float32", "bfloat16")]


def part(name: str, **more):
    return init_part(MODELS["nano"], name, KEY, image_size=SIZE, num_maps=AUS, **more)


def stages(kind: str) -> list:
    if kind == "pi1":
        return [PI1Stage(m, OPTIMIZER, image_size=SIZE, num_maps=AUS) for m in models()]
    sizes = {"image_size": SIZE, "num_aus": AUS, "num_maps": AUS}
    weights = LossWeights(au=0.5, pi=0.4, ap=0.1)
    return [PIAPStage(m, OPTIMIZER, weights, **sizes) for m in models()]


@pytest.mark.parametrize("kind", ["pi1", *nightly("piap")])
def test_losses_stay_within_two_percent_for_twenty_steps(kind):
    inputs = {"pi2": {"generator": part("generator")}, "identity": {"encoder": part("encoder")}}
    losses, dtypes = [], []
    for stage in stages(kind):
        state, frozen = stage.init(KEY, inputs)
        lines = []
        for step in range(STEPS):
            key = jax.random.fold_in(KEY, step)
            state, metrics = stage.train_step(state, frozen, batch(step), key)
            lines.append(metrics["loss"])
        losses.append(np.array(lines))
        dtypes.append({leaf.dtype for leaf in jax.tree.leaves((state.params, state.batch_stats))})
        assert {value.dtype.name for value in metrics.values()} <= {"float32", "int32"}
    assert dtypes == [{jnp.dtype(jnp.float32)}] * 2
    assert losses[0][-1] < 0.97 * losses[0][0]
    assert not np.array_equal(*losses)
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)


def test_arithmetic_is_that_of_the_switch():
    """Convolutions and products take bfloat16; reductions of BatchNorm and logits do not."""
    narrow = stages("piap")[1]
    inputs = {"pi2": {"generator": part("generator")}, "identity": {"encoder": part("encoder")}}
    state, frozen = narrow.init(KEY, inputs)
    text = str(jax.make_jaxpr(narrow.train_step)(state, frozen, batch(0), KEY))
    lines = [line for line in text.splitlines() if " depthwise" in line or "conv_general" in line]
    assert lines and all("bf16" in line for line in lines)
    assert not [line for line in text.splitlines() if "reduce_sum" in line and ":bf16[] " in line]


def test_another_dtype_is_refused():
    with pytest.raises(ValueError, match="float16"):
        dataclasses.replace(MODELS["nano"], compute_dtype="float16")
