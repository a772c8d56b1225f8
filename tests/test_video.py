"""Times of frames to numbers, on times written by hand; films are in tests/data_builders/test_films.py."""

import pathlib

import numpy as np
import pytest

from piapdf_jax import video

PATH = pathlib.Path("film.mp4")


def numbers(times, rate, **options):
    return video.number_times(np.array(times, float), rate, PATH, **options)


@pytest.mark.parametrize(
    ("times", "rate", "expected"),
    [
        ([0, 0.05, 0.1], 20, [0, 1, 2]),
        ([0, 0.05, 0.2], 20, [0, 1, 4]),
        ([0.1, 0.15], 20, [2, 3]),
        ([0], 20, [0]),
        ([], 20, []),
        # milliseconds of 30000/1001 frames a second
        ([0, 0.033, 0.067, 0.100, 0.133, 0.167, 0.300], 30000 / 1001, [0, 1, 2, 3, 4, 5, 9]),
        # 20 frames a second on the mean, by a camera that is early or late by up to a third of a frame
        ([0, 0.066, 0.095, 0.16, 0.19, 0.256, 0.3], 20, [0, 1, 2, 3, 4, 5, 6]),
        # most of a film is missing in one place
        ([0, 0.05, 0.1, 0.15, 5, 5.05], 1.2, [0, 1, 2, 3, 100, 101]),
        # few frames, whose mean of 15 or 16 a second is not far from either
        ([0, 0.05, 0.15], 15, [0, 1, 3]),
        ([0, 0.05, 0.15, 0.2], 16, [0, 1, 3, 4]),
        # frames of a grid on which hardly any two are neighbors
        (np.array([0, 2, 4, 6, 7, 9, 11, 14]) / 20, 10, [0, 2, 4, 6, 7, 9, 11, 14]),
        # the rate is the mean of a film that lacks every second frame of its end: 19 intervals in 30 frames
        ([*np.arange(9) / 20, *np.arange(10, 30, 2) / 20], 12.4, [*range(9), *range(10, 30, 2)]),
        # no rate, or none that can be: the grid tells
        ([0, 0.05, 0.1, 0.2, 0.25], 0, [0, 1, 2, 4, 5]),
        ([0, 0.05, 0.1, 0.2, 0.25], np.nan, [0, 1, 2, 4, 5]),
        # a decoder that held two pictures back: all late by two, the last two without a time
        ([0.1, 0.15, 0.2, 0.25, 0, 0], 20, [0, 1, 2, 3, 4, 5]),
        ([0.1, 0.15, 0.3, 0.35, 0, 0], 20, [0, 1, 2, 3, 6, 7]),
    ],
)
def test_numbers_by_hand(times, rate, expected):
    assert numbers(times, rate) == expected
    assert numbers(times, rate, first=1) == [number + 1 for number in expected]


def test_half_a_frame_at_the_start_moves_all_by_one():
    """Rounding halves to even numbers would give 0, 2, 2."""
    assert numbers([0.025, 0.075, 0.125], 20) == [1, 2, 3]
    assert numbers([0, 0.05, 0.1], 20, start=0.075) == [2, 3, 4]


def test_four_minutes_of_dropped_frames_do_not_drift():
    """4845 frames in milliseconds, as long as DISFA's films, every hundredth missing."""
    there = [k for k in range(4845) if k % 100 != 50]
    times = [int(k * 1001 / 30) / 1000 for k in there]
    mean = len(there) / 4845 * 30000 / 1001
    assert numbers(times, mean) == there


@pytest.mark.parametrize(
    ("times", "rate", "said"),
    [
        ([0, 0.05, 0.1, 0.08], 20, "film.mp4, frame 3: shown at 0.080 s, which is before frame 2"),
        ([0, 0.05, 0.05, 0.1], 20, "film.mp4, frame 2: shown at 0.050 s, .* is number 1, as is frame 1"),
        ([0, 0.05, 0.06, 0.1, 0.15], 20, "film.mp4, frame 2: .* is number 1, as is frame 1"),
        ([0, 0.05, np.nan], 20, "film.mp4, frame 2: nan s is not a time"),
        ([-0.05, 0, 0.05], 20, "film.mp4, frame 0: -0.05 s is not a time"),
        ([0, 0.05, 1e9], 20, "film.mp4, frame 2: 1000000000.0 s is not a time"),
        ([0, 0.05], 1e9, "film.mp4, frame 0: the film has no frame rate"),
        ([0, 0, 0], 20, "film.mp4, frame 1: the film holds no times"),
        ([0, 0.05], 0, "film.mp4, frame 0: the film has no frame rate"),
        ([0, 0.05], np.inf, "film.mp4, frame 0: the film has no frame rate"),
        (np.sqrt(np.arange(12)) / 10, -1, "film.mp4, frame 0: the film has no frame rate"),
        # 59.94 frames a second in a container that says 29.97
        (np.arange(40) * 1001 / 60000, 30000 / 1001, "film.mp4, frame 2: .* is number 1, as is frame 1"),
    ],
)  # fmt: skip
def test_times_that_number_no_frames_are_refused(times, rate, said):
    with pytest.raises(video.FilmError, match=said):
        numbers(times, rate)
