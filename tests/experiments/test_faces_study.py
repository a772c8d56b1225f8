"""The study on drawn faces, from people to results: quick, with two tasks, few people and three arms."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from programs import load

from experiments.feedback_study import (
    faces_data,
    faces_report,
    faces_results,
    faces_settings,
    faces_work,
)
from experiments.feedback_study.faces_results import METRICS
from experiments.feedback_study.faces_work import Work
from experiments.feedback_study.faces_worlds import Deck

faces = load("experiments.feedback_study.faces")
QUICK = faces_settings.QUICK


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def deck(folder):
    return Deck(faces_data.load(folder, QUICK.people, QUICK.tasks), QUICK.sizes)


@pytest.fixture(scope="module")
def done(folder, deck):
    lines = []
    work = Work(QUICK, folder, deck, lines.append)
    faces.run(QUICK, work)
    return work, lines


def test_drawn_people_are_kept_and_have_their_true_labels(folder, deck, monkeypatch):
    drawn = deck.faces
    assert drawn.hog.shape == (12, 2 * 4, 800) and drawn.labels.shape == (12, 8, 12)
    assert drawn.coded.tolist() == [False, True, True, False] * 2
    clip = faces_data.population.sequence(
        faces_data.population.Rules("bp4d"), QUICK.people[7], QUICK.tasks[1]
    )
    wanted = [[clip.clean[unit][frame] for unit in faces_data.UNITS] for frame in (0, 2, 6, 11)]
    np.testing.assert_array_equal(drawn.labels[7, 4:], wanted)
    monkeypatch.setattr(faces_data, "_draw", lambda *_: pytest.fail("drawn again"))
    monkeypatch.setattr(faces_data, "checksum", lambda *_: next(folder.glob("*.npz")).stem[6:])
    np.testing.assert_array_equal(faces_data.load(folder, QUICK.people, QUICK.tasks).hog, drawn.hog)


def test_gradients_of_a_ramp_point_one_way():
    ramp = np.arange(96, dtype=np.uint8)
    across = np.broadcast_to(ramp[None, :, None], (96, 96, 3))
    for picture, direction in ((across, 0), (across.swapaxes(0, 1), 4)):  # 0 and 90 degrees of 180
        found = faces_data.features(np.ascontiguousarray(picture)).reshape(10, 10, 8)
        wanted = np.zeros((10, 10, 8))
        wanted[:, :, direction] = 0.1  # all cells alike, squares sum to 1
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_results_hold_every_world_arm_and_seed(done, tmp_path):
    work, lines = done
    results = faces.collect(QUICK, Work(QUICK, work.folder, None))
    assert results.worlds == [{"people": 4, "pool": 2, "wrong": 20, "seeds": 2}]
    assert [arm["name"] for arm in results.arms] == list(QUICK.arms)
    for metric in METRICS:
        for arm in QUICK.arms:
            scores = results.scores[metric]["4_2_20"][arm]
            assert scores["student"].shape == scores["teacher"].shape == (2,)
            assert np.isfinite(scores["student"]).all()
    rate = results.chosen["supervised"]["learning_rate"]
    assert rate in QUICK.fine_rates
    at_rate = {name: results.chosen[name]["learning_rate"] for name in QUICK.arms}
    assert set(at_rate.values()) == {rate} and results.chosen["df_matched"]["weight"] == 1
    own = results.chosen["df_matched_tuned"]
    assert (own["learning_rate"], own["weight"]) in QUICK.candidates("df_matched")
    counts = results.counts["4_2_20"]["df_matched"]["half"]
    assert counts["tp"].shape == (2, 4, 12)
    assert list(results.ablations["4_2_20"]) == list(QUICK.ablations)
    shares = [row["opens"] for row in results.mechanism]
    assert len(shares) == 6 and all(0 <= share <= 1 for share in shares)
    assert any("0 trainings left" in line for line in lines)
    pytest.importorskip("matplotlib")
    assert "DF, matched" in faces_report.publish(results, tmp_path)
    again = faces_results.read(tmp_path / faces_report.EVIDENCE)
    assert json.dumps(again.chosen) == json.dumps(results.chosen)


def test_counts_of_people_give_the_mean_f1(done):
    work, _ = done
    results = faces.collect(QUICK, Work(QUICK, work.folder, None))
    for cut, metric in (("half", "f1"), ("matched", "f1_matched")):
        counts = results.counts["4_2_20"]["df_matched"][cut]
        tp, fp, fn = (counts[name].sum(1) for name in ("tp", "fp", "fn"))  # [seeds, units]
        f1 = 100 * np.mean(2 * tp / np.maximum(2 * tp + fp + fn, 1), axis=1)
        found = results.scores[metric]["4_2_20"]["df_matched"]["student"]
        np.testing.assert_allclose(found, f1, rtol=1e-6)


def test_a_second_start_trains_what_is_missing_alone_and_gets_the_same(done, deck, monkeypatch):
    work, _ = done
    before = faces.collect(QUICK, work)
    chosen = [work.folder / "tuning", work.folder / "mechanism"]
    world, seeds = QUICK.worlds[0]
    lost = work.unit("df_matched", world, seeds)
    kept = {path for path in work.folder.rglob("*.*") if path != lost}
    times = {path: path.stat().st_mtime_ns for path in kept}
    lost.unlink()
    lines = []
    faces.run(QUICK, Work(QUICK, work.folder, deck, lines.append))
    assert len(lines) == 1 and "df_matched in 4_2_20; 0 trainings left" in lines[0]
    assert {path: path.stat().st_mtime_ns for path in kept} == times and chosen[0].is_dir()
    after = faces.collect(QUICK, work)
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "change",
    [
        {"lengths": QUICK.lengths._replace(steps=7)},
        {"sizes": QUICK.sizes._replace(inputs=15)},
        {"people": faces_data.PEOPLE[:12]},
        {"fine_rates": (0.05, 0.2)},
        {"tuning_seeds": (1001,)},
    ],
)
def test_other_settings_find_nothing_that_is_done(done, change):
    work, _ = done
    with pytest.raises(ValueError, match="does not hold the choice of start"):
        faces.collect(QUICK._replace(**change), Work(QUICK._replace(**change), work.folder, None))


def test_an_arm_is_another_file_where_its_settings_are_others(done):
    work, _ = done
    world = QUICK.worlds[0][0]
    names = {work.unit(name, world, seeds) for name in QUICK.arms for seeds in (2, 3)}
    assert len(names) == 2 * len(QUICK.arms)


def test_the_best_candidate_is_chosen_and_ends_are_marked(tmp_path, monkeypatch):
    study = QUICK._replace(
        rates=(0.01, 0.02, 0.04), weights=(1.0, 2.0, 4.0), tuning_seeds=(1000, 1001)
    )
    work = Work(study, tmp_path, None)
    work.engine = object()
    noise = {1000: 5.0, 1001: -5.0}  # the same for all candidates

    def auc(items):
        return [-abs(i.rate - 0.02) - abs(i.weight - 4) + noise[i.seed] for i in items]

    found = work._choose("df_matched", study.candidates("df_matched"), [], auc)
    assert found == (0.02, 4.0, True)
    pairs = study.candidates("df_matched")
    assert not faces_work.at_edge(pairs, (0.02, 2.0)) and faces_work.at_edge(pairs, (0.04, 2.0))


@pytest.mark.parametrize(
    ("option", "said"),
    [("--collect", "does not hold the choice of start"), ("--render", "feedback_faces/study.json")],
)
def test_a_report_of_nothing_is_one_line(tmp_path, option, said):
    command = [sys.executable, "-m", "experiments.feedback_study.faces", "--quick", option]
    ran = subprocess.run(
        [*command, f"--work={tmp_path}", f"--out={tmp_path}"], capture_output=True, text=True
    )
    assert ran.returncode == 2 and len(ran.stderr.strip().splitlines()) == 1
    assert said in ran.stderr


def test_weights_that_the_paper_does_not_print_are_chosen_at_the_supervised_rate(
    tmp_path, monkeypatch
):
    study = QUICK._replace(weights=(0.5, 2.0))
    work, asked = Work(study, tmp_path, None), []

    def choose(name, pairs, more, auc):
        asked.append((name, pairs))
        return faces_work.Chosen(*pairs[-1], edge=False)

    monkeypatch.setattr(work, "_choose", choose)
    assert work.settings_of("exact")[:2] == (0.1, 100.0)
    assert asked[-1] == ("exact", [(0.1, 25.0), (0.1, 100.0)])
    assert work.settings_of("df_threshold")[:2] == (0.1, 1.0)
    assert work.settings_of("student_soft")[:2] == (0.1, 0.0)
    assert work.settings_of("exact_tuned")[:2] == (0.1, 100.0) and len(asked[-1][1]) == 4
