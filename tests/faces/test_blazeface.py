import numpy as np
import pytest

from piapdf_jax.faces.blazeface import SIDE, anchors, decoded, merged


def test_anchors_by_hand():
    found = anchors()
    # 16 x 16 cells of 8 pixels with two anchors each, then 8 x 8 cells of 16 pixels with six.
    assert found.shape == (16 * 16 * 2 + 8 * 8 * 6, 2) == (896, 2)
    np.testing.assert_array_equal(found[:4], [[4, 4], [4, 4], [12, 4], [12, 4]])
    np.testing.assert_array_equal(found[32], [4, 12])
    np.testing.assert_array_equal(found[512:519], [[8, 8]] * 6 + [[24, 8]])
    np.testing.assert_array_equal(found[-1], [120, 120])


def test_places_are_counted_from_the_anchor():
    places = np.zeros((3, 16))
    places[1] = [2, -1, 40, 20, *range(12)]
    scores, pairs = decoded(
        np.array([-3.0, 0.5, -0.1]), places, np.array([[0, 0], [60, 30], [9, 9]])
    )
    assert scores == pytest.approx([1 / (1 + np.exp(-0.5))])
    # Middle (62, 29), 40 wide and 20 high; points (0, 1), (2, 3), ... from the anchor.
    np.testing.assert_allclose(pairs[0, :2], [[42, 19], [82, 39]])
    np.testing.assert_allclose(pairs[0, 2:], np.arange(12).reshape(6, 2) + [60, 30])


def test_scores_of_any_size_are_numbers():
    scores, _ = decoded(np.array([1e4, -1e4]), np.zeros((2, 16)), np.zeros((2, 2)))
    assert scores.tolist() == [1.0]


def boxes(*corners):
    return np.array([[[x, y], [x + w, y + w], *[[x, y]] * 6] for x, y, w in corners], float)


def test_boxes_of_one_face_become_their_weighted_mean():
    places = boxes((0, 0, 10), (2, 0, 10), (50, 50, 10))
    found = merged(np.array([0.6, 0.9, 0.7]), places)
    assert [one.score for one in found] == [0.9, 0.7]
    # (0.6 * 0 + 0.9 * 2) / 1.5
    np.testing.assert_allclose(found[0].box, [1.2, 0, 10, 10])
    np.testing.assert_allclose(found[0].points, [[1.2, 0]] * 6)
    np.testing.assert_allclose(found[1].box, [50, 50, 10, 10])
    assert merged(np.zeros(0), np.zeros((0, 8, 2))) == []
    assert SIDE == 128
