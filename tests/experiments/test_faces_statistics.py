"""Statistics of the study on faces: which numbers are paired, pooled, corrected and divided."""

import itertools

import numpy as np
import pytest
from random_faces_results import random_results

from experiments.feedback_study import faces_statistics as statistics
from experiments.feedback_study.faces_results import COUNTS

WORLDS = [(5, 0, 5, 6), (20, 20, 5, 5), (10, 0, 0, 4)]


@pytest.fixture(name="results", scope="module")
def fixture_results():
    return random_results(1, worlds=WORLDS)


def test_arms_are_paired_by_seed_and_worlds_are_averaged_before_seeds_are_counted(results):
    found = statistics.difference(
        results, "roc_auc", ["5_0_5", "20_20_5"], "df_threshold", "supervised"
    )
    auc = results.scores["roc_auc"]
    by_hand = [
        sum(
            float(auc[w]["df_threshold"]["student"][k]) - float(auc[w]["supervised"]["teacher"][k])
            for w in ("5_0_5", "20_20_5")
        )
        / 2
        for k in range(5)  # what both worlds have
    ]
    np.testing.assert_allclose(found, by_hand)


def test_a_teacher_is_set_beside_what_the_other_arm_hands_on(results):
    f1 = results.scores["f1"]["5_0_5"]
    found = statistics.difference(results, "f1", ["5_0_5"], "exact", "supervised", "teacher")
    np.testing.assert_allclose(
        found, np.float64(f1["exact"]["teacher"]) - np.float64(f1["supervised"]["teacher"])
    )


def test_all_twelve_pooled_worlds_and_four_reported_ones_are_of_the_study():
    everything = random_results()
    assert len(set(statistics.worlds_of(everything, statistics.POOLED))) == 12
    assert statistics.worlds_of(everything, statistics.REPORTED) == [
        *("20_0_5", "20_20_5"),
        *("20_0_20", "20_20_20"),
    ]
    seeds = {w["seeds"] for w in everything.worlds if w["people"] != 10 and w["wrong"] in (5, 20)}
    assert len(seeds) == 1  # all pooled worlds have as many
    assert {c for one in statistics.CONTRASTS for c in one[1:]} <= set(
        statistics.arms_of(everything)
    )
    quick = random_results(worlds=[(5, 0, 0, 2)])
    assert statistics.worlds_of(quick, statistics.REPORTED) == ["5_0_0"]


def test_p_values_of_contrasts_are_sign_flips_corrected_over_contrasts_and_primary_metrics(results):
    worlds = ["5_0_5"]
    found = statistics.contrasts(results, worlds)
    assert len(found) == 6
    plain = {}
    for contrast, metric in itertools.product(found, ("roc_auc", "f1_matched")):
        d = statistics.difference(results, metric, worlds, contrast.first, contrast.second)
        means = [abs(np.mean(d * s)) for s in itertools.product((-1, 1), repeat=6)]
        plain[contrast, metric] = np.mean(np.array(means) >= abs(d.mean()) - 1e-9)
    # Holm: walk from the smallest p up; the k-th of 12 is multiplied by 12 - k, never below an earlier one.
    highest = 0.0
    for rank, key in enumerate(sorted(plain, key=plain.get)):
        highest = max(highest, min(1.0, (12 - rank) * plain[key]))
        assert found[key[0]][key[1]].p == pytest.approx(highest)
    assert all(np.isnan(estimates["f1"].p) for estimates in found.values())
    assert {one.seeds for estimates in found.values() for one in estimates.values()} == {6}


def test_contrasts_without_an_arm_are_left_out(results):
    few = results._replace(arms=[arm for arm in results.arms if arm["name"] != "constant"])
    assert [c.second for c in statistics.contrasts(few, ["5_0_5"])].count("constant") == 0
    assert len(statistics.contrasts(few, ["5_0_5"])) == 5


def test_arms_at_one_rate_are_compared_where_they_were_trained_so(results):
    def told(first, second):
        return statistics.difference_at_own_choice(results, "f1", "5_0_5", first, second)

    rows = results.ablations["5_0_5"]
    df, threshold = (
        np.float64(rows[f"{name}_tuned"]["student"]["f1"])
        for name in ("df_threshold", "student_threshold")
    )
    base = np.float64(results.scores["f1"]["5_0_5"]["supervised"]["teacher"])
    np.testing.assert_allclose(told("df_threshold", "student_threshold"), df - threshold)
    np.testing.assert_allclose(told("student_threshold", "supervised"), threshold - base)
    assert told("exact", "student_threshold") is None


def test_share_of_what_true_labels_add(results):
    base = np.array([60.0, 61, 62, 63, 64, 65])
    gain = np.array([8.0, 9, 10, 11, 12, 10])
    auc = {"supervised": base, "truth": base + gain, "student_matched": base + gain / 4}
    scores = {"roc_auc": {"5_0_5": {n: {"student": v, "teacher": v} for n, v in auc.items()}}}
    found = statistics.share_of_truth(
        results._replace(scores=scores), "roc_auc", "5_0_5", "student_matched"
    )
    assert found == pytest.approx((0.25, 0.25, 0.25))


def test_f1_over_people_pools_their_frames(results):
    rng = np.random.default_rng(0)
    truth, told = rng.random((3, 7, 16, 4)) < 0.4, {}  # [seed, person, frame, unit]
    counts = {}
    for arm in ("df_matched", "supervised"):
        said = rng.random(truth.shape) < 0.5
        cells = (said & truth, said & ~truth, ~said & truth)
        counts[arm] = {"half": {n: c.sum(2) for n, c in zip(COUNTS, cells, strict=True)}}
        # 2 / (1 / precision + 1 / recall), frames of all people together
        both = (said & truth).sum((1, 2))
        precision, recall = both / said.sum((1, 2)), both / truth.sum((1, 2))
        told[arm] = (200 / (1 / precision + 1 / recall)).mean(1)
    gaps = np.subtract(told["df_matched"], told["supervised"])
    pair = ("df_matched", "supervised")
    found = statistics.over_people(results._replace(counts={"w": counts}), "half", "w", [pair])
    assert found[0][0] == pytest.approx(gaps.mean())
    assert found[0][1] < gaps.mean() < found[0][2]
    # Seeds alone spread the mean by this much; people inside of them add to it.
    assert found[0][2] - found[0][1] > 2 * gaps.std() / len(gaps) ** 0.5
