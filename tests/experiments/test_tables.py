"""From runs to the files of a report, by the command line."""

import csv
import io
import json
import sys
import time

import pytest
from absl.testing import flagsaver
from made_runs import NASTY, Odd, make_runs
from programs import load

tables = load("experiments.tables")

FEW = {"people": 2, "frames": 8, "seeds": (0,)}


def report(out, *runs, **options):
    with flagsaver.flagsaver(out=str(out), **{"resamples": 200, "check": False} | options):
        tables.main(["tables", *map(str, runs)])
    return out


def test_the_report_has_each_table_three_times_and_all_numbers(tmp_path, capsys):
    make_runs(tmp_path / "runs", **FEW)
    out = report(tmp_path / "report", tmp_path / "runs")
    names = {path.name for path in out.iterdir()}
    made = ("table1", "table2", "table3", "scores", "differences", "evidence", "identity_probe")
    assert {f"{name}.{end}" for name in made for end in ("txt", "csv", "tex")} <= names
    told = {table["name"]: table for table in json.loads((out / "numbers.json").read_text())}
    lines = list(csv.DictReader((out / "table1.csv").read_text(encoding="utf-8").splitlines()))
    cells = [cell["value"] for row in told["table1"]["rows"] for cell in row["cells"]]
    assert [float(line["value"]) for line in lines] == cells
    shown = capsys.readouterr().out
    assert (out / "table3.txt").read_text() in shown and f"report: {out}" in shown


def test_a_reader_sees_the_start_and_the_labeled_frames_of_each_row(tmp_path):
    few = FEW | {"folds": (1,), "methods": ("baseline",)}
    for name, *settings in (("a", "model.pretrained=drawn", "data.labeled_frames=100"), ("b",)):
        make_runs(tmp_path / "runs", **few, name=name, settings=["model=small", *settings])
    out = report(tmp_path / "report", tmp_path / "runs/a", tmp_path / "runs/b")
    rows = {
        "Baseline, a (model.pretrained=drawn, data.labeled_frames=100)",
        "Baseline, b (model.pretrained=none, data.labeled_frames=all)",
    }
    lines = list(csv.DictReader((out / "scores.csv").read_text(encoding="utf-8").splitlines()))
    assert {line["method"] for line in lines} == rows
    page = (out / "index.html").read_text(encoding="utf-8")
    assert all(page.count(f">{row}<") >= 2 for row in rows)


def test_against_true_labels_only_the_trainings_with_true_labels_have_rows(tmp_path):
    odd = {(fold, 0): Odd(no_truth=("disfa",)) for fold in (1, 2, 3)}
    make_runs(tmp_path / "runs", **FEW, odd=odd)
    out = report(tmp_path / "report", tmp_path / "runs", against="true")
    told = {table["name"]: table for table in json.loads((out / "numbers.json").read_text())}
    kinds = {name: {row["kind"] for row in told[name]["rows"]} for name in ("table1", "table2")}
    assert kinds == {"table1": {"other", "paper", "ours", "floor"}, "table2": {"other", "paper"}}
    assert "true labels" in told["table1"]["title"]


def test_the_same_runs_give_the_same_files(tmp_path):
    make_runs(tmp_path / "runs", **FEW, methods=("baseline", "piap"))
    first, second = (report(tmp_path / name, tmp_path / "runs") for name in ("a", "b"))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_a_terminal_without_the_letters_of_a_name_shows_the_tables(tmp_path, monkeypatch):
    make_runs(tmp_path / "runs", **FEW | {"folds": (1,)}, methods=("piap",))
    shown = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", shown)
    report(tmp_path / "report", tmp_path / "runs")
    shown.seek(0)
    text = shown.read()
    assert r"J\xc2A-Net" in text and r"PIAP, made \u2020" in text


def test_tables_of_an_earlier_report_do_not_stay(tmp_path):
    make_runs(tmp_path / "many", **FEW, methods=("baseline", "piap"))
    make_runs(tmp_path / "one", **FEW, methods=("baseline",))
    out = report(tmp_path / "report", tmp_path / "many")
    assert (out / "differences.tex").is_file()
    (out / "own.txt").write_text("of the user")
    report(out, tmp_path / "one")
    assert not list(out.glob("differences.*")) and (out / "table3.csv").is_file()
    assert (out / "own.txt").is_file()


def test_names_from_data_break_no_file(tmp_path):
    name = '=1+1 <b>&"'
    make_runs(tmp_path / "runs", **FEW | {"people": 4}, name=name, methods=("piap",), nasty=True)
    out = report(tmp_path / "report", tmp_path / "runs")
    assert r"PIAP, =1+1 \textless{}b\textgreater{}\&" in (out / "table1.tex").read_text()
    lines = list(csv.DictReader((out / "table1.csv").read_text(encoding="utf-8").splitlines()))
    assert {line["method"] for line in lines if line["kind"] == "ours"} == {f"PIAP, {name}"}
    assert any(
        NASTY[0] in note for note in json.loads((out / "numbers.json").read_text())[0]["notes"]
    )


@pytest.mark.parametrize("lacking", ["folder", "run", "results", "twice", "out"])
def test_what_cannot_be_read_is_one_line_and_exit_code_2(tmp_path, capsys, lacking):
    made = make_runs(tmp_path / "runs", **FEW, methods=("baseline",), folds=(1,))
    given, out, told = [tmp_path / "runs"], tmp_path / "report", ""
    if lacking == "folder":
        given, told = [tmp_path / "nothing"], "nothing does not exist"
    if lacking == "run":
        (tmp_path / "empty").mkdir()
        given, told = [tmp_path / "empty"], "empty is not a run"
    if lacking == "results":
        (made[1, 0] / "results.json").unlink()
        told = "has no results.json"
    if lacking == "twice":
        make_runs(tmp_path / "again", **FEW, methods=("baseline",), folds=(1,))
        given, told = [tmp_path / "runs", tmp_path / "again"], "fold 1 and seed 0: give one of them"
    if lacking == "out":
        out.write_text("a file")
        told = str(out)
    with pytest.raises((SystemExit, tables.app.UsageError, tables.paths.PathError)) as caught:
        report(out, *given)
    shown = capsys.readouterr().err or str(caught.value)
    assert told in shown and len(shown.strip().splitlines()) == 1
    if isinstance(caught.value, SystemExit):
        assert caught.value.code == 2


def test_three_tables_are_made_in_seconds(tmp_path):
    """As many people as BP4D has, all methods, two seeds."""
    make_runs(tmp_path / "runs", people=14, frames=16)
    groups = tables.read_groups([tmp_path / "runs"])
    began = time.process_time()
    studies = [tables.Study(group, against="published", resamples=10_000) for group in groups]
    tables.paper_tables.paper_tables(studies)
    assert time.process_time() - began < 5
