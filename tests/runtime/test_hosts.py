"""Two processes on this machine, over gloo: one training, and what happens when one of them is gone."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from toy_stage import CONFIG, lines

from piapdf_jax.runtime import exports, hosts, lock
from piapdf_jax.runtime.digests import digest_of

PROGRAM = str(pathlib.Path(__file__).with_name("toy_stage.py"))
STEPS = 17


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


#: What JAX 0.10 and 0.12 raise in a step after the other host is gone.
GONE = (
    jax.errors.JaxRuntimeError("UNKNOWN: Gloo all-reduce failed: Connection reset by peer"),
    ValueError("UNKNOWN: Gloo all-reduce failed: Read error [127.0.0.1]:63160"),
)


@pytest.mark.parametrize("error", GONE, ids=lambda error: type(error).__name__)
def test_an_error_of_a_collective_is_told_as_a_host_that_is_lost(monkeypatch, error):
    assert hosts.as_host_lost(error) is None, "one host has nobody to lose"
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    told = hosts.as_host_lost(error)
    assert isinstance(told, hosts.HostLost) and str(error) in str(told)
    assert hosts.as_host_lost(ValueError("labels [4, 3] unlike [4, 2]")) is None
    assert hosts.as_host_lost(KeyError("gloo")) is None


def start(folder, *arguments, devices=1):
    root = str(pathlib.Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "JAX_NUM_CPU_DEVICES": str(devices)}
    return subprocess.Popen(
        [sys.executable, PROGRAM, str(folder), str(STEPS), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )


def pair(folder, *arguments):
    port = free_port()
    return [start(folder, "--port", port, "--host", host, *arguments) for host in (0, 1)]


def finish(processes, seconds=120):
    told = [process.communicate(timeout=seconds)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    return told


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same training in one process with two devices."""
    folder = tmp_path_factory.mktemp("alone")
    process = start(folder, "--devices", 2, devices=2)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    return folder


def params(folder):
    with np.load(folder / "params.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def same(folder, alone):
    rows, wanted = lines(folder), lines(alone)
    assert [row["step"] for row in rows] == [row["step"] for row in wanted]
    np.testing.assert_allclose(
        [row["loss"] for row in rows], [row["loss"] for row in wanted], rtol=1e-6
    )
    assert rows[-1]["count_frames"] == wanted[-1]["count_frames"]
    for name, array in params(alone).items():
        np.testing.assert_allclose(params(folder)[name], array, rtol=1e-5, atol=1e-6)


def test_two_hosts_wait_as_one_and_train_as_one_process_does(tmp_path, alone):
    """While another run holds their training, the second host waits for what the first one sees."""
    path = exports.lock_path(tmp_path, "toy", digest_of(CONFIG))
    with lock.Lock(path, training="toy", run="other", beat=1) as other:
        assert other.acquire(lambda: False)
        processes = pair(tmp_path)
        waiting = next(line for line in processes[0].stdout if "waiting for process" in line)
        assert f"{os.getpid()} on" in waiting and "run other" in waiting
        time.sleep(1.5)
        assert [process.poll() for process in processes] == [None, None]
    told = finish(processes)
    assert not any("takes over" in out or "found" in out for out in told)
    assert not path.exists()
    digests = {line for out in told for line in out.splitlines() if line.startswith("digest")}
    assert len(digests) == 1, "the hosts ended with different parameters"
    same(tmp_path, alone)
    assert len(list(tmp_path.glob("exports/toy/*/export.json"))) == 1


@pytest.mark.nightly
@pytest.mark.parametrize("gone", [0, 1])
def test_a_host_that_is_killed_ends_the_other_and_the_pair_goes_on(tmp_path, alone, gone):
    processes = pair(tmp_path, "--slow", 0.1)
    deadline = time.monotonic() + 120
    while not any(path.name.isdigit() for path in tmp_path.glob("checkpoints/*")):
        assert time.monotonic() < deadline and processes[0].poll() is None
        time.sleep(0.05)
    processes[gone].kill()
    processes[gone].communicate()
    began = time.monotonic()
    left = processes[1 - gone]
    out, _ = left.communicate(timeout=60)
    assert time.monotonic() - began < 60
    assert left.returncode != 0
    if "another host stopped or cannot be reached" in out:
        assert "start all hosts again" in out
    else:  # without its coordinator, JAX ends a process at once, in words of its own
        assert gone == 0 and "another task died" in out, out
    finish(pair(tmp_path))
    same(tmp_path, alone)


@pytest.mark.nightly
def test_a_signal_to_one_host_saves_on_both(tmp_path, alone):
    processes = pair(tmp_path, "--slow", 0.1)
    deadline = time.monotonic() + 120
    while not (tmp_path / "metrics.jsonl").exists() or len(lines(tmp_path)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    told = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [75, 75], told
    steps = {line.split()[1] for out in told for line in out.splitlines() if "interrupted" in line}
    assert len(steps) == 1
    finish(pair(tmp_path))
    same(tmp_path, alone)
