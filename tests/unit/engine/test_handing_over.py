# SPDX-License-Identifier: LGPL-3.0-or-later
"""Who brings news to an engine that is at a turn waits for nobody, and no news are lost by that."""

from threading import Event, Thread

import pytest

from pqrun.core.job import ExitedWith, JobSpec
from pqrun.core.metrics import MetricsCollector
from pqrun.core.notices import ProcessFinished, ProcessStarted
from pqrun.core.scheduler import Scheduler
from pqrun.engine.engine import Engine
from pqrun.testing import FakeClock


class Around:
    """Everything around an engine. Its journal is slow when `slow` is set: it waits for `go_on`."""

    backlogged = False

    def __init__(self):
        self.started = []
        self.records = []
        self.rings = 0
        self.slow = False
        self.at_it, self.resume = Event(), Event()

    def record(self, events):
        self.records.append([type(event).__name__ for event in events])
        if self.slow:
            self.slow = False
            self.at_it.set()
            assert self.resume.wait(30)

    def put(self, events):
        """Tells nobody."""

    def capacity(self):
        return 4

    def start(self, attempt):
        self.started.append(attempt.key)

    def wake(self):
        self.rings += 1

    def arrive(self, scheduler, now):
        """Brings nobody."""


@pytest.fixture
def around():
    return Around()


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def engine(around, scheduler):
    engine = Engine(
        clock=FakeClock(),
        scheduler=scheduler,
        reactor=around,
        journal=around,
        metrics=MetricsCollector(),
        dispatcher=around,
        executor=lambda _engine: around,
        before_turn=lambda scheduler, now: around.arrive(scheduler, now),
    )
    engine.turn(request=lambda s, now: s.add([JobSpec(f"j{n}", None) for n in range(4)], now))
    around.records.clear()
    return engine


def end_of(key):
    return ProcessFinished(key, ExitedWith(0), stopped=False, began=0.0, ended=1.0)


def while_slow(around, act):
    """A thread that is at a turn because its journal is slow."""
    around.slow = True
    thread = Thread(target=act)
    thread.start()
    assert around.at_it.wait(30)
    return thread


def test_the_thread_that_is_at_a_turn_sees_to_what_others_bring(engine, around, scheduler):
    first, *others = around.started
    thread = while_slow(around, lambda: engine.turn(end_of(first)))
    for key in others:
        engine.turn(end_of(key))  # would never return if it waited
    assert len(scheduler.tasks) == 3
    around.resume.set()
    thread.join(30)
    assert scheduler.tasks == {}
    assert around.records == [["AttemptEnded", "JobEnded"], ["AttemptEnded", "JobEnded"] * 3]


def test_who_asked_for_something_leaves_what_others_bring_to_the_reactor(engine, around, scheduler):
    thread = while_slow(around, lambda: engine.turn(request=lambda s, now: s.pause(paused=True, now=now)))
    engine.turn(end_of(around.started[0]))
    before = around.rings
    around.resume.set()
    thread.join(30)
    assert (len(scheduler.tasks), around.rings) == (4, before + 1)
    engine.turn()  # as the reactor does when it is rung
    assert len(scheduler.tasks) == 3


def test_an_ask_waits_for_its_turn(engine, around, scheduler):
    asked = []
    thread = while_slow(around, lambda: engine.turn(end_of(around.started[0])))
    asking = Thread(target=lambda: engine.turn(request=lambda s, now: asked.append(len(s.tasks))))
    asking.start()
    asking.join(0.05)
    assert asked == []
    around.resume.set()
    thread.join(30)
    asking.join(30)
    assert asked == [3]


def test_a_look_is_a_turn_or_a_ring_if_another_thread_is_at_one(engine, around, scheduler):
    looked = []
    around.arrive = lambda scheduler, now: looked.append(now)
    engine.poke()
    assert len(looked) == 1
    thread = while_slow(around, lambda: engine.turn(end_of(around.started[0])))
    before, rings = len(looked), around.rings
    engine.poke()
    assert (len(looked), around.rings) == (before, rings + 1)
    around.resume.set()
    thread.join(30)
    engine.turn()
    assert len(looked) == before + 1


def test_who_arrives_is_there_before_what_is_asked_and_reported(engine, around):
    order = []
    around.arrive = lambda scheduler, now: order.append("arrive")
    engine.post(ProcessStarted(around.started[0], 0.0, "slot 1"), urgent=False)
    engine.turn(request=lambda scheduler, now: order.append("ask"))
    assert order == ["arrive", "ask"]
    assert around.records == [["AttemptStarted"]]


def test_an_interrupt_of_the_program_goes_through_and_breaks_it(engine, around, scheduler):
    def interrupted(scheduler, now):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.turn(request=interrupted)
    assert isinstance(engine.broken, KeyboardInterrupt)
    engine.turn(end_of(around.started[0]))
    assert len(scheduler.tasks) == 4
