"""The best state on people kept apart: chosen, kept through a stop, handed on."""

import functools

import jax
import numpy as np
import pytest
from toy_stage import ToyStage, ToyStream, lines, toy_fit

from piapdf_jax.runtime.checkpoints import Validation
from piapdf_jax.runtime.digests import tree_digest

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


class Scripted:
    """Scores that are given for each state that is scored, again whenever it comes.

    Attributes:
        exports: digests of the exports after steps 3, 6, 9, 12, 15 and 17.
    """

    def __init__(self, folder):
        self.exports = []
        toy_fit(folder, STEPS, validation=Validation(EVERY, self.note))

    def note(self, exported):
        self.exports.append(tree_digest(exported))
        return 0.0

    def validation(self, scores):
        told = dict(zip(self.exports, scores, strict=True))
        return Validation(EVERY, lambda exported: told[tree_digest(exported)])


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    return Scripted(tmp_path_factory.mktemp("scripted"))


NAN = float("nan")


@pytest.mark.parametrize("ends", [[], [4], [8, 13], [16]])
@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 3),
        ([0.1, 0.4, 0.4, 0.2, 0.4, 0.4], 6),
        ([0.0, -0.0, -1.0, 0.0, -0.0, 0.0], 3),
        ([NAN, 0.2, NAN, 0.2, 0.3, NAN], 15),
        ([0.2, NAN, NAN, 0.1, 0.2, NAN], 3),
        ([NAN, NAN, NAN, NAN, NAN, NAN], None),
    ],
)
def test_the_first_of_equals_is_kept_and_none_without_a_number(
    tmp_path, scripted, scores, best, ends
):
    validation = scripted.validation(scores)
    for end in ends:
        with pytest.raises(RuntimeError, match="data ended"):
            stream = functools.partial(ToyStream, end=end)
            toy_fit(tmp_path, STEPS, validation=validation, stream=stream)
    fitted = toy_fit(tmp_path, STEPS, validation=validation)
    scored = [3, 6, 9, 12, 15, 17]
    # Where no state has a score, the last one is handed on.
    place = -1 if best is None else scored.index(best)
    assert fitted.report["best"] == (None if best is None else [best, scores[place]])
    assert tree_digest(ToyStage().export(fitted.state)) == scripted.exports[place]
    kept = [path.name for path in (tmp_path / "best").iterdir()]
    assert kept == ([] if best is None else [str(best)])
