"""``data.labeled_frames``: what trainings, judges and feedback read of the drawn people, and what digests say."""

import collections
import json

import numpy as np
import pytest

from experiments import config as configs
from experiments import stages
from experiments.pipeline import Pipeline
from experiments.trainings import TRAININGS
from piapdf_jax.action_units import record_columns
from piapdf_jax.runtime.digests import digest_of

SETTINGS = [
    *("df=paper", "model=nano", "data.image_size=64", "data.dataset=synthetic_faces/small_bp4d"),
    *("pi1.dataset=synthetic_faces/small_afew_va", "disfa.dataset=synthetic_faces/small_disfa"),
    *("identity.dataset=synthetic_faces/small_webface", "methods=piapdf"),
    *("identity.pairs=synthetic_faces/small_lfw", "df.batch_size=4", "df.disfa_fraction=0"),
]
LIMITED = set(TRAININGS) - {"pi1", "identity", "landmarks", "disfa"}


def a_pipeline(data, *settings):
    loaded = configs.load("demo", [*SETTINGS, *settings])
    return Pipeline(loaded, data_dir=str(data), runs_dir=str(data / "runs"), name="n")


def names(part):
    """Names of the frames of a slice, by what its own records say."""
    table = part.records().table()
    places = zip(table["subject"], table["task"], map(str, table["frame"]), strict=True)
    return ["/".join(filter(None, place)) for place in places]


def by_person(frames):
    return collections.Counter(name.partition("/")[0] for name in frames)


@pytest.fixture(scope="module")
def everything(small_data):
    return a_pipeline(small_data).job("df").slices


def test_everybody_keeps_as_many_and_more_labels_hold_the_fewer(small_data, everything):
    found = {}
    for count in (6, 12, 30):
        slices = a_pipeline(small_data, f"data.labeled_frames={count}").job("baseline").slices
        found[count] = names(slices.train)
        assert len(set(found[count])) == len(found[count]) == count
        numbers = by_person(found[count])
        assert len(numbers) == 4 and max(numbers.values()) - min(numbers.values()) <= 1
        assert slices.test == everything.test
    assert set(found[6]) < set(found[12]) < set(found[30]) < set(names(everything.train))
    other = a_pipeline(small_data, "data.labeled_frames=12", "seed=5").job("piap").slices
    assert names(other.train) == found[12]


def test_frames_whose_labels_are_withheld_are_unlabeled_ones(small_data, everything):
    job = a_pipeline(small_data, "data.labeled_frames=12").job("df")
    ((pool, share),) = job.slices.pools
    ((uncoded, _),) = everything.pools
    kept, coded = set(names(job.slices.train)), set(names(everything.train))
    assert share == 1.0 and set(names(pool)) == (coded - kept) | set(names(uncoded))
    told = set()
    for step in range(30):
        frames = job.stream().frames(step)
        assert set(frames["labeled"]) <= kept
        told.update(set(frames["unlabeled"]))
        assert not set(frames["labeled"]) & set(frames["unlabeled"])
    assert told & (coded - kept) and told - coded
    batch = job.stream()(0)
    assert (batch.unlabeled.labels == -1).all() and (batch.labeled.labels != -1).any()


def test_a_judges_labels_are_some_of_them_and_those_kept_apart_are_not(small_data, everything):
    settings = ["df.judge_subjects=1", "eval.validation_subjects=1", "data.labeled_frames=9"]
    slices = a_pipeline(small_data, *settings).job("df").slices
    (judge,), (held,) = slices.judges.include, slices.validation.include
    kept, judged = names(slices.train), names(slices.judges)
    assert set(by_person(judged)) == {judge} and len(kept) + len(judged) == 9
    assert len(by_person(kept)) == 2 and not {judge, held} & set(by_person(kept))
    own = [name for name in names(everything.train) if name.startswith(f"{held}/")]
    assert sorted(names(slices.validation)) == sorted(own)
    ((pool, _),) = slices.pools
    assert not set(names(pool)) & {*kept, *judged} and held not in by_person(names(pool))
    assert judge in by_person(names(pool))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_judge_without_a_label_is_refused(small_data, seed):
    settings = ["df.judge_subjects=1", "data.labeled_frames=1", f"seed={seed}"]
    with pytest.raises(configs.ConfigError) as error:
        _ = a_pipeline(small_data, *settings).job("df").slices
    told = str(error.value)
    assert told.startswith("data.labeled_frames=1 leaves no frame to ") and "\n" not in told
    # The one label is the judge's, or his is none.
    assert " judge by: " in told or " train on: " in told


def test_more_than_there_are_is_refused_with_their_number(small_data, everything):
    labels = everything.train.records().table()["labels"]
    there = int((labels != -1).any(axis=1).sum())
    assert len(names(a_pipeline(small_data, f"data.labeled_frames={there}").job("df").slices.train))
    pipeline = a_pipeline(small_data, f"data.labeled_frames={there + 1}")
    with pytest.raises(configs.ConfigError) as error:
        _ = pipeline.job("baseline").slices
    assert str(error.value) == (
        f"data.labeled_frames={there + 1} is too many: there are {there} labeled frames of the people of"
        " synthetic_faces/small_bp4d[part1+part2] who are neither tested nor kept apart; 0 takes all"
    )
    # What reads no labels goes on.
    assert pipeline.job("pi1").slices.train.labeled is None


def fingerprints(data, *settings):
    pipeline = a_pipeline(data, *settings)
    return {name: json.loads(json.dumps(pipeline.fingerprint(name))) for name in TRAININGS}


def test_digests_of_trainings_on_labels_know_them_and_no_other(small_data, tmp_path):
    plain, none, some, more = (
        fingerprints(small_data, *settings)
        for settings in ([], ["data.labeled_frames=0"], ["data.labeled_frames=12"],
                         ["data.labeled_frames=13"])
    )  # fmt: skip
    assert plain == none and "labeled" not in json.dumps([p["data"] for p in plain.values()])
    assert not any("labeled_frames" in told["settings"] for told in plain.values())
    for name in TRAININGS:
        digests = {digest_of(told[name]) for told in (plain, some, more)}
        # Fine-tuning to DISFA has all of its labels; what it starts from has not.
        own = {
            digest_of({**told[name], "takes": 0} | {"sources": 0}) for told in (plain, some, more)
        }
        assert len(own) == (3 if name in LIMITED else 1), name
        assert len(digests) == (3 if name in LIMITED | {"disfa"} else 1), name
        assert some[name]["settings"].get("labeled_frames") == (12 if name in LIMITED else None)
    (row,) = some["baseline"]["data"]
    assert row[:2] == ["synthetic_faces/small_bp4d", "part1+part2"]
    count, digest = row[-1]["labeled"]
    assert count == 12 and len(digest) == 16
    assert some["df"]["data"][-1][-1] == {"withheld": [12, digest]}


def test_the_same_people_under_another_name_keep_the_same_labels(small_data):
    same = ["disfa.dataset=synthetic_faces/small_bp4d", "disfa.units=1,2,4,6,12"]
    slices = {
        name: a_pipeline(small_data, *same, "data.labeled_frames=12").job(name).slices
        for name in ("baseline", "disfa")
    }
    assert names(slices["disfa"].train) == names(slices["baseline"].train)


def test_rates_that_pseudo_labels_meet_are_those_of_the_frames_that_are_left(small_data):
    settings = ["df.start=fresh", "df.labels=matched", "data.labeled_frames=12"]
    job = a_pipeline(small_data, *settings).job("df")
    table = a_pipeline(small_data).job("df").slices.train.records().table()
    places = zip(table["subject"], table["task"], map(str, table["frame"]), strict=True)
    kept = set(names(job.slices.train))
    rows = [k for k, place in enumerate(places) if "/".join(filter(None, place)) in kept]
    labels = table["labels"][rows][:, record_columns(job.units)].astype(float)
    labels[labels == -1] = np.nan
    assert len(rows) == 12
    rates, _ = stages._labeled_rates(job)
    np.testing.assert_allclose(rates, np.nanmean(labels, axis=0), rtol=1e-6)


def test_an_export_says_how_many_people_gave_labels(small_data):
    from experiments.model_json import _data

    job = a_pipeline(small_data, "data.labeled_frames=3").job("baseline")
    (told,) = _data(job)
    assert told.people == 3 == len(by_person(names(job.slices.train))) and told.labeled
    assert str(job.slices.train) == (
        "synthetic_faces/small_bp4d[part1+part2], of the 3 labeled frames"
    )
