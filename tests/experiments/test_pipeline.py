"""The demo shrunk to seconds: every stage, its exports, its resuming, its errors."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from nano_runs import NANO, contents, run
from nightly import nightly

from experiments import config as configs
from experiments import frame_table, status
from experiments.pipeline import Pipeline
from piapdf_jax.batch import images_to_float
from piapdf_jax.data.by_unit import FramesByUnit
from piapdf_jax.data.evaluation import evaluation_batches
from piapdf_jax.data.source import CorruptShard, MissingDataset
from piapdf_jax.load import load_export
from piapdf_jax.model_json import ModelError, read_model
from piapdf_jax.runtime import exports


@pytest.fixture(scope="module")
def demo(small_data, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    return run(small_data, runs), runs


def test_every_stage_says_what_it_did(demo):
    results, runs = demo
    trainings = results["trainings"]
    assert list(trainings) == ["pi1", "pi2", "identity", "baseline", "piap", "piapdf"]
    for name, training in trainings.items():
        report = training["report"]
        assert report["steps"] == 4 and report["skipped"] == 0
        assert np.isfinite([report["loss_start"], report["loss_end"]]).all()
        assert report["frozen_unchanged"] is True
        for part, row in report["trained"].items():
            assert row["moved"] == row["leaves"] > 0, (name, part)
    assert set(trainings["piap"]["consumed"]) == {"pi2", "identity"}
    assert set(trainings["piapdf"]["consumed"]) == {"pi2", "identity", "piap"}
    assert trainings["pi2"]["consumed"]["pi1"] == trainings["pi1"]["digest"]
    stored = json.loads((runs / "demo" / "fold1_seed0" / "results.json").read_text())
    assert stored["trainings"].keys() == trainings.keys()


def test_scores_are_complete(demo):
    scores = {name: row["scores"] for name, row in demo[0]["trainings"].items()}
    assert len(scores["pi1"]["iou_per_map"]) == 12
    assert scores["pi2"]["maps_moved"]["mean_abs"] > 0
    assert 0 <= scores["identity"]["verification"] <= 1
    for name in ("baseline", "piap", "piapdf"):
        assert len(scores[name]["published"]["f1"]) == len(scores[name]["true"]["f1"]) == 12
        assert scores[name]["identity_probe"]["chance"] == 0.5  # two people are held out
    assert scores["piapdf"]["parameters"] == scores["baseline"]["parameters"]
    totals = demo[0]["trainings"]["piapdf"]["report"]["totals"]
    signs = [totals[f"count_{sign}"] for sign in ("positive", "negative", "zero")]
    assert sum(signs) == 4


def test_what_was_said_of_each_test_frame_is_kept(demo, small_data):
    import tensorflow_datasets as tfds

    results, runs = demo
    data = small_data / "synthetic_faces" / "small_bp4d" / "1.0.0"
    frames = list(tfds.builder_from_directory(data).as_data_source("part3"))
    labels = np.stack([frame["labels"] for frame in frames])[:, list(BITS.values())]
    for name in ("pi2", "baseline", "piap", "piapdf"):
        digest, scores = (results["trainings"][name][key] for key in ("digest", "scores"))
        table = frame_table.read(runs / "demo" / "fold1_seed0" / name / digest / "frames.npz")
        assert (table.training, table.digest, table.fold, table.seed) == (name, digest, 1, 0)
        assert table.dataset == "synthetic_faces/small_bp4d" and table.aus == tuple(BITS)
        np.testing.assert_array_equal(table.coded, labels)
        assert table.subject.tolist() == [frame["subject"].decode() for frame in frames]
        assert table.frame.tolist() == [frame["frame"] for frame in frames]
        told = read_model(folder_of(demo, name))
        np.testing.assert_array_equal(table.base_rates, list(told.base_rates.values()))
        said = table.probs[:, 1] >= 0.5
        hits, wrong = (said & (labels[:, 1] == 1)).sum(), (said != (labels[:, 1] == 1))
        wrong = (wrong & (labels[:, 1] >= 0)).sum()
        assert scores["published"]["f1"][1] == pytest.approx(
            100 * 2 * hits / max(2 * hits + wrong, 1), abs=0.005
        )
        scored = table.probe_correct[table.probe_correct >= 0]
        assert scores["identity_probe"]["accuracy"] == pytest.approx(scored.mean())
        assert (table.teacher_probs is not None) == (name == "piapdf") == ("teacher" in scores)


def test_the_teacher_stands_beside_its_student_and_nobody_else_reads_it(demo, small_data, tmp_path):
    results, runs = demo
    told, folder = results["trainings"]["piapdf"], folder_of(demo, "piapdf")
    beside = exports.read_beside(folder)
    assert set(beside) == {"teacher_encoder", "teacher_head"}
    assert set(exports.read_export(folder)[0]) == {"encoder", "head"}
    table = frame_table.read(
        runs / "demo" / "fold1_seed0" / "piapdf" / told["digest"] / "frames.npz"
    )
    assert np.abs(table.teacher_probs - table.probs).max() > 0
    assert set(told["scores"]["teacher"]) == {"published", "true"}
    # Without it, as in a light copy, the export is one still; the score says what is missing.
    light = tmp_path / "runs"
    shutil.copytree(runs, light)
    shutil.rmtree(light / "exports" / "piapdf" / told["digest"] / "beside")
    load_export(light / "exports" / "piapdf" / told["digest"])
    again = run(small_data, light)["trainings"]["piapdf"]["scores"]
    assert again["published"] == told["scores"]["published"] and "teacher" not in again
    assert "cannot be read" in again["gaps"]["teacher"]


def test_generator_gets_a_gradient(demo):
    lines = (
        next((demo[1] / "demo" / "fold1_seed0" / "pi2").glob("*/metrics.jsonl"))
        .read_text()
        .splitlines()
    )
    assert all(json.loads(line)["generator_gradient_norm"] > 0 for line in lines)


def folder_of(demo, name):
    results, runs = demo
    return runs / "exports" / name / results["trainings"][name]["digest"]


#: BP4D's units and their bits in a record, written down by hand.
BITS = {1: 0, 2: 1, 4: 2, 6: 3, 7: 4, 10: 6, 12: 7, 14: 8, 15: 9, 17: 10, 23: 11, 24: 12}


def test_exports_with_a_head_say_what_they_are(demo, small_data):
    import tensorflow_datasets as tfds

    folders = {name: folder_of(demo, name) for name in demo[0]["trainings"]}
    described = {name for name, folder in folders.items() if (folder / "model.json").exists()}
    assert described == set(folders) - {"pi1", "identity"}
    data = small_data / "synthetic_faces" / "small_bp4d" / "1.0.0"
    frames = list(tfds.builder_from_directory(data).as_data_source("part1+part2"))
    labels = np.stack([frame["labels"] for frame in frames])[:, list(BITS.values())]
    people = len({frame["subject"] for frame in frames})
    rates = [(column == 1).sum() / (column >= 0).sum() for column in labels.T]
    for name in described:
        model = read_model(folders[name])
        assert (model.training, model.digest) == (name, folders[name].name)
        assert model.units == tuple(BITS) and model.image_size == 64
        assert list(model.base_rates.values()) == pytest.approx(rates, rel=1e-12)
        assert model.frames == {"labeled": len(labels), "scored": len(labels)}
        assert model.crop == {"size": 256, "box_scale": 3.1, "box_lift": 0.08}
        assert model.model["encoder_size"] == 32 and model.model["convention"] == "tensorflow"
        assert model.mean == (0.5, 0.5, 0.5) and model.std == (0.25, 0.25, 0.25)
        labeled = {part.training: part[1:5] for part in model.data if part.labeled}
        assert labeled[name] == ("synthetic_faces/small_bp4d", "1.0.0", "part1+part2", people)
    assert {part.training for part in model.data} <= {*folders}
    model = read_model(folders["piapdf"])
    assert {part.training for part in model.data} == {"pi1", "pi2", "identity", "piap", "piapdf"}
    # LFW's pairs are scored on and not learned from.
    assert set(model.stand_ins) == {"data.dataset", "pi1.dataset", "identity.dataset"}
    assert read_model(folders["baseline"]).stand_ins.keys() == {"data.dataset"}


@pytest.mark.parametrize("name", ["pi2", "baseline", "piapdf"])
def test_an_export_is_used_by_itself(demo, small_data, name):
    model, probabilities = load_export(folder_of(demo, name))
    assert model.parts == (("generator",) if name == "pi2" else ()) + ("encoder", "head")
    frames = FramesByUnit(small_data / "synthetic_faces" / "small_bp4d" / "1.0.0", "part1+part2")
    crops = np.stack([frame.image for frame in frames])
    probs = np.concatenate(
        [probabilities(crops[start : start + 64]) for start in range(0, 256, 64)]
    )
    # The share of frames that reach a cut is the base rate, to half a frame, or half of equal scores.
    for column, au in zip(probs.T, model.units, strict=True):
        equal = np.unique(column, return_counts=True)[1].max()
        off = np.mean(column >= model.cuts[au]) - model.base_rates[au]
        # A last digit that another batch size gives may move one frame more.
        assert abs(off) * len(crops) <= equal / 2 + 0.6, au
    # Scores of a run: the same networks, read by its own streams.
    loaded = configs.load("demo", NANO)
    pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(demo[1]), name="again")
    job = pipeline.job(name)
    reading = job.reading(training=False)
    batch = next(evaluation_batches(job.slices.test.records(), reading))
    own = job.stage.predict(pipeline.exported(name), images_to_float(jnp.asarray(batch.image)))
    shown = FramesByUnit(small_data / "synthetic_faces" / "small_bp4d" / "1.0.0", "part3[:48]")
    theirs = probabilities(np.stack([frame.image for frame in shown]))
    np.testing.assert_allclose(theirs, own.au_probs, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(probabilities(np.asarray(batch.image)), theirs)
    for wrong in (
        crops[0],
        crops[:1].astype(np.float32),
        crops[:1, :100, :100],
        crops[:1, ..., :1],
    ):
        with pytest.raises(
            ValueError, match=r"uint8 RGB crops \[B, 256, 256, 3\] or \[B, 64, 64, 3\]"
        ):
            probabilities(wrong)


def test_a_model_json_of_another_export_version_or_networks(demo, tmp_path):
    folder = shutil.copytree(folder_of(demo, "baseline"), tmp_path / "export")
    told = json.loads((folder / "model.json").read_text())
    own = {"model": None, "mean": None, "std": None}
    fewer = {name: dict(list(told[name].items())[:-1]) for name in ("base_rates", "cuts")}
    for change, message in (
        ({"digest": "0" * 16}, "holds the model.json of another export"),
        ({"parts": ["generator", "encoder", "head"]}, "holds the model.json of another export"),
        ({"units": told["units"][:-1], **fewer}, "for 11 units, the export of .* for 12"),
        ({"schema": 2}, "is of schema 2; this version of piapdf_jax reads schema 3"),
        (own, "training 'baseline' has networks of a plugin"),
        ({"model": {**told["model"], "color": 1}}, "model in model.json is not a configuration"),
        (
            {"model": {**told["model"], "convention": "x"}},
            "not a configuration .*convention='x' is not one of",
        ),
        ({"model": {**told["model"], "dropout": "x"}}, "not a configuration .*dropout='x' must be"),
        (
            {"model": {**told["model"], "encoder": "tiny"}},
            "differs from the one it was trained with",
        ),
        ({"model": {**told["model"], "encoder": "mine"}}, "'mine' .*--plugin=MODULE"),
    ):
        (folder / "model.json").write_text(json.dumps({**told, **change}))
        with pytest.raises(ModelError, match=message) as error:
            load_export(folder)
        assert str(folder) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="its training has no head of action units"):
        load_export(folder_of(demo, "identity"))
    folder = shutil.copytree(folder_of(demo, "pi2"), tmp_path / "pi2")
    told = json.loads((folder / "model.json").read_text())
    told["model"]["unet_blocks"] += 1
    (folder / "model.json").write_text(json.dumps(told))
    with pytest.raises(ModelError, match="its parts do not fit the model"):
        load_export(folder)


def test_the_program_of_the_document_needs_no_launcher(demo):
    root = pathlib.Path(__file__).parents[2]
    text = (root / "docs" / "exports.md").read_text(encoding="utf-8")
    program, *_ = re.findall(r"```python\n(.*?)```", text, re.S)
    assert program.count("\n") <= 12
    code = program.replace("runs/exports/piapdf/0123456789abcdef", str(folder_of(demo, "piapdf")))
    code += (
        "import sys\nprint({'experiments', 'tensorflow_datasets', 'grain'} & set(sys.modules))\n"
    )
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *lines, modules = done.stdout.splitlines()
    assert modules == "set()"
    assert [line.split()[0] for line in lines] == [f"AU{au}:" for au in BITS]
    assert all(re.fullmatch(r"AU\d+: 0\.\d\d (present|absent)", line) for line in lines)


def test_picture_shows_three_sources_for_three_faces(demo):
    import cv2

    picture = cv2.imread(demo[0]["picture"])
    faces = 2  # so many people are held out in the small data
    assert picture.shape[0] > 3 * faces * 100 and picture.shape[1] > 12 * 100
    assert picture.std() > 20


def test_second_run_trains_nothing_and_scores_the_same(demo, small_data):
    results, runs = demo
    before = {path: path.stat().st_mtime_ns for path in runs.glob("exports/*/*/export.json")}
    again = run(small_data, runs, name="again")
    after = {path: path.stat().st_mtime_ns for path in runs.glob("exports/*/*/export.json")}
    assert before == after
    for name, training in again["trainings"].items():
        assert training["scores"] == results["trainings"][name]["scores"]


def test_results_of_other_stages_stay_where_some_alone_are_asked_for(demo, small_data, tmp_path):
    results, runs = demo[0], tmp_path / "runs"
    shutil.copytree(demo[1], runs)
    run(small_data, runs, stages=("baseline",))
    folder = runs / "demo" / "fold1_seed0"
    stored = json.loads((folder / "results.json").read_text())
    assert list(stored["trainings"]) == list(results["trainings"])
    for name, training in stored["trainings"].items():
        assert training == json.loads(json.dumps(results["trainings"][name]))
    assert stored["rows"] == results["rows"] and stored["picture"] == results["picture"]
    assert stored["stand_ins"] == results["stand_ins"]
    # Other settings: the baseline is another one, and nothing of the first is lost.
    before = (folder / "results.json").read_bytes()
    run(small_data, runs, "baseline.steps=2", stages=("baseline",))
    assert (folder / "results.1.json").read_bytes() == before
    stored = json.loads((folder / "results.json").read_text())
    assert stored["trainings"]["baseline"]["report"]["steps"] == 2
    assert stored["trainings"]["piapdf"]["report"]["steps"] == 4


def test_seed_of_pi1_is_its_own(demo, small_data):
    results, runs = demo
    other = run(small_data, runs, "seed=3", "methods=pi2", stages=("pi1", "pi2"), name="seed3")
    digests = {name: row["digest"] for name, row in other["trainings"].items()}
    assert digests["pi1"] == results["trainings"]["pi1"]["digest"]
    assert digests["pi2"] != results["trainings"]["pi2"]["digest"]


def test_deleted_export_is_trained_again_bitwise(demo, small_data, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(demo[1], runs)
    before = contents(runs)
    shutil.rmtree(runs / "exports" / "baseline")
    run(small_data, runs, "methods=baseline")
    assert contents(runs) == before


def test_export_left_out_by_stages_is_named(small_data, tmp_path):
    with pytest.raises(configs.ConfigError, match="training 'pi1' with digest [0-9a-f]{16}"):
        run(small_data, tmp_path, stages=("pi2",))


def test_what_is_missing_is_told_before_any_training(small_data, tmp_path):
    missing = f"eval.truth={tmp_path / 'nowhere.npz'}"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(small_data, tmp_path, missing, "methods=baseline")
    with pytest.raises(MissingDataset, match=r"data_builders\.prepare bp4d"):
        run(small_data, tmp_path, "data.dataset=bp4d", "methods=piap")
    assert not (tmp_path / "exports").exists()


def test_missing_true_labels_of_drawn_faces_are_told_before_any_training(small_data, tmp_path):
    from data_builders.synthetic_faces import truth_path

    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    path = truth_path(str(data), "small_bp4d")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{path}, the true labels of"):
        run(data, tmp_path / "runs", "methods=baseline")
    assert not (tmp_path / "runs" / "exports").exists()


def test_flipped_truth_changes_no_training(demo, small_data, tmp_path):
    from data_builders.synthetic_faces import truth_path

    path = truth_path(str(small_data), "small_bp4d")
    with np.load(path, allow_pickle=False) as table:
        flipped = {**table, "clean": 1 - table["clean"]}
    np.savez(tmp_path / "truth.npz", **flipped)
    setting = f"eval.truth={tmp_path / 'truth.npz'}"
    results = run(small_data, tmp_path / "runs", setting, "methods=baseline")
    assert contents(tmp_path / "runs")["baseline"] == contents(demo[1])["baseline"]
    scores, before = (r["trainings"]["baseline"]["scores"] for r in (results, demo[0]))
    assert scores["published"] == before["published"]
    assert scores["true"] != before["true"]


@pytest.mark.parametrize("variant", nightly("none", "continuous", "constant"))
def test_variants_of_feedback_run(demo, small_data, variant):
    fine = int(variant == "none")
    settings = ["methods=piapdf", "df.steps=2", f"df.finetune_steps={fine}"]
    results = run(small_data, demo[1], f"df.variant={variant}", *settings, name=variant)
    report = results["trainings"]["piapdf"]["report"]
    totals = report["totals"]
    assert report["steps"] == 2 + fine
    expected = {"none": "count_zero", "constant": "count_positive"}.get(variant)
    if expected:
        assert totals[expected] == 2
    else:
        assert totals["count_positive"] + totals["count_negative"] == 2


def test_settings_that_mean_nothing_together_are_refused(small_data, tmp_path):
    with pytest.raises(configs.ConfigError, match="soft"):
        run(small_data, tmp_path, "methods=df", "df.labels=soft")


def test_disfa_goes_on_from_piap(demo, small_data):
    results = run(small_data, demo[1], "methods=disfa", name="disfa")
    disfa = results["trainings"]["disfa"]
    assert disfa["consumed"]["piap"] == demo[0]["trainings"]["piap"]["digest"]
    assert disfa["scores"]["aus"] == [1, 2, 4, 6, 9, 12, 25, 26]
    model = read_model(demo[1] / "exports" / "disfa" / disfa["digest"])
    assert model.units == (1, 2, 4, 6, 9, 12, 25, 26) and model.parts == ("encoder", "head")
    assert {"synthetic_faces/small_bp4d", "synthetic_faces/small_disfa"} <= {
        part.name for part in model.data
    }
    assert set(disfa["scores"]["true"]) == set(disfa["scores"]["published"])


def test_corrupt_shard_is_named(small_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(small_data, data)
    shard = next((data / "synthetic_faces" / "small_bp4d" / "1.0.0").glob("*part1.array_record*"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(CorruptShard, match=shard.name):
        run(data, tmp_path / "runs", "methods=baseline")


def test_status_of_a_run(demo, tmp_path):
    _, runs = demo
    statuses = {one.name: one for one in status.training_statuses(runs / "demo" / "fold1_seed0")}
    assert list(statuses) == ["pi1", "pi2", "identity", "baseline", "piap", "piapdf"]
    for one in statuses.values():
        assert (one.state, one.step, one.steps) == ("done", 4, 4)
        assert one.row["peak_memory_gib"] > 0.1 and 0 <= one.row["input_wait"] <= 1
        assert one.row["first_step_seconds"] > 0 and one.row["images_per_second"] > 0
    counts = [statuses["piapdf"].row[f"count_{sign}"] for sign in ("positive", "negative", "zero")]
    assert sum(counts) == 4
    command = [sys.executable, "-m", "experiments.status", str(runs / "demo" / "fold1_seed0")]
    told = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    assert "{} x +, {} x -, {} x 0".format(*counts) in told.stdout
    missing = subprocess.run(
        [*command[:-1], str(tmp_path)], capture_output=True, text=True, env=os.environ, check=False
    )
    assert missing.returncode == 2 and f"{tmp_path} is not a run" in missing.stderr
