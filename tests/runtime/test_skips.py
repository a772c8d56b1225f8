import functools
import json
import os
import signal

import jax
import numpy as np
import pytest
from toy_stage import ToyStage, ToyStream, lines, toy_batch, toy_fit

from piapdf_jax.runtime.digests import tree_digest
from piapdf_jax.runtime.steps import Interrupted, NonFiniteError, NonFiniteGuard


def names(step):
    return {"frames": [f"F001/T{step}/{k:04d}" for k in range(10)]}


@pytest.mark.parametrize("limit", [0, 2])
def test_too_many_skips_end_the_training_and_save_the_batch(tmp_path, limit):
    with pytest.raises(NonFiniteError) as stopped:
        toy_fit(tmp_path, 30, stage=ToyStage(bad_from=7), max_skipped=limit, frames=names)
    error = stopped.value
    assert (error.name, error.step) == ("toy", 8 + limit)
    told = str(error)
    assert f"was not finite in {limit + 1} steps, more than run.max_skipped={limit}" in told
    assert f"the last was step {error.step} with frames: F001/T{error.step - 1}/0000, " in told
    assert "/0007 and 2 more. Its batch is saved in" in told and str(error.path) in told
    with np.load(error.path) as saved:
        wanted = toy_batch(error.step - 1)
        for field in ("image", "labels", "record_index", "mask"):
            np.testing.assert_array_equal(saved[field], getattr(wanted, field))
        assert saved["frames.frames"].tolist() == names(error.step - 1)["frames"]


def test_skips_before_a_restart_count(tmp_path):
    stage = ToyStage(bad_step=2)
    toy_fit(tmp_path, 6, stage=stage, max_skipped=1)
    with pytest.raises(NonFiniteError, match="in 2 steps"):
        toy_fit(tmp_path, 20, stage=ToyStage(bad_from=9), max_skipped=1)


def test_skipped_steps_change_nothing_but_the_counts(tmp_path):
    a = toy_fit(tmp_path / "a", 7)
    b = toy_fit(tmp_path / "b", 12, stage=ToyStage(bad_from=7), max_skipped=5)
    for field in ("params", "batch_stats", "opt_state"):
        assert tree_digest(getattr(a.state, field)) == tree_digest(getattr(b.state, field))
    assert (
        int(b.state.skipped)
        == 5
        == b.report["skipped"]
        == lines(tmp_path / "b")[-1]["count_skipped"]
    )
    assert json.dumps(jax.tree.map(float, b.report["totals"]["count_yes"]))


#: Steps of this training that are not finite, counted from 1.
BAD = (2, 4, 5, 9, 13)
STEPS = 15


class Stumbling(ToyStream):
    """Batches of which some hold NaN; at a step of ``asks`` a signal asks for a stop, once."""

    def __init__(self, step, *, asks=(), **options):
        super().__init__(step, **options)
        self.asks = asks

    def __next__(self):
        batch = super().__next__()
        if self.step in self.asks:
            self.asks.remove(self.step)  # a batch that is not finite is read again to be saved
            os.kill(os.getpid(), signal.SIGTERM)
        return batch._replace(image=batch.image * np.nan) if self.step in BAD else batch


def stopped(folder, stops, **options):
    """Trains up to each stop: "end" loses what came after a checkpoint, "asks" saves the state."""
    for how, step in stops:
        ending = {"end": step} if how == "end" else {"asks": [step]}
        with pytest.raises(RuntimeError if how == "end" else Interrupted):
            toy_fit(folder, STEPS, stream=functools.partial(Stumbling, **ending), **options)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return folder, toy_fit(folder, STEPS, stream=Stumbling)


#: Checkpoints come every five steps: most stops lie behind a skipped step that is done again.
STOPS = [
    [("end", 3)],
    [("end", 5), ("end", 9)],
    [("end", 7), ("end", 8), ("end", 14)],
    [("asks", 4)],
    [("asks", 2), ("end", 6), ("asks", 13)],
]


@pytest.mark.parametrize("stops", STOPS)
def test_a_training_that_was_stopped_tells_of_the_same_skips(tmp_path, straight, stops):
    stopped(tmp_path, stops)
    fitted = toy_fit(tmp_path, STEPS, stream=Stumbling)
    assert fitted.report["skipped"] == int(fitted.state.skipped) == len(BAD)
    assert fitted.report["totals"]["count_skipped"] == len(BAD)
    assert fitted.report["totals"] == straight[1].report["totals"]
    assert tree_digest(fitted.state) == tree_digest(straight[1].state)
    told = {row["step"]: row["count_skipped"] for row in lines(tmp_path)}
    assert told == {1: 0, 3: 1, 6: 3, 9: 4, 12: 4, 15: 5}
    assert json.dumps(lines(tmp_path)) == json.dumps(lines(straight[0]))


@pytest.mark.parametrize("stops", STOPS)
def test_the_limit_counts_over_all_restarts(tmp_path, stops):
    """The fifth skip, at step 13, is one too many; a sixth would be if any counted twice."""
    before = [stop for stop in stops if stop[1] < 13]
    stopped(tmp_path / "tight", before, max_skipped=4)
    for _ in range(2):  # and starting once more does not help
        with pytest.raises(
            NonFiniteError, match="in 5 steps, more than run.max_skipped=4"
        ) as error:
            toy_fit(tmp_path / "tight", STEPS, stream=Stumbling, max_skipped=4)
        assert error.value.step == 13
    stopped(tmp_path / "loose", stops, max_skipped=5)
    toy_fit(tmp_path / "loose", STEPS, stream=Stumbling, max_skipped=5)


@pytest.mark.parametrize(("steps", "asks"), [(13, []), (STEPS, [13])])
def test_a_skip_of_the_last_step_counts_before_its_state_is_saved(tmp_path, steps, asks):
    with pytest.raises(NonFiniteError, match="the last was step 13"):
        stream = functools.partial(Stumbling, asks=list(asks))
        toy_fit(tmp_path, steps, stream=stream, max_skipped=4)
    assert not (tmp_path / "checkpoints" / "13").exists()


def test_twenty_useless_steps_in_a_row_are_a_warning(tmp_path, caplog):
    skips = NonFiniteGuard("PIAP-DF", 5, tmp_path, stream=None, frames=None)
    nothing, why = {"count_useless_a_b": np.int32(0), "count_zero": np.int32(1)}, "count_useless_"
    useless = {f"{why}no_label": np.int32(1), f"{why}not_finite": np.int32(0)}
    other = {f"{why}no_label": np.int32(0), f"{why}not_finite": np.int32(1)}
    for step in range(1, 20):
        skips.add(step, useless)
    skips.add(20, nothing)  # nineteen, and then one that tells something
    assert not caplog.records
    for step in range(21, 40):
        skips.add(step, useless)
    assert not caplog.records
    for step in range(40, 75):
        skips.add(step, other)
    (told,) = caplog.records
    assert told.levelname == "WARNING"
    assert told.getMessage() == "PIAP-DF: no step from 21 to 40 was useful: no label, not finite"
