import functools
import gc
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_stage import BATCH, CONFIG, ToyStage, ToyStream, lines, toy_batch, toy_fit

from piapdf_jax.keys import named_key
from piapdf_jax.runtime import mesh, steps
from piapdf_jax.runtime.digests import tree_digest
from piapdf_jax.stages.base import StageState

STEPS = 17
# Reads of other arrays that were under way when one failed end after Orbax's event loop has.
noisy = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
PROGRAM = str(pathlib.Path(__file__).with_name("toy_stage.py"))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A training that nothing disturbs."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, toy_fit(folder, STEPS)


def test_steps_are_those_of_the_stage_with_named_keys_and_batches_by_step(straight):
    stage, key = ToyStage(), jax.random.key(3)
    state, frozen = stage.init(named_key(key, "init"), {})
    losses, yes = [], np.zeros(3, int)
    for step in range(STEPS):
        batch = jax.tree.map(jnp.asarray, toy_batch(step))
        state, metrics = stage.train_step(state, frozen, batch, named_key(key, "train_step", step))
        losses.append(float(metrics["loss"]))
        yes += np.asarray(metrics["count_yes"])
    folder, fitted = straight
    assert tree_digest(fitted.state) == tree_digest(state)
    logged = [1, 3, 6, 9, 12, 15, 17]
    rows = lines(folder)
    assert [row["step"] for row in rows] == logged
    assert [row["loss"] for row in rows] == [losses[step - 1] for step in logged]
    assert fitted.report["totals"]["count_yes"] == yes.tolist()


def test_report(straight):
    folder, fitted = straight
    report = json.loads(json.dumps(fitted.report))
    start = ToyStage().init(named_key(jax.random.key(3), "init"), {})[0]
    rows = lines(folder)
    assert report["steps"] == STEPS and report["skipped"] == 0
    assert report["loss_start"] == rows[0]["loss"] and report["loss_end"] == rows[-1]["loss"]
    assert report["totals"]["count_frames"] == STEPS * BATCH
    assert report["trained"]["encoder"]["leaves"] == report["trained"]["encoder"]["moved"] == 1
    change = np.abs(
        np.asarray(fitted.state.params["encoder"]["kernel"], np.float64)
        - np.asarray(start.params["encoder"]["kernel"])
    ).max()
    np.testing.assert_allclose(report["trained"]["encoder"]["max_abs_change"], change, rtol=1e-6)
    assert report["frozen_unchanged"] is True
    assert report["images_per_second"] > 0
    # In milliseconds: a toy step that an earlier test has compiled takes less.
    assert 0 <= report["first_step_seconds"] < report["seconds"]
    assert report["seconds"] >= report["first_step_seconds"] + report["init_seconds"]


def test_without_an_audit_the_training_is_the_same_and_nothing_is_compared(tmp_path, straight):
    fitted = toy_fit(tmp_path, STEPS, audit=False)
    assert tree_digest(fitted.state) == tree_digest(straight[1].state)
    assert lines(tmp_path) == lines(straight[0])
    missing = {"trained", "state", "frozen_unchanged"}
    assert set(straight[1].report) - set(fitted.report) == missing
    for name in ("steps", "loss_start", "loss_end", "skipped", "totals"):
        assert fitted.report[name] == straight[1].report[name]


def same_training(folder, fitted, straight):
    assert tree_digest(fitted.state) == tree_digest(straight[1].state)
    assert lines(folder) == lines(straight[0])
    assert fitted.report["totals"] == straight[1].report["totals"]
    for name in ("steps", "loss_start", "loss_end", "skipped", "trained", "frozen_unchanged"):
        assert fitted.report[name] == straight[1].report[name]


@pytest.mark.parametrize("ends", [[4], [5], [7, 14], [16]])
def test_stopped_and_resumed_is_straight(tmp_path, straight, ends):
    for end in ends:  # the data ends where a machine would
        with pytest.raises(RuntimeError, match=f"toy: data ended at step {end} of {STEPS}"):
            toy_fit(tmp_path, STEPS, stream=functools.partial(ToyStream, end=end))
    same_training(tmp_path, toy_fit(tmp_path, STEPS), straight)


def test_a_finished_training_is_not_trained_again(tmp_path, straight):
    first = toy_fit(tmp_path, STEPS)

    def no_data(step):
        raise AssertionError("asked for data")

    again = toy_fit(tmp_path, STEPS, stream=no_data)
    same_training(tmp_path, again, straight)
    assert again.report["images_per_second"] == first.report["images_per_second"]


@noisy
def test_a_corrupt_checkpoint_falls_back_and_ends_the_same(tmp_path, straight, caplog):
    with pytest.raises(RuntimeError):
        toy_fit(tmp_path, STEPS, stream=functools.partial(ToyStream, end=13))
    (tmp_path / "checkpoints" / "10" / "state" / "manifest.ocdbt").write_bytes(b"")
    fitted = toy_fit(tmp_path, STEPS)
    gc.collect()
    same_training(tmp_path, fitted, straight)
    assert "checkpoints/10 cannot be read" in caplog.text


def test_checkpoints_of_another_training_are_refused(tmp_path):
    toy_fit(tmp_path, 6)
    other = {**CONFIG, "settings": {"learning_rate": 0.1, "aus": [1, 2, 4]}}
    differs = r"another configuration: settings.learning_rate is 0.02 there, 0.1 here\."
    with pytest.raises(ValueError, match=differs):
        toy_fit(tmp_path, 6, config=other)


def test_one_device_equals_two(tmp_path, straight):
    pair = mesh.data_mesh(jax.devices()[:2])
    fitted = toy_fit(tmp_path, STEPS, mesh=pair)
    leaves = jax.tree.leaves(fitted.state)
    assert all(leaf.sharding.device_set == set(pair.devices.flat) for leaf in leaves)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
        (fitted.state.params, fitted.state.batch_stats),
        (straight[1].state.params, straight[1].state.batch_stats),
    )


def test_two_devices_go_on_where_one_stopped(tmp_path, straight):
    with pytest.raises(RuntimeError):
        toy_fit(tmp_path, STEPS, stream=functools.partial(ToyStream, end=11))
    fitted = toy_fit(tmp_path, STEPS, mesh=mesh.data_mesh(jax.devices()[:2]))
    for row, wanted in zip(lines(tmp_path), lines(straight[0]), strict=True):
        assert row["step"] == wanted["step"]
        np.testing.assert_allclose(row["loss"], wanted["loss"], rtol=1e-5)
    assert fitted.report["totals"]["count_frames"] == STEPS * BATCH


def test_a_batch_that_does_not_divide_is_refused_before_anything_compiles(tmp_path):
    with pytest.raises(ValueError, match="batch size 9 is not divisible by 2 devices: use 8 or 10"):
        toy_fit(tmp_path, 3, batch_size=9, mesh=mesh.data_mesh(jax.devices()[:2]))


def test_exports_that_a_state_starts_from_stay_as_they_are(tmp_path, straight):
    given = ToyStage().export(straight[1].state)
    before = tree_digest(given)
    fitted = toy_fit(tmp_path, 4, inputs={"before": given})
    assert tree_digest(given) == before
    assert fitted.report["trained"]["encoder"]["moved"] == 1
    assert not np.array_equal(
        given["encoder"][0]["kernel"], fitted.state.params["encoder"]["kernel"]
    )


def test_a_skipped_step_is_counted_and_a_resumed_run_still_knows(tmp_path):
    stage = ToyStage(bad_step=2)
    with pytest.raises(RuntimeError):
        toy_fit(tmp_path, 8, stage=stage, stream=functools.partial(ToyStream, end=6))
    fitted = toy_fit(tmp_path, 8, stage=stage)
    assert fitted.report["skipped"] == 1 == int(fitted.state.skipped)
    assert lines(tmp_path)[1]["loss"] is None and fitted.report["loss_end"] is not None


class Learner(NamedTuple):
    params: dict
    opt_state: tuple


class Pair(NamedTuple):
    step: jax.Array
    teacher: Learner
    student: Learner


class StillStage:
    """A pair of learners of which only the student moves, and a frozen part that it breaks."""

    def init(self, key, inputs):
        learner = Learner({"w": jnp.ones((2, 2)), "b": jnp.zeros(2)}, ())
        state = Pair(jnp.int32(0), learner, jax.tree.map(jnp.copy, learner))
        return state, {"p": ({"k": jnp.ones(2)}, {})}

    def train_step(self, state, frozen, batch, key):
        moved = {**state.student.params, "b": state.student.params["b"] - 0.5}
        state = state._replace(step=state.step + 1, student=state.student._replace(params=moved))
        return state, {"loss": jnp.float32(1)}


def test_report_tells_what_stood_still(tmp_path):
    report = toy_fit(tmp_path, 4, stage=StillStage()).report
    assert report["trained"] == {
        "teacher": {"leaves": 2, "moved": 0, "max_abs_change": 0.0},
        "student": {"leaves": 2, "moved": 1, "max_abs_change": 2.0},
    }
    assert report["totals"] == {} and report["frozen_unchanged"] is True


def test_report_sees_frozen_parts_that_changed(tmp_path, monkeypatch):
    class Breaking(StillStage):
        def train_step(self, state, frozen, batch, key):
            frozen["p"][0]["k"] = frozen["p"][0]["k"] + 1
            return super().train_step(state, frozen, batch, key)

    assert toy_fit(tmp_path, 2, stage=Breaking()).report["frozen_unchanged"] is False


def test_the_stream_is_closed_whatever_happens(tmp_path):
    made = []

    def stream(step):
        made.append(ToyStream(step, end=3 if not made else None))
        return made[-1]

    with pytest.raises(RuntimeError):
        toy_fit(tmp_path, 5, stream=stream)
    toy_fit(tmp_path, 5, stream=stream)
    assert [s.closed for s in made] == [True, True] and made[1].step >= 5


def test_waiting_for_input_is_measured(tmp_path, caplog):
    with caplog.at_level("INFO", logger="piapdf"):
        starved = toy_fit(
            tmp_path / "a", 12, stream=functools.partial(ToyStream, slow=0.1), log_every=4
        )
    text = (tmp_path / "a" / "metrics.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["step"] for row in rows] == [1, 4, 8, 12]
    assert all(0.5 < row["input_wait"] <= 1 for row in rows[1:])
    assert 1.2 <= starved.report["wait_seconds"] < starved.report["seconds"]
    assert f"{rows[-1]['input_wait']:.0%} waiting for input" in caplog.text
    fed = toy_fit(tmp_path / "b", 12).report
    assert fed["wait_seconds"] < 0.5 * starved.report["wait_seconds"]


def test_each_step_compiles_once(tmp_path):
    stage = ToyStage(noise=0.25)
    gc.collect()  # steps of stages that are gone leave the cache before it is counted
    before = ToyStage.train_step._cache_size()
    toy_fit(tmp_path / "a", 6, stage=stage)
    assert ToyStage.train_step._cache_size() == before + 1


def test_a_thread_can_train(tmp_path, straight):
    made = []
    thread = threading.Thread(target=lambda: made.append(toy_fit(tmp_path, STEPS)))
    thread.start()
    thread.join()
    same_training(tmp_path, made[0], straight)


@pytest.fixture
def python_handles_sigint():
    """What a shell sets for a job in the background, to ignore it, is not what is tested."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_handles_sigint")
def test_signals_are_noted_once_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with steps.StopSignals() as stop:
        assert stop.poll(True) is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.poll(False) == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) is before


def program(*arguments):
    root = str(pathlib.Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )


def wait_for_step(folder, step):
    """Waits until a line of metrics of this step or a later one is there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if any(row["step"] >= step for row in lines(folder)):
                return
        except FileNotFoundError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"no line of step {step} in {folder}")


def test_killed_twice_and_resumed_is_straight(tmp_path, straight):
    for step in (6, 12):
        running = program(tmp_path, STEPS, "--slow", 0.2)
        wait_for_step(tmp_path, step)
        running.kill()
        running.communicate()
    same_training(tmp_path, toy_fit(tmp_path, STEPS), straight)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 75), (signal.SIGKILL, -9)]
)
def test_a_signal_saves_and_the_next_start_ends_as_the_straight_run(
    tmp_path, straight, number, code
):
    assert isinstance(straight[1].state, StageState)
    running = program(tmp_path, STEPS, "--slow", 0.2)
    wait_for_step(tmp_path, 6)
    running.send_signal(number)
    out, err = running.communicate(timeout=120)
    assert running.returncode == code, err
    assert "Traceback" not in err
    if number != signal.SIGKILL:
        step = int(out.split("interrupted ")[1].split()[0])
        assert 6 <= step < STEPS
        assert f"toy: stopped and saved at step {step} of {STEPS}" in out
        assert (tmp_path / "checkpoints" / str(step)).is_dir()
    same_training(tmp_path, toy_fit(tmp_path, STEPS), straight)
