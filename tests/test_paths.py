"""Paths that users name: expanded and absolute, or refused with what named them."""

import os
import pathlib
import pwd

import pytest

from piapdf_jax import paths


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def nobody(tmp_path, monkeypatch):
    """Neither HOME nor an entry in the password file, as in a container under a free number."""

    def unknown(*_):
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tmp_path)


def test_home_is_expanded_at_the_beginning_alone(home, tmp_path):
    assert paths.local_path("~", "--x") == home
    assert paths.local_path("~/a/b/", "--x") == home / "a" / "b"
    assert paths.local_path(pathlib.Path("~/a"), "--x") == home / "a"
    assert paths.local_path("a/~/b", "--x") == tmp_path / "a" / "~" / "b"
    entry = pwd.getpwuid(os.getuid())
    assert paths.local_path(f"~{entry.pw_name}/a", "--x") == pathlib.Path(entry.pw_dir, "a")


def test_a_relative_path_stays_where_it_was_meant(home, tmp_path, monkeypatch):
    path = paths.local_path("a", "--x")
    monkeypatch.chdir("/")
    assert path == tmp_path / "a"


@pytest.mark.parametrize(
    "text",
    [
        *("gs://b/x", "s3://b", "hdfs://h:9000/x", "file:///tmp/x", "https://h/x", "GS://b/x"),
        # as pathlib shortens them, Windows' drives, and an address behind something else
        *("gs:/b/x", "file:/tmp/x", "C:/x", "C:\\x", "x/gs://b"),
    ],
)
def test_an_address_is_refused_with_the_name_of_what_gave_it(text):
    with pytest.raises(paths.PathError) as caught:
        paths.local_path(text, "TFDS_DATA_DIR")
    assert str(caught.value).startswith(f"TFDS_DATA_DIR={text} is not a path on this machine")
    assert "\n" not in str(caught.value)
    if text[1] != "/" and "\\" not in text:
        with pytest.raises(paths.PathError, match="is not a path on this machine"):
            paths.local_path(pathlib.Path(text), "--x")


@pytest.mark.parametrize("text", ["a:b", "1:/x", "a b", "ü/ß", "[x]", "a::b", "-x", "'"])
def test_odd_names_are_paths(home, tmp_path, text):
    assert paths.local_path(text, "--x") == tmp_path / text


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_what_names_nothing_is_refused(text):
    with pytest.raises(paths.PathError, match="--x=.* is not a path: name a file or folder"):
        paths.local_path(text, "--x")


def test_a_home_that_is_not_known_is_told_where_it_is_asked_for(nobody, tmp_path):
    assert paths.local_path("a", "--x") == tmp_path / "a"
    with pytest.raises(paths.NoHome, match=r"^--x=~/a: no home directory is known \(HOME is not"):
        paths.local_path("~/a", "--x")
    with pytest.raises(paths.NoHome, match=r"--x=~nobody_here/a: .*there is no user 'nobody_here'"):
        paths.local_path("~nobody_here/a", "--x")
    with pytest.raises(paths.NoHome, match="--data_dir has no default: give it, or set TFDS_DATA"):
        paths.data_dir()
    assert paths.data_dir("d") == tmp_path / "d"
    with pytest.raises(paths.NoHome, match="no home directory is known"):
        paths.cache_folder("xla")


def test_an_empty_home_is_none(monkeypatch):
    """Python would take the root of the file system for it."""
    monkeypatch.setenv("HOME", "")
    with pytest.raises(paths.NoHome, match="HOME is not set"):
        paths.local_path("~/a", "--x")


@pytest.mark.parametrize("empty", ["", None])
def test_data_sets_lie_in_one_place_by_default(home, tmp_path, monkeypatch, empty):
    if empty is None:
        monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    else:
        monkeypatch.setenv("TFDS_DATA_DIR", empty)
    assert paths.data_dir() == home / "tensorflow_datasets"
    monkeypatch.setenv("TFDS_DATA_DIR", "~/tfds")
    assert paths.data_dir() == home / "tfds"
    assert paths.data_dir("other/") == tmp_path / "other"
    with pytest.raises(paths.PathError, match="--data_dir='' is not a path"):
        paths.data_dir("")
    monkeypatch.setenv("TFDS_DATA_DIR", "gs://b/x")
    with pytest.raises(paths.PathError, match="^TFDS_DATA_DIR=gs://b/x is not a path"):
        paths.data_dir()
    assert paths.data_dir("other") == tmp_path / "other"  # the variable is not asked


def test_caches_lie_where_the_system_keeps_them(home, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert paths.cache_folder("xla") == home / ".cache" / "piapdf_jax" / "xla"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert paths.cache_folder("xla") == tmp_path / "c" / "piapdf_jax" / "xla"
    monkeypatch.setenv("XDG_CACHE_HOME", "c")  # to be ignored, by the specification
    assert paths.cache_folder("xla") == home / ".cache" / "piapdf_jax" / "xla"


def test_a_target_that_cannot_be_one_is_told_before_anything_is_written(home, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in {
        "file": f"(Not a directory: {tmp_path}/file)",
        "file/a/b": f"(Not a directory: {tmp_path}/file)",
        "link/file/a": f"(Not a directory: {tmp_path}/link/file)",
        "broken/a": f"{tmp_path}/broken is a link to nowhere, which does not exist",
        "loop": f"(Too many levels of symbolic links: {tmp_path}/loop)",
        "x" * 300: "(File name too long: ",
    }.items():
        for kind, what in ((paths.target_folder, "written to"), (paths.local_folder, "a folder")):
            with pytest.raises(paths.PathError) as caught:
                kind(name, "--x")
            said = str(caught.value)
            assert said.startswith(f"--x {tmp_path}/{name} cannot be {what}") and reason in said
    assert paths.target_folder("link/new/er", "--x") == tmp_path / "link" / "new" / "er"
    assert paths.local_folder(".", "--x") == tmp_path
    assert {path.name for path in tmp_path.iterdir()} == {"file", "broken", "link", "loop"}


def test_a_place_without_write_access_is_told(home, tmp_path, monkeypatch):
    """Root may write anywhere: the system's answer is stood in for."""
    closed = tmp_path / "closed"
    closed.mkdir()
    monkeypatch.setattr(os, "access", lambda place, mode: pathlib.Path(place) != closed)
    with pytest.raises(paths.PathError, match=rf"\(Permission denied: {closed}\)"):
        paths.target_folder("closed/a", "--x")
    assert paths.local_folder("closed/a", "--x") == closed / "a"  # nothing is to be written
    assert paths.target_folder("open/a", "--x") == tmp_path / "open" / "a"
    with pytest.raises(paths.PathError, match="cannot be written .Permission denied"):
        paths.target_file("closed/a", "--x")


def test_a_read_only_file_system_is_told(small_disk, monkeypatch):
    where, remount = small_disk
    assert paths.target_folder(where / "a", "--x") == where / "a"
    remount("ro")
    with pytest.raises(paths.PathError, match=rf"\(Read-only file system: {where}\)"):
        paths.target_folder(where / "a", "--x")


def test_files_that_are_read_or_written(home, tmp_path):
    (tmp_path / "file").write_text("")
    assert paths.local_file("file", "eval.truth") == tmp_path / "file"
    assert paths.target_file("file", "--x") == tmp_path / "file"
    assert paths.target_file("new", "--x") == tmp_path / "new"
    with pytest.raises(FileNotFoundError, match="^eval.truth=.*/none does not exist"):
        paths.local_file("none", "eval.truth")
    with pytest.raises(FileNotFoundError, match="is not a file"):
        paths.local_file(".", "eval.truth")
    with pytest.raises(paths.PathError, match="Is a directory"):
        paths.target_file(".", "--x")
    with pytest.raises(paths.PathError, match=f"No such file or directory: {tmp_path}/none"):
        paths.target_file("none/new", "--x")
