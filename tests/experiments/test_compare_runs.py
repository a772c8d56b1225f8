"""Two runs side by side: scores with their difference, what differs in configuration and versions."""

import json

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from experiments import compare_runs, frame_table, status
from experiments.frame_table import FrameTable


def make_run(folder, config, trainings, *, versions=None):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if trainings is not None:
        told = {
            name: {"digest": digest, "scores": scores}
            for name, (digest, scores) in trainings.items()
        }
        (folder / "results.json").write_text(json.dumps({"trainings": told}))
    if versions:
        (folder / "versions.json").write_text(json.dumps(versions))
    return folder


@pytest.fixture
def two(tmp_path):
    config = {"name": "demo", "fold": 1, "pi1": {"steps": 4, "loss": {"dice": 0.0}}}
    baseline = {"published": {"mean_f1": 50.25, "mean_roc_auc": 0.75}, "true": {"mean_f1": 60.0}}
    probe = {"identity_probe": {"accuracy": 0.5, "chance": 0.1}}
    a = make_run(
        tmp_path / "a" / "fold1_seed0",
        config,
        {"baseline": ("aa", baseline | probe), "pi1": ("cc", {"iou": 0.5})},
        versions={"jax": "1", "python": "3"},
    )
    # Of an older release: the AUC by unit alone, one unit without.
    old = {"published": {"mean_f1": 48.0, "roc_auc": [0.5, None, 0.7]}, "identity_probe": None}
    b = make_run(
        tmp_path / "b" / "fold1_seed0",
        {**config, "pi1": {"steps": 8, "loss": {"dice": 0.0}}, "extra": [1]},
        {"piap": ("bb", {"published": {"mean_f1": 51.0}}), "baseline": ("dd", old)},
        versions={"jax": "2", "python": "3"},
    )
    return a, b


def test_scores_stand_side_by_side_with_their_difference(two):
    """By hand: 48 - 50.25, (0.5 + 0.7) / 2 - 0.75; a gap has no difference."""
    found = compare_runs.score_differences(*map(compare_runs.read_side, two))
    told = [(d.training, d.score, d.first, d.second and pytest.approx(d.second)) for d in found]
    assert told == [
        ("pi1", "IoU of maps", 0.5, None),
        ("baseline", "mean F1 (%), coded labels", 50.25, 48.0),
        ("baseline", "mean F1 (%), true labels", 60.0, None),
        ("baseline", "mean ROC AUC, coded labels", 0.75, 0.6),
        ("baseline", "identity probe", 0.5, None),
        ("piap", "mean F1 (%), coded labels", None, 51.0),
    ]
    table = compare_runs.compare(*two)[0]
    assert isinstance(table, Table)
    rows = list(zip(*[list(column.cells) for column in table.columns], strict=True))
    assert rows[1] == ("baseline", "mean F1 (%), coded labels", "50.25", "48.00", "-2.25")
    assert rows[3][2:] == ("0.7500", "0.6000", "-0.1500")
    assert rows[5][2:] == ("-", "51.00", "-")
    assert [column.header for column in table.columns[2:4]] == ["a/fold1_seed0", "b/fold1_seed0"]


def test_configurations_differ_in_dotted_keys(two, capsys):
    sides = [compare_runs.read_side(folder) for folder in two]
    assert compare_runs.value_differences(sides[0].config, sides[1].config) == [
        ("pi1.steps", "4", "8"),
        ("extra", "-", "[1]"),
    ]
    status.main(["status", *map(str, two)])
    out = capsys.readouterr().out
    assert "configuration: differences" in out and "pi1.steps" in out and "dice" not in out
    assert "versions: differences" in out and "jax" in out and "python" not in out
    status.main(["status", str(two[0]), str(two[0])])
    out = capsys.readouterr().out
    assert "configuration: the same" in out and "versions: the same" in out
    assert "both runs score the same export, aa" in out and "+0.00" in out


def frames(data):
    one = np.zeros((1, 1), np.int8)
    return FrameTable(
        training="baseline",
        digest="aa",
        fold=1,
        seed=0,
        dataset="x",
        data=data,
        aus=(1,),
        subject=np.array(["a"]),
        task=np.array([""]),
        frame=np.array([1]),
        coded=one,
        probs=one.astype(np.float32),
        base_rates=np.ones(1),
        cuts=np.ones(1),
    )


@pytest.mark.parametrize(("data", "said"), [(("p", "q"), True), (("p", "p"), False)])
def test_other_frames_are_told(two, data, said):
    """Scores of other frames differ whatever the method is."""
    for folder, digest, one in zip(two, ("aa", "dd"), data, strict=True):
        path = folder / "baseline" / digest / frame_table.FILE_NAME
        frame_table.write(path, frames(one))
    lines = list(compare_runs.notes(*map(compare_runs.read_side, two)))
    assert [line.endswith("scored on other frames or other true labels") for line in lines] == [
        True
    ] * said


def test_a_run_without_scores_and_names_with_brackets(tmp_path, two, capsys):
    other = make_run(tmp_path / "[red]c" / "fold1_seed0", {"name": "[bold]x"}, None)
    status.main(["status", str(other), str(two[1])])
    out = capsys.readouterr().out
    assert "[red]c/fold1_seed0 has no scores yet" in out and '"[bold]x"' in out
    console = Console(width=200)
    with console.capture() as caught:
        console.print(*compare_runs.compare(other, two[1]))
    assert "[red]c/fold1_seed0" in caught.get()


def test_mistakes_are_told(tmp_path, two):
    make_run(tmp_path / "b" / "fold2_seed0", {}, None)
    with pytest.raises(status.app.UsageError, match="holds several runs, fold1_seed0, fold2_seed0"):
        status.main(["status", str(two[0]), str(tmp_path / "b")])
    for text in ("{", '{"trainings": {"baseline": 3}}', '{"trainings": [1]}'):
        (two[1] / "results.json").write_text(text)
        with pytest.raises(status.app.UsageError, match=r"results.json cannot be read as"):
            status.main(["status", *map(str, two)])


def test_short_names_tell_two_folders_apart(tmp_path):
    names = compare_runs.short_names(tmp_path / "a/x/fold1", tmp_path / "b/x/fold1")
    assert names == ("a/x/fold1", "b/x/fold1")
    assert compare_runs.short_names(tmp_path, tmp_path) == (str(tmp_path), str(tmp_path))


@pytest.mark.parametrize(("count", "end"), [(4, "3: name"), (5, "3 and 1 more: name")])
def test_of_many_runs_four_are_named_and_the_others_counted(tmp_path, count, end):
    for seed in range(count):
        make_run(tmp_path / f"fold1_seed{seed}", {"name": "demo"}, None)
    with pytest.raises(ValueError, match=f"fold1_seed0, .*fold1_seed{end} one of them"):
        compare_runs.read_side(tmp_path)
