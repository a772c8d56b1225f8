"""Intervals over people against SciPy, enumeration, numbers by hand, and the coverage of simulated studies."""

import itertools

import numpy as np
import pytest
from scipy import stats

from piapdf_jax import intervals
from piapdf_jax.person_sums import Fold, f1_sums, of_seeds, share_sums

PEOPLE = (14, 14, 13)


def fold_of(rng, people, units=1, seeds=1, recall=6.0, frames=3500):
    """Counts of a study: rates, recall and false alarms of each person from Beta laws."""
    shape = (people, units)
    rate = rng.beta(1.2, 2.5, shape)
    shown = rng.binomial(frames, rate)
    sums = np.zeros((seeds, *shape, 3))
    for seed in range(seeds):
        hits = rng.binomial(shown, rng.beta(recall, 3, shape))
        alarms = rng.binomial(frames - shown, rng.beta(2, 12, shape))
        sums[seed] = np.stack([200 * hits, hits + alarms + shown, shown], axis=-1)
    return Fold(np.arange(people), sums)


def study(seed, units=1, **more):
    rng = np.random.default_rng(seed)
    return [fold_of(rng, people, units, **more) for people in PEOPLE]


def f1_of(sums):
    return sums[..., 0].sum() / sums[..., 1].sum()


def test_f1_is_that_of_pooled_frames_and_a_mean_over_folds():
    said = np.array([[1, 0], [1, 0], [0, 1], [1, 1], [0, 0]], bool)
    labels = np.array([[1, 0], [0, 0], [1, 1], [-1, 0], [0, -1]])
    one = f1_sums(said, labels, np.array(["b", "a", "b", "a", "c"]))
    assert one.people.tolist() == ["a", "b", "c"]
    # b: a hit and a miss of the first unit, a hit of the second; a: a false alarm of each.
    assert one.sums[0, :, 0].tolist() == [[0, 1, 0], [200, 3, 2], [0, 0, 0]]
    assert one.sums[0, :, 1].tolist() == [[0, 1, 0], [200, 2, 1], [0, 0, 0]]
    other = f1_sums(said[:1], labels[:1] * 0 + [[1, 0]], np.array(["d"]))
    # The second unit is never shown in the other fold: it has no score there, and no 0.
    assert intervals.estimate([one, other]).tolist() == pytest.approx(
        [(50 + 100) / 2, 200 / 3, (75 + 200 / 3) / 2]
    )
    frames, people = intervals.evidence([one, other])
    assert frames.tolist() == [3, 1] and people.tolist() == [2, 1]


def test_shares_count_what_counts():
    right = np.array([[1.0], [0.0], [np.nan], [0.25]])
    found = share_sums(right, ~np.isnan(right), np.array(list("abba")))
    assert found.sums[0, :, 0].tolist() == [[1.25, 2, 2], [0, 1, 1]]
    assert intervals.estimate([found])[0] == pytest.approx(1.25 / 3)


def test_interval_is_that_of_scipy_within_its_error():
    folds = study(0)

    def statistic(*chosen, axis):
        sums = [fold.sums[0, rows, 0] for fold, rows in zip(folds, chosen, strict=True)]
        return np.mean([part[..., 0].sum(axis) / part[..., 1].sum(axis) for part in sums], axis=0)

    wanted = stats.bootstrap(
        tuple(np.arange(people) for people in PEOPLE), statistic, method="percentile",
        n_resamples=10_000, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    found = intervals.summarize(folds)
    width = wanted.high - wanted.low
    # A percentile of 10,000 draws moves by about 1 % of a normal interval's width.
    assert found.low[0] == pytest.approx(wanted.low, abs=0.04 * width)
    assert found.high[0] == pytest.approx(wanted.high, abs=0.04 * width)
    assert found.value[0] == pytest.approx(np.mean([f1_of(fold.sums) for fold in folds]))
    assert found.value[1] == found.value[0] and found.low[1] == found.low[0]


def test_p_is_that_of_every_swap_of_eight_people():
    rng = np.random.default_rng(3)
    a, b = (fold_of(rng, 8, recall=recall, frames=40) for recall in (9.0, 6.0))
    differences = []
    for swap in itertools.product((False, True), repeat=8):
        rows = np.array(swap)[:, None, None]
        ours, theirs = np.where(rows, b.sums[0], a.sums[0]), np.where(rows, a.sums[0], b.sums[0])
        differences.append(f1_of(ours) - f1_of(theirs))
    told = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-9)
    found = intervals.compare([a], [b], resamples=20_000)
    assert 0.01 < told < 0.9
    assert found.p[0] == pytest.approx(told, abs=4 * np.sqrt(told * (1 - told) / 20_000))
    assert found.value[0] == pytest.approx(differences[0])


def test_a_difference_is_paired():
    a = study(4, frames=400)
    better = [fold._replace(sums=fold.sums + [2.0, 0, 0] * fold.sums[..., 1:2]) for fold in a]
    found = intervals.compare(better, a)
    # Two points on everybody: the people differ, the difference does not.
    assert [found.value[0], found.low[0], found.high[0]] == pytest.approx([2, 2, 2])
    assert found.better[0] == 1 and found.p[0] == pytest.approx(1 / 10_001)
    same = intervals.compare(a, a)
    assert same.value[0] == 0 and same.p[0] == 1 and same.better[0] == 0.5
    back = intervals.compare(a, better)
    assert back.value[0] == pytest.approx(-2) and back.better[0] == 0


def test_seeds_are_averaged_and_from_three_on_resampled():
    two, three = ([f._replace(sums=np.repeat(f.sums, n, 0)) for f in study(5)] for n in (2, 3))
    for folds in (two, three):
        for fold in folds:
            fold.sums[0, ..., 0] *= 1.2  # one seed is better by a fifth
    one = intervals.estimate(study(5))[0]
    assert intervals.estimate(two)[0] == pytest.approx(1.1 * one)
    assert intervals.estimate(three)[0] == pytest.approx((1 + 0.2 / 3) * one)
    spread = [intervals.resampled(folds).std(axis=0)[0] for folds in (study(5), two, three)]
    assert spread[1] == pytest.approx(1.1 * spread[0], rel=1e-6)
    # Three draws of three seeds: the deviation of the mean over them is .2 sqrt(2/9 / 3), a fold each.
    seeds = 0.2 * np.sqrt(2 / 27) * one / np.sqrt(3)
    wanted = np.hypot((1 + 0.2 / 3) * spread[0], seeds)
    assert spread[2] == pytest.approx(wanted, rel=0.05) and wanted > 1.1 * spread[1]


def test_below_five_people_nothing_is_said():
    rng = np.random.default_rng(6)
    folds = [fold_of(rng, 4, units=2), fold_of(rng, 3, units=2)]
    for fold, shows in zip(folds, (2, 2), strict=True):
        fold.sums[:, shows:, 1, 2] = 0  # four people of seven show the second unit
    found = intervals.summarize(folds)
    assert found.people.tolist() == [7, 4]
    assert np.isnan(found.low).tolist() == [False, True, False]
    assert not np.isnan(found.value).any()
    told = intervals.compare(folds, folds)
    assert np.isnan(told.p).tolist() == np.isnan(told.better).tolist() == [False, True, False]
    assert np.isnan(intervals.summarize(folds[:1]).low).all()


def test_different_people_or_seeds_are_refused():
    a, b = study(7), study(8)
    with pytest.raises(ValueError, match="different people cannot be compared: 13"):
        intervals.compare(a, [b[0], b[1], b[0]])
    with pytest.raises(ValueError, match="as many seeds"):
        intervals.compare(a, study(8, seeds=2))
    with pytest.raises(ValueError, match="different people"):
        of_seeds([a[0], a[2]])


@pytest.mark.parametrize(
    ("p", "wanted"),
    [
        # .005 x 4, .01 x 3, .03 x 2, and .04 not below the one before it.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, np.nan, 0.9], [1, np.nan, 1]),
        ([], []),
        ([0.2], [0.2]),
    ],
)
def test_holm_by_hand(p, wanted):
    np.testing.assert_allclose(intervals.holm(np.array(p)), wanted)


def test_people_cover_the_truth_and_frames_do_not():
    rng, frames = np.random.default_rng(9), 3500
    rate, recall, alarm = 1.2 / 3.7, 6 / 9, 2 / 14
    hits = rate * recall
    truth = 200 * hits / (hits + rate + (1 - rate) * alarm)
    covered = {"people": 0, "frames": 0}
    for number in range(200):
        folds = [fold_of(rng, people) for people in PEOPLE]
        found = intervals.summarize(folds, resamples=2000, seed=number)
        covered["people"] += bool(found.low[0] <= truth <= found.high[0])
        drawn = []
        for fold in folds:
            two_hits, said_shown, shown = fold.sums[0].sum(axis=(0, 1)) / [100, 1, 1]
            cells = np.array([two_hits / 2, said_shown - two_hits / 2])  # TP, and TP + FP + FN
            cells[1] -= cells[0]
            total = frames * len(fold.people)
            counts = rng.multinomial(total, [*cells / total, 1 - cells.sum() / total], 500)
            drawn.append(200 * counts[:, 0] / (2 * counts[:, 0] + counts[:, 1]))
        low, high = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
        covered["frames"] += bool(low <= truth <= high)
    assert 0.88 <= covered["people"] / 200 <= 0.98
    # Frames of a person are alike: as if independent they promise ten times too much.
    assert covered["frames"] / 200 < 0.3


@pytest.mark.parametrize(("people", "told"), [(4, False), (5, True)])
def test_five_people_have_an_interval_and_four_have_none(people, told):
    fold = fold_of(np.random.default_rng(6), people)
    found = intervals.summarize([fold], resamples=200)
    other = intervals.compare([fold], [fold], resamples=200)
    assert found.people.tolist() == [people]
    for numbers in (found.low, found.high, other.low, other.p, other.better):
        assert (~np.isnan(numbers)).tolist() == [told, told]
