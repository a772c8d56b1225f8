import pytest

from experiments.detection import progress
from experiments.detection.engine import Counts


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


def told(shown, clock, *steps):
    for seconds, frames in steps:
        clock.now += seconds
        shown(Counts(frames=frames), {})


def test_speed_and_time_left(clock, capsys):
    shown = progress.Progress("a.mp4", 1000)
    # 100 frames stood in the journal before; then 20 a second: 660 are left, 33 s.
    told(shown, clock, (3, 100), (5, 200), (7, 340))
    shown.close()
    assert capsys.readouterr().err == "a.mp4: frame 340 of 1000, 33 s left, 20.0 frames/s\n"


def test_a_line_now_and_then_where_nobody_watches(clock, capsys):
    shown = progress.Progress("a.mp4", 100_000)
    told(shown, clock, *[(1, 10 * k) for k in range(1, 61)])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and lines[0].endswith("min left, 10.0 frames/s")


@pytest.mark.parametrize("expected", [None, 10])
def test_no_time_left_where_nobody_knows_it(clock, capsys, expected):
    # A camera, or a film that says less than it has.
    shown = progress.Progress("camera:0", expected)
    told(shown, clock, (0, 30), (30, 330))
    assert capsys.readouterr().err == "camera:0: frame 330, 10.0 frames/s\n"


def test_a_terminal_has_one_line(clock, capsys, monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    shown = progress.Progress("a", 20)
    told(shown, clock, (0, 1), (1, 11), (1, 20))
    shown.close()
    text = capsys.readouterr().err
    assert "\n" not in text and text.count("\r\x1b[K") == 3 and text.endswith("\r\x1b[K")
