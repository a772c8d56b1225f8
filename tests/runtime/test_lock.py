"""Runs that want the same training: holders that live, die, are paused; who waits, and what is then left."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from toy_stage import BATCH, CONFIG, ToyStream, lines, toy_fit

from piapdf_jax.runtime import exports, lock
from piapdf_jax.runtime.digests import digest_of

SILENT = 1.0
TOY = str(pathlib.Path(__file__).with_name("toy_stage.py"))
HOLDER = """
import sys
from piapdf_jax.runtime.lock import Lock, LockLost

held = Lock(sys.argv[1], training="pi1", run="runs/a", beat=0.1)
with held:
    print("held", held.acquire(lambda: False), flush=True)
    for line in sys.stdin:
        if line == "release\\n":
            break
        try:
            held.check()
            print("mine", flush=True)
        except LockLost as error:
            print("lost", error, flush=True)
print("released", flush=True)
"""


def started(*command):
    root = str(pathlib.Path(__file__).parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    env = {**os.environ, "PYTHONPATH": path, "JAX_NUM_CPU_DEVICES": "1"}
    return subprocess.Popen([sys.executable, *map(str, command)], text=True, env=env, **pipes)


class Holder:
    """Another process that holds a lock and says whether it does."""

    def __init__(self, path):
        self.process = started("-c", HOLDER, path)
        assert self.process.stdout.readline() == "held True\n"

    def ask(self, what="check"):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def end(self):
        for number in (signal.SIGCONT, signal.SIGKILL):
            self.process.send_signal(number)
        self.process.communicate()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "exports" / "pi1" / ".d1.lock"


@pytest.fixture
def holder(path):
    other = Holder(path)
    yield other
    other.end()


def lock_of(path, **options):
    options = {"beat": 0.1, "silent": SILENT, "poll": 0.05, **options}
    return lock.Lock(path, training="pi1", run="runs/b", **options)


def never():
    return False


def told(path, **changed):
    """Writes a lock's file as a process of this machine that lives would have, with changes."""
    made = {**lock._this_process(), "run": "runs/c", "token": "1", **changed}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made))


def seconds_until_held(path, **options):
    began = time.monotonic()
    with lock_of(path, **options) as mine:
        assert mine.acquire(never)
        mine.check()
        return time.monotonic() - began


def test_a_lock_is_a_file_that_names_its_holder_and_is_gone_afterwards(path):
    with lock_of(path) as mine:
        assert mine.acquire(never)
        made = json.loads(path.read_text())
        assert (made["host"], made["process"]) == (socket.gethostname(), os.getpid())
        assert made["run"] == "runs/b"
    assert os.listdir(path.parent) == []
    with pytest.raises(RuntimeError, match="stop"), lock_of(path) as mine:
        mine.acquire(never)
        raise RuntimeError("stop")
    assert os.listdir(path.parent) == []


def test_what_is_made_already_takes_no_lock(path):
    with lock_of(path) as mine:
        assert not mine.acquire(lambda: True)
        assert not path.parent.exists()
    asked = iter([False, True])  # made between the look for it and the lock
    with lock_of(path) as mine:
        assert not mine.acquire(lambda: next(asked))
        assert not path.exists()


def test_who_waits_says_for_whom_and_takes_what_was_made(path, holder, caplog):
    """A holder with a heartbeat is left alone for as long as it lives."""
    made, until = threading.Event(), time.monotonic() + 2.5 * SILENT
    threading.Timer(2.5 * SILENT, made.set).start()
    with caplog.at_level("INFO", logger="piapdf"), lock_of(path) as mine:
        assert not mine.acquire(made.is_set)
    assert time.monotonic() >= until
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"waiting for process {holder.process.pid} on {socket.gethostname()}" in line
    assert "run runs/a" in line and str(path) in line
    assert holder.ask() == "mine\n"
    assert holder.ask("release") == "released\n" and not path.exists()


def test_a_killed_holder_is_replaced_at_once(path, holder):
    holder.process.kill()  # nobody has asked yet how it ended: it is a zombie
    assert seconds_until_held(path, silent=60.0) < 5


def test_a_holder_paused_for_longer_finds_its_lock_gone_and_leaves_the_new_one_alone(path, holder):
    assert holder.ask() == "mine\n"
    holder.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with lock_of(path, beat=60.0) as mine:
        assert mine.acquire(never)
        assert SILENT <= time.monotonic() - began < 5 * SILENT
        before = path.read_bytes(), path.stat().st_mtime_ns
        holder.process.send_signal(signal.SIGCONT)
        assert holder.ask().startswith("lost pi1: the lock")
        time.sleep(0.3)  # three of its heartbeats
        assert holder.ask("release") == "released\n"
        assert (path.read_bytes(), path.stat().st_mtime_ns) == before
        mine.check()


def test_a_number_that_another_process_has_now_is_no_holder(path):
    told(path, started="before")
    assert seconds_until_held(path, silent=60.0) < 1


def test_where_there_is_no_proc_another_program_tells_when_a_process_began(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(lock.pathlib.Path, "read_bytes", missing)
    began = lock._started(os.getpid())
    assert began.endswith(time.strftime("%Y", time.gmtime()))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert lock._started(os.getpid()) == began and lock._alive(os.getpid(), began)
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert lock._started(ended.pid) == ""  # it has ended, and nobody has asked how
    ended.wait()
    assert lock._started(ended.pid) == ""


def test_of_another_machine_only_the_heartbeat_is_known_whatever_its_clock_says(path):
    told(path, machine="another", process=2**22 + 1)
    os.utime(path, (0, 0))
    assert SILENT <= seconds_until_held(path) < 5 * SILENT
    told(path, machine="another", process=2**22 + 1)
    stop = threading.Event()

    def beat():
        clock = 0.0
        while not stop.wait(0.1):
            clock += 0.1
            os.utime(path, (clock, clock))

    thread = threading.Thread(target=beat)
    thread.start()
    until = time.monotonic() + 2 * SILENT
    with lock_of(path) as mine:
        assert not mine.acquire(lambda: time.monotonic() > until)
    stop.set()
    thread.join()
    assert json.loads(path.read_text())["machine"] == "another"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"process": "x"}', b"\xff"])
def test_a_file_that_names_nobody_is_a_silent_holder(path, text):
    path.parent.mkdir(parents=True)
    path.write_bytes(text)
    assert 0.3 <= seconds_until_held(path, silent=0.3) < 3


def test_a_run_that_was_paused_itself_has_not_watched_meanwhile(path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(lock.time, "monotonic", lambda: now[0])
    watch, here = lock._Watch(60.0, 3.0), lock._this_process()
    holder = {**here, "machine": "another"}
    gone = []
    for step in (1.0,) * 30 + (500.0,) + (1.0,) * 27:
        gone.append(watch.gone((b"x", 1), holder))
        now[0] += step
    assert not any(gone)  # 30 s, 3 of the 500 s, 26 s
    assert watch.gone((b"x", 1), holder) == "silent for 60 s"


def test_of_many_that_wait_for_a_dead_holder_one_has_it_at_a_time(path):
    told(path, started="before")
    inside, most, turns = [], [], []

    def run(number):
        with lock_of(path, poll=0.001) as mine:
            assert mine.acquire(never)
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            mine.check()
            inside.remove(number)
            turns.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(turns) == list(range(12)) and max(most) == 1
    assert os.listdir(path.parent) == []


def test_an_error_over_files_that_another_run_has_taken_is_that_it_was_replaced(path):
    error = FileNotFoundError("a checkpoint that another run has deleted")
    with pytest.raises(FileNotFoundError), lock_of(path) as mine:
        assert mine.acquire(never)
        raise error
    with pytest.raises(lock.LockLost, match="another run") as told, lock_of(path) as mine:
        assert mine.acquire(never)
        path.unlink()
        raise error
    assert told.value.__context__ is error
    for unchanged in (KeyboardInterrupt, SystemExit):
        with pytest.raises(unchanged), lock_of(path) as mine:
            assert mine.acquire(never)
            path.unlink()
            raise unchanged


def test_a_lock_that_the_disk_refuses_is_told_in_one_line(path, monkeypatch):
    def full(file, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lock.os, "write", full)
    with pytest.raises(OSError, match=r"\.d1\.lock of \d+ bytes could not be written"):
        lock_of(path).acquire(never)
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize(("batch", "steps"), [(8, [1, 3, 6]), (9, [1, 3, 6, 9])])
def test_nothing_is_written_from_when_the_lock_is_lost(tmp_path, batch, steps):
    """Before the line of step 9, and before the checkpoint of step 10."""
    read = []

    def stream(step):
        for batch in ToyStream(step):
            read.append(int(batch.record_index[0]) // BATCH)
            yield batch

    def check():
        if batch in read:
            raise lock.LockLost("lost")

    with pytest.raises(lock.LockLost):
        toy_fit(tmp_path, 17, stream=stream, check=check)
    assert [row["step"] for row in lines(tmp_path)] == steps
    assert os.listdir(tmp_path / "checkpoints") == ["5"]


def test_no_export_is_named_once_the_lock_is_lost(tmp_path):
    def check():
        raise lock.LockLost("lost")

    parts = {"head": ({"kernel": np.ones(3, np.float32)}, {})}
    with pytest.raises(lock.LockLost):
        exports.write_export(tmp_path, "toy", "d1", parts, {}, check=check)
    assert os.listdir(tmp_path / "exports" / "toy") == []


def toy(folder, *options):
    return started(TOY, folder, 17, *options)


def wait_for(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def straight(tmp_path):
    toy_fit(tmp_path / "straight", 17)
    return lines(tmp_path / "straight")


def test_two_runs_that_share_a_training_make_it_once(tmp_path):
    """As two seeds share stage 1 of PI: run folders of their own, one folder of exports."""
    runs = tmp_path / "runs"
    pair = [toy(tmp_path / name, "--runs", runs, "--slow", 0.05) for name in ("a", "b")]
    out = [process.communicate(timeout=60)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], out
    waited = ["found" in text for text in out]
    assert sorted(waited) == [False, True]
    first, second = (tmp_path / "ab"[waited.index(state)] for state in (False, True))
    assert f"run {first}" in out[waited.index(True)]
    assert lines(first) == straight(tmp_path) and not second.exists()
    digests = {line for text in out for line in text.splitlines() if line.startswith("digest")}
    assert len(digests) == 1
    assert os.listdir(runs / "exports" / "toy") == [digest_of(CONFIG)]


def test_the_same_command_twice_and_the_first_paused_for_longer(tmp_path):
    """The second goes on from the first's checkpoint; the first then writes nothing more."""
    run = tmp_path / "run"
    first = toy(run, "--slow", 0.2, "--silent", SILENT)
    wait_for((run / "metrics.jsonl").exists)
    second = toy(run, "--silent", SILENT)
    wait_for((run / "checkpoints" / "5").is_dir)
    first.send_signal(signal.SIGSTOP)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0 and "this run takes over" in out and "found" not in out
    shutil.rmtree(
        run / "checkpoints"
    )  # as the launcher does, before the first has looked at its own
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    first.send_signal(signal.SIGCONT)
    told, _ = first.communicate(timeout=60)
    assert first.returncode == 77 and "is no longer this run's" in told
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert lines(run) == straight(tmp_path)
