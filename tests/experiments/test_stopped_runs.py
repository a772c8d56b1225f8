"""Runs that are stopped, go wrong, choose their state, or make one update of several batches."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from nano_runs import NANO, contents, run

from experiments import config as configs
from experiments import status
from experiments.pipeline import Pipeline
from piapdf_jax.runtime import train_stats
from piapdf_jax.runtime.steps import NonFiniteError


def launch(data, runs, *settings) -> list[str]:
    command = [sys.executable, "-m", "experiments.piapdf", "--config=demo", "--stages=baseline"]
    command += [f"--data_dir={data}", f"--runs_dir={runs}"]
    return command + [f"--set={setting}" for setting in (*NANO, *settings)]


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_and_resumed_is_the_straight_run(small_data, tmp_path, number):
    settings = ["methods=baseline", "baseline.steps=40", "run.checkpoint_every=7"]
    run(small_data, tmp_path / "straight", *settings)
    stopped = subprocess.Popen(
        launch(small_data, tmp_path / "stopped", *settings),
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    folder = tmp_path / "stopped" / "demo" / "fold1_seed0" / "baseline"
    for _ in range(1200):
        lines = [path.read_text().count("\n") for path in folder.glob("*/metrics.jsonl")]
        if lines and lines[0] >= 5:
            break
        time.sleep(0.1)
    stopped.send_signal(number)
    _, told = stopped.communicate(timeout=120)
    assert "stopped and saved at step" in told and "Traceback" not in told
    assert stopped.returncode > 128
    assert not list((tmp_path / "stopped").glob("exports/*/*/export.json"))
    run(small_data, tmp_path / "stopped", *settings)
    assert contents(tmp_path / "stopped") == contents(tmp_path / "straight")
    assert lines_of(tmp_path / "stopped") == lines_of(tmp_path / "straight")


def lines_of(runs: pathlib.Path) -> list[dict]:
    path = next((runs / "demo" / "fold1_seed0" / "baseline").glob("*/metrics.jsonl"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in train_stats.WALL_CLOCK} for row in rows]


def test_numbers_that_stay_infinite_end_the_run_and_name_the_frames(small_data, tmp_path):
    settings = ["methods=baseline", "baseline.learning_rate=1e30", "run.max_skipped=1"]
    command = launch(small_data, tmp_path, *settings, "baseline.steps=40")
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    message = ended.stderr.strip().splitlines()[-1]
    assert message.startswith("error: baseline: loss or gradient was not finite in 2 steps")
    (saved,) = tmp_path.glob("demo/fold1_seed0/baseline/*/not_finite/step_*.npz")
    assert str(saved) in message
    with np.load(saved) as arrays:
        assert arrays["image"].shape == (8, 64, 64, 3)
        names = arrays["frames.frames"].tolist()
    assert len(names) == 8 and f"with frames: {', '.join(names)}." in message
    assert all(len(name.split("/")) == 3 for name in names)


def test_a_training_under_way_and_checkpoints_of_another_configuration(
    small_data, tmp_path, caplog
):
    settings = ["methods=baseline", "run.checkpoint_every=1", "run.max_skipped=0"]
    with pytest.raises(NonFiniteError):
        run(small_data, tmp_path, *settings, "baseline.learning_rate=1e30")
    (one,) = status.training_statuses(tmp_path / "demo" / "fold1_seed0")
    assert one.state == "under way" and one.steps == 4 and one.step >= 1
    assert one.checkpoint is not None and one.age is not None
    with caplog.at_level("WARNING", logger="piapdf"):
        run(small_data, tmp_path, *settings)
    told = [r.getMessage() for r in caplog.records if "another configuration" in r.getMessage()]
    assert len(told) == 1
    assert "settings.stage.optimizer.learning_rate is 1e+30 there" in told[0]
    assert "batch_size" not in told[0]


def test_people_kept_apart_choose_the_state_and_are_never_trained_on(small_data, tmp_path):
    settings = ["eval.validation_subjects=1", "eval.validate_every=2", "methods=baseline"]
    loaded = configs.load("demo", [*NANO, *settings])
    pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(tmp_path), name="v")
    results = pipeline.run()
    for name in ("baseline", "df"):
        job = pipeline.job(name)
        (held,) = job.slices.validation.include
        read = set()
        for step in range(60):
            names = sum(job.stream().frames(step).values(), [])
            read |= {frame.split("/")[0] for frame in names}
        assert held not in read and len(read) > 1
        assert held not in set(job.slices.test.records().table()["subject"])
    (metrics,) = (tmp_path / "v" / "fold1_seed0" / "baseline").glob("*/metrics.jsonl")
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    scored = {row["step"]: row["validation_f1"] for row in rows if "validation_f1" in row}
    assert set(scored) == {2, 4}
    step, score = results["trainings"]["baseline"]["report"]["best"]
    assert score == max(scored.values()) == scored[step]
    assert not (metrics.parent / "best").exists()
    with pytest.raises(configs.ConfigError, match="leaves none of the 4 people"):
        run(small_data, tmp_path, "eval.validation_subjects=4", "methods=baseline")


def test_several_batches_make_one_update_under_a_profile(small_data, tmp_path):
    command = launch(small_data, tmp_path, "methods=baseline", "baseline.accumulate=2")
    subprocess.run([*command, "--profile=2"], capture_output=True, env=os.environ, check=True)
    (trace,) = tmp_path.glob("demo/fold1_seed0/baseline/*/profile/plugins/profile/*/*.xplane.pb")
    assert trace.stat().st_size > 1000
    results = json.loads((tmp_path / "demo" / "fold1_seed0" / "results.json").read_text())
    encoder = results["trainings"]["baseline"]["report"]["trained"]["encoder"]
    assert encoder["moved"] == encoder["leaves"]


@pytest.mark.parametrize(("share", "frames"), [(0.0, 0), (0.25, 2), (0.5, 4)])
def test_unlabeled_frames_of_disfa_where_it_lies_beside(small_data, tmp_path, share, frames):
    settings = [f"df.disfa_fraction={share}", "df.relabel_fraction=0.25", "methods=df"]
    loaded = configs.load("demo", [*NANO, *settings])
    pipeline = Pipeline(loaded, data_dir=str(small_data), runs_dir=str(tmp_path), name="d")
    stream = pipeline.job("df").stream()
    for step in range(4):
        names = stream.frames(step)
        assert len(names["labeled"]) == len(names["unlabeled"]) == 8
        assert not set(names["labeled"]) & set(names["unlabeled"])
        # DISFA has no tasks: its frames are subject/frame.
        assert sum(name.count("/") == 1 for name in names["unlabeled"]) == frames
        batch = stream(step)
        assert (batch.unlabeled.labels == -1).all() and (batch.labeled.labels != -1).any()
