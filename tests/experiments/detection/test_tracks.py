import json

import numpy as np
import pytest

from experiments.detection.tracks import PATIENCE, Tracker, is_cut, overlap, thumbnail


@pytest.mark.parametrize(
    ("second", "shared"),
    [
        ((0, 0, 10, 10), 1.0),
        ((5, 0, 10, 10), 50 / 150),
        ((5, 5, 10, 10), 25 / 175),
        ((2, 2, 5, 5), 25 / 100),
        ((10, 0, 10, 10), 0.0),
        ((30, 30, 10, 10), 0.0),
        ((0, 0, 0, 0), 0.0),
    ],
)
def test_overlap_by_hand(second, shared):
    assert overlap((0, 0, 10, 10), second) == pytest.approx(shared)
    assert overlap(second, (0, 0, 10, 10)) == pytest.approx(shared)


def at(x, y=0.0, side=10.0):
    return (x, y, side, side)


def test_faces_keep_their_numbers_while_they_move_and_in_any_order():
    tracker = Tracker()
    assert tracker.number([at(0), at(100)]) == [0, 1]
    assert tracker.number([at(103), at(3)]) == [1, 0]
    assert tracker.number([at(50), at(106), at(6)]) == [2, 1, 0]
    # Each number goes to one face of a frame, to the one that overlaps most.
    assert tracker.number([at(8), at(7)]) == [3, 0]


def test_a_face_that_is_gone_for_a_while_keeps_its_number_and_not_for_ever():
    tracker = Tracker()
    tracker.number([at(0)])
    for _ in range(PATIENCE):
        assert tracker.number([]) == []
    assert tracker.number([at(1)]) == [0]
    for _ in range(PATIENCE + 1):
        tracker.number([])
    assert tracker.number([at(1)]) == [1]


def test_numbers_start_anew_at_a_cut():
    tracker = Tracker()
    assert tracker.number([at(0), at(50)]) == [0, 1]
    assert tracker.number([at(0), at(50)], cut=True) == [2, 3]
    assert tracker.number([at(50), at(0)]) == [3, 2]


def test_a_state_goes_through_json():
    rng = np.random.default_rng(0)
    frames = [[at(*rng.uniform(0, 40, 2)) for _ in range(rng.integers(0, 4))] for _ in range(30)]
    straight, stopped = Tracker(), Tracker()
    for frame in frames:
        stopped = Tracker(json.loads(json.dumps(stopped.state())))
        assert stopped.number(frame) == straight.number(frame)


def test_cuts_are_seen_and_movement_is_not():
    rng = np.random.default_rng(1)
    scene = np.kron(rng.integers(60, 200, (9, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    other = np.kron(rng.integers(0, 255, (9, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    moved, darker = np.roll(scene, 3, axis=1), (scene * 0.95).astype(np.uint8)
    first = thumbnail(scene)
    assert not is_cut(None, first)
    assert not is_cut(first, first) and not is_cut(first, thumbnail(moved))
    assert not is_cut(first, thumbnail(darker))
    assert is_cut(first, thumbnail(other))


def test_hue_is_a_circle():
    # Two reds on both sides of hue 0, as different as two neighboring greens.
    red, other = np.full((2, 72, 128, 3), (200, 20, 20), np.uint8)
    other[..., 2] += 9
    red[..., 1] += 9
    assert not is_cut(thumbnail(red), thumbnail(other))
