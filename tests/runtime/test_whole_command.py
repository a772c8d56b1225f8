"""What a pass says of the command that it is a part of."""

import io
import logging

import pytest
from rich.console import Console

from piapdf_jax.runtime import writers
from piapdf_jax.runtime.writers import WholeCommand, format_duration, part_of


@pytest.mark.parametrize(
    "seconds, told",
    [
        (None, "-"),
        (0.0, "0 s"),
        (99.4, "99 s"),
        (99.6, "2 min"),
        (3569.0, "59 min"),
        (3571.0, "1 h 00 min"),
        (11_100.0, "3 h 05 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds, told):
    assert format_duration(seconds) == told


def a_command():
    return WholeCommand(
        title=lambda name: f"fold 2, seed 0, {name.upper()}",
        left=lambda name, own: None if own is None else own + (1000 if name == "pi1" else 0),
    )


def test_plain_lines_say_the_run_and_the_time_left_of_all(monkeypatch, caplog):
    now = [100.0]
    monkeypatch.setattr(writers.time, "monotonic", lambda: now[0])
    with (
        caplog.at_level(logging.INFO, logger="piapdf.writers"),
        part_of(a_command()),
        writers.Progress("pi1", 0, 100, 8, every=10.0) as progress,
    ):
        for step in range(1, 12):
            now[0] += 10.0
            progress.update(step)
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "fold 2, seed 0, PI1: step 0/100, compiling"
    assert said[1] == (
        "fold 2, seed 0, PI1: step 1/100, first step done, - left of the whole command"
    )
    # 89 steps of 10 s, and 1,000 s of others.
    assert said[-1].endswith("0.8 images/s, 890 s left, 32 min left of the whole command")
    assert writers.Progress("pi1", 0, 100, 8).name == "pi1"


def test_bar_says_the_same(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(
        writers, "Console", lambda **_: Console(file=out, force_terminal=True, width=160)
    )
    with part_of(a_command()), writers.Progress("pi1", 0, 4, 8) as progress:
        for step in range(1, 5):
            progress.update(step, {"loss": 0.25})
    assert "fold 2, seed 0, PI1" in out.getvalue() and "17 min left of the whole" in out.getvalue()
