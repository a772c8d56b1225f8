"""The people of ``bp4d_more``: others than BP4D's, and nothing else is drawn otherwise for them."""

import hashlib
import pathlib

import cv2
import numpy as np
import pytest

from data_builders.synthetic_faces import population
from data_builders.synthetic_faces import synthetic_faces_dataset_builder as builders
from piapdf_jax import folds
from piapdf_jax.action_units import BP4D_AUS


def test_new_people_are_others_who_do_the_same_by_the_same_thresholds():
    (config,) = [c for c in builders.Builder.BUILDER_CONFIGS if c.name == "bp4d_more"]
    (bp4d,) = [c for c in builders.Builder.BUILDER_CONFIGS if c.name == "bp4d"]
    new = population.NEW_PEOPLE
    assert new == tuple([f"F{101 + k}" for k in range(56)] + [f"M{101 + k}" for k in range(44)])
    assert not set(new) & {
        name
        for kind in (*population.AU_KINDS, *population.IDENTITY_KINDS)
        for name in population.subjects(kind)
    }
    assert (config.kind, config.rules) == ("bp4d", bp4d.rules)
    splits = builders._splits(config)
    assert [(split, len(specs)) for split, specs in splits.items()] == [
        ("train", 800),
        ("train_uncoded", 800),
    ]
    assert all({spec.subject for spec in specs} == set(new) for specs in splits.values())
    assert {spec.coded for spec in splits["train"]} == {True}
    assert not any(spec.coded for spec in splits["train_uncoded"])
    looks = {population.person("bp4d", name).shape for name in (*new, *folds.BP4D_SUBJECTS)}
    assert len(looks) == 141
    # A unit shows above the quantile of the 41 that leaves its published rate.
    drives = [
        np.concatenate(
            [population._drive(bp4d.rules, s, t) for s in people for t in folds.BP4D_TASKS]
        )
        for people in (folds.BP4D_SUBJECTS, new)
    ]
    rates = np.array([population.BP4D_RATES[au] for au in BP4D_AUS])
    bars = np.array([np.quantile(drives[0][:, k], 1 - rate) for k, rate in enumerate(rates)])
    assert np.abs((drives[1] > bars).mean(0) - rates).max() < 0.08
    clip = population.sequence(config.rules, "M120", "T6")
    drive = population._drive(bp4d.rules, "M120", "T6")
    assert [clip.clean[au].tolist() for au in BP4D_AUS] == (drive > bars).T.astype(int).tolist()


#: By config: what was drawn before there was ``bp4d_more``; the digest is of specs, frames and labels.
DRAWN_BEFORE = {
    "bp4d": ("BP4D's participants and tasks.", "74eb063a96e086b0"),
    "disfa": ("DISFA's participants.", "7f5314b81bdead1e"),
    "afew_va": ("Faces without labels.", "bb14e78f073f1fc8"),
    "webface": ("Pictures by person.", "13fa943dc543c568"),
    "lfw": ("Pairs for verification.", "522daaa143e87105"),
    "bp4d_no_habits": ("No habits.", "f7830ea2e536cf4c"),
    "bp4d_clean": ("No wrong labels.", "d285f1cb67dd6f9a"),
}


@pytest.mark.parametrize("name", DRAWN_BEFORE)
def test_what_a_config_draws_has_not_changed(name):
    (config,) = [c for c in builders.Builder.BUILDER_CONFIGS if c.name == name]
    digest = hashlib.sha256()
    for split, specs in builders._splits(config).items():
        for spec in specs:
            digest.update(repr((split, *spec[1:])).encode())
        if config.kind in population.AU_KINDS:
            for spec in (specs[0], specs[-1]):
                clip = population.sequence(spec.rules, spec.subject, spec.task)
                labels = [
                    (au, v.tolist()) for of in (clip.clean, clip.published) for au, v in of.items()
                ]
                told = [clip.frames.tolist(), clip.coded.tolist(), labels]
                digest.update(repr(told).encode())
    assert (config.description, digest.hexdigest()[:16]) == DRAWN_BEFORE[name]


@pytest.mark.parametrize(
    ("name", "file"), [("bp4d", "bp4d"), ("bp4d", "all_units"), ("wild", "wild")]
)
def test_pictures_have_not_changed(name, file):
    """Beside pictures that lie here: a version of OpenCV or NumPy may round a few pixels otherwise."""
    (config,) = [c for c in builders.Builder.BUILDER_CONFIGS if c.name == name]
    spec = next(iter(builders._splits(config).values()))[0]
    clip = builders._sequence(spec)
    frame = int(clip.frames[3])
    strengths = clip.strengths[3]
    if file == "all_units":  # at once, as no face shows them
        strengths = {au: 0.7 for au in strengths}
    picture = builders._picture(name, spec.subject, spec.task, frame, strengths)
    before = cv2.imread(str(pathlib.Path(__file__).parent / "drawn" / f"{file}.png"))
    assert before is not None
    apart = np.abs(picture.image.astype(int) - before[..., ::-1]).max(-1)
    assert (apart > 2).mean() < 1e-4
