"""An export scored on another data set: every right value is counted from the records themselves."""

import json
from typing import Any

import cv2
import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from programs import load

from experiments import export_score_table, export_scores, frame_table
from experiments.export_scores import ScoreError
from piapdf_jax.action_units import RECORD_AUS
from piapdf_jax.data import description, source
from piapdf_jax.losses import LossWeights
from piapdf_jax.model_json import Data, License, Model, to_json
from piapdf_jax.models.config import part_settings
from piapdf_jax.models.presets import MODELS
from piapdf_jax.runtime import exports
from piapdf_jax.stages.base import OptimizerConfig
from piapdf_jax.stages.piap import PIAPStage

score = load("experiments.score")
SIDE, DIGEST = 64, "0123456789abcdef"
#: AU9 is no unit of BP4D, and none of its others are said by the export.
UNITS = (12, 9, 1, 6)
SHARED = (12, 1, 6)
DATASET = "synthetic_faces/small_bp4d"


@pytest.fixture(scope="module")
def stage():
    optimizer = OptimizerConfig(steps=1, learning_rate=1e-3)
    sizes: Any = {"image_size": SIDE, "num_aus": len(UNITS), "num_maps": 0}
    return PIAPStage(MODELS["nano"], optimizer, LossWeights(), **sizes)


@pytest.fixture(scope="module")
def exported(stage):
    """Random networks, whose scores are spread over the units' range."""
    state, _ = stage.init(jax.random.key(3), {})
    parts = dict(stage.export(state))
    (params, stats) = parts["head"]
    return {**parts, "head": (jax.tree.map(lambda leaf: 300 * leaf, params), stats)}


def model(**changes):
    networks = part_settings(MODELS["nano"], ("encoder", "head"))
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    told = Model(
        training="baseline",
        title="Baseline",
        digest=DIGEST,
        units=UNITS,
        image_size=SIDE,
        mean=mean,
        std=std,
        parts=("encoder", "head"),
        model=networks | {"mean": mean, "std": std},
        crop={"size": 256, "box_scale": 3.1, "box_lift": 0.08},
        base_rates={12: 0.5, 9: 0.1, 1: 0.25, 6: None},
        cuts={12: 0.5, 9: 0.5, 1: 0.4, 6: None},
        no_cut={6: "no label of it is known in the training frames"},
        frames={"labeled": 8, "scored": 8},
        data=(Data("baseline", "disfa", "1.0.0", "part1", 9, True),),
        stand_ins={},
        licences=(License("software", "free", "here"),),
        files={},
    )
    return told._replace(**changes)


@pytest.fixture(scope="module")
def export(exported, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    files = {"model.json": to_json(model())}
    info = {"consumed": {}}
    return exports.write_export(runs, "baseline", DIGEST, exported, info, files=files)


@pytest.fixture(scope="module")
def split(small_data):
    sizes = source.split_sizes(source.dataset_folder(small_data, DATASET))
    return next(name for name, count in sizes.items() if count and "uncoded" not in name)


@pytest.fixture(scope="module")
def scored(export, small_data, split):
    return export_scores.score(
        export, dataset=DATASET, split=split, data_dir=small_data, batch_size=32
    )


@pytest.fixture(scope="module")
def records(small_data, split):
    found = source.Records(source.dataset_folder(small_data, DATASET), split)
    return [found[row] for row in range(len(found))]


def test_every_frame_is_said_by_the_networks_of_the_export(scored, records, stage, exported):
    frames = scored.frames
    assert frames.aus == SHARED and len(frames.subject) == len(records) > 32
    assert [str(s) for s in frames.subject] == [r["subject"].decode() for r in records]
    assert frames.frame.tolist() == [int(r["frame"]) for r in records]
    pictures = []
    for record in records[:40]:
        picture = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        pictures.append(cv2.resize(picture[..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    images = np.stack(pictures).astype(np.float32) / 255
    right = np.asarray(stage.predict(exported, images).au_probs)
    columns = [UNITS.index(au) for au in SHARED]
    # A decoder of JPEG may round another way.
    np.testing.assert_allclose(frames.probs[:40], right[:, columns], atol=0.02)
    assert np.ptp(frames.probs, axis=0).min() > 0.25


def test_scores_are_counted_from_labels_of_the_same_units(scored, records):
    told = scored.scores["published"]
    labels = np.array([[r["labels"][RECORD_AUS.index(au)] for au in SHARED] for r in records])
    assert (scored.frames.coded == labels).all()
    for k in range(len(SHARED)):
        known = labels[:, k] >= 0
        true, said = labels[known, k] == 1, scored.frames.probs[known, k] >= 0.5
        f1 = 200 * (true & said).sum() / (true.sum() + said.sum())
        assert told["f1"][k] == pytest.approx(f1, abs=0.006)
        always = 200 * true.sum() / (true.sum() + len(true))
        assert told["always_yes"][k] == pytest.approx(always, abs=0.006)
        assert told["positive_frames"][k] == true.sum()
    at_cut = scored.frames.probs[:, 1] >= 0.4  # AU1's cut of model.json
    true = labels[:, 1] == 1
    f1 = 200 * (true & at_cut & (labels[:, 1] >= 0)).sum()
    f1 /= true.sum() + (at_cut & (labels[:, 1] >= 0)).sum()
    assert told["f1_model_cuts"][1] == pytest.approx(f1, abs=0.006)
    assert told["f1_model_cuts"][2] is None and told["f1_matched"][2] is None
    # Of fewer than five people nothing is said of others.
    assert told["f1_interval"] == [[None, None]] * 3
    assert any("fewer than 5 people" in line for line in scored.notes)


def test_units_that_are_not_scored_are_told(scored):
    assert "not scored, units of the export: AU9 (the data set has no labels of them)" in (
        scored.notes
    )
    others = "AU2, AU4, AU7, AU10, AU14, AU15, AU17, AU23, AU24"
    assert any(f"units of the data set: {others}" in line for line in scored.notes)
    assert scored.warnings == () and not any("intensity" in line for line in scored.notes)


def test_true_labels_are_scored_as_well(export, small_data, split, scored, records, tmp_path):
    """A table in which every true label is that of AU1, absent where it is not known."""
    coded = [int(r["labels"][RECORD_AUS.index(1)]) for r in records]
    np.savez(
        tmp_path / "t.npz",
        subject=[r["subject"].decode() for r in records],
        task=[r["task"].decode() for r in records],
        frame=[int(r["frame"]) for r in records],
        label_aus=np.array([6, 1]),
        clean=np.maximum(np.array([coded, coded], np.int8).T, 0),
    )
    told = {"dataset": DATASET, "split": split, "data_dir": small_data}
    found = export_scores.score(export, **told, truth=tmp_path / "t.npz")
    assert found.frames.true is not None
    assert found.frames.true.tolist() == [[-1, max(c, 0), max(c, 0)] for c in coded]
    assert found.scores["true"]["f1"][0] is None
    assert found.scores["published"] == scored.scores["published"]
    assert found.frames.data != scored.frames.data  # other labels are another thing to score on
    np.savez(
        tmp_path / "empty.npz",
        subject=["nobody"], task=[""], frame=[1], label_aus=[1], clean=np.ones((1, 1), np.int8),
    )  # fmt: skip
    with pytest.raises(ScoreError, match="true labels of none of these frames"):
        export_scores.score(export, **told, truth=tmp_path / "empty.npz")
    for name in ("none.npz", "text.npz"):
        (tmp_path / "text.npz").write_text("text")
        with pytest.raises((ScoreError, FileNotFoundError), match=name):
            export_scores.score(export, **told, truth=tmp_path / name)


@pytest.mark.parametrize(
    ("name", "kind", "people", "wanted"),
    [
        ("bp4d", "a", 3, "scored on data it was trained on: 2 of the 3 people of d[s] (F1, F2)"),
        ("bp4d", "a", 2, "scored on data it was trained on: up to 2 of the 3 people of d[s]"),
        ("bp4d", "b", 3, None),  # of that builder, other people who have the same names
        ("disfa", "a", 3, None),
    ],
)
def test_people_who_were_trained_on_are_told(monkeypatch, tmp_path, name, kind, people, wanted):
    theirs = description.Description(name, kind, (1,), {"p": ("F1", "F2", "F9"), "q": ("F3",)})
    monkeypatch.setattr(source, "dataset_folder", lambda data_dir, name: tmp_path / name)
    monkeypatch.setattr(description, "describe", lambda folder: theirs)
    ours = description.Description("bp4d", "a", (1,), {})
    taught = [Data(training, "d", "1", "p", people, True) for training in ("pi1", "baseline")]
    subject = np.array(["F1", "F2", "F2", "F3"])
    told = list(
        export_scores.trained_on(model(data=tuple(taught)), ours, subject, "d[s]", tmp_path)
    )
    assert len(told) == (wanted is not None)
    if wanted:
        assert told[0].startswith(wanted) and told[0].endswith("are among those of d[p]")


def test_data_sets_that_are_not_there_are_told_where_they_might_hold_the_same_people(tmp_path):
    ours = description.Description("disfa", "", (1,), {})
    told = list(export_scores.trained_on(model(), ours, np.array(["SN001"]), "d[s]", tmp_path))
    assert told == [f"unknown whether people of d[s] were trained on: disfa is not in {tmp_path}"]
    other = ours._replace(builder="bp4d")
    assert not list(export_scores.trained_on(model(), other, np.array(["F1"]), "d[s]", tmp_path))


def run_command(export, **values):
    with flagsaver.flagsaver(**{"out": ""} | values):
        score.main(["score", str(export)])


def test_the_command_prints_tables_and_writes_scores_and_frames(
    export, small_data, split, scored, tmp_path, capsys
):
    given = {"dataset": DATASET, "split": split, "data_dir": str(small_data)}
    run_command(export, **given, out=str(tmp_path / "s.json"), batch_size=32)
    out = capsys.readouterr().out
    assert "coded labels" in out and "true labels" in out  # those that were drawn beside it
    (line,) = [
        line for line in out.splitlines() if line.strip().startswith("AU12") and "-" in line
    ][:1]
    told = json.loads((tmp_path / "s.json").read_text())
    cells = line.split()
    assert cells[1] == str(told["published"]["positive_frames"][0])
    assert cells[3:5] == [f"{told['published'][key][0]:.1f}" for key in ("always_yes", "f1")]
    assert told["export"]["digest"] == DIGEST and told["aus"] == list(SHARED)
    assert told["published"] == scored.scores["published"] and told["warnings"] == []
    frames = frame_table.read(tmp_path / "s.frames.npz")
    assert (frames.fold, frames.seed, frames.dataset) == (0, -1, DATASET)
    assert (frames.probs == scored.frames.probs).all() and frames.true is not None
    assert told["data"] == frames.data and told["truth"].endswith("truth.npz")


def test_intervals_and_gaps_as_they_are_shown():
    """Six people, each with a frame of the unit that is found and one that is not: F1 is 2 / 3 whoever is drawn."""
    frames = frame_table.FrameTable(
        training="t",
        digest=DIGEST,
        fold=0,
        seed=-1,
        dataset="[red]d",
        data="x",
        aus=(1,),
        subject=np.repeat([f"F{k}" for k in range(6)], 3),
        task=np.full(18, ""),
        frame=np.arange(18),
        coded=np.tile(np.array([1, 1, 0], np.int8), 6)[:, None],
        probs=np.tile(np.array([0.9, 0.1, 0.2], np.float32), 6)[:, None],
        base_rates=np.array([np.nan]),
        cuts=np.array([np.nan]),
    )
    found, lost = export_scores.scores_of(frames)
    assert found["published"]["f1_interval"] == [[66.67, 66.67]]
    assert found["published"]["people_showing"] == [6] and found["people"] == 6
    assert lost["published.f1_matched"] == "the export has no base rates of its training labels"
    head = {"export": {"training": "t", "digest": DIGEST}, "dataset": "[red]d", "split": "s"}
    (table,) = export_score_table.tables(head | found)
    rows = list(zip(*[list(column.cells) for column in table.columns], strict=True))
    assert rows[0][:8] == ("AU1", "12", "6", "80.0", "66.7", "66.7 to 66.7", "-", "-")
    assert str(table.title).startswith(r"t 0123456789abcdef on \[red]d\[s]: 18 frames of 6 people")
    for weak, unit in (((1,), "AU1 (weak)"), ((2,), "AU1")):
        head["export"] = head["export"] | {"weak_units": weak}
        (table,) = export_score_table.tables(head | found)
        assert list(table.columns[0].cells) == [unit, "mean"]


@pytest.mark.parametrize("weak", [None, (), (9, 1)])
def test_weak_units_stand_beside_the_name_of_the_export(weak, tmp_path):
    named = export_scores.named(tmp_path, model(weak_units=weak))
    assert named == {
        "folder": str(tmp_path),
        "training": "baseline",
        "digest": DIGEST,
        **({} if weak is None else {"weak_units": list(weak)}),
    }


def test_mistakes_are_one_line(export, small_data, split, tmp_path, exported):
    given = {"dataset": DATASET, "split": split, "data_dir": str(small_data)}
    foreign = model(units=(9,), base_rates={9: 0.5}, cuts={9: 0.5}, no_cut={})
    head = jax.tree.map(lambda leaf: leaf[..., 1:2], exported["head"])
    nines = exports.write_export(
        tmp_path,
        *("baseline", DIGEST, {**exported, "head": head}, {}),
        files={"model.json": to_json(foreign)},
    )
    for folder, change, said in (
        (export, {"split": "nope"}, "has no split 'nope'; it has "),
        (export, {"split": f"{split}+{split}"}, "names a split twice"),
        (export, {"split": f"{split}[:x]"}, "cannot be read as splits"),
        (export, {"dataset": "disfa"}, "build it with `"),
        (export, {"dataset": "synthetic_faces/small_lfw", "split": "test"}, "no "),
        (export, {"truth": str(tmp_path / "no.npz")}, "no.npz does not exist"),
        (export, {"out": str(tmp_path / "no" / "x.json")}, "cannot be written"),
        (export, {"dataset": ""}, "--dataset is not given"),
        (tmp_path / "nothing", {}, "does not exist"),
        (nines, {}, "there is no unit to score"),
    ):
        with pytest.raises(score.app.UsageError) as error:
            run_command(folder, **{**given, **change})
        assert said in str(error.value)
