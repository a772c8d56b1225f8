"""A training that people judge: stopped and gone on with, what it says of itself, and what a group of seeds shares."""

import shutil
import types

import pytest
from nano_runs import contents, run

from experiments.group_notes import _explained
from piapdf_jax.data.feedback_stream import FeedbackStream
from piapdf_jax.runtime.digests import tree_digest


@pytest.mark.nightly
def test_judged_and_stopped_it_goes_on_to_the_straight_run(small_data, tmp_path, monkeypatch):
    settings = ["methods=df", "df.judge_subjects=1", "df.steps=5", "run.checkpoint_every=2"]
    settings += ["df.unlabeled_dataset=synthetic_faces/small_webface"]
    read, seen = FeedbackStream.__call__, {}

    def until(end):
        def stopping(stream, step):
            if step >= end:
                raise KeyboardInterrupt
            seen.setdefault(end, {})[step] = tree_digest(found := read(stream, step))
            return found

        monkeypatch.setattr(FeedbackStream, "__call__", stopping)

    until(3)
    with pytest.raises(KeyboardInterrupt):
        run(small_data, tmp_path, *settings)
    until(9)
    results = run(small_data, tmp_path, *settings)["trainings"]
    # From the checkpoint of step 2; the batch of step 0 is read to choose the readers.
    assert sorted(seen[3]) == [0, 1, 2] and 1 not in seen[9] and {2, 3, 4} <= set(seen[9])
    resumed = contents(tmp_path)
    for folder in (tmp_path / "exports" / "df", tmp_path / "demo" / "fold1_seed0" / "df"):
        shutil.rmtree(folder)
    until(10)
    run(small_data, tmp_path, *settings)
    assert contents(tmp_path) == resumed and 1 in seen[10]
    assert all(seen[10][step] == digest for step, digest in (seen[3] | seen[9]).items())

    own = "synthetic_faces/small_bp4d"
    assert results["baseline"]["data"] == [f"{own}[part1+part2] without 1 people"]
    assert results["df"]["data"] == [
        f"{own}[part1+part2] without 1 people",
        f"{own}[part1+part2] of 1 people",
        "synthetic_faces/small_webface[train]",
        f"{own}[part1_uncoded+part2_uncoded]",
    ]


def test_seeds_with_other_judges_are_of_one_group():
    def explained(people, every=1):
        settings = {"judges": {"people": people}, "validation": {"people": people, "every": every}}
        told = {"fingerprint": {"settings": settings, "data": []}}
        return _explained(types.SimpleNamespace(results={"trainings": {"df": told}}), "df")

    assert explained(["F001"]) == explained(["F002"]) != explained(["F001"], every=2)
    assert explained([])["settings"] == {"judges": {}, "validation": {"every": 1}}
