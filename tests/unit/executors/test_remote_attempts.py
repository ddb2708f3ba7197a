# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the messages of a cluster mean for an attempt, one message at a time."""

import pytest

from pqrun.core.job import Attempt, AttemptId, Command, ExitedWith, JobSpec, LostExit, NotStarted
from pqrun.core.notices import ProcessFinished, ProcessRestarted, ProcessStarted
from pqrun.executors.dask.attempts import RemoteAttempts

KEY = AttemptId(7, 2)


@pytest.fixture
def attempts():
    """The attempts of a cluster to which one attempt was sent."""
    attempts = RemoteAttempts()
    attempts.submit(Attempt(KEY, JobSpec("fit", Command("true")), 1))
    return attempts


def begin(attempts, nonce="first", worker="w1", host="node1", at=10.0):
    return attempts.started(KEY, nonce, worker, host, at)


def test_the_first_start_counts_and_a_second_one_is_told(attempts):
    assert begin(attempts) == ProcessStarted(KEY, 10.0, "node1")
    assert begin(attempts) is None  # the same message again
    assert attempts.twice == []
    assert begin(attempts, "second", "w2", "node2", 12.0) == ProcessRestarted(KEY, "node2")
    assert attempts.twice == ["job fit, attempt 2: was started a second time, on node2 (w2)"]
    live = attempts.live[KEY]
    assert (live.nonce, live.worker, live.host, live.began) == ("first", "w1", "node1", 10.0)


def test_nothing_comes_after_the_end(attempts):
    live = attempts.live[KEY]
    report = ProcessFinished(KEY, ExitedWith(0), False, 10.0, 11.0)
    assert (attempts.ended(report), live.over) == (report, True)
    assert attempts.ended(report) is None and begin(attempts) is None
    assert attempts.lost(KEY, "its worker died", 12.0) is None
    assert attempts.never_started(KEY, 12.0) is None and attempts.impossible(KEY, "no room", 12.0) is None
    assert (attempts.live, attempts.lost_jobs) == ({}, set())


@pytest.mark.parametrize("asked", [False, True])
def test_a_loss_is_that_of_a_worker_and_names_its_host(attempts, asked):
    begin(attempts)
    live = attempts.live[KEY]
    live.asked = asked
    lost = attempts.lost(KEY, "its worker died", 15.0)
    exit = LostExit("its worker died", worker_lost=True)
    assert lost == ProcessFinished(KEY, exit, asked, 10.0, 15.0, where="node1")
    assert (attempts.lost_jobs, attempts.live, live.over) == ({7}, {}, True)


@pytest.mark.parametrize("begin_at", [None, 0.0])
def test_an_attempt_that_no_worker_reported_took_no_time(attempts, begin_at):
    if begin_at is not None:
        begin(attempts, at=begin_at)
    lost = attempts.lost(KEY, "its worker died", 15.0)
    assert lost.began == (15.0 if begin_at is None else begin_at)


def test_what_never_ran_is_not_lost(attempts):
    stopped = attempts.never_started(KEY, 3.0)
    exit = NotStarted(126, "stopped before it started")
    assert stopped == ProcessFinished(KEY, exit, True, 3.0, 3.0, where="")
    attempts.submit(Attempt(KEY, JobSpec("fit", Command("true")), 1))
    refused = attempts.impossible(KEY, "no worker has a GPU", 4.0)
    assert refused == ProcessFinished(KEY, NotStarted(126, "no worker has a GPU"), False, 4.0, 4.0, where="")
    assert (attempts.lost_jobs, attempts.live) == (set(), {})


def test_an_attempt_is_missing_that_the_cluster_does_not_know_two_times_in_a_row(attempts):
    late = AttemptId(8, 1)
    assert attempts.missing(set(), {KEY, late}) == []
    assert attempts.missing({KEY}, {KEY}) == []  # a message was late
    assert attempts.missing(set(), {KEY}) == []
    attempts.submit(Attempt(late, JobSpec("b", Command("true")), 1))  # sent after the question
    assert attempts.missing(set(), {KEY}) == [KEY]
    assert attempts.missing(set(), {KEY, late}) == [KEY]
