# SPDX-License-Identifier: LGPL-3.0-or-later
import pytest

from pqrun.core import events as ev
from pqrun.core.job import (
    NO_REPORT,
    CountedAs,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    Outcome,
    Priority,
    StopReason,
    Usage,
)
from pqrun.core.metrics import CORE_METRICS, MetricsCollector

NAMES = (
    "jobs_enqueued jobs_dequeued jobs_completed jobs_failed jobs_timeout jobs_retried current_queue_size"
    " active_workers average_wait_time average_processing"
)
BESIDE = (
    "jobs_cancelled jobs_skipped jobs_removed attempts_stopped attempts_timeout queue_by_priority oldest_wait"
    " p50_processing p95_processing throughput"
)


def queued(at, seq, priority=Priority.NORMAL, attempt=1):
    return ev.JobQueued(at, seq, attempt, priority)


def ended(at, seq, count, *, began, attempt=1, exit=ExitedWith(0), asked=None):
    return ev.AttemptEnded(at, seq, attempt, count, exit, asked, began, at, Usage(), NO_REPORT)


def metrics_of(*events, began=0.0, now=None):
    metrics = MetricsCollector(began)
    metrics.fold(events)
    return metrics.snapshot(now)


def test_the_names_are_those_that_are_promised():
    assert list(CORE_METRICS) == NAMES.split()
    assert list(metrics_of().as_dict()) == [*NAMES.split(), *BESIDE.split()]


def test_a_run_without_jobs_is_all_zero():
    numbers = metrics_of().as_dict()
    assert numbers.pop("queue_by_priority") == {"critical": 0, "high": 0, "normal": 0, "low": 0}
    assert set(numbers.values()) == {0}


def test_waiting_is_counted_from_queue_to_slot_and_working_from_start_to_end():
    m = metrics_of(
        queued(0, 1),
        queued(0, 2),
        ev.AttemptSubmitted(2, 1, 1, 2.0),
        ev.AttemptSubmitted(4, 2, 1, 4.0),
        ended(12, 1, CountedAs.COMPLETED, began=2),
        ended(8, 2, CountedAs.FAILED, began=4, exit=ExitedWith(1)),
    )
    assert (m.average_wait_time, m.average_processing) == (3.0, 7.0)
    assert (m.jobs_completed, m.jobs_failed, m.active_workers, m.current_queue_size) == (1, 1, 0, 0)


def test_a_retry_enters_the_queue_again_and_its_attempt_is_counted_once():
    m = metrics_of(
        queued(0, 1),
        ev.AttemptSubmitted(0, 1, 1, 0.0),
        ended(1, 1, CountedAs.RETRIED, began=0, exit=ExitedWith(1)),
        ev.JobWaiting(1, 1, 2, 2),
        queued(2, 1, attempt=2),
        ev.AttemptSubmitted(2, 1, 2, 0.0),
        ended(3, 1, CountedAs.COMPLETED, began=2, attempt=2),
        ev.JobEnded(3, 1, Outcome.OK, 2),
    )
    assert (m.jobs_enqueued, m.jobs_dequeued, m.jobs_retried, m.jobs_completed) == (2, 2, 1, 1)


def test_a_refused_start_counts_as_neither_entry_nor_exit():
    before = metrics_of(queued(0, 1, Priority.HIGH), now=5.0)
    after = metrics_of(
        queued(0, 1, Priority.HIGH),
        ev.AttemptSubmitted(5, 1, 1, 5.0),
        ev.AttemptRefused(5, 1, 1, "no descriptors"),
        now=5.0,
    )
    assert after == before
    assert after.queue_by_priority["high"] == 1 and after.oldest_wait == 5.0


def test_what_was_cancelled_in_the_queue_left_it_without_an_attempt():
    m = metrics_of(queued(0, 1), ev.JobRemoved(1, 1), ev.JobEnded(1, 1, Outcome.CANCELLED, 0))
    assert (m.jobs_dequeued, m.jobs_removed, m.jobs_cancelled, m.current_queue_size) == (1, 1, 1, 0)


def test_what_was_skipped_never_was_in_the_queue():
    m = metrics_of(ev.JobEnded(1, 2, Outcome.SKIPPED, 0, because="a"))
    assert (m.jobs_enqueued, m.jobs_skipped) == (0, 1)


@pytest.mark.parametrize(
    ("count", "asked", "field"),
    [
        (CountedAs.TIMEOUT, StopReason.TIMEOUT, "jobs_timeout"),
        (CountedAs.TIMEOUT, StopReason.IDLE, "jobs_timeout"),
        (CountedAs.RETRIED, StopReason.TIMEOUT, "jobs_retried"),
        (CountedAs.STOPPED, StopReason.INTERRUPTED, "attempts_stopped"),
        (CountedAs.STOPPED, StopReason.CANCELLED, "attempts_stopped"),
    ],
)
def test_an_attempt_is_counted_in_one_place_and_its_time_limit_beside_it(count, asked, field):
    end = ended(1, 1, count, began=0, exit=KilledBySignal("SIGTERM"), asked=asked)
    m = metrics_of(queued(0, 1), ev.AttemptSubmitted(0, 1, 1, 0.0), end)
    counted = ("jobs_completed", "jobs_failed", "jobs_timeout", "jobs_retried", "attempts_stopped")
    assert {name for name in counted if getattr(m, name)} == {field}
    assert m.attempts_timeout == (asked in (StopReason.TIMEOUT, StopReason.IDLE))


def test_percentiles_are_right_within_a_hundredth():
    events = []
    for n in range(1, 1001):
        events += [
            queued(0, n),
            ev.AttemptSubmitted(0, n, 1, 0.0),
            ended(n / 100, n, CountedAs.COMPLETED, began=0),
        ]
    m = metrics_of(*events)
    assert m.p50_processing == pytest.approx(5.0, rel=0.01)
    assert m.p95_processing == pytest.approx(9.5, rel=0.01)


def test_throughput_is_jobs_ended_a_second_since_the_run_began():
    m = metrics_of(*(ev.JobEnded(110, n, Outcome.OK, 1) for n in range(20)), began=100.0, now=110.0)
    assert m.throughput == 2.0


def test_a_changed_priority_moves_a_queued_job_to_another_column():
    spec = JobSpec("a", None, priority=Priority.CRITICAL)
    m = metrics_of(queued(0, 1, Priority.LOW), ev.JobChanged(1, 1, spec, "set"))
    assert m.queue_by_priority == {"critical": 1, "high": 0, "normal": 0, "low": 0}
