"""The table of pointing scores, by hand; files of other faces, cut short, or missing."""

import dataclasses
import json
import pathlib
import types

import made_runs
import numpy as np
import pytest

from data_builders.synthetic_faces import moved
from experiments import check_tables, pointing, pointing_table
from experiments.cells import Study
from experiments.groups import read_groups

NAN = np.nan


def keep(folder, training, subject, share, **more):
    """Writes a file beside the export of a training of a made run."""
    digest = json.loads((folder / "results.json").read_text())["trainings"][training]["digest"]
    path = folder / training / digest / pointing.FILE_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {"share": np.array(share), "area": np.full(np.shape(share), 0.1)}
    arrays |= {name: np.array(values) for name, values in more.items()}
    names = np.array(subject)
    np.savez(path, subject=names, task=names, frame=np.arange(len(names)), aus=[1, 12], **arrays)
    return path


@pytest.fixture
def runs(tmp_path):
    made_runs.make_runs(tmp_path, folds=(1, 2), seeds=(0,), methods=("pi2", "pi3"))
    folder = tmp_path / "made"
    people = ["a", "a", "b", "c", "d", "e", "f"]
    for fold in (1, 2):
        run = folder / f"fold{fold}_seed0"
        even = [[0.2 * fold, NAN]] + [[0.2 * fold, 0.8]] * 5 + [[0.5, NAN]]
        keep(run, "pi1", people, even, predefined=np.full((7, 2), 0.3))
        keep(run, "pi2", people, [[0.6, 0.6]] * 7)
    return folder


def table_of(folder):
    groups = read_groups([folder])
    studies = [Study(group, against="published", resamples=2000) for group in groups]
    return groups, pointing_table.pointing(studies)


def test_rows_by_hand(runs):
    _, table = table_of(runs)
    rows = {row.title.split(",")[0]: row.cells for row in table.rows}
    assert list(rows) == ["predefined maps", "PI Generator 0", "PI Generator 1"]
    assert table.columns == ("1", "12", "mean", "chance")
    values = [cell.value for cell in rows["PI Generator 0"]]
    # AU1: six frames of .2, and of .4 in the other fold, and one of .5 in each; AU12: .8 where it shows.
    first = np.mean([(6 * 20 + 50) / 7, (6 * 40 + 50) / 7])
    assert values == pytest.approx([first, 80, (first + 80) / 2, 10])
    assert [cell.value for cell in rows["predefined maps"]] == pytest.approx([30, 30, 30, 10])
    low, high = rows["PI Generator 0"][0].low, rows["PI Generator 0"][0].high
    assert low < first < high and rows["PI Generator 0"][3].low is None


def test_another_program_gets_the_same(runs):
    pytest.importorskip("sklearn")
    groups, table = table_of(runs)

    def problems(told):
        return check_tables.check(
            groups, [told], against="published", printed_resamples=2000, resamples=1000
        )

    assert problems(table) == []
    row = table.rows[1]
    wrong = row._replace(cells=(row.cells[0]._replace(value=31.0), *row.cells[1:]))
    told = problems(table._replace(rows=(table.rows[0], wrong, *table.rows[2:])))
    assert len(told) == 1 and "PI Generator 0" in told[0] and "31" in told[0]


def test_without_files_there_is_no_table_and_one_cut_short_is_left_out(runs, tmp_path):
    made_runs.make_runs(tmp_path / "bare", folds=(1,), seeds=(0,), methods=("pi2",))
    assert table_of(tmp_path / "bare")[1] is None
    for path in runs.glob(f"*/pi2/*/{pointing.FILE_NAME}"):
        path.write_bytes(path.read_bytes()[:100])
    titles = [row.title.split(",")[0] for row in table_of(runs)[1].rows]
    assert titles == ["predefined maps", "PI Generator 0"]


def test_moved_pixels_are_drawn_once_and_again_where_the_file_is_cut_short(tmp_path, monkeypatch):
    truth = tmp_path / "truth.npz"
    names = np.array(["F001", "F001", "F002"])
    clean = np.array([[1, 0], [0, 0], [0, 1]], np.int8)
    np.savez(truth, subject=names, task=names, frame=np.arange(3), label_aus=[1, 2], clean=clean)
    drawn = []

    def draw(kind, rows, labels):
        drawn.append(rows)
        packed = np.packbits(np.eye(256, dtype=bool)).reshape(1, -1).repeat(2, axis=0)
        return moved.Moved(names[[0, 2]], names[[0, 2]], np.array([0, 2]), np.array([1, 2]), packed)

    monkeypatch.setattr(moved, "draw", draw)
    wanted = [("F001", "F001", 0), ("F001", "F001", 1), ("F002", "F002", 2), ("X", "X", 9)]
    first = moved.load_or_draw(truth, wanted)
    # Frames without a unit, and those that the truth does not know, are not drawn.
    assert drawn == [[("F001", "F001", 0), ("F002", "F002", 2)]]
    again = moved.load_or_draw(truth, wanted)
    assert len(drawn) == 1 and all(map(np.array_equal, first, again))
    (file,) = tmp_path.glob("moved_*.npz")
    file.write_bytes(file.read_bytes()[:50])
    moved.load_or_draw(truth, wanted)
    assert len(drawn) == 2 and [p.name for p in tmp_path.glob("moved_*")] == [file.name]
    # A whole file of other frames, or of other pixels, is not taken for this one.
    for other in ({"frame": np.array([0, 7])}, {"packed": first.packed[:, :9]}):
        np.savez(file, **{**first._asdict(), **other})
        again = moved.load_or_draw(truth, wanted)
        assert all(map(np.array_equal, first, again))
    assert len(drawn) == 4
    with pytest.raises(ValueError, match="none of the test frames shows a unit"):
        moved.load_or_draw(truth, wanted[1:2])


def test_only_drawn_faces_are_asked_and_all_sources_of_maps_the_same_ones():
    @dataclasses.dataclass
    class Part:
        dataset: str

    test = Part("synthetic_faces/bp4d")
    job = types.SimpleNamespace(
        name="pi1",
        slices=types.SimpleNamespace(test=Part("synthetic_faces/afew_va")),
        config=types.SimpleNamespace(data=types.SimpleNamespace(dataset=test.dataset)),
        datasets=types.SimpleNamespace(to_test_fold=lambda name: test),
    )
    assert pointing.frames_of(job, {"generator": ()}) is test
    job.name, job.slices.test = "pi2", test
    assert pointing.frames_of(job, {"generator": ()}) is test
    job.name = "ap"
    assert pointing.frames_of(job, {"encoder": ()}) is None
    assert pointing.frames_of(job, {"encoder": (), "decoder": ()}) is test
    test.dataset = "bp4d"
    lost = {}
    told = pointing.attempted(lost, job, {"decoder": ()}, lambda *_: None, pathlib.Path(), ())
    assert told == {} and lost == {}
