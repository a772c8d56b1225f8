"""The F1 that chooses a state is that of the people kept apart, and of nobody else."""

import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import config as configs
from experiments import scoring
from experiments.pipeline import Pipeline
from piapdf_jax.runtime import mesh
from piapdf_jax.stages.base import Scores

SIDE = 64
UNITS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
#: Where these units stand among the label columns of a record.
COLUMNS = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]
#: The pixel that says whether a unit is present, where its red is bright.
PIXELS = [(10 + 4 * k, 20 + (7 * k) % 24) for k in range(len(UNITS))]
#: The first two people of each published part, as the small data holds them.
PARTS = {1: ("F001", "F002"), 2: ("F003", "F005"), 3: ("F004", "F006")}


class PixelStage:
    """Says of every unit what one pixel shows, so that another program can say the same."""

    def predict(self, exported, images):
        rows, columns = np.array(PIXELS).T
        probs = images[:, rows, columns, 0] + exported["shift"]
        return Scores(probs, probs, None)


def job_with(data, runs, *settings):
    fixed = ["model=nano", f"data.image_size={SIDE}", "methods=baseline", "eval.batch_size=48"]
    fixed += ["data.dataset=synthetic_faces/small_bp4d", "eval.validation_subjects=1"]
    loaded = configs.load("demo", [*fixed, *settings])
    pipeline = Pipeline(loaded, data_dir=str(data), runs_dir=str(runs), name="v")
    job = pipeline.job("baseline")
    job.__dict__["stage"] = PixelStage()
    return job


@pytest.fixture(scope="module")
def by_person(small_data):
    """Pixels [N, 12] in [0, 1] and labels of every person of the small BP4D, straight from TFDS."""
    import tensorflow_datasets as tfds

    folder = small_data / "synthetic_faces" / "small_bp4d"
    (folder,) = folder.glob("*.*.*")
    source = tfds.builder_from_directory(folder).as_data_source()
    found = {}
    for part in PARTS:
        for record in source[f"part{part}"]:
            image = cv2.resize(record["image"], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            seen = [image[row, column, 0] / 255 for row, column in PIXELS]
            person = found.setdefault(record["subject"].decode(), ([], []))
            person[0].append(seen)
            person[1].append(np.asarray(record["labels"])[COLUMNS])
    return {name: (np.array(seen), np.array(labels)) for name, (seen, labels) in found.items()}


def percent(by_person, names, shift):
    """Mean F1 in % of some people together, by counting."""
    f1 = []
    for unit in range(len(UNITS)):
        said = np.concatenate([by_person[name][0][:, unit] + shift >= 0.5 for name in names])
        true = np.concatenate([by_person[name][1][:, unit] for name in names])
        said, true = said[true >= 0], true[true >= 0]
        hits = sum(a and b == 1 for a, b in zip(said, true, strict=True))
        f1.append(200 * hits / (said.sum() + (true == 1).sum()))
    return sum(f1) / len(f1)


@pytest.mark.parametrize("fold, seed", [(1, 0), (2, 0), (3, 1), (1, 2)])
def test_validation_f1_is_that_of_the_people_kept_apart(
    small_data, tmp_path, by_person, fold, seed
):
    job = job_with(small_data, tmp_path, f"fold={fold}", f"seed={seed}")
    (kept,) = set(job.slices.validation.records().table()["subject"])
    parts = [part for part in PARTS if part != 4 - fold]
    to_train = [name for part in parts for name in PARTS[part]]
    assert kept in to_train
    devices = mesh.data_mesh()
    reading = job.reading(training=False, devices=devices.size)
    for tools in (scoring.Tools(reading), scoring.Tools(reading, devices)):
        score = scoring.mean_f1(job, tools)
        for shift in (0.0, 0.101):
            expected = percent(by_person, [kept], shift)
            found = score({"shift": jnp.float32(shift)})
            assert found == pytest.approx(expected, abs=1e-9)
            others = [name for name in to_train if name != kept]
            groups = [*([name] for name in by_person if name != kept), others, to_train]
            groups += [list(PARTS[4 - fold]), list(by_person)]
            assert all(abs(percent(by_person, group, shift) - found) > 0.05 for group in groups)


def test_several_people_kept_apart_are_scored_as_one_pool(small_data, tmp_path, by_person):
    job = job_with(small_data, tmp_path, "eval.validation_subjects=3", "eval.validate_every=7")
    kept = set(job.slices.validation.records().table()["subject"])
    assert len(kept) == 3
    score = scoring.mean_f1(job, scoring.Tools(job.reading(training=False)))
    validation = job.validation(score)
    assert validation.every == 7
    found = validation.score({"shift": jnp.float32(0)})
    assert found == pytest.approx(percent(by_person, sorted(kept), 0.0), abs=1e-9)
    single = [percent(by_person, [name], 0.0) for name in sorted(kept)]
    assert abs(np.mean(single) - found) > 1e-3


def test_without_people_kept_apart_there_is_no_choice(small_data, tmp_path):
    job = job_with(small_data, tmp_path, "eval.validation_subjects=0")
    assert job.slices.validation is None and job.validation(None) is None


def test_the_choice_is_made_on_published_labels_alone(small_data, tmp_path, by_person):
    # A table of true labels, which nobody has for real people, has no say in it.
    job = job_with(small_data, tmp_path)
    (kept,) = set(job.slices.validation.records().table()["subject"])
    truth = small_data / "synthetic_faces" / "truth" / "small_bp4d" / "1.0.0" / "truth.npz"
    with np.load(truth) as table:
        rows = table["subject"] == kept
        clean = table["clean"][rows]
    assert not np.array_equal(clean, by_person[kept][1])
    tools = scoring.Tools(job.reading(training=False), truth=truth)
    found = scoring.mean_f1(job, tools)({"shift": jnp.float32(0)})
    assert found == pytest.approx(percent(by_person, [kept], 0.0), abs=1e-9)
