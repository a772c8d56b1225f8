"""Places that a run is given: its folder, and the file of true labels."""

import functools
import types

import pytest

from experiments import config as configs
from experiments.pipeline import USER_ERRORS, Pipeline


def truth(named):
    loaded = configs.load("demo", [f"eval.truth={named}"])
    test = types.SimpleNamespace(dataset=loaded.data.dataset)
    training = types.SimpleNamespace(feed=types.SimpleNamespace(labels=True))
    job = types.SimpleNamespace(slices=types.SimpleNamespace(test=test), training=training)
    run = types.SimpleNamespace(config=loaded)
    run._truth_of = functools.partial(Pipeline._truth_of, run)
    return Pipeline._truth(run, job)


def test_the_folder_of_runs_is_the_one_that_was_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    loaded = configs.load("demo")
    made = Pipeline(loaded, data_dir="~/d", runs_dir="~/r", name="x")
    assert made.runs == tmp_path / "r"
    with pytest.raises(USER_ERRORS, match="^--runs_dir=gs://b/r is not a path on this machine"):
        Pipeline(loaded, data_dir="~/d", runs_dir="gs://b/r", name="x")


def test_the_truth_lies_where_the_user_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    for named, where in {"~/t.npz": "home/t.npz", "t.npz": "t.npz"}.items():
        (tmp_path / where).write_bytes(b"")
        assert truth(named) == tmp_path / where


@pytest.mark.parametrize("named", ["gs://b/t.npz", "~/none.npz", "."])
def test_what_is_no_file_here_is_a_users_mistake(tmp_path, monkeypatch, named):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(USER_ERRORS, match="^eval.truth="):
        truth(named)
