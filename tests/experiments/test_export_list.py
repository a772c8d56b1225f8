"""Exports and who uses them; those that nobody uses are deleted, and no other."""

import json
import os
import shutil
import time

import pytest
from absl.testing import flagsaver

from experiments import export_list, export_prune, status
from piapdf_jax.runtime.lock import Lock

TOKEN = "0123abcd"


def make_export(runs, training, digest, *, takes=None, size=1024):
    """An export of so many bytes in all."""
    folder = runs / "exports" / training / digest
    (folder / "parts").mkdir(parents=True)
    told = {"training": training, "digest": digest, "parts": ["encoder"], "consumed": takes or {}}
    text = json.dumps(told)
    (folder / "export.json").write_text(text)
    (folder / "parts" / "d").write_bytes(b"x" * (size - len(text)))
    return folder


def make_run(runs, name, *, scored=None, folders=(), under_way=None, aside=None):
    """A run whose results name exports, which has folders of trainings, or trains one."""
    run = runs / name
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    for file, named in (("results.json", scored), ("results.1.json", aside)):
        if named is not None:
            told = {t: {"digest": d, "consumed": {}} for t, d in named.items()}
            (run / file).write_text(json.dumps({"trainings": told, "stale": {}}))
    for training, digest in folders:
        (run / training / digest).mkdir(parents=True)
        (run / training / digest / "export.json").write_text(json.dumps({"consumed": {}}))
    for (training, digest), takes in (under_way or {}).items():
        (run / training / digest).mkdir(parents=True)
        told = json.dumps({"settings": {}, "takes": takes})
        (run / training / digest / "fingerprint.json").write_text(told)
    return run


@pytest.fixture
def runs(tmp_path):
    """RUNS with exports that are named in each way that there is, and three that nobody names."""
    make_export(tmp_path, "pi1", "base")
    make_export(tmp_path, "pi2", "middle", takes={"pi1": "base"})
    make_export(tmp_path, "piap", "top", takes={"pi2": "middle"})
    make_export(tmp_path, "baseline", "aside")
    make_export(tmp_path, "baseline", "folder")
    make_export(tmp_path, "identity", "taken")
    make_export(tmp_path, "ap", "unused", takes={"pi1": "lonely"}, size=3072)
    make_export(tmp_path, "pi1", "lonely")
    make_export(tmp_path, "baseline", "other")  # of that training another one is named
    make_run(tmp_path, "demo/fold1_seed0", scored={"piap": "top"}, aside={"baseline": "aside"})
    make_run(tmp_path, "old", folders=[("baseline", "folder")])
    make_run(tmp_path, "x/fold1_seed0", under_way={("ap", "new"): {"identity": "taken"}})
    return tmp_path


UNUSED = {("ap", "unused"), ("pi1", "lonely"), ("baseline", "other")}


def names(runs):
    return {path.parts[-3:-1] for path in runs.glob("exports/*/*/export.json")}


def unused(runs):
    found = export_prune.deletable(export_list.read_listing(runs))
    return {(one.training, one.folder.name) for one in found}


def test_each_export_says_who_uses_it(runs):
    found = {one.name: one for one in export_list.read_listing(runs).exports}
    assert found["piap", "top"].runs == ("demo/fold1_seed0",)
    assert found["baseline", "aside"].runs == ("demo/fold1_seed0",)
    assert found["baseline", "folder"].runs == ("old",)
    assert found["identity", "taken"].runs == ("x/fold1_seed0",)
    assert found["pi1", "base"].runs == () and found["pi1", "base"].kept
    assert found["pi1", "base"].exports == (("pi2", "middle"),)
    assert found["pi1", "lonely"].exports == (("ap", "unused"),)
    assert {name for name, one in found.items() if not one.kept} == UNUSED
    assert found["ap", "unused"].nbytes == 3072
    assert found["ap", "unused"].parts == ("encoder",)


def test_the_list_names_sizes_users_and_what_can_go(runs, capsys):
    old = time.time() - 2 * 86400 - 3 * 3600 - 60
    os.utime(runs / "exports/pi1/lonely/export.json", (old, old))
    with flagsaver.flagsaver(exports=True):
        status.main(["status", str(runs)])
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if " lonely " in line and "2 d 3 h" in line]
    assert line.split()[-2:] == ["ap", "unused"] and " 1.0 KiB " in line
    (line,) = [line for line in lines if " other " in line]
    assert line.split()[-2:] == ["encoder", "nobody"]
    assert lines[-1] == "9 exports, 11.0 KiB; 3 exports, 5.0 KiB, can go (--prune)"
    assert names(runs) >= UNUSED


def test_unused_exports_are_deleted_and_no_other(runs, capsys):
    before = names(runs)
    with flagsaver.flagsaver(prune=True, yes=True):
        status.main(["status", str(runs)])
    assert names(runs) == before - UNUSED
    assert "deleted 3 exports, 5.0 KiB" in capsys.readouterr().out
    assert not list(runs.glob("exports/*/.*"))
    with flagsaver.flagsaver(prune=True):  # and there is nothing to ask
        status.main(["status", str(runs)])
    assert "nothing to delete: 6 exports" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "gone"), [("y", True), ("", False), ("n", False), (None, False)]
)
def test_a_terminal_is_asked(runs, capsys, monkeypatch, answer, gone):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def ask(question):
        assert question == "delete 3 exports, 5.0 KiB? [y/N] "
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", ask)
    with flagsaver.flagsaver(prune=True):
        status.main(["status", str(runs)])
    out = capsys.readouterr().out
    assert (names(runs) & UNUSED == set()) == gone
    assert ("nothing is deleted" in out) != gone and "lonely" in out  # shown first


def test_what_is_used_by_the_time_of_the_answer_stays(runs, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)

    def ask(question):
        make_run(runs, "late", scored={"ap": "unused"})
        return "y"

    monkeypatch.setattr("builtins.input", ask)
    with flagsaver.flagsaver(prune=True):
        status.main(["status", str(runs)])
    assert names(runs) & UNUSED == {("ap", "unused"), ("pi1", "lonely")}


def test_without_a_terminal_nothing_is_deleted(runs):
    before = names(runs)
    with flagsaver.flagsaver(prune=True), pytest.raises(status.app.UsageError, match="--yes"):
        status.main(["status", str(runs)])
    assert names(runs) == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("demo/fold1_seed0/results.json", "{"),
        ("demo/fold1_seed0/results.1.json", '{"trainings": {"baseline": {}}}'),
        ("old/config.json", "[]"),
        ("old/baseline/folder/export.json", ""),
        ("x/fold1_seed0/ap/new/fingerprint.json", '{"takes": 3}'),
        ("exports/piap/top/export.json", "{"),  # in use, and what it rests on cannot be told
    ],
)
def test_nothing_is_deleted_beside_a_damaged_run(runs, file, text, capsys):
    (runs / file).write_text(text)
    before = set(runs.glob("exports/*/*"))
    with (
        flagsaver.flagsaver(prune=True, yes=True),
        pytest.raises(status.app.UsageError, match="it is unknown what is in use") as error,
    ):
        status.main(["status", str(runs)])
    assert str(error.value).count("\n") == 0
    assert str((runs / file).parent) in str(error.value)
    assert set(runs.glob("exports/*/*")) == before
    with flagsaver.flagsaver(exports=True):  # which lists all the same
        status.main(["status", str(runs)])
    assert str((runs / file).parent) in capsys.readouterr().out


def test_a_damaged_export_that_nobody_uses_goes(runs):
    (runs / "exports/ap/unused/export.json").write_text("{")
    assert unused(runs) == UNUSED


def test_an_export_whose_lock_is_held_stays_and_what_it_took(runs):
    with Lock(runs / "exports/ap/.unused.lock", training="AP", run="r", beat=0.1) as held:
        assert held.acquire(lambda: False)
        assert unused(runs) == {("baseline", "other")}
    assert unused(runs) == UNUSED
    # One that a process of this machine has left behind is held by nobody.
    with Lock(runs / "exports/ap/.unused.lock", training="AP", run="r", beat=0.1) as held:
        assert held.acquire(lambda: False)
        told = json.loads(held.path.read_text())
    dead = {**told, "started": "0"}  # another process has its number by now
    (runs / "exports/ap/.unused.lock").write_text(json.dumps(dead))
    assert unused(runs) == UNUSED
    elsewhere = {**dead, "machine": "another"}  # of which nothing can be told from here
    (runs / "exports/ap/.unused.lock").write_text(json.dumps(elsewhere))
    assert unused(runs) == {("baseline", "other")}


def test_unfinished_folders_go_when_they_are_old_and_nobody_writes_them(runs):
    for training, digest, days in (("ap", "a", 0.5), ("ap", "b", 2), ("pi1", "c", 2)):
        folder = runs / "exports" / training / f".{digest}.{TOKEN}.tmp"
        (folder / "parts").mkdir(parents=True)
        (folder / "parts" / "x").write_bytes(b"12345")
        then = time.time() - days * 86400
        for path in (folder / "parts" / "x", folder / "parts", folder):
            os.utime(path, (then, then))
    b = ("ap", f".b.{TOKEN}.tmp")
    with Lock(runs / "exports/pi1/.c.lock", training="PI", run="r", beat=0.1) as held:
        assert held.acquire(lambda: False)
        assert unused(runs) == UNUSED | {b}
    assert unused(runs) == UNUSED | {b, ("pi1", f".c.{TOKEN}.tmp")}
    (runs / "exports/ap" / b[1] / "parts" / "x").write_bytes(b"6")  # a slow disk: still written
    assert b not in unused(runs)
    with flagsaver.flagsaver(prune=True, yes=True):
        status.main(["status", str(runs)])
    left = {path.name for path in runs.glob("exports/*/.*.tmp")}
    assert left == {f".a.{TOKEN}.tmp", f".b.{TOKEN}.tmp"}


def test_links_are_not_followed_to_what_is_deleted(runs, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    real = make_export(outside, "ap", "linked")
    (runs / "exports/ap/linked").symlink_to(real)
    shutil.move(runs / "exports/pi1", outside / "pi1")
    (runs / "exports/pi1").symlink_to(outside / "pi1")
    (real / "parts" / "away").symlink_to(runs / "exports/baseline")
    (runs / "exports/baseline/other/away").symlink_to(real)
    with flagsaver.flagsaver(prune=True, yes=True):
        status.main(["status", str(runs)])
    assert (real / "export.json").is_file() and (real / "parts" / "d").is_file()
    assert (outside / "pi1" / "lonely" / "export.json").is_file()
    assert not (runs / "exports/baseline/other").exists()
    shutil.move(runs / "exports", outside / "exports2")
    (runs / "exports").symlink_to(outside / "exports2")
    make_export(runs, "ap", "another")
    with (
        flagsaver.flagsaver(prune=True, yes=True),
        pytest.raises(status.app.UsageError, match="exports is a link"),
    ):
        status.main(["status", str(runs)])


def test_runs_behind_links_use_exports_as_well(runs, tmp_path_factory):
    outside = tmp_path_factory.mktemp("archive")
    make_run(outside, "deep/er/fold1_seed0", scored={"baseline": "other"})
    (runs / "archive").symlink_to(outside)
    (outside / "round").symlink_to(runs)  # and a circle ends
    assert unused(runs) == UNUSED - {("baseline", "other")}


def test_a_folder_that_no_run_wrote_stays(runs):
    (runs / "exports/ap/notes").mkdir()
    (runs / "exports/ap/notes/x.txt").write_text("mine")
    assert unused(runs) == UNUSED


def test_a_folder_that_cannot_be_deleted_is_told(runs, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors: None)
    with (
        flagsaver.flagsaver(prune=True, yes=True),
        pytest.raises(status.app.UsageError, match="cannot be deleted whole"),
    ):
        status.main(["status", str(runs)])
    # One has lost its name, and the next was not begun with.
    assert (
        len([n for n in names(runs) if n in UNUSED]) == 2
        and len(list(runs.glob("exports/*/.*.tmp"))) == 1
    )


def test_names_with_brackets_are_shown_as_they_are(runs, capsys):
    make_export(runs, "[red]ap", "[bold]d")
    make_run(runs, "[i]run", scored={"[red]ap": "[bold]d"})
    with flagsaver.flagsaver(exports=True):
        status.main(["status", str(runs)])
    out = capsys.readouterr().out
    assert all(text in out for text in ("[red]ap", "[bold]d", "[i]run"))


@pytest.mark.parametrize(
    ("nbytes", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 40, "3.0 TiB")]
)
def test_sizes(nbytes, text):
    assert export_prune.size_text(nbytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 min"), (3599, "59 min"), (3660, "1 h 1 min"), (90000, "1 d 1 h")]
)
def test_ages(seconds, text):
    assert export_prune.age_text(seconds) == text
