"""The scores of a whole run in ``results.json``, recomputed with scikit-learn from its export."""

import importlib
import json

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import config as configs
from experiments.pipeline import Pipeline
from piapdf_jax.person_sums import auc_pairs
from piapdf_jax.runtime.exports import read_export

pytestmark = pytest.mark.parity

SIDE = 64
UNITS = [1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24]
#: Where these units stand among the label columns of a record.
COLUMNS = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
#: Probabilities of one image may differ by this between batches of other sizes.
CLOSE = 1e-5


@pytest.fixture(name="sklearn", scope="module")
def fixture_sklearn():
    # Not at the top: tests that are not of parity are collected where there is no scikit-learn.
    return importlib.import_module("sklearn.metrics")


def test_roc_auc_of_people_drawn_several_times_is_that_of_weighted_frames(sklearn):
    rng = np.random.default_rng(0)
    labels, subject = rng.integers(-1, 2, (300, 2)), rng.integers(0, 7, 300)
    scores = np.round(rng.random((300, 2)) + 0.4 * (labels == 1), 1)
    fold = auc_pairs(scores, labels, subject)
    drawn = rng.multinomial(7, np.full(7, 1 / 7), 20)
    for often, told in zip(drawn, fold.scores(drawn)[0], strict=True):
        known = labels >= 0
        wanted = [
            sklearn.roc_auc_score(
                labels[rows, c], scores[rows, c], sample_weight=often[subject[rows]]
            )
            for c, rows in enumerate(known.T)
        ]
        np.testing.assert_allclose(told, wanted, rtol=1e-12)


@pytest.fixture(scope="module")
def ran(small_data, tmp_path_factory):
    """A run of the launcher's pipeline, and what its files say."""
    runs = tmp_path_factory.mktemp("runs")
    settings = ["model=nano", f"data.image_size={SIDE}", "methods=baseline", "run.log_every=10"]
    settings += ["data.dataset=synthetic_faces/small_bp4d", "baseline.batch_size=16"]
    settings += ["baseline.steps=30", "baseline.learning_rate=0.02", "eval.batch_size=40"]
    loaded = configs.load("demo", settings)
    pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(runs), name="sk")
    pipeline.run()
    results = json.loads((runs / "sk" / "fold1_seed0" / "results.json").read_text())
    (folder,) = (runs / "exports" / "baseline").iterdir()
    return results["trainings"]["baseline"]["scores"], pipeline.job("baseline").stage, folder


@pytest.fixture(scope="module")
def frames(small_data):
    """Images, published and true labels of the people whom fold 1 tests, straight from files."""
    import tensorflow_datasets as tfds

    (folder,) = (small_data / "synthetic_faces" / "small_bp4d").glob("*.*.*")
    builder = tfds.builder_from_directory(folder)
    encoded = {"image": tfds.decode.SkipDecoding()}
    with np.load(
        small_data / "synthetic_faces" / "truth" / "small_bp4d" / "1.0.0" / "truth.npz"
    ) as t:
        names = zip(t["subject"].tolist(), t["task"].tolist(), t["frame"].tolist(), strict=True)
        clean = dict(zip(names, t["clean"], strict=True))
        assert t["label_aus"].tolist() == UNITS
    images, published, true, people = [], [], [], set()
    for record in builder.as_data_source("part3", decoders=encoded):
        image = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)
        image = cv2.resize(image[..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        images.append(image.astype(np.float32) / np.float32(255))
        published.append(np.asarray(record["labels"])[COLUMNS])
        place = (record["subject"].decode(), record["task"].decode(), int(record["frame"]))
        true.append(clean[place])
        people.add(place[0])
    assert people == {"F004", "F006"} and len(images) == 2 * 8 * 8
    return np.stack(images), {"published": np.stack(published), "true": np.stack(true)}


@pytest.fixture(scope="module")
def probs(ran, frames):
    """What the export says of those images, in batches of other sizes than the run's."""
    _, stage, folder = ran
    exported, _ = read_export(folder)
    parts = [stage.predict(exported, jnp.asarray(part)).au_probs for part in np.split(frames[0], 4)]
    found = np.concatenate([np.asarray(part, np.float64) for part in parts])
    assert found.std(axis=0).min() > 100 * CLOSE
    return found


def bounds(score, probs, labels):
    """The lowest and highest score of one unit, as its probabilities may round; nan for none."""
    known = labels >= 0
    present = labels[known] == 1
    right = np.where(present, CLOSE, -CLOSE)
    return tuple(score(present, probs[known] + change) for change in (-right, right))


@pytest.mark.parametrize("against", ["published", "true"])
def test_f1_of_a_run_is_that_of_scikit_learn(ran, frames, probs, sklearn, against):
    scores, labels = ran[0], frames[1][against]
    assert scores["aus"] == UNITS and scores["frames"] == len(labels)
    told = scores[against]

    def f1(present, said):
        return 100 * sklearn.f1_score(present, said >= 0.5, zero_division=0)

    units = range(len(UNITS))
    low, high = np.transpose([bounds(f1, probs[:, k], labels[:, k]) for k in units])
    always = [
        f1(labels[labels[:, k] >= 0, k] == 1, np.ones((labels[:, k] >= 0).sum())) for k in units
    ]
    # A decision or two may fall either way; where none may, both bounds are one number.
    assert (high - low).max() < 2
    # Those of a unit are written with two decimals, means in full.
    assert (low - 0.005 - 1e-6 <= told["f1"]).all() and (told["f1"] <= high + 0.005 + 1e-6).all()
    assert low.mean() - 1e-6 <= told["mean_f1"] <= high.mean() + 1e-6
    np.testing.assert_allclose(told["always_yes"], always, rtol=0, atol=0.005 + 1e-6)
    assert told["mean_always_yes"] == pytest.approx(np.mean(always), abs=1e-6)
    assert told["unknown_cells"] == (labels == -1).sum()
    # Numbers that are all alike would say little.
    assert len({round(value) for value in low}) > 4
    assert np.ptp(always) > 10


@pytest.mark.parametrize("against", ["published", "true"])
def test_area_under_the_roc_curve_of_a_run_is_that_of_scikit_learn(
    ran, frames, probs, sklearn, against
):
    def area(present, said):
        mixed = present.any() and not present.all()
        return sklearn.roc_auc_score(present, said) if mixed else np.nan

    labels = frames[1][against]
    for unit, told in enumerate(ran[0][against]["roc_auc"]):
        low, high = bounds(area, probs[:, unit], labels[:, unit])
        if np.isnan(low):
            assert told is None
            continue
        assert high - low < 0.02
        # It is written with four decimals.
        assert low - 5.1e-5 <= told <= high + 5.1e-5


def test_published_and_true_labels_give_other_scores(ran, frames):
    labels = frames[1]
    assert (labels["published"] == -1).any() and not (labels["true"] == -1).any()
    assert (labels["published"] != labels["true"]).mean() > 0.02
    assert ran[0]["published"]["mean_f1"] != ran[0]["true"]["mean_f1"]
