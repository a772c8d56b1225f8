"""Clock of a training: what is summed over its restarts, and the rate without the first step of each."""

import pytest

from piapdf_jax.runtime import train_stats


@pytest.fixture
def clock(monkeypatch):
    """A clock whose time is a list's only entry."""
    now = [100.0]
    monkeypatch.setattr(train_stats.time, "monotonic", lambda: now[0])
    return train_stats.Clock(), now


def test_time_before_a_stop_is_added_to(clock):
    clock, now = clock
    now[0] = 103.0  # three seconds before there is anything to restore
    clock.lap()
    clock.restore({"seconds": 10.0, "steady_seconds": 8.0, "steady_steps": 4})
    now[0] = 105.0  # the first step of this process
    clock.lap(5)
    now[0] = 107.0
    clock.lap(6)
    assert (clock.seconds, clock.steady_seconds, clock.steady_steps) == (17.0, 10.0, 5)
    assert clock.rate(32) == 32 * 5 / 10


def test_the_share_of_waiting_is_that_since_it_was_last_asked(clock):
    clock, now = clock
    clock.restore({"seconds": 50.0, "wait_seconds": 50.0})
    now[0], clock.wait_seconds = 104.0, 51.0
    clock.lap(1)
    assert clock.wait_share() == 1 / 4
    assert clock.wait_share() == 0
