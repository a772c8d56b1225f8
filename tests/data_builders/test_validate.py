"""A data set beside its published counts: what agrees, what differs and how it is said."""

import json
import os
import pathlib
import subprocess
import sys
import types

import bp4d_tree
import numpy as np
import pytest

from data_builders import prepare, published_counts, validate
from data_builders.bp4d.bp4d_dataset_builder import Builder
from piapdf_jax.action_units import BP4D_AUS, RECORD_AUS

PEOPLE, TASKS, CODED = ("F001", "F003", "F004"), ("T1", "T2"), (12, 13, 14)


def published():
    """Counts of the tree that ``bp4d_tree`` writes, from its rule and not from its records."""
    shown = tuple(2 * sum(bp4d_tree.label_row(f)[au] == 1 for f in CODED) for au in BP4D_AUS)
    return published_counts.Counts(
        aus=BP4D_AUS,
        parts={1: ["F001"], 2: ["F003"], 3: ["F004"]},
        frames={1: 6, 2: 6, 3: 6},
        subjects=dict.fromkeys(PEOPLE, 6),
        tasks=dict.fromkeys(TASKS, 9),
        positives=dict.fromkeys((1, 2, 3), shown),
        tracked={1: 5, 2: 6, 3: 6},
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("validate")
    manual = bp4d_tree.write_tree(root / "manual", subjects=PEOPLE, tasks=TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Builder, "detector", bp4d_tree.FrameDetector)
        prepare.prepare("bp4d", data_dir=root / "data", manual_dir=manual, workers=1)
    return root / "data"


def run(monkeypatch, capsys, data, counts, name="bp4d"):
    """Exit status and printed lines of the command."""
    monkeypatch.setattr(validate, "COUNTS", {"bp4d": counts})
    monkeypatch.setattr(validate.flags, "FLAGS", types.SimpleNamespace(data_dir=str(data)))
    code = validate._main(["validate", name])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err.splitlines()


def test_counts_that_agree_exit_with_0(data, monkeypatch, capsys):
    code, lines, progress = run(monkeypatch, capsys, data, published())
    assert code == 0 and not [line for line in lines if "DIFFERS" in line]
    assert lines[-1] == "bp4d: published numbers compared: 60, differing: 0"
    assert "coded frames, part 1: 6, published 6 (JAA-Net's lists: 5)" in lines
    assert "coded frames, task T2: 9, published 9" in lines
    assert "coded frames, subject F004: 6, published 6" in lines
    assert "uncoded frames, part2: 6" in lines
    assert "read: pictures: 36" in lines
    rows = [bp4d_tree.label_row(frame) for frame in CODED]
    for au in BP4D_AUS:
        cells = [row[au] for row in rows]
        assert f"AU{au} unknown: {6 * cells.count(9)}" in lines
        known = len(cells) - cells.count(9)
        rate = 100 * cells.count(1) / known if known else 0
        (line,) = [line for line in lines if line.startswith(f"AU{au} present, part 2: ")]
        assert line.startswith(f"AU{au} present, part 2: {2 * cells.count(1)}, published ")
        assert f"({rate:.2f} % of the known cells, " in line
    assert [line.split(":")[0] for line in progress] == ["bp4d part1", "bp4d part2", "bp4d part3"]
    assert all("/s" in line for line in progress)  # the rate


def more_people(counts):
    return counts._replace(subjects=counts.subjects | {"M001": 0})


def fewer_frames(counts):
    return counts._replace(frames=counts.frames | {2: 8})


def other_task(counts):
    return counts._replace(tasks={"T1": 9, "T2": 8})


def task_nobody_published(counts):
    return counts._replace(tasks={"T1": 9})


def other_person(counts):
    return counts._replace(subjects=counts.subjects | {"F003": 7})


def other_positives(counts):
    row = counts.positives[3]
    return counts._replace(positives=counts.positives | {3: (row[0] + 1, *row[1:])})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (more_people, ["participants: 3, published 4, DIFFERS by -1"]),
        (
            fewer_frames,
            [
                "coded frames: 18, published 20, DIFFERS by -2",
                "coded frames, part 2: 6, published 8, DIFFERS by -2",
            ],
        ),
        (other_task, ["coded frames, task T2: 9, published 8, DIFFERS by +1"]),
        (task_nobody_published, ["coded frames, task T2: 9, published 0, DIFFERS by +9"]),
        (other_person, ["coded frames, subject F003: 6, published 7, DIFFERS by -1"]),
        (other_positives, ["AU1 present: ", "AU1 present, part 3: "]),
    ],
)
def test_every_kind_of_difference_exits_with_1_and_is_named(
    data, monkeypatch, capsys, change, said
):
    code, lines, _ = run(monkeypatch, capsys, data, change(published()))
    wrong = [line for line in lines if "DIFFERS" in line]
    assert code == 1 and len(wrong) == len(said)
    for line, start in zip(wrong, said, strict=True):
        assert line.startswith(start)
    assert lines[-1].endswith(f", differing: {len(said)}")


def test_frames_that_are_there_twice_or_without_labels_differ():
    table = {
        "subject": np.array(["F001", "F001", "F003"]),
        "task": np.array(["T1", "T1", "T1"]),
        "frame": np.array([4, 4, 4]),
        "coded": np.array([1, 1, 0]),
        "part": np.array([1, 1, 2]),
        "labels": np.full((3, len(RECORD_AUS)), -1, np.int8),
    }
    found = {line.what: line for line in validate.coded_lines(table, published())}
    assert found["coded frames that appear twice"][1:3] == (1, 0)
    assert found["coded frames without labels"][1:3] == (1, 0)
    assert found["AU1 unknown"].found == 3
    assert found["AU1 present"].found == 0 and found["AU1 present"].note.startswith("0.00 %")


def test_what_the_builder_left_out_is_printed(data, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "bp4d" / "1.0.0"
    folder.parent.mkdir()
    folder.symlink_to(data / "bp4d" / "1.0.0")
    lines = validate._told_lines(
        {"skipped": {"no face found": {"count": 7, "examples": ["a", "b", "c", "d"]}}}
    )
    assert [validate._plain(line) for line in lines] == ["left out: no face found: 7 (a, b, c)"]
    assert run(monkeypatch, capsys, tmp_path, published())[0] == 0


def test_a_terminal_gets_a_table(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    lines = [validate.Line("frames [raw]", 3, 4, "note"), validate.Line("unknown", 2)]
    assert validate.show("bp4d", lines) == 1
    said = capsys.readouterr().out
    assert "frames [raw]" in said and "-1" in said and "published" in said
    assert "bp4d: published numbers compared: 1, differing: 1" in said


def test_a_shard_that_cannot_be_read_is_named(data, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "bp4d" / "1.0.0"
    folder.mkdir(parents=True)
    for path in (data / "bp4d" / "1.0.0").iterdir():
        content = path.read_bytes()
        broken = path.name.startswith("bp4d-part2.")
        (folder / path.name).write_bytes(content[: len(content) // 2] if broken else content)
    code, lines, errors = run(monkeypatch, capsys, tmp_path, published())
    assert code == 2 and not lines
    assert errors[-1].startswith("validate: split part2 of ") and "build it again" in errors[-1]


def started(*arguments, code=None, **environment):
    command = ["-c", code] if code else ["-m", "data_builders.validate"]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_command_line(data, tmp_path):
    """Against BP4D's real counts, a small tree differs; against its own it agrees."""
    done = started("bp4d", TFDS_DATA_DIR=str(data))
    assert done.returncode == 1
    assert "coded frames: 18, published 146847, DIFFERS by -146829" in done.stdout
    assert "read: participants: 3" in done.stdout.splitlines()
    patched = (
        "import sys; sys.path.insert(0, sys.argv.pop(1));"
        "import test_validate; from data_builders import validate;"
        "validate.COUNTS['bp4d'] = test_validate.published(); validate.main()"
    )
    here = str(pathlib.Path(__file__).parent)
    done = started(here, "bp4d", f"--data_dir={data}", code=patched)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].endswith(", differing: 0")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one data set; known: bp4d, disfa, afew_va, casia_webface, lfw_pairs"),
        (["synthetic_faces"], "no published counts of 'synthetic_faces'"),
        (["bp4d", "--data_dri=x"], "data_dri"),
        (["disfa"], "python -m data_builders.prepare disfa --data_dir="),
    ],
)
def test_errors_are_one_line_and_exit_with_2(tmp_path, arguments, said):
    done = started(*arguments, TFDS_DATA_DIR=str(tmp_path))
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("validate: ") and said in line


def test_jax_stays_out():
    code = "import sys, data_builders.validate; print([n for n in ('jax', 'flax', 'tensorflow') if n in sys.modules])"
    assert started(code=code).stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(published_counts.SIZES))
def test_sizes_of_sets_without_coded_frames(name, tmp_path, monkeypatch, capsys):
    """Dummy data beside their own numbers agree; beside the published ones they differ."""
    dummy = pathlib.Path(prepare.__file__).parent / name / "dummy_data"
    folder = prepare.prepare(name, data_dir=tmp_path, manual_dir=dummy, workers=1)
    own = {
        "afew_va": {"clips": 2},
        "casia_webface": {"people": 2, "pictures": 6},
        "lfw_pairs": {"people": 2, "pictures": 12, "pairs": 60, "blocks": 1},
    }
    assert own.keys() == published_counts.SIZES.keys()
    assert all(own[name].keys() == published_counts.SIZES[name].keys() for name in own)
    capsys.readouterr()
    code, lines, _ = run(monkeypatch, capsys, tmp_path, published(), name)
    first = next(iter(published_counts.SIZES[name].values()))
    assert code == 1 and f": 2, published {first}, DIFFERS by {2 - first}" in lines[0]
    monkeypatch.setattr(published_counts, "SIZES", own)
    code, lines, _ = run(monkeypatch, capsys, tmp_path, published(), name)
    assert code == 0 and not [line for line in lines if "DIFFERS" in line]
    told = json.loads((folder / "metadata.json").read_text())["read"]
    assert [line for line in lines if line.startswith("read: ")] == [
        f"read: {what}: {count}" for what, count in told.items()
    ]
