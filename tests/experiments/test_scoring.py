"""Scores of records whose pictures show their labels: every right value is read off the records themselves."""

import json
import pathlib
import types

import cv2
import jax.numpy as jnp
import numpy as np

from experiments import pair_scores, scoring
from experiments.scoring import Tools
from piapdf_jax.action_units import BP4D_AUS, RECORD_AUS, record_columns
from piapdf_jax.data.frames import ReaderConfig
from piapdf_jax.stages.base import Scores

SIDE = 32


class Shown:
    """Records whose image has a bright patch for each unit that is present."""

    def __init__(self, count=40):
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, 2, (count, len(RECORD_AUS))).astype(np.int8)
        self.labels[:, [RECORD_AUS.index(au) for au in (9, 25, 26)]] = -1

    def __len__(self):
        return len(self.labels)

    def shard_of(self, row):
        return "memory"

    def __getitem__(self, row):
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        for k, value in enumerate(self.labels[row]):
            image[8 * (k // 4) : 8 * (k // 4) + 8, 8 * (k % 4) : 8 * (k % 4) + 8] = 255 * (
                value == 1
            )
        png = cv2.imencode(".png", image)[1].tobytes()
        return {
            "image": png,
            "labels": self.labels[row],
            "subject": b"F004",
            "task": b"T1",
            "frame": row,
        }

    def table(self):
        n = len(self)
        return {
            "labels": self.labels,
            "subject": np.array(["F004"] * n),
            "task": np.array(["T1"] * n),
            "frame": np.arange(n),
        }


def a_job(predict, test):
    slices = types.SimpleNamespace(test=test)
    return types.SimpleNamespace(
        name="x", stage=types.SimpleNamespace(predict=predict), slices=slices
    )


def seen(aus):
    columns = record_columns(aus)

    def predict(exported, images):
        patches = jnp.stack([images[:, 8 * (k // 4) + 4, 8 * (k % 4) + 4, 0] for k in columns], 1)
        return Scores(patches, patches, None)

    return predict


def test_scores_of_a_predictor_that_sees_the_labels_are_100_for_each_unit():
    aus, records = BP4D_AUS, Shown()
    job = a_job(seen(aus), types.SimpleNamespace(records=lambda: records))
    reading = ReaderConfig(image_size=SIDE, batch_size=16, aus=aus)
    found = scoring.action_units(job, {"encoder": ({}, {}), "head": ({}, {})}, Tools(reading))
    assert found["published"]["f1"] == [100.0] * len(aus)
    rate = (records.labels[:, record_columns(aus)] == 1).mean(0)
    np.testing.assert_allclose(
        found["published"]["always_yes"], 100 * 2 * rate / (1 + rate), atol=0.005
    )


def test_true_labels_are_joined_by_person_task_frame_and_unit(tmp_path):
    truth = {
        "subject": np.array(["F1", "F1", "F2"]),
        "task": np.array(["T1", "T2", "T1"]),
        "frame": np.array([7, 7, 7]),
        "label_aus": np.array([4, 2, 1]),
        "clean": np.array([[0, 1, 0], [1, 0, 1], [1, 1, 0]], np.int8),
    }
    np.savez(tmp_path / "t.npz", **truth)
    table = {
        "subject": np.array(["F1", "F2", "F1", "F3"]),
        "task": np.array(["T2", "T1", "T1", "T1"]),
        "frame": np.array([7, 7, 7, 7]),
    }
    found = scoring.true_labels(tmp_path / "t.npz", table, (1, 2, 4, 6))
    assert found.tolist() == [[1, 0, 1, -1], [0, 1, 1, -1], [0, 1, 0, -1], [-1] * 4]


def test_verification_of_vectors_that_tell_people_apart_is_whole(tmp_path):
    people = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]

    class Portraits(Shown):
        def __init__(self):
            self.rows = [(k, n) for n in (1, 2) for k in range(3)]

        def __len__(self):
            return 6

        def __getitem__(self, row):
            k, n = self.rows[row]
            image = np.full((SIDE, SIDE, 3), people[k], np.uint8)
            png = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
            return {"image": png, "name": f"p{k}".encode(), "identity": k, "number": n}

        def table(self):
            return {
                "name": np.array([f"p{k}" for k, _ in self.rows]),
                "number": np.array([n for _, n in self.rows]),
            }

    pairs = [[f"p{k}", 1, f"p{k}", 2, 1, b] for b in range(2) for k in range(3)]
    pairs += [[f"p{k}", 1, f"p{(k + 1) % 3}", 2, 0, b] for b in range(2) for k in range(3)]
    (tmp_path / "metadata.json").write_text(json.dumps({"pairs": pairs}))
    predict = lambda exported, images: Scores(None, images.mean((1, 2)) + 0.01, None)  # noqa: E731
    test = types.SimpleNamespace(records=Portraits, folder=pathlib.Path(tmp_path))
    job = a_job(predict, test)
    found = pair_scores.verification(job, {}, Tools(ReaderConfig(image_size=SIDE, batch_size=4)))
    blocks = {"interval": [1.0, 1.0], "blocks": [1.0] * 2}
    assert found == {"verification": 1.0, "deviation": 0.0, "pairs": 12, **blocks}
