"""Section 3.2's case on small drawn faces: errors of landmarks, and who is told from whom by which vector."""

import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nano_runs import NANO, contents, run
from scipy import stats

from experiments import config as configs
from experiments import report
from experiments.lacks import Lacks
from experiments.pipeline import Pipeline
from piapdf_jax.data import description, source
from piapdf_jax.keys import named_key
from piapdf_jax.runtime.checkpoints import Checkpoints
from piapdf_jax.runtime.exports import read_export

LANDMARKS = ["methods=landmarks", "landmarks.batch_size=8", "landmarks.steps=4"]
SEEN = "synthetic_faces/small_afew_va"
LANDMARKS += [f"landmarks.dataset={SEEN}"]
LANDMARKS += ["landmarks.pairs=synthetic_faces/small_lfw"]
ROWS = {
    "classes", "pooled", "regressed", "untrained_classes", "untrained_pooled", "landmarks",
    "encoder_p",
}  # fmt: skip


@pytest.fixture(name="done", scope="module")
def fixture_done(small_data, tmp_path_factory):
    """Results of a run, and where it lies."""
    runs = tmp_path_factory.mktemp("landmarks")
    return run(small_data, runs, *LANDMARKS, config="landmark_identity_demo"), runs


def pipeline(data, runs, *settings):
    loaded = configs.load("landmark_identity_demo", [*NANO, *LANDMARKS, *settings])
    return Pipeline(loaded, data_dir=str(data), runs_dir=str(runs), name=loaded.name)


def image_of(record):
    image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
    image = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA)
    return jnp.asarray(image[None] / np.float32(255))


def shapes(landmarks):
    """Without place and size, face by face."""
    found = []
    for face in landmarks.astype(np.float64):
        middle = (face[36] + face[45]) / 2
        found.append(((face - middle) / np.hypot(*(face[45] - face[36]))).ravel())
    return np.array(found)


def protocol(vectors, table, pairs):
    """Accuracies of the blocks, each with the threshold that is best on the others, by trying all."""
    rows = {
        (n, int(k)): i for i, (n, k) in enumerate(zip(table["name"], table["number"], strict=True))
    }
    cosines, same, block = [], [], []
    for one, first, other, second, alike, number in pairs:
        a, b = vectors[rows[one, int(first)]], vectors[rows[other, int(second)]]
        cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        same.append(bool(int(alike)))
        block.append(int(number))
    cosines, same, block = map(np.array, (cosines, same, block))
    found = []
    for held in np.unique(block):
        known = np.sort(cosines[block != held])
        cuts = [-2, *((known[1:] + known[:-1]) / 2), 2]
        right = [((cosines >= c) == same)[block != held].mean() for c in cuts]
        cut = cuts[int(np.argmax(right))]
        found.append(((cosines >= cut) == same)[block == held].mean())
    return np.array(found)


def test_every_row_is_scored_by_the_protocol(done, small_data):
    results, _ = done
    assert list(results["trainings"]) == ["identity", "landmarks"]
    scores = results["trainings"]["landmarks"]["scores"]
    assert set(scores["pairs"]) == ROWS and None not in scores["pairs"].values(), scores.get("gaps")
    for name, told in scores["pairs"].items():
        blocks = np.array(told["blocks"])
        assert len(blocks) == 10 or len(blocks) > 1
        assert told["verification"] == pytest.approx(blocks.mean()), name
        low, high = told["interval"]
        if blocks.std() > 0:
            by_scipy = stats.t.interval(
                0.95, len(blocks) - 1, loc=blocks.mean(), scale=stats.sem(blocks)
            )
            assert (low, high) == pytest.approx(np.clip(by_scipy, 0, 1)), name
    told = scores["pairs"]["encoder_p"]["verification"]
    assert told == pytest.approx(results["trainings"]["identity"]["scores"]["verification"])


def test_the_row_of_landmarks_is_that_of_the_records(done, small_data):
    results, _ = done
    lfw = source.dataset_folder(small_data, "synthetic_faces/small_lfw")
    afew = source.dataset_folder(small_data, "synthetic_faces/small_afew_va")
    table = source.Records(lfw, "test").table()
    mean = shapes(source.Records(afew, "train").table()["landmarks"]).mean(axis=0)
    expected = protocol(
        shapes(table["landmarks"]) - mean, table, description.metadata(lfw)["pairs"]
    )
    told = results["trainings"]["landmarks"]["scores"]["pairs"]["landmarks"]
    np.testing.assert_allclose(told["blocks"], expected)


def test_errors_are_those_of_unseen_people(done, small_data):
    """From the exported network and the records, with a formula written anew."""
    results, runs = done
    job = pipeline(small_data, runs).job("landmarks")
    assert not set(job.slices.train.records().table()["subject"]) & set(
        job.slices.test.records().table()["subject"]
    )
    (folder,) = runs.glob("exports/landmarks/*")
    parts, _ = read_export(folder)
    squared, distances = [], []
    for record in (job.slices.test.records()[k] for k in range(len(job.slices.test.records()))):
        said = job.stage.vectors(parts, image_of(record))
        points = (np.asarray(said.coordinates[0], np.float64).reshape(68, 2) + 0.5) * 256 - 0.5
        true = record["landmarks"].astype(np.float64)
        eyes = np.hypot(*(true[45] - true[36]))
        squared.append(((points - true) ** 2).mean() / eyes**2)
        distances.append(np.hypot(*(points - true).T).mean() / eyes)
    scores = results["trainings"]["landmarks"]["scores"]
    assert scores["frames"] == len(squared)
    assert scores["mse"] == pytest.approx(np.mean(squared), rel=1e-4)
    assert scores["nme"] == pytest.approx(np.mean(distances), rel=1e-4)


def test_rows_are_of_the_export_and_of_a_network_that_learned_nothing(done, small_data):
    """Picture by picture, the untrained one from eight batches of the training's own stream."""
    results, runs = done
    job = pipeline(small_data, runs).job("landmarks")
    stream, key = job.stream(), named_key(jax.random.key(0), "untrained")
    views = [jnp.asarray(stream(step).image / np.float32(255)) for step in range(8)]
    (folder,) = runs.glob("exports/landmarks/*")
    networks = {"": read_export(folder)[0], "untrained_": job.stage.untrained(key, views)}
    lfw = source.dataset_folder(small_data, "synthetic_faces/small_lfw")
    records, listed = source.Records(lfw, "test"), description.metadata(lfw)["pairs"]
    frames = source.Records(source.dataset_folder(small_data, SEEN), "train").table()
    told = results["trainings"]["landmarks"]["scores"]["pairs"]
    for name, parts in networks.items():
        said = [job.stage.vectors(parts, image_of(records[k])) for k in range(len(records))]
        classes, pooled, coordinates = (
            np.concatenate(x).astype(np.float64) for x in zip(*said, strict=True)
        )
        found = {f"{name}classes": classes, f"{name}pooled": pooled}
        if not name:
            points = coordinates.reshape(-1, 68, 2) * 256
            found["regressed"] = shapes(points) - shapes(frames["landmarks"]).mean(axis=0)
        for row, vectors in found.items():
            expected = protocol(vectors, records.table(), listed)
            np.testing.assert_allclose(told[row]["blocks"], expected, err_msg=row)


def test_what_is_only_scored_decides_nothing_of_the_export(done):
    _, runs = done
    (path,) = runs.glob("exports/landmarks/*/export.json")
    told = json.loads(path.read_text())["fingerprint"]
    assert "small_lfw" not in json.dumps(told) and "small_afew_va" in json.dumps(told)
    assert told["takes"] == {} and told["seed"] == 0
    assert told["settings"]["stage"]["classes"] == 1000


def test_without_encoder_p_its_row_is_a_gap(done, small_data, tmp_path):
    results, runs = done
    again = run(
        small_data, tmp_path, *LANDMARKS,
        config="landmark_identity_demo", stages=("landmarks",), name="alone",
    )  # fmt: skip
    scores = again["trainings"]["landmarks"]["scores"]
    assert scores["pairs"]["encoder_p"] is None
    assert "training 'identity'" in scores["gaps"]["pairs.encoder_p"]
    first = results["trainings"]["landmarks"]["scores"]["pairs"]
    for name in ROWS - {"encoder_p"}:
        assert scores["pairs"][name] == first[name], name
    assert contents(tmp_path)["landmarks"] == contents(runs)["landmarks"]


def test_pairs_of_older_records_are_told_before_and_leave_one_gap(
    done, small_data, monkeypatch, caplog
):
    results, runs = done
    read = source.Records.table

    def older(self):
        found = read(self)
        return {k: v for k, v in found.items() if k != "landmarks" or "name" not in found}

    monkeypatch.setattr(source.Records, "table", older)
    with caplog.at_level("WARNING", "piapdf"):
        found = run(small_data, runs, *LANDMARKS, config="landmark_identity_demo", name="older")[
            "trainings"
        ]["landmarks"]["scores"]
    build = f"data_builders.prepare synthetic_faces/small_lfw --data_dir={small_data}"
    (told,) = [r.getMessage() for r in caplog.records if "without landmarks" in r.getMessage()]
    assert "a gap in pairs.landmarks" in told and build in told and told.endswith("[landmarks]")
    assert list(found["gaps"]) == ["pairs.landmarks"] and build in found["gaps"]["pairs.landmarks"]
    first = results["trainings"]["landmarks"]["scores"]["pairs"]
    assert found["pairs"] == {**first, "landmarks": None}


def test_the_table_has_every_vector_and_the_papers_numbers(done, tmp_path, capsys):
    results, _ = done
    scores = results["trainings"]["landmarks"]["scores"]
    blocks = {"verification": 0.625, "interval": [0.5, 0.75]}
    scores = scores | {"pairs": dict.fromkeys(ROWS) | {"classes": blocks}}
    trainings = results["trainings"] | {"landmarks": {"scores": scores}}
    report.print_results(results | {"trainings": trainings}, tmp_path)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "1000 numbers before the last layer 62.5 50.0 to 75.0 58.0" in lines
    assert "Encoder P - - 96.2" in lines and "landmarks themselves - - -" in lines
    # Drawn BP4D is read by nobody.
    sets = {"webface": "casia_webface", "lfw": "lfw_pairs", "afew_va": "afew_va"}
    told = "; ".join(f"synthetic_faces/small_{ours} for {paper}" for ours, paper in sets.items())
    assert f"stand-ins: {told}" in " ".join(lines)


def test_the_case_asks_for_no_action_units(done, small_data, tmp_path):
    """Of three data sets alone: the same trainings as beside drawn BP4D, which shows other people."""
    _, runs = done
    folder = tmp_path / "data" / "synthetic_faces"
    folder.mkdir(parents=True)
    for name in ("small_afew_va", "small_lfw", "small_webface"):
        (folder / name).symlink_to(small_data / "synthetic_faces" / name)
    alone = pipeline(tmp_path / "data", tmp_path / "runs", "data.dataset=bp4d")
    beside = pipeline(small_data, runs)
    for name in ("identity", "landmarks"):
        assert alone.digest(name) == beside.digest(name)


def test_one_actor_is_enough_for_landmarks_and_not_for_encoder_p(small_data, tmp_path, monkeypatch):
    made = pipeline(small_data, tmp_path)
    jobs, look = [made.job(name) for name in ("landmarks", "identity")], Lacks(lambda job: None)
    for job in jobs:
        look.check(job)
    monkeypatch.setattr(description.Description, "people_of", lambda self, split: {"Ann"})
    look.check(jobs[0])
    with pytest.raises(configs.ConfigError, match="shows only Ann: identity learns to tell"):
        look.check(jobs[1])


def test_a_resumed_training_is_the_straight_one(done, small_data, tmp_path, monkeypatch):
    save = Checkpoints.save

    def stop(self, step, state, meta):
        save(self, step, state, meta)
        if step == 2:
            raise KeyboardInterrupt

    def go():
        run(
            small_data, tmp_path, *LANDMARKS, "run.checkpoint_every=2",
            config="landmark_identity_demo", stages=("landmarks",),
        )  # fmt: skip

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Checkpoints, "save", stop)
        go()
    assert not contents(tmp_path)
    go()
    assert contents(tmp_path)["landmarks"] == contents(done[1])["landmarks"]


def test_all_methods_are_those_that_tell_action_units():
    methods = configs.load("demo", ["methods=all"]).methods
    assert "landmarks" not in methods and {"baseline", "ap", "lp", "disfa"} <= set(methods)


def test_configurations_are_the_papers_case():
    full, demo = (configs.load(name) for name in ("landmark_identity", "landmark_identity_demo"))
    assert full.model.encoder == "resnet50" and full.model.pretrained == "imagenet"
    assert full.model.encoder_size == 224 and full.data.image_size == 256
    assert (full.landmarks.dataset, full.landmarks.pairs) == ("afew_va", "lfw_pairs")
    assert full.methods == demo.methods == ("landmarks",)
    assert demo.model.encoder.startswith("resnet")
    assert demo.landmarks.dataset == "synthetic_faces/afew_va"
