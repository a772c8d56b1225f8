"""Scores against counting by hand, brute force and closed forms."""

import itertools

import numpy as np
import pytest

from piapdf_jax import identity_metrics, metrics

RNG = np.random.default_rng(3)
PROBS = np.round(RNG.random((200, 4)), 2)
LABELS = RNG.integers(-1, 2, (200, 4))


def cells(c):
    known = LABELS[:, c] >= 0
    return PROBS[known, c], LABELS[known, c]


def test_f1_by_hand():
    probs = np.array([[0.9], [0.5], [0.4], [0.1], [0.8]])
    labels = np.array([[1], [0], [1], [0], [-1]])
    # One hit, one false alarm (0.5 counts as yes), one miss; the unknown cell is left out.
    assert metrics.f1(probs, labels)[0] == 2 / (2 + 1 + 1)


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    for c in range(4):
        p, y = cells(c)
        said = p >= 0.5
        precision, recall = y[said].mean(), said[y == 1].mean()
        expected = 2 * precision * recall / (precision + recall)
        assert metrics.f1(PROBS, LABELS)[c] == pytest.approx(expected, rel=1e-12)


def test_f1_without_positives_and_without_predictions_is_zero():
    assert metrics.f1(np.zeros((5, 1)), np.zeros((5, 1)))[0] == 0
    assert np.isnan(metrics.f1(np.zeros((5, 1)), np.full((5, 1), -1))[0])


def test_always_yes_is_two_r_over_one_plus_r():
    for c in range(4):
        rate = cells(c)[1].mean()
        assert metrics.always_yes_f1(LABELS)[c] == pytest.approx(2 * rate / (1 + rate), rel=1e-12)


def test_roc_auc_counts_pairs():
    for c in range(4):
        p, y = cells(c)
        pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(p[y == 1], p[y == 0])]
        assert metrics.roc_auc(PROBS, LABELS)[c] == pytest.approx(np.mean(pairs), rel=1e-12)


def test_auprc_sums_over_thresholds():
    for c in range(4):
        p, y = cells(c)
        total, recall_before = 0.0, 0.0
        for threshold in sorted(set(p), reverse=True):
            said = p >= threshold
            recall = said[y == 1].mean()
            total += (recall - recall_before) * y[said].mean()
            recall_before = recall
        assert metrics.auprc(PROBS, LABELS)[c] == pytest.approx(total, rel=1e-12)


def test_mcc_is_the_correlation_of_yes_and_label():
    for c in range(4):
        p, y = cells(c)
        expected = np.corrcoef(p >= 0.5, y)[0, 1]
        assert metrics.mcc(PROBS, LABELS)[c] == pytest.approx(expected, rel=1e-9)
    assert metrics.mcc(np.ones((4, 1)), np.ones((4, 1)))[0] == 0


def test_calibration_error_of_honest_and_of_overconfident_scores():
    honest = np.repeat([[0.25], [0.75]], 400, axis=0)
    labels = np.tile([[1], [0], [0], [0]], (100, 1)), np.tile([[1], [1], [1], [0]], (100, 1))
    assert metrics.calibration_error(honest, np.vstack(labels))[0] == pytest.approx(0, abs=1e-12)
    sure = np.ones((100, 1))
    half = np.tile([[0], [1]], (50, 1))
    assert metrics.calibration_error(sure, half)[0] == pytest.approx(0.5)


def test_iou_pools_pixels():
    inter, union = np.array([[1, 0], [3, 0]]), np.array([[2, 0], [6, 0]])
    np.testing.assert_allclose(metrics.iou(inter, union), [0.5, np.nan])


def test_verification_chooses_its_threshold_on_the_other_blocks():
    # In block 0 everything is shifted: the threshold of the others is wrong for half of its pairs.
    similarity = np.array([0.9, 0.8, 0.1, 0.2] * 3) - np.repeat([0.75, 0, 0], 4)
    same = np.array([1, 1, 0, 0] * 3)
    block = np.repeat([0, 1, 2], 4)
    mean, deviation, *_ = identity_metrics.ten_fold_verification(similarity, same, block)
    expected = []
    for held in range(3):
        rest = block != held
        best = max(
            [-1.0, *((a + b) / 2 for a, b in itertools.pairwise(sorted(similarity[rest]))), 2.0],
            key=lambda t: (((similarity[rest] >= t) == same[rest]).sum(), -t),
        )
        expected.append(((similarity[~rest] >= best) == same[~rest]).mean())
    assert mean == pytest.approx(np.mean(expected))
    assert deviation == pytest.approx(np.std(expected))
    assert mean < 1


def test_verification_of_a_perfect_and_of_a_blind_similarity():
    same = np.tile([0, 1], 50)
    block = np.repeat(np.arange(10), 10)
    assert identity_metrics.ten_fold_verification(same + 0.1, same, block)[:2] == (1.0, 0.0)
    assert identity_metrics.ten_fold_verification(np.zeros(100), same, block)[0] == 0.5


def people(strength):
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(5), 40)
    task = np.tile([f"T{k}" for k in range(1, 9)], 25)
    vectors = strength * np.eye(5)[who] @ rng.normal(size=(5, 7)) + rng.normal(size=(200, 7))
    return vectors * 3 + 10, np.array([f"F{k}" for k in who]), task


def test_identity_probe_finds_people_where_they_are_and_only_there():
    accuracy, chance, _ = identity_metrics.identity_probe(*people(5.0))
    assert chance == 0.2
    assert accuracy > 0.95
    assert identity_metrics.identity_probe(*people(0.0))[0] < 0.35


def test_identity_probe_is_scored_on_other_tasks_than_it_is_fitted_on():
    vectors, subject, task = people(5.0)
    later = np.isin(task, ["T5", "T6", "T7", "T8"])
    shuffled = vectors.copy()
    shuffled[later] = np.roll(vectors[later], 40, axis=0)
    assert identity_metrics.identity_probe(shuffled, subject, task)[0] < 0.3


def test_identity_probe_needs_two_tasks():
    with pytest.raises(ValueError, match="other tasks"):
        identity_metrics.identity_probe(
            np.zeros((4, 2)), np.array(list("aabb")), np.array(["T1"] * 4)
        )


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="equal"):
        metrics.f1(np.zeros((3, 2)), np.zeros((3, 1)))


@pytest.mark.parametrize("score", ["f1", "mcc", "roc_auc", "auprc", "calibration_error"])
def test_units_without_positives_or_labels_are_numbers_or_nan_and_spoil_no_other(score):
    """Neither warnings (they are errors here) nor infinities, and the units beside keep theirs."""
    function = getattr(metrics, score)
    labels = LABELS.copy()
    labels[:, 0], labels[:, 1] = 0, -1
    found = function(PROBS, labels)
    np.testing.assert_array_equal(found[2:], function(PROBS, LABELS)[2:])
    assert np.isnan(found[1]) and not np.isinf(found).any()
    assert np.isnan(found[0]) == (score in ("roc_auc", "auprc"))


def test_a_threshold_for_each_unit_and_none_that_is_no_number():
    probs = np.array([[0.2, 0.2], [0.4, 0.4], [0.6, 0.6]])
    labels = np.array([[0, 0], [1, 1], [1, 1]])
    # From .5 on one of two present frames is said, from .3 on both.
    found = metrics.f1(probs, labels, threshold=np.array([0.5, 0.3]))
    assert found.tolist() == [pytest.approx(2 / 3), 1.0]
    with pytest.raises(ValueError, match="NaN"):
        metrics.f1(probs, labels, threshold=np.array([0.5, np.nan]))
