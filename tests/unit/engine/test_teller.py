# SPDX-License-Identifier: LGPL-3.0-or-later
"""The teller: batches in order, a stuck reader keeps nobody else waiting, a listener may fail."""

import errno
from threading import Event as Flag
from threading import current_thread
from types import SimpleNamespace

import pytest

from pqrun.core import events as ev
from pqrun.core.events import Observer
from pqrun.core.job import NO_REPORT, Command, CountedAs, ExitedWith, JobSpec, Outcome, Usage
from pqrun.core.job_table import JobTable
from pqrun.engine import dispatcher as teller_module
from pqrun.engine.dispatcher import EventDispatcher, Observers


class Keeper(Observer):
    """Keeps what it hears; may be made to wait, or to fail."""

    def __init__(self, *, stuck=None, fails=None, wants_past=False):
        self.heard = []
        self.rows = []
        self.closed = False
        self.wants_past = wants_past
        self._stuck = stuck
        self._fails = fails
        kinds = (
            ev.JobAdded, ev.JobQueued, ev.JobRemoved, ev.AttemptRestarted, ev.AttemptEnded, ev.JobEnded, ev.RunPaused
        )  # fmt: skip
        self.handlers = dict.fromkeys(kinds, self._hear)

    def _hear(self, event, row):
        if self._stuck is not None:
            self._stuck.wait(60)
        if self._fails is not None:
            raise self._fails
        self.heard.append(event)
        self.rows.append(row and (row.seq, row.state))

    def close(self):
        self.closed = True


def some(count, at=0):
    return [ev.AttemptRestarted(at, seq, 1, "host") for seq in range(count)]


def added(seq):
    return ev.JobAdded(0, seq, JobSpec(f"j{seq}", Command("true")))


def ended(size):
    output = SimpleNamespace(
        out=SimpleNamespace(size=size, place=None), err=SimpleNamespace(size=0, place=None)
    )
    return ev.AttemptEnded(
        0, 1, 1, CountedAs.COMPLETED, ExitedWith(0), None, 0, 1, Usage(), NO_REPORT, output
    )


@pytest.fixture
def telling():
    """`telling(listener, …)`: a started teller; `caught_up` counts how often it said so."""
    tellers, releases = [], []

    def begin(*listeners, release=None):
        counted = SimpleNamespace(times=0)
        observers = Observers(JobTable(), listeners)
        dispatcher = EventDispatcher(observers, lambda: setattr(counted, "times", counted.times + 1))
        dispatcher.observers = observers
        dispatcher.counted = counted
        tellers.append(dispatcher)
        releases.append(release)
        dispatcher.start()
        return dispatcher

    yield begin
    for dispatcher, release in zip(tellers, releases, strict=True):
        if release is not None:
            release.set()
        assert dispatcher.close(10)


def test_every_listener_hears_everything_in_order_and_is_closed_at_the_end(telling):
    one, two = Keeper(), Keeper()
    dispatcher = telling(one, two)
    for at in range(100):
        dispatcher.put(some(3, at))
    assert dispatcher.close(10)
    assert one.heard == two.heard == [event for at in range(100) for event in some(3, at)]
    assert one.closed and two.closed


def test_a_listener_that_raises_is_dropped_and_reported_and_the_others_hear_on(telling, capfd):
    bad, good = Keeper(fails=KeyError("seq 7")), Keeper()
    dispatcher = telling(bad, good)
    dispatcher.put(some(1))
    dispatcher.put(some(2))
    assert dispatcher.close(10)
    assert len(good.heard) == 3 and not bad.closed
    told = capfd.readouterr().err
    assert "Keeper failed and was dropped; the run continues" in told and "seq 7" in told
    assert told.count("Traceback") == 1


def test_putting_never_waits_for_a_listener_that_is_stuck(telling):
    release = Flag()
    dispatcher = telling(Keeper(stuck=release), release=release)
    for at in range(1000):
        dispatcher.put(some(1, at))
    assert not dispatcher.backlogged


def test_closing_gives_up_after_its_time_when_a_listener_is_stuck(telling):
    release = Flag()
    stuck = Keeper(stuck=release)
    dispatcher = telling(stuck, release=release)
    dispatcher.put(some(1))
    assert dispatcher.close(0.05) is False
    release.set()
    assert dispatcher.close(10) is True
    assert stuck.closed


@pytest.mark.parametrize(
    "too_much",
    [
        [some(teller_module.MAX_UNDELIVERED_EVENTS + 1)],
        [[added(1)], *[[ended(teller_module.MAX_UNDELIVERED_BYTES // 2)]] * 3],
    ],
    ids=["events", "bytes"],
)
def test_with_too_much_untold_it_is_behind_and_says_once_when_it_has_caught_up(telling, until, too_much):
    release = Flag()
    dispatcher = telling(Keeper(stuck=release), release=release)
    for batch in too_much:
        dispatcher.put(batch)
    assert dispatcher.backlogged and dispatcher.counted.times == 0
    release.set()
    until(lambda: not dispatcher.backlogged)
    until(lambda: dispatcher.counted.times == 1)
    assert dispatcher.close(10) and dispatcher.counted.times == 1


def test_a_long_batch_is_told_in_parts_and_each_part_let_go_of(telling, monkeypatch):
    monkeypatch.setattr(teller_module, "MAX_UNDELIVERED_EVENTS", 10)
    monkeypatch.setattr(teller_module, "MAX_EVENTS_PER_BATCH", 4)
    keeper = Keeper()
    dispatcher = telling(keeper)
    parts = []
    monkeypatch.setattr(dispatcher._receiver, "deliver", parts.append)
    events = [*some(12), *some(2, 1)]
    dispatcher.put(events)
    assert dispatcher.close(10)
    assert [len(part) for part in parts] == [4, 4, 4, 2]
    assert [event for part in parts for event in part] == events
    assert not dispatcher.backlogged and dispatcher.counted.times == 1


def test_it_is_behind_until_half_of_the_bytes_are_told():
    keeper, caught_up = Keeper(), []
    dispatcher = EventDispatcher(Observers(JobTable(), [keeper]), lambda: caught_up.append(len(keeper.heard)))
    for batch in ([added(1)], *[[ended(teller_module.MAX_UNDELIVERED_BYTES // 2)]] * 3):
        dispatcher.put(batch)
    dispatcher.start()
    assert dispatcher.close(10)
    assert caught_up == [3]


def test_being_behind_never_ends_without_a_word(telling, until, monkeypatch):
    """Else the last job to end while it was behind would leave the run waiting for ever."""
    monkeypatch.setattr(teller_module, "MAX_UNDELIVERED_EVENTS", 10)
    steps = [Flag() for _ in range(4)]
    heard = []

    class Stepper(Observer):
        def __init__(self):
            self.handlers = {ev.RunPaused: self._step}

        def _step(self, event, _row):
            steps[len(heard)].wait(60)
            heard.append(event)

    dispatcher = telling(Stepper(), release=steps[3])
    for _ in range(3):
        dispatcher.put([*some(3), ev.RunPaused(0, True, "key")])
    assert dispatcher.backlogged
    steps[0].set()
    until(lambda: len(heard) == 1)
    dispatcher.put([ev.RunPaused(0, True, "key")])  # 9 untold: fewer than too much, more than half of it
    for step in steps:
        step.set()
    until(lambda: len(heard) == 4 and not dispatcher.backlogged)
    until(lambda: dispatcher.counted.times == 1)


def test_what_a_listener_does_while_nothing_happens_is_done_when_it_wants(telling, until):
    class Ticker(Keeper):
        ticks = 0

        def tick(self):
            self.ticks += 1
            return 0.001

    ticker = Ticker()
    telling(ticker)
    until(lambda: ticker.ticks > 3)


def test_a_tick_that_raises_drops_its_listener_only(telling, until, capfd):
    class Bad(Keeper):
        def tick(self):
            raise RuntimeError("no screen")

    good = Keeper()
    dispatcher = telling(Bad(), good)
    dispatcher.put(some(1))
    assert dispatcher.close(10)
    assert good.heard and "Bad failed and was dropped" in capfd.readouterr().err


def test_when_woken_it_asks_at_once_although_nobody_wanted_that_yet(telling, until):
    class Ticker(Keeper):
        ticks = 0

        def tick(self):
            self.ticks += 1
            return 3600.0

    ticker = Ticker()
    dispatcher = telling(ticker)
    until(lambda: ticker.ticks == 1)
    dispatcher.wake()
    until(lambda: ticker.ticks == 2)


def test_a_listener_that_the_machine_refuses_something_is_dropped_without_a_traceback(telling, capfd):
    bad, good = Keeper(fails=OSError(errno.EMFILE, "Too many open files")), Keeper()
    dispatcher = telling(bad, good)
    dispatcher.put(some(1))
    assert dispatcher.close(10)
    assert dispatcher.observers.dropped == ["Keeper: cannot continue: Too many open files; see `ulimit -n`"]
    assert good.heard and capfd.readouterr() == ("", "")


def test_the_last_words_are_said_by_the_same_thread_after_all_else(telling):
    keeper, said = Keeper(), []
    dispatcher = telling(keeper)
    dispatcher.put(some(2))
    dispatcher.finish(lambda: said.append((current_thread(), list(keeper.heard), keeper.closed)))
    dispatcher.thread.join(10)
    assert said == [(dispatcher.thread, some(2), True)]


def test_what_the_last_words_raise_is_kept_for_who_waits(telling):
    dispatcher = telling(Keeper())
    dispatcher.finish(lambda: 1 / 0)
    dispatcher.thread.join(10)
    assert isinstance(dispatcher.failed, ZeroDivisionError)


def test_an_event_is_folded_once_and_every_handler_gets_the_row_as_it_is_then():
    one, two = Keeper(), Keeper()
    observers = Observers(JobTable(), [one, two])
    observers.deliver(
        [added(1), ev.JobQueued(0, 1, 1, 1), ev.JobRemoved(1, 1), ev.JobEnded(1, 1, Outcome.CANCELLED, 0)]
    )
    observers.deliver([ev.RunPaused(2, True, "key")])
    assert one.rows == two.rows == [(1, "pending"), (1, "queued"), (1, "pending"), (1, "cancelled"), None]
    assert observers.table.rows == {} and observers.table.paused


def test_what_earlier_processes_did_is_told_to_those_who_want_it_and_can_be_undone():
    one, other = Keeper(wants_past=True), Keeper()
    table = JobTable()
    observers = Observers(table, [one, other])
    spec = JobSpec("a", Command("true"))
    observers.replay(
        [ev.JobAdded(0, 1, spec), ev.JobEnded(1, 1, Outcome.FAILED, 1), ev.RunStopping(1, "stop", False)]
    )
    assert (len(one.heard), other.heard, table.failed, table.stopping, table.stopped) == (2, [], 1, None, "")
    observers.deliver([ev.JobReopened(2, 1, Outcome.FAILED, spec)])
    assert (table.failed, table.outcomes.total(), [row.state for row in table.all_rows()]) == (
        0,
        0,
        ["pending"],
    )
    observers.deliver([ev.JobEnded(3, 1, Outcome.OK, 2)])
    assert (table.all_rows(), table.ended_count) == ([], 1)


def test_a_job_that_was_interrupted_and_runs_again_keeps_its_retries():
    table, spec = JobTable(), JobSpec("a", Command("true"))
    tried = ev.AttemptEnded(1, 1, 1, CountedAs.RETRIED, ExitedWith(1), None, 0, 1, Usage(), NO_REPORT)
    interrupted = [ev.JobEnded(3, 1, Outcome.INTERRUPTED, 2), ev.JobReopened(3, 1, Outcome.INTERRUPTED, spec)]
    begin = [ev.JobQueued(0, 1, 1, spec.priority), ev.AttemptSubmitted(0, 1, 1, 0.0)]
    Observers(table, []).replay(
        [ev.JobAdded(0, 1, spec), *begin, tried, ev.JobWaiting(1, 1, 2, 2), *interrupted]
    )
    assert (table.rows[1].state, table.rows[1].retries) == ("pending", 1)
    assert not table.keeps_ended


def test_what_stands_behind_a_stuck_handler_can_be_taken_over(telling, until):
    release = Flag()
    keeper = Keeper(stuck=release)
    dispatcher = telling(keeper, release=release)
    dispatcher.put(some(3, 1))
    dispatcher.put(some(3, 2))
    rest = []
    until(lambda: rest.extend(dispatcher.observers.take_rest()) or len(rest) == 2)
    assert [*rest, *dispatcher.undelivered()[0]] == [*some(3, 1)[1:], *some(3, 2)]
    release.set()
    assert dispatcher.close(10) and keeper.heard == some(1, 1)


def test_a_bug_in_the_table_does_not_end_the_thread_and_is_kept_for_the_end(telling):
    keeper = Keeper()
    dispatcher = telling(keeper)
    dispatcher.put([ended(1)])  # no such job was added
    dispatcher.put(some(1))
    assert dispatcher.close(10)
    assert keeper.heard == some(1) and isinstance(dispatcher.failed, KeyError)
