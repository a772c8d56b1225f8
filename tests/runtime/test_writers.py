import builtins
import io
import json
import logging
import sys

import pytest
from rich.console import Console

from piapdf_jax.runtime import writers


def test_jsonl_line_is_on_disk_at_once_and_floats_survive(tmp_path):
    writer = writers.JsonlWriter(tmp_path / "deep" / "metrics.jsonl")
    writer.write(1, {"loss": 0.1 + 0.2, "bad": float("nan"), "per_au": [1.0, float("inf")]})
    rows = writers.read_jsonl(tmp_path / "deep" / "metrics.jsonl")
    writer.close()
    assert rows == [{"step": 1, "loss": 0.1 + 0.2, "bad": None, "per_au": [1.0, None]}]


def test_resuming_cuts_later_lines_and_a_torn_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    whole = [json.dumps({"step": step, "loss": step / 3}) + "\n" for step in (2, 4, 6, 8)]
    path.write_text("".join(whole) + '{"step": 10, "lo')
    assert [row["step"] for row in writers.read_jsonl(path)] == [2, 4, 6, 8]
    writer = writers.JsonlWriter(path, step=6)
    writer.write(8, {"loss": 1.0})
    writer.sync()
    writer.close()
    assert path.read_text() == "".join(whole[:3]) + '{"step": 8, "loss": 1.0}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_missing_file_has_no_rows(tmp_path):
    assert writers.read_jsonl(tmp_path / "metrics.jsonl") == []


def test_tensorboard_gets_a_point_a_number(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter  # noqa: F401  the format read below

    writer = writers.open_writers(tmp_path, step=0, primary=True)
    writer.write(3, {"loss": 0.5, "per_au": [1.0, 2.0]})
    writer.sync()
    writer.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    points, data = {}, file.read_bytes()
    while data:  # each record: length, its checksum, event, its checksum
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        for value in event.summary.value:
            points[value.tag] = (event.step, value.simple_value)
        data = data[16 + length :]
    assert points == {"loss": (3, 0.5), "per_au/0": (3, 1.0), "per_au/1": (3, 2.0)}


def test_without_tensorboard_one_line_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.delitem(sys.modules, "tensorboardX", raising=False)
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("tensorboardX"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with caplog.at_level(logging.INFO, logger="piapdf.writers"):
        writer = writers.open_writers(tmp_path, step=0, primary=True)
    writer.write(1, {"loss": 1.0})
    writer.close()
    assert len(caplog.records) == 1 and "tensorboardX is not installed" in caplog.text
    assert len(writers.read_jsonl(tmp_path / "metrics.jsonl")) == 1


def test_hosts_that_are_not_the_first_write_nothing(tmp_path):
    writer = writers.open_writers(tmp_path / "run", step=0, primary=False)
    writer.write(1, {"loss": 1.0})
    writer.close()
    assert not (tmp_path / "run").exists()


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(writers.time, "monotonic", lambda: now[0])
    return now


def test_plain_progress_says_rate_and_time_left(clock, caplog):
    with (
        caplog.at_level(logging.INFO, logger="piapdf.writers"),
        writers.Progress("pi1", 0, 100, 8, every=10.0) as progress,
    ):
        clock[0] += 60.0  # compilation does not count for the rate
        progress.update(1, {"loss": 2.0})
        for step in range(2, 22):
            clock[0] += 1.0
            progress.update(step)
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "pi1: step 0/100, compiling"
    assert said[1] == "pi1: step 1/100, loss 2.0000, first step done"
    assert said[2] == "pi1: step 11/100, loss 2.0000, 8.0 images/s, 89 s left"
    assert len(said) == 4


def test_bar_on_a_terminal(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(
        writers, "Console", lambda **_: Console(file=out, force_terminal=True, width=120)
    )
    with writers.Progress("pi1", 0, 4, 8) as progress:
        for step in range(1, 5):
            progress.update(step, {"loss": 0.25})
    assert "pi1" in out.getvalue() and "4/4" in out.getvalue() and "images/s" in out.getvalue()
