"""What is kept of runs, and the page that follows from it alone."""

import json
import shutil

import numpy as np
import pytest
from absl.testing import flagsaver
from made_runs import make_runs
from programs import load

from experiments import markdown

evidence = load("experiments.evidence")
METHODS = ("baseline", "piap", "longer", "piapdf")
FEW = {"people": 6, "frames": 16, "seeds": (0, 1, 2), "folds": (1, 2), "methods": METHODS}


def write(out, *runs):
    with flagsaver.flagsaver(out=str(out), resamples=100):
        evidence.main(["evidence", *map(str, runs)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    make_runs(folder, name="printed", settings=["df=paper"], **FEW)
    make_runs(folder, name="chosen", settings=["df=chosen"], **FEW)
    for path in folder.glob(
        "chosen/*/piapdf/*/frames.npz"
    ):  # the student of it says as its teacher does
        arrays = dict(np.load(path))
        np.savez(path, **arrays | {"probs": arrays["teacher_probs"]})
    return folder


@pytest.fixture(scope="module")
def docs(runs, tmp_path_factory):
    docs = tmp_path_factory.mktemp("docs")
    (docs / "evidence.md").write_text(f"before\n{evidence.START}\nold\n{markdown.END}\nafter\n")
    write(docs, runs / "printed", runs / "chosen")
    return docs


def rows(text, title):
    """Cells of the lines below a title, by their first cell."""
    _, _, rest = text.partition(f"**{title}")
    lines = [line for line in rest.split("**")[1].splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {cells[0]: cells[1:] for cells in split}


def test_the_page_follows_from_what_is_kept_alone(docs, tmp_path):
    told = (docs / "evidence.md").read_text()
    assert told.startswith("before\n") and told.endswith("after\n") and "old" not in told
    copy = shutil.copytree(docs, tmp_path / "docs")
    write(copy)
    assert (copy / "evidence.md").read_text() == told


def test_nothing_is_kept_that_no_table_is_made_of(runs, docs):
    names = {path.name for path in (docs / "evidence").rglob("*") if path.is_file()}
    assert names == {"config.json", "results.json", "versions.json", "frames.npz"}
    kept = {p.relative_to(docs / "evidence"): p.read_bytes() for p in docs.rglob("frames.npz")}
    there = {p.relative_to(runs): p.read_bytes() for p in runs.rglob("frames.npz")}
    assert kept == there and len(there) == 2 * 6 * (1 + len(METHODS))  # and PI stage 2


def test_differences_are_those_of_the_scores(docs):
    text = (docs / "evidence.md").read_text()
    for against in ("published", "true"):
        scores = rows(text, f"Scores, {against} labels")
        value = {
            title: [float(c.split()[0]) for c in cells[:3]]
            for title, cells in scores.items()
            if title and "---" not in title
        }
        apart = rows(text, f"Less what feedback must beat, {against} labels")
        long = "PIAP for as long as PIAP-DF (as printed)"
        for first, second in (
            ("PIAP-DF (as printed)", "PIAP"),
            ("PIAP-DF (as printed)", long),
            (long, "PIAP"),
            ("PIAP-DF (as chosen)", "PIAP-DF (as printed)"),
        ):
            cells = apart[f"{first} - {second}"]
            for cell, one, other in zip(cells, value[first], value[second], strict=False):
                mean, low, high = (float(x.strip("[],")) for x in cell.split())
                assert mean == pytest.approx(one - other, abs=0.11)  # of one decimal each
                assert low <= mean <= high
        # Its student says what the teacher beside it says, who is as good in both.
        assert value["PIAP-DF (as chosen)"] == value["PIAP-DF, teacher (as printed)"]
        assert value["PIAP-DF (as chosen)"][0] < value["PIAP-DF (as printed)"][0] - 1


def test_a_training_that_was_made_anew_replaces_its_table(runs, tmp_path):
    again = shutil.copytree(runs / "printed" / "fold1_seed0", tmp_path / "x" / "fold1_seed0")
    old = evidence.keep(evidence.read_run(again), tmp_path / "kept")
    (before,) = old.glob("piapdf/*/frames.npz")
    new = "0123456789abcdef"
    (again / "piapdf" / before.parent.name).rename(again / "piapdf" / new)
    results = json.loads((again / "results.json").read_text())
    results["trainings"]["piapdf"]["digest"] = new
    (again / "results.json").write_text(json.dumps(results))
    table = again / "piapdf" / new / "frames.npz"
    np.savez(table, **dict(np.load(table)) | {"digest": new})
    evidence.keep(evidence.read_run(again), tmp_path / "kept")
    assert [path.parent.name for path in old.glob("piapdf/*/frames.npz")] == [new]


def test_runs_without_results_are_not_kept_and_nothing_kept_is_one_line(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "config.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        write(tmp_path / "docs", tmp_path / "runs")
    assert ended.value.code == 2 and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "df.steps=7",
            "feedback of printed and of second is as printed, and the page tells runs apart",
        ),
        (
            "piap.steps=7",
            "second has piap.steps=7, printed 1200: the page compares ways of feedback",
        ),
    ],
)
def test_rows_that_one_title_would_hide_are_refused(tmp_path, capsys, setting, told):
    few = FEW | {"seeds": (0,), "folds": (1,)}
    kind = "df=paper" if setting.startswith("df") else "df=chosen"
    make_runs(tmp_path, name="printed", settings=["df=paper"], **few)
    make_runs(tmp_path, name="second", settings=[kind, setting], **few)
    with pytest.raises(SystemExit) as ended:
        write(tmp_path / "docs", tmp_path / "printed", tmp_path / "second")
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.count("\n") == 1 and told in error
