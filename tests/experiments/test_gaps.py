"""A score that cannot be made is None with its reason, whoever is to blame, and the others are there."""

import dataclasses
import json
import math
import pathlib
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import au_scores, gaps, pair_scores, report, scoring
from experiments.config import ConfigError
from experiments.scoring import Tools
from piapdf_jax.data.frames import ReaderConfig
from piapdf_jax.runtime.hosts import HostLost
from piapdf_jax.runtime.steps import Interrupted
from piapdf_jax.stages.base import Scores

#: The order of label columns in a record.
RECORD = [1, 2, 4, 6, 7, 9, 10, 12, 14, 15, 17, 23, 24, 25, 26]
#: Of four frames: AU1 in two, AU2 in none, AU4 in all, AU6 unknown, AU7 unknown but for one.
AUS = (1, 2, 4, 6, 7)
LABELS = np.array([[1, 0, 1, -1, 1], [1, 0, 1, -1, -1], [0, 0, 1, -1, -1], [0, 0, 1, -1, -1]])
SAID = np.array([[0.9, 0.9, 0.9, 0.9, 0.9], [0.1] * 5, [0.8, 0.1, 0.1, 0.1, 0.1], [0.2] * 5])
EXPORT = {"encoder": ({"w": np.zeros((2, 3))}, {}), "head": ({"b": np.zeros(4)}, {})}


class Frames:
    """Four frames whose top left pixel says which one it is."""

    def __init__(self, subjects, tasks):
        self.labels = np.full((4, len(RECORD)), -1)
        self.labels[:, [RECORD.index(au) for au in AUS]] = LABELS
        self.subjects, self.tasks = subjects, tasks

    def __len__(self):
        return 4

    def shard_of(self, row):
        return "memory"

    def __getitem__(self, row):
        import cv2

        image = np.full((8, 8, 3), 40 * row, np.uint8)
        place = {"subject": self.subjects[row].encode(), "task": self.tasks[row].encode()}
        png = cv2.imencode(".png", image)[1].tobytes()
        return {"image": png, "labels": self.labels[row], "frame": row, **place}

    def table(self):
        columns = {"subject": np.array(self.subjects), "task": np.array(self.tasks)}
        return {"labels": self.labels, "frame": np.arange(4), **columns}


def scored(said=SAID, *, subjects=("F004",) * 4, tasks=("T1", "T1", "T2", "T2"), truth=None):
    """Scores of a stage that says these probabilities of the four frames."""

    def predict(exported, images):
        rows = jnp.round(images[:, 0, 0, 0] * 255 / 40).astype(jnp.int32)
        probs = jnp.asarray(said, jnp.float32)[rows]
        return Scores(probs, probs, None)

    records = Frames(subjects, tasks)
    job = types.SimpleNamespace(
        name="baseline",
        stage=types.SimpleNamespace(predict=predict),
        slices=types.SimpleNamespace(test=types.SimpleNamespace(records=lambda: records)),
    )
    tools = Tools(ReaderConfig(image_size=8, batch_size=4, aus=AUS), truth=truth)
    return scoring.action_units(job, EXPORT, tools)


def test_a_unit_that_labels_tell_nothing_of_is_a_gap_and_in_no_mean():
    found = scored()
    # AU1: one hit, one miss, one false alarm. AU4: one hit of four. AU7: one known frame, hit.
    assert found["published"]["f1"] == [50.0, None, 40.0, None, 100.0]
    assert found["published"]["mean_f1"] == pytest.approx((50 + 40 + 100) / 3)
    # Always yes: 2 r / (1 + r) at r = 1/2, 1, 1.
    assert found["published"]["always_yes"] == [66.67, None, 100.0, None, 100.0]
    # AU1: 0.9 and 0.1 against 0.8 and 0.2: two of four pairs are right.
    assert found["published"]["roc_auc"] == [0.5, None, None, None, None]
    why = "AU6 no known label; AU2 never present"
    assert found["gaps"]["published.f1"] == f"{why}; the mean is that of the other units"
    assert found["gaps"]["published.always_yes"] == found["gaps"]["published.f1"]
    assert found["gaps"]["published.roc_auc"] == f"{why}; AU4, AU7 never absent"
    assert found["parameters"] == 10
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("subjects", "tasks", "there"),
    [
        (("F004",) * 4, ("T1", "T1", "T2", "T2"), "tasks T1, T2 of F004"),
        (("F004",) * 4, ("T1", "T1", "T5", "T5"), "tasks T1, T5 of F004"),
        (("F004", "F006") * 2, ("T1",) * 4, "tasks T1 of F004, F006"),
        (("F004", "F006") * 2, ("T7",) * 4, "tasks T7 of F004, F006"),
    ],
)
def test_the_identity_probe_of_few_people_or_tasks_is_a_gap(subjects, tasks, there):
    found = scored(subjects=subjects, tasks=tasks)
    assert found["identity_probe"] is None
    assert found["gaps"]["identity_probe"].startswith("it is fitted on tasks T1, T2, T3, T4 of two")
    assert found["gaps"]["identity_probe"].endswith(there)


def test_a_probe_that_can_be_made_is_made_and_a_data_set_without_tasks_has_none():
    found = scored(subjects=("F004", "F006") * 2, tasks=("T1", "T1", "T5", "T5"))
    assert found["identity_probe"]["chance"] == 0.5 and "identity_probe" not in found["gaps"]
    for tasks in [("",) * 4, ("draw", "paint") * 2]:
        found = scored(tasks=tasks)
        assert "identity_probe" not in found and "identity_probe" not in found["gaps"]


def test_a_model_that_says_nan_is_a_gap_and_no_end():
    found = scored(np.where(SAID > 0.85, np.nan, SAID), subjects=("F004", "F006") * 2,
                   tasks=("T1", "T1", "T5", "T5"))  # fmt: skip
    assert found["published"]["f1"] == [None] * 5 and found["published"]["mean_f1"] is None
    assert "NaN" in found["gaps"]["published.f1"]
    assert "finite" in found["gaps"]["identity_probe"] and found["identity_probe"] is None
    assert found["published"]["always_yes"][0] == 66.67
    json.dumps(found, allow_nan=False)


def test_labels_that_are_none_are_a_gap(monkeypatch):
    monkeypatch.setitem(globals(), "LABELS", np.where(LABELS == 1, 7, LABELS))
    found = scored()
    assert found["published"]["f1"] == found["published"]["always_yes"] == [None] * 5
    assert "labels must be 0, 1 or -1" in found["gaps"]["published.always_yes"]
    assert found["frames"] == 4 and found["parameters"] == 10


def test_true_labels_that_cannot_be_read_are_a_gap(tmp_path):
    (tmp_path / "truth.npz").write_text("no table")
    found = scored(truth=tmp_path / "truth.npz")
    assert "true" not in found and found["gaps"]["true"]
    assert found["published"]["f1"][0] == 50.0


def raises(labels, probs, subjects):
    raise ZeroDivisionError("no person smiles")


def writes(labels, probs, subjects):
    labels[:] = 0
    return 1.0


@pytest.mark.parametrize(
    ("metric", "value", "reason"),
    [
        (raises, None, "ZeroDivisionError: no person smiles"),
        (lambda *_: math.nan, None, "it gives no finite number"),
        (lambda *_: [1, math.inf, 2, 3, 4], [1, None, 2, 3, 4], "it gives no finite number"),
        (lambda *_: {"a": 1}, None, "TypeError"),
        (writes, 1.0, None),
    ],
)
def test_a_metric_from_outside_that_fails_leaves_a_gap(monkeypatch, caplog, metric, value, reason):
    # Another one after it sees the labels as they are.
    others = {"mine": metric, "known": lambda labels, *_: (labels != -1).sum()}
    monkeypatch.setattr(au_scores, "METRICS", others)
    with caplog.at_level("WARNING", logger="piapdf"):
        found = scored()
    assert found["published"]["mine"] == value and found["published"]["known"] == 13
    assert found["published"]["f1"][0] == 50.0
    if reason is None:
        assert "published.mine" not in found["gaps"]
    else:
        assert found["gaps"]["published.mine"].startswith(reason)
    # What nobody expects has its traceback in the log.
    traced = [record for record in caplog.records if record.exc_info]
    assert len(traced) == (reason is not None and "Error" in reason)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    "error", [MemoryError, KeyboardInterrupt, SystemExit, jax.errors.JaxRuntimeError, HostLost]
)
def test_what_is_no_fault_of_a_score_passes(error):
    def make():
        raise error("stop")

    with pytest.raises(error):
        gaps.attempt({}, "scores", make, expected=(Exception,))


def test_a_request_to_stop_passes():
    def make():
        raise Interrupted("baseline", 1, 2, 15)

    with pytest.raises(Interrupted):
        gaps.attempt({}, "scores", make, expected=(Exception,))


def test_where_hosts_compute_together_one_alone_goes_no_further(monkeypatch):
    def make():
        raise OSError("torn")

    lost = {}
    assert gaps.attempt(lost, "scores", make, together=True, otherwise={}) == {}
    assert lost == {"scores": "OSError: torn"}
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(OSError, match="torn"):
        gaps.attempt({}, "scores", make, together=True, expected=(OSError,))
    # All hosts see the same labels, and so the same gap.
    assert gaps.attempt(lost, "f1", lambda: _gap("few"), together=True) is None
    assert lost["f1"] == "few"


def _gap(reason):
    raise gaps.Gap(reason)


def test_pairs_of_pictures_that_are_not_there_or_of_one_block_are_named():
    table = {"name": np.array(["a", "a", "b"]), "number": np.array([1, 2, 1])}
    listed = [["a", 1, "a", 2, 1, 0], ["a", 1, "b", 1, 0, 1]]
    assert gaps.pairs(listed, table) == ""
    assert gaps.pairs([*listed, ["a", 1, "b", 3, 0, 1], ["c", 1, "b", 1, 0, 1]], table) == (
        "2 of 4 pairs name pictures that are not there, the first picture 3 of b"
    )
    one = [[*pair[:5], 0] for pair in listed]
    assert gaps.pairs(one, table) == "the pairs are of 1 blocks, and verification takes two"
    assert gaps.pairs([], table) == "the pairs are of 0 blocks, and verification takes two"


@pytest.mark.parametrize(
    ("vectors", "number", "reason"),
    [
        (
            [[1, 0], [0, 1], [0, 0]],
            1,
            "the vectors of some pictures are zero or not finite",
        ),
        ([[1, 0], [0, np.nan], [1, 1]], 1, "the vectors of some pictures are zero"),
        (
            [[1, 0]] * 3,
            9,
            "1 of 2 pairs name pictures that are not there, the first picture 9 of b",
        ),
    ],
)
def test_a_verification_that_cannot_be_made_is_a_gap(
    tmp_path, monkeypatch, vectors, number, reason
):
    pairs = [["a", 1, "a", 2, 1, 0], ["a", 1, "b", number, 0, 1]]
    (tmp_path / "metadata.json").write_text(json.dumps({"pairs": pairs}))
    table = {"name": np.array(["a", "a", "b"]), "number": np.array([1, 2, 1])}
    records = types.SimpleNamespace(table=lambda: table)
    test = types.SimpleNamespace(records=lambda: records, folder=tmp_path)
    job = types.SimpleNamespace(slices=types.SimpleNamespace(test=test))
    seen = types.SimpleNamespace(vector=np.array(vectors, np.float32))
    monkeypatch.setattr(scoring, "evaluated", lambda *_: seen)
    found = pair_scores.verification(job, {}, Tools(ReaderConfig(8, 4)))
    assert found["verification"] is None and found["pairs"] == 2
    assert found["gaps"]["verification"].startswith(reason)


@pytest.mark.parametrize("moved", [None, {"mean_abs": 0.5, "max_abs": 1.0}])
def test_maps_whose_first_generator_is_gone_have_not_moved(monkeypatch, moved):
    def finished(name):
        if moved is None:
            raise ConfigError(f"training {name!r} has no export")
        return "stage", "export"

    monkeypatch.setattr(scoring, "action_units", lambda *_: {"frames": 3, "gaps": {"true": "few"}})
    monkeypatch.setattr(scoring, "maps_moved", lambda job, exported, before, tools: moved)
    found = scoring.refinement(None, {}, Tools(ReaderConfig(8, 4), finished=finished))
    assert found["maps_moved"] == moved and found["frames"] == 3
    more = {} if moved else {"maps_moved": "training 'pi1' has no export"}
    assert found["gaps"] == {"true": "few", **more}


def test_a_state_whose_numbers_are_not_finite_is_never_the_best(monkeypatch):
    records = Frames(("F004",) * 4, ("T1",) * 4)
    job = types.SimpleNamespace(
        stage=types.SimpleNamespace(predict=None),
        slices=types.SimpleNamespace(validation=types.SimpleNamespace(records=lambda: records)),
    )
    said = iter([SAID, np.where(SAID > 0.85, np.nan, SAID)])
    monkeypatch.setattr(
        scoring, "evaluate", lambda *_, **__: types.SimpleNamespace(au_probs=next(said))
    )
    score = scoring.mean_f1(job, Tools(ReaderConfig(8, 4, aus=(1, 4))))
    monkeypatch.setattr(scoring.metrics, "mean_f1", lambda probs, labels: 45.0)
    assert score({}) == 45.0 and math.isnan(score({}))


def test_maps_that_are_empty_everywhere_are_a_gap():
    result = types.SimpleNamespace(
        pi_intersection=np.array([[1, 0, 2], [1, 0, 0]]), pi_union=np.array([[2, 0, 2], [2, 0, 2]])
    )
    reading = dataclasses.replace(ReaderConfig(8, 4), maps=(1, 4, 12))
    found = scoring._overlap(result, reading)
    assert found["iou_per_map"] == {"1": 0.5, "4": None, "12": 0.5} and found["iou"] == 0.5
    assert found["gaps"] == {"iou_per_map": "the maps of AU4 are empty in every test frame"}


def test_whatever_scores_hold_becomes_json():
    values = {
        "a": np.array([1.5, np.nan]), "b": (np.float32(2), jnp.array([3, 4])), "c": math.inf,
        "d": {7: True, "e": None}, "f": {"set"},
    }  # fmt: skip
    found = gaps.plain(values)
    assert found == {
        "a": [1.5, None], "b": [2.0, [3, 4]], "c": None, "d": {"7": True, "e": None}, "f": "{'set'}",
    }  # fmt: skip
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def printed(capsys, trainings, rows, **more):
    head = {"config": "hand", "stand_ins": {}, "stale": {}, "seconds": 1.0}
    told = {"trainings": trainings, "rows": rows, **head, **more}
    report.print_results(told, pathlib.Path("/runs/hand"))
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_gaps_in_the_printed_tables(capsys):
    told = {
        "f1": [50.0, None],
        "mean_f1": 50.0,
        "always_yes": [60.0, None],
        "mean_always_yes": 60.0,
    }
    never = {"published.f1": "AU2 never present", "published.always_yes": "AU2 never present"}
    baseline = {"aus": [1, 2], "published": told, "parameters": 7, "gaps": never}
    lost = {"aus": [1, 2], "gaps": {"scores": "x[part3] cannot be read"}}
    trainings = {"baseline": {"scores": baseline}, "ap": {"scores": lost}}
    shown = printed(capsys, trainings, ["baseline", "ap"], gaps={"picture": "nobody to draw"})
    assert [line for line in shown if line.startswith(("always", "Baseline", "AP"))] == [
        "always yes 60.0 - 60.0", "Baseline 50.0 - 50.0", "AP - - -",
        "Baseline 7 - - - -", "AP - - - - -",
    ]  # fmt: skip
    assert [line for line in shown if line.startswith("- gap")] == [
        "- gap in published.f1, published.always_yes of baseline: AU2 never present",
        "- gap in scores of ap: x[part3] cannot be read",
        "- gap in picture: nobody to draw",
    ]


def test_a_run_without_any_score_has_its_table(capsys):
    lost = {"aus": [1, 2], "gaps": {"scores": "nobody"}}
    shown = printed(capsys, {"baseline": {"scores": lost}}, ["baseline"])
    assert "always yes - - -" in shown and "- gap in scores of baseline: nobody" in shown


def test_a_training_with_gaps_is_logged_line_by_line():
    told = {"f1": [None], "mean_f1": None, "always_yes": [None], "mean_always_yes": None}
    scores = {"published": told, "maps_moved": None, "iou": 0.5,
              "iou_per_map": {"1": None, "4": 0.75, "12": 0.25}}  # fmt: skip
    lines = list(report._of_scores(scores | {"gaps": {"a": "few", "b": "none", "c": "few"}}))
    assert lines == [
        "mean F1 - against published labels of unseen people (always yes -)",
        "IoU with the predefined maps of unseen people 0.500 (lowest: AU12 0.250)",
        "gap in a, c: few",
        "gap in b: none",
    ]
