"""ROC AUC as sums over pairs of people, against a program that compares every pair of frames."""

import time

import numpy as np
import pytest

from piapdf_jax import intervals, metrics
from piapdf_jax.person_sums import PairFold, auc_pairs, of_seeds

UNITS = 3


def frames(seed, people=6, each=9):
    """Scores with ties, labels with unknown ones; the third unit is shown by nobody, the second by few."""
    rng = np.random.default_rng(seed)
    count = people * each
    scores = rng.integers(0, 8, (count, UNITS)) / 8
    labels = rng.integers(-1, 2, (count, UNITS))
    subject = np.array(
        [f"F{number:03d}" for number in rng.permutation(np.repeat(range(people), each))]
    )
    labels[:, 1] = np.where(
        np.isin(subject, ["F000", "F003"]), labels[:, 1], np.minimum(labels[:, 1], 0)
    )
    labels[:, 2] = np.minimum(labels[:, 2], 0)
    return scores, labels, subject


def auc_by_pairs(scores, labels, weights):
    """Weighted ROC AUC of one unit: a loop over present frames, each against all absent ones; ties half."""
    won = total = 0.0
    for score, label, weight in zip(scores, labels, weights, strict=True):
        if label == 1:
            absent = weights * (labels == 0)
            won += weight * (absent @ ((score > scores) + 0.5 * (score == scores)))
            total += weight * absent.sum()
    return won / total if total else np.nan


def by_hand(scores, labels, weights):
    return [auc_by_pairs(scores[:, unit], labels[:, unit], weights) for unit in range(UNITS)]


def test_people_who_are_drawn_several_times_weigh_as_their_frames_do():
    scores, labels, subject = frames(0)
    fold = auc_pairs(scores, labels, subject)
    assert fold.people.tolist() == sorted(set(subject)) and fold.seeds == 1
    drawn = np.random.default_rng(1).multinomial(6, np.full(6, 1 / 6), 25)
    assert (drawn == 0).any() and (drawn > 1).any()
    found = fold.scores(drawn)
    assert found.shape == (1, 25, UNITS)
    who = np.searchsorted(fold.people, subject)
    wanted = [by_hand(scores, labels, often[who].astype(float)) for often in drawn]
    np.testing.assert_allclose(found[0], wanted, rtol=1e-12)
    # Where both who show the second unit are left out it has no score; the third never has one.
    assert np.isnan(found[0, :, 2]).all() and 0 < np.isnan(found[0, :, 1]).sum() < 25
    np.testing.assert_allclose(
        fold.scores(np.ones((1, 6)))[0, 0], metrics.roc_auc(scores, labels), rtol=1e-12
    )
    shown = [
        [(labels[subject == one, unit] == 1).sum() for unit in range(UNITS)] for one in fold.people
    ]
    np.testing.assert_array_equal(fold.shown(), shown)


def resampled_by_hand(studies, resamples, draw):
    """Scores [R, C + 1] of studies {fold: [seeds of (scores, labels, subject)]}, people drawn as the module says."""
    found = []
    for number in range(resamples):
        folds = []
        for place, seeds in enumerate(studies):
            people = sorted(set(seeds[0][2]))
            weights = draw(place, len(people))[number]
            often = dict(zip(people, weights, strict=True))
            told = [
                by_hand(scores, labels, np.array([often[one] for one in subject], float))
                for scores, labels, subject in seeds
            ]
            folds.append(
                [
                    np.nanmean(unit) if not np.isnan(unit).all() else np.nan
                    for unit in np.transpose(told)
                ]
            )
        units = [
            np.nanmean(unit) if not np.isnan(unit).all() else np.nan for unit in np.transpose(folds)
        ]
        found.append([*units, np.nanmean(units)])
    return np.array(found)


def draw(place, people):
    """The people of 40 resamples, as every method of a study draws them: F1, probe and ROC AUC alike."""
    rng = np.random.default_rng([0, place, people])
    return rng.multinomial(people, np.full(people, 1 / people), 40)


def again(one, seed):
    """Other scores of the same frames."""
    scores, labels, subject = one
    return np.random.default_rng(seed).permuted(scores, axis=0), labels, subject


@pytest.fixture(scope="module")
def study():
    """Two folds of two seeds each; a second method's scores of the same frames are better."""
    folds = [[one, again(one, 7)] for one in (frames(2), frames(3, people=5))]
    better = [[(s + 0.2 * (y == 1), y, who) for s, y, who in seeds] for seeds in folds]
    return folds, better


def folds_of(study):
    return [of_seeds([auc_pairs(*one) for one in seeds]) for seeds in study]


def test_intervals_are_percentiles_of_the_scores_of_people_who_are_drawn(study):
    folds = folds_of(study[0])
    assert all(isinstance(fold, PairFold) and fold.seeds == 2 for fold in folds)
    wanted = resampled_by_hand(study[0], 40, draw)
    found = intervals.resampled(folds, resamples=40)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    told = intervals.summarize(folds, resamples=40)
    low, high = np.nanpercentile(wanted[:, [0, 3]], [2.5, 97.5], axis=0)
    np.testing.assert_allclose(told.low[[0, 3]], low)
    np.testing.assert_allclose(told.high[[0, 3]], high)
    # Four people of both folds show the second unit, nobody the third.
    first = {
        (k, who[row])
        for k, ((_, y, who), _) in enumerate(study[0])
        for row in np.flatnonzero(y[:, 0] == 1)
    }
    assert told.people.tolist() == [len(first), 4, 0] and np.isnan(told.low[1:3]).all()
    seeds = [[metrics.roc_auc(scores, labels) for scores, labels, _ in fold] for fold in study[0]]
    units = np.mean(seeds, axis=(0, 1))
    np.testing.assert_allclose(told.value, [*units, np.nanmean(units)])


def test_a_difference_is_one_on_the_same_people_and_has_no_p(study):
    first, second = (folds_of(one) for one in (study[1], study[0]))
    told = intervals.compare(first, second, resamples=40)
    apart = np.subtract(*(resampled_by_hand(one, 40, draw) for one in (study[1], study[0])))
    low, high = np.percentile(apart[:, 3], [2.5, 97.5])
    np.testing.assert_allclose([told.low[3], told.high[3]], [low, high])
    assert told.value[3] > 0 and told.better[3] == 1 and np.isnan(told.p).all()
    alone = intervals.summarize(first, resamples=40)
    assert high - low < alone.high[3] - alone.low[3]
    with pytest.raises(ValueError, match="different people cannot be compared"):
        intervals.compare(first, first[::-1], resamples=40)


def test_forty_thousand_frames_of_forty_people_take_seconds():
    rng = np.random.default_rng(5)
    labels = (rng.random((40_000, 12)) < 0.3).astype(int)
    scores = rng.random((40_000, 12)) + 0.3 * labels
    began = time.perf_counter()
    fold = auc_pairs(scores, labels, np.repeat(np.arange(40), 1000))
    found = intervals.summarize([fold], resamples=1000)
    assert time.perf_counter() - began < 20
    assert found.low[-1] < found.value[-1] < found.high[-1] < found.low[-1] + 0.02
