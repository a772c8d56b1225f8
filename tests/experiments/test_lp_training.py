"""The training ``lp`` on records: whose landmarks, moved with the picture, what decides it, resumed as it was."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from nano_runs import NANO, contents, run

from experiments import config as configs
from experiments.pipeline import Pipeline
from experiments.trainings import ordered
from piapdf_jax.data import source
from piapdf_jax.runtime.checkpoints import Checkpoints

LP = ["methods=lp", "lp.batch_size=8", "lp.steps=4"]
STILL = [f"data.augment.{key}=0" for key in ("rotation", "scale", "shift", "brightness")]
STILL += ["data.augment.contrast=0", "data.augment.saturation=0"]
#: Points of the 68 that a mirror swaps: corners of eyes, mouth and jaw; and two that stay.
MIRRORED = {36: 45, 45: 36, 48: 54, 54: 48, 0: 16, 16: 0, 8: 8, 30: 30}


def pipeline(data, runs, *settings):
    loaded = configs.load("demo", [*NANO, *LP, *settings])
    return Pipeline(loaded, data_dir=str(data), runs_dir=str(runs), name="lp")


@pytest.fixture(scope="module")
def trained(small_data, tmp_path_factory):
    """A straight run, and where it lies."""
    runs = tmp_path_factory.mktemp("lp")
    return run(small_data, runs, *LP), runs


def test_a_run_trains_lp_alone_and_leaves_what_is_frozen_as_it_was(trained):
    results, runs = trained
    assert list(results["trainings"]) == results["rows"] == ["lp"]
    report = results["trainings"]["lp"]["report"]
    assert report["frozen_unchanged"] is True and report["skipped"] == 0
    assert report["metrics_end"]["ap_loss"] > 0
    moved = report["trained"]["encoder"]
    assert moved["moved"] == moved["leaves"]
    (info,) = [json.loads(p.read_text()) for p in runs.glob("exports/lp/*/export.json")]
    assert info["parts"] == ["encoder", "head"] and info["consumed"] == {}
    assert 0 <= results["trainings"]["lp"]["scores"]["published"]["mean_f1"] <= 100


def test_a_network_that_finds_landmarks_is_trained_first_and_stays_as_it_was(small_data, tmp_path):
    settings = ["lp.person=landmark_network", "landmarks.batch_size=8", "landmarks.steps=3"]
    settings += ["landmarks.dataset=synthetic_faces/small_afew_va"]
    settings += ["landmarks.pairs=synthetic_faces/small_lfw"]
    results = run(small_data, tmp_path, *LP, *settings)
    assert list(results["trainings"]) == ["landmarks", "lp"] and results["rows"] == ["lp"]
    told = results["trainings"]["lp"]
    assert told["consumed"] == {"landmarks": results["trainings"]["landmarks"]["digest"]}
    assert told["report"]["frozen_unchanged"] is True
    assert told["report"]["metrics_start"]["ap_loss"] > 0


def test_a_resumed_training_is_the_straight_one(small_data, trained, tmp_path, monkeypatch):
    save = Checkpoints.save

    def stop(self, step, state, meta):
        save(self, step, state, meta)
        if step == 2:
            raise KeyboardInterrupt

    settings = [*LP, "run.checkpoint_every=2"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", stop)
        run(small_data, tmp_path, *settings)
    assert not contents(tmp_path)
    run(small_data, tmp_path, *settings)
    assert contents(tmp_path) == contents(trained[1])


def test_landmarks_are_mirrored_with_the_picture(small_data, tmp_path):
    plain = pipeline(small_data, tmp_path, *STILL, "data.augment.flip=0").job("lp").stream()(1)
    view = pipeline(small_data, tmp_path, *STILL, "data.augment.flip=1").job("lp").stream()(1)
    np.testing.assert_array_equal(view.record_index, plain.record_index)
    np.testing.assert_array_equal(view.image, plain.image[:, :, ::-1])
    for ours, others in MIRRORED.items():
        x, y = plain.landmarks[:, others].T
        np.testing.assert_allclose(view.landmarks[:, ours], np.stack([63 - x, y], 1), atol=1e-3)


def test_the_mean_is_that_of_the_plain_frames_that_it_trains_on(small_data, tmp_path):
    job = pipeline(small_data, tmp_path, "eval.validation_subjects=1").job("lp")
    _, frozen = job.stage.init(jax.random.key(0), {})
    train = job.slices.train
    assert train.exclude
    table = source.Records(train.folder, train.split).table()
    shapes = []
    for subject, points in zip(
        table["subject"], table["landmarks"].astype(np.float64), strict=True
    ):
        if subject not in train.exclude:
            left, right = points[36], points[45]
            distance = np.hypot(*(left - right))
            shapes.append(((points - (left + right) / 2) / distance).ravel())
    assert 0 < len(shapes) < len(table["subject"])
    (_, statistics) = frozen["landmarks"]
    np.testing.assert_allclose(statistics["mean"], np.mean(shapes, axis=0), atol=1e-5)
    # Frames that are scored are no part of it, and nothing of theirs is read.
    tested = set(job.slices.test.records().table()["subject"].tolist())
    assert tested and not tested & set(train.records().table()["subject"].tolist())
    assert job.reading(training=False).landmarks is False


def test_what_p_is_made_of_is_in_the_digest_and_its_mean_is_not_asked_for(
    small_data, tmp_path, monkeypatch
):
    made = pipeline(small_data, tmp_path)
    job = made.job("lp")
    refused = dataclasses.replace(
        job.stage, landmarks=lambda: pytest.fail("the mean was asked for")
    )
    monkeypatch.setitem(job.__dict__, "stage", refused)
    digest = made.digest("lp")
    assert digest == pipeline(small_data, tmp_path).digest("lp")
    network = ["lp.person=landmark_network", "landmarks.dataset=synthetic_faces/small_afew_va"]
    network += ["landmarks.pairs=synthetic_faces/small_lfw"]
    other = pipeline(small_data, tmp_path, *network)
    assert other.digest("lp") != digest
    assert other.fingerprint("lp")["takes"] == {"landmarks": other.digest("landmarks")}
    seeded = pipeline(small_data, tmp_path)
    stage = dataclasses.replace(seeded.job("lp").stage, map_seed=1)
    monkeypatch.setitem(seeded.job("lp").__dict__, "stage", stage)
    assert seeded.digest("lp") != digest
    # AP's own digest knows nothing of it.
    assert other.digest("ap") == made.digest("ap")
    assert set(ordered(("lp",), other.job)) == {"landmarks", "lp"}
    assert ordered(("lp",), made.job) == ordered(("lp",)) == ("lp",)


def test_records_without_landmarks_and_those_that_are_no_numbers_are_told(
    small_data, tmp_path, monkeypatch
):
    from experiments import checks

    job = pipeline(small_data, tmp_path).job("lp")
    kept = source.Records.__getitem__

    def without(self, row):
        record = kept(self, row)
        return {key: value for key, value in record.items() if key != "landmarks"}

    with monkeypatch.context() as patch:
        patch.setattr(source.Records, "__getitem__", without)
        with pytest.raises(configs.ConfigError, match="has no landmarks, which lp learns"):
            checks.records(job)
    checks.records(job)

    def broken(self, row):
        record = kept(self, row)
        return record | {"landmarks": np.where(row == 3, np.nan, record["landmarks"])}

    monkeypatch.setattr(source.Records, "__getitem__", broken)
    with pytest.raises(configs.ConfigError, match="holds landmarks that are not finite"):
        job.stage.init(jax.random.key(0), {})
