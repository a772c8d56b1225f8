"""What a training reads and what decides it: people of the fold, order of the seed, digest."""

import types

import pytest

from experiments import config as configs
from experiments.pipeline import Pipeline
from piapdf_jax.data import frames, prefetch
from piapdf_jax.data.augment import AugmentConfig
from piapdf_jax.data.frames import ReaderConfig
from piapdf_jax.folds import BP4D_PARTS

NANO = [
    "model=nano",
    "data.image_size=64",
    "data.dataset=synthetic_faces/small_bp4d",
    "pi1.dataset=synthetic_faces/small_bp4d",
    "identity.dataset=synthetic_faces/small_webface",
    "identity.pairs=synthetic_faces/small_lfw",
]


def test_draws_of_seeds_streams_steps_and_slots_differ():
    reading = ReaderConfig(64, 4, seed=5, augment=AugmentConfig())
    other = ReaderConfig(64, 4, seed=6, augment=AugmentConfig())
    draws = {
        frames._generator(r, name, step, slot).random()  # type: ignore[union-attr]
        for r in (reading, other)
        for name in (0, 1)
        for step in (0, 1)
        for slot in (0, 1)
    }
    assert len(draws) == 16


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_a_fold_reads_the_people_of_its_parts_and_scores_the_others(small_data, tmp_path, fold):
    loaded = configs.load(
        "demo", [*NANO, f"fold={fold}", "methods=df", "df.batch_size=8", "pi1.batch_size=8"]
    )
    pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(tmp_path), name="f")
    held_out = set(BP4D_PARTS[4 - fold])
    for name in ("pi1", "df"):
        job = pipeline.job(name)
        scored = set(job.slices.test.records().table()["subject"].tolist())
        assert scored and scored <= held_out
        stream = job.stream()
        read = {
            frame.split("/")[0]
            for step in range(40)
            for part in stream.frames(step).values()
            for frame in part
        }
        assert read and not read & held_out


def test_a_digest_sees_all_that_decides_a_training(small_data, tmp_path):
    def digest(*settings, training="baseline"):
        loaded = configs.load("demo", [*NANO, "methods=piap", "baseline.batch_size=8", *settings])
        return Pipeline(loaded, data_dir=str(small_data), runs_dir=str(tmp_path), name="d").digest(
            training
        )

    before = digest()
    assert digest() == before
    for setting in (
        "data.augment.flip=0.25",
        "data.image_size=32",
        "seed=1",
        "fold=2",
        "baseline.steps=3",
        "model.dropout=0.3",
    ):
        assert digest(setting) != before, setting
    # What a training takes decides it too.
    assert digest("pi2.steps=7", training="piap") != digest(training="piap")


def test_training_reads_augmented_frames_in_the_order_of_its_seed_and_scoring_plain_ones(
    small_data, tmp_path
):
    loaded = configs.load("demo", [*NANO, "methods=baseline", "seed=9"])
    pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(tmp_path), name="r")
    job = pipeline.job("baseline")
    trained, scored = (job.reading(training=t) for t in (True, False))
    assert trained.augment == loaded.data.augment and scored.augment is None and trained.seed == 9


def test_the_launcher_asks_how_many_processes_read_and_tells_why_they_are_few(
    small_data, tmp_path, monkeypatch, caplog
):
    def workers(setting):
        loaded = configs.load("demo", [*NANO, "methods=df", "df.batch_size=8", setting])
        pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(tmp_path), name="w")
        return pipeline.fitting._workers(pipeline.job("df").stream())

    free = 2**20 * 4
    monkeypatch.setattr(prefetch, "_cores", lambda: 16)
    monkeypatch.setattr(
        prefetch.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=free)
    )
    with caplog.at_level("WARNING", logger="piapdf"):
        # Labeled and unlabeled: 2 x 8 images of 64 x 64 x 3 bytes, 12 labels and a row each.
        size = 2 * 8 * (64 * 64 * 3 + 4 * 12 + 4 + 4)
        assert workers("data.workers=auto") == free // (7 * size) == 3
        (told,) = [record.getMessage() for record in caplog.records]
        assert told.startswith("data.workers=auto: 3 instead of 8 processes read")
        caplog.clear()
        assert (workers("data.workers=5"), workers("data.workers=0")) == (5, 0)
        assert not caplog.records


@pytest.mark.parametrize(
    ("methods", "words"),
    [("lp", "no method in methods=lp trains it$"), ("ap", "add it to --stages$")],
)
def test_an_export_that_is_not_there_says_what_would_make_it(small_data, tmp_path, methods, words):
    loaded = configs.load("demo", [*NANO, f"methods={methods}"])
    pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(tmp_path), name="f")
    with pytest.raises(configs.ConfigError, match=f"training 'identity' .*{words}"):
        pipeline.exported("identity")
