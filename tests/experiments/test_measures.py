"""Sums over people, and scores of pooled frames, from tables of test frames: against counts by hand."""

import numpy as np
import pytest

from experiments import measures
from experiments.frame_table import FrameTable
from experiments.report_types import Group, Run
from piapdf_jax import intervals


def table(probs, coded, subject, *, fold=1, seed=0, **others):
    probs = np.asarray(probs, np.float32)
    count, columns = probs.shape
    values = {
        "training": "piap",
        "digest": "d",
        "dataset": "bp4d",
        "data": f"data{fold}",
        "aus": (1, 2, 4)[:columns],
        "task": np.full(count, ""),
        "frame": np.arange(count),
        "base_rates": np.full(columns, 0.5),
        "cuts": np.full(columns, 0.4),
    } | others
    return FrameTable(
        subject=np.array(subject), coded=np.asarray(coded, np.int8), probs=probs, fold=fold, seed=seed, **values
    )  # fmt: skip


def group(*tables):
    runs = tuple(
        Run(folder=None, fold=t.fold, seed=t.seed, config={}, results={}, versions={}, frames={t.training: t})
        for t in tables
    )  # fmt: skip
    return Group(
        title="g", config={}, runs=runs, folds=(1,), seeds=(0,), missing_folds=(), notes=(), stand_ins={}
    )  # fmt: skip


# Four frames of b, then two of a. AU1: said b 1101, a 10 at 0.5.
PROBS = [[0.9, 0.1], [0.5, 0.2], [0.45, 0.3], [0.6, 0.4], [0.8, 0.5], [0.1, 0.6]]
CODED = [[1, 0], [0, 0], [1, 0], [-1, 1], [1, 1], [1, -1]]
PEOPLE = ["b", "b", "b", "b", "a", "a"]


def test_frames_are_counted_by_person_with_one_half_said_and_unknown_in_nothing():
    (fold,) = measures.f1_folds(group(table(PROBS, CODED, PEOPLE)), "piap", against="published")
    assert fold.people.tolist() == ["a", "b"]
    # AU1: a has TP 1, FP 0, FN 1; b TP 1, FP 1, FN 1 and an unknown frame. Sums: 200 TP, 2 TP + FP + FN, positives.
    assert fold.sums[0, :, 0].tolist() == [[200, 3, 2], [200, 4, 2]]
    # AU2: a has TP 1 and an unknown frame; b FN 1.
    assert fold.sums[0, :, 1].tolist() == [[200, 2, 1], [0, 1, 1]]


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        ("half", [1, 1, 0, 1, 1, 0]),
        # Of six frames 2/3 shall be positive: the four highest, 0.5 among them.
        ("matched", [1, 1, 0, 1, 1, 0]),
        ("model", [1, 1, 1, 1, 1, 0]),
        ("always", [1, 1, 1, 1, 1, 1]),
    ],
)
def test_cuts_of_all_kinds(cut, said):
    frames = table(PROBS, CODED, PEOPLE, base_rates=np.array([4 / 6, 1 / 6]))
    cuts = measures.cuts_of(frames, frames.probs, cut)
    assert (frames.probs[:, 0] >= cuts[0]).tolist() == [bool(value) for value in said]
    if cut == "matched":
        assert (frames.probs[:, 1] >= cuts[1]).sum() == 1


def test_the_matched_cut_reads_no_label_of_the_scored_frames():
    one = table(PROBS, CODED, PEOPLE)
    other = table(PROBS, np.zeros_like(CODED), PEOPLE)
    for cut in ("matched", "model"):
        cuts = [measures.cuts_of(t, t.probs, cut) for t in (one, other)]
        np.testing.assert_array_equal(*cuts)


def test_a_unit_without_a_cut_or_a_number_has_no_score_and_not_one_of_zero():
    frames = table(
        PROBS, CODED, PEOPLE, cuts=np.array([np.nan, 0.4]), base_rates=np.array([0, 0.5])
    )
    for cut in ("matched", "model"):
        (fold,) = measures.f1_folds(group(frames), "piap", against="published", cut=cut)
        assert not fold.sums[..., 0, :].any() and fold.sums[..., 1, :].any()
    broken = np.array(PROBS)
    broken[2, 1] = np.nan
    (fold,) = measures.f1_folds(group(table(broken, CODED, PEOPLE)), "piap", against="published")
    assert fold.sums[..., 0, :].any() and not fold.sums[..., 1, :].any()
    values = measures.pooled(
        group(table(broken, CODED, PEOPLE)), "piap", "mcc", against="published"
    )
    assert np.isnan(values).tolist() == [False, True]


def test_seeds_of_a_fold_are_joined_and_folds_stay_apart():
    other = [[p, q] for p, q in np.array(PROBS)[::-1]]
    runs = group(
        table(PROBS, CODED, PEOPLE, fold=2),
        table(PROBS, CODED, PEOPLE, fold=1),
        table(other, CODED, PEOPLE, fold=1, seed=1),
    )
    first, second = measures.f1_folds(runs, "piap", against="published")
    assert (first.sums.shape[0], second.sums.shape[0]) == (2, 1)
    np.testing.assert_array_equal(first.sums[0], second.sums[0])
    assert (first.sums[0] != first.sums[1]).any()
    assert measures.f1_folds(runs, "ap", against="published") is None


def test_true_labels_and_the_teacher_are_taken_where_they_are_known():
    true = 1 - np.maximum(CODED, 0)
    frames = table(
        PROBS, CODED, PEOPLE, true=true.astype(np.int8), teacher_probs=1 - np.array(PROBS)
    )
    runs = group(frames, table(PROBS, CODED, PEOPLE, fold=2))
    (fold,) = measures.f1_folds(runs, "piap", against="true")
    # AU1 is truly there in b's second and fourth frame alone, and said there in both, and in the first.
    assert fold.sums[0, :, 0].tolist() == [[0, 1, 0], [400, 5, 2]]
    (fold,) = measures.f1_folds(runs, "piap", against="published", teacher=True)
    # The teacher says AU1 in b's second (0.5) and third frame, and in a's second.
    assert fold.sums[0, :, 0].tolist() == [[200, 3, 2], [200, 4, 2]]


def test_pooled_scores_are_means_over_seeds_then_folds_of_known_frames():
    right = [[0.9], [0.8], [0.2], [0.1], [0.7], [0.3]]
    labels = [[1], [1], [0], [0], [-1], [-1]]
    wrong = (1 - np.array(right)).tolist()
    runs = group(
        table(right, labels, PEOPLE),
        table(wrong, labels, PEOPLE, seed=1),
        table(right, labels, PEOPLE, fold=2),
    )
    found = measures.pooled(runs, "piap", "mcc", against="published")
    assert found == pytest.approx([(0 + 1) / 2])
    pairs = measures.auc_folds(runs, "piap", against="published")
    assert intervals.estimate(pairs) == pytest.approx([(0.5 + 1) / 2] * 2)
    # Wrong order: the two positive frames come third and fourth: (1/3 + 2/4) / 2.
    found = measures.pooled(runs, "piap", "auprc", against="published")
    assert found == pytest.approx([((1 + (1 / 3 + 2 / 4) / 2) / 2 + 1) / 2])
    # Each known frame is alone in its bin: 0.9, 0.8 for 1 and 0.2, 0.1 for 0; the other way round 0.85 off.
    found = measures.pooled(runs, "piap", "calibration_error", against="published")
    assert found == pytest.approx([((0.15 + 0.85) / 2 + 0.15) / 2], abs=1e-6)


def test_scores_of_units_whose_labels_say_nothing_are_blank():
    labels = [[1, 0], [1, 0], [1, 0], [1, 0], [1, 0], [-1, 0]]
    runs = group(table(PROBS, labels, PEOPLE))
    blank = {
        name: np.isnan(measures.pooled(runs, "piap", name, against="published")).tolist()
        for name in measures.POOLED
    }
    assert blank == {
        "mcc": [True, True],
        "auprc": [False, True],
        "calibration_error": [False, False],
    }


def test_the_probe_counts_the_frames_that_it_was_not_fitted_on():
    right = np.array([1, 0, -1, 1, -1, 0], np.int8)
    runs = group(
        table(PROBS, CODED, PEOPLE, probe_correct=right, probe_chance=0.5),
        table(PROBS, CODED, PEOPLE, fold=2, probe_correct=right, probe_chance=0.25),
    )
    first, _ = measures.probe_folds(runs, "piap")
    assert first.sums[0, :, 0].tolist() == [[0, 1, 1], [200, 3, 3]]
    assert measures.probe_chance(runs, "piap") == pytest.approx(37.5)
    bare = group(table(PROBS, CODED, PEOPLE))
    assert (
        measures.probe_folds(bare, "piap") is None and measures.probe_chance(bare, "piap") is None
    )


def test_base_rates_are_means_over_the_folds_that_have_one():
    runs = group(
        table(PROBS, CODED, PEOPLE, base_rates=np.array([0.2, np.nan])),
        table(PROBS, CODED, PEOPLE, seed=1, base_rates=np.array([0.9, 0.9])),
        table(PROBS, CODED, PEOPLE, fold=2, base_rates=np.array([0.4, 0.1])),
    )
    np.testing.assert_allclose(measures.base_rates(runs, "piap"), [0.3, 0.1])
