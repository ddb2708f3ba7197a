# SPDX-License-Identifier: LGPL-3.0-or-later
"""The clock of a run beside a wall clock that is set, and while pqrun or the machine stands still."""

import time

import pytest

from pqrun.engine import clock as clocks
from pqrun.engine.clock import SystemClock, format_moment


@pytest.fixture
def clocks_of_the_machine(monkeypatch):
    """Both clocks of the machine, which a test moves."""

    class Machine:
        wall, monotonic, slow = 1_800_000_000.0, 50.0, 0.0

        def time(self) -> float:
            self.monotonic += self.slow
            return self.wall

    machine = Machine()
    monkeypatch.setattr(clocks, "monotonic", lambda: machine.monotonic)
    monkeypatch.setattr(clocks.time, "time", machine.time)
    return machine


def test_the_drift_is_how_far_the_wall_clock_is_ahead(clocks_of_the_machine):
    machine, clock = clocks_of_the_machine, SystemClock()
    assert (clock.now(), clock.drift()) == (1_800_000_000.0, 0.0)
    machine.wall += 3600.0  # set on, or the machine has slept
    assert (clock.now(), clock.drift()) == (1_800_000_000.0, 3600.0)
    machine.wall -= 7200.0
    assert (clock.now(), clock.drift()) == (1_800_000_000.0, -3600.0)


def test_time_in_which_pqrun_is_suspended_is_drift(clocks_of_the_machine):
    machine, clock = clocks_of_the_machine, SystemClock()
    clock.pause()
    machine.wall += 60.0
    machine.monotonic += 60.0
    clock.resume()
    assert (clock.now(), clock.drift()) == (1_800_000_000.0, 60.0)
    assert clock.wall(clock.now()) == machine.wall


def test_a_pause_moves_no_time_before_it(clocks_of_the_machine):
    machine, clock = clocks_of_the_machine, SystemClock()
    moments = []
    for _ in range(3):
        moments.append((clock.now(), machine.wall))
        machine.wall += 1.0
        machine.monotonic += 1.0
        moments.append((clock.now(), machine.wall))
        machine.wall += 0.5
        machine.monotonic += 0.5
        clock.pause()
        machine.wall += 60.0
        machine.monotonic += 60.0
        clock.resume()
    assert [clock.wall(at) for at, _ in moments] == [wall for _, wall in moments]


def test_a_look_during_which_the_thread_lost_the_cpu_says_nothing(clocks_of_the_machine):
    machine, clock = clocks_of_the_machine, SystemClock()
    machine.slow = 1.0
    assert clock.drift() == 0.0
    machine.slow = 0.0
    machine.wall += 5.0
    assert clock.drift() == 5.0 - 1.0


def test_a_moment_of_today_has_no_day():
    noon = time.mktime((*time.localtime()[:3], 12, 0, 0, 0, 0, -1))
    assert format_moment(noon) == "12:00"
    assert format_moment(noon + 5) == "12:00:05"
    assert format_moment(time.mktime((2020, 2, 3, 4, 5, 6, 0, 0, -1))) == "2020-02-03 04:05:06"
