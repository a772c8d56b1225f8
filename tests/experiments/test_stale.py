"""Exports of older sources, taken on request: which, how downstream trainings name them, how they are marked."""

import json
import os
import shutil

import nano_runs
import pytest

from experiments import config as configs
from experiments import fingerprint
from experiments.pipeline import Pipeline

# Sizes and lengths of other tests, which then share compiled steps.
NANO = [*nano_runs.NANO, "methods=baseline,piap"]


def pipeline(data, runs, *settings, accept=(), stages=()):
    loaded = configs.load("demo", [*NANO, *settings])
    return Pipeline(
        loaded,
        data_dir=str(data),
        runs_dir=str(runs),
        name="s",
        accept_stale=accept,
        stages=stages,
    )


@pytest.fixture(scope="module")
def trained(small_data, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return runs, pipeline(small_data, runs).run()


@pytest.fixture
def edited(monkeypatch):
    """Sources as after an edit of ``losses.py``."""
    before = fingerprint.source_digests

    def after(modules):
        return {**before(modules), "piapdf_jax.losses": "edited"}

    monkeypatch.setattr(fingerprint, "source_digests", after)


def digests(results):
    return {name: row["digest"] for name, row in results["trainings"].items()}


def test_the_whole_fingerprint_stands_in_the_export(trained, small_data):
    runs, results = trained
    made = pipeline(small_data, runs)
    for name, digest in digests(results).items():
        info = json.loads((runs / "exports" / name / digest / "export.json").read_text())
        assert info["fingerprint"] == json.loads(json.dumps(made.fingerprint(name)))
        assert set(info["fingerprint"]["takes"]) == set(info["consumed"])
    assert results["stale"] == {}


def test_named_trainings_are_taken_and_all_else_is_trained_on_them(
    trained, edited, small_data, tmp_path, caplog, capsys
):
    runs, before = tmp_path / "runs", digests(trained[1])
    shutil.copytree(trained[0], runs)
    made = pipeline(small_data, runs, accept=("pi1", "identity"))
    with caplog.at_level("WARNING", logger="piapdf"):
        results = made.run()
    after = digests(results)
    assert {name for name in after if after[name] == before[name]} == {"pi1", "identity"}
    assert results["trainings"]["pi2"]["consumed"] == {"pi1": before["pi1"]}
    assert results["trainings"]["piap"]["consumed"] == {
        "pi2": after["pi2"],
        "identity": before["identity"],
    }
    path = runs / "exports" / "piap" / after["piap"] / "export.json"
    takes = json.loads(path.read_text())["fingerprint"]["takes"]
    assert takes == results["trainings"]["piap"]["consumed"]
    told = [r.getMessage() for r in caplog.records if "stale" in r.getMessage()]
    assert len(told) == 2
    for name, line in zip(("pi1", "identity"), sorted(told, reverse=True), strict=True):
        assert line.startswith(name) and before[name] in line and "piapdf_jax.losses" in line
    stored = json.loads((runs / "s" / "fold1_seed0" / "results.json").read_text())["stale"]
    for name in ("pi1", "identity"):
        assert stored[name]["digest"] == before[name]
        assert stored[name]["rows"] == ["piap"]
        assert stored[name]["sources"] == ["piapdf_jax.losses"]
    lines = capsys.readouterr().out.splitlines()
    rows = [line.strip() for line in lines if line.strip().startswith(("PIAP", "Baseline"))]
    # F1 against both kinds of labels, and the sizes.
    assert sum(row.startswith("PIAP *") for row in rows) == 3
    assert sum(row.startswith("Baseline ") for row in rows) == 3
    assert not any(row.startswith("Baseline *") for row in rows)
    assert any(before["pi1"] in line and "--accept_stale" in line for line in lines)


def test_without_the_flag_nothing_stale_is_taken(trained, edited, small_data, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(trained[0], runs)
    made, before = pipeline(small_data, runs), digests(trained[1])
    assert all(made.digest(name) != digest for name, digest in before.items())
    assert made.catalog.stale == {}


@pytest.mark.parametrize("setting", ["pi1.learning_rate=0.5", "pi1.seed=3", "data.image_size=32"])
def test_other_settings_are_not_stale_but_others(trained, edited, small_data, setting):
    made = pipeline(small_data, trained[0], setting, accept=("pi1",))
    assert made.digest("pi1") != digests(trained[1])["pi1"] and made.catalog.stale == {}


def test_the_newest_of_several_is_taken(trained, edited, small_data, tmp_path):
    runs, name = tmp_path / "runs", "pi1"
    shutil.copytree(trained[0], runs)
    old = digests(trained[1])[name]
    folder, new = runs / "exports" / name / old, runs / "exports" / name / ("0" * 16)
    shutil.copytree(folder, new)
    info = json.loads((new / "export.json").read_text())
    info["digest"] = new.name
    (new / "export.json").write_text(json.dumps(info))
    for path, when in ((folder, 2_000), (new, 1_000)):
        os.utime(path / "export.json", (when, when))
    assert pipeline(small_data, runs, accept=(name,)).digest(name) == old
    os.utime(new / "export.json", (3_000, 3_000))
    assert pipeline(small_data, runs, accept=(name,)).digest(name) == new.name


def test_an_exact_export_goes_before_a_stale_one(trained, small_data):
    made = pipeline(small_data, trained[0], accept=("pi1", "identity", "piap"))
    assert {name: made.digest(name) for name in ("pi1", "identity", "piap")} == {
        name: digests(trained[1])[name] for name in ("pi1", "identity", "piap")
    }
    assert made.catalog.stale == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fingerprint": null}', '{"a":'])
def test_what_is_no_export_is_not_taken(trained, edited, small_data, tmp_path, text):
    runs, old = tmp_path / "runs", digests(trained[1])["pi1"]
    shutil.copytree(trained[0] / "exports" / "pi1", runs / "exports" / "pi1")
    broken = runs / "exports" / "pi1" / ("f" * 16)
    broken.mkdir()
    (broken / "export.json").write_text(text)
    assert pipeline(small_data, runs, accept=("pi1",)).digest("pi1") == old


def test_the_folder_names_an_export_and_no_file_in_it(trained, edited, small_data, tmp_path):
    runs, old = tmp_path / "runs", digests(trained[1])["pi1"]
    shutil.copytree(trained[0] / "exports" / "pi1", runs / "exports" / "pi1")
    path = runs / "exports" / "pi1" / old / "export.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "digest": "../../elsewhere"}))
    assert pipeline(small_data, runs, accept=("pi1",)).digest("pi1") == old


def test_why_nothing_is_taken_is_told(trained, edited, small_data, tmp_path, caplog):
    runs = tmp_path / "runs"
    shutil.copytree(trained[0], runs)
    with caplog.at_level("WARNING", logger="piapdf"):
        pipeline(small_data, runs, accept=("piap",)).digest("piap")
    (told,) = [r.getMessage() for r in caplog.records if "accept_stale" in r.getMessage()]
    assert told == (
        "piap: --accept_stale finds no export with these settings, data and of pi2, identity as"
        " they are now"
    )


def test_a_name_on_which_nothing_rests_is_told_and_no_other(
    trained, edited, small_data, tmp_path, caplog
):
    runs = tmp_path / "runs"
    shutil.copytree(trained[0], runs)
    accept, stages = ("identity", "pi1"), ("pi2",)
    with caplog.at_level("WARNING", logger="piapdf"):
        results = pipeline(small_data, runs, accept=accept, stages=stages).run()
    # PI stage 1 is not among the stages, but its export is taken.
    assert results["trainings"]["pi2"]["consumed"] == {"pi1": digests(trained[1])["pi1"]}
    told = [
        r.getMessage() for r in caplog.records if "nothing in this run depends on" in r.getMessage()
    ]
    assert told == ["--accept_stale names identity, which nothing in this run depends on"]


def test_an_unknown_training_is_named(small_data, tmp_path):
    with pytest.raises(configs.ConfigError, match="unknown training in --accept_stale: 'pi7'"):
        pipeline(small_data, tmp_path, accept=("pi7",))
