"""The best state on people kept apart: chosen, kept through a stop, handed on."""

import functools

import jax
import numpy as np
import pytest
from toy_stage import ToyStream, lines, toy_fit

from piapdf_jax.runtime.best import Validation
from piapdf_jax.runtime.exports import tree_digest

STEPS, EVERY, BEST = 17, 3, 9


@pytest.fixture(scope="module")
def after_nine(tmp_path_factory):
    return toy_fit(tmp_path_factory.mktemp("nine"), BEST)


@pytest.fixture
def validation(after_nine):
    """A score that is highest where the encoder is what it was after nine steps."""
    wanted = np.asarray(after_nine.state.params["encoder"]["kernel"])

    def score(exported):
        return -float(np.abs(np.asarray(exported["encoder"][0]["kernel"]) - wanted).max())

    return Validation(EVERY, score)


def chosen(folder, fitted, after_nine):
    assert tree_digest(fitted.state) == tree_digest(after_nine.state)
    assert fitted.report["best"] == [BEST, 0.0] and fitted.report["steps"] == STEPS
    assert fitted.report["state"] == tree_digest(after_nine.state)
    scored = {r["step"]: r["validation_f1"] for r in lines(folder) if "validation_f1" in r}
    assert list(scored) == [3, 6, 9, 12, 15, 17] and max(scored, key=scored.get) == BEST


def test_the_best_state_is_handed_on(tmp_path, validation, after_nine):
    fitted = toy_fit(tmp_path, STEPS, validation=validation)
    chosen(tmp_path, fitted, after_nine)
    assert [path.name for path in (tmp_path / "best").iterdir()] == [str(BEST)]
    again = toy_fit(tmp_path, STEPS, validation=validation)
    chosen(tmp_path, again, after_nine)


@pytest.mark.parametrize("ends", [[4], [9], [11], [8, 13]])
def test_a_stopped_training_chooses_the_same(tmp_path, validation, after_nine, ends):
    """Checkpoints come every five steps: the best state may be newer than the last of them."""
    for end in ends:
        with pytest.raises(RuntimeError, match="data ended"):
            stream = functools.partial(ToyStream, end=end)
            toy_fit(tmp_path, STEPS, validation=validation, stream=stream)
    chosen(tmp_path, toy_fit(tmp_path, STEPS, validation=validation), after_nine)


def test_without_people_kept_apart_the_last_state_is_handed_on(tmp_path):
    fitted = toy_fit(tmp_path, STEPS)
    assert fitted.report["best"] is None and int(fitted.state.step) == STEPS
    assert not (tmp_path / "best").exists()
    assert jax.tree.all(jax.tree.map(lambda x: x.is_fully_replicated, fitted.state))
