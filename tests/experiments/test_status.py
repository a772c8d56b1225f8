"""Where runs stand: one run, the folds and seeds of a name, all of a folder."""

import json
import os
import time

import pytest

from experiments import status


def make_run(folder, *, steps=0, done=()):
    """A run of two trainings, with a line of metrics of the second where it has taken steps."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"name": "demo", "methods": ["baseline"]}))
    for name in done:
        made = folder / name / "0123"
        made.mkdir(parents=True)
        report = {"steps": 40, "metrics_end": {"loss": 1.0}}
        (made / "export.json").write_text(json.dumps({"report": report}))
    if steps:
        made = folder / "baseline" / "4567"
        made.mkdir(parents=True)
        settings = {"settings": {"steps": 40, "batch_size": 8}}
        (made / "fingerprint.json").write_text(json.dumps(settings))
        row = {"step": steps, "loss": 1.5, "images_per_second": 4.0}
        (made / "metrics.jsonl").write_text(json.dumps(row) + "\n")
        os.utime(made / "metrics.jsonl", (time.time() - 100,) * 2)
    return folder


@pytest.fixture
def runs(tmp_path):
    make_run(tmp_path / "demo" / "fold1_seed0", steps=13)
    make_run(tmp_path / "demo" / "fold1_seed1", done=("baseline",))
    make_run(tmp_path / "other" / "fold2_seed0")
    (tmp_path / "exports" / "baseline" / "0123").mkdir(parents=True)
    return tmp_path


def cells(table):
    """Rows of a table by the name in their first column."""
    columns = [list(column.cells) for column in table.columns]
    return {name: row for name, *row in zip(*columns, strict=True)}


def shown(folder, capsys):
    status.main(["status", str(folder)])
    return capsys.readouterr().out


def test_a_folder_of_runs_lists_them(runs, capsys):
    found = status.runs_in(runs)
    names = ["demo/fold1_seed0", "demo/fold1_seed1", "other/fold2_seed0"]
    assert [str(run.relative_to(runs)) for run in found] == names
    rows = cells(status.overview(found, runs))
    assert list(rows) == names
    # 27 steps of 8 images are left at 4 images a second
    name, done, going, last, left = rows["demo/fold1_seed0"]
    assert (name, done, going, left) == ("demo", "0 of 1", "baseline 13/40", "0 min 54 s")
    assert last.startswith("1 min ") and last.endswith(" s ago")
    assert rows["demo/fold1_seed1"] == ["demo", "1 of 1", "", "", ""]
    assert rows["other/fold2_seed0"] == ["demo", "0 of 1", "", "", ""]
    assert all(name in shown(runs, capsys) for name in names)


def test_a_name_lists_its_folds_and_seeds(runs, capsys):
    found = status.runs_in(runs / "demo")
    assert [run.name for run in found] == ["fold1_seed0", "fold1_seed1"]
    out = shown(runs / "demo", capsys)
    assert "fold1_seed1" in out and "other" not in out


@pytest.mark.parametrize("below", ["other/fold2_seed0", "other"])
def test_one_run_shows_its_trainings(runs, capsys, below):
    """As do folders in which there is just one."""
    out = shown(runs / below, capsys)
    assert "not begun" in out and "fold2_seed0" in out
    assert ("configuration" in out) == (below == "other")


def test_a_run_that_cannot_be_read_hides_no_other(runs, capsys):
    (runs / "demo" / "fold1_seed0" / "config.json").write_text("{")
    rows = cells(status.overview(status.runs_in(runs), runs))
    assert rows["demo/fold1_seed0"][0] == "cannot be read"
    assert rows["demo/fold1_seed1"][1] == "1 of 1"
    for text in ("{", "[]", "{}"):
        (runs / "demo" / "fold1_seed0" / "config.json").write_text(text)
        with pytest.raises(status.app.UsageError, match="fold1_seed0 cannot be read as a run"):
            status.main(["status", str(runs / "demo" / "fold1_seed0")])


def test_names_with_brackets_are_shown_as_they_are(tmp_path, capsys):
    make_run(tmp_path / "[bold]x")
    make_run(tmp_path / "y")
    assert "[bold]x" in shown(tmp_path, capsys)


def test_a_folder_without_runs_is_told(tmp_path):
    with pytest.raises(status.app.UsageError, match=f"{tmp_path} is not a run"):
        status.main(["status", str(tmp_path)])
