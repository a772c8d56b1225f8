"""The folder of a run: whose it is, and what of its results later commands leave there."""

import json
import pathlib

import pytest

from experiments import config as configs
from experiments import run_folder, status
from experiments.pipeline import Pipeline


def a_pipeline(tmp_path, *settings, config="bp4d_fold1", name="", stages=()):
    loaded = configs.load(config, settings)
    folders = {"data_dir": str(tmp_path / "data"), "runs_dir": str(tmp_path / "runs")}
    return Pipeline(loaded, name=name or loaded.name, stages=stages, **folders)


@pytest.mark.parametrize(
    ("config", "settings", "folder"),
    [
        ("bp4d_fold1", [], "bp4d_fold1/fold1_seed0"),
        ("bp4d_fold1", ["fold=2"], "bp4d_fold1/fold2_seed0"),
        ("bp4d_fold1", ["seed=12"], "bp4d_fold1/fold1_seed12"),
        ("bp4d_fold3", [], "bp4d_fold3/fold3_seed0"),
        ("disfa_fold2", ["seed=1"], "disfa_fold2/fold2_seed1"),
        ("demo", [], "demo/fold1_seed0"),
    ],
)
def test_folds_and_seeds_have_folders_of_their_own(tmp_path, config, settings, folder):
    assert a_pipeline(tmp_path, *settings, config=config).folder == tmp_path / "runs" / folder


@pytest.mark.parametrize(
    "name",
    ["a/b", "../elsewhere", "..", ".", "/tmp/elsewhere", ".hidden", "a\\b", " ", "a b", "-x", "a\n",
     "a\0b", "a/", "*", "exports", "Exports", "EXPORTS", "x" * 101, "runs:1", "~", "$HOME"],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused_and_nothing_is_written(tmp_path, name):
    with pytest.raises(configs.ConfigError) as told:
        a_pipeline(tmp_path, name=name)
    assert str(told.value).startswith(f"--name={name!r} ") and "\n" not in str(told.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["demo", "my-run_2.1", "läufe", "a=1,b=2", "x" * 100, "exports2"])
def test_names_of_one_folder_are_taken(tmp_path, name):
    folder = a_pipeline(tmp_path, name=name).folder
    assert folder == tmp_path / "runs" / name / "fold1_seed0"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("methods=", "methods= names no method"),
        ("methods=,", "methods= names no method"),
        ("methods=piap,ap,piap", "methods=piap,ap,piap names a method twice"),
    ],
)
def test_no_method_or_one_twice_is_refused(setting, told):
    with pytest.raises(configs.ConfigError) as error:
        configs.load("demo", [setting])
    assert str(error.value).startswith(told) and "baseline, pi2, pi3" in str(error.value)


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        (("pi3",), "--stages=pi3: no method in methods=baseline trains it"),
        (("baseline", "piapdf"), "--stages=piapdf: no method"),
        (("",), "unknown stage ''"),
        (("pi9",), "unknown stage 'pi9'"),
    ],
)
def test_stages_that_no_method_has_are_refused(tmp_path, stages, told):
    with pytest.raises(configs.ConfigError, match=told):
        a_pipeline(tmp_path, "methods=baseline", stages=stages)
    assert not (tmp_path / "runs").exists()


def entry(digest, f1):
    return {"digest": digest, "scores": {"aus": [1], "published": {"mean_f1": f1}}}


def results(rows, picture="", truth="", **trainings):
    told = {"truth": truth, "trainings": trainings, "rows": rows}
    return told | ({"picture": picture} if picture else {})


def joined(folder, ours, *, now):
    """What is written after an earlier file, under a configuration that names these digests."""
    return run_folder.with_earlier(ours, folder, now.get, ("ap", "piap"))


def stored(folder, told):
    text = told if isinstance(told, str) else json.dumps(told)
    (folder / "results.json").write_text(text)
    return text


def test_what_an_earlier_command_scored_of_the_same_configuration_stays(tmp_path):
    earlier = results(["baseline", "piap"], picture="maps.png", pi1=entry("p1", 0), pi2=entry("p2", 0),
                      baseline=entry("b", 50), piap=entry("m", 60))  # fmt: skip
    stored(tmp_path, earlier)
    now = {"pi1": "p1", "pi2": "p2", "baseline": "b", "piap": "m", "ap": "a"}
    found = joined(tmp_path, results(["ap"], pi1=entry("p1", 1), ap=entry("a", 7)), now=now)
    # In the order of the table of trainings, this command's own numbers before older ones.
    assert list(found["trainings"]) == ["pi1", "pi2", "baseline", "ap", "piap"]
    assert found["trainings"]["pi1"]["scores"]["published"]["mean_f1"] == 1
    assert found["trainings"]["piap"] == entry("m", 60)
    # Rows of this configuration in its order, then others.
    assert found["rows"] == ["ap", "piap", "baseline"] and found["picture"] == "maps.png"
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_picture_is_that_of_the_generators_that_are_told_of(tmp_path):
    earlier = results([], picture="maps.png", pi1=entry("p1", 0), pi2=entry("p2", 0))
    now = {"pi1": "p1", "pi2": "p2"}
    for ours, picture in [
        (results(["ap"], ap=entry("a", 1)), "maps.png"),
        (results([], pi2=entry("new", 1)), None),
        (results([], pi1=entry("p1", 1)) | {"picture": "new.png"}, "new.png"),
        (results([], pi1=entry("p1", 1)) | {"gaps": {"picture": "nobody"}}, None),
    ]:
        stored(tmp_path, earlier)
        assert joined(tmp_path, ours, now=now).get("picture") == picture


@pytest.mark.parametrize(
    ("ours", "now"),
    [
        # Trained anew under other settings, by this command or by the next.
        (results(["piap"], piap=entry("new", 1)), {"piap": "new", "baseline": "b"}),
        (results(["ap"], ap=entry("a", 1)), {"piap": "new", "baseline": "b"}),
        # Nothing names it any more: its data set is gone, or its plugin is not loaded.
        (results(["ap"], ap=entry("a", 1)), {"baseline": "b"}),
        (results(["ap"], ap=entry("a", 1), truth="other.npz"), {"piap": "m", "baseline": "b"}),
    ],
)
def test_results_of_another_configuration_are_put_aside_and_not_replaced(
    tmp_path, caplog, ours, now
):
    before = stored(
        tmp_path, results(["baseline", "piap"], baseline=entry("b", 5), piap=entry("m", 6))
    )
    with caplog.at_level("WARNING", logger="piapdf"):
        found = joined(tmp_path, ours, now=now)
    assert (tmp_path / "results.1.json").read_text() == before
    assert not (tmp_path / "results.json").exists()
    assert found["trainings"].get("piap") != entry("m", 6) and "picture" not in found
    assert ("baseline" in found["trainings"]) == (not ours["truth"])
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"{tmp_path / 'results.json'} is now results.1.json: its ")
    stored(tmp_path, results(["piap"], piap=entry("x", 6)))
    joined(tmp_path, ours, now=now)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.1.json", "results.2.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"trainings": {"piap": 3}}', "\x00"])
def test_results_that_cannot_be_read_are_put_aside(tmp_path, text):
    stored(tmp_path, text)
    ours = results(["ap"], ap=entry("a", 1))
    assert joined(tmp_path, ours, now={}) == ours
    assert (tmp_path / "results.1.json").read_text() == text


def test_files_of_a_run_are_whole_or_not_there(tmp_path, monkeypatch):
    path = tmp_path / "new" / "results.json"
    run_folder.write(path, "before")
    monkeypatch.setattr(
        pathlib.Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("killed"))
    )
    with pytest.raises(OSError, match="killed"):
        run_folder.write(path, "after")
    assert path.read_text() == "before"


def test_the_standing_of_a_name_tells_of_its_folds_and_seeds(tmp_path):
    for folder in ("fold1_seed0", "fold2_seed0"):
        run_folder.write(tmp_path / folder / "config.json", '{"methods": ["baseline"]}')
    with pytest.raises(
        FileNotFoundError, match="no config.json; it holds fold1_seed0, fold2_seed0"
    ):
        status.training_statuses(tmp_path)
    (one,) = status.training_statuses(tmp_path / "fold2_seed0")
    assert (one.name, one.state) == ("baseline", "not begun")
