# SPDX-License-Identifier: LGPL-3.0-or-later
"""The time limit that follows from the median time of the jobs that have succeeded."""

from math import inf

from pqrun.core import events as ev
from pqrun.core.job import ExitedWith
from pqrun.core.median_timeout import MAX_DURATIONS, MedianLimit
from pqrun.testing import Fate

from .test_scheduler import job, outcomes, run


def ends(story):
    return {event.seq: event.ended for event in story.events if isinstance(event, ev.AttemptEnded)}


def test_the_limit_is_a_percentage_of_the_median():
    limit = MedianLimit(200)
    assert limit.seconds == inf
    for seconds, found in ((3.0, 6.0), (1.0, 4.0), (9.0, 6.0), (2.0, 5.0)):
        limit.add(seconds)
        assert limit.seconds == found


def test_of_many_durations_the_last_ones_count():
    limit = MedianLimit(100, [5.0] * MAX_DURATIONS)
    for _ in range(MAX_DURATIONS // 2 + 1):
        limit.add(1.0)
    assert limit.seconds == 1.0


def test_an_attempt_that_takes_too_long_is_stopped():
    fates = {"a": Fate(seconds=2), "b": Fate(seconds=4), "c": Fate(seconds=4), "long": Fate(seconds=99)}
    story = run([job(name) for name in fates], slots=4, fates=fates, median=MedianLimit(200))
    assert outcomes(story) == {1: "ok", 2: "ok", 3: "ok", 4: "timeout"}
    assert ends(story)[4] == 8.0  # at 4 s, when the limit was still 4 s, two more jobs ended first


def test_an_attempt_that_starts_late_has_the_exact_limit():
    fates = {"a": Fate(seconds=0.2), "long": Fate(seconds=99)}
    story = run([job(name) for name in fates], fates=fates, median=MedianLimit(150))
    assert outcomes(story) == {1: "ok", 2: "timeout"}
    assert round(ends(story)[2], 6) == 0.5


def test_an_attempt_that_does_not_end_when_it_is_stopped_is_killed_after_the_grace():
    fates = {"a": Fate(seconds=1), "deaf": Fate(seconds=99, deaf=True)}
    story = run([job("a"), job("deaf", grace=3.0)], slots=2, fates=fates, median=MedianLimit(200))
    assert outcomes(story) == {1: "ok", 2: "timeout"}
    assert ends(story)[2] == 2.0 + 3.0


def test_the_timeout_of_a_job_holds_beside_it_and_failures_do_not_count():
    fates = {"a": Fate(seconds=1, exit=ExitedWith(1)), "b": Fate(seconds=9), "c": Fate(seconds=30)}
    specs = [job("a"), job("b", timeout=5), job("c")]
    story = run(specs, fates=fates, median=MedianLimit(100))
    assert outcomes(story) == {1: "failed", 2: "timeout", 3: "ok"}


def test_earlier_processes_of_the_run_count():
    story = run([job("a")], fates={"a": Fate(seconds=99)}, median=MedianLimit(300, [1.0, 2.0, 3.0]))
    assert outcomes(story) == {1: "timeout"}
    assert ends(story)[1] == 6.0
