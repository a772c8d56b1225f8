"""Whose frames a training reads: nobody's who is tested or kept apart, in whichever data set.

People are told by the published parts, and by what the records themselves say; nothing trains here.
"""

import ast
import dataclasses
import functools
import json
import pathlib
import shutil
from unittest import mock

import pytest

from experiments import config as configs
from experiments import datasets, stages, trainings
from experiments.pipeline import Pipeline
from experiments.sections import TrainSection
from piapdf_jax.folds import BP4D_PARTS, DISFA_PARTS

SETTINGS = [
    "model=nano",
    "data.image_size=64",
    "disfa.dataset=synthetic_faces/small_disfa",
    "identity.dataset=synthetic_faces/small_webface",
    "identity.pairs=synthetic_faces/small_lfw",
    "df.disfa_fraction=0.25",
]
#: The people of the small data sets: the first ones of each published part.
SMALL = {
    "bp4d": {part: set(names[:2]) for part, names in BP4D_PARTS.items()},
    "disfa": {part: set(names[:1]) for part, names in DISFA_PARTS.items()},
}
ON_THE_AU_DATA = ("pi2", "baseline", "pi3", "ap", "lp", "piap", "longer", "df", "piapdf")


@pytest.fixture(scope="module")
def data(small_data, tmp_path_factory):
    """The small data sets, and more that show the people of the small BP4D under other names."""
    import tensorflow_datasets as tfds

    from data_builders.synthetic_faces import synthetic_faces_dataset_builder as faces

    folder = tmp_path_factory.mktemp("people")
    (folder / "synthetic_faces").mkdir()
    for path in (small_data / "synthetic_faces").glob("small_*"):
        (folder / "synthetic_faces" / path.name).symlink_to(path)
    tfds.disable_progress_bar()

    def build(config):
        builder = faces.Builder(config=config, data_dir=str(folder))
        builder.workers = 1
        builder.download_and_prepare(file_format="array_record")

    small = next(config for config in faces.Builder.BUILDER_CONFIGS if config.name == "bp4d")
    small = dataclasses.replace(small, kind="bp4d", people=2)
    build(dataclasses.replace(small, name="small_bp4d_clean", wrong_labels=0.0))
    build(dataclasses.replace(small, name="small_bp4d_more", people=1, new_people=True))

    def splits(config):
        """One person of each published part to train on, and another to test."""
        jobs = {"train": ("F001", "F003", "F004"), "test": ("F005",)}
        return {
            split: [
                faces.SequenceSpec(config.rules, name, "T1", True, k)
                for k, name in enumerate(names)
            ]
            for split, names in jobs.items()
        }

    with mock.patch.object(faces, "_splits", splits):
        build(dataclasses.replace(small, name="small_mixed"))
    retold(folder, "small_mixed", "small_other", kind="other")
    retold(folder, "small_bp4d", "small_bp4d_other", kind="other")
    retold(folder, "small_lfw", "small_pairs", kind="webface", people={"test": ["0000017"]})
    told = {"train": ["F004", "F006"], "test": ["F005"]}
    retold(folder, "small_mixed", "small_held_out", people=told)
    return folder


def retold(folder, name, copy, **changes):
    """Copies a data set, and changes what the copy says of itself."""
    where = folder / "synthetic_faces" / copy
    shutil.copytree(folder / "synthetic_faces" / name, where)
    path = next(where.glob("*/metadata.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def a_pipeline(data, *settings):
    loaded = configs.load("demo", [*SETTINGS, *settings])
    return Pipeline(loaded, data_dir=str(data), runs_dir=str(data / "runs"), name="p")


@functools.cache
def people(part):
    """Who is in the records of a slice."""
    table = part.records().table()
    return frozenset(table["subject" if "subject" in table else "name"].tolist())


def kind_of(part):
    return next(kind for kind in ("bp4d", "disfa", "afew", "web", "lfw") if kind in part.dataset)


def to_train(kind, fold):
    """The small data sets' people of the two parts that a fold does not test."""
    return set().union(*(names for part, names in SMALL[kind].items() if part != 4 - fold))


@pytest.mark.parametrize("kept", [0, 1])
@pytest.mark.parametrize("fold", [1, 2, 3])
@pytest.mark.parametrize("maps", ["small_afew_va", "the same", "small_bp4d_clean"])
@pytest.mark.parametrize("kind", ["bp4d", "disfa"])
def test_no_training_reads_a_frame_of_somebody_tested_or_kept_apart(data, kind, maps, fold, kept):
    maps = f"small_{kind}" if maps == "the same" else maps
    pipeline = a_pipeline(
        data,
        f"fold={fold}",
        f"data.dataset=synthetic_faces/small_{kind}",
        f"pi1.dataset=synthetic_faces/{maps}",
        f"eval.validation_subjects={kept}",
    )
    slices = {
        name: pipeline.job(name).slices for name in ("pi1", "identity", "disfa", *ON_THE_AU_DATA)
    }
    held = kept_apart(slices, kept)
    assert [len(names) for names in held.values()] == [kept * (kind == "bp4d"), kept]
    for names, parts in zip(held.values(), SMALL, strict=True):
        assert names <= to_train(parts, fold)

    barred = {("bp4d", name) for name in {*BP4D_PARTS[4 - fold], *held["bp4d"]}}
    barred |= {("disfa", name) for name in {*DISFA_PARTS[4 - fold], *held["disfa"]}}
    for name, found in slices.items():
        for part in (found.train, *(pool for pool, _ in found.pools)):
            read = {(kind_of(part), person) for person in people(part)}
            assert read and not read & barred, (name, part)

    left = {parts: to_train(parts, fold) - names for parts, names in held.items()}
    check_slices(slices, kind, maps, fold, left)


def kept_apart(slices, kept):
    """Validation subjects by kind of data; the trainings without scores of units keep nobody apart."""
    held = {"bp4d": set(), "disfa": set()}
    for name, found in slices.items():
        if not kept or name in ("pi1", "identity"):
            assert found.validation is None
            continue
        (person,) = people(found.validation)
        held[kind_of(found.validation)].add(person)
    return held


def check_slices(slices, kind, maps, fold, left):
    """Who is read by each training, and who tests it."""
    for name in ON_THE_AU_DATA:
        assert people(slices[name].train) == left[kind], name
        assert people(slices[name].test) == SMALL[kind][4 - fold], name
    assert people(slices["disfa"].train) == left["disfa"]
    assert people(slices["disfa"].test) == SMALL["disfa"][4 - fold]
    assert len(people(slices["identity"].train)) == 4
    assert len(people(slices["identity"].test)) == 12
    if maps == "small_afew_va":
        # 48 actors, of whom three quarters are there to train on; four of either are in the data.
        assert people(slices["pi1"].train) == {f"actor{k:03d}" for k in range(4)}
        assert people(slices["pi1"].test) == {f"actor{k:03d}" for k in range(36, 40)}
    else:
        assert people(slices["pi1"].train) == left[kind_of(slices["pi1"].train)]
        assert people(slices["pi1"].test) == SMALL[kind_of(slices["pi1"].test)][4 - fold]
    for name in ("df", "piapdf"):
        pools = [(kind_of(pool), people(pool), share) for pool, share in slices[name].pools]
        # DISFA's frames come beside BP4D's uncoded ones; the small DISFA has no uncoded frames.
        expected = [("disfa", left["disfa"], 0.25), ("bp4d", left["bp4d"], 1.0)]
        assert pools == (expected if kind == "bp4d" else []), name


@pytest.mark.parametrize("fold, tested", [(1, "F004"), (2, "F003"), (3, "F001")])
def test_somebody_tested_goes_from_the_train_split_of_another_data_set(data, fold, tested):
    pipeline = a_pipeline(
        data,
        f"fold={fold}",
        "data.dataset=synthetic_faces/small_bp4d",
        "pi1.dataset=synthetic_faces/small_mixed",
    )
    found = pipeline.job("pi1").slices
    assert people(found.train) == {"F001", "F003", "F004"} - {tested}
    assert people(found.test) == {"F005"}
    # F005 tests the generator of maps, and so trains nothing else.
    assert people(pipeline.job("baseline").slices.train) == to_train("bp4d", fold) - {"F005"}


@pytest.mark.parametrize("seed", range(4))
def test_somebody_kept_apart_goes_from_every_other_data_set_of_those_people(data, seed):
    pipeline = a_pipeline(
        data,
        f"seed={seed}",
        "eval.validation_subjects=1",
        "data.dataset=synthetic_faces/small_bp4d",
        "pi1.dataset=synthetic_faces/small_bp4d_clean",
    )
    held = people(pipeline.job("baseline").slices.validation)
    assert people(pipeline.job("pi1").slices.train) == to_train("bp4d", 1) - held


def test_somebody_tested_is_not_kept_apart(data):
    settings = [
        "data.dataset=synthetic_faces/small_bp4d",
        "pi1.dataset=synthetic_faces/small_mixed",
    ]
    kept = set()
    for seed in range(12):
        pipeline = a_pipeline(data, *settings, "eval.validation_subjects=1", f"seed={seed}")
        slices = pipeline.job("baseline").slices
        (person,) = people(slices.validation)
        assert people(slices.train) == to_train("bp4d", 1) - {"F005", person}
        kept.add(person)
    assert kept == to_train("bp4d", 1) - {"F005"}
    pipeline = a_pipeline(data, *settings, "eval.validation_subjects=3")
    with pytest.raises(configs.ConfigError, match="leaves none of the 3 people"):
        _ = pipeline.job("baseline").slices


def test_the_same_name_in_another_kind_is_another_person(data):
    for name, expected in {
        "small_mixed": {"F001", "F003"},
        "small_other": {"F001", "F003", "F004"},
    }.items():
        pipeline = a_pipeline(
            data,
            "data.dataset=synthetic_faces/small_bp4d",
            f"pi1.dataset=synthetic_faces/{name}",
        )
        assert people(pipeline.job("pi1").slices.train) == expected
    pipeline = a_pipeline(
        data,
        "eval.validation_subjects=1",
        "data.dataset=synthetic_faces/small_bp4d",
        "pi1.dataset=synthetic_faces/small_bp4d_other",
    )
    held = people(pipeline.job("baseline").slices.validation)
    assert held < people(pipeline.job("pi1").slices.train) == to_train("bp4d", 1)


def test_encoder_p_learns_nobody_of_the_au_data_set_even_to_train_on(data):
    mixed = "identity.dataset=synthetic_faces/small_mixed"
    pipeline = a_pipeline(data, "data.dataset=synthetic_faces/small_bp4d", mixed)
    with pytest.raises(configs.ConfigError, match="no one left"):
        _ = pipeline.job("identity").slices
    pipeline = a_pipeline(data, "data.dataset=synthetic_faces/small_disfa", mixed)
    assert people(pipeline.job("identity").slices.train) == {"F001", "F003", "F004"}


def test_encoder_p_learns_nobody_of_the_pairs_that_test_it(data):
    pipeline = a_pipeline(
        data,
        "data.dataset=synthetic_faces/small_bp4d",
        "identity.pairs=synthetic_faces/small_pairs",
    )
    # The small WebFace numbers its people from 17 on, in steps of 37.
    left = {"0000054", "0000091", "0000128"}
    assert people(pipeline.job("identity").slices.train) == left


@pytest.mark.parametrize("other", ["small_bp4d", "small_bp4d_clean"])
def test_unlabeled_frames_are_not_taken_from_another_data_set_of_the_same_people(data, other):
    pipeline = a_pipeline(
        data,
        "data.dataset=synthetic_faces/small_bp4d",
        f"disfa.dataset=synthetic_faces/{other}",
    )
    for name in ("df", "piapdf"):
        ((pool, share),) = pipeline.job(name).slices.pools
        assert (pool.dataset, share) == ("synthetic_faces/small_bp4d", 1.0)
        assert pool.split == "part1_uncoded+part2_uncoded"


@pytest.mark.parametrize("disfa", [0.25, 0.0])
def test_frames_of_new_people_are_read_without_labels_by_feedback_alone(data, disfa):
    pipeline = a_pipeline(
        data,
        "data.dataset=synthetic_faces/small_bp4d",
        "df.unlabeled_dataset=synthetic_faces/small_bp4d_more",
        f"df.disfa_fraction={disfa}",
    )
    for name in ("pi1", "identity", "disfa", *ON_THE_AU_DATA):
        slices = pipeline.job(name).slices
        assert "F101" not in people(slices.train) | people(slices.test)
        pools = [(people(pool), pool.split, share) for pool, share in slices.pools]
        assert pools[:1] == [({"F101"}, "train+train_uncoded", 0.5)] * (name in ("df", "piapdf"))
    stream = pipeline.job("df").stream()
    new, seen = 0, set()
    for step in range(8):
        names = stream.frames(step)["unlabeled"]
        new = [name for name in names if name.startswith("F101/")]
        # Of 32 a tenth is withheld, half is new, a quarter DISFA's, which has no tasks.
        assert (len(names), len(new)) == (32, 16)
        assert sum(name.count("/") == 1 for name in names) == 32 * disfa
        seen.update(new)
    # Eight coded frames and four uncoded ones of eight tasks, each once before the first again.
    assert len(seen) == 96
    assert (stream(0).unlabeled.labels == -1).all()


def test_frames_of_new_people_fill_the_place_of_uncoded_ones_that_there_are_not(data):
    more = "df.unlabeled_dataset=synthetic_faces/small_bp4d_more"
    pipeline = a_pipeline(
        data, "data.dataset=synthetic_faces/small_disfa", more, "df.batch_size=16"
    )
    names = pipeline.job("df").stream().frames(0)["unlabeled"]
    assert [name.split("/")[0] == "F101" for name in names] == [False] * 2 + [True] * 14


def test_new_people_are_nobody_of_the_au_data_and_nobody_tested(data):
    mixed = "df.unlabeled_dataset=synthetic_faces/small_mixed"
    pipeline = a_pipeline(data, "data.dataset=synthetic_faces/small_bp4d", mixed)
    with pytest.raises(configs.ConfigError) as told:
        _ = pipeline.job("df").slices
    assert str(told.value) == (
        "df.unlabeled_dataset=synthetic_faces/small_mixed must provide frames of new people:"
        " synthetic_faces/small_mixed[train] has no one left to train on: all of its 3 people are"
        " tested or kept apart, or shown by synthetic_faces/small_bp4d"
    )
    assert people(pipeline.job("baseline").slices.train) == to_train("bp4d", 1)
    # Of those who are no part of the AU data, F004 tests the generator of maps.
    clean = "pi1.dataset=synthetic_faces/small_bp4d_clean"
    pipeline = a_pipeline(data, "data.dataset=synthetic_faces/small_disfa", mixed, clean)
    ((pool, _),) = pipeline.job("df").slices.pools
    assert people(pool) == {"F001", "F003"}


def test_a_data_set_of_new_people_is_made_where_it_can_be(data, monkeypatch, tmp_path):
    (tmp_path / "synthetic_faces").mkdir()
    drawn = data / "synthetic_faces"
    for path in drawn.glob("small_*"):
        (tmp_path / "synthetic_faces" / path.name).symlink_to(path)
    made = []

    def prepare(pipeline, name):
        made.append(name)
        (tmp_path / name).symlink_to(drawn / "small_bp4d_more")

    monkeypatch.setattr(Pipeline, "_prepare", prepare)
    settings = ["data.dataset=synthetic_faces/small_bp4d", "methods=df"]
    settings += ["df.unlabeled_dataset=synthetic_faces/bp4d_more"]
    assert a_pipeline(tmp_path, *settings, "df.unlabeled_fraction=0").job("df").slices.pools
    assert made == []
    pool, share = a_pipeline(tmp_path, *settings).job("df").slices.pools[0]
    assert made == ["synthetic_faces/bp4d_more"] and people(pool) == {"F101"} and share == 0.5


def test_where_nobody_is_left_the_data_set_and_the_reason_are_named(data):
    pipeline = a_pipeline(
        data,
        "data.dataset=synthetic_faces/small_bp4d",
        "pi1.dataset=synthetic_faces/small_held_out",
    )
    with pytest.raises(configs.ConfigError) as told:
        _ = pipeline.job("pi1").slices
    assert str(told.value) == (
        "synthetic_faces/small_held_out[train] has no one left to train on: all of its 2 people"
        " are tested or kept apart"
    )
    pipeline = a_pipeline(
        data, "eval.validation_subjects=2", "data.dataset=synthetic_faces/small_disfa"
    )
    with pytest.raises(configs.ConfigError, match="leaves none of the 2 people"):
        _ = pipeline.job("baseline").slices


@pytest.mark.parametrize(("fold", "kept"), [(1, 0), (2, 1), (3, 1)])
def test_labels_of_a_judge_are_read_by_no_training(data, fold, kept):
    pipeline = a_pipeline(
        data,
        f"fold={fold}",
        "df.judge_subjects=1",
        f"eval.validation_subjects={kept}",
        "data.dataset=synthetic_faces/small_bp4d",
        # The same people under another name, once without labels, once with them.
        "pi1.dataset=synthetic_faces/small_bp4d_clean",
        "disfa.dataset=synthetic_faces/small_bp4d_clean",
    )
    slices = {name: pipeline.job(name).slices for name in ("pi1", "disfa", *ON_THE_AU_DATA)}
    (judge,) = people(slices["df"].judges)
    held = people(slices["df"].validation) if kept else set()
    assert judge in to_train("bp4d", fold) - held
    for name, found in slices.items():
        feedback = name in ("df", "piapdf")
        assert found.judges == (slices["df"].judges if feedback else None), name
        left = to_train("bp4d", fold) - held - ({judge} if name != "pi1" else set())
        assert people(found.train) == left and len(left) == 4 - kept - (name != "pi1"), name
        assert [people(pool) for pool, _ in found.pools] == [left | {judge}] * feedback, name

    stream = pipeline.job("df").stream()
    table = slices["df"].judges.records().table()
    coded = {f"{judge}/{task}/{k}" for task, k in zip(table["task"], table["frame"], strict=True)}
    told = set()
    for step in range(20):
        frames = stream.frames(step)
        assert len(frames["judge"]) == 32 and set(frames["judge"]) <= coded
        assert not coded & {*frames["labeled"], *frames["unlabeled"]}
        told.update(frames["judge"], (name.split("/")[0] for name in frames["unlabeled"]))
    assert told >= coded | {judge}


def test_anybody_may_judge_who_is_not_tested_or_kept_apart(data):
    settings = ["data.dataset=synthetic_faces/small_bp4d", "df.judge_subjects=2"]
    settings += ["eval.validation_subjects=1"]
    pairs = []
    for seed in range(6):
        slices = a_pipeline(data, *settings, f"seed={seed}").job("df").slices
        pairs.append(people(slices.judges))
        held = people(slices.validation)
        assert len(pairs[-1]) == 2 and not pairs[-1] & held
        assert people(slices.train) == to_train("bp4d", 1) - held - pairs[-1]
        alone = a_pipeline(data, *settings[:1], settings[2], f"seed={seed}").job("baseline").slices
        assert people(alone.validation) == held
    assert set().union(*pairs) == to_train("bp4d", 1) and len(set(pairs)) > 2
    assert people(a_pipeline(data, *settings, "seed=3").job("df").slices.judges) == pairs[3]


@pytest.mark.parametrize(("judges", "kept", "apart"), [(4, 0, ""), (3, 1, "1"), (2, 2, "2")])
def test_more_judges_than_there_are_people(data, judges, kept, apart):
    settings = ["data.dataset=synthetic_faces/small_bp4d", f"eval.validation_subjects={kept}"]
    pipeline = a_pipeline(data, *settings, f"df.judge_subjects={judges}")
    told = f"df.judge_subjects={judges} leaves none of the 4 people of"
    told += " synthetic_faces/small_bp4d[part1+part2] to train on"
    told += f": eval.validation_subjects keeps {apart} of them apart" if apart else ""
    for name in ON_THE_AU_DATA:
        with pytest.raises(configs.ConfigError) as error:
            _ = pipeline.job(name).slices
        assert str(error.value) == told
    assert pipeline.job("pi1").slices.judges is None


def test_a_plugins_data_set_is_kept_apart_and_its_pairs_are_tested(data, monkeypatch):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Pairs(TrainSection):
        dataset: str = "synthetic_faces/small_webface"
        pairs: str = "synthetic_faces/small_pairs"

    own = dataclasses.make_dataclass(
        "Own", [("dataset", str, "synthetic_faces/small_disfa")], bases=(TrainSection,),
        frozen=True, kw_only=True,
    )  # fmt: skip
    baseline, identity = trainings.TRAININGS["baseline"], trainings.TRAININGS["identity"]
    added = {
        "mine": dataclasses.replace(
            baseline, name="mine", section="mine", settings=own(steps=2), depends_on=stages.nothing
        ),
        "who": dataclasses.replace(identity, name="who", section="who", settings=Pairs(steps=2)),
    }
    for name, training in added.items():
        monkeypatch.setitem(trainings.TRAININGS, name, training)
        monkeypatch.setitem(trainings.METHODS, name, (name,))
    pipeline = a_pipeline(
        data,
        "data.dataset=synthetic_faces/small_bp4d",
        "disfa.dataset=synthetic_faces/small_bp4d",
        "eval.validation_subjects=1",
        "methods=mine",
    )
    slices = pipeline.job("mine").slices
    (kept,) = people(slices.validation)
    assert kept in to_train("disfa", 1) and kept not in people(slices.train)
    # The pairs show the person 0000017 of the other set.
    assert "0000017" not in people(pipeline.job("who").slices.train)


def test_records_are_opened_in_one_room():
    """Names that give records are called nowhere else, so nobody gets them without being asked who may."""
    opened = {}
    for path in pathlib.Path(datasets.__file__).parent.rglob("*.py"):
        calls = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        ]
        names = {getattr(call.func, "attr", getattr(call.func, "id", "")) for call in calls}
        if found := names & {"Records", "SubjectSubset", "DataSlice", "as_data_source"}:
            opened[path.name] = found
    # A finished export is scored on what a person names, and told where it was trained on it.
    assert opened.pop("export_scores.py") == {"Records"}
    # So are 8 bits, and whom it was trained on is kept apart.
    assert opened.pop("export_int8.py") == {"Records"}
    assert opened == {"datasets.py": {"DataSlice"}, "data_slices.py": {"Records", "SubjectSubset"}}
