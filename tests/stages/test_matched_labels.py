"""Matched labels on the PIAP losses: where the cut starts, and that compiling in parts changes nothing."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nightly import nightly

from piapdf_jax.batch import Batch, FeedbackBatch
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.piap import init_part
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackStage
from piapdf_jax.stages.feedback_options import FeedbackOptions

NANO, SIZE, BATCH, AUS = MODELS["nano"], 32, 4, 3
RATES, CUTS = np.array([0.1, np.nan, 0.75]), np.array([0.2, np.nan, 0.9])


def stage(rates=(RATES, CUTS), compiled="whole", **options):
    steps = OptimizerConfig(steps=10, learning_rate=1e-2)
    made = FeedbackStage(
        *(NANO, steps, steps, LossWeights(au=1.0, pi=0.0, ap=0.0)),
        **{"image_size": SIZE, "num_aus": AUS, "num_maps": 0, "init_from": "baseline"},
        labeled_rates=(lambda: rates) if rates else None,
        compile=compiled,
    )
    return dataclasses.replace(made, options=FeedbackOptions(labels="matched", **options))


@pytest.fixture(scope="module")
def inputs():
    encoder = init_part(NANO, "encoder", jax.random.key(0))
    return {
        "baseline": {
            "encoder": encoder,
            "head": init_part(NANO, "head", jax.random.key(1), num_aus=AUS),
        }
    }


def batch(seed, known=True):
    keys = jax.random.split(jax.random.key(seed), 2)
    image = jax.random.uniform(keys[0], (BATCH, SIZE, SIZE, 3))
    labels = jax.random.bernoulli(keys[1], 0.5, (BATCH, AUS)).astype(jnp.float32)
    labels = labels if known else -jnp.ones_like(labels)
    return Batch(image, labels, None, jnp.ones(BATCH), jnp.zeros(BATCH, jnp.int32))


def steps(made, inputs, count=3):
    state, frozen = made.init(jax.random.key(0), inputs)
    for t in range(count):
        both = FeedbackBatch(batch(2 * t), batch(2 * t + 1, known=False))
        state, metrics = made.train_step(state, frozen, both, jax.random.key(t))
    return state, metrics


def test_the_state_starts_at_rates_and_cuts_of_the_labeled_frames(inputs):
    state, _ = stage().init(jax.random.key(0), inputs)
    np.testing.assert_allclose(state.label.cut, [np.log(0.25), 0.0, np.log(9)], rtol=1e-5)
    np.testing.assert_allclose(state.label.rate, RATES, rtol=1e-6)


def test_a_known_share_of_flipped_labels_corrects_the_rates(inputs):
    state, _ = stage(label_noise=0.1).init(jax.random.key(0), inputs)
    # (0.1 - 0.1) / 0.8 and (0.75 - 0.1) / 0.8
    np.testing.assert_allclose(state.label.rate, [0, np.nan, 0.8125], atol=1e-7)


@pytest.mark.parametrize("variant", ["discrete", *nightly("continuous", "constant", "none")])
def test_the_cut_moves_with_every_variant_and_is_logged(inputs, variant):
    state, metrics = steps(stage(variant=variant), inputs)
    cut = np.asarray(state.label.cut)
    # Each step moves a cut by half of (k / 4 - rate).
    moved = (cut - np.log([0.25, 1.0, 9.0])) / 0.5 + 3 * np.where(np.isnan(RATES), 0, RATES)
    np.testing.assert_allclose(moved * BATCH, np.rint(moved * BATCH), atol=1e-3)
    assert cut[1] == 0
    np.testing.assert_allclose(metrics["pseudo_cut"], 1 / (1 + np.exp(-cut)), rtol=1e-5)
    assert int(metrics["count_skipped"]) == 0


@pytest.mark.nightly
def test_parts_are_the_whole(inputs):
    whole, parts = (steps(stage(compiled=way), inputs)[0] for way in ("whole", "parts"))
    chex.assert_trees_all_close(whole.label, parts.label, rtol=1e-6)


def test_other_labels_have_no_cut(inputs):
    plain = dataclasses.replace(stage(), options=FeedbackOptions())
    assert "pseudo_cut" not in steps(plain, inputs, count=1)[1]


def test_without_rates_it_does_not_start(inputs):
    with pytest.raises(ValueError, match="needs the rates of the labeled frames"):
        stage(rates=None).init(jax.random.key(0), inputs)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"label_noise": 0.1}, "df.label_noise=0.1 corrects .* means nothing with df.labels=thr"),
        ({"label_noise": 0.5, "labels": "matched"}, "df.label_noise=0.5 must be at least 0 and b"),
        ({"variant": "exact", "labels": "matched"}, "df.variant=exact takes the gradient"),
        ({"matched_on": "both"}, "df.matched_on"),
        (
            {"matched_on": "unlabeled"},
            "df.matched_on=unlabeled .* nothing with df.labels=threshold",
        ),
    ],
)
def test_settings_that_mean_nothing(options, told):
    with pytest.raises(ValueError, match=told):
        FeedbackOptions(**options).check()
