"""Tables of a report, against a small program that counts frames of the files by itself."""

import dataclasses
import json

import numpy as np
import pytest
from made_runs import Odd, make_runs

from experiments import more_tables, paper_tables
from experiments.cells import FEW, NOTHING, Said, Study
from experiments.groups import read_groups
from piapdf_jax import intervals

RESAMPLES = 400
UNITS = ("1", "2", "4", "6", "7", "10", "12", "14", "15", "17", "23", "24")


def studies(*folders, against="published"):
    return [
        Study(group, against=against, resamples=RESAMPLES) for group in read_groups(list(folders))
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_runs(folder, people=4, frames=16)
    return folder


@pytest.fixture(scope="module")
def tables(runs):
    return {table.name: table for table in paper_tables.paper_tables(studies(runs))}


def row(table, title):
    (found,) = [row for row in table.rows if row.title == title]
    return found


def values(table, title):
    return [cell.value for cell in row(table, title).cells]


def f1_by_hand(runs, training, *, labels="coded", probs="probs", cut=0.5):
    """Mean over folds of the mean over seeds, [C] in percent; every fold pools its frames."""
    folds = []
    for fold in (1, 2, 3):
        seeds = []
        for path in sorted(runs.glob(f"*/fold{fold}_seed*/{training}/*/frames.npz")):
            stored = np.load(path)
            said, truth = (
                stored[probs] >= (stored[cut] if isinstance(cut, str) else cut),
                stored[labels],
            )
            right = ((truth == 1) & said).sum(0)
            wrong = ((truth == 0) & said).sum(0) + ((truth == 1) & ~said).sum(0)
            shown = (truth == 1).any(0)
            seeds.append(
                np.where(shown, 100 * 2 * right / np.maximum(2 * right + wrong, 1), np.nan)
            )
        folds += [np.mean(seeds, axis=0)] if seeds else []
    return np.nanmean(folds, axis=0)


def auc_by_hand(runs, training):
    """Mean over folds of the mean over seeds of ROC AUC, [C]: each present frame against each absent one."""
    folds = []
    for fold in (1, 2, 3):
        seeds = []
        for path in sorted(runs.glob(f"*/fold{fold}_seed*/{training}/*/frames.npz")):
            probs, coded = (np.load(path)[key] for key in ("probs", "coded"))
            units = [(p[y == 1][:, None], p[y == 0]) for p, y in zip(probs.T, coded.T, strict=True)]
            seeds.append(
                [np.mean((a > b) + 0.5 * (a == b)) if a.size * b.size else np.nan for a, b in units]
            )
        folds.append(np.mean(seeds, axis=0))
    return np.nanmean(folds, axis=0)


@pytest.mark.parametrize(
    ("name", "title", "training", "how"),
    [
        ("table1", "PIAP, made", "piap", {}),
        ("table1", "PIAP-DF, made", "piapdf", {}),
        ("table1", "PIAP-DF, teacher, made", "piapdf", {"probs": "teacher_probs"}),
        ("table1", "always yes, made", "piap", {"cut": 0.0}),
        ("table2", "PIAP on DISFA, made", "disfa", {}),
        ("table2", "always yes, made", "disfa", {"cut": 0.0}),
        ("table3", "Baseline, made", "baseline", {}),
        ("table3", "PI stage 2 (PI Generator 1), made", "pi2", {}),
        ("table3", "LP (landmarks, ours), made", "lp", {}),
        ("table3", "DF on the baseline, teacher, made", "df", {"probs": "teacher_probs"}),
    ],
)
def test_f1_pools_a_folds_frames_and_is_a_mean_over_folds_then_units(
    runs, tables, name, title, training, how
):
    expected = f1_by_hand(runs, training, **how)
    np.testing.assert_allclose(values(tables[name], title), [*expected, expected.mean()])


def test_against_true_labels_other_numbers_stand_in_the_table(runs):
    table = paper_tables.paper_tables(studies(runs, against="true"))[0]
    expected = f1_by_hand(runs, "piap", labels="true")
    assert "true labels" in table.title
    np.testing.assert_allclose(values(table, "PIAP, made")[:-1], expected)
    # In two folds nobody truly shows AU1.
    notes = [cell.note for cell in row(table, "PIAP, made").cells]
    assert notes[0].startswith(f"{FEW}; mean over 1 of 3 folds") and notes[3] == ""
    assert abs(expected - f1_by_hand(runs, "piap")).max() > 0.5


def test_ours_stand_below_the_papers_row_of_the_same_method_and_always_yes_last(tables):
    titles = [row.title for row in tables["table3"].rows]
    assert titles[:4] == [
        "Baseline",
        "Baseline, made",
        "PI stage 2",
        "PI stage 2 (PI Generator 1), made",
    ]
    below = titles.index("AP, made") + 1
    assert titles[below : below + 2] == ["LP (landmarks, ours), made", "DF"]
    (note,) = [note for note in tables["table3"].notes if note.startswith("LP (landmarks, ours): ")]
    assert "the paper prints no number" in note
    assert not any(note.startswith("LP") for note in tables["table1"].notes)
    assert titles[-4:] == ["PIAP-DF", "PIAP-DF, made", "PIAP-DF, teacher, made", "always yes, made"]
    kinds = [row.kind for row in tables["table1"].rows]
    assert kinds == [*["other"] * 11, "paper", "ours", "paper", "ours", "ours", "floor"]
    assert tables["table1"].columns == (*UNITS, "mean")
    assert tables["table2"].columns == ("1", "2", "4", "6", "9", "12", "25", "26", "mean")


def test_the_papers_means_are_recomputed_and_those_that_differ_are_noted(tables):
    # Table 1: LSVM prints 35.3; its twelve numbers sum to 440.1.
    lsvm = row(tables["table1"], "LSVM")
    assert lsvm.cells[-1].value == pytest.approx(440.1 / 12) and lsvm.cells[0].value == 23.2
    assert lsvm.note == "the paper prints a mean of 35.3"
    noted = {r.title for table in tables.values() for r in table.rows if "prints a mean" in r.note}
    assert noted == {"LSVM", "TCAE", "DRML", "EAC-Net", "ROI", "PI stage 3"}
    assert values(tables["table1"], "PIAP-DF")[-1] == pytest.approx(64.4, abs=0.05)
    assert values(tables["table2"], "PIAP")[-1] == pytest.approx(63.8, abs=0.0501)


def test_beside_each_f1_stands_on_what_it_rests(runs, tables):
    shown, people = np.zeros(12, int), np.zeros(12, int)
    for path in runs.glob("*/fold*_seed0/piap/*/frames.npz"):
        stored = np.load(path)
        shown += (stored["coded"] == 1).sum(0)
        for who in set(stored["subject"]):
            people += (stored["coded"][stored["subject"] == who] == 1).any(0)
    cells = row(tables["table1"], "PIAP, made").cells
    assert [cell.positives for cell in cells] == [*shown, None]
    assert [cell.people for cell in cells] == [*people, 12]
    table = paper_tables.evidence(studies(runs))
    own = dict(zip(table.columns, values(table, "positive frames, made, bp4d"), strict=True))
    assert [own[unit] for unit in UNITS] == shown.tolist() and own["25"] is None
    who = dict(zip(table.columns, values(table, "people who show it, made, bp4d"), strict=True))
    assert [who[unit] for unit in UNITS] == people.tolist()
    disfa = dict(zip(table.columns, values(table, "positive frames, made, disfa"), strict=True))
    assert disfa["25"] > 0 and disfa["24"] is None


def test_intervals_hold_the_value_and_rows_are_compared_with_the_first_of_ours(tables):
    first, *others = [row for row in tables["table3"].rows if row.kind == "ours"]
    assert first.title == "Baseline, made" and all(cell.p is None for cell in first.cells)
    for one in (first, *others):
        for cell in one.cells:
            assert cell.low <= cell.value <= cell.high and cell.low < cell.high
    best = row(tables["table3"], "PIAP-DF, made").cells[-1]
    # The made-up method is far stronger: no permutation comes near, no resample turns it round.
    assert best.p == pytest.approx(1 / (1 + RESAMPLES)) and best.better == 1
    for one in tables["table3"].rows:
        if one.kind != "ours":
            assert all(cell.low is None and cell.p is None for cell in one.cells)


def test_a_missing_fold_is_marked_and_told_in_the_row(tmp_path):
    make_runs(tmp_path, people=4, frames=8, seeds=(0,), odd={(2, 0): Odd(unscored=("piapdf",))})
    table = paper_tables.paper_tables(studies(tmp_path))[0]
    lacking = row(table, "PIAP-DF, made \N{DAGGER}")
    assert lacking.note.startswith("folds 1, 3; seeds 0; ")
    assert lacking.note.endswith("; \N{DAGGER} fold 2 is missing")
    assert row(table, "PIAP, made").note.startswith("folds 1, 2, 3; seeds 0; ")
    assert "missing" not in row(table, "PIAP, made").note
    assert "made: piapdf: not scored in fold 2 seed 0" in table.notes
    two = [f1_by_hand(tmp_path, "piapdf")]
    np.testing.assert_allclose(values(table, lacking.title)[:-1], two[0])
    # Other folds than those of PIAP: no pair of the same people.
    assert all(cell.p is None for cell in lacking.cells)
    told = more_tables.differences(studies(tmp_path))
    assert any(
        note.startswith("PIAP-DF - PIAP, made: they have not the same") for note in told.notes
    )


def test_truth_that_one_fold_lacks_is_a_missing_fold_of_the_true_tables(tmp_path):
    odd = {(3, 0): Odd(no_truth=("piap",))}
    make_runs(tmp_path, people=4, frames=8, seeds=(0,), odd=odd)
    table = paper_tables.paper_tables(studies(tmp_path, against="true"))[0]
    assert "\N{DAGGER} fold 3 is missing" in row(table, "PIAP, made \N{DAGGER}").note


def test_few_people_have_no_interval_and_a_unit_that_nobody_shows_no_score(tmp_path):
    make_runs(tmp_path, people=4, frames=8, seeds=(0,), folds=(1,), methods=("piap",))
    (study,) = studies(tmp_path)
    frames = study.group.runs[0].frames["piap"]
    frames.coded[:, 2] = np.minimum(frames.coded[:, 2], 0)
    (table, *_) = paper_tables.paper_tables([study])
    cells = row(table, "PIAP, made \N{DAGGER}").cells
    assert [cell.note for cell in cells] == [*[FEW] * 2, NOTHING, *[FEW] * 9, FEW]
    assert {(cell.low, cell.high) for cell in cells} == {(None, None)}
    assert cells[2].value is None and cells[2].positives == 0 and cells[-1].people == 4
    others = [cell.value for cell in cells[:-1] if cell.value is not None]
    assert cells[-1].value == pytest.approx(np.mean(others))


def test_a_note_says_the_mean_with_all_frames_counted_together(tmp_path):
    make_runs(tmp_path, people=2, frames=8, seeds=(0,), methods=("piap",))
    stored = [np.load(path) for path in sorted(tmp_path.glob("*/fold*_seed0/piap/*/frames.npz"))]
    said, truth = (np.concatenate([z[k] for z in stored]) for k in ("probs", "coded"))
    right = ((said >= 0.5) & (truth == 1)).sum(0)
    wrong = ((said >= 0.5) & (truth == 0)).sum(0) + ((said < 0.5) & (truth == 1)).sum(0)
    mean = np.mean(200 * right / (2 * right + wrong))
    note = row(paper_tables.paper_tables(studies(tmp_path))[0], "PIAP, made").note
    assert (
        note == f"folds 1, 2, 3; seeds 0; {mean:.1f} with the frames of all folds counted together"
    )


def test_each_group_has_rows_of_its_own_and_stand_ins_are_told(tmp_path):
    stand_ins = {"data.dataset": "synthetic_faces/bp4d for bp4d"}
    make_runs(tmp_path, people=2, frames=8, name="one", methods=("piap",), seeds=(0,))
    make_runs(tmp_path, people=2, frames=8, name="two", methods=("piap",), seeds=(0,), stand_ins=stand_ins,
              settings=["data.dataset=synthetic_faces/bp4d"])  # fmt: skip
    table = paper_tables.paper_tables(studies(tmp_path))[0]
    ours = [row.title for row in table.rows if row.kind in ("ours", "floor")]
    assert ours == ["PIAP, one", "PIAP, two", "always yes, one", "always yes, two"]
    assert (
        table.title
        == "BP4D: F1 (%), published labels; STAND-INS for the paper's data, see the notes"
    )
    assert "two: stand-ins: synthetic_faces/bp4d for bp4d" in table.notes
    assert not any(note.startswith("one:") for note in table.notes)


def test_other_scores_by_method(runs):
    table = more_tables.scores(studies(runs))
    told = dict(zip(table.columns, values(table, "PIAP, made"), strict=True))
    expected = f1_by_hand(runs, "piap")
    rates = np.linspace(0.12, 0.6, 12)
    assert told["F1"] == pytest.approx(expected.mean())
    assert told["F1 rare"] == pytest.approx(expected[rates < 0.3].mean())
    assert told["F1 frequent"] == pytest.approx(expected[rates >= 0.3].mean())
    assert told["F1 model.json"] == pytest.approx(f1_by_hand(runs, "piap", cut="cuts").mean())
    assert told["always yes"] == pytest.approx(f1_by_hand(runs, "piap", cut=0.0).mean())
    assert told["parameters"] == 12_345
    scores = [
        json.loads(path.read_text())["trainings"]["piap"]["scores"]["published"]
        for path in runs.glob("*/*/results.json")
    ]
    for column, name in (
        ("F1 matched", "f1_matched"),
        ("ROC AUC", "roc_auc"),
        ("AUPRC", "auprc"),
        ("MCC", "mcc"),
        ("calibration", "calibration_error"),
    ):
        # As many seeds in each fold, no gap: the mean over runs is that over seeds and folds.
        by_run = np.mean([score[f"mean_{name}"] for score in scores])
        assert told[column] == pytest.approx(by_run, abs=0.01), column
    assert [row.title for row in table.rows if "teacher" in row.title] == [
        "DF on the baseline, teacher, made",
        "PIAP-DF, teacher, made",
    ]


def test_differences_are_those_of_the_same_frames(runs):
    table = more_tables.differences(studies(runs))
    by_hand = f1_by_hand(runs, "piapdf") - f1_by_hand(runs, "piap")
    title = "PIAP-DF - PIAP, made"
    np.testing.assert_allclose(values(table, title), [*by_hand, by_hand.mean()], atol=1e-9)
    teacher = f1_by_hand(runs, "df") - f1_by_hand(runs, "df", probs="teacher_probs")
    found = values(table, "DF on the baseline - DF on the baseline, teacher, made")
    np.testing.assert_allclose(found[:-1], teacher, atol=1e-9)
    titles = {row.title for row in table.rows}
    assert "DF on the baseline - Baseline, made" in titles and "PIAP - Baseline, made" in titles
    assert not any("DISFA" in title for title in titles)


def test_roc_auc_has_an_interval_over_people(runs, tmp_path):
    table = more_tables.scores(studies(runs))
    place = table.columns.index("ROC AUC")
    for training, title in (("baseline", "Baseline, made"), ("lp", "LP (landmarks, ours), made")):
        cell = row(table, title).cells[place]
        assert cell.value == pytest.approx(auc_by_hand(runs, training).mean())
        assert cell.value - 0.1 < cell.low < cell.value < cell.high < cell.value + 0.1
    kept = {"people": 4, "frames": 8, "seeds": (0,), "folds": (1,), "methods": ("baseline",)}
    make_runs(tmp_path, **kept)
    cell = row(more_tables.scores(studies(tmp_path)), "Baseline, made").cells[place]
    assert (cell.low, cell.high, cell.note) == (None, None, FEW) and cell.value > 0.5


def test_differences_of_roc_auc_are_those_of_the_same_people(runs):
    table = more_tables.auc_differences(studies(runs))
    assert table.name == "auc_differences" and "ROC AUC (points)" in table.title
    by_hand = 100 * (auc_by_hand(runs, "ap") - auc_by_hand(runs, "baseline"))
    cells = row(table, "AP - Baseline, made").cells
    np.testing.assert_allclose([c.value for c in cells], [*by_hand, by_hand.mean()], atol=1e-9)
    scores = row(more_tables.scores(studies(runs)), "AP, made").cells
    alone = scores[more_tables.SCORES.index("ROC AUC")]
    assert cells[-1].low < cells[-1].value < cells[-1].high and 0.5 < cells[-1].better <= 1
    assert cells[-1].high - cells[-1].low < 2 * 100 * (alone.high - alone.low)
    assert all(cell.p is None for cell in cells)
    # On the same people a method does not differ from itself, whoever is drawn.
    same = studies(runs)[0].auc_difference(Said("ap"), Said("ap"))
    assert not same.value.any() and not same.low.any() and not same.high.any()
    titles = {r.title for r in table.rows}
    assert titles == {r.title for r in more_tables.differences(studies(runs)).rows}
    assert "LP (landmarks, ours) - Baseline, made" in titles


def test_groups_of_other_units_are_all_in_the_differences(tmp_path):
    kept = {"people": 2, "frames": 8, "seeds": (0,), "methods": ("baseline", "piap")}
    make_runs(tmp_path, **kept, name="all")
    make_runs(tmp_path, **kept, name="some", settings=["data.units=1,2"])
    both = studies(tmp_path)
    (some,) = [study for study in both if study.group.title == "some"]
    for run in some.group.runs:
        for name, frames in run.frames.items():
            run.frames[name] = dataclasses.replace(
                frames,
                aus=frames.aus[:2],
                **{k: getattr(frames, k)[:, :2] for k in ("coded", "true", "probs")},
                **{k: getattr(frames, k)[:2] for k in ("base_rates", "cuts")},
            )
    table = more_tables.differences(both)
    cells = row(table, "PIAP - Baseline, some").cells
    assert [cell.value is None for cell in cells] == [False] * 2 + [True] * 10 + [False]
    assert cells[2].note == "AU4 is not among its units"
    assert cells[-1].value == pytest.approx((cells[0].value + cells[1].value) / 2)
    row(table, "PIAP - Baseline, all")
    first = paper_tables.paper_tables(both)[0]
    assert row(first, "PIAP, some").cells[-1].note == "mean over its own 2 units"


def test_the_probe_of_every_method_stands_beside_its_chance(runs):
    table = more_tables.claims(studies(runs))
    accuracy, chance = row(table, "AP, made").cells
    folds = []
    for fold in (1, 2, 3):
        right = [
            np.load(p)["probe_correct"] for p in runs.glob(f"*/fold{fold}_seed*/ap/*/frames.npz")
        ]
        folds.append(np.mean([(seed[seed >= 0] == 1).mean() for seed in right]))
    assert accuracy.value == pytest.approx(100 * np.mean(folds))
    assert accuracy.low < accuracy.value < accuracy.high and chance.value == pytest.approx(25)
    assert [row.title for row in table.rows][:2] == [
        "PI stage 2 (PI Generator 1), made",
        "Baseline, made",
    ]


def test_what_is_kept_of_a_study_gives_the_numbers_that_are_made_anew(runs):
    (study,) = studies(runs)
    said, other = Said("piap"), Said("baseline")
    folds, others = study.folds(said), study.folds(other)
    fresh = intervals.compare(folds, others, resamples=RESAMPLES)
    for kept, made in zip(study.difference(said, other), fresh, strict=True):
        np.testing.assert_array_equal(kept, made)
    for kept, made in zip(
        study.summary(said), intervals.summarize(folds, resamples=RESAMPLES), strict=True
    ):
        np.testing.assert_array_equal(kept, made)
    assert study.summary(said) is study.summary(Said("piap"))
    assert study.folds(Said("nothing")) is None and study.cells(Said("nothing"), (1,)) is None
