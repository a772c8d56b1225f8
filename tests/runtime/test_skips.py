import json

import jax
import numpy as np
import pytest
from toy_stage import ToyStage, lines, toy_batch, toy_fit

from piapdf_jax.runtime.exports import tree_digest
from piapdf_jax.runtime.skips import NotFinite


def names(step):
    return {"frames": [f"F001/T{step}/{k:04d}" for k in range(10)]}


@pytest.mark.parametrize("limit", [0, 2])
def test_too_many_skips_end_the_training_and_save_the_batch(tmp_path, limit):
    with pytest.raises(NotFinite) as stopped:
        toy_fit(tmp_path, 30, stage=ToyStage(bad_from=7), max_skipped=limit, frames=names)
    error = stopped.value
    assert (error.name, error.step) == ("toy", 8 + limit)
    told = str(error)
    assert f"was not finite in {limit + 1} steps, more than run.max_skipped={limit}" in told
    assert f"the last was step {error.step} with frames: F001/T{error.step - 1}/0000, " in told
    assert "/0007 and 2 more. Its batch is saved in" in told and str(error.path) in told
    with np.load(error.path) as saved:
        wanted = toy_batch(error.step - 1)
        for field in ("image", "labels", "row", "valid"):
            np.testing.assert_array_equal(saved[field], getattr(wanted, field))
        assert saved["frames.frames"].tolist() == names(error.step - 1)["frames"]


def test_skips_before_a_restart_count(tmp_path):
    stage = ToyStage(bad_step=2)
    toy_fit(tmp_path, 6, stage=stage, max_skipped=1)
    with pytest.raises(NotFinite, match="in 2 steps"):
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
