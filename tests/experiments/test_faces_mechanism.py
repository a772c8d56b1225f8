"""Table of the mechanism: shares of batches, counted by hand."""

import collections
import types

import numpy as np
import pytest

from experiments.feedback_study import faces_mechanism

Lengths = collections.namedtuple("Lengths", "start")


def test_shares_are_of_the_batches_of_all_seeds(monkeypatch):
    # [seeds, batches, judges, labels]: teacher's, half of the true ones, all true ones.
    training = [[[0.5, 0.6, -1.0], [0.1, 0.2, 0.3]], [[-0.2, -0.3, 0.1], [0.4, 0.4, 0.5]]]
    others = [[[-1.0, -2.0, -3.0], [-1.0, 0.0, 1.0]], [[-1.0, -2.0, -3.0], [-1.0, -2.0, -3.0]]]
    found = np.stack([training, others], axis=2)
    frames = np.zeros((3, 2)), np.zeros((3, 1))
    deck = types.SimpleNamespace(lanes=lambda pairs: pairs, scored=lambda *_: frames)
    monkeypatch.setattr(faces_mechanism.training, "start", lambda *_: None)
    monkeypatch.setattr(faces_mechanism, "_feedback", lambda *_: found)
    rows = faces_mechanism.measure(deck, Lengths(0), None, 2, 2, 30, (0.1, 0.1))
    told = {(row["judges"], row["labels"]): (row["prefers"], row["opens"]) for row in rows}
    assert {row["batches"] for row in rows} == {4} and {row["start"] for row in rows} == {30}
    nan = pytest.approx(float("nan"), nan_ok=True)
    assert told == {
        ("training", "teacher"): (nan, 3 / 4),
        ("training", "half"): (2 / 4, 3 / 4),  # a tie prefers nothing
        ("training", "truth"): (3 / 4, 3 / 4),
        ("others", "teacher"): (nan, 0),
        ("others", "half"): (1 / 4, 0),
        ("others", "truth"): (1 / 4, 1 / 4),
    }
