"""Worlds of the study on drawn faces: roles, wrong labels, inputs, scores; on people made of random numbers."""

import math

import numpy as np
import pytest

from experiments.feedback_study import faces_scores, faces_settings
from experiments.feedback_study.faces_data import PEOPLE, Faces
from experiments.feedback_study.faces_worlds import Deck, Sizes, World, deal
from piapdf_jax import folds

SIZES = Sizes(tuning=3, test=5, labeled=8, pool=6, inputs=4)
CODED = np.array([False, True, True, False])


def made(people=25, width=7, seed=0):
    rng = np.random.default_rng(seed)
    hog = (rng.standard_normal((people, 4, width)) @ rng.standard_normal((width, width))).astype(
        np.float32
    )
    labels = (rng.random((people, 4, 12)) < 0.3).astype(np.int8)
    return Faces(tuple(map(str, range(people))), hog, labels, CODED)


@pytest.mark.parametrize("seed", [0, 1, 1000])
def test_nobody_has_two_roles_and_tuning_people_are_the_same_in_every_seed(seed):
    full = Sizes()
    roles = deal(240, full, seed)
    everybody = np.concatenate(roles)
    assert len(set(everybody.tolist())) == len(everybody) == 10 + 60 + 20 + 100
    assert [len(role) for role in roles] == [10, 60, 20, 100]
    np.testing.assert_array_equal(roles.tuning, deal(240, full, seed + 1).tuning)
    assert set(roles.test.tolist()) != set(deal(240, full, seed + 1).test.tolist())


def test_too_few_people_are_refused():
    with pytest.raises(ValueError, match="21 people are too few for 22"):
        deal(21, SIZES, 0)


def test_no_person_of_a_data_set_is_drawn():
    assert len(set(PEOPLE)) == 240 and not set(PEOPLE) & set(folds.BP4D_SUBJECTS)


def test_inputs_are_principal_components_of_people_who_are_not_tested():
    deck = Deck(made(), SIZES)
    x, test = deck.inputs(3), deck.roles(3).test
    others = np.delete(x, test, axis=0).reshape(-1, 4).astype(np.float64)
    hog = np.delete(deck.faces.hog, test, axis=0).reshape(-1, 7).astype(np.float64)
    singular = np.linalg.svd(hog - hog.mean(0), compute_uv=False)[:4] ** 2 / len(hog)
    wanted = singular**0.3 / np.mean(
        singular**0.3
    )  # variances: eigenvalue x eigenvalue^(-2 x 0.35)
    np.testing.assert_allclose(others.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(others.T @ others / len(others), np.diag(wanted), atol=1e-4)
    changed = deck.faces.hog.copy()
    changed[test] += 100
    other = Deck(deck.faces._replace(hog=changed), SIZES).inputs(3)
    np.testing.assert_array_equal(np.delete(x, test, axis=0), np.delete(other, test, axis=0))
    assert not np.allclose(x[test], other[test])


def test_published_labels_are_wrong_at_the_stated_share_and_nested():
    deck = Deck(made(400), SIZES)
    wrong = {w: deck.published(5, w) != deck.faces.labels for w in (0, 5, 10, 20)}
    assert not wrong[0].any()
    cells = deck.faces.labels.size
    for percent in (5, 10, 20):
        p = percent / 100
        assert abs(wrong[percent].mean() - p) < 4 * math.sqrt(p * (1 - p) / cells)
    assert (wrong[20] | ~wrong[10]).all() and (wrong[10] | ~wrong[5]).all()
    assert (deck.published(6, 20) != deck.published(5, 20)).any()


def rows(values, who, frames):
    return values[who][:, frames].reshape(-1, values.shape[-1])


@pytest.mark.parametrize(("people", "pool"), [(4, 0), (8, 6), (4, 2)])
def test_lanes_hold_the_frames_of_their_world(people, pool):
    deck, world = Deck(made(), SIZES), World(people, pool, 20)
    roles, x = deck.roles(1), deck.inputs(1)
    lanes = deck.lanes([(world, 0), (world, 1)])
    one = lanes._replace(**{k: v[1] for k, v in lanes._asdict().items()})
    labeled = roles.labeled[:people]
    assert one.seed == 1 and one.learned == one.judged == 2 * people
    np.testing.assert_array_equal(one.labeled[: 2 * people], rows(x, labeled, CODED))
    np.testing.assert_array_equal(
        one.published[: 2 * people], rows(deck.published(1, 20), labeled, CODED)
    )
    who, frames = (roles.pool[:pool], np.full(4, True)) if pool else (labeled, ~CODED)
    count = len(who) * frames.sum()
    assert one.unlabeled_count == count
    np.testing.assert_array_equal(one.unlabeled[:count], rows(x, who, frames))
    np.testing.assert_array_equal(one.truth[:count], rows(deck.faces.labels, who, frames))
    assert lanes.unlabeled.shape == (2, 8 * 4, 4) and lanes.labeled.shape == (2, 8 * 2, 4)


@pytest.mark.parametrize(("people", "judges"), [(2, 1), (7, 1), (8, 2)])
def test_a_quarter_of_the_labeled_people_judge_after_those_who_teach(people, judges):
    deck, world = Deck(made(), SIZES), World(people, 0, 5)
    apart, plain = deck.lanes([(world, 0)], judges=True), deck.lanes([(world, 0)])
    assert apart.learned[0] == 2 * (people - judges) and apart.judged[0] == 2 * people
    np.testing.assert_array_equal(apart.labeled, plain.labeled)


def test_test_frames_have_true_labels_and_tuning_frames_published_ones():
    deck, world = Deck(made(), SIZES), World(4, 0, 20)
    for split, labels in (("test", deck.faces.labels), ("tuning", deck.published(2, 20))):
        who = getattr(deck.roles(2), split)
        x, y = deck.scored(2, world, split)
        np.testing.assert_array_equal(x, rows(deck.inputs(2), who, CODED))
        np.testing.assert_array_equal(y, rows(labels, who, CODED))
    who = deck.roles(2).labeled[:4]
    wanted = rows(deck.published(2, 20), who, CODED).mean(0)
    np.testing.assert_allclose(deck.rates(2, world), wanted)


def test_scores_are_those_of_a_hand():
    """Four frames, all units alike but the last two; cuts at a rate of a half are between .4 and .6."""
    probs = np.tile(np.array([[0.8], [0.6], [0.4], [0.2]], np.float32), (1, 12))
    labels = np.tile(np.array([[1], [0], [1], [0]]), (1, 12))
    probs[:, -1] = (0.4, 0.3, 0.2, 0.1)  # AU 24, rare: nothing reaches 0.5
    rates = np.full(12, 0.5)
    found = faces_scores.score(probs, labels, rates)
    # TP 1, FP 1, FN 1 at either cut; AU 24: TP 1, FP 1, FN 1 at the matched cut, nothing at 0.5.
    assert found["f1_matched"] == pytest.approx(50)
    assert found["f1"] == pytest.approx(50 * 11 / 12)
    assert found["f1_rare"] == pytest.approx(50 * 5 / 6) and found["f1_frequent"] == pytest.approx(
        50
    )
    assert found["roc_auc"] == pytest.approx(75)
    loss = -np.mean(np.log([0.8, 0.4, 0.4, 0.8])), -np.mean(np.log([0.4, 0.7, 0.2, 0.9]))
    assert found["log_loss"] == pytest.approx((11 * loss[0] + loss[1]) / 12, rel=1e-6)
    none = faces_scores.score(probs, labels, np.where(np.arange(12) == 3, 0.0, 0.5))
    assert none["f1_matched"] == pytest.approx(50 * 11 / 12)  # a unit that no labeled frame shows
    yes = faces_scores.always_yes(labels)
    assert yes["f1"] == pytest.approx(100 * 2 / 3) and np.isnan(yes["roc_auc"])


def test_counts_are_by_person():
    probs = np.array([[0.9], [0.1], [0.8], [0.7]], np.float32)
    labels = np.array([[1], [1], [0], [1]])
    probs, labels = np.tile(probs, (1, 12)), np.tile(labels, (1, 12))
    found = faces_scores.counts(probs, labels, np.full(12, 0.25), people=2)
    assert found.shape == (2, 3, 2, 12)
    assert found[0, :, :, 0].tolist() == [
        [1, 1],
        [0, 1],
        [1, 0],
    ]  # at 0.5: TP, FP, FN of two people
    assert found[1, :, :, 0].tolist() == [[1, 0], [0, 0], [1, 1]]  # one frame of four


def test_the_study_has_the_worlds_seeds_and_candidates_that_it_says():
    full = faces_settings.FULL
    worlds = dict(full.worlds)
    assert len(worlds) == 36 and sorted(worlds.values()) == [24] * 24 + [64] * 12
    assert [w.key for w, _ in full.worlds[:4]] == ["20_0_5", "20_0_20", "20_20_5", "20_20_20"]
    assert {len(set(full.candidates(name))) for name in full.arms} == {32}
    assert not set(full.tuning_seeds) & set(range(64))
    assert set(full.two) < set(worlds)
