"""Data sets that are a part of what was published: what a fold lacks is told before it trains, and it ends."""

import dataclasses
import json
import logging
import pathlib
import shutil
import types
from unittest import mock

import numpy as np
import pytest

from experiments import config as configs
from experiments import fold_parts, lacks, trainings
from experiments.pipeline import Pipeline
from piapdf_jax.data.description import Description

NANO = ["model=nano", "data.image_size=64", "eval.batch_size=16", "methods=baseline"]
NANO += ["baseline.steps=4", "baseline.batch_size=8", "disfa.dataset=synthetic_faces/nowhere"]
#: The order of label columns in a record, and the units that BP4D has labels of.
RECORD = [1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26]
UNITS = [1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24]
#: Some of each published part.
TREES = {
    "one": {"part1": ["F001"]},
    "thirds": {"part1": ["F001"], "part2": ["F003"], "part3": ["F004"]},
    "two": {"part2": ["F003"], "part3_uncoded": ["F004", "F006"]},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Trees of BP4D with tasks T1 and T2 alone, of one person a part or none."""
    import tensorflow_datasets as tfds

    from data_builders.synthetic_faces import synthetic_faces_dataset_builder as faces

    folder = tmp_path_factory.mktemp("partial")
    tfds.disable_progress_bar()
    whole = next(config for config in faces.Builder.BUILDER_CONFIGS if config.name == "bp4d")
    for tree, members in TREES.items():

        def splits(config, members=members):
            return {
                split: [
                    faces.SequenceSpec(config.rules, person, task, "uncoded" not in split, 0)
                    for person in people
                    for task in ("T1", "T2")
                ]
                for split, people in members.items()
            }

        with mock.patch.object(faces, "_splits", splits):
            config = dataclasses.replace(whole, name=tree, kind="bp4d")
            builder = faces.Builder(config=config, data_dir=str(folder))
            builder.workers = 1
            builder.download_and_prepare(file_format="array_record")
    return folder


def a_pipeline(data, runs, tree, *settings, stages=()):
    named = [f"{key}.dataset=synthetic_faces/{tree}" for key in ("data", "pi1")]
    loaded = configs.load("demo", [*NANO, *named, *settings])
    return Pipeline(loaded, data_dir=str(data), runs_dir=str(runs), name="p", stages=stages)


def told_by(pipeline, caplog, *names):
    """What is said before the first of some trainings begins."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="piapdf"):
        pipeline._check(list(names))
    return [record.getMessage() for record in caplog.records]


def labels(data, tree, split):
    """Labels [N, 12] of a split, straight from TFDS."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(data / "synthetic_faces" / tree / "1.0.0")
    columns = [RECORD.index(unit) for unit in UNITS]
    return np.stack([record["labels"][columns] for record in builder.as_data_source(split)])


def lacking(found, value):
    """Names of the units that never have a label, among those that have another."""
    names = [f"AU{au}" for au, column in zip(UNITS, found.T, strict=True) if value not in column]
    return ", ".join(names)


def test_what_a_fold_lacks_is_one_line_each_before_the_first_training(data, tmp_path, caplog):
    lines = told_by(a_pipeline(data, tmp_path, "thirds"), caplog, "baseline")
    # Parts 1 and 2 have 14 people each, part 3 has 13; T1 and T2 of F004 are tested.
    name, test = "synthetic_faces/thirds", labels(data, "thirds", "part3")
    assert lines[:2] == [
        f"{name}: fold 1 has 2 of the 28 people of part1, part2 to train on (F001, F003); it lacks"
        " F002, F005, F008, F009 and 22 more [baseline]",
        f"{name}: fold 1 has 1 of the 13 people of part3 to test on (F004); it lacks"
        " F006, F007, F012, F014 and 8 more [baseline]",
    ]
    absent, always = lacking(test, 1), lacking(test, 0)
    assert absent and always
    start = f"{name}[part3], to test on: a gap in"
    assert lines[2:4] == [
        f"{start} published.f1: {absent} never present [baseline]",
        f"{start} published.roc_auc: {absent} never present; {always} never absent [baseline]",
    ]
    assert lines[-1] == (
        f"{start} identity_probe: it is fitted on tasks T1, T2, T3, T4 of two people or more and"
        " scored on the other tasks; there are tasks T1, T2 of F004 [baseline]"
    )
    assert all("\n" not in line for line in lines) and len(lines) == len(set(lines))


def test_trainings_that_lack_the_same_share_a_line(data, tmp_path, caplog):
    pipeline = a_pipeline(data, tmp_path, "thirds", "methods=baseline,df", "df.batch_size=8")
    assert {line.rpartition(" ")[2] for line in told_by(pipeline, caplog, "baseline")} == {
        "[baseline]"
    }
    lines = told_by(pipeline, caplog, "baseline", "df")
    assert all(line.endswith(" [baseline, df]") for line in lines)


def test_units_that_are_never_seen_in_training_are_told(data, tmp_path, caplog):
    seen = labels(data, "one", "part1")
    never = lacking(seen, 1)
    assert never and not lacking(seen, 0)
    lines = told_by(a_pipeline(data, tmp_path, "one"), caplog, "baseline")
    assert f"synthetic_faces/one[part1], to train on: {never} never present [baseline]" in lines


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """A run of one person in two tasks, whom fold 1 trains on; it tests nobody."""
    runs, lines = tmp_path_factory.mktemp("runs"), []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("piapdf")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        results = a_pipeline(data, runs, "one").run()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return results, lines, runs


NOBODY = (
    "synthetic_faces/one: fold 1 has 0 of the 13 people of part3 to test on; it lacks F004, F006,"
    " F007, F012 and 9 more: no score can be made"
)


def test_a_tree_without_a_test_part_trains_and_its_scores_are_a_gap(alone):
    results, lines, runs = alone
    assert len(list(runs.glob("exports/baseline/*/export.json"))) == 1
    begins = next(k for k, line in enumerate(lines) if "training, digest" in line)
    assert f"{NOBODY} [baseline]" in lines[:begins]
    assert f"  gap in scores: {NOBODY}" in lines[begins:]

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (runs / "p" / "fold1_seed0" / "results.json").read_text()
    stored = json.loads(text, parse_constant=refuse)
    scores = stored["trainings"]["baseline"]["scores"]
    assert scores == {"aus": UNITS, "gaps": {"scores": NOBODY}}
    assert stored["rows"] == ["baseline"] and stored == json.loads(json.dumps(results))
    assert stored["trainings"]["baseline"]["data"] == ["synthetic_faces/one[part1]"]


def test_the_next_start_ends_too_and_trains_nothing(alone, data, capsys):
    _, _, runs = alone
    before = [path.stat().st_mtime_ns for path in runs.glob("exports/*/*/export.json")]
    again = a_pipeline(data, runs, "one").run()
    assert [path.stat().st_mtime_ns for path in runs.glob("exports/*/*/export.json")] == before
    assert again["trainings"]["baseline"]["scores"]["gaps"] == {"scores": NOBODY}
    told = capsys.readouterr().out
    assert f"- gap in scores of baseline: {NOBODY}" in told


def failing(error):
    def score(job, exported, tools):
        raise error

    return score


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (failing(ZeroDivisionError("no person")), "ZeroDivisionError: no person"),
        (failing(configs.ConfigError("no export\nof pi1")), "no export of pi1"),
        (lambda *_: 3, "TypeError: 'int' object is not iterable"),
    ],
)
def test_a_score_of_a_plugin_that_fails_is_a_gap(
    data, tmp_path, monkeypatch, caplog, score, reason
):
    training = dataclasses.replace(trainings.TRAININGS["baseline"], score=score)
    monkeypatch.setitem(trainings.TRAININGS, "baseline", training)
    pipeline = a_pipeline(data, tmp_path, "thirds")
    pipeline.catalog._exported["baseline"] = {}
    found = pipeline._score("baseline")
    assert found == {"aus": UNITS, "gaps": {"scores": reason}}
    assert any(record.exc_info for record in caplog.records) == ("Error: " in reason)


def test_numbers_of_a_plugin_that_are_not_finite_are_null(data, tmp_path, monkeypatch):
    made = {"loss": np.float32("nan"), "by_person": {"F004": np.array([1.0, np.inf])}}
    training = dataclasses.replace(trainings.TRAININGS["baseline"], score=lambda *_: made)
    monkeypatch.setitem(trainings.TRAININGS, "baseline", training)
    pipeline = a_pipeline(data, tmp_path, "thirds")
    pipeline.catalog._exported["baseline"] = {}
    assert pipeline._score("baseline") == {"loss": None, "by_person": {"F004": [1.0, None]}}


def test_a_picture_that_cannot_be_drawn_is_a_gap(data, tmp_path, monkeypatch):
    pipeline = a_pipeline(data, tmp_path, "one", "methods=pi2")
    assert pipeline._picture() == {"gaps": {"picture": NOBODY, "figure1": NOBODY}}
    pipeline = a_pipeline(data, tmp_path, "thirds", "methods=pi2")
    missing = pipeline._picture()["gaps"]["picture"]
    assert missing.startswith("training 'pi1' with digest") and "has no export" in missing


@pytest.mark.parametrize(
    ("tree", "settings", "told"),
    [
        ("one", ["fold=3"], "data set 'synthetic_faces/one': fold 3 has 0 of the 27 people of part2,"
         " part3 to train on; it lacks F003, F004, F005, F006 and 23 more; it has part1"),
        ("two", ["fold=2"], "data set 'synthetic_faces/two': fold 2 has 0 of the 27 people of part1,"
         " part3 to train on; it lacks F001, F002, F004, F006 and 23 more; it has part2,"
         " part3_uncoded"),
        # 16 labeled frames make one batch, and feedback takes two that are disjoint.
        ("one", ["methods=df", "df.batch_size=16"], "16 labeled frames are too few for a batch"),
        ("one", ["baseline.batch_size=7"], "batch size 7 is not divisible by 2 devices: use 6 or 8"),
        ("one", ["eval.validation_subjects=1"], "eval.validation_subjects=1 leaves none of the 1"
         " people of synthetic_faces/one[part1] to train on"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_trained_on_end_the_run_before_it_begins(
    data, tmp_path, tree, settings, told
):
    with pytest.raises(configs.ConfigError) as error:
        a_pipeline(data, tmp_path, tree, *settings).run()
    assert told in str(error.value) and "\n" not in str(error.value)
    # Not even a folder of the run, which would look like one that stopped.
    assert not (tmp_path / "p").exists()


def test_parts_that_are_missing_are_left_out_and_uncoded_frames_serve_alone(data, tmp_path):
    slices = a_pipeline(data, tmp_path, "thirds", "fold=2").job("baseline").slices
    assert slices.train.split == "part1+part3" and slices.test.split == "part2"
    slices = a_pipeline(data, tmp_path, "one", "fold=2").job("baseline").slices
    assert slices.train.split == "part1" and slices.test is None
    # PI stage 1 needs no label: the uncoded frames of part 3 are all that fold 2 has.
    slices = a_pipeline(data, tmp_path, "two", "fold=2").job("pi1").slices
    assert slices.train.split == "part3_uncoded" and slices.test.split == "part2"


@pytest.mark.parametrize("content", ["", "no table", "npz"])
def test_a_table_of_true_labels_that_cannot_be_read_is_told_before_any_training(
    data, tmp_path, content
):
    path = tmp_path / "truth.npz"
    if content == "npz":
        np.savez(path, subject=np.array(["F004"]))
    else:
        path.write_text(content)
    pipeline = a_pipeline(data, tmp_path, "thirds", f"eval.truth={path}")
    with pytest.raises(configs.ConfigError, match=f"{path} cannot be read as a table of true"):
        pipeline._check(["baseline"])


def test_a_table_of_true_labels_of_other_people_is_a_gap(data, tmp_path, caplog):
    from data_builders.synthetic_faces import truth_path

    path = truth_path(str(data), "one")
    lines = told_by(a_pipeline(data, tmp_path, "thirds", f"eval.truth={path}"), caplog, "baseline")
    every = ", ".join(f"AU{au}" for au in UNITS)
    assert (
        "synthetic_faces/thirds[part3], to test on: a gap in true.f1, true.roc_auc:"
        f" {every} no known label [baseline]" in lines
    )


NOTHING = {"labels": np.full(15, -1)}


def test_labels_that_are_all_unknown_teach_nothing(data, tmp_path):
    pipeline = a_pipeline(data, tmp_path, "one", "data.units=1,2")
    job = pipeline.job("baseline")
    unknown = mock.patch.object(type(job.slices.train), "records", lambda part: [NOTHING] * 3)
    with unknown, pytest.raises(configs.ConfigError) as told:
        lacks.Lacks(lambda job: None).check(job)
    assert str(told.value) == (
        "baseline has no known label of AU1, AU2 to train on: synthetic_faces/one[part1] holds none"
    )


def test_people_who_choose_a_state_need_labels(data, tmp_path):
    job = a_pipeline(data, tmp_path, "thirds", "eval.validation_subjects=1").job("baseline")
    read = mock.patch.object(
        type(job.slices.train),
        "records",
        lambda part: [NOTHING if part.include else {"labels": np.ones(15)}],
    )
    told = "to choose a state by: synthetic_faces/thirds"
    with read, pytest.raises(configs.ConfigError, match=told):
        lacks.Lacks(lambda job: None).check(job)


@pytest.mark.parametrize(("people", "refused"), [(["a"], True), (["a", "b"], False)])
def test_encoder_p_learns_to_tell_two_people_apart_at_least(people, refused):
    told = Description("faces", "", (), {"train": tuple(people), "test": ("c",)})
    stream = types.SimpleNamespace(frames=lambda step: {})
    job = types.SimpleNamespace(
        name="identity",
        section=types.SimpleNamespace(own_test=False, batch_size=8),
        training=types.SimpleNamespace(feed=types.SimpleNamespace(labels=False)),
        datasets=types.SimpleNamespace(describe=lambda name: told),
        slices=types.SimpleNamespace(
            train=mock.MagicMock(dataset="faces", split="train", exclude=()), validation=None
        ),
        stream=lambda: stream,
    )
    job.slices.train.__str__.return_value = "faces[train]"
    look = lacks.Lacks(lambda job: None)
    if not refused:
        look.check(job)
        return
    with pytest.raises(configs.ConfigError, match=r"^faces\[train\] shows only a: identity learns"):
        look.check(job)


def test_a_broken_shard_of_the_test_part_is_named_before_any_training(data, tmp_path):
    from piapdf_jax.data.source import CorruptShard

    copy = tmp_path / "data"
    shutil.copytree(data / "synthetic_faces" / "thirds", copy / "synthetic_faces" / "thirds")
    shutil.copytree(data / "synthetic_faces" / "truth", copy / "synthetic_faces" / "truth")
    (shard,) = pathlib.Path(copy / "synthetic_faces" / "thirds").glob("*/*part3.array_record*")
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(CorruptShard, match=shard.name):
        a_pipeline(copy, tmp_path / "runs", "thirds").run()
    assert not (tmp_path / "runs" / "exports").exists()


@pytest.mark.parametrize(
    ("fold", "test", "splits", "told"),
    [
        (1, True, "part3", "fold 1 has 1 of the 9 people of part3 to test on (SN003); it lacks SN004,"
         " SN005, SN007, SN008 and 4 more"),
        (1, False, "part1+part2", "fold 1 has 4 of the 18 people of part1, part2 to train on (SN001,"
         " SN006, SN009, SN013); it lacks SN002, SN010, SN011, SN012 and 10 more"),
        (3, True, "part1", "fold 3 has 2 of the 9 people of part1 to test on (SN001, SN009); it lacks"
         " SN002, SN010, SN016, SN026 and 3 more"),
    ],
)  # fmt: skip
def test_five_people_of_disfa(fold, test, splits, told):
    people = {"part1": ("SN001", "SN009"), "part2": ("SN006", "SN013"), "part3": ("SN003",)}
    sizes = dict.fromkeys(people, 10)
    described = Description("disfa", "", (1, 2), people)
    part = fold_parts.part_of_fold(described, sizes, fold, test=test)
    assert part.expression == splits and str(part) == told and not part.whole
    # A split that is there without a record is not there.
    (empty, *left) = splits.split("+")
    part = fold_parts.part_of_fold(described, sizes | {empty: 0}, fold, test=test)
    assert part.expression == ("+".join(left) or None)


def test_people_whom_nobody_has_dealt_to_parts_lack_nobody():
    told = Description("mine", "", (1,), {"train": ("Ann",), "test": ("Bob",)})
    for test in (True, False):
        part = fold_parts.part_of_fold(told, {"train": 3, "test": 2}, 1, test=test)
        assert part.whole and part.expression == ("test" if test else "train")
    part = fold_parts.part_of_fold(told, {"train": 3}, 1, test=True)
    assert part.expression is None and str(part) == "fold 1 has no split test to test on"
    own = Description("mine", "", (1,), {"part1": ("Ann",), "part2": ("Bob",)})
    part = fold_parts.part_of_fold(own, {"part1": 3, "part2": 3}, 2, test=False)
    assert (part.expression, str(part)) == ("part1", "fold 2 has no split part3 to train on")


def test_parts_that_a_builder_dealt_are_those_of_its_people_whatever_they_are_called():
    """F001 and F003 are of part 1 and 2 of BP4D; here the builder says otherwise, and Zoe has no frame."""
    people = {"part1": ("F003",), "part2": ("F004",), "part3": ("F001",)}
    dealt = {1: ("F003", "Zoe"), 2: ("F004",), 3: ("F001",)}
    told = Description("own", "", (1,), people, dealt)
    test, train = (
        fold_parts.part_of_fold(told, dict.fromkeys(people, 4), 1, test=test)
        for test in (True, False)
    )
    assert test.whole and test.expression == "part3" and test.people == ("F001",)
    assert not train.whole and str(train) == (
        "fold 1 has 2 of the 3 people of part1, part2 to train on (F003, F004); it lacks Zoe"
    )
