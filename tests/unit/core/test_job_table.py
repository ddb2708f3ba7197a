# SPDX-License-Identifier: LGPL-3.0-or-later
"""The table that all observers share: rows of unfinished jobs, counts, and what undoes them."""

from collections import Counter

import pytest

from pqrun.core import events as ev
from pqrun.core.job import (
    NO_REPORT,
    Command,
    CountedAs,
    ExitedWith,
    JobSpec,
    LostExit,
    Need,
    NotStarted,
    Outcome,
    OutputPlace,
    Priority,
    RetryPolicy,
    StopReason,
    Usage,
)
from pqrun.core.job_row import FullRow, JobRow
from pqrun.core.job_table import JobTable

SPEC = JobSpec("a", Command("true"))
RETRIED_SPEC = JobSpec("a", Command("true"), retry=RetryPolicy(max=1))


def attempt(number, exit, counted, at=1.0):
    return [
        ev.JobQueued(at, 1, number, Priority.HIGH),
        ev.AttemptSubmitted(at, 1, number, 0.5),
        ev.AttemptStarted(at, 1, number, "slot 1"),
        ev.AttemptEnded(at + 2, 1, number, counted, exit, None, at, at + 2, Usage(), NO_REPORT),
    ]


def told(*events, **options):
    table = JobTable(**options)
    table.fold_all([ev.JobAdded(0.0, 1, SPEC), *events])
    return table


def facts(table):
    return table.failed, table.flaky, table.allowed, dict(+table.outcomes)


TRIED = [*attempt(1, ExitedWith(3), CountedAs.RETRIED), ev.JobWaiting(3.0, 1, 2, 4.0)]
LOST = [*attempt(1, LostExit("gone", worker_lost=True), CountedAs.RETRIED), ev.JobWaiting(3.0, 1, 2, 4.0)]
PASSED = [*attempt(2, ExitedWith(0), CountedAs.COMPLETED), ev.JobEnded(6.0, 1, Outcome.OK, 2)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([*TRIED, *PASSED], (0, 1, 0, {Outcome.OK: 1})),
        ([*LOST, *PASSED], (0, 0, 0, {Outcome.OK: 1})),
        ([ev.JobEnded(1.0, 1, Outcome.FAILED, 1)], (1, 0, 0, {Outcome.FAILED: 1})),
        ([ev.JobEnded(1.0, 1, Outcome.FAILED, 1, True)], (0, 0, 1, {Outcome.FAILED: 1})),
        ([ev.JobEnded(1.0, 1, Outcome.SKIPPED, 0, False, "b")], (1, 0, 0, {Outcome.SKIPPED: 1})),
        ([ev.JobEnded(1.0, 1, Outcome.SKIPPED, 0, True, "b")], (0, 0, 0, {Outcome.SKIPPED: 1})),
        ([ev.JobEnded(1.0, 1, Outcome.INTERRUPTED, 1)], (0, 0, 0, {Outcome.INTERRUPTED: 1})),
    ],
    ids=["flaky", "worker lost", "failed", "may fail", "skipped", "not needed", "interrupted"],
)
def test_an_end_is_counted_and_its_row_leaves_and_a_resume_undoes_both(events, expected):
    table = told(*events)
    assert (facts(table), table.rows, table.running, table.unfinished) == (expected, {}, {}, 0)
    table = told(*events, keeps_ended=True)
    assert (facts(table), table.running, table.unfinished) == (expected, {}, 0)
    outcome = next(iter(expected[3]))
    table.fold(ev.JobReopened(9.0, 1, outcome, SPEC))
    assert (facts(table), table.rows[1].state) == ((0, 0, 0, {}), "pending")
    table = told(*events, keeps_ended=True)
    table.fold(ev.JobDropped(9.0, 1, outcome))
    assert (facts(table), table.added, table.all_rows()) == ((0, 0, 0, {}), 0, [])


def test_rows_of_ended_jobs_are_kept_only_where_somebody_shows_them():
    assert told(*TRIED, *PASSED).all_rows() == []
    assert [row.state for row in told(*TRIED, *PASSED, keeps_ended=True).all_rows()] == ["ok"]


def test_a_job_that_was_interrupted_after_a_retry_is_still_flaky_when_it_passes():
    end = [ev.JobEnded(3.5, 1, Outcome.INTERRUPTED, 1), ev.JobReopened(9.0, 1, Outcome.INTERRUPTED, SPEC)]
    assert told(*TRIED, *end, *PASSED, keeps_ended=True).flaky == 1
    end = [ev.JobEnded(3.5, 1, Outcome.FAILED, 1), ev.JobReopened(9.0, 1, Outcome.FAILED, SPEC)]
    assert told(*TRIED, *end, *PASSED, keeps_ended=True).flaky == 0


def test_an_ended_job_may_be_changed_by_an_edited_file():
    changed = SPEC._replace(timeout=5.0)
    table = told(ev.JobEnded(1.0, 1, Outcome.OK, 1), ev.JobChanged(2.0, 1, changed, "x"), keeps_ended=True)
    assert [row.spec for row in table.all_rows()] == [changed]
    assert told(ev.JobEnded(1.0, 1, Outcome.OK, 1), ev.JobChanged(2.0, 1, changed, "x")).all_rows() == []


def test_an_edited_file_may_say_that_a_failed_job_may_fail_and_that_it_may_not():
    table = told(ev.JobEnded(1.0, 1, Outcome.FAILED, 1), keeps_ended=True)
    for allowed in (True, False):
        table.fold(ev.JobChanged(2.0, 1, SPEC._replace(allow_failure=allowed), "x"))
        assert (table.rows[1].allowed, table.failed, table.allowed) == (allowed, not allowed, allowed)
    table = told(ev.JobEnded(1.0, 1, Outcome.SKIPPED, 0, True, "b"), keeps_ended=True)
    table.fold(ev.JobChanged(2.0, 1, SPEC._replace(timeout=5.0), "x"))
    assert (table.rows[1].allowed, table.failed) == (True, 0)


@pytest.mark.parametrize(
    ("events", "expected"),
    [([], True), ([ev.JobEnded(1.0, 1, Outcome.INTERRUPTED, 1)], True), ([ev.JobEnded(1.0, 1, Outcome.FAILED, 1)], False)],
    ids=["unfinished", "interrupted", "failed"],
)  # fmt: skip
def test_a_run_leaves_undone_what_has_not_ended_or_was_interrupted(events, expected):
    assert told(*events).left_undone is expected


@pytest.mark.parametrize("exit", [NotStarted(127, "no such file"), LostExit("gone", worker_lost=True)])
def test_what_a_job_said_goes_before_what_is_known_of_its_end(exit):
    *begin, end = attempt(1, exit, CountedAs.FAILED)
    assert told(*begin, end).rows[1].message == exit.why
    assert told(*begin, end._replace(said=NO_REPORT._replace(message="no luck"))).rows[1].message == "no luck"


def test_an_ended_job_that_is_changed_is_counted_as_before():
    for outcome, count in ((Outcome.FAILED, 1), (Outcome.OK, 0)):
        changed = ev.JobChanged(2.0, 1, SPEC._replace(timeout=5.0), "x")
        assert told(ev.JobEnded(1.0, 1, outcome, 1), changed, keeps_ended=True).failed == count
    never = SPEC._replace(rerun=False)
    end, change = ev.JobEnded(1.0, 1, Outcome.INTERRUPTED, 1), ev.JobChanged(2.0, 1, never, "x")
    assert [told(*events, keeps_ended=True).failed for events in ([end], [end, change])] == [0, 1]


def test_a_row_knows_what_its_running_attempt_is_asked_and_says():
    table = told(*attempt(1, ExitedWith(0), CountedAs.COMPLETED)[:3])
    row = table.running[1]
    table.fold(ev.StatusReported(2.0, 1, 1, "half", 0.5))
    table.fold(ev.AttemptStopping(2.0, 1, 1, StopReason.TIMEOUT, False))
    assert (row.state, row.since, row.priority) == ("running", 1.0, Priority.HIGH)
    assert (row.status, row.progress, row.stopping) == ("half", 0.5, "ending")
    table.fold(ev.AttemptRefused(3.0, 1, 1, "no room"))
    assert (table.running, row.state, row.attempts, table.states["queued"]) == ({}, "queued", 0, 1)


def test_a_row_keeps_its_place_in_the_queue_until_a_retry_of_its_own():
    table = told(*LOST)
    row = table.rows[1]
    assert (row.place, row.lost, row.last, row.counted, row.until) == (1, 1, 1, CountedAs.RETRIED, 4.0)
    table.fold(ev.JobChanged(5.0, 1, SPEC, "x", front=True))
    table.fold(ev.JobQueued(5.0, 1, 2, Priority.HIGH))
    assert row.place == -2
    table.fold_all([*attempt(2, ExitedWith(3), CountedAs.RETRIED), ev.JobWaiting(7.0, 1, 3, 8.0)])
    assert (row.place, row.lost, row.submitted) == (0, 1, 1.0)


NOT_BEGUN = [ev.JobQueued(1.0, 1, 1, Priority.HIGH), ev.JobRemoved(2.0, 1), ev.JobHeld(3.0, 1, True, "me"),
             ev.JobHeld(4.0, 1, False, "me"), ev.JobDelayed(5.0, 1, 1, 9.0),
             ev.JobChanged(6.0, 1, RETRIED_SPEC, "me", front=True)]  # fmt: skip
BEGINS, ENDS = ev.AttemptSubmitted(7.0, 1, 1, 0.5), ev.JobEnded(7.0, 1, Outcome.CANCELLED, 0)


def values_of(row):
    return {name: getattr(row, name) for name in (*JobRow.__slots__, *FullRow.__slots__)}


@pytest.mark.parametrize("count", range(len(NOT_BEGUN) + 1))
@pytest.mark.parametrize("event", [BEGINS, ENDS], ids=["begins", "ends"])
def test_a_row_gets_room_for_an_attempt_when_the_job_begins_or_ends(event, count):
    """And until then, it tells the same."""
    table, full = told(*NOT_BEGUN[:count], keeps_ended=True), told(keeps_ended=True)
    full.rows[1] = FullRow(full.rows[1])
    full.fold_all(NOT_BEGUN[:count])
    waiting = table.rows[1]
    assert type(waiting) is JobRow and values_of(waiting) == values_of(full.rows[1])
    assert type(waiting.copy()) is FullRow and values_of(waiting.copy()) == values_of(waiting)
    assert (waiting.max_attempts, waiting.outcome) == (full.rows[1].max_attempts, None)
    row = table.fold(event)
    assert type(row) is FullRow and row is table.rows[1]
    full.fold(event)
    assert values_of(row) == values_of(full.rows[1]) and table.states == full.states


EVERY_TURN = [
    *NOT_BEGUN, *attempt(1, ExitedWith(3), CountedAs.RETRIED, at=9.0)[:2], ev.AttemptRefused(9.0, 1, 1, "no room"),
    *attempt(1, ExitedWith(3), CountedAs.RETRIED, at=10.0)[1:], ev.JobWaiting(12.0, 1, 2, 14.0),
    ev.JobHeld(13.0, 1, True, "me"), ev.JobHeld(14.0, 1, False, "me"),
    *attempt(2, ExitedWith(3), CountedAs.FAILED, at=15.0), ev.JobEnded(17.0, 1, Outcome.FAILED, 2),
    ev.JobReopened(18.0, 1, Outcome.FAILED, SPEC), *attempt(3, ExitedWith(0), CountedAs.COMPLETED, at=19.0)[:3],
    ev.JobDropped(20.0, 1, None),
]  # fmt: skip


@pytest.mark.parametrize("keeps_ended", [False, True])
def test_the_jobs_in_each_state_are_counted_whatever_happens(keeps_ended):
    table, seen = JobTable(keeps_ended=keeps_ended), set()
    for event in [ev.JobAdded(0.0, 2, SPEC), ev.JobAdded(0.0, 1, SPEC), *EVERY_TURN]:
        table.fold(event)
        unfinished = [row.state for row in table.rows.values() if row.outcome is None]
        assert +Counter(table.states) == Counter(unfinished), event
        assert table.by_state() == {**Counter(unfinished), **{str(one): 1 for one in +table.outcomes}}, event
        if not isinstance(event, ev.AttemptEnded):  # the next event says what becomes of the job
            running = {row.seq for row in table.rows.values() if row.state == "running"}
            assert table.running.keys() == running, event
        seen.update(unfinished)
    assert seen == table.states.keys()


@pytest.mark.parametrize(
    ("tried", "outcome", "ended"),
    [
        ([], Outcome.CANCELLED, 9.0), (attempt(1, ExitedWith(0), CountedAs.COMPLETED), Outcome.OK, 3.0),
        (TRIED, Outcome.CANCELLED, 3.0), (TRIED, Outcome.SKIPPED, 9.0),
    ],
    ids=["never tried", "ok", "cancelled before the retry", "skipped before the retry"],
)  # fmt: skip
def test_a_job_ended_with_its_last_attempt_unless_it_was_skipped(tried, outcome, ended):
    row = told(*tried, ev.JobEnded(9.0, 1, outcome, len(tried) and 1), keeps_ended=True).rows[1]
    assert (row.ended, row.attempts) == (ended, 1 if tried else 0)


def test_only_a_file_with_nothing_else_in_it_is_named_as_the_output():
    row = FullRow(JobRow(1, SPEC))
    assert (row.stdout, row.stderr) == (None, None)
    row.stdout_at, row.stderr_at = OutputPlace("/r/logs/1.1.out"), OutputPlace("/r/logs/pack.3", 10, 3)
    assert (row.stdout, row.stderr) == ("/r/logs/1.1.out", None)


def test_how_long_the_last_attempt_ran_is_known_only_if_it_ran():
    done = attempt(1, ExitedWith(3), CountedAs.FAILED)
    end = ev.JobEnded(3.0, 1, Outcome.FAILED, 1)
    stories = {
        "never tried": ([], None), "running": (done[:3], None), "ended": ([*done, end], 2.0),
        "not started": ([*done[:2], done[3]._replace(exit=NotStarted(127, "no such file"))], None),
        "clock set back": ([*done[:3], done[3]._replace(ended=0.5)], 0.0),
        "to run again": ([*done, end, ev.JobReopened(4.0, 1, Outcome.FAILED, SPEC)], None),
    }  # fmt: skip
    found = {
        name: told(*events, keeps_ended=True).rows[1].run_seconds for name, (events, _) in stories.items()
    }
    assert found == {name: seconds for name, (_, seconds) in stories.items()}


def test_rows_stay_in_the_order_in_which_the_jobs_came():
    table = JobTable(keeps_ended=True)
    table.fold_all(ev.JobAdded(0.0, seq, SPEC) for seq in (1, 2, 3))
    table.fold_all([ev.JobQueued(0.0, 2, 1, Priority.NORMAL), ev.AttemptSubmitted(1.0, 2, 1, 1.0)])
    assert list(table.rows) == [1, 2, 3]


def test_places_grow_and_share_their_numbers_with_the_jobs_where_they_can():
    table = JobTable()
    numbers = [1000, 3000, 2000, 3001, 4000]
    table.fold_all(ev.JobAdded(0.0, seq, SPEC) for seq in numbers)
    table.fold_all(ev.JobQueued(0.0, seq, 1, Priority.NORMAL) for seq in numbers)
    assert [table.rows[seq].place for seq in numbers] == [1000, 3000, 3001, 3002, 4000]
    assert table.rows[4000].place is table.rows[4000].seq


def test_a_job_that_leaves_the_queue_loses_its_place_and_waits_for_its_needs_again():
    table = told(ev.JobQueued(1.0, 1, 1, Priority.HIGH), ev.JobRemoved(2.0, 1))
    row = table.rows[1]
    assert (row.state, row.place, row.outcome, table.states["queued"]) == ("pending", 0, None, 0)


def test_the_attempts_that_a_job_may_have_are_those_it_had_and_those_to_come():
    again = ev.JobReopened(9.0, 1, Outcome.FAILED, RETRIED_SPEC)
    tried = [ev.JobAdded(0.0, 1, RETRIED_SPEC), *TRIED]
    failed = [*attempt(2, ExitedWith(3), CountedAs.FAILED), ev.JobEnded(6.0, 1, Outcome.FAILED, 2)]
    third = attempt(3, ExitedWith(0), CountedAs.RETRIED)
    found = []
    for events in ([], tried, [*tried, *failed[:3]], [*tried, *failed], [*tried, *failed, again]):
        found.append(told(*events, keeps_ended=True).rows[1].max_attempts)
    for count in (1, 3, 4):
        found.append(told(*tried, *failed, again, *third[:count], keeps_ended=True).rows[1].max_attempts)
    wait = ev.JobWaiting(12.0, 1, 4, 13.0)
    found.append(told(*tried, *failed, again, *third, wait, keeps_ended=True).rows[1].max_attempts)
    assert found == [1, 2, 2, 2, 4, 4, 4, 4, 4]


def test_a_job_that_failed_is_tried_anew_when_it_is_reopened():
    end = ev.JobEnded(9.0, 1, Outcome.FAILED, 1)
    table = told(*LOST, end, ev.JobReopened(10.0, 1, Outcome.FAILED, SPEC), keeps_ended=True)
    row = table.rows[1]
    assert (row.retries, row.lost, row.place, row.attempts, row.outcome) == (0, 0, 0, 1, None)


def running_down(*, needs=()):
    """A table at the time 10: five jobs have ended, one a second, and three are left."""
    table = JobTable()
    for seq in range(1, 9):
        wants = needs if seq == 8 else ()
        table.fold(ev.JobAdded(0.0, seq, JobSpec(str(seq), Command("true"), needs=tuple(map(Need, wants)))))
        if seq < 8 or not wants:
            table.fold(ev.JobQueued(0.0, seq, 1, Priority.NORMAL))
    for seq in range(1, 6):
        table.fold(ev.JobEnded(seq * 2.0, seq, Outcome.OK, 1))
    table.fold(ev.InputEnded(10.0, 8, True))
    return table


def test_the_time_left_follows_from_the_rate():
    table = running_down()
    assert table.seconds_left(10.0) == 6.0
    assert table.seconds_left(10.0, unread=2) == 10.0
    table.fold(ev.RunPaused(10.0, True, ""))
    assert table.seconds_left(10.0) is None


def test_the_time_left_is_at_least_until_the_last_retry_has_run():
    table = running_down()
    for seq, until in ((6, 40.0), (7, 15.0)):
        table.fold_all([ev.AttemptSubmitted(10.0, seq, 1, 0.0), ev.JobWaiting(10.0, seq, 2, until)])
    assert table.waits(10.0) == (2, 0, 30.0)
    assert table.seconds_left(10.0, average=2.5) == 32.5


def test_another_process_of_the_run_forgets_how_the_earlier_ones_went():
    table = running_down()
    table.rate.expected = lambda now, left: 100.0 * left
    table.fold_all([ev.RunPaused(10.0, True, ""), ev.RunStopping(10.0, "signal SIGINT", False)])
    assert (table.paused, table.stopped, table.input_ended) == (True, "signal SIGINT", True)
    table.begin_process()
    assert (table.paused, table.stopping, table.stopped, table.input_ended) == (False, None, "", False)
    assert table.seconds_left(10.0) == 300.0  # by earlier runs: its own rate is not known yet


def test_the_time_left_is_at_least_that_of_the_longest_chain():
    table = running_down(needs=["7"])
    assert table.seconds_left(10.0, average=2.0) == 6.0
    assert table.seconds_left(10.0, average=5.0) == 10.0
    assert running_down().seconds_left(10.0, average=5.0) == 6.0
