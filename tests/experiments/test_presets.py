"""Names that stand for several settings of feedback, and what titles of tables say of them."""

import dataclasses
import json

import pytest
from absl.testing import flagsaver
from made_runs import make_runs
from programs import load

from experiments import config as configs
from experiments import presets

tables = load("experiments.tables")


def df(name, *settings):
    return dataclasses.asdict(configs.load(name, settings).df)


@pytest.mark.parametrize("name", ["bp4d", "bp4d_fold2", "disfa", "disfa_fold3"])
def test_full_size_configurations_keep_the_letter_of_the_paper(name):
    told = df(name)
    assert presets.feedback_title(told) == "as printed"
    # Section 3.3: hard labels at 0.5 from the same pass, (10)'s 1 and -0.1, sigma 0 in 5 %, copies of the trained
    # network, labels of x_l as the judge, nothing after it.
    printed = {
        "labels": "threshold",
        "label_view": "same",
        "variant": "discrete",
        "estimator": "grad",
    }
    printed |= {"positive": 1.0, "negative": -0.1, "drop_rate": 0.05, "drop_on": "all"}
    printed |= {
        "start": "trained",
        "judge_subjects": 0,
        "finetune_steps": 0,
        "teacher_term": "full",
    }
    assert {key: told[key] for key in printed} == printed


def test_the_demo_has_what_the_study_chose():
    told = df("demo")
    assert presets.feedback_title(told) == "as chosen"
    # A pseudo label is positive as often as labels are; fifteen steps of fine-tuning a hundred of feedback.
    assert (told["labels"], told["matched_on"], told["finetune_steps"]) == ("matched", "labeled", 9)
    # Both are asked for by name in the evidence, whatever the demo has.
    assert presets.feedback_title(df("evidence", "df=paper")) == "as printed"
    assert df("evidence", "df=chosen") == told


def test_what_the_demo_has_is_set_back_by_name_where_a_variant_has_no_use_for_it():
    with pytest.raises(configs.ConfigError, match="--set df=paper restores their defaults"):
        df("demo", "df.variant=exact")
    assert df("demo", "df=paper", "df.variant=exact")["variant"] == "exact"


def test_a_name_sets_what_feedback_is_and_later_settings_stand_on_top():
    paper = df("demo", "df.negative=-0.5", "df.steps=7", "df=paper", "df.drop_rate=0.2")
    assert (paper["negative"], paper["steps"], paper["drop_rate"]) == (-0.1, 7, 0.2)
    assert presets.feedback_title(paper) == "with drop_rate=0.2"
    chosen, small = df("bp4d", "df=chosen"), df("demo", "df=chosen")
    assert presets.feedback_title(chosen) == presets.feedback_title(small) == "as chosen"
    changed = {key: value for key, value in chosen.items() if df("bp4d")[key] != value}
    # 15 steps of fine-tuning a hundred of feedback.
    assert changed == {"labels": "matched", "finetune_steps": 1500}
    assert (small["steps"], small["finetune_steps"], small["matched_on"]) == (60, 9, "labeled")
    lengths = ("steps", "batch_size", "learning_rate", "fresh_steps", "disfa_fraction")
    assert {key: chosen[key] for key in lengths} == {key: df("bp4d")[key] for key in lengths}


def test_a_run_older_than_a_key_has_its_printed_value():
    assert presets.feedback_title({"variant": "none"}) == "with variant=none"
    assert presets.feedback_title({}) == "as printed"
    # What changes no number has no word in a title.
    assert presets.feedback_title({"log_parts": True}) == "as printed"


def test_new_people_are_told_where_their_frames_are_asked_for():
    more = "df.unlabeled_dataset=synthetic_faces/bp4d_more"
    for settings, title in (
        (["df=paper", more], "as printed, unlabeled_dataset=synthetic_faces/bp4d_more"),
        ([more, "df=chosen"], "as chosen, unlabeled_dataset=synthetic_faces/bp4d_more"),
        (
            ["df=paper", "df.variant=none", more],
            "with variant=none, unlabeled_dataset=synthetic_faces/bp4d_more",
        ),
        ([more, "df.unlabeled_fraction=0"], "as chosen"),
    ):
        assert presets.feedback_title(df("demo", *settings)) == title


def titles(out, *runs):
    with flagsaver.flagsaver(out=str(out), resamples=200, check=False):
        tables.main(["tables", *map(str, runs)])
    return [table["title"] for table in json.loads((out / "numbers.json").read_text())]


def test_every_title_of_a_report_says_which_feedback_its_rows_are_of(tmp_path):
    few = {"people": 2, "frames": 8, "seeds": (0,), "folds": (1,)}
    printed, chosen, plain = (tmp_path / name for name in ("printed", "chosen", "plain"))
    make_runs(printed, **few, methods=("piap", "piapdf"), settings=["df=paper"])
    make_runs(chosen, **few, methods=("piap", "piapdf"), settings=["df=chosen"])
    make_runs(plain, **few, methods=("piap",))
    alone, both, none = (
        titles(tmp_path / f"report{k}", *runs)
        for k, runs in enumerate(((printed,), (printed, chosen), (plain,)))
    )
    assert alone and all(title.endswith("; discrete feedback as printed") for title in alone)
    for title in both:
        assert "discrete feedback as printed in " in title and ", as chosen in " in title
    assert none and not any("feedback" in title for title in none)


def test_differences_at_matched_cuts_are_those_of_f1_at_those_cuts(tmp_path):
    few = {"people": 6, "frames": 16, "seeds": (0,), "folds": (1,)}
    make_runs(tmp_path / "runs", **few, methods=("baseline", "piap", "longer", "piapdf"))
    titles(tmp_path / "report", tmp_path / "runs")
    told = {t["name"]: t for t in json.loads((tmp_path / "report" / "numbers.json").read_text())}
    column = told["scores"]["columns"].index("F1 matched")
    scores = {
        row["title"].split(",")[0]: row["cells"][column]["value"]
        for row in told["scores"]["rows"]
        if ", teacher" not in row["title"]
    }
    rows = {r["title"].split(", ")[0]: r["cells"][-1] for r in told["matched_differences"]["rows"]}
    long = "PIAP for as long as PIAP-DF"
    for first, second in (("PIAP-DF", "PIAP"), ("PIAP-DF", long), (long, "PIAP")):
        cell = rows[f"{first} - {second}"]
        assert cell["value"] == pytest.approx(scores[first] - scores[second], abs=1e-9)
        assert cell["low"] <= cell["value"] <= cell["high"]
    plain = {r["title"].split(", ")[0]: r["cells"][-1] for r in told["differences"]["rows"]}
    assert plain["PIAP-DF - PIAP"]["value"] != rows["PIAP-DF - PIAP"]["value"]
