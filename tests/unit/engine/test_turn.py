# SPDX-License-Identifier: LGPL-3.0-or-later
"""The turn, with fakes around it: what it does in which order, and what breaks it."""

import errno
from dataclasses import dataclass, field
from math import inf
from threading import Thread
from types import ModuleType

import pytest

from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure, refusal
from pqrun.core.job import AttemptId, ExitedWith, JobSpec, Outcome, RetryPolicy
from pqrun.core.metrics import MetricsCollector
from pqrun.core.notices import OutputIdle, ProcessFinished, ProcessStarted, StartRejected
from pqrun.core.scheduler import Scheduler
from pqrun.core.start_policy import STREAMED
from pqrun.engine.engine import Engine
from pqrun.testing import FakeClock


@dataclass
class Parts:
    """Journal, executor, teller and reactor in one: it keeps what was done, in order."""

    capacity_: int = 2
    backlogged: bool = False
    journal_fails: str = ""
    done: list = field(default_factory=list)
    rings: int = 0
    waits: list = field(default_factory=list)
    script: list = field(default_factory=list)
    resolve: object = None

    def after_turn(self, events):
        if self.resolve is not None:
            self.resolve(events)

    def record(self, events):
        if self.journal_fails:
            raise InternalFailure(self.journal_fails)
        self.done.append(("record", [type(e).__name__ for e in events]))

    def put(self, events):
        self.done.append(("tell", [type(e).__name__ for e in events]))

    def capacity(self):
        return self.capacity_

    def start(self, attempt):
        self.done.append(("start", attempt.key))

    def stop(self, key, *, force):
        self.done.append(("kill" if force else "stop", key))

    def wake(self):
        self.rings += 1

    def wait(self, seconds):
        self.waits.append(seconds)
        return self.script.pop(0)()

    def acts(self):
        return [step for step in self.done if step[0] in ("start", "stop", "kill")]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def parts():
    return Parts()


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def engine(clock, parts, scheduler):
    engine = Engine(
        clock=clock,
        scheduler=scheduler,
        reactor=parts,
        journal=parts,
        metrics=MetricsCollector(),
        dispatcher=parts,
        executor=lambda _engine: parts,
        after_turn=(parts.after_turn,),
    )
    return engine


def add(*specs):
    return lambda scheduler, now: scheduler.add(
        [JobSpec(*s) if isinstance(s, tuple) else s for s in specs], now
    )


def job(name, **facts):
    return JobSpec(name, None, **facts)


def ended(seq, code=0, attempt=1):
    return ProcessFinished(AttemptId(seq, attempt), ExitedWith(code), stopped=False, began=0.0, ended=1.0)


def test_what_is_decided_is_recorded_before_it_is_done_and_told_after(engine, parts):
    engine.turn(request=add(job("a")))
    happened = ["JobAdded", "JobQueued", "AttemptSubmitted"]
    assert parts.done == [("record", happened), ("start", AttemptId(1, 1)), ("tell", happened)]


def test_an_end_and_the_next_start_are_one_turn_and_one_record(engine, parts):
    parts.capacity_ = 1
    engine.turn(request=add(job("a"), job("b")))
    parts.done.clear()
    engine.turn(ProcessStarted(AttemptId(1, 1), 0.0, "slot 1"), ended(1))
    happened = ["AttemptStarted", "AttemptEnded", "JobEnded", "AttemptSubmitted"]
    assert parts.done == [("record", happened), ("start", AttemptId(2, 1)), ("tell", happened)]


def test_a_turn_without_news_asks_nobody_anything(engine, parts):
    engine.turn()
    parts.done.clear()
    engine.turn()
    assert parts.done == []


def test_a_journal_that_fails_marks_it_broken_and_nothing_is_done(engine, parts):
    parts.journal_fails = "no room on the disk"
    engine.turn(request=add(job("a")))
    assert isinstance(engine.broken, InternalFailure)
    assert parts.done == []
    parts.journal_fails = ""
    engine.turn(request=add(job("b")))
    assert parts.done == [], "a broken engine does nothing more"


def test_a_broken_engine_rings_its_reactor_and_run_returns(engine, parts):
    parts.journal_fails = "no room on the disk"
    parts.script = [lambda: [add(job("a"))]]
    engine.run()
    assert str(engine.broken) == "no room on the disk"
    assert parts.rings


def test_the_first_failure_is_the_one_that_is_told(engine):
    engine.fail(ValueError("first"))
    engine.fail(ValueError("second"))
    assert str(engine.broken) == "first"


def test_an_ask_that_raises_breaks_it_but_news_that_came_are_not_lost(engine, parts):
    engine.turn(request=add(job("a")))
    parts.done.clear()
    engine.post(ended(1))

    def bug(_scheduler, _now):
        raise ZeroDivisionError

    engine.turn(request=bug)
    assert isinstance(engine.broken, ZeroDivisionError)
    assert ("record", ["AttemptEnded", "JobEnded"]) in parts.done


def test_while_too_much_is_untold_nothing_new_starts(engine, parts):
    parts.backlogged = True
    engine.turn(request=add(job("a")))
    assert parts.acts() == []
    parts.backlogged = False
    engine.post()
    engine.turn()
    assert parts.acts() == [("start", AttemptId(1, 1))]


def test_what_runs_goes_on_and_can_be_stopped_while_too_much_is_untold(engine, parts, scheduler):
    engine.turn(request=add(job("a")))
    parts.backlogged = True
    engine.turn(request=lambda s, now: s.stop("signal SIGINT", now))
    assert parts.acts() == [("start", AttemptId(1, 1)), ("stop", AttemptId(1, 1))]
    engine.turn(ended(1))
    assert scheduler.done


def test_posted_news_run_nothing_until_the_next_turn_and_ring_if_they_are_urgent(engine, parts):
    engine.turn(request=add(job("a")))
    parts.done.clear()
    rings = parts.rings
    engine.post(ProcessStarted(AttemptId(1, 1), 0.0, "slot 1"), urgent=False)
    assert (parts.done, parts.rings) == ([], rings)
    engine.post(OutputIdle(AttemptId(1, 1)))
    assert (parts.done, parts.rings) == ([], rings + 1)
    engine.turn()
    assert parts.acts() == [("stop", AttemptId(1, 1))]


def test_a_start_that_woke_nobody_counts_from_its_beginning_when_the_limit_may_be_over(engine, parts, clock):
    engine.turn(request=add(job("a", timeout=5.0)))
    clock.time = 2.0
    engine.post(ProcessStarted(AttemptId(1, 1), 2.0, "slot 1"), urgent=False)
    clock.time = 5.0
    engine.turn()
    assert parts.acts() == [("start", AttemptId(1, 1))]
    clock.time = 7.0
    engine.turn()
    assert parts.acts() == [("start", AttemptId(1, 1)), ("stop", AttemptId(1, 1))]


def test_late_news_of_an_earlier_attempt_are_dropped(engine, parts, clock):
    engine.turn(request=add(job("a", retry=RetryPolicy(max=1, delay=1.0))))
    engine.turn(ended(1, code=1))
    clock.time = 1.0
    engine.turn()
    engine.turn(ended(1, code=0, attempt=1))
    assert parts.acts() == [("start", AttemptId(1, 1)), ("start", AttemptId(1, 2))]
    told = [name for step, names in parts.done if step == "tell" for name in names]
    assert told.count("AttemptEnded") == 1


def test_an_earlier_alarm_than_the_reactor_waits_for_rings_it(engine, parts, scheduler):
    parts.script = [lambda: engine.turn(request=add(job("a", timeout=9.0))) or [], lambda: []]
    rings = []
    parts.script[1] = lambda: rings.append(parts.rings) or [lambda s, now: s.stop("stop", now, force=True)]
    parts.script.append(lambda: engine.turn(ended(1)) or [])
    engine.run()
    assert parts.waits == [inf, 9.0, inf]
    assert rings == [1]


def test_a_later_alarm_does_not_ring_it(engine, parts):
    def meanwhile():
        before = parts.rings
        engine.turn(request=add(job("b", timeout=60.0)))
        assert parts.rings == before
        return [lambda s, now: s.stop("stop", now), lambda s, now: s.stop("stop", now, force=True)]

    parts.script = [
        lambda: [add(job("a", timeout=9.0))],
        meanwhile,
        lambda: engine.turn(ended(1), ended(2)) or [],
    ]
    engine.run()
    assert engine.broken is None


def test_whoever_has_jobs_to_read_is_rung_as_soon_as_there_is_the_room_asked_for(engine, parts, scheduler):
    scheduler.max_queue = 4
    engine.turn(request=lambda s, now: s.add([job(f"j{n}") for n in range(6)], now, origin=STREAMED))
    assert scheduler.queue_room == 0
    engine.want_input(2)
    rings = parts.rings
    engine.turn(ended(1))
    assert (scheduler.queue_room, parts.rings) == (1, rings)
    engine.turn(ended(2))
    assert (scheduler.queue_room, parts.rings) == (2, rings + 1)
    engine.want_input(0)
    engine.turn(ended(3))
    assert parts.rings == rings + 1


def test_the_last_end_rings_so_that_run_returns(engine, parts, scheduler):
    engine.turn(request=add(job("a")))
    engine.turn(request=lambda s, now: s.end_input(now))
    rings = parts.rings
    engine.turn(ended(1))
    assert scheduler.done and parts.rings == rings + 1
    engine.run()
    assert parts.waits == []


def test_what_follows_from_events_may_turn_the_engine_again(engine, parts):
    heard = []

    def resolve(events):
        heard.extend(type(e).__name__ for e in events)
        if any(isinstance(e, ev.JobEnded) and e.outcome is Outcome.FAILED for e in events):
            engine.turn(request=add(job("mend")))

    parts.resolve = resolve
    engine.turn(request=add(job("a")))
    engine.turn(ended(1, code=1))
    assert parts.acts() == [("start", AttemptId(1, 1)), ("start", AttemptId(2, 1))]
    assert heard.count("JobAdded") == 2


def test_turns_of_many_threads_come_one_after_another_and_none_is_lost(engine, parts, scheduler):
    parts.capacity_ = 400
    engine.turn(request=add(*(job(f"j{n}") for n in range(400))))

    def end_some(first):
        for seq in range(first, 401, 4):
            engine.turn(ended(seq))

    threads = [Thread(target=end_some, args=(first,)) for first in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    m = engine.metrics.snapshot()
    assert (m.jobs_completed, m.active_workers, engine.broken) == (400, 0, None)
    assert not scheduler.tasks


def test_what_the_machine_refuses_is_a_failure_of_our_own_part_and_no_bug(engine):
    engine.fail(OSError(errno.EMFILE, "Too many open files", "/x"))
    assert isinstance(engine.broken, InternalFailure)
    assert str(engine.broken) == "cannot continue: Too many open files (/x); see `ulimit -n`"


def test_a_wait_that_fails_breaks_it_instead_of_leaving_what_runs(engine, parts):
    def out_of_memory():
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    parts.script = [lambda: [add(job("a"))], out_of_memory]
    engine.run()
    assert str(engine.broken) == "cannot continue: Cannot allocate memory"
    assert ("start", AttemptId(1, 1)) in parts.done


def test_it_breaks_when_no_start_has_succeeded_for_some_seconds_and_nothing_runs(engine, parts, clock):
    engine.turn(request=add(job("a")))
    for _ in range(5):
        engine.turn(StartRejected(AttemptId(1, 1), "no room"))
        assert engine.broken is None
        clock.time = engine.next_timer
        engine.turn()
    engine.turn(StartRejected(AttemptId(1, 1), "no room"))
    assert str(engine.broken).startswith("cannot start any job: no room")
    assert parts.done[-1] == ("tell", ["AttemptRefused"]), "the refusal is recorded: nothing has begun"


hollow = ModuleType("ctypes")  # as the interpreter makes it when `stat` of ctypes/__init__.py fails
hollow.__path__ = []


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ImportError("no memory", name="zlib"), "cannot load zlib: no memory"),
        (OSError(errno.EIO, "Input/output error"), "cannot continue: Input/output error"),
        (InternalFailure("the disk is full"), "the disk is full"),
        (OSError(errno.EBADF, "Bad file descriptor"), None),
        (OSError("no number"), None),
        (KeyError("x"), None),
        (AttributeError("no CDLL", obj=hollow, name="CDLL"), "cannot load ctypes: its files can't be read"),
        (AttributeError("no CDLL", obj=errno, name="CDLL"), None),
    ],
)
def test_a_refusal_is_told_from_a_bug(error, why):
    found = refusal(error)
    assert (None if found is None else str(found)) == why
