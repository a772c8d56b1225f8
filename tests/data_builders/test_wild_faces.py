"""Strangers of ``synthetic_faces/wild``: their muscles do what FACS says, each face in its own way."""

import dataclasses

import cv2
import numpy as np
import pytest

from data_builders.synthetic_faces import anatomy, population, render
from data_builders.synthetic_faces import synthetic_faces_dataset_builder as builders
from data_builders.synthetic_faces.scene import draw_scene
from data_builders.synthetic_faces.wild import behavior, draw
from data_builders.synthetic_faces.wild.people import Pull, draw_halves, draw_stranger
from piapdf_jax.action_units import BP4D_AUS
from piapdf_jax.pi_maps import MIRROR

STRANGERS = [draw_stranger(np.random.default_rng(seed)) for seed in range(60)]


def moved(stranger, strengths, halves=None) -> np.ndarray:
    """Landmarks of a face that does something, less those at rest; [68, 2], x to the right, y down."""
    rest = anatomy.neutral_landmarks(stranger.identity)
    pull = Pull(stranger.manner, halves or {})
    return pull.move(rest, strengths) - pull.move(rest, {})


def height(points, upper, lower) -> float:
    return float(points[lower, 1].mean() - points[upper, 1].mean())


# What the Facial Action Coding System says of each unit, by landmarks of the iBUG 68.
SAID = {
    1: lambda d: (
        d[[21, 22], 1].max() < min(0, d[[17, 26], 1].min())
    ),  # inner brows rise, outer less
    2: lambda d: d[[18, 25], 1].max() < 0 and d[[18, 25], 1].mean() < d[[21, 22], 1].mean(),
    4: lambda d: d[[21, 22], 1].min() > 0 and d[21, 0] > 0 > d[22, 0],  # down and together
    6: lambda d: d[[40, 41, 46, 47], 1].max() < 0,  # the lower lid is pushed up
    7: lambda d: height(d, [37, 38, 43, 44], [40, 41, 46, 47]) < -0.01,  # the opening narrows
    10: lambda d: d[[50, 51, 52], 1].max() < 0,  # the upper lip rises
    12: lambda d: d[54, 0] > 0 > d[48, 0] and d[[48, 54], 1].max() < -0.03,  # corners out and up
    15: lambda d: d[[48, 54], 1].min() > 0.03 and d[[48, 54], 1].mean() > d[57, 1] + 0.02,
    17: lambda d: (
        d[57, 1] < -0.01 and d[[48, 54], 1].mean() > d[57, 1] + 0.01
    ),  # lower lip up, corners not
    23: lambda d: height(d, [50, 51, 52], [56, 57, 58]) < -0.02,  # less of the lips is seen
    24: lambda d: height(d, [50, 51, 52], [56, 57, 58]) < -0.02,
}


@pytest.mark.parametrize("au", SAID)
def test_units_move_landmarks_as_facs_says(au):
    said = [SAID[au](moved(stranger, {au: 1.0})) for stranger in STRANGERS]
    assert np.mean(said) >= 0.95


def test_lips_are_tightened_with_and_without_narrowing_the_mouth():
    widths = [moved(s, {23: 1.0})[[48, 54], 0] @ (-1, 1) for s in STRANGERS]
    assert min(widths) < -0.1 and max(widths) > -0.04


def test_dimples_go_out_in_up_and_straight():
    corners = np.array([moved(s, {14: 1.0})[54] for s in STRANGERS])
    assert corners[:, 0].min() < 0 < 0.04 < corners[:, 0].max()
    assert corners[:, 1].min() < -0.02 and abs(corners[:, 1]).min() < 0.005


def test_every_face_moves_in_its_own_way_and_rests_in_its_own_way():
    pulls = np.array([moved(s, {12: 1.0})[54] for s in STRANGERS])
    assert (pulls.std(0) > 0.01).all()
    resting = np.array([list(s.manner.resting.values()) for s in STRANGERS])
    assert (resting.std(0) > 0.05).all() and abs(resting).max() <= 0.3


def test_lips_and_lids_never_cross():
    strong = dict.fromkeys((7, 17, 23, 24, 43), 1.0)
    for stranger in STRANGERS:
        points = Pull(stranger.manner, {}).move(
            anatomy.neutral_landmarks(stranger.identity), strong
        )
        for upper, lower in ((51, 62), (62, 66), (66, 57), (37, 41), (38, 40), (43, 47), (44, 46)):
            assert points[upper, 1] < points[lower, 1]


def test_a_half_can_do_more_than_the_other():
    stranger = STRANGERS[0]
    whole, right = moved(stranger, {12: 1.0}), moved(stranger, {12: 1.0}, {12: (0.0, 1.0)})
    np.testing.assert_allclose(right[54], whole[54], atol=1e-6)
    np.testing.assert_allclose(right[48], 0, atol=1e-6)
    # What lies on the midline goes half the way.
    np.testing.assert_allclose(right[51], whole[51] / 2, atol=1e-6)
    np.testing.assert_allclose(whole[48] * (-1, 1), whole[MIRROR[48]], atol=1e-6)
    pull = Pull(stranger.manner, {12: (0.0, 1.0)})
    points = pull.move(anatomy.neutral_landmarks(stranger.identity), {12: 1.0})
    mounds = [b for b in pull.bulges(points, {12: 1.0}) if b.height > 0.03 and abs(b.x) > 0.3]
    assert mounds and all(b.x > 0 for b in mounds)


def test_halves_differ_as_much_as_the_person_is_uneven():
    rng, leans = np.random.default_rng(0), []
    for _ in range(400):
        ((left, right),) = draw_halves(rng, {6: 1.0}, 0.1).values()
        assert left + right == pytest.approx(2)
        leans.append((left - right) / 2)
    assert np.std(leans) == pytest.approx(0.1, rel=0.15)
    alone = [draw_halves(rng, {12: 1.0}, 0.1)[12] for _ in range(1000)]
    assert 15 <= sum(min(pair) == 0 for pair in alone) <= 80


def test_smooth_faces_have_fainter_folds():
    stranger = STRANGERS[1]
    depths = []
    for factor in (0.1, 1.0):
        manner = dataclasses.replace(stranger.manner, folds=factor)
        pull = Pull(manner, {})
        points = pull.move(anatomy.neutral_landmarks(stranger.identity), {4: 1.0, 12: 1.0})
        found = pull.folds(points, {4: 1.0, 12: 1.0}, age=0.0)
        depths.append(sum(fold.depth for fold in found))
    assert depths[0] < 0.25 * depths[1]


def test_a_unit_changes_the_picture_where_it_pulls():
    # With the crop held fast, so that no other pixel moves.
    where = {1: (30, 115), 4: (60, 130), 12: (95, 240), 17: (150, 250), 24: (150, 235)}
    for au, (top, bottom) in where.items():
        stranger = STRANGERS[2]
        scene = dataclasses.replace(
            draw_scene(np.random.default_rng(3), spread=0.1), noise=0.0, blur=0.0
        )
        pull = Pull(stranger.manner, {})
        still, moving = (
            render.render(stranger.identity, strengths, scene, framing={}, muscles=pull)
            for strengths in ({}, {au: 1.0})
        )
        change = np.abs(still.image.astype(int) - moving.image).sum(-1).sum(1)
        assert change[top:bottom].sum() > 0.8 * change.sum() > 0, au


CLIPS = [behavior.clip(name, "S1") for name in behavior.subjects()[:150]]


def table() -> np.ndarray:
    """Labels [N, 12] of all frames of some sessions."""
    return np.concatenate([np.stack([clip.clean[au] for au in BP4D_AUS], 1) for clip in CLIPS])


def test_labels_are_what_is_strong_enough_to_see():
    for clip in CLIPS[:20]:
        for k, strengths in enumerate(clip.strengths):
            for au in BP4D_AUS:
                assert clip.clean[au][k] == (strengths.get(au, 0.0) >= 0.2)
        assert all(clip.published[au] is clip.clean[au] for au in BP4D_AUS)
        assert clip.coded.tolist() == [False, *[True] * 10, False]


def test_units_come_alone_together_as_traces_and_at_their_maximum():
    labels = table()
    rates = labels.mean(0)
    assert (rates > 0.08).all() and (rates < 0.4).all()
    assert 0.1 < (labels.sum(1) == 0).mean() < 0.35
    alone = labels[labels.sum(1) == 1].sum(0)
    assert (alone > 10).all()
    strengths = {au: [s.get(au, 0.0) for c in CLIPS for s in c.strengths] for au in BP4D_AUS}
    for au, values in strengths.items():
        traces = [value for value in values if 0 < value < 0.2]
        assert len(traces) > 10 and max(values) > 0.9, au


def test_no_unit_tells_another():
    correlations = np.corrcoef(table().T)
    np.fill_diagonal(correlations, 0)
    # People do show cheeks and lips together; no unit may stand for another.
    assert 0.3 < np.abs(correlations).max() < 0.6
    # Else a smile is taken for the absence of what lips and chin do.
    at = {au: k for k, au in enumerate(BP4D_AUS)}
    for smile in (6, 10, 12):
        for lips in (17, 23, 24):
            assert abs(correlations[at[smile], at[lips]]) < 0.09, (smile, lips)


def test_faces_do_not_do_two_things_that_exclude_each_other():
    for clip in CLIPS:
        for s in clip.strengths:
            if max(s.get(23, 0), s.get(24, 0)) >= 0.2:
                assert not s.keys() & {16, 18, 22, 25, 26, 27}
            if s.keys() & {12, 14, 15}:
                assert not s.keys() & {18, 20, 22}
    silent = set().union(*(s for clip in CLIPS for s in clip.strengths)) - set(BP4D_AUS)
    assert silent == {5, 9, 16, 18, 20, 22, 25, 26, 43}


def test_parts_share_nobody_and_leave_nobody_out():
    parts = behavior.parts()
    assert [len(parts[k]) for k in (1, 2, 3)] == [120, 120, 120]
    assert sorted(sum(parts.values(), ())) == list(behavior.subjects())
    (config,) = [c for c in builders.Builder.BUILDER_CONFIGS if c.name == "wild"]
    splits = builders._splits(config)
    assert {split: len({spec.subject for spec in specs}) for split, specs in splits.items()} == {
        name: 120 for k in (1, 2, 3) for name in (f"part{k}", f"part{k}_uncoded")
    }
    assert sum(map(builders._count, splits["part1"])) == 120 * 3 * 10
    assert sum(map(builders._count, splits["part1_uncoded"])) == 120 * 3 * 2


def test_records_of_a_stranger():
    spec = builders.SequenceSpec(population.Rules("wild", 0.0, 0.0, False), "W007", "S2", True, 0)
    made = builders.draw(spec)
    assert [key for key, _ in made] == [f"W007_S2_{k:05d}" for k in range(1, 11)]
    clip = behavior.clip("W007", "S2")
    for k, (_, example) in enumerate(made, 1):
        picture = cv2.imdecode(np.frombuffer(example["image"], np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (256, 256, 3)
        labels = {au: int(clip.clean[au][k]) for au in BP4D_AUS}
        positions = {
            1: 0,
            2: 1,
            4: 2,
            6: 3,
            7: 4,
            10: 6,
            12: 7,
            14: 8,
            15: 9,
            17: 10,
            23: 11,
            24: 12,
        }
        assert {au: int(example["labels"][at]) for au, at in positions.items()} == labels
        assert [int(example["labels"][at]) for at in (5, 13, 14)] == [-1, -1, -1]
    again = draw.frame("W007", "S2", 1, clip.strengths[1])
    assert np.array_equal(again.image, draw.frame("W007", "S2", 1, clip.strengths[1]).image)
    assert np.abs(again.landmarks - made[0][1]["landmarks"]).max() < 1e-4
