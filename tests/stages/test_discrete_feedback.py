"""Feedback on the PIAP losses: every variant, starts, what is exported, what is logged."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from piapdf_jax.batch import Batch, FeedbackBatch
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackOptions, FeedbackStage

NANO, SIZE, BATCH, AUS, MAPS = MODELS["nano"], 32, 4, 3, 5
STEPS = OptimizerConfig(steps=10, learning_rate=1e-2)
WEIGHTS = LossWeights(au=0.5, pi=0.45, ap=0.05)


def batch(seed):
    keys = jax.random.split(jax.random.key(seed), 2)
    image = jax.random.uniform(keys[0], (BATCH, SIZE, SIZE, 3))
    labels = jax.random.bernoulli(keys[1], 0.5, (BATCH, AUS)).astype(jnp.float32)
    maps = jnp.zeros((BATCH, SIZE, SIZE), jnp.uint16)
    return Batch(image, labels, maps, jnp.ones(BATCH), jnp.zeros(BATCH, jnp.int32))


@pytest.fixture(scope="module")
def inputs():
    sizes = {"image_size": SIZE, "num_maps": MAPS}
    part = lambda name, seed, **more: init_part(NANO, name, jax.random.key(seed), **more)  # noqa: E731
    encoder, head = part("encoder", 0), part("head", 1, num_aus=AUS)
    return {
        "pi2": {"generator": part("generator", 2, **sizes)},
        "identity": {"encoder": part("encoder", 3)},
        "piap": {"encoder": encoder, "head": head, "decoder": part("decoder", 4, **sizes)},
        "baseline": {"encoder": encoder, "head": head},
    }


def stage(weights=WEIGHTS, begin="piap", **options):
    made = FeedbackStage(
        NANO, STEPS, STEPS, weights, image_size=SIZE, num_aus=AUS, num_maps=MAPS, begin=begin
    )
    return dataclasses.replace(made, options=FeedbackOptions(drop_rate=0.0, **options))


def run(made, inputs, steps=2):
    state, frozen = made.init(jax.random.key(0), inputs)
    for t in range(steps):
        both = FeedbackBatch(
            batch(2 * t), batch(2 * t + 1)._replace(labels=-jnp.ones((BATCH, AUS)))
        )
        state, metrics = made.train_step(state, frozen, both, jax.random.key(t))
    return state, metrics


def moved(before, after):
    return [
        bool(np.any(np.asarray(a) != np.asarray(b)))
        for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"estimator": "jvp", "labels": "sample", "teacher_term": "score"},
        {"variant": "continuous"},
        {"variant": "continuous", "direction": "update", "estimator": "vjp"},
        {"variant": "continuous", "estimator": "difference"},
        {"variant": "exact"},
        {"variant": "constant", "positive": 0.5},
        {"variant": "none"},
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "default",
)
def test_every_variant_trains(inputs, options):
    state, metrics = run(stage(**options), inputs)
    assert int(state.step) == 2
    assert int(metrics["count_skipped"]) == 0 and int(metrics["count_nonfinite"]) == 0
    for learner in (state.teacher, state.student):
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(learner.params))
    assert all(moved(inputs["piap"]["encoder"][0], state.student.params["encoder"]))
    assert all(moved(state.teacher.params, state.student.params))
    c = float(metrics["coefficient"])
    kind = options.get("variant", "discrete")
    expected = {
        "none": (0.0,),
        "constant": (0.5,),
        "exact": (1.0,),
        "discrete": (1.0, np.float32(-0.1)),
    }
    if kind in expected:
        assert c in expected[kind]
    else:
        assert c != 0 and np.sign(c) == np.sign(float(metrics["feedback"]))


def test_exact_moves_the_teacher_by_more_than_the_labels_do(inputs):
    exact, _ = run(stage(variant="exact"), inputs, steps=1)
    supervised, _ = run(stage(variant="none"), inputs, steps=1)
    assert any(moved(exact.teacher.params, supervised.teacher.params))
    difference = jax.tree.map(jnp.subtract, exact.student.params, supervised.student.params)
    # The student does not know what becomes of the feedback: only its soft labels differ.
    assert any(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(difference))


def test_on_the_baseline_nothing_frozen_is_needed(inputs):
    made = stage(LossWeights(au=1.0, pi=0.0, ap=0.0), "baseline")
    state, metrics = run(made, {"baseline": inputs["baseline"]})
    assert set(state.student.params) == {"encoder", "head"}
    assert np.isfinite(float(metrics["loss"]))
    _, frozen = made.init(jax.random.key(0), {"baseline": inputs["baseline"]})
    assert frozen == {}


def test_starts_are_the_trained_network_or_a_fresh_one_and_both_copies_are_equal(inputs):
    trained, _ = stage().init(jax.random.key(5), inputs)
    fresh, _ = stage(begin=None).init(jax.random.key(5), inputs)
    for state in (trained, fresh):
        assert not any(moved(state.teacher.params, state.student.params))
    assert not any(moved(inputs["piap"]["encoder"][0], trained.student.params["encoder"]))
    kernels = moved(trained.student.params["encoder"], fresh.student.params["encoder"])
    assert any(kernels)


def test_the_student_alone_is_exported_and_predicts(inputs):
    made = stage()
    state, _ = run(made, inputs)
    exported = made.export(state)
    assert set(exported) == {"encoder", "head"}
    assert not any(moved(exported["encoder"][0], state.student.params["encoder"]))
    scores = made.predict(exported, batch(0).image)
    assert scores.au_probs.shape == (BATCH, AUS)


def test_metrics_tell_of_each_action_unit(inputs):
    _, metrics = run(stage(), inputs)
    for name in ("pseudo_positive_rate", "pseudo_confidence"):
        rates = np.asarray(metrics[name])
        assert rates.shape == (AUS,) and (rates >= 0).all() and (rates <= 1).all()
    counts = [int(metrics[f"count_{sign}"]) for sign in ("positive", "negative", "zero")]
    assert sum(counts) == 1


def test_options_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="soft"):
        stage(labels="soft")
