# SPDX-License-Identifier: LGPL-3.0-or-later
"""What follows from the times of earlier runs: the order of equals, and parts of equal time."""

from random import Random

from hypothesis import given
from hypothesis import strategies as some

from pqrun.core.job import Command, JobSpec, Priority
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import Throughput
from pqrun.core.past import KnownDurations, expected_seconds, parts_by_time, past_key

from .test_scheduler import run, starts


def job(name, **facts):
    return JobSpec(name, Command(f"do {name}"), **facts)


def past(**seconds):
    return KnownDurations({past_key(name, f"do {name}", named=True): took for name, took in seconds.items()})


def order(jobs, known, **more):
    return [jobs[seq - 1].id for _, seq, _ in starts(run(jobs, past=known, **more))]


def test_of_equal_jobs_the_longest_starts_first_and_an_unknown_one_counts_as_usual():
    jobs = [job(name) for name in ("short", "new", "usual", "also-new", "long")]
    known = past(short=1.0, usual=5.0, long=60.0)
    assert order(jobs, known) == ["long", "new", "usual", "also-new", "short"]


def test_priorities_go_before_and_without_a_past_the_first_one_comes_first():
    jobs = [job("a"), job("b", priority=Priority.HIGH), job("c")]
    assert order(jobs, past(a=1.0, b=2.0, c=3.0)) == ["b", "c", "a"]
    assert order(jobs, KnownDurations({})) == ["b", "a", "c"]


def test_a_job_is_the_same_only_with_its_command():
    known = past(a=9.0)
    assert known.known(job("a")) == 9.0
    assert known.known(JobSpec("a", Command("other"))) is None
    assert known.known(JobSpec("1", Command("do a"), named=False)) is None
    assert (
        KnownDurations({past_key("7", "x", named=False): 2.0}).known(JobSpec("1", Command("x"), named=False))
        == 2.0
    )
    words = JobSpec("a", Command(("x", "y")))
    assert KnownDurations({past_key("a", ("x", "y"), named=True): 3.0}).known(words) == 3.0


def test_parts_take_equal_times_and_unknown_jobs_are_shared_out_by_number():
    jobs = [job(name) for name in ("a", "b", "c", "d", "new1", "new2", "new3")]
    found = parts_by_time(jobs, past(a=8.0, b=5.0, c=4.0, d=1.0), 2)
    assert [found[name] for name in "abcd"] == [0, 1, 1, 0]
    assert sorted(found[f"new{number}"] for number in (1, 2, 3)) == [0, 0, 1]


@given(
    some.dictionaries(some.text("abcdef", min_size=1, max_size=3), some.none() | some.floats(0, 99)),
    some.integers(1, 5),
)
def test_each_job_is_in_one_part_whatever_the_order(times, parts):
    jobs = [job(name) for name in times]
    known = past(**{name: took for name, took in times.items() if took is not None})
    found = parts_by_time(jobs, known, parts)
    assert set(found) == set(times) and set(found.values()) <= set(range(parts))
    mixed = jobs.copy()
    Random(1).shuffle(mixed)
    assert parts_by_time(mixed, known, parts) == found


def row(name, **facts):
    found = JobRow(1, job(name))
    for key, value in facts.items():
        setattr(found, key, value)
    return found


def test_the_time_left_is_that_of_the_work_or_of_the_longest_job():
    known = past(a=8.0, b=4.0, c=3.0)
    rows = [row("a", state="running", started=100.0), row("b"), row("c"), row("gone", state="ok")]
    assert expected_seconds(known, rows, 2, 102.0) == 6.5  # 6 + 4 + 3 seconds on two workers
    assert expected_seconds(known, rows, 9, 102.0) == 6.0
    assert expected_seconds(known, [*rows, row("new")], 2, 102.0) is None
    assert expected_seconds(known, [], 2, 102.0) == 0.0


def test_the_rate_counts_as_soon_as_it_is_known():
    rate = Throughput(0.0, lambda now: 42.0)
    assert (rate.eta(0.1, 10), rate.eta(0.1, 0)) == (42.0, None)
    for at in (1.0, 2.0, 3.0, 4.0, 5.0):
        rate.count(at)
    assert rate.eta(5.0, 10) == 10.0
