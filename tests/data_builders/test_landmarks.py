import numpy as np

from data_builders import landmarks


def test_frames_between_two_others_take_from_both_by_distance():
    origin = np.array([0, 2, 2, 0, 3], np.uint8)
    points = np.full((5, 68, 2), np.nan, np.float32)
    points[0], points[3] = 10, 20
    filled = landmarks.fill_gaps(
        landmarks.VideoLandmarks(points, origin), np.array([5, 6, 9, 10, 11])
    )
    assert filled.origin.tolist() == [0, 1, 1, 0, 3]
    np.testing.assert_allclose(filled.landmarks[:4, 7, 0], [10, 12, 18, 20])
    assert np.isnan(filled.landmarks[4]).all()


def test_neighbors_out_of_reach_lend_nothing():
    origin = np.array([landmarks.FOUND, landmarks.NO_FACE, landmarks.NO_FACE], np.uint8)
    points = np.full((3, 68, 2), np.nan, np.float32)
    points[0] = 7
    filled = landmarks.fill_gaps(
        landmarks.VideoLandmarks(points, origin), np.array([1, 13, 14]), reach=12
    )
    assert filled.origin.tolist() == [landmarks.FOUND, landmarks.BORROWED, landmarks.NO_FACE]
    assert (filled.landmarks[1] == 7).all() and np.isnan(filled.landmarks[2]).all()
