# SPDX-License-Identifier: LGPL-3.0-or-later
"""The machine's load and memory: how they are read, and that starts wait for them and for nothing else."""

import pytest

from pqrun.core import events as ev
from pqrun.core.errors import UserError
from pqrun.core.job import JobSpec
from pqrun.core.scheduler import Scheduler
from pqrun.engine import machine_load as machine
from pqrun.engine.machine_load import LoadMonitor, busy_processes, format_bytes, free_memory, load_limit
from pqrun.testing import FakeClock, Fate, SimulatedExecutor, simulate


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What the system says of its load and its memory."""

    class Told:
        load = tmp_path / "loadavg"
        memory = tmp_path / "meminfo"
        paging = tmp_path / "vmstat"

        def say(self, *, running=None, free=None, swapped=None):
            if running is not None:
                self.load.write_text(f"0.20 0.18 0.12 {running}/80 11206\n")
            if free is not None:
                self.memory.write_text(f"MemTotal: 99 kB\nMemAvailable:   {free // 1024} kB\n")

            if swapped is not None:
                self.paging.write_text("pgpgin 7\npswpin {}\npswpout {}\n".format(*swapped))

    monkeypatch.setattr(machine, "LOAD", str(Told.load))
    monkeypatch.setattr(machine, "PAGING", str(Told.paging))
    monkeypatch.setattr(machine, "MEMORY", str(Told.memory))
    return Told()


def running(count):
    return lambda: range(count)


def test_the_load_is_what_runs_beside_the_one_who_looks(told):
    told.say(running=6)
    assert busy_processes() == 5


def test_where_that_is_not_told_it_is_the_mean_of_a_minute(told, monkeypatch):
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (2.5, 0.0, 0.0))
    assert busy_processes() == 2.5
    told.load.write_text("nonsense\n")
    assert busy_processes() == 2.5


def test_free_memory_is_what_can_be_had_without_swapping(told):
    assert free_memory() is None
    told.say(free=3 << 30)
    assert free_memory() == 3 << 30


def test_a_limit_on_memory_that_nobody_can_look_at_is_refused(told):
    with pytest.raises(UserError, match="does not report how much memory is free"):
        LoadMonitor(memfree=1)


def test_without_limits_it_bears_everything(told):
    assert LoadMonitor().headroom(0.0, running(9)).max_attempts == float("inf")


def test_below_its_load_it_bears_as_many_more_as_are_missing_to_it(told):
    told.say(running=3)
    assert LoadMonitor(load=4.0).headroom(0.0, running(2)).max_attempts == 4
    assert LoadMonitor(load=2.5).headroom(0.0, running(0)).max_attempts == 1


def test_at_its_load_it_bears_none_and_says_why(told):
    told.say(running=6)
    found = LoadMonitor(load=5.0).headroom(0.0, running(5))
    assert (found.max_attempts, found.why) == (0, "the load is 5 (--load 5)")


def test_of_free_memory_each_may_take_its_part(told):
    told.say(free=5 << 30)
    assert LoadMonitor(memfree=2 << 30).headroom(0.0, running(3)).max_attempts == 5
    found = LoadMonitor(memfree=6 << 30).headroom(0.0, running(3))
    assert (found.max_attempts, found.why) == (0, "5G of memory are free (--memfree 6G)")


def test_the_stricter_of_both_counts(told):
    told.say(running=1, free=1 << 30)
    both = LoadMonitor(load=8.0, memfree=2 << 30)
    assert both.headroom(0.0, running(0)).why.startswith("1G of memory")
    told.say(running=9, free=8 << 30)
    assert both.headroom(1.0, running(0)).why.startswith("the load is 8")


def test_while_pages_go_in_and_out_it_bears_none_and_says_why(told):
    told.say(swapped=(5, 5))
    monitor = LoadMonitor(noswap=True)
    assert monitor.headroom(0.0, running(3)).max_attempts == float("inf")
    told.say(swapped=(6, 7))
    found = monitor.headroom(1.0, running(3))
    assert (found.max_attempts, found.why) == (0, "the machine swaps (--noswap)")
    told.say(swapped=(6, 9))
    assert monitor.headroom(2.0, running(3)).max_attempts == float("inf")


def test_swapping_that_nobody_can_look_at_is_refused(told):
    with pytest.raises(UserError, match="--noswap: this system does not report"):
        LoadMonitor(noswap=True)


def test_it_looks_no_more_than_once_a_second(told):
    told.say(running=9)
    busy = LoadMonitor(load=1.0)
    assert busy.headroom(10.0, running(0)).max_attempts == 0
    told.say(running=1)
    assert (busy.headroom(10.9, running(0)).max_attempts, busy.next_check_at) == (0, 11.0)
    assert busy.headroom(11.0, running(0)).max_attempts == 1


def test_a_limit_on_the_load_may_be_a_share_of_the_cpus():
    assert [load_limit(text, 8) for text in ("3", "1.5", "50%", "250%")] == [3, 1.5, 4, 20]


def test_sizes_are_shown_as_people_write_them():
    assert [format_bytes(size) for size in (10, 2048, 1536 << 20, 4 << 40)] == [
        "10 bytes",
        "2K",
        "1.5G",
        "4096G",
    ]


def test_starts_wait_until_the_load_has_gone_down_and_the_engine_looks_by_itself(told):
    clock = FakeClock()
    told.say(running=9)
    scheduler = Scheduler()
    scheduler.add([JobSpec(f"j{n}", work=None) for n in range(4)], 0.0)
    scheduler.end_input(0.0)
    seen = []

    def calm_down(scheduler, now):
        seen.append(scheduler.hold_reason)
        told.say(running=1)

    executor = SimulatedExecutor(clock, 4, lambda _: Fate(0.1), asks=[(4.5, calm_down)])
    story = simulate(scheduler, executor, machine=LoadMonitor(load=2.0))
    moments = [event.at for event in story.events if isinstance(event, ev.AttemptSubmitted)]
    assert seen == ["the load is 8 (--load 2)"]
    assert moments[:2] == [5.0, 5.0]
    assert len(moments) == 4 and max(moments) < 7
    assert [event.why for event in story.events if isinstance(event, ev.StartsHeld)] == [
        "the load is 8 (--load 2)"
    ]


def test_what_runs_goes_on_whatever_the_load(told):
    clock = FakeClock()
    told.say(running=1)
    scheduler = Scheduler()
    scheduler.add([JobSpec("a", work=None), JobSpec("b", work=None)], 0.0)
    scheduler.end_input(0.0)
    asks = [(1.5, lambda s, now: told.say(running=50)), (9.5, lambda s, now: told.say(running=1))]
    executor = SimulatedExecutor(clock, 1, lambda _: Fate(3.0), asks=asks)
    story = simulate(scheduler, executor, machine=LoadMonitor(load=2.0))
    assert [event.at for event in story.events if isinstance(event, ev.AttemptEnded)] == [3.0, 13.0]
