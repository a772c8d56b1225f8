"""Runs become groups, and nothing that fold and seed do not explain is averaged without a word."""

import json
import shutil

import numpy as np
import pytest
from made_runs import NASTY, Odd, make_runs

from experiments import frame_table
from experiments.groups import RunsError, read_groups

FEW = {"people": 2, "frames": 8, "seeds": (0,), "methods": ("baseline", "df")}


def notes_of(*folders):
    (group,) = read_groups(folders)
    return "\n".join(group.notes)


def test_folds_and_seeds_of_a_name_are_one_group_without_notes(tmp_path):
    made = make_runs(tmp_path, **FEW | {"seeds": (0, 1)})
    for given in ([tmp_path / "made"], list(made.values()), [tmp_path / "made", made[1, 0]]):
        (group,) = read_groups(given)
        assert [(r.fold, r.seed) for r in group.runs] == [(f, s) for s in (0, 1) for f in (1, 2, 3)]
        assert (group.title, group.folds, group.seeds) == ("made", (1, 2, 3), (0, 1))
        assert (group.missing_folds, group.notes, group.stand_ins) == ((), (), {})
        assert {*group.runs[0].frames} == {"baseline", "df"}
        assert not {"fold", "seed", "name", "methods", "run"} & set(group.config)


def test_what_only_says_how_a_run_goes_makes_no_group(tmp_path):
    make_runs(tmp_path, **FEW | {"folds": (1,)})
    slow = [
        "data.workers=0",
        "run.log_every=7",
        "run.audit=true",
        "eval.batch_size=8",
        "df.compile=parts",
    ]
    slow += ["df.log_parts=true"]
    make_runs(tmp_path, **FEW | {"folds": (2, 3), "methods": ("baseline",)}, settings=slow)
    (group,) = read_groups([tmp_path])
    assert group.folds == (1, 2, 3)
    assert group.notes == ("df: not scored in fold 2 seed 0, fold 3 seed 0",)


def test_other_settings_are_other_groups_with_titles_that_tell_them_apart(tmp_path):
    make_runs(tmp_path / "a", **FEW)
    make_runs(tmp_path / "b", **FEW, settings=["piap.steps=7"])
    make_runs(tmp_path / "c", **FEW, name="else", settings=["piap.steps=8"])
    groups = read_groups([tmp_path / name for name in "abc"])
    steps = json.loads((tmp_path / "a/made/fold1_seed0/config.json").read_text())["piap"]["steps"]
    titles = [group.title for group in groups]
    assert titles == [f"made (piap.steps={steps})", "made (piap.steps=7)", "else"]


def test_titles_are_short_and_unique_where_many_settings_differ(tmp_path):
    keys = ("baseline.steps", "pi3.steps", "ap.steps", "piap.steps")
    for number in (5, 6):
        settings = [f"{key}=5" for key in keys[:3]] + [f"{keys[3]}={number}", "pi2.steps=3"]
        make_runs(tmp_path / str(number), **FEW | {"folds": (1,)}, settings=settings)
    make_runs(tmp_path / "7", **FEW | {"folds": (1,)})
    groups = read_groups([tmp_path / str(number) for number in (5, 6, 7)])
    assert len({group.title for group in groups}) == 3
    assert groups[
        0
    ].title == "made (ap.steps=5, baseline.steps=5, pi2.steps=3, and 2 more) [1]" or (
        groups[0].title.endswith(", and 2 more) [1]")
    )


def test_titles_say_start_and_labeled_frames_whatever_the_folders_are_called(tmp_path):
    few = FEW | {"folds": (1,), "methods": ("baseline",)}
    drawn = ["model=small", "model.pretrained=drawn", "data.labeled_frames=100"]
    # As many other settings as a title names, all of them before these two.
    slow = ["model=small", *(f"{key}.steps=9" for key in ("ap", "baseline", "identity"))]
    make_runs(tmp_path / "a", **few, name="first", settings=drawn)
    make_runs(tmp_path / "b", **few, name="second", settings=slow)
    make_runs(tmp_path / "c", **few, name="second", settings=["model=small"])
    start = "model.pretrained=none, data.labeled_frames=all"
    assert [group.title for group in read_groups([tmp_path / name for name in "abc"])] == [
        "first (model.pretrained=drawn, data.labeled_frames=100)",
        f"second ({start}, identity.steps=9, and 2 more)",
        f"second ({start}, identity.steps=250, and 2 more)",
    ]


def test_names_of_folders_that_are_averaged_stand_in_the_title(tmp_path):
    for fold in (1, 2, 3):
        make_runs(tmp_path, **FEW | {"folds": (fold,)}, name=f"bp4d_fold{fold}")
    (group,) = read_groups([tmp_path])
    assert group.title == "bp4d_fold1, bp4d_fold2, bp4d_fold3"


def test_a_fold_and_seed_given_twice_is_an_error_that_names_both(tmp_path):
    make_runs(tmp_path / "a", **FEW)
    make_runs(tmp_path / "b", **FEW | {"folds": (2,)})
    with pytest.raises(RunsError, match=r"a/made/fold2_seed0 and .*b/made/fold2_seed0.*fold 2"):
        read_groups([tmp_path / "a", tmp_path / "b"])


def test_missing_folds_and_runs_are_told(tmp_path):
    make_runs(tmp_path, **FEW | {"folds": (1, 3), "seeds": (0, 1)}, without=((3, 1),))
    (group,) = read_groups([tmp_path])
    assert group.missing_folds == (2,)
    assert group.notes == ("fold 2 is missing: means are over the others", "not run: fold 3 seed 1")


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (Odd(stale=("baseline",)), "fold 2 seed 0: rests on the stale export DIGEST of baseline"),
        (
            Odd(sources=("baseline",)),
            "baseline: fold 2 seed 0 (here) differs from fold 1 seed 0 (there):"
            ' sources.piapdf_jax.losses is "0fba0594bc2deab8" there, "changed" here',
        ),
        (
            Odd(versions={"jax": "9.9"}),
            "versions: fold 2 seed 0 (here) differs from fold 1 seed 0 (there): jax is"
            ' "0.10.2" there, "9.9" here',
        ),
        (Odd(no_truth=("df",)), "df: no true labels are known in fold 2 seed 0"),
        (
            Odd(no_frames=("df",)),
            "fold 2 seed 0: the table of test frames of df does not exist, so it is in no mean",
        ),
        (Odd(unscored=("df",)), "df: not scored in fold 2 seed 0"),
        (
            Odd(dataset="other"),
            "fold 2 seed 0: df is left out of every mean: it was scored on other, not on bp4d",
        ),
    ],
)
def test_what_differs_in_one_fold_is_told(tmp_path, odd, told):
    make_runs(tmp_path, **FEW, odd={(2, 0): odd})
    found = notes_of(tmp_path)
    if "DIGEST" in told:
        results = json.loads((tmp_path / "made/fold2_seed0/results.json").read_text())
        told = told.replace("DIGEST", results["trainings"]["baseline"]["digest"])
    assert told in found.splitlines() or any(line.startswith(told) for line in found.splitlines())


def test_seeds_scored_on_other_people_are_told_and_left_out(tmp_path):
    make_runs(tmp_path, **FEW | {"seeds": (0, 1)}, odd={(2, 1): Odd(other_data=("df",))})
    (group,) = read_groups([tmp_path])
    assert "df: the seeds of fold 2 are scored on different data or true labels" in group.notes
    lost = "fold 2 seed 1: df is left out of every mean: it was scored on other people than seed 0"
    assert any(note.startswith(lost) for note in group.notes)
    there = [(run.fold, run.seed) for run in group.runs if "df" in run.frames]
    assert there == [(1, 0), (2, 0), (3, 0), (1, 1), (3, 1)]


def test_other_people_of_a_run_that_is_left_out_decide_nothing(tmp_path):
    strange = Odd(dataset="other", other_data=("df",))
    make_runs(tmp_path, **FEW | {"seeds": (0, 1)}, odd={(2, 0): strange})
    (group,) = read_groups([tmp_path])
    there = [(run.fold, run.seed) for run in group.runs if "df" in run.frames]
    assert there == [(1, 0), (3, 0), (1, 1), (2, 1), (3, 1)]


def test_stand_ins_come_first(tmp_path):
    stand_ins = {"data.dataset": "synthetic_faces/bp4d for bp4d"}
    make_runs(tmp_path, **FEW | {"folds": (1, 2)}, stand_ins=stand_ins)
    (group,) = read_groups([tmp_path])
    assert group.stand_ins == stand_ins
    assert group.notes[0] == "stand-ins: synthetic_faces/bp4d for bp4d"


def test_scores_that_are_older_than_their_configuration_are_told(tmp_path):
    made = make_runs(tmp_path, **FEW, settings=["baseline.steps=200"])
    path = made[3, 0] / "config.json"
    config = json.loads(path.read_text())
    assert notes_of(tmp_path) == ""
    path.write_text(json.dumps(config | {"baseline": config["baseline"] | {"steps": 300}}))
    groups = read_groups([tmp_path])
    assert "fold 3 seed 0: baseline was trained with steps=200, config.json says 300" in " ".join(
        groups[1].notes
    )


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (["df.start=fresh", "df.fresh_steps=70"], 70),
        (["df.steps=50", "df.finetune_steps=30"], 80),
        (["df.start=fresh", "df.fresh_steps=70", "df.finetune_steps=30"], 100),
    ],
)
def test_phases_of_feedback_count_among_its_steps(tmp_path, settings, steps):
    made = make_runs(tmp_path, **FEW | {"methods": ("longer", "piapdf")}, settings=settings)
    assert notes_of(tmp_path) == ""
    path = made[3, 0] / "config.json"
    config = json.loads(path.read_text())
    df = config["df"] | {"finetune_steps": config["df"]["finetune_steps"] + 1}
    path.write_text(json.dumps(config | {"df": df}))
    told = " ".join(read_groups([tmp_path])[1].notes)
    for name in ("longer", "piapdf"):
        assert f"{name} was trained with steps={steps}, config.json says {steps + 1}" in told


def test_a_damaged_run_is_told_and_the_others_go_on(tmp_path):
    made = make_runs(tmp_path, **FEW)
    (made[1, 0] / "results.json").write_text("{")
    (made[2, 0] / "results.json").unlink()
    (group,) = read_groups([tmp_path])
    assert group.missing_folds == (1, 2)
    assert f"{made[1, 0]} is left out: it cannot be read (JSONDecodeError" in "\n".join(group.notes)
    assert f"{made[2, 0]} is left out: it has no results.json" in "\n".join(group.notes)
    (made[3, 0] / "results.json").write_text('{"trainings": []}')
    with pytest.raises(RunsError, match=r"fold3_seed0 is left out: it cannot be read"):
        read_groups([tmp_path])


def test_a_table_that_is_damaged_or_of_another_export_is_in_no_mean(tmp_path):
    made = make_runs(tmp_path, **FEW)
    (path,) = made[1, 0].glob("df/*/frames.npz")
    path.write_bytes(b"PK no zip")
    (first,) = made[2, 0].glob("df/*/frames.npz")
    (other,) = made[3, 0].glob("df/*/frames.npz")
    shutil.copy(other, first)
    (group,) = read_groups([tmp_path])
    assert [run.fold for run in group.runs if "df" in run.frames] == [3]
    told = "\n".join(group.notes)
    assert "fold 1 seed 0: the table of test frames of df cannot be read" in told
    assert (
        "fold 2 seed 0: the table of test frames of df is of another training, export, fold" in told
    )


def test_probabilities_that_are_no_numbers_are_told(tmp_path):
    made = make_runs(tmp_path, **FEW)
    (path,) = made[1, 0].glob("baseline/*/frames.npz")
    table = frame_table.read(path)
    table.probs[3, table.aus.index(4)] = np.nan
    frame_table.write(path, table)
    assert (
        "fold 1 seed 0: baseline has values that are not numbers for AU4: no score there"
        in notes_of(tmp_path)
    )


def test_names_from_data_come_through_as_they_are(tmp_path):
    make_runs(tmp_path, **FEW | {"people": 4}, nasty=True)
    (group,) = read_groups([tmp_path])
    people = set(group.runs[0].frames["baseline"].subject)
    assert people == {f"{text} 1" for text in NASTY}


def test_nothing_to_read_is_an_error_that_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no config.json"):
        read_groups([tmp_path])
