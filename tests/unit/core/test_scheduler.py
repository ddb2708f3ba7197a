# SPDX-License-Identifier: LGPL-3.0-or-later
from math import inf

import pytest

from pqrun.core import events as ev
from pqrun.core.dependencies import UnknownNeed
from pqrun.core.job import (
    AttemptId,
    ExitedWith,
    HaltRule,
    JobSpec,
    LostExit,
    Need,
    NotStarted,
    Outcome,
    Pool,
    Priority,
    RetryPolicy,
    SelfReport,
    StopReason,
)
from pqrun.core.notices import ProcessFinished, ProcessStarted, StartRejected
from pqrun.core.scheduler import Scheduler
from pqrun.core.states import Queued
from pqrun.core.task import Task
from pqrun.journal.restart_plan import RestartPlan
from pqrun.testing import FakeClock, Fate, RecordedRun, SimulatedExecutor, simulate


def job(job_id: str, **facts) -> JobSpec:
    return JobSpec(job_id, work=job_id, **facts)


def run(specs, *, slots=1, fates=None, asks=(), **settings) -> RecordedRun:
    """Runs jobs on a fake clock; `fates` maps an id to one fate, or a list of them by attempt."""
    fates = fates or {}

    def fate(attempt):
        found = fates.get(attempt.spec.id, Fate())
        return found[min(attempt.key.attempt, len(found)) - 1] if isinstance(found, list) else found

    scheduler = Scheduler(**settings)
    scheduler.add(specs, 0.0)
    scheduler.end_input(0.0)
    return simulate(scheduler, SimulatedExecutor(FakeClock(), slots, fate, asks=asks))


def starts(story: RecordedRun) -> list[tuple[float, int, int]]:
    return [(e.at, e.seq, e.attempt) for e in story.events if isinstance(e, ev.AttemptStarted)]


def outcomes(story: RecordedRun) -> dict[int, str]:
    return {e.seq: str(e.outcome) for e in story.events if isinstance(e, ev.JobEnded)}


def test_higher_priority_first_and_within_one_first_come_first_served():
    story = run(
        [
            job("a", priority=Priority.LOW),
            job("b"),
            job("c", priority=Priority.CRITICAL),
            job("d"),
            job("e", priority=Priority.HIGH),
        ]
    )
    assert [seq for _, seq, _ in starts(story)] == [3, 5, 2, 4, 1]


def test_jobs_that_come_together_share_what_is_equal():
    """100,000 of them may wait: their states, and the numbers of the jobs and of their places, are one object."""
    scheduler = Scheduler()
    scheduler.add([job(f"j{n}") for n in range(1000)], 7.0)
    first, *others = scheduler.tasks.values()
    assert {id(task.state) for task in others} == {id(first.state)} and first.state == Queued(1, 7.0)
    assert all(task.place is task.seq for task in others)
    scheduler.add([job("later")], 8.0)
    assert scheduler.find("later").state == Queued(1, 8.0)


def test_a_job_is_found_by_its_id_whether_it_came_before_or_after_the_first_was_looked_for():
    scheduler = Scheduler()
    scheduler.add([job("a"), job("b"), job("9", named=False), job("4", named=False)], 0.0)
    assert scheduler.graph._ids is None  # most runs never look for a job, so it costs them nothing
    assert [scheduler.find(name).seq for name in ("a", "b", "9", "4")] == [1, 2, 3, 4]
    scheduler.add([job("c")], 0.0)
    scheduler.cancel(scheduler.find("a"), 1.0)
    scheduler.decide(1.0, 0)
    assert (scheduler.find("a"), scheduler.knows("a"), scheduler.find("c").seq) == (None, True, 5)
    assert scheduler.find("3") is None and not scheduler.knows("x")


def test_an_id_that_was_used_again_before_anybody_looked_is_that_of_the_new_job():
    scheduler = Scheduler()
    scheduler.add([job("a"), job("b")], 0.0)
    scheduler.cancel(scheduler.tasks[1], 0.0)
    scheduler.add([job("a")], 1.0)
    assert scheduler.find("a").seq == 3 and scheduler.graph.outcome_of("a") is None


def test_a_retry_waits_without_a_slot_and_goes_behind_its_equals():
    story = run(
        [job("flaky", retry=RetryPolicy(max=2, delay=1.0)), job("b"), job("c"), job("d")],
        fates={"flaky": [Fate(exit=ExitedWith(1)), Fate(exit=ExitedWith(1)), Fate()]},
    )
    assert starts(story) == [(0, 1, 1), (1, 2, 1), (2, 3, 1), (3, 4, 1), (4, 1, 2), (7, 1, 3)]
    assert outcomes(story) == {1: "ok", 2: "ok", 3: "ok", 4: "ok"}


def test_backoff_is_exponential_linear_or_constant_and_capped():
    exponential = RetryPolicy(max=9, delay=1, max_delay=10)
    linear = RetryPolicy(max=9, delay=2, backoff="linear", max_delay=5)
    constant = RetryPolicy(max=9, delay=3, backoff="constant")
    assert [exponential.wait_before(n, 0.5) for n in (1, 2, 3, 4, 5, 5000)] == [1, 2, 4, 8, 10, 10]
    assert [linear.wait_before(n, 0.5) for n in (1, 2, 3)] == [2, 4, 5]
    assert [constant.wait_before(n, 0.5) for n in (1, 2, 9)] == [3, 3, 3]


def test_jitter_spreads_the_wait_to_both_sides():
    policy = RetryPolicy(max=1, delay=10, jitter=0.1)
    assert [policy.wait_before(1, chance) for chance in (0.0, 0.5, 1.0)] == [9.0, 10.0, 11.0]


@pytest.mark.parametrize("seconds", [0.0, 7.0])
def test_a_job_says_itself_when_it_is_tried_again(seconds):
    said = Fate(exit=ExitedWith(1), said=SelfReport(retry_after=seconds))
    story = run([job("a", retry=RetryPolicy(max=1, delay=3))], fates={"a": [said, Fate()]})
    assert starts(story) == [(0, 1, 1), (1 + seconds, 1, 2)]


def test_a_permanent_code_is_never_retried():
    policy = RetryPolicy(max=5, permanent=frozenset({22}))
    story = run([job("a", retry=policy)], fates={"a": Fate(exit=ExitedWith(22))})
    assert [attempt for _, _, attempt in starts(story)] == [1]


def test_a_job_past_its_timeout_is_asked_to_stop_then_killed():
    story = run([job("a", timeout=5, grace=2)], fates={"a": Fate(seconds=100, deaf=True)})
    stopping = [(e.at, e.reason, e.force) for e in story.events if isinstance(e, ev.AttemptStopping)]
    assert stopping == [(5, StopReason.TIMEOUT, False), (7, StopReason.TIMEOUT, True)]
    assert outcomes(story) == {1: "timeout"}


def test_a_timeout_too_short_for_the_clock_to_show_does_not_hang_the_run():
    """The time of such a job is over before its start has been reported."""
    now = 1e9
    scheduler = Scheduler()
    scheduler.add([job("a", timeout=1e-9)], now)
    scheduler.decide(now, capacity=1)
    scheduler.decide(now, capacity=1)
    assert now < scheduler.next_timer() <= now + 1


def test_a_timeout_is_retried_like_any_failure():
    policy = RetryPolicy(max=1, delay=0)
    story = run([job("a", timeout=5, retry=policy)], fates={"a": [Fate(seconds=9), Fate(seconds=1)]})
    assert outcomes(story) == {1: "ok"}


def test_what_needs_a_failed_job_is_skipped_all_the_way_down():
    story = run(
        [job("a"), job("b", needs=(Need("a"),)), job("c", needs=(Need("b"),)), job("d")],
        fates={"a": Fate(exit=ExitedWith(1))},
    )
    assert outcomes(story) == {1: "failed", 2: "skipped", 3: "skipped", 4: "ok"}


def test_a_need_that_may_fail_counts_as_met():
    story = run(
        [job("a", allow_failure=True), job("b", needs=(Need("a"),))], fates={"a": Fate(exit=ExitedWith(1))}
    )
    assert outcomes(story) == {1: "failed", 2: "ok"}


def test_clean_up_runs_whatever_the_outcome_and_roll_back_only_after_a_failure():
    jobs = [job("a"), job("clean", needs=(Need("a", "ended"),)), job("undo", needs=(Need("a", "failed"),))]
    assert outcomes(run(jobs, fates={"a": Fate(exit=ExitedWith(1))})) == {1: "failed", 2: "ok", 3: "ok"}
    good = run(jobs)
    assert outcomes(good) == {1: "ok", 2: "ok", 3: "skipped"}
    assert [e.allowed for e in good.events if isinstance(e, ev.JobEnded)] == [False, True, False]


def test_a_job_that_needs_itself_is_refused():
    scheduler = Scheduler()
    with pytest.raises(UnknownNeed, match="a"):
        scheduler.add([job("a", needs=(Need("a"),))], 0.0)
    assert scheduler.tasks == {}


def test_a_need_for_a_failure_is_never_met_by_a_job_without_an_id_that_ended_ok():
    late = job("undo", needs=(Need("1", "failed"),))
    story = run(
        [job("1", named=False), job("long")],
        slots=2,
        fates={"long": Fate(10.0)},
        asks=[(5.0, lambda scheduler, now: scheduler.add([late], now))],
    )
    assert outcomes(story) == {1: "ok", 2: "ok", 3: "skipped"}


def test_what_an_urgent_job_needs_is_as_urgent():
    story = run(
        [job("x"), job("y"), job("base"), job("top", priority=Priority.CRITICAL, needs=(Need("base"),))]
    )
    assert [seq for _, seq, _ in starts(story)] == [3, 4, 1, 2]


def test_a_full_pool_does_not_hold_back_others():
    story = run(
        [job("a", pools=(("net", 1),)), job("b", pools=(("net", 1),)), job("c")],
        slots=3,
        pools=[Pool("net", 1)],
    )
    assert starts(story) == [(0, 1, 1), (0, 3, 1), (1, 2, 1)]


def test_an_indexed_pool_hands_out_its_names():
    seen = []

    def fate(attempt):
        seen.append(attempt.pools)
        return Fate()

    scheduler = Scheduler(pools=[Pool("gpu", 2, ("0", "1"))])
    scheduler.add([job("a", pools=(("gpu", 1),)), job("b", pools=(("gpu", 1),))], 0.0)
    scheduler.end_input(0.0)
    simulate(scheduler, SimulatedExecutor(FakeClock(), 2, fate))
    assert seen == [(("gpu", "0"),), (("gpu", "1"),)]


def test_a_big_job_is_not_passed_for_ever():
    small = [job(f"s{n}") for n in range(1000)]
    fates = {f"s{n}": Fate(seconds=1 + n * 0.618 % 1) for n in range(1000)}
    story = run([small[0], job("big", slots=2), *small[1:]], slots=2, fates=fates)
    place = [seq for _, seq, _ in starts(story)].index(2)
    assert 95 <= place <= 110


def test_a_job_that_asks_for_more_slots_than_there_are_takes_them_all():
    story = run([job("big", slots=9), job("b")], slots=2)
    assert starts(story) == [(0, 1, 1), (1, 2, 1)]


def test_halting_now_stops_what_runs_and_soon_lets_it_finish():
    jobs = [job("a"), job("b"), job("c")]
    fates = {"a": Fate(exit=ExitedWith(1)), "b": Fate(seconds=5)}
    now = run(jobs, slots=2, fates=fates, halt=HaltRule("now", "fail", 1))
    assert outcomes(now) == {1: "failed", 2: "interrupted"}
    soon = run(jobs, slots=2, fates=fates, halt=HaltRule("soon", "fail", 1))
    assert outcomes(soon) == {1: "failed", 2: "ok"}


def test_a_failure_of_a_job_that_runs_again_counts_no_more_for_halting():
    scheduler = Scheduler(halt=HaltRule("soon", "fail", 2))
    scheduler.add([job("a"), job("b")], 0.0)
    again = Task(1, job("a"))
    again.attempts = 1

    def fail(seq, attempt):
        scheduler.decide(0.0, 2)
        end = ProcessFinished(AttemptId(seq, attempt), ExitedWith(1), False, 0.0, 0.0, slot="slot 1")
        scheduler.observe(end, 0.0)

    fail(1, 1)
    scheduler.reopen([(again, Outcome.FAILED, False)], 0.0, "")
    fail(1, 2)
    assert scheduler.stopping is None
    fail(2, 1)
    assert scheduler.stopping.cause == "halt"


def test_after_a_stop_nothing_starts_and_a_second_one_kills():
    asks = [(1.5, lambda s, t: s.stop("signal SIGINT", t)), (2, lambda s, t: s.stop("x", t, force=True))]
    story = run([job("a"), job("b"), job("c")], fates={"b": Fate(seconds=50, deaf=True)}, asks=asks)
    assert starts(story) == [(0, 1, 1), (1, 2, 1)]
    assert outcomes(story) == {1: "ok", 2: "interrupted"}
    assert story.events[-1].at == 2


def test_an_attempt_is_killed_once_however_often_that_is_asked():
    asks = [(at, lambda s, t: s.stop("x", t, force=True)) for at in (1, 1)]
    story = run([job("a")], fates={"a": Fate(seconds=50)}, asks=asks)
    assert [e.force for e in story.events if isinstance(e, ev.AttemptStopping)] == [True]


def test_what_needs_an_interrupted_job_stays_pending():
    asks = [(0.5, lambda s, t: s.stop("signal SIGINT", t))]
    story = run([job("a"), job("b", needs=(Need("a"),))], asks=asks)
    assert outcomes(story) == {1: "interrupted"}


def test_a_job_that_ends_before_our_signal_meets_it_keeps_its_own_exit():

    scheduler = Scheduler()
    scheduler.add([job("a", timeout=1)], 0.0)
    scheduler.decide(0.0, 1)
    scheduler.observe(ProcessStarted(AttemptId(1, 1), 0.0, "slot 1"), 0.0)
    scheduler.decide(1.0, 1)
    scheduler.observe(
        ProcessFinished(AttemptId(1, 1), ExitedWith(0), stopped=False, began=0.0, ended=1.0), 1.0
    )
    ended = scheduler.decide(1.0, 1).events[-1]
    assert isinstance(ended, ev.JobEnded) and ended.outcome is Outcome.OK


def test_the_end_of_a_short_attempt_tells_its_start():
    scheduler = Scheduler()
    scheduler.add([job("a", timeout=1), job("b")], 0.0)
    scheduler.decide(0.0, 2)
    for seq, code in ((1, 0), (2, 1)):
        end = ProcessFinished(AttemptId(seq, 1), ExitedWith(code), False, began=0.1, ended=0.2, slot="slot 5")
        scheduler.observe(end, 0.3)
        start, ended, done = scheduler.decide(0.3, 2).events
        assert start == ev.AttemptStarted(0.1, seq, 1, "slot 5")
        assert isinstance(ended, ev.AttemptEnded) and isinstance(done, ev.JobEnded)
    assert scheduler.next_timer() == inf


def test_an_attempt_without_a_process_has_no_start():
    scheduler = Scheduler()
    scheduler.add([job("a")], 0.0)
    scheduler.decide(0.0, 1)
    scheduler.observe(ProcessFinished(AttemptId(1, 1), NotStarted(127, "x"), False, 0.1, 0.1), 0.1)
    assert [type(event) for event in scheduler.decide(0.1, 1).events] == [ev.AttemptEnded, ev.JobEnded]


def test_a_refused_start_goes_back_to_the_front_and_uses_up_nothing():
    tries = {"n": 0}

    def fate(attempt):
        tries["n"] += attempt.spec.id == "b"
        return Fate(refuse=attempt.spec.id == "b" and tries["n"] == 1)

    scheduler = Scheduler()
    scheduler.add([job("a"), job("b"), job("c")], 0.0)
    scheduler.end_input(0.0)
    story = simulate(scheduler, SimulatedExecutor(FakeClock(), 2, fate))
    assert starts(story) == [(0, 1, 1), (1, 2, 1), (2, 3, 1)]
    assert [e.slots for e in story.events if isinstance(e, ev.SlotsChanged)] == [1]


def test_a_job_that_is_moved_to_the_front_goes_before_those_that_were_moved_in_an_earlier_process():
    tasks = [Task(seq, job(name)) for seq, name in enumerate("ab", 1)]
    for task, place in zip(tasks, (-4, 5), strict=True):
        task.state, task.place = Queued(1, 0.0), place
    scheduler = Scheduler()
    scheduler.restore(RestartPlan(tasks=tasks, jobs=2), 0.0)
    scheduler.change(tasks[1], tasks[1].spec, 0.0, front=True)
    assert [e.seq for e in scheduler.decide(0.0, 2).events if isinstance(e, ev.AttemptSubmitted)] == [2, 1]


def test_a_job_that_was_cancelled_while_its_start_was_refused_is_cancelled():
    scheduler = Scheduler()
    scheduler.add([job("a")], 0.0)
    scheduler.decide(0.0, 1)
    scheduler.cancel(scheduler.tasks[1], 1.0)
    scheduler.observe(StartRejected(AttemptId(1, 1), "no room"), 2.0)
    ends = [e.outcome for e in scheduler.decide(2.0, 1).events if isinstance(e, ev.JobEnded)]
    assert ends == [Outcome.CANCELLED]


def test_who_was_refused_has_waited_since_he_came():
    scheduler = Scheduler()
    scheduler.add([job("a")], 0.0)
    scheduler.decide(1.0, 1)
    scheduler.observe(StartRejected(AttemptId(1, 1), "no room"), 2.0)
    scheduler.decide(2.0, 1)
    waits = [e.waited for e in scheduler.decide(7.0, 1).events if isinstance(e, ev.AttemptSubmitted)]
    assert waits == [7.0]


def test_cancelling_takes_effect_in_every_state():
    asks = [(0.5, lambda s, t: [s.cancel(task, t) for task in list(s.tasks.values())])]
    story = run(
        [
            job("run"),
            job("queued"),
            job("pending", needs=(Need("run"),)),
            job("wait", retry=RetryPolicy(max=1)),
        ],
        slots=1,
        fates={"run": Fate(seconds=9)},
        asks=asks,
    )
    assert set(outcomes(story).values()) == {"cancelled"}


GONE = Fate(exit=LostExit("its machine died", worker_lost=True))


def test_what_is_lost_with_its_place_runs_again_ahead_of_its_equals_and_uses_up_no_retry():
    story = run([job("a"), job("b"), job("c")], fates={"a": [GONE, GONE, Fate()]})
    assert starts(story) == [(0, 1, 1), (1, 1, 2), (2, 1, 3), (3, 2, 1), (4, 3, 1)]
    assert outcomes(story) == {1: "ok", 2: "ok", 3: "ok"}


def test_it_keeps_its_retries_for_failures():
    retry = RetryPolicy(max=1, delay=5.0)
    story = run([job("a", retry=retry)], fates={"a": [GONE, Fate(exit=ExitedWith(1)), GONE, Fate()]})
    assert starts(story) == [(0, 1, 1), (1, 1, 2), (7, 1, 3), (8, 1, 4)]
    assert outcomes(story) == {1: "ok"}


def test_what_is_lost_too_often_fails_whatever_its_retries():
    retry = RetryPolicy(max=9, delay=0.0)
    story = run([job("a", retry=retry), job("b", max_lost=0, retry=retry)], fates={"a": GONE, "b": GONE})
    assert [attempt for _, seq, attempt in starts(story) if seq == 1] == [1, 2, 3, 4]
    assert [attempt for _, seq, attempt in starts(story) if seq == 2] == [1]
    assert outcomes(story) == {1: "failed", 2: "failed"}


def test_what_must_not_run_twice_fails_when_it_is_lost():
    story = run([job("a", on_lost="fail", retry=RetryPolicy(max=9))], fates={"a": GONE})
    assert starts(story) == [(0, 1, 1)]
    assert outcomes(story) == {1: "failed"}


def test_what_was_lost_while_it_was_being_cancelled_is_cancelled():
    def cancel(scheduler, now):
        scheduler.cancel(scheduler.find("a"), now)

    deaf = Fate(seconds=3, exit=GONE.exit, deaf=True)
    story = run([job("a", grace=9)], fates={"a": deaf}, asks=[(1.0, cancel)])
    assert starts(story) == [(0, 1, 1)]
    assert outcomes(story) == {1: "cancelled"}


def test_a_loss_before_the_start_uses_up_nothing_but_not_for_ever():
    scheduler = Scheduler()
    scheduler.add([job("a", max_lost=0)], 0.0)
    scheduler.end_input(0.0)
    attempts = 0
    while not scheduler.done:
        for act in scheduler.decide(0.0, 1).acts:
            attempts += 1
            scheduler.observe(ProcessFinished(act.key, GONE.exit, False, 0.0, 0.0), 0.0)
    assert attempts == 21
