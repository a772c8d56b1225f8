import numpy as np
import pytest

from data_builders import published_counts
from piapdf_jax import folds

# A second transcription, from other tables than those of ``published_counts``: positives of the whole set, percent by
# part, and the class weights that ME-GraphAU trains folds 1, 2 and 3 with.
POSITIVES = {
    "bp4d": "31042 25110 29755 67676 80616 87270 82530 68375 24869 50406 24288 22229",
    "disfa": "6506 5644 19933 10327 5473 16851 36247 11533",
}
PERCENT = {
    "bp4d": """
        16.44 16.14 19.92 41.59 58.98 57.64 55.85 40.04 15.14 31.76 15.85 13.98
        20.37 13.09 19.67 46.45 55.10 55.71 52.18 51.34 19.98 36.62 17.25 15.68
        27.15 22.53 21.29 50.63 50.19 65.46 60.97 48.53 15.60 34.64 16.53 15.83""",
    "disfa": """
        4.22 2.58 11.74 5.41 2.79 10.33 24.88 11.24
        3.37 2.02 15.26 8.16 2.95 14.19 30.29 9.46
        7.33 8.35 18.72 10.11 6.81 14.13 27.96 5.75""",
}
WEIGHTS = {
    "bp4d": """
        1.342985 1.689665 1.248091 .561356 .433044 .435894 .457287 .541004 1.408054 .722762 1.493145 1.666711
        1.191051 1.337315 1.246995 .558933 .468168 .418041 .440099 .581900 1.670360 .774237 1.586367 1.726535
        1.132895 1.519623 1.308560 .552098 .507140 .443118 .474432 .535111 1.496040 .749851 1.582501 1.698632""",
    "disfa": """
        1.422290 2.347771 .399672 .795021 1.878217 .440125 .195583 .521322
        1.390215 1.469573 .527298 1.034498 1.672842 .656650 .303915 .945009
        1.510590 1.560063 .475896 .884891 1.656857 .570937 .277589 1.063177""",
}
COUNTS = {"bp4d": published_counts.BP4D_COUNTS, "disfa": published_counts.DISFA_COUNTS}


def numbers(text):
    return np.array([line.split() for line in text.strip().splitlines()], float)


def test_counts_are_the_published_ones():
    assert sum(published_counts.BP4D_FRAMES.values()) == 146_847
    assert sum(published_counts.DISFA_FRAMES.values()) == 130_814
    # Training frames of folds 1, 2 and 3 as ME-GraphAU's lists count them.
    sizes = [
        sum(published_counts.BP4D_FRAMES.values())
        - published_counts.BP4D_FRAMES[folds.test_part(k)]
        for k in (1, 2, 3)
    ]
    assert sizes == [100_813, 96_665, 96_216]


@pytest.mark.parametrize("name", COUNTS)
def test_counts_by_part_participant_and_task_add_up(name):
    counts = COUNTS[name]
    for part, frames in counts.frames.items():
        assert sum(counts.subjects[subject] for subject in counts.parts[part]) == frames
        assert 0 < counts.tracked[part] < frames
    everybody = [subject for people in counts.parts.values() for subject in people]
    assert sorted(everybody) == sorted(counts.subjects)
    if counts.tasks:
        assert sum(counts.tasks.values()) == sum(counts.frames.values())
    assert sum(published_counts.BP4D_COUNTS.tracked.values()) == 146_576
    assert sum(published_counts.DISFA_COUNTS.tracked.values()) == 126_144


def test_one_frame_of_disfa_is_missing():
    lengths = published_counts.DISFA_COUNTS.subjects
    assert {subject for subject, frames in lengths.items() if frames != 4845} == {"SN010"}
    assert sum(lengths.values()) == 27 * 4845 - 1


@pytest.mark.parametrize("name", COUNTS)
def test_positives_give_the_published_totals_and_rates(name):
    counts = COUNTS[name]
    by_part = np.array([counts.positives[part] for part in (1, 2, 3)])
    assert by_part.shape == (3, len(counts.aus))
    np.testing.assert_array_equal(by_part.sum(0), numbers(POSITIVES[name])[0])
    frames = np.array([counts.frames[part] for part in (1, 2, 3)])[:, None]
    np.testing.assert_array_equal(np.round(100 * by_part / frames, 2), numbers(PERCENT[name]))


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("fold", [1, 2, 3])
def test_positives_give_the_class_weights_of_every_fold(name, fold):
    """w = (1 / rate) C / sum(1 / rate) on the training parts, published to the sixth decimal."""
    counts = COUNTS[name]
    train = [part for part in (1, 2, 3) if part != folds.test_part(fold)]
    positives = sum(np.array(counts.positives[part], float) for part in train)
    inverse = sum(counts.frames[part] for part in train) / positives
    weights = inverse * len(inverse) / inverse.sum()
    np.testing.assert_allclose(weights, numbers(WEIGHTS[name])[fold - 1], rtol=0, atol=5.1e-7)
