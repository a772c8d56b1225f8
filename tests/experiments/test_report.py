"""What a run prints, cell by cell, of results that are written down here."""

import logging
import math
import os
import pathlib
import time
import types

import pytest

from experiments import config as configs
from experiments import report, status
from experiments.pipeline import Pipeline

NAN = math.nan


def scores(f1, mean, always, always_mean, parameters, *, aus=(1, 2, 4), probe=None, true=True):
    """One row's scores against published labels, and the same a tenth lower against true ones."""

    def table(less):
        return {
            "f1": [value - less for value in f1],
            "mean_f1": mean - less,
            "always_yes": [value - less for value in always],
            "mean_always_yes": always_mean - less,
        }

    found = {"aus": list(aus), "parameters": parameters, "published": table(0.0)}
    if true:
        found["true"] = table(10.0)
    if probe:
        found["identity_probe"] = {"accuracy": probe[0], "chance": probe[1]}
    return found


ALWAYS = ([21.06, 30.0, 40.44], 30.54)
BASELINE = scores([50.0, NAN, 61.26], 55.63, *ALWAYS, 1234, probe=(0.87654, 0.5))
PIAPDF = scores([99.96, 0.0, 70.049], 56.67, *ALWAYS, 5_678_901)
PIAPDF["teacher"] = {"published": {"f1": [98.0, None, 60.0], "mean_f1": 79.0}}
PIAPDF["published"] |= {"mean_f1_matched": 61.25, "mean_roc_auc": 0.87654}
DISFA = scores(
    [12.5, 20.25], 16.375, [1.0, 2.0], 1.5, 77, aus=(25, 26), probe=(1, 1 / 3), true=False
)


def results(**changes):
    told = {
        "config": "hand",
        "trainings": {
            "pi2": {"scores": {"iou": 0.5}},
            "baseline": {"scores": BASELINE},
            "piapdf": {"scores": PIAPDF},
            "disfa": {"scores": DISFA},
        },
        "rows": ["pi2", "baseline", "piapdf", "disfa"],
        "stand_ins": {},
        "stale": {},
        "seconds": 1234.5678,
    }
    return told | changes


@pytest.fixture
def printed(capsys):
    """Prints results and returns the lines, split where a terminal shows two spaces or more."""

    def lines(told):
        report.print_results(told, pathlib.Path("/runs/hand"))
        shown = capsys.readouterr().out.splitlines()
        assert all(len(line) <= 120 for line in shown)
        found = []
        for line in shown:
            cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
            if len(cells) == 1 and found and found[-1][0].startswith("hand:"):
                found[-1] = [f"{found[-1][0]} {cells[0]}"]  # a title that is wider than its table
            elif cells and set(cells[0]) != {"─"}:
                found.append(cells)
        return found

    return lines


def test_every_cell_of_the_tables(printed):
    published = [
        ["hand: F1 (%) per AU on unseen people, published labels"],
        ["method", "1", "2", "4", "mean"],
        ["always yes", "21.1", "30.0", "40.4", "30.5"],
        ["Baseline", "50.0", "-", "61.3", "55.6"],
        ["PIAP-DF", "100.0", "0.0", "70.0", "56.7"],
        ["its teacher", "98.0", "-", "60.0", "79.0"],
    ]
    true = [
        ["hand: F1 (%) per AU on unseen people, true labels"],
        ["method", "1", "2", "4", "mean"],
        ["always yes", "11.1", "20.0", "30.4", "20.5"],
        ["Baseline", "40.0", "-", "51.3", "45.6"],
        ["PIAP-DF", "90.0", "-10.0", "60.0", "46.7"],
    ]
    disfa = [
        ["hand: F1 (%) per AU on unseen people, published labels"],
        ["method", "25", "26", "mean"],
        ["always yes", "1.0", "2.0", "1.5"],
        ["PIAP on DISFA", "12.5", "20.2", "16.4"],
    ]
    sizes = [
        ["encoder and AU head alone"],
        ["method", "parameters", "F1 matched", "ROC AUC", "identity probe", "chance"],
        ["Baseline", "1,234", "-", "-", "0.877", "0.500"],
        ["PIAP-DF", "5,678,901", "61.2", "0.877", "-", "-"],
        ["PIAP on DISFA", "77", "-", "-", "1.000", "0.333"],
    ]
    shown = printed(results())
    assert shown[:-1] == [*published, *true, *disfa, *sizes]
    assert shown[-1] == ["results: /runs/hand/results.json", "(1235 s)"]


def test_exactly_the_rows_that_rest_on_a_stale_export_have_a_mark(printed):
    stale = {
        "baseline": {"digest": "0123456789abcdef", "sources": ["piapdf_jax.x"], "rows": ["piapdf"]},
        "pi1": {"digest": "fedcba9876543210", "sources": ["piapdf_jax.y"], "rows": ["pi2"]},
    }
    shown = printed(results(stale=stale))
    rows = [line[0] for line in shown if len(line) > 1]
    assert {row.rstrip(" *"): "*" in row for row in rows if row.startswith(("Base", "PIAP"))} == {
        "Baseline": False,
        "PIAP-DF": True,
        "PIAP on DISFA": False,
    }
    # Two tables of F1 and one of sizes.
    assert rows.count("PIAP-DF *") == 3 and "PIAP-DF" not in rows
    assert shown[-3:-1] == [
        ["* rests on the stale export 0123456789abcdef of baseline (--accept_stale)"],
        ["* rests on the stale export fedcba9876543210 of pi1 (--accept_stale)"],
    ]


@pytest.mark.parametrize("start", ["trained", "fresh"])
def test_rows_rest_on_every_export_that_they_are_made_of(tmp_path, start):
    rows = ["baseline", "pi2", "pi3", "ap", "df", "piap", "piapdf", "disfa"]
    loaded = configs.load("demo", [f"methods={','.join(rows)}", f"df.start={start}"])
    pipeline = Pipeline(loaded, data_dir=str(tmp_path), runs_dir=str(tmp_path), name="r")
    expected = {
        "pi1": {"pi2", "pi3", "piap", "piapdf", "disfa"},
        "pi2": {"pi2", "pi3", "piap", "piapdf", "disfa"},
        "identity": {"ap", "piap", "piapdf", "disfa"},
        "baseline": {"baseline", "df"} if start == "trained" else {"baseline"},
        "piap": {"piap", "piapdf", "disfa"} if start == "trained" else {"piap", "disfa"},
        "piapdf": {"piapdf"},
    }
    pipeline.catalog.stale = {name: {"digest": name, "sources": ["x"]} for name in expected}
    told = pipeline.catalog.stale_rows(rows)
    assert {name: set(one["rows"]) for name, one in told.items()} == expected
    assert all(one["digest"] == name and one["sources"] == ["x"] for name, one in told.items())
    # A row that is not asked for is none.
    assert pipeline.catalog.stale_rows(["ap", "pi2"])["pi1"]["rows"] == ["pi2"]


def test_rows_on_other_test_people_have_a_table_of_their_own(printed):
    # The same units, but another data set: what always saying yes scores is another number.
    other = scores([10.0, 20.0, 30.0], 20.0, [5.0, NAN, 15.0], 10.0, 77)
    fourth = scores([11.0, 21.0, 31.0], 21.0, [5.0, float("nan"), 15.0], 10.0, 78)
    told = results(rows=["baseline", "disfa", "piapdf", "ap"])
    told["trainings"] |= {"disfa": {"scores": other}, "ap": {"scores": fourth}}
    first = ["Baseline", "PIAP-DF", "its teacher"], ["21.1", "30.0", "40.4", "30.5"]
    second = ["PIAP on DISFA", "AP"], ["5.0", "-", "15.0", "10.0"]
    tables = []
    for line in printed(told):
        if line[0] == "always yes":
            tables.append(([], line[1:]))
        elif len(line) == 5 and line[0] != "method":
            tables[-1][0].append(line[0])
    assert tables[::2] == [first, second]
    # Against true labels nothing is said of the teacher here.
    assert [rows for rows, _ in tables[1::2]] == [["Baseline", "PIAP-DF"], second[0]]


def test_stand_ins_and_the_picture_are_told_last(printed):
    stand_ins = {"data.dataset": "drawn for bp4d", "pi1.dataset": "other for afew_va"}
    shown = printed(results(stand_ins=stand_ins, picture="/runs/hand/pi_maps.png"))
    titles = [line[0] for line in shown if line[0].startswith("hand:")]
    assert len(titles) == 3
    assert all(title.endswith("labels (stand-in data, see below)") for title in titles)
    assert shown[-3] == ["stand-ins: drawn for bp4d; other for afew_va"]
    assert shown[-1] == ["picture: /runs/hand/pi_maps.png"]


def test_a_run_without_action_units_prints_no_table(printed):
    shown = printed(results(rows=["pi2"]))
    assert len(shown) == 1 and shown[0][0].startswith("results: ")


def reading(*sections, pool=None):
    """Jobs that read these sections, and unlabeled frames of a data set."""
    pools = [(types.SimpleNamespace(dataset=pool), 0.25)] if pool else []
    slices = types.SimpleNamespace(pools=pools)
    training = [types.SimpleNamespace(section=section) for section in sections]
    return [types.SimpleNamespace(training=one, slices=slices) for one in training]


def test_only_data_sets_that_a_run_reads_stand_in():
    demo = configs.load("demo", ["disfa.dataset=disfa"])
    assert report.stand_ins(demo, reading("baseline")) == {
        "data.dataset": "synthetic_faces/bp4d for bp4d"
    }
    assert report.stand_ins(demo, reading("pi1", "identity", "disfa")) == {
        "pi1.dataset": "synthetic_faces/afew_va for afew_va",
        "identity.dataset": "synthetic_faces/webface for casia_webface",
        "identity.pairs": "synthetic_faces/lfw for lfw_pairs",
    }
    assert report.stand_ins(configs.load("bp4d_fold1"), reading("pi1", "identity", "disfa")) == {}
    drawn = configs.load("bp4d_fold1", ["disfa.dataset=synthetic_faces/disfa"])
    assert report.stand_ins(drawn, reading("df")) == {}
    assert report.stand_ins(drawn, reading("df", pool="synthetic_faces/disfa")) == {
        "disfa.dataset": "synthetic_faces/disfa for disfa"
    }


def a_training(**changes):
    told = {
        "steps": 40,
        "loss_start": 0.69315,
        "loss_end": None,
        "seconds": 12.6,
        "first_step_seconds": 3.4,
        "images_per_second": 1234.5,
        "skipped": 2,
        "trained": {"encoder": {"leaves": 9, "moved": 8}, "head": {"leaves": 2, "moved": 2}},
        "frozen_unchanged": True,
        "metrics_start": {},
        "metrics_end": {},
        "totals": {},
    }
    return {
        "report": told | changes,
        "digest": "0123456789abcdef",
        "consumed": {},
        "data": ["x[part1]"],
        "scores": {},
    }


@pytest.fixture
def logged(caplog):
    """Logs one training and returns the lines."""

    def lines(name, result):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="hand"):
            report.log_training(logging.getLogger("hand"), name, result)
        return [record.getMessage() for record in caplog.records]

    return lines


def test_every_line_of_a_training_of_action_units(logged):
    result = a_training(totals={"count_positive": 30, "count_zero": 0, "count_skipped": 2.0})
    result |= {"consumed": {"pi2": "aa", "piap": "bb"}, "scores": BASELINE}
    result["data"] = ["x[part1]", "y[part2]"]
    assert logged("piapdf", result) == [
        "PIAP-DF [0123456789abcdef]",
        "  from x[part1] + y[part2] and the exports of pi2 [aa], piap [bb]",
        "  loss 0.6932 -> nan in 40 steps, 13 s (first step 3 s), 1234 images/s, 2 skipped",
        "  leaves moved: encoder 8/9, head 2/2; frozen bitwise unchanged: True",
        "  mean F1 55.6 against published labels of unseen people (always yes 30.5)",
        "  mean F1 45.6 against true labels of unseen people (always yes 20.5)",
        "  count_positive 30, count_skipped 2",
    ]


def test_without_an_audit_nothing_is_said_of_what_moved(logged):
    result = a_training()
    del result["report"]["trained"], result["report"]["frozen_unchanged"]
    assert logged("pi1", result)[2:] == [
        "  loss 0.6932 -> nan in 40 steps, 13 s (first step 3 s), 1234 images/s, 2 skipped"
    ]


def test_every_line_of_maps_and_of_pairs(logged):
    norms = ({"generator_gradient_norm": 0.012345}, {"generator_gradient_norm": 123.456})
    result = a_training(metrics_start=norms[0], metrics_end=norms[1])
    result["scores"] = {
        "iou": 0.61249,
        "iou_per_map": {"1": 0.7, "12": 0.4567, "4": 0.5},
        "maps_moved": {"mean_abs": 0.01236, "max_abs": 0.9},
    }
    lines = logged("pi2", result)
    assert lines[:2] == ["PI stage 2 (PI Generator 1) [0123456789abcdef]", "  from x[part1]"]
    assert lines[4:] == [
        "  IoU with the predefined maps of unseen people 0.612 (lowest: AU12 0.457)",
        "  norm of the gradient into the generator 0.0123 -> 123",
        "  soft maps moved by 0.0124 on average",
    ]
    pairs = a_training()
    pairs["scores"] = {"verification": 0.98765, "deviation": 0.0123}
    assert logged("identity", pairs)[4:] == ["  pair verification 98.8% +- 1.2 on unseen people"]


def test_every_cell_of_the_standing_of_a_run():
    row = {
        "loss": 0.123449,
        "images_per_second": 1234.56,
        "input_wait": 0.256,
        "first_step_seconds": 61.6,
        "peak_memory_gib": 3.25,
        "count_skipped": 2,
        "student_skipped": 3,
        "count_positive": 5,
        "count_negative": 6,
        "count_zero": 7,
    }
    found = [
        status.TrainingStatus("pi1", "done", 4, 4, {"loss": 1.0}, age=5.0, checkpoint=4, left=0.0),
        status.TrainingStatus(
            "df", "under way", 25, 100, row, age=75.4, checkpoint=20, left=7384.0
        ),
        status.TrainingStatus("piap", "not begun"),
    ]
    table = status.table(found, "runs/hand")
    columns = {column.header: list(column.cells) for column in table.columns}
    assert table.title == "runs/hand"
    assert columns == {
        "training": ["pi1", "df", "piap"],
        "state": ["done", "under way", "not begun"],
        "step": ["4/4", "25/100 (saved 20)", ""],
        "loss": ["1.0000", "0.1234", ""],
        "images/s": ["", "1234.6", ""],
        "waits for input": ["", "26%", ""],
        "first step": ["", "62 s", ""],
        "peak memory": ["", "3.2 GiB", ""],
        "skipped": ["0", "5", ""],
        "feedback": ["", "5 x +, 6 x -, 7 x 0", ""],
        "last line": ["", "1 min 15 s ago", ""],
        "time left": ["", "2 h 3 min", ""],
    }


def test_the_standing_of_a_training_is_read_off_its_files(tmp_path):
    folder = tmp_path / "baseline" / "0123456789abcdef"
    for step in (5, 10):
        (folder / "checkpoints" / str(step)).mkdir(parents=True)
    (tmp_path / "config.json").write_text('{"methods": ["baseline", "pi2"]}')
    (folder / "fingerprint.json").write_text('{"settings": {"steps": 40, "batch_size": 8}}')
    metrics = folder / "metrics.jsonl"
    metrics.write_text(
        '{"step": 1, "loss": 2.0}\n{"step": 13, "loss": 1.5, "images_per_second": 4.0}\n'
    )
    os.utime(metrics, (time.time() - 100,) * 2)
    first, second, one = status.training_statuses(tmp_path)
    assert [first, second] == [
        status.TrainingStatus("pi1", "not begun"), status.TrainingStatus("pi2", "not begun"),
    ]  # fmt: skip
    assert (one.name, one.state, one.step, one.steps) == ("baseline", "under way", 13, 40)
    # 27 steps of 8 images are left at 4 images a second.
    assert (one.checkpoint, one.left, one.row["loss"]) == (10, 54.0, 1.5)
    assert 100 <= one.age < 130
