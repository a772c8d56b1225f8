"""Statistics of paired differences, beside hand calculation, SciPy and loops that follow the definitions."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from experiments.feedback_study import paired

SIX = np.array([0.4, -0.1, 0.9, 0.3, 0.2, 0.5])


def test_interval_against_textbook_numbers():
    d = [0.3, -0.1, 0.8, 0.4, 0.1]
    mean = sum(d) / 5
    variance = sum((x - mean) ** 2 for x in d) / 4
    found = paired.interval(d)
    assert found[0] == pytest.approx(0.3)
    assert found[1] == pytest.approx(2.776445 * math.sqrt(variance / 5), rel=1e-6)  # t_4 (0.975)
    twenty = np.arange(20) % 2  # s^2 = 20 / 4 / 19
    assert paired.interval(twenty)[1] == pytest.approx(2.093024 * math.sqrt(5 / 19 / 20), rel=1e-6)
    with pytest.raises(ValueError, match="not 1"):
        paired.interval([1.0])


def test_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    pairs = [paired.interval(row) for row in rng.normal(1.0, 2.0, (4000, 5))]
    share = np.mean([abs(mean - 1.0) <= half for mean, half in pairs])
    assert abs(share - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


@pytest.mark.parametrize("mean", [-0.45, -0.3, 0.0, 0.2, 0.3, 0.44])
def test_equivalence_is_two_one_sided_t_tests_at_5_percent(mean):
    d = mean + np.random.default_rng(1).normal(0, 1, 40)
    d += mean - d.mean()
    low = scipy.stats.ttest_1samp(d, -0.5, alternative="greater").pvalue
    high = scipy.stats.ttest_1samp(d, 0.5, alternative="less").pvalue
    assert paired.within(d, 0.5) == (max(low, high) < 0.05)


def test_few_differences_get_all_combinations_of_signs():
    means = [np.mean(SIX * signs) for signs in itertools.product((-1, 1), repeat=6)]
    expected = sum(abs(mean) >= SIX.mean() - 1e-12 for mean in means) / 64
    assert paired.sign_flip_p(SIX) == pytest.approx(expected)
    assert paired.sign_flip_p(-SIX) == pytest.approx(expected)
    assert paired.sign_flip_p(np.zeros(5)) == 1


def test_many_differences_get_random_signs_that_are_the_same_each_time():
    d = np.random.default_rng(2).normal(0.25, 1, 64)
    p = paired.sign_flip_p(d)
    assert p == paired.sign_flip_p(d) != paired.sign_flip_p(d, seed=1)
    assert p == pytest.approx(scipy.stats.ttest_1samp(d, 0).pvalue, abs=0.005)
    # No random sign reaches this mean: (1 + 0) / (1 + 99), on both sides.
    assert paired.sign_flip_p(np.ones(64), flips=99) == pytest.approx(2 / 100)


def test_a_share_of_a_gain_and_its_interval():
    whole = np.array([4.0, 5.0, 6.0, 5.0])
    assert paired.ratio_interval(0.25 * whole, whole) == pytest.approx((0.25, 0.25, 0.25))
    rng = np.random.default_rng(3)
    part, whole = rng.normal(1, 1, 60), rng.normal(5, 1, 60)
    found = paired.ratio_interval(part, whole)
    told = scipy.stats.bootstrap(
        (part, whole),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(4),
    ).confidence_interval
    assert found[0] == pytest.approx(part.sum() / whole.sum())
    assert found[1:] == pytest.approx((told.low, told.high), abs=0.01)


def shares(values):
    """Sums of one unit by seed and person whose score is the mean of values over people."""
    return np.stack([values, np.ones_like(values), np.ones_like(values)], axis=-1)[:, :, None]


def test_nested_bootstrap_has_the_spread_of_seeds_and_of_people_inside():
    """Var of a mean of means, each level drawn with replacement: var(seeds) / S + mean var(people) / (S P)."""
    rng = np.random.default_rng(5)
    values = rng.normal(0, 1, (12, 1)) + rng.normal(0.5, 2, (12, 9))
    scores, drawn = paired.nested_bootstrap(shares(values)[None])
    assert scores == pytest.approx(values.mean())
    spread = math.sqrt(values.mean(axis=1).var() / 12 + values.var(axis=1).mean() / 12 / 9)
    assert drawn.std() == pytest.approx(spread, rel=0.05)
    assert drawn.mean() == pytest.approx(values.mean(), abs=4 * spread / math.sqrt(drawn.size))


def test_nested_bootstrap_pools_counts_over_people_and_averages_units_and_seeds():
    counts = np.random.default_rng(6).integers(1, 9, (3, 2, 2, 3, 4))
    tp, fp, fn = counts.astype(float)  # [method, seed, person, unit]
    sums = np.stack([200 * tp, 2 * tp + fp + fn, tp + fn], axis=-1)
    f1 = 100 * (2 * tp.sum(2)) / (2 * tp.sum(2) + fp.sum(2) + fn.sum(2))
    scores, drawn = paired.nested_bootstrap(sums, resamples=50)
    np.testing.assert_allclose(scores, f1.mean(axis=(1, 2)))
    assert drawn.shape == (2, 50)
    # A unit that no test person shows has no score and takes no part in the mean.
    sums[:, :, :, 1] = 0
    scores, _ = paired.nested_bootstrap(sums, resamples=50)
    np.testing.assert_allclose(scores, np.delete(f1, 1, axis=-1).mean(axis=(1, 2)))


def test_methods_are_resampled_alike():
    sums = shares(np.random.default_rng(7).normal(0, 3, (5, 8)))
    _, drawn = paired.nested_bootstrap(np.array([sums + [0.75, 0, 0], sums]), resamples=200)
    np.testing.assert_allclose(drawn[0] - drawn[1], 0.75)
    assert len(set(drawn[1].round(9).tolist())) > 190
