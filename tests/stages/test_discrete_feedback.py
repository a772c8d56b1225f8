"""Feedback on the PIAP losses: every variant, starts, what is exported, what is logged."""

import dataclasses
import types

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from feedback_problem import assert_trees
from nightly import nightly

from piapdf_jax.batch import Batch, FeedbackBatch
from piapdf_jax.feedback import FeedbackState, LearnerState, PassOutput, StudentStep
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.encoder import encoder_apply
from piapdf_jax.models.piap import init_part, network_apply
from piapdf_jax.models.presets import MODELS
from piapdf_jax.stages import discrete_feedback
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.discrete_feedback import FeedbackStage
from piapdf_jax.stages.feedback_options import FeedbackOptions

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


def stage(weights=WEIGHTS, init_from="piap", **options):
    made = FeedbackStage(
        NANO,
        STEPS,
        STEPS,
        weights,
        image_size=SIZE,
        num_aus=AUS,
        num_maps=MAPS,
        init_from=init_from,
    )
    return dataclasses.replace(made, options=FeedbackOptions(**{"drop_rate": 0.0} | options))


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
        *nightly(
            {"estimator": "jvp", "labels": "sample", "teacher_term": "score"},
            {"variant": "exact"},
            {"variant": "continuous", "direction": "update", "estimator": "vjp"},
            {"variant": "continuous"},
            {"variant": "continuous", "estimator": "difference"},
            {"variant": "constant", "positive": 0.5},
            {"variant": "none"},
        ),
    ],
    ids=lambda options: "-".join(map(str, options.values())) or "default",
)
def test_every_variant_trains(inputs, options):
    state, metrics = run(stage(**options), inputs)
    assert int(state.step) == 2
    assert int(metrics["count_skipped"]) == 0
    assert not any(int(n) for name, n in metrics.items() if name.startswith("count_useless_"))
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


@pytest.mark.nightly
def test_exact_moves_the_teacher_by_more_than_the_labels_do(inputs):
    exact, _ = run(stage(variant="exact"), inputs, steps=1)
    supervised, _ = run(stage(variant="none"), inputs, steps=1)
    assert any(moved(exact.teacher.params, supervised.teacher.params))
    difference = jax.tree.map(jnp.subtract, exact.student.params, supervised.student.params)
    # The student does not know what becomes of the feedback: only its soft labels differ.
    assert any(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(difference))


@pytest.mark.nightly
def test_on_the_baseline_nothing_frozen_is_needed(inputs):
    made = stage(LossWeights(au=1.0, pi=0.0, ap=0.0), "baseline")
    state, metrics = run(made, {"baseline": inputs["baseline"]})
    assert set(state.student.params) == {"encoder", "head"}
    assert np.isfinite(float(metrics["loss"]))
    _, frozen = made.init(jax.random.key(0), {"baseline": inputs["baseline"]})
    assert frozen == {}


def test_starts_are_the_trained_network_or_a_fresh_one_and_both_copies_are_equal(inputs):
    trained, _ = stage().init(jax.random.key(5), inputs)
    fresh, _ = stage(init_from=None).init(jax.random.key(5), inputs)
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


def test_the_teacher_is_kept_under_names_of_its_own(inputs):
    made = stage()
    state, _ = made.init(jax.random.key(0), inputs)
    teacher = jax.tree.map(lambda x: x + 1, state.teacher.params)
    state = state._replace(teacher=state.teacher._replace(params=teacher))
    beside, student = made.export_for_scoring(state), made.export(state)
    assert set(beside) == {"teacher_encoder", "teacher_head"} and set(student) == {
        "encoder",
        "head",
    }
    for name in ("encoder", "head"):
        np.testing.assert_array_equal(
            jax.tree.leaves(beside[f"teacher_{name}"][0])[0],
            jax.tree.leaves(student[name][0])[0] + 1,
        )


def test_metrics_tell_of_each_action_unit(inputs):
    _, metrics = run(stage(), inputs)
    for name in ("pseudo_positive_rate", "pseudo_confidence"):
        rates = np.asarray(metrics[name])
        assert rates.shape == (AUS,) and (rates >= 0).all() and (rates <= 1).all()
    counts = [int(metrics[f"count_{sign}"]) for sign in ("positive", "negative", "zero")]
    assert sum(counts) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"labels": "soft"}, "exactly 0"),
        ({"labels": "soft", "variant": "continuous"}, "exactly 0"),
        ({"labels": "soft", "variant": "constant"}, "exactly 0"),
        ({"variant": "exact", "teacher_term": "score"}, "have no effect there"),
        ({"variant": "exact", "direction": "update"}, "have no effect there"),
        ({"variant": "exact", "estimator": "difference"}, "have no effect there"),
        ({"variant": "exact", "estimator": "jvp"}, "have no effect there"),
        ({"variant": "exact", "labels": "sample"}, "have no effect there"),
        ({"estimator": "difference", "direction": "update"}, "has no effect"),
        ({"variant": "mpl"}, "df.variant='mpl' is not one of discrete, continuous"),
        ({"estimator": "fd"}, "df.estimator='fd' is not one of grad, jvp, vjp, difference"),
        ({"direction": "step"}, "df.direction='step' is not one of"),
        ({"labels": "argmax"}, "df.labels='argmax' is not one of threshold"),
        ({"teacher_term": "all"}, "df.teacher_term='all' is not one of"),
        ({"drop_on": "negative"}, "df.drop_on='negative' is not one of"),
        ({"positive": float("nan")}, "df.positive=nan must be a finite number, at least -1000"),
        ({"feedback_weight": float("inf")}, "df.feedback_weight=inf must be a finite number"),
        ({"drop_rate": 1.5}, "df.drop_rate=1.5 must be at least 0 and at most 1"),
        ({"confidence": 0.4}, "df.confidence=0.4 must be at least 0.5 and at most 1"),
        ({"log_parts": True, "variant": "exact"}, "gradient, which df.variant=exact"),
        ({"log_parts": True, "estimator": "difference"}, "df.log_parts reports parts of a slope"),
        ({"log_parts": True, "direction": "update"}, "df.log_parts reports parts of a slope"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        stage(**options)


def test_options_choose_functions():
    """What a step does with each: by the variants, where a name alone could be mistaken."""
    schedule = optax.constant_schedule(0.25)
    fb, key = jnp.asarray(-2.0), jax.random.key(0)
    for variant, wanted in (("continuous", -2.0), ("none", 0.0), ("constant", 0.5), ("exact", 1.0)):
        options = FeedbackOptions(variant=variant, positive=0.5, drop_rate=0.0)
        assert float(options.gate().update(fb, key, options.gate().init(None))[0]) == wanted
    step = fake_step(lambda params: jnp.sum(params["w"] ** 2))
    for name in ("grad", "jvp", "vjp"):
        plain = FeedbackOptions(estimator=name).measure(schedule)(step)
        scaled = FeedbackOptions(estimator=name, variant="continuous").measure(schedule)(step)
        np.testing.assert_allclose(plain.feedback, 2 * 3 * 5)  # < 2 w, g >
        np.testing.assert_allclose(scaled.feedback, 0.25 * 2 * 3 * 5)
    sure = jnp.asarray([[9.0, -9.0]])
    for name, wanted in (("threshold", [1, 0]), ("sample", [1, 0]), ("soft", [0.99988, 0.00012])):
        labels = FeedbackOptions(labels=name).label_rule().update(sure, key, None)[0]
        np.testing.assert_allclose(labels[0], wanted, atol=1e-5)
    unsure = jnp.asarray([[1.0, -1.0, 1.2]])  # p or 1 - p is 0.731, 0.731, 0.769
    for rule in (
        *(FeedbackOptions(labels=n, confidence=0.75).label_rule() for n in ("threshold", "sample")),
        FeedbackOptions(labels="matched", confidence=0.75).label_rule([0.5] * 3),
    ):
        mask = rule.update(unsure, key, rule.init(None))[1]
        np.testing.assert_array_equal(jnp.broadcast_to(mask, (1, 3)), [[False, False, True]])
    soft = FeedbackOptions(variant="exact").label_rule().update(sure, key, None)[0]
    assert 0 < float(soft[0, 1]) < 1


def fake_step(labeled_loss):
    """A student's step as a measure sees it: w = 3, g = 5, and nothing else."""
    grads = {"w": jnp.asarray([5.0])}
    new = LearnerState({"w": jnp.asarray([3.0])}, None, None)
    passed = PassOutput(*[None] * 8)._replace(grads=grads)
    counts = {"student_skipped": jnp.zeros((), jnp.int32)}
    before = FeedbackState(jnp.zeros((), jnp.int32), new, new, None, None, counts)
    return StudentStep(labeled_loss, new, passed, before, None, {}, None)


# Compilation.


def test_whole_and_parts_give_equal_numbers_and_the_whole_donates_its_state(inputs):
    # SGD: AdamW's steps are as long where a gradient is nothing but rounding.
    sgd = OptimizerConfig(steps=10, learning_rate=1e-2, kind="sgd")
    made = dataclasses.replace(stage(), teacher_optimizer=sgd, student_optimizer=sgd)
    ends = []
    for way in ("whole", "parts"):
        one = dataclasses.replace(made, compile=way)
        state, frozen = one.init(jax.random.key(0), inputs)
        for t in range(3):
            begun, both = state, FeedbackBatch(batch(2 * t), batch(2 * t + 1))
            state, metrics = one.train_step(state, frozen, both, jax.random.key(t))
            leaves = jax.tree.leaves((begun.teacher.params, begun.student.params))
            assert {leaf.is_deleted() for leaf in leaves} == {way == "whole"}
            assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((frozen, inputs)))
        ends.append((state, metrics))
    (whole, told), (parts, same) = ends
    assert abs(float(told["feedback"])) > 1e-5
    chex.assert_trees_all_close(told, same, rtol=2e-4, atol=2e-6)
    chex.assert_trees_all_close(whole, parts, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("way", "platform", "whole"),
    [
        *[("auto", "cpu", False), ("auto", "gpu", True), ("auto", "tpu", True)],
        *[("whole", "cpu", True), ("parts", "gpu", False)],
    ],
)
def test_auto_takes_parts_on_a_cpu_alone(inputs, monkeypatch, way, platform, whole):
    called = []
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(discrete_feedback, "_jitted_update", lambda *args: called.append("whole"))
    parts = types.SimpleNamespace(update=lambda *args: called.append("parts") or (None, None))
    monkeypatch.setattr(discrete_feedback, "_step_in_parts", lambda stage: parts)
    monkeypatch.setattr(discrete_feedback, "_metrics", lambda *args: None)
    made = dataclasses.replace(stage(), compile=way)
    frozen = {"generator": inputs["pi2"]["generator"], "identity": inputs["identity"]["encoder"]}
    made.train_step(None, frozen, FeedbackBatch(batch(0), batch(1)), jax.random.key(0))
    assert called == ["whole" if whole else "parts"]


def test_an_unknown_way_to_compile_is_refused():
    with pytest.raises(ValueError, match="df.compile='fast' is not one of auto, whole, parts"):
        dataclasses.replace(stage(), compile="fast")


def test_a_step_without_evidence_has_its_reason(inputs):
    made = stage()
    state, frozen = made.init(jax.random.key(0), inputs)
    unknown = batch(0)._replace(labels=-jnp.ones((BATCH, AUS)))
    _, metrics = made.train_step(state, frozen, FeedbackBatch(unknown, batch(1)), jax.random.key(0))
    reasons = {name for name, n in metrics.items() if name.startswith("count_useless_") and int(n)}
    assert reasons == {"count_useless_no_label_known_or_accepted"}
    assert int(metrics["count_zero"]) == 1 and int(metrics["count_skipped"]) == 0
    for labeled, judge, useless in ((batch(0), unknown, 1), (unknown, batch(0), 0)):
        state, frozen = made.init(jax.random.key(0), inputs)
        both = FeedbackBatch(labeled, batch(1), judge)
        _, metrics = made.train_step(state, frozen, both, jax.random.key(0))
        assert int(metrics["count_useless_no_label_known_or_accepted"]) == useless
        assert int(metrics["count_zero"]) == useless


# Judges.


def taught(made, inputs, judge, way="parts"):
    """State and metrics after one step."""
    made = dataclasses.replace(made, compile=way)
    state, frozen = made.init(jax.random.key(0), inputs)
    both = FeedbackBatch(batch(0), batch(1), judge)
    return made.train_step(state, frozen, both, jax.random.key(7))


def test_feedback_is_of_the_frames_that_judge(inputs):
    plain = OptimizerConfig(10, 0.5, kind="sgd", momentum=0.0, clip_norm=0.0, weight_decay=0.0)
    weights = LossWeights(au=0.8, pi=0.0, ap=0.2)
    made = dataclasses.replace(stage(weights), teacher_optimizer=plain, student_optimizer=plain)
    judge = batch(5)
    state, metrics = taught(made, inputs, judge)
    beside, of_labeled = taught(made, inputs, None)
    assert_trees(state.student, beside.student)
    # By hand, on what one pass of the network says: the slope of the judges' loss where the student now is.
    params, stats = state.student.params, state.student.model_state
    before = {name: inputs["piap"][name][0] for name in params}
    rate = float(plain.schedule()(0))
    direction = jax.tree.map(lambda a, b: (a - b) / rate, before, params)
    identity = np.asarray(
        encoder_apply(NANO, inputs["identity"]["encoder"], judge.image, mode="eval")[1]
    )

    def loss(w):
        moved = jax.tree.map(lambda p, d: p - w * d, params, direction)
        parts = {name: (moved[name], stats[name]) for name in moved}
        said = network_apply(NANO, parts, judge.image, mode="feedback", key=jax.random.key(0))[0]
        z, v = np.asarray(said.au_logits, float), np.asarray(said.vector, float)
        cosine = (v * identity).sum(1) / np.linalg.norm(v, axis=1)
        cosine /= np.linalg.norm(identity, axis=1)
        au = np.mean(np.logaddexp(0, z) - np.asarray(judge.labels) * z)
        return 0.8 * au - 0.2 * np.mean(np.log(1 - np.abs(cosine)))

    np.testing.assert_allclose(metrics["loss"], loss(0.0), rtol=1e-5)
    slope = (loss(-1e-2) - loss(1e-2)) / 2e-2
    np.testing.assert_allclose(metrics["feedback"], slope, rtol=2e-2)
    assert abs(float(of_labeled["feedback"]) - slope) > 0.1 * abs(slope)
    assert float(metrics["teacher_labeled_loss"]) == float(of_labeled["teacher_labeled_loss"])


def test_without_judges_the_labeled_frames_judge(inputs):
    (alone, told), (named, same) = (taught(stage(), inputs, x) for x in (None, batch(0)))
    assert float(told["feedback"]) != 0
    assert_trees((alone, told), (named, same))


@pytest.mark.nightly
def test_judges_are_heard_in_one_function_as_in_parts(inputs):
    made = stage(LossWeights(au=1.0, pi=0.0, ap=0.0), "baseline")
    _, parts = taught(made, inputs, batch(5))
    _, whole = taught(made, inputs, batch(5), "whole")
    _, of_labeled = taught(made, inputs, None)
    for name in ("loss", "feedback"):
        np.testing.assert_allclose(whole[name], parts[name], rtol=2e-4)
        assert abs(float(of_labeled[name]) / float(parts[name]) - 1) > 1e-3
