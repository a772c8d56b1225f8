"""Fine-tuning of the student on labels: its steps are those of the supervised stage, started where feedback ended."""

import dataclasses
import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from memory_records import MemoryRecords, reading
from test_discrete_feedback import AUS, MAPS, NANO, SIZE, STEPS, WEIGHTS, batch, moved, stage

from piapdf_jax.data import prefetch
from piapdf_jax.data.augment import AugmentConfig
from piapdf_jax.data.feedback_stream import FeedbackStream
from piapdf_jax.losses import LossWeights
from piapdf_jax.models.piap import init_part, network_apply
from piapdf_jax.runtime import loop
from piapdf_jax.runtime.checkpoints import Validation
from piapdf_jax.runtime.digests import tree_digest
from piapdf_jax.runtime.train_stats import WALL_CLOCK
from piapdf_jax.runtime.writers import read_jsonl
from piapdf_jax.stages import feedback_learners
from piapdf_jax.stages.base import OptimizerConfig, create_state
from piapdf_jax.stages.discrete_feedback import FeedbackStage
from piapdf_jax.stages.piap import PIAPStage

#: Of another length and rate than feedback's own.
# With eps_root, as AdamW makes whole steps of gradients that are 0 but for rounding: those of a bias before a norm.
FINE = OptimizerConfig(steps=4, learning_rate=3e-3, warmup=0.5, eps_root=1e-6)
KEYS = [jax.random.key(seed) for seed in (20, 21)]


@pytest.fixture(scope="module")
def inputs():
    sizes = {"image_size": SIZE, "num_maps": MAPS}
    part = lambda name, seed, **more: init_part(NANO, name, jax.random.key(seed), **more)  # noqa: E731
    trained = {"encoder": part("encoder", 0), "head": part("head", 1, num_aus=AUS)}
    trained["decoder"] = part("decoder", 4, **sizes)
    return {
        "pi2": {"generator": part("generator", 2, **sizes)},
        "identity": {"encoder": part("encoder", 3)},
        "piap": trained,
    }


@pytest.fixture(scope="module")
def after_feedback(inputs):
    """A stage that fine-tunes, its state as after the last step of feedback, and the frozen parts."""
    made = dataclasses.replace(stage(), finetune_optimizer=FINE)
    state, frozen = made.init(KEYS[0], inputs)
    # A student of its own, whose optimizer remembers something.
    student = jax.tree.map(lambda x: 0.9 * x, state.student[:2])
    opt_state = jax.tree.map(lambda x: x + 1, state.student.opt_state)
    student = state.student._replace(params=student[0], model_state=student[1], opt_state=opt_state)
    return made, state._replace(step=jnp.asarray(STEPS.steps), student=student), frozen


def copied(state):
    """The step takes the state's arrays."""
    return jax.tree.map(lambda x: jnp.array(x, copy=True), state)


def supervised(state, frozen, batches):
    """What PIAP's own stage makes of the student, and the losses that it met."""
    student = state.student
    made = PIAPStage(NANO, FINE, WEIGHTS, image_size=SIZE, num_aus=AUS, num_maps=MAPS)
    parts = {name: (student.params[name], student.model_state[name]) for name in student.params}
    now, losses = create_state(copied(parts), FINE.build()), []
    for one, key in zip(batches, KEYS, strict=False):
        now, metrics = made.train_step(now, frozen, one, key)
        losses.append(float(metrics["loss"]))
    return now, losses


def check_equal(found, expected):
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", ["parts", "whole"])
def test_fine_tuning_is_the_supervised_training_of_the_whole_student(after_feedback, way):
    made, ended, frozen = after_feedback
    made, state, batches = (
        dataclasses.replace(made, compile=way),
        copied(ended),
        [batch(7), batch(8)],
    )
    expected, losses = supervised(ended, frozen, batches)
    for one, key, loss in zip(batches, KEYS, losses, strict=True):
        state, metrics = made.train_step(state, frozen, one, key)
        assert set(metrics) == {"loss", "gradient_norm", "count_skipped"}
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
    assert set(state.student.params) == {"encoder", "head", "decoder"}
    check_equal(state.student[:2], (expected.params, expected.batch_stats))
    assert any(moved(ended.student.params, state.student.params))
    # The teacher, and what its labels and gate remember, stay as feedback left them.
    assert not any(moved(ended._replace(step=0, student=0), state._replace(step=0, student=0)))
    assert int(state.step) == STEPS.steps + 2
    exported, beside = made.export(state), made.export_for_scoring(state)
    check_equal(exported["head"][0], expected.params["head"])
    assert not any(moved(beside["teacher_head"][0], ended.teacher.params["head"]))


def test_a_batch_that_is_not_finite_is_skipped_and_the_next_one_is_the_first(after_feedback):
    made, ended, frozen = after_feedback
    broken = batch(7)._replace(image=jnp.full_like(batch(7).image, jnp.nan))
    state, metrics = made.train_step(copied(ended), frozen, broken, KEYS[1])
    assert int(metrics["count_skipped"]) == 1 and int(state.step) == STEPS.steps + 1
    assert not any(moved(ended.student[:2], state.student[:2]))
    state, metrics = made.train_step(state, frozen, batch(8), KEYS[0])
    assert int(metrics["count_skipped"]) == 0
    expected, _ = supervised(ended, frozen, [batch(8)])
    check_equal(state.student[:2], (expected.params, expected.batch_stats))


# The loop: two steps of feedback, three of fine-tuning.

FEEDBACK_STEPS, TOTAL = 2, 5


@pytest.fixture(scope="module")
def baseline():
    head = init_part(NANO, "head", jax.random.key(1), num_aus=AUS)
    return {"baseline": {"encoder": init_part(NANO, "encoder", jax.random.key(0)), "head": head}}


def lines(folder):
    rows = read_jsonl(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k not in WALL_CLOCK} for row in rows]


def fit(folder, inputs, *, end=TOTAL, **more):
    own = OptimizerConfig(steps=FEEDBACK_STEPS, learning_rate=1e-2)
    made = FeedbackStage(
        *(NANO, own, own, LossWeights(au=1.0)),
        **{"image_size": SIZE, "num_aus": AUS, "num_maps": 0, "init_from": "baseline"},
        finetune_optimizer=dataclasses.replace(own, steps=TOTAL - FEEDBACK_STEPS),
    )
    pools = ((MemoryRecords(30, seed=1), 1.0),)
    read = reading(image_size=SIZE, batch_size=4, aus=(1, 2, 4), maps=(), augment=AugmentConfig())
    stream = FeedbackStream(MemoryRecords(40), pools, 0.25, read, steps=FEEDBACK_STEPS)
    return loop.fit(
        made,
        functools.partial(prefetch.prefetch, stream, stop=end),
        **{"name": "df", "steps": TOTAL, "key": jax.random.key(3), "inputs": inputs},
        folder=folder,
        batch_size=4,
        config={"training": "df"},
        loop_config=loop.LoopConfig(log_every=1, checkpoint_every=1, tensorboard=False, audit=True),
        frames=stream.frames,
        **more,
    )


@pytest.fixture(scope="module")
def traced():
    """Modes in which the learner's network was traced."""
    return []


@pytest.fixture(scope="module")
def straight(tmp_path_factory, baseline, traced):
    def traced_apply(*arguments, mode, **more):
        traced.append(mode)
        return network_apply(*arguments, mode=mode, **more)

    folder = tmp_path_factory.mktemp("fine_tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feedback_learners, "network_apply", traced_apply)
        return folder, fit(folder, baseline)


def test_fine_tuning_runs_what_feedback_compiled(straight, traced):
    # On a CPU a step is compiled in parts: one gradient for three passes, and the judgment.
    assert sorted(traced) == ["feedback", "train"]


def test_the_loop_goes_from_feedback_to_fine_tuning(straight):
    folder, fitted = straight
    rows = lines(folder)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert ["feedback" in row for row in rows] == [True, True, False, False, False]
    # Counts are those of all steps so far: of feedback, these stand still.
    signs = [sum(row[f"count_{sign}"] for sign in ("positive", "negative", "zero")) for row in rows]
    assert signs == [1, 2, 2, 2, 2]
    assert all(np.isfinite(row["loss"]) for row in rows) and fitted.report["skipped"] == 0
    assert int(fitted.state.step) == TOTAL
    assert {"teacher", "student"} == set(fitted.report["trained"])


@pytest.mark.parametrize("ends", [[2], [1, 3, 4]], ids=str)
def test_stopped_before_at_and_after_the_change_it_ends_as_the_straight_run(
    tmp_path, straight, baseline, ends
):
    for end in ends:
        with pytest.raises(RuntimeError, match=f"df: data ended at step {end} of {TOTAL}"):
            fit(tmp_path, baseline, end=end)
    fitted = fit(tmp_path, baseline)
    assert tree_digest(fitted.state) == tree_digest(straight[1].state)
    assert lines(tmp_path) == lines(straight[0])
    assert fitted.report["totals"] == straight[1].report["totals"]


@pytest.mark.parametrize("best", [1, 4])
def test_the_state_that_is_chosen_may_be_of_either_phase(tmp_path, straight, baseline, best):
    count = itertools.count(1)
    score = lambda exported: float(next(count) == best)  # noqa: E731
    fitted = fit(tmp_path, baseline, validation=Validation(1, score))
    assert fitted.report["best"][0] == best == int(fitted.state.step)
    same = tree_digest(fitted.state.teacher) == tree_digest(straight[1].state.teacher)
    assert same == (best > FEEDBACK_STEPS)
