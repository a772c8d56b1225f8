"""What would fail after hours is told before the first training, where it can be before data are made."""

import dataclasses
import json
import shutil
import types

import numpy as np
import pytest

from experiments import checks, stages
from experiments import config as configs
from experiments.config import ConfigError
from experiments.pipeline import USER_ERRORS, Pipeline
from experiments.trainings import ordered
from piapdf_jax.data.source import NoRecords, Records
from piapdf_jax.runtime import exports

SMALL = [
    "df=paper",
    "model=nano",
    "data.image_size=64",
    "data.dataset=synthetic_faces/small_bp4d",
    "pi1.dataset=synthetic_faces/small_afew_va",
    "identity.dataset=synthetic_faces/small_webface",
    "identity.pairs=synthetic_faces/small_lfw",
    "methods=piapdf",
]
DISFA = "disfa.dataset=synthetic_faces/small_disfa"


def pipeline(data, runs, *settings):
    loaded = configs.load("demo", [*SMALL, *settings])
    return Pipeline(loaded, data_dir=str(data), runs_dir=str(runs), name="c")


def told(data, runs, *settings):
    """The one line that a run ends with, before anything is trained."""
    made = pipeline(data, runs, *settings)
    made.__dict__["_train"] = lambda *args: pytest.fail("a training began")
    with pytest.raises(USER_ERRORS) as error:
        made.run()
    assert not (made.runs / "exports").exists()
    return str(error.value)


def test_every_batch_that_does_not_divide_is_told_before_data_are_made(tmp_path):
    settings = ["pi1.batch_size=8", "pi2.batch_size=7", "identity.batch_size=1", "df.batch_size=9"]
    # Of 2 devices, or 8 in doubles.
    settings += ["piap.batch_size=16"]
    line = told(tmp_path / "data", tmp_path / "runs", *settings)
    assert "pi2.batch_size=7: batch size 7 is not divisible by" in line
    assert "identity.batch_size=1: " in line and line.count("df.batch_size=9: ") == 1
    assert "pi1.batch_size" not in line and "piap.batch_size" not in line
    assert not (tmp_path / "data").exists()


def test_a_training_that_is_exported_may_have_any_batch(small_data, tmp_path, monkeypatch):
    made = pipeline(small_data, tmp_path, "pi1.batch_size=7", "methods=pi2", "pi2.batch_size=8")
    (made.runs / "exports" / "pi1").mkdir(parents=True)
    checks.before_data(map(made.job, ["pi1", "pi2"]), made.mesh.size, made.runs / "exports")
    found = {"pi1": tmp_path}
    monkeypatch.setattr(exports, "find_export", lambda runs, name, digest: found.get(name))
    made._check(["pi1", "pi2"])
    # Another configuration's export spares nothing.
    found.clear()
    with pytest.raises(ConfigError, match="pi1.batch_size=7: batch size 7"):
        made._check(["pi1", "pi2"])


@pytest.mark.parametrize("setting", ["df.disfa_fraction=0.25", "disfa.dataset=own_disfa"])
def test_disfa_that_is_asked_for_and_not_there_is_an_error(tmp_path, setting):
    settings = ["df.disfa_fraction=0.25", setting, "disfa.dataset=own_disfa"]
    line = told(tmp_path / "data", tmp_path / "runs", *settings)
    assert line.startswith("df.disfa_fraction=0.25 asks for frames of DISFA, df.disfa_fraction=0")
    assert "data set 'own_disfa' is not in" in line and not (tmp_path / "data").exists()


def test_disfa_is_taken_where_it_lies_and_nobody_asked(tmp_path):
    loaded = configs.load("bp4d_fold1", ["model.pretrained=none"])
    assert loaded.df.disfa_fraction == 0.25
    for config in (loaded, configs.load("bp4d_fold1", ["df.disfa_fraction=0"])):
        made = Pipeline(config, data_dir=str(tmp_path), runs_dir=str(tmp_path), name="c")
        jobs = [made.job(name) for name in ordered(config.methods)]
        checks.before_data(jobs, 1, tmp_path / "exports")


def test_disfa_that_is_not_there_is_told_where_nobody_asked(small_data, tmp_path, caplog):
    loaded = configs.load("demo", [*SMALL, "methods=df"])
    loaded = dataclasses.replace(loaded, df=dataclasses.replace(loaded.df, disfa_fraction=0.25))
    for config, line in (
        (loaded, "df.disfa_fraction=0.25 adds no frame of DISFA: data set 'synthetic_faces/disfa'"),
        (dataclasses.replace(loaded, disfa=configs.load("demo", [DISFA]).disfa), ""),
    ):
        made = Pipeline(config, data_dir=str(small_data), runs_dir=str(tmp_path), name="c")
        with caplog.at_level("WARNING", logger="piapdf"):
            caplog.clear()
            made._check(["baseline", "df"])
        told = [text for text in caplog.messages if "adds no frame" in text]
        assert told == ([f"{line} is not in {small_data} [df]"] if line else [])


@pytest.mark.parametrize("name", ["own_people", "disfa"])
def test_new_people_who_are_not_there_are_told_before_data_are_made(tmp_path, name):
    line = told(tmp_path / "data", tmp_path / "runs", f"df.unlabeled_dataset={name}")
    assert line.startswith(f"df.unlabeled_dataset={name} must provide frames of new people: ")
    assert f"data set '{name}' is not in" in line and "\n" not in line
    assert not (tmp_path / "data").exists()


def test_too_few_labeled_frames_are_told_with_what_would_do(small_data, tmp_path):
    # Two of the three parts of 128 coded frames.
    line = told(small_data, tmp_path, "df.batch_size=200")
    assert line.startswith(
        "df.batch_size=200, synthetic_faces/small_bp4d[part1+part2]: 256 labeled"
    )
    assert "lower the batch size to 128 or set df.relabel_fraction=0" in line
    # DISFA has no uncoded frames: all of x_u is withheld.
    alone = ["data.dataset=synthetic_faces/small_disfa", "df.batch_size=24", "methods=df"]
    line = told(small_data, tmp_path, *alone, "df.relabel_fraction=0")
    assert "40 labeled frames" in line and "to 20 (df.relabel_fraction is 1 without" in line
    made = pipeline(small_data, tmp_path, *alone, "df.batch_size=16")
    made._check(["baseline", "df"])


@pytest.fixture
def data(small_data, tmp_path):
    """The small data sets, for a test to change."""
    shutil.copytree(small_data / "synthetic_faces", tmp_path / "data" / "synthetic_faces")
    return tmp_path / "data"


def change_splits(data, name, change):
    (path,) = (data / "synthetic_faces" / name).glob("*/dataset_info.json")
    info = json.loads(path.read_text())
    info["splits"] = change({split["name"]: split for split in info["splits"]})
    path.write_text(json.dumps(info))


def test_data_sets_without_the_splits_that_are_read(data, tmp_path):
    runs = tmp_path / "runs"
    line = told(data, runs, "data.dataset=synthetic_faces/small_lfw")
    assert line.endswith("fold 1 has no split train to train on; it has test")
    change_splits(data, "small_bp4d", lambda splits: [splits["part3"]])
    line = told(data, runs, "methods=baseline")
    assert "fold 1 has 0 of the 28 people of part1, part2 to train on" in line
    assert line.endswith("it has part3")
    # One that stands in the description, and holds nothing.
    empty = {"shardLengths": [], "numBytes": "0"}
    change_splits(data, "small_afew_va", lambda s: [s["test"], {**s["train"], **empty}])
    line = told(data, runs, "methods=pi2", "data.dataset=synthetic_faces/small_disfa")
    assert line == (
        "data set 'synthetic_faces/small_afew_va': fold 1 has no split train to train on; it has test"
    )
    (folder,) = (data / "synthetic_faces" / "small_afew_va").glob("*")
    with pytest.raises(NoRecords, match="split 'train' of .*small_afew_va.* holds no record"):
        Records(folder, "train")


def test_faces_without_names_and_one_person_are_no_recognition(small_data, tmp_path):
    line = told(small_data, tmp_path, "identity.dataset=synthetic_faces/small_afew_va")
    assert line == (
        "identity.dataset=synthetic_faces/small_afew_va has 0 people to tell apart, not at least 2"
    )
    records = types.SimpleNamespace(table=lambda: {"identity": np.full(9, 3)})
    job = pipeline(small_data, tmp_path).job("identity")
    job.__dict__["slices"] = types.SimpleNamespace(
        train=types.SimpleNamespace(records=lambda: records)
    )
    with pytest.raises(ConfigError, match="has 1 people to tell apart"):
        stages.identity(job)


def test_pictures_without_maps_teach_no_generator(data, tmp_path):
    change_splits(data, "small_webface", lambda s: [s["train"], {**s["train"], "name": "test"}])
    (folder,) = (data / "synthetic_faces" / "small_webface").glob("*")
    for shard in folder.glob("*-train.*"):
        shutil.copy(shard, folder / shard.name.replace("-train.", "-test."))
    line = told(data, tmp_path / "runs", "pi1.dataset=synthetic_faces/small_webface")
    assert line.startswith("data set 'synthetic_faces/small_webface' has no PI maps")
