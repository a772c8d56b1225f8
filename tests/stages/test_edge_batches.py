"""Whole steps where a formula is at its edge: gradients stay finite, and what nothing is known of stays as it is."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_discrete_feedback
import test_mixed_precision
from nightly import nightly

from piapdf_jax.batch import Batch, FeedbackBatch
from piapdf_jax.losses import COSINE_MARGIN
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.pi1_generator import PI1Stage
from piapdf_jax.stages.pi2_refine import PI2Stage

SIZE = 32
#: Without weight decay, what gets no gradient does not move.
STEPS = OptimizerConfig(steps=10, learning_rate=1e-2, weight_decay=0.0)
DTYPES = ("float32", "bfloat16")
#: Each of them compiles every step anew.
BY_DAY = [DTYPES[0], *nightly(DTYPES[1])]
KEY = jax.random.key(3)


class Sizes(NamedTuple):
    """Frames, action units and maps of a step."""

    batch: int = 4
    aus: int = 3
    maps: int = 5


def sizes(kind):
    """Of the third stage as other tests have them, which then share its compiled step."""
    return Sizes(8, 12, 12) if kind == "piap" else Sizes()


@functools.cache
def stage(kind, dtype):
    """One stage of a kind, so that its step is compiled once."""
    model = dataclasses.replace(MODELS["nano"], compute_dtype=dtype)
    if kind == "pi1":
        return PI1Stage(model, STEPS, SIZE, Sizes().maps, positive_weight=4.0, dice=0.5)
    if kind == "pi2":
        return PI2Stage(model, STEPS, SIZE, Sizes().aus, Sizes().maps)
    if kind == "piap":
        made = test_mixed_precision.stages("piap")[DTYPES.index(dtype)]
        return dataclasses.replace(made, init_from="piap")
    made = test_discrete_feedback.stage(**({"variant": "exact"} if kind == "exact" else {}))
    return dataclasses.replace(made, model=model)


@functools.cache
def part(name, seed, kind):
    n, key = sizes(kind), jax.random.key(seed)
    return init_part(MODELS["nano"], name, key, image_size=SIZE, num_maps=n.maps, num_aus=n.aus)


def constant(encoder, value):
    """An encoder that says swish(value) of every image: parallel vectors, or zero vectors for 0."""
    params, stats = encoder
    norm = {"scale": jnp.zeros(32), "bias": jnp.full(32, value, jnp.float32)}
    return {**params, "head_norm": norm}, stats


def shut(generator):
    """A generator whose maps are 0 to the last bit of float32."""
    params, stats = generator
    bias = jnp.full_like(params["maps"]["bias"], -200.0)
    return {**params, "maps": {**params["maps"], "bias": bias}}, stats


def labels(case, n):
    drawn = np.random.default_rng(5).integers(0, 2, (n.batch, n.aus)).astype(np.float32)
    if case == "nothing known":
        drawn[:] = -1
    if case == "unit without positives":
        drawn[:, 0] = 0
    if case == "row without labels":
        drawn[1] = -1
    return jnp.asarray(drawn)


def batch(case, n, seed=0):
    image = jax.random.uniform(jax.random.key(seed), (n.batch, SIZE, SIZE, 3))
    maps = jnp.zeros((n.batch, SIZE, SIZE), jnp.uint16)
    return Batch(image, labels(case, n), maps, jnp.ones(n.batch), jnp.arange(n.batch))


def inputs(case, kind):
    names = ("encoder", "head", "decoder", "generator")
    trained = {name: part(name, seed, kind) for seed, name in enumerate(names)}
    generator, identity = trained.pop("generator"), part("encoder", 9, kind)
    if case in ("parallel", "zero vectors"):
        value = 1.0 if case == "parallel" else 0.0
        trained["encoder"] = constant(trained["encoder"], value)
    if case in ("parallel", "zero identity"):
        identity = constant(identity, 1.0 if case == "parallel" else 0.0)
    if case == "empty maps":
        generator = shut(generator)
    given = {name: {"generator": generator} for name in ("pi1", "pi2")}
    return {**given, "identity": {"encoder": identity}, "piap": trained}


def step(kind, dtype, case):
    """Parameters before and after one step, and its metrics."""
    made = stage(kind, dtype)
    state, frozen = made.init(KEY, inputs(case, kind))
    # The state is donated to the step, and shares its arrays with what the stage began from.
    before = jax.tree.map(np.array, state)
    state = jax.tree.map(jnp.array, state)
    if kind in ("feedback", "exact"):
        data = FeedbackBatch(batch(case, sizes(kind)), batch("nothing known", sizes(kind), seed=1))
    else:
        data = batch(case, sizes(kind))
    state, metrics = made.train_step(state, frozen, data, KEY)
    return before, jax.tree.map(np.array, state), {k: np.array(v) for k, v in metrics.items()}


def moved(before, after):
    return [not np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (before, after)), strict=True)]  # fmt: skip


def bias(params):
    """The one parameter of the head that weight decay leaves alone."""
    return params["head"]["dense"]["bias"]


def finite(state, metrics):
    floats = [x for x in jax.tree.leaves(state) if np.issubdtype(x.dtype, np.floating)]
    assert all(np.isfinite(leaf).all() for leaf in floats)
    norms = [value for name, value in metrics.items() if name.endswith("gradient_norm")]
    assert norms and all(np.isfinite(norm) for norm in norms)
    assert (
        metrics["count_skipped"] == 0 and metrics.get("count_useless_feedback_not_finite", 0) == 0
    )


@pytest.mark.parametrize("dtype", BY_DAY)
def test_empty_maps_with_dice_and_weight_move_the_generator(dtype):
    before, state, metrics = step("pi1", dtype, "empty maps")
    finite(state, metrics)
    assert all(moved(before.params["generator"]["maps"], state.params["generator"]["maps"]))


@pytest.mark.parametrize("dtype", BY_DAY)
@pytest.mark.parametrize("case", ["unit without positives", "row without labels", "nothing known"])
def test_labels_of_the_second_stage(dtype, case):
    before, state, metrics = step("pi2", dtype, case)
    finite(state, metrics)
    known = case != "nothing known"
    assert any(moved(before.params["generator"], state.params["generator"])) == known
    assert all(moved(before.params["head"], state.params["head"])) == known
    assert known or not any(moved(before.params, state.params))
    assert known or metrics["loss"] == metrics["gradient_norm"] == 0


@pytest.mark.parametrize("dtype", BY_DAY)
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


@pytest.mark.parametrize("dtype", BY_DAY)
@pytest.mark.parametrize("case", LABELS + VECTORS)
def test_edges_of_the_third_stage(dtype, case):
    before, state, metrics = step("piap", dtype, case)
    finite(state, metrics)
    check_ap(case, metrics["ap_loss"])
    known = case != "nothing known"
    assert any(moved(before.params["encoder"], state.params["encoder"]))
    assert any(moved(before.params["decoder"], state.params["decoder"]))
    assert moved(bias(before.params), bias(state.params)) == [known]
    assert known or metrics["au_loss"] == 0


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("feedback", "float32"), *nightly(("feedback", "bfloat16"), ("exact", "float32"))],
)
@pytest.mark.parametrize("case", LABELS + VECTORS)
def test_edges_of_feedback(kind, dtype, case):
    before, state, metrics = step(kind, dtype, case)
    finite(state, metrics)
    nothing = case == "nothing known"
    assert int(metrics["count_useless_no_label_known_or_accepted"]) == nothing
    assert (metrics["coefficient"] == 0) == nothing
    for learner in ("teacher", "student"):
        old, new = (getattr(both, learner).params for both in (before, state))
        assert any(moved(old["encoder"], new["encoder"]))
        # Without a label neither the labels nor the feedback say anything of the teacher's units;
        # of a zero vector the student's own soft answers are the teacher's, to the last bit.
        idle = nothing if learner == "teacher" else (kind, case) == ("exact", "zero vectors")
        assert moved(bias(old), bias(new)) == [not idle]
