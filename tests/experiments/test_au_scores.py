"""Scores by unit and their means, against counts made by hand."""

import numpy as np
import pytest

from experiments import au_scores

#: Ten frames of AU1 (rare in training) and AU12 (frequent); the labels of one frame are unknown.
LABELS = np.array(
    [[1, 1], [0, 1], [0, 1], [0, 0], [0, 0], [1, 1], [0, 0], [0, 1], [0, 0], [-1, -1]], np.int8
)
PROBS = np.array(
    [
        [0.40, 0.9],
        [0.30, 0.8],
        [0.10, 0.7],
        [0.10, 0.6],
        [0.05, 0.2],
        [0.20, 0.3],
        [0.10, 0.1],
        [0.10, 0.9],
        [0.00, 0.4],
        [0.45, 0.9],
    ],
    np.float32,
)
AUS = (1, 12)


def scored(**more):
    people = np.array(["F001"] * len(LABELS))
    return au_scores.against(LABELS, PROBS, people, AUS, **more)


def test_every_score_by_hand():
    found, lost = scored(rates=np.array([0.2, 0.5]), cuts=np.array([0.15, 0.35]))
    # At 0.5 AU1 is never said; AU12: 4 hits, 1 false alarm, 1 miss.
    assert found["f1"] == [0.0, 80.0] and found["mean_f1"] == pytest.approx(40)
    # A fifth of the ten scored frames is said AU1: those of .45 (unknown) and .40: 1 hit, 1 miss.
    # Half of them is said AU12: .9 .9 .9 .8 .7, one of them unknown: 4 hits, 1 miss.
    assert found["f1_matched"] == [66.67, 88.89]
    # From 0.15 on AU1: .4 .3 .2: 2 hits, 1 false alarm; from .35 AU12: 4 hits, 2 false alarms, 1 miss.
    assert found["f1_model_cuts"] == [80.0, 72.73]
    assert found["always_yes"] == [36.36, 71.43]
    # AU1: .4 beats 7 of 7, .2 beats 6 of 7. AU12: four present beat 4 of 4, .3 beats 2 of 4.
    assert found["roc_auc"] == [round(13 / 14, 4), round(18 / 20, 4)]
    # AU1: first hit at rank 1, second at rank 3. AU12: hits at ranks 2 (two of them tie), 3, 4, 7.
    assert found["auprc"] == [round((1 + 2 / 3) / 2, 4), round((1 + 1 + 1 + 1 + 5 / 7) / 5, 4)]
    # AU12: TP 4, FP 1, FN 1, TN 3.
    assert found["mcc"] == [0.0, round((12 - 1) / np.sqrt(5 * 5 * 4 * 4), 4)]
    assert found["mean_f1_rare"] == 0.0 and found["mean_f1_frequent"] == pytest.approx(80)
    assert found["unknown_cells"] == 2 and not lost
    assert found["mean_always_yes"] == pytest.approx((400 / 11 + 500 / 7) / 2)


def test_matched_cuts_read_no_label():
    found, _ = scored(rates=np.array([0.2, 0.5]))
    turned, _ = au_scores.against(1 - np.abs(LABELS), PROBS, np.array([]), AUS,
                                  rates=np.array([0.2, 0.5]))  # fmt: skip
    assert found["f1_matched"] != turned["f1_matched"]
    cuts, why = au_scores.matched_cuts(PROBS, np.array([0.2, 0.5]), AUS)
    assert cuts == pytest.approx([0.35, 0.65]) and why == ""


def test_without_base_rates_the_others_are_there():
    found, lost = scored()
    assert found["f1"] == [0.0, 80.0] and found["f1_matched"] == [None, None]
    assert found["mean_f1_matched"] is None and found["mean_f1_rare"] is None
    assert lost["f1_matched"] == lost["f1_model_cuts"]
    assert "no base rates" in lost["f1_matched"]


def test_a_unit_without_a_cut_is_a_gap_of_its_own():
    found, lost = scored(rates=np.array([np.nan, 0.5]), cuts=np.array([0.15, np.nan]))
    assert found["f1_matched"] == [None, 88.89] and found["mean_f1_matched"] == pytest.approx(
        800 / 9
    )
    assert found["f1_model_cuts"] == [80.0, None]
    assert lost["f1_model_cuts"] == "model.json has no cut of AU12"
    assert lost["f1_matched"].startswith("AU1: no label")
    # A unit of unknown rate is neither rare nor frequent.
    assert found["mean_f1_rare"] is None and found["mean_f1_frequent"] == pytest.approx(80)


def test_a_unit_at_the_bound_is_frequent_and_one_without_a_rate_neither():
    rare, frequent = au_scores.rare_and_frequent(np.array([0.29, 0.3, 0.31, np.nan]))
    assert rare.tolist() == [True, False, False, False]
    assert frequent.tolist() == [False, True, True, False]


def test_names_of_own_scores_are_taken():
    for name in ("f1_matched", "mean_auprc", "mean_f1_rare", "unknown_cells"):
        with pytest.raises(ValueError, match="metric .* is already registered"):
            au_scores.register_metric(name, lambda *_: 0)


def test_matched_cuts_are_of_all_frames():
    probs = np.linspace(0, 0.9, 10, dtype=np.float32)[:, None]
    cuts, _ = au_scores.matched_cuts(probs, np.array([0.3]), (1,))
    # Three of ten reach .65: .7, .8 and .9.
    assert cuts == pytest.approx([0.65])


def test_a_unit_that_every_known_label_shows_has_neither_auc_nor_mcc():
    labels = np.column_stack([LABELS[:, 0], np.where(LABELS[:, 1] < 0, -1, 1)])
    found, lost = au_scores.against(labels, PROBS, np.array([]), AUS)
    assert found["mcc"] == [0.0, None] and found["roc_auc"] == [0.9286, None]
    assert found["f1"][1] is not None and {"mcc", "roc_auc"} <= lost.keys()
