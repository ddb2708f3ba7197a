# SPDX-License-Identifier: LGPL-3.0-or-later
"""What holds back starts beside slots and pools: a pace, the machine's load and memory."""

import itertools
from random import Random

from hypothesis import given
from hypothesis import strategies as some

from pqrun.core import events as ev
from pqrun.core.job import ExitedWith, HaltRule, JobSpec, Pool, RetryPolicy, StartRate
from pqrun.core.scheduler import Scheduler
from pqrun.core.start_policy import AdaptiveLimit, HaltCondition, Headroom, StartRateLimiter
from pqrun.testing import FakeClock, Fate, SimulatedExecutor, simulate

BUSY = Headroom(0, "the load is 9 (--load 4)", "load")


def job(name, **facts):
    return JobSpec(name, work=name, **facts)


def jobs(count, **facts):
    return [job(f"j{n}", **facts) for n in range(count)]


def simulated(specs, *, slots=4, seconds=1.0, **settings):
    """A whole run; the moments of its starts."""
    scheduler = Scheduler(**settings)
    scheduler.add(specs, 0.0)
    scheduler.end_input(0.0)
    executor = SimulatedExecutor(FakeClock(), slots, lambda attempt: Fate(seconds))
    story = simulate(scheduler, executor)
    return [event.at for event in story.events if isinstance(event, ev.AttemptSubmitted)]


def queue(*specs, **settings):
    """A scheduler that has these jobs, and what its first decision starts with two slots."""
    scheduler = Scheduler(**settings)
    scheduler.add(specs, 0.0)
    return scheduler


def started(decision):
    return [event.seq for event in decision.events if isinstance(event, ev.AttemptSubmitted)]


def test_without_a_pace_everything_starts_at_once():
    assert simulated(jobs(4)) == [0, 0, 0, 0]


def test_a_delay_lies_between_any_two_starts_and_before_none():
    assert simulated(jobs(5), pace=StartRateLimiter(0.25)) == [0, 0.25, 0.5, 0.75, 1.0]


def test_a_delay_shorter_than_the_jobs_costs_nothing_once_all_slots_are_taken():
    assert simulated(jobs(4), slots=1, seconds=2.0, pace=StartRateLimiter(0.5)) == [0, 2, 4, 6]


def test_a_rate_lets_so_many_start_at_once_and_then_waits_for_the_first_to_be_long_ago():
    moments = simulated(jobs(7), slots=9, pace=StartRateLimiter(rate=StartRate(3, 10.0)))
    assert moments == [0, 0, 0, 10, 10, 10, 20]


def test_a_delay_and_a_rate_hold_together():
    moments = simulated(jobs(5), slots=9, pace=StartRateLimiter(1.0, StartRate(2, 10.0)))
    assert moments == [0, 1, 10, 11, 20]


def test_a_retry_is_a_start_like_any_other():
    scheduler = Scheduler(pace=StartRateLimiter(5.0))
    scheduler.add([job("a", retry=RetryPolicy(max=2, delay=0.0)), job("b")], 0.0)
    scheduler.end_input(0.0)
    story = simulate(scheduler, SimulatedExecutor(FakeClock(), 1, lambda _: Fate(1.0, ExitedWith(1))))
    starts = [(e.at, e.seq) for e in story.events if isinstance(e, ev.AttemptSubmitted)]
    assert starts == [(0, 1), (5, 2), (10, 1), (15, 1)]


@given(
    some.integers(1, 5),
    some.sampled_from([1.0, 3.0]),
    some.sampled_from([0.0, 0.4]),
    some.integers(1, 6),
    some.randoms(use_true_random=False),
)
def test_no_window_ever_holds_more_starts_than_the_rate(number, seconds, delay, slots, random):
    pace = StartRateLimiter(delay, StartRate(number, seconds))
    scheduler = Scheduler(pace=pace)
    scheduler.add(jobs(25), 0.0)
    scheduler.end_input(0.0)
    executor = SimulatedExecutor(FakeClock(), slots, lambda _: Fate(random.choice([0.0, 0.1, 0.7, 2.0])))
    story = simulate(scheduler, executor)
    moments = [event.at for event in story.events if isinstance(event, ev.AttemptSubmitted)]
    assert len(moments) == 25
    for early, late in zip(moments, moments[number:], strict=False):
        assert late - early >= seconds - 1e-9
    for early, late in itertools.pairwise(moments):
        assert late - early >= delay - 1e-9


def test_while_the_pace_holds_back_it_says_why_and_when_to_look_again():
    scheduler = queue(*jobs(3), pace=StartRateLimiter(5.0))
    assert started(scheduler.decide(0.0, 9)) == [1]
    assert (scheduler.hold_reason, scheduler.next_timer()) == (
        "the last start was less than 5s ago (--delay)",
        5.0,
    )
    assert started(scheduler.decide(4.9, 9)) == []
    assert started(scheduler.decide(5.0, 9)) == [2]


def test_nothing_is_held_back_when_no_job_waits_or_no_slot_is_free():
    scheduler = queue(*jobs(2), pace=StartRateLimiter(5.0))
    scheduler.decide(0.0, 1)
    assert (scheduler.hold_reason, scheduler.next_timer()) == ("", float("inf"))
    scheduler = queue(job("a"))
    scheduler.decide(0.0, 4, BUSY._replace(max_attempts=1))
    assert scheduler.hold_reason == ""


def test_a_machine_that_bears_nothing_holds_back_starts_and_this_is_told_once():
    scheduler = queue(*jobs(2))
    told = [event for _ in range(3) for event in scheduler.decide(0.0, 4, BUSY).events]
    assert [event for event in told if isinstance(event, ev.StartsHeld)] == [ev.StartsHeld(0.0, BUSY.why)]
    assert scheduler.hold_reason == BUSY.why
    assert started(scheduler.decide(1.0, 4)) == [1, 2]
    assert scheduler.hold_reason == ""


def test_a_machine_that_bears_some_gets_as_many_whatever_they_take_of_slots():
    scheduler = queue(*jobs(5, slots=2))
    assert started(scheduler.decide(0.0, 8, Headroom(2, "full", "memfree"))) == [1, 2]
    assert scheduler.hold_reason == "full"


def test_a_job_of_many_slots_still_gets_all_of_them_when_the_machine_bears_few():
    scheduler = queue(job("big", slots=8), job("small"))
    assert started(scheduler.decide(0.0, 8, Headroom(1, "full", "memfree"))) == [1]
    assert started(scheduler.decide(1.0, 8)) == []


def test_a_paused_run_says_so():
    scheduler = queue(*jobs(1))
    scheduler.pause(paused=True, now=0.0)
    scheduler.decide(0.0, 1)
    assert scheduler.hold_reason == "the run is paused"


def halted(count, halt, fails=(), *, complete=True):
    """How many jobs of so many ended, one after the other, and whether the run was stopped."""
    scheduler = Scheduler(halt=halt)
    scheduler.add(jobs(count), 0.0)
    if complete:
        scheduler.end_input(0.0)
    asks = [] if complete else [(1e6, lambda s, now: s.end_input(now))]
    executor = SimulatedExecutor(
        FakeClock(), 1, lambda a: Fate(1.0, ExitedWith(int(a.key.seq in fails))), asks=asks
    )
    story = simulate(scheduler, executor)
    return sum(isinstance(event, ev.JobEnded) for event in story.events), scheduler.stopping is not None


def test_a_percentage_is_one_of_all_jobs():
    assert halted(20, HaltRule("soon", "fail", 10, percent=True), fails=(1, 4)) == (4, True)
    assert halted(21, HaltRule("soon", "fail", 10, percent=True), fails=(1, 4)) == (21, False)
    assert halted(21, HaltRule("soon", "fail", 10, percent=True), fails=(1, 4, 9)) == (9, True)
    assert halted(8, HaltRule("now", "done", 50, percent=True)) == (4, True)
    assert halted(3, HaltRule("now", "success", 1, percent=True)) == (1, True)


def test_a_percentage_of_what_is_not_known_is_not_reached_until_the_end_is():
    assert halted(10, HaltRule("soon", "done", 50, percent=True), complete=False) == (10, True)


def test_a_percentage_of_no_jobs_is_not_reached():
    assert HaltCondition(HaltRule("soon", "fail", 10, percent=True)).reached(0, complete=True) is None


def test_for_a_percentage_all_is_read_ahead():
    room = Scheduler(max_queue=10, halt=HaltRule("soon", "done", 50, percent=True)).queue_room
    assert room > 10**9
    assert Scheduler(max_queue=10, halt=HaltRule("soon", "done", 5)).queue_room == 10


def test_a_number_is_reached_by_those_that_count():
    assert halted(9, HaltRule("soon", "fail", 2), fails=(2, 5, 7)) == (5, True)
    assert halted(9, HaltRule("now", "success", 3), fails=(1,)) == (4, True)
    assert halted(9, HaltRule("now", "done", 3), fails=(1,)) == (3, True)
    assert halted(9, HaltRule("now", "fail", 9), fails=(1, 2)) == (9, False)


def test_random_runs_with_everything_that_holds_back_still_end_and_keep_their_pace():
    for seed in range(300):
        random = Random(seed)
        delay = random.choice([0.0, 0.3])
        pace = StartRateLimiter(delay, random.choice([None, StartRate(2, 1.0)]))
        scheduler = Scheduler(pace=pace, pools=[Pool("net", 1)])
        wants = [(), (("net", 1),)]
        specs = [job(f"j{n}", slots=random.choice([1, 1, 3]), pools=random.choice(wants)) for n in range(12)]
        scheduler.add(specs, 0.0)
        scheduler.end_input(0.0)
        executor = SimulatedExecutor(
            FakeClock(), 3, lambda _, r=random: Fate(r.choice([0.0, 0.5, 2.0]), refuse=r.random() < 0.1)
        )
        story = simulate(scheduler, executor)
        ended = [event for event in story.events if isinstance(event, ev.JobEnded)]
        assert len(ended) == 12


def test_where_not_even_one_can_start_it_is_tried_less_and_less_often():
    ceiling, now, pauses = AdaptiveLimit(), 0.0, []
    for _ in range(7):
        ceiling.refused(0, now, "no room")
        pauses.append(ceiling.next_start_at - now)
        now = ceiling.next_start_at
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    ceiling.succeeded()
    ceiling.refused(0, now, "no room")
    assert ceiling.next_start_at - now == 0.25


def test_where_nothing_runs_and_no_start_succeeds_for_some_seconds_there_is_no_hope():
    ceiling, now = AdaptiveLimit(patience=5.0), 0.0
    while now < 5.0:
        ceiling.refused(0, now, "no room")
        assert (ceiling.hopeless == "") == (now < 5.0)
        now = ceiling.next_start_at
    ceiling.refused(0, now, "no room")
    assert ceiling.hopeless == "no room"


def test_hope_lasts_as_long_as_anything_of_ours_runs_or_has_just_ended():
    ceiling = AdaptiveLimit(patience=5.0)
    ceiling.refused(0, 0.0, "no room")
    ceiling.refused(1, 4.0, "no room")  # one runs, and will make room
    ceiling.refused(0, 6.0, "no room")
    assert ceiling.hopeless == ""
    ceiling.succeeded()
    ceiling.refused(0, 12.0, "no room")
    assert ceiling.hopeless == ""
    ceiling.refused(0, 17.0, "no room")
    assert ceiling.hopeless == "no room"
