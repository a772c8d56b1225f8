"""Whole steps where a formula is at its edge: gradients stay finite, and what nothing is known of stays as it is."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.batch import Batch, FeedbackBatch
from piapdf_jax.losses import COSINE_MARGIN, LossWeights
from piapdf_jax.models.config import MODELS
from piapdf_jax.models.piap import init_part
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackOptions, FeedbackStage
from piapdf_jax.stages.pi1_generator import PI1Generator
from piapdf_jax.stages.pi2_refine import PI2Refine
from piapdf_jax.stages.piap import PIAPStage

SIZE, BATCH, AUS, MAPS = 32, 4, 3, 5
#: Without weight decay, what gets no gradient does not move.
STEPS = OptimizerConfig(steps=10, learning_rate=1e-2, weight_decay=0.0)
WEIGHTS = LossWeights(au=0.5, pi=0.4, ap=0.1)
DTYPES = ("float32", "bfloat16")
KEY = jax.random.key(3)


@functools.cache
def stage(kind, dtype):
    """One stage of a kind, so that its step is compiled once."""
    model = dataclasses.replace(MODELS["nano"], compute_dtype=dtype)
    sizes = {"image_size": SIZE, "num_aus": AUS, "num_maps": MAPS}
    if kind == "pi1":
        return PI1Generator(model, STEPS, SIZE, MAPS, positive_weight=4.0, dice=0.5)
    if kind == "pi2":
        return PI2Refine(model, STEPS, **sizes)
    if kind == "piap":
        return PIAPStage(model, STEPS, WEIGHTS, **sizes, begin="piap")
    options = FeedbackOptions(drop_rate=0.0, **({"variant": "exact"} if kind == "exact" else {}))
    return FeedbackStage(model, STEPS, STEPS, WEIGHTS, **sizes, begin="piap", options=options)


@functools.cache
def part(name, seed):
    key = jax.random.key(seed)
    return init_part(MODELS["nano"], name, key, image_size=SIZE, num_maps=MAPS, num_aus=AUS)


def constant(encoder, value):
    """An encoder that says swish(value) of every image: parallel vectors, or zero vectors for 0."""
    params, stats = encoder
    norm = {"scale": jnp.zeros(32), "bias": jnp.full(32, value, jnp.float32)}
    return {**params, "head_norm": norm}, stats


def shut(generator):
    """A generator whose maps are 0 to the last bit of float32."""
    params, stats = generator
    maps = {**params["maps"], "bias": jnp.full(MAPS, -200.0, jnp.float32)}
    return {**params, "maps": maps}, stats


def labels(case):
    drawn = np.random.default_rng(5).integers(0, 2, (BATCH, AUS)).astype(np.float32)
    if case == "nothing known":
        drawn[:] = -1
    if case == "unit without positives":
        drawn[:, 0] = 0
    if case == "row without labels":
        drawn[1] = -1
    return jnp.asarray(drawn)


def batch(case, seed=0):
    image = jax.random.uniform(jax.random.key(seed), (BATCH, SIZE, SIZE, 3))
    maps = jnp.zeros((BATCH, SIZE, SIZE), jnp.uint16)
    return Batch(image, labels(case), maps, jnp.ones(BATCH), jnp.arange(BATCH))


def inputs(case):
    encoder, identity, generator = part("encoder", 0), part("encoder", 1), part("generator", 2)
    if case in ("parallel", "zero vectors"):
        encoder = constant(encoder, 1.0 if case == "parallel" else 0.0)
    if case in ("parallel", "zero identity"):
        identity = constant(identity, 1.0 if case == "parallel" else 0.0)
    if case == "empty maps":
        generator = shut(generator)
    trained = {"encoder": encoder, "head": part("head", 3), "decoder": part("decoder", 4)}
    return {
        "pi1": {"generator": generator},
        "pi2": {"generator": generator},
        "identity": {"encoder": identity},
        "piap": trained,
    }


def step(kind, dtype, case):
    """Parameters before and after one step, and its metrics."""
    made = stage(kind, dtype)
    state, frozen = made.init(KEY, inputs(case))
    # The state is donated to the step, and shares its arrays with what the stage began from.
    before = jax.tree.map(np.array, state)
    state = jax.tree.map(jnp.array, state)
    if kind in ("feedback", "exact"):
        unlabeled = batch("", seed=1)._replace(labels=-jnp.ones((BATCH, AUS)))
        data = FeedbackBatch(batch(case), unlabeled)
    else:
        data = batch(case)
    state, metrics = made.train_step(state, frozen, data, KEY)
    return before, jax.tree.map(np.array, state), {k: np.array(v) for k, v in metrics.items()}


def moved(before, after):
    return [not np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (before, after)), strict=True)]  # fmt: skip


def finite(state, metrics):
    floats = [x for x in jax.tree.leaves(state) if np.issubdtype(x.dtype, np.floating)]
    assert all(np.isfinite(leaf).all() for leaf in floats)
    norms = [value for name, value in metrics.items() if name.endswith("gradient_norm")]
    assert norms and all(np.isfinite(norm) for norm in norms)
    assert metrics["count_skipped"] == 0 and metrics.get("count_nonfinite", 0) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty_maps_with_dice_and_weight_move_the_generator(dtype):
    before, state, metrics = step("pi1", dtype, "empty maps")
    finite(state, metrics)
    assert all(moved(before.params["generator"]["maps"], state.params["generator"]["maps"]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["unit without positives", "row without labels", "nothing known"])
def test_labels_of_the_second_stage(dtype, case):
    before, state, metrics = step("pi2", dtype, case)
    finite(state, metrics)
    known = case != "nothing known"
    assert any(moved(before.params["generator"], state.params["generator"])) == known
    assert all(moved(before.params["head"], state.params["head"])) == known
    assert known or not any(moved(before.params, state.params))
    assert known or metrics["loss"] == metrics["gradient_norm"] == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_encoder_that_sees_empty_maps_alone_still_learns_its_head(dtype):
    before, state, metrics = step("pi2", dtype, "empty maps")
    finite(state, metrics)
    assert metrics["generator_gradient_norm"] == 0
    assert any(moved(before.params["head"], state.params["head"]))


LABELS = ["unit without positives", "row without labels", "nothing known"]
VECTORS = ["parallel", "zero vectors", "zero identity", "empty maps"]


def check_ap(case, loss):
    """The case is what it is called: L_AP is at its largest, or at 0."""
    if case == "parallel":
        np.testing.assert_allclose(loss, 1 - np.log(COSINE_MARGIN), rtol=5e-3)
    if case.startswith("zero"):
        assert loss == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LABELS + VECTORS)
def test_edges_of_the_third_stage(dtype, case):
    before, state, metrics = step("piap", dtype, case)
    finite(state, metrics)
    check_ap(case, metrics["ap_loss"])
    known = case != "nothing known"
    assert any(moved(before.params["encoder"], state.params["encoder"]))
    assert any(moved(before.params["decoder"], state.params["decoder"]))
    assert any(moved(before.params["head"], state.params["head"])) == known
    assert known or metrics["au_loss"] == 0


@pytest.mark.parametrize(
    ("kind", "dtype"), [("feedback", "float32"), ("feedback", "bfloat16"), ("exact", "float32")]
)
@pytest.mark.parametrize("case", LABELS + VECTORS)
def test_edges_of_feedback(kind, dtype, case):
    before, state, metrics = step(kind, dtype, case)
    finite(state, metrics)
    nothing = case == "nothing known"
    assert int(metrics["count_no_labels"]) == nothing
    assert (metrics["coefficient"] == 0) == nothing
    for learner in ("teacher", "student"):
        pair = [getattr(state_, learner).params for state_ in (before, state)]
        assert any(moved(*(params["encoder"] for params in pair)))
        head = any(moved(*(params["head"] for params in pair)))
        # Without a label neither the labels nor the feedback say anything of the teacher's units.
        assert head == (learner == "student" or not nothing)
