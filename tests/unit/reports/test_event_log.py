# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a line of the event log says of each event."""

from typing import get_args

import pytest

from pqrun.core import events as ev
from pqrun.core.job import (
    NO_REPORT,
    Command,
    CountedAs,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    Need,
    NotStarted,
    Outcome,
    Priority,
    RetryPolicy,
    StopReason,
    Usage,
)
from pqrun.reports.event_log import event_facts
from pqrun.reports.json_document import timestamp

SPEC = JobSpec(
    "a", Command(("make", "a")), Priority.HIGH, 5.0, tags=("x",), needs=(Need("b"),), retry=RetryPolicy(max=2)
)
TOLD_OF_SPEC = {
    "run": ["make", "a"], "priority": "high", "tags": ["x"], "needs": ["b"], "timeout_s": 5.0, "max_retries": 2
}  # fmt: skip


def wall(at):
    return at + 1_800_000_000.0


def moment(at):
    return timestamp(wall(at))


LINES = [
    (ev.JobAdded(1.0, 7, SPEC), "job_added", {**TOLD_OF_SPEC, "by": None}),
    (ev.JobAdded(1.0, 7, SPEC, "me"), "job_added", {**TOLD_OF_SPEC, "by": "me"}),
    (ev.JobQueued(1.0, 7, 2, Priority.LOW), "job_queued", {"attempt": 2, "priority": "low"}),
    (ev.AttemptSubmitted(1.0, 7, 2, 0.1234567), "attempt_submitted", {"attempt": 2, "wait_s": 0.123457}),
    (ev.AttemptRefused(1.0, 7, 2, "no room"), "attempt_refused", {"attempt": 2, "why": "no room"}),
    (ev.AttemptStarted(1.0, 7, 2, "slot 3"), "attempt_started", {"attempt": 2, "where": "slot 3"}),
    (ev.AttemptRestarted(1.0, 7, 2, "node1"), "attempt_restarted", {"attempt": 2, "where": "node1"}),
    (
        ev.AttemptStopping(1.0, 7, 2, StopReason.TIMEOUT, True), "attempt_stopping",
        {"attempt": 2, "reason": "timeout", "force": True},
    ),
    (ev.JobWaiting(1.0, 7, 3, 60.0), "job_waiting", {"attempt": 3, "until": moment(60.0)}),
    (ev.JobDelayed(1.0, 7, 1, 60.0), "job_delayed", {"attempt": 1, "until": moment(60.0)}),
    (ev.JobRemoved(1.0, 7), "job_removed", {}),
    (
        ev.JobEnded(1.0, 7, Outcome.SKIPPED, 0, True, "b"), "job_ended",
        {"state": "skipped", "attempts": 0, "allowed": True, "because": "b", "by": None},
    ),
    (
        ev.JobEnded(1.0, 7, Outcome.CANCELLED, 2, by="me"), "job_ended",
        {"state": "cancelled", "attempts": 2, "allowed": False, "because": None, "by": "me"},
    ),
    (ev.JobReopened(1.0, 7, Outcome.FAILED, SPEC), "job_reopened", {"was": "failed", "by": None}),
    (ev.JobReopened(1.0, 7, Outcome.OK, SPEC, "me"), "job_reopened", {"was": "ok", "by": "me"}),
    (ev.JobDropped(1.0, 7, None), "job_dropped", {"was": None}),
    (ev.JobDropped(1.0, 7, Outcome.OK), "job_dropped", {"was": "ok"}),
    (
        ev.StatusReported(1.0, 7, 2, "step 3", 0.5), "job_said",
        {"attempt": 2, "status": "step 3", "progress": 0.5},
    ),
    (ev.JobChanged(1.0, 7, SPEC, ""), "job_changed", {**TOLD_OF_SPEC, "by": None, "front": False}),
    (ev.JobChanged(1.0, 7, SPEC, "me", True), "job_changed", {**TOLD_OF_SPEC, "by": "me", "front": True}),
    (ev.JobHeld(1.0, 7, True, "me"), "job_held", {"held": True, "by": "me"}),
    (ev.JobHeld(1.0, 7, False, ""), "job_held", {"held": False, "by": None}),
    (ev.InputEnded(1.0, 9, True), "input_ended", {"jobs": 9, "complete": True, "why": None}),
    (ev.InputEnded(1.0, 9, False, "line 3"), "input_ended", {"jobs": 9, "complete": False, "why": "line 3"}),
    (ev.SlotsChanged(1.0, 3, "no memory"), "slots_changed", {"slots": 3, "why": "no memory"}),
    (ev.StartsHeld(1.0, "load"), "starts_held", {"why": "load"}),
    (ev.WorkersChanged(1.0, 4, "me"), "workers_changed", {"workers": 4, "by": "me"}),
    (ev.PoolChanged(1.0, "net", 2, "me"), "pool_changed", {"name": "net", "size": 2, "by": "me"}),
    (ev.RunPaused(1.0, True, "me"), "run_paused", {"paused": True, "by": "me"}),
    (
        ev.RunStopping(1.0, "stop", True, False, "me"), "run_stopping",
        {"cause": "stop", "drain": True, "force": False},
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("event", "name", "facts"), LINES, ids=lambda one: one if isinstance(one, str) else ""
)
def test_the_facts_of_an_event(event, name, facts):
    assert event_facts(event, wall) == (name, facts)


def test_a_command_that_is_no_text_has_its_bytes_beside_it():
    for run, data in (("echo \udcff", "ZWNobyD/"), (("echo", "\udcff"), ["ZWNobw==", "/w=="])):
        _, facts = event_facts(ev.JobAdded(1.0, 7, SPEC._replace(work=Command(run))), wall)
        assert facts["run_bytes"] == data
        assert facts["run"] == (run if isinstance(run, str) else list(run))


def test_every_event_that_is_logged_is_among_them():
    assert {type(event) for event, _, _ in LINES} == {*get_args(ev.Event)} - {ev.AttemptEnded, ev.OutputGrew}


BAD_LUCK = NO_REPORT._replace(message="no luck")


@pytest.mark.parametrize(
    ("exit", "asked", "said", "usage", "facts"),
    [
        (ExitedWith(3), None, BAD_LUCK, Usage(1.0, 0.5), {"exit": 3, "message": "no luck"}),
        (
            KilledBySignal("SIGTERM"), StopReason.TIMEOUT, NO_REPORT, Usage(1.0, 0.5, 4096),
            {"signal": "SIGTERM", "reason": "timeout", "memory_peak_bytes": 4096},
        ),
        (LostExit("its worker died", worker_lost=True), None, NO_REPORT, Usage(1.0, 0.5), {"message": "its worker died"}),
        (
            NotStarted(127, "no such file"), None, NO_REPORT, Usage(1.0, 0.5),
            {"exit": 127, "message": "no such file", "started_at": None, "run_s": None},
        ),
    ],
    ids=["exit", "signal", "lost", "not started"],
)  # fmt: skip
def test_the_facts_of_the_end_of_an_attempt(exit, asked, said, usage, facts):
    event = ev.AttemptEnded(9.0, 7, 2, CountedAs.FAILED, exit, asked, 2.0, 8.5, usage, said)
    assert event_facts(event, wall) == (
        "attempt_ended",
        {
            "attempt": 2, "counted": "failed", "exit": None, "signal": None, "reason": None, "message": None,
            "started_at": moment(2.0), "ended_at": moment(8.5), "run_s": 6.5, "user_s": 1.0, "sys_s": 0.5,
            "stdout_bytes": 0, "stderr_bytes": 0, **facts,
        },
    )  # fmt: skip
