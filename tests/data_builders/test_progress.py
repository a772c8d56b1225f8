import time

from data_builders import progress


def test_what_an_interrupted_build_had_made_does_not_shorten_the_rest(capsys, monkeypatch):
    """600 of 1000 come in the first ten seconds, then one a second."""
    times = iter([0.0, *(k / 60 for k in range(1, 601)), *(10.0 + k for k in range(1, 401)), 410.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    assert len(list(progress.track(range(1000), label="frames", total=1000))) == 1000
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "frames: 600 of 1000, 60.0/s, 7 s left"
    assert lines[1] == "frames: 610 of 1000, 1.0/s, 390 s left"
    assert lines[-1] == "frames: 1000 of 1000, 2.4/s, 410 s"


def test_work_elsewhere_is_counted_as_it_comes(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.1)
    done = [40]
    with progress.watch(lambda: (done[0], 100), label="units"):
        end = time.monotonic() + 10
        while "units: 60 of 100" not in (said := capsys.readouterr().err):
            assert time.monotonic() < end
            done[0] = 60
            time.sleep(0.25)
        done[0] = 100
    assert "/s, " in said and " s left" in said
    assert capsys.readouterr().err.splitlines()[-1] == "units: 100 of 100"
