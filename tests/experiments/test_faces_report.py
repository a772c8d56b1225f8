"""Numbers, tables and figures of the study on faces: what is published is what was found."""

import csv
import pathlib
import sys

import numpy as np
import pytest
from random_faces_results import random_results

from experiments import markdown
from experiments.feedback_study import (
    faces_figures,
    faces_report,
    faces_results,
    faces_tables,
)

DOCS = pathlib.Path(__file__).resolve().parent.parent.parent / "docs"
EVIDENCE = faces_report.EVIDENCE


@pytest.fixture(name="results", scope="module")
def fixture_results():
    return random_results(2)


@pytest.fixture(name="docs", scope="module")
def fixture_docs(results, tmp_path_factory):
    pytest.importorskip("matplotlib")
    docs = tmp_path_factory.mktemp("docs")
    (docs / "feedback.md").write_text(f"before\n{faces_report.START}\n{markdown.END}\nafter\n")
    faces_report.publish(results, docs)
    return docs


def test_a_cell_of_the_table_is_the_mean_of_the_numbers_in_the_file(docs):
    rows = {}
    with (docs / EVIDENCE / "20_20_5.csv").open(newline="") as file:
        for kind, name, model, metric, *seeds in csv.reader(file):
            rows[kind, name, model, metric] = seeds
    pair = [
        np.array([float(x) for x in rows["score", name, model, "f1_matched"]])
        for name, model in (("df_sample", "student"), ("supervised", "teacher"))
    ]
    d = pair[0] - pair[1]
    half = 2.570582 * d.std(ddof=1) / 6**0.5  # t of 5 degrees of freedom
    text = (docs / "feedback.md").read_text()
    table = text.split("**20 labeled people, 20 new, 5 % wrong** (6 seeds)")[1]
    cells = next(line for line in table.splitlines() if "DF, sample" in line).split(" | ")
    assert cells[2] == f"{d.mean():+.2f} ± {half:.2f}"
    cells = next(line for line in table.splitlines() if "supervised" in line).split(" | ")
    half = 2.570582 * pair[1].std(ddof=1) / 6**0.5
    assert cells[2] == f"{pair[1].mean():.2f} ± {half:.2f}"


def test_tables_and_figures_are_made_again_from_the_files_alone(docs):
    text = (docs / "feedback.md").read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "Planned contrasts, mean over 12 worlds by seed** (6 seeds)" in text
    table = text.split("**Each arm at the learning rate and the weight that it chose for itself**")[
        1
    ].split("**")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if " less " in line]
    assert rows == [
        "| student of threshold labels less supervised for as long",
        "| DF, threshold less student of threshold labels",
    ]
    assert "| exact gradient (edge) |" in text and "DF, sample (edge)" not in text
    pictures = sorted(p.name for p in (docs / "pictures").iterdir())
    assert pictures == [f"feedback_{n}.png" for n in ("contrasts", "mechanism", "share")]
    (docs / "feedback.md").write_text(f"before\n{faces_report.START}\nold\n{markdown.END}\nafter\n")
    (docs / "pictures" / pictures[0]).unlink()
    assert faces_report.render(docs) in (docs / "feedback.md").read_text() == text
    assert (docs / "pictures" / pictures[0]).exists()


def test_a_study_of_one_world_and_three_arms_is_reported(tmp_path):
    pytest.importorskip("matplotlib")
    results = random_results(3, worlds=[(5, 0, 5, 2)])
    few = ("supervised", "student_threshold", "df_sample")  # the ablations are of another
    arms = [arm for arm in results.arms if arm["name"] in few]
    quick = results._replace(arms=arms, mechanism=[], counts={})
    quick = quick._replace(chosen={name: results.chosen[name] for name in few})
    faces_report.publish(quick, tmp_path)
    text = faces_report.render(tmp_path)
    assert "mean over 1 world by seed" in text and "threshold labels less supervised" in text
    assert "Ablations" not in text
    assert [p.name for p in (tmp_path / "pictures").iterdir()] == ["feedback_contrasts.png"]


def test_scores_that_do_not_exist_are_left_empty():
    assert faces_tables.number([np.nan, np.nan]) == ""
    assert faces_tables.number([1.0, 3.0], "") == "2.00 ± 12.71"  # t_1 = 12.706


def test_figures_hold_something(docs):
    import cv2

    for path in (docs / "pictures").iterdir():
        image = cv2.imread(str(path))
        assert image.shape[1] == 1100 and len(np.unique(image.reshape(-1, 3), axis=0)) > 20


def test_heat_map_is_blank_where_true_labels_add_nothing(results):
    auc = results.scores["roc_auc"]["5_0_0"]
    nothing = auc | {"truth": auc["supervised"] | {"student": auc["supervised"]["teacher"]}}
    scores = results.scores | {"roc_auc": results.scores["roc_auc"] | {"5_0_0": nothing}}
    axes = {"people": [5], "wrong": [0]}
    args = "student_threshold", 0, axes
    assert np.isnan(faces_figures._shares(results._replace(scores=scores), *args)).all()
    rise = auc | {"truth": {"student": auc["supervised"]["teacher"] + 10}}
    rise["student_threshold"] = {"student": auc["supervised"]["teacher"] - 2}
    scores["roc_auc"] = scores["roc_auc"] | {"5_0_0": rise}
    found = faces_figures._shares(results._replace(scores=scores), *args)
    np.testing.assert_allclose(found, -20, rtol=1e-4)


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit):
        faces_figures.pyplot()
    assert "figures need matplotlib" in capsys.readouterr().err


def test_the_page_holds_the_tables_of_the_numbers_that_lie_there():
    page_text = (DOCS / "feedback.md").read_text()
    written = page_text.split(faces_report.START)[1].split(markdown.END)[0].strip()
    assert bool(written) == (DOCS / EVIDENCE / "study.json").exists()
    if written:
        assert written == faces_report.table(faces_results.read(DOCS / EVIDENCE))
