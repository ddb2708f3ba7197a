# SPDX-License-Identifier: LGPL-3.0-or-later
"""What dies of a signal that stops pqrun, when pqrun itself is stopped about then, was interrupted."""

from random import Random

import pytest

from pqrun.core import events as ev
from pqrun.core.job import ExitedWith, HaltRule, JobSpec, KilledBySignal, Need, RetryPolicy, StopReason
from pqrun.core.scheduler import Scheduler
from pqrun.testing import FakeClock, Fate, RecordedRun, SimulatedExecutor, simulate

ENDS = [
    *(KilledBySignal(name) for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM")),
    *(ExitedWith(code) for code in (129, 130, 131, 143)),
]
OTHER_ENDS = [
    KilledBySignal("SIGKILL"),
    KilledBySignal("SIGSEGV"),
    ExitedWith(1),
    ExitedWith(137),
    ExitedWith(128),
]


def told_to_stop(scheduler: Scheduler, now: float) -> None:
    scheduler.signalled(now)
    scheduler.stop("signal SIGTERM", now)


def run(specs, fates, *asks, slots=4, **settings) -> RecordedRun:
    scheduler = Scheduler(**settings)
    scheduler.add(specs, 0.0)
    scheduler.end_input(0.0)
    executor = SimulatedExecutor(FakeClock(), slots, lambda attempt: fates[attempt.spec.id], asks=asks)
    return simulate(scheduler, executor)


def ends(story: RecordedRun) -> list[tuple[float, int, str]]:
    return [(e.at, e.seq, str(e.outcome)) for e in story.events if isinstance(e, ev.JobEnded)]


def attempts(story: RecordedRun) -> list[tuple[int, int, StopReason | None]]:
    return [(e.seq, e.attempt, e.asked) for e in story.events if isinstance(e, ev.AttemptEnded)]


def one(exit, *asks, **facts) -> RecordedRun:
    """A run of one job that ends so after ten seconds."""
    settings = {name: facts.pop(name) for name in ("halt", "deadline") if name in facts}
    return run([JobSpec("a", work="a", **facts)], {"a": Fate(seconds=10, exit=exit)}, *asks, **settings)


@pytest.mark.parametrize("exit", ENDS, ids=str)
@pytest.mark.parametrize("at", [9.5, 10.0, 10.001, 10.5, 11.0])
def test_it_was_interrupted_if_pqrun_is_told_to_stop_before_or_within_a_second(exit, at):
    def told(scheduler: Scheduler, now: float) -> None:
        scheduler.signalled(now)
        scheduler.stop("signal SIGINT", now, drain=True)  # so that it is not our own signal that ends it

    story = one(exit, (at, told), retry=RetryPolicy(max=3))
    assert ends(story) == [(max(at, 10), 1, "interrupted")]
    assert attempts(story) == [(1, 1, StopReason.INTERRUPTED)]


@pytest.mark.parametrize("exit", ENDS, ids=str)
def test_it_failed_if_nothing_stops_pqrun_within_a_second(exit):
    assert ends(one(exit)) == [(11, 1, "failed")]
    assert ends(one(exit, (11.001, told_to_stop))) == [(11, 1, "failed")]


@pytest.mark.parametrize("exit", OTHER_ENDS, ids=str)
def test_another_end_is_not_held_back(exit):
    assert ends(one(exit)) == [(10, 1, "failed")]
    assert ends(one(exit, (10.5, told_to_stop))) == [(10, 1, "failed")]


def test_what_ends_before_our_own_signal_reaches_it_is_judged_alike():
    class Deaf(SimulatedExecutor):
        def stop(self, key, *, force):
            """Comes too late."""

    scheduler = Scheduler()
    scheduler.add([JobSpec(name, work=name) for name in "abc"], 0.0)
    scheduler.end_input(0.0)
    fates = {"a": Fate(10, KilledBySignal("SIGTERM")), "b": Fate(10, ExitedWith(3)), "c": Fate(10)}
    executor = Deaf(FakeClock(), 3, lambda attempt: fates[attempt.spec.id], asks=[(9.99, told_to_stop)])
    assert [outcome for _, _, outcome in ends(simulate(scheduler, executor))] == [
        "interrupted",
        "failed",
        "ok",
    ]


def test_a_code_that_means_success_is_success():
    assert ends(one(ExitedWith(143), (10.0, told_to_stop), success_codes=(0, 143))) == [(10, 1, "ok")]


def test_only_a_signal_makes_an_end_an_interruption():
    halts = {
        "halt": (),
        "stop": [(10.5, lambda s, now: s.stop("stop", now))],
        "deadline": (),
    }
    settings = {"halt": {"halt": HaltRule("now", "fail", 1)}, "stop": {}, "deadline": {"deadline": 10.5}}
    for name, asks in halts.items():
        assert ends(one(KilledBySignal("SIGTERM"), *asks, **settings[name])) == [(11, 1, "failed")]


def test_an_end_that_is_held_back_keeps_its_slot_its_retry_and_what_needs_it():
    jobs = [
        JobSpec("a", work="a", retry=RetryPolicy(max=1, delay=0)),
        JobSpec("b", work="b"),
        JobSpec("c", work="c", needs=(Need("a"),)),
    ]
    fates = {"a": Fate(1, KilledBySignal("SIGTERM")), "b": Fate(1), "c": Fate(1)}
    stopped = run(jobs, fates, (1.9, told_to_stop), slots=1)
    assert ends(stopped) == [(1.9, 1, "interrupted")]
    assert attempts(stopped) == [(1, 1, StopReason.INTERRUPTED)]

    alone = run(jobs, fates, slots=1)
    assert [(e.at, e.seq, e.attempt) for e in alone.events if isinstance(e, ev.AttemptStarted)] == [
        (0, 1, 1), (2, 2, 1), (3, 1, 2),
    ]  # fmt: skip
    assert ends(alone) == [(3, 2, "ok"), (5, 1, "failed"), (5, 3, "skipped")]


def test_a_time_limit_cannot_ring_for_what_has_ended():
    story = one(KilledBySignal("SIGTERM"), timeout=10.2)
    assert ends(story) == [(11, 1, "failed")]
    assert not [e for e in story.events if isinstance(e, ev.AttemptStopping)]


def test_one_that_is_cancelled_meanwhile_keeps_its_end_and_is_not_tried_again():
    def cancel(scheduler: Scheduler, now: float) -> None:
        scheduler.cancel(scheduler.tasks[1], now)

    story = one(KilledBySignal("SIGTERM"), (10.3, cancel), retry=RetryPolicy(max=3))
    assert ends(story) == [(10.3, 1, "failed")]


def test_many_that_end_in_any_order_about_a_stop():
    for seed in range(500):
        random = Random(seed)
        at = random.uniform(2, 4)
        specs = [JobSpec(f"j{n}", work=None, retry=RetryPolicy(max=1, delay=9)) for n in range(8)]
        fates = {
            spec.id: Fate(random.uniform(0.5, 6), random.choice([*ENDS, *OTHER_ENDS, ExitedWith(0)]))
            for spec in specs
        }
        story = run(specs, fates, (at, told_to_stop), slots=8)
        for event in story.events:
            if isinstance(event, ev.AttemptEnded):
                fate = fates[f"j{event.seq - 1}"]
                expected = fate.seconds >= at or (fate.exit in ENDS and fate.seconds >= at - 1)
                assert (event.asked is StopReason.INTERRUPTED) == expected
