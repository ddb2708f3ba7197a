# SPDX-License-Identifier: LGPL-3.0-or-later
"""What follows from earlier runs: the time left, flaky rates, the order of equals, and parts of equal time."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pqrun.core.job import Command, ExitedWith, JobSpec, LostExit, Need, Priority
from pqrun.core.job_row import FullRow, JobRow
from pqrun.core.metrics import Throughput
from pqrun.core.past import (
    MAX_CHAINED_JOBS,
    MAX_ROWS,
    EarlierRuns,
    FlakyRate,
    KnownDurations,
    LeftJob,
    RunResult,
    chain_of,
    expected_seconds,
    flaky_rate,
    key_of,
    longest_chain,
    parts_by_time,
    past_key,
    result_of,
)

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


def row(name, *, spec=None, **facts):
    found = FullRow(JobRow(1, spec or job(name)))
    for key, value in facts.items():
        setattr(found, key, value)
    return found


def test_the_time_left_is_that_of_the_work_or_of_the_longest_job():
    known = past(a=8.0, b=4.0, c=3.0)
    rows = [row("a", state="running", started=100.0), row("b"), row("c"), row("gone", state="ok")]
    assert expected_seconds(known, rows, 2, 102.0, left=3) == 6.5  # 6 + 4 + 3 seconds on two workers
    assert expected_seconds(known, rows, 9, 102.0, left=3) == 6.0
    wide = row("b", spec=job("b", slots=2))
    assert expected_seconds(known, [wide, row("c")], 2, 102.0, left=2) == 5.5  # twice 4, and 3
    late = row("c", state="waiting", until=150.0)
    assert expected_seconds(known, [late], 2, 102.0, left=1) == 51.0


def test_jobs_that_need_one_another_take_as_long_as_all_of_them():
    known = past(a=10.0, b=10.0, c=10.0, d=1.0)
    rows = [row("a", state="running", started=100.0), row("d")]
    rows += [row(name, spec=job(name, needs=(Need(of),))) for name, of in (("b", "a"), ("c", "b"))]
    assert expected_seconds(known, rows, 8, 102.0, left=4) == 28.0
    assert expected_seconds(known, rows, 1, 102.0, left=4) == 29.0


def needs_of(**needs):
    return {name: tuple(map(Need, needed)) for name, needed in needs.items()}


def test_a_chain_counts_waits_and_what_is_left_of_running_jobs():
    jobs = [
        LeftJob("a", "running", 6.0, 0.0, ()), LeftJob("b", "pending", None, 0.0, (Need("a"),)),
        LeftJob("late", "running", -90.0, 0.0, ()), LeftJob("c", "pending", None, 0.0, (Need("late"), Need("gone"))),
        LeftJob("d", "waiting", 1.0, 40.0, ()), LeftJob("e", "queued", None, 99.0, (Need("d"),)),
    ]  # fmt: skip
    assert chain_of(jobs, 6, average=10.0, now=10.0) == 30.0 + 10.0 + 10.0
    assert chain_of(jobs[:4], 4, average=10.0, now=10.0) == 6.0 + 10.0
    assert (
        chain_of(jobs, 6, average=0.0, now=10.0)
        == chain_of(jobs, MAX_CHAINED_JOBS + 1, average=9.0, now=0.0)
        == 0.0
    )


def test_the_longest_chain_counts_and_what_has_ended_does_not():
    seconds = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0, "alone": 9.0}
    assert longest_chain(seconds, needs_of(b=["a", "gone"], c=["a"], d=["b", "c"])) == 13.0
    assert longest_chain(seconds, needs_of(c=["b", "a"], b=["a"])) == 7.0
    assert longest_chain(seconds, {}) == 0.0
    assert longest_chain(seconds, needs_of(a=["b"], b=["a"])) < 100.0  # there is no such run, and no loop


def test_chains_of_very_many_jobs_or_needs_are_not_followed():
    names = [str(number) for number in range(MAX_CHAINED_JOBS)]
    chain = needs_of(**{name: [before] for before, name in pairwise(names)})
    assert longest_chain(dict.fromkeys(names, 1.0), chain) == MAX_CHAINED_JOBS
    assert longest_chain(dict.fromkeys([*names, "more"], 1.0), chain) == 0.0
    wide = needs_of(**{f"b{number}": names[:100] for number in range(30)})
    assert longest_chain(dict.fromkeys([*names[:100], *wide], 1.0), wide) == 0.0


def test_an_unknown_job_counts_as_usual_if_most_are_known():
    known = past(a=8.0, b=4.0, c=3.0)
    rows = [row("a"), row("b"), row("new")]
    assert expected_seconds(known, rows, 2, 102.0, left=3) == 8.0  # 8 + 4 + the median of 4 seconds
    assert expected_seconds(known, rows, 2, 102.0, left=4) == 10.0  # one more is not read yet
    assert expected_seconds(known, rows, 2, 102.0, left=5) is None
    assert expected_seconds(KnownDurations({}), rows, 2, 102.0, left=3) is None


def test_a_resumed_run_knows_the_average_of_its_own_jobs():
    rows = [row("a"), row("new"), row("newer")]
    assert expected_seconds(past(a=8.0), rows, 2, 102.0, left=3, average=3.0) == 8.0
    assert expected_seconds(KnownDurations({}), rows, 2, 102.0, left=7, average=3.0) == 10.5


def test_the_time_left_is_unknown_once_jobs_run_longer_than_ever():
    rows = [row("a", state="running", started=100.0)]
    assert expected_seconds(past(a=8.0), rows, 2, 107.5, left=1) == 0.5
    assert expected_seconds(past(a=8.0), rows, 2, 108.0, left=1) is None
    assert expected_seconds(past(a=8.0), rows, 0, 102.0, left=1) is None


def test_the_times_of_very_many_jobs_are_not_added_up():
    rows = [row("a")] * MAX_ROWS
    assert expected_seconds(past(a=8.0), rows, MAX_ROWS, 102.0, left=MAX_ROWS) == 8.0
    assert expected_seconds(past(a=8.0), [*rows, row("a")], MAX_ROWS, 102.0, left=MAX_ROWS + 1) is None


LOST = LostExit("the worker was lost", worker_lost=True)


@pytest.mark.parametrize(
    ("facts", "result"),
    [
        ({"state": "ok"}, RunResult(failed=False, passed=True)),
        ({"state": "ok", "retries": 1}, RunResult(failed=True, passed=True)),
        ({"state": "failed", "exit": ExitedWith(1)}, RunResult(failed=True, passed=False)),
        ({"state": "timeout"}, RunResult(failed=True, passed=False)),
        ({"state": "waiting", "retries": 1}, RunResult(failed=True, passed=False)),
        ({"state": "interrupted", "retries": 1}, RunResult(failed=True, passed=False)),
        ({"state": "failed", "exit": LOST}, None),
        *[({"state": state}, None) for state in ("cancelled", "skipped", "interrupted", "running", "queued")],
    ],
    ids=str,
)
def test_how_a_job_went_in_a_run(facts, result):
    assert result_of(row("a", **facts)) == result


GOOD, BAD, BOTH = RunResult(False, True), RunResult(True, False), RunResult(True, True)


@pytest.mark.parametrize(
    ("results", "rate"),
    [
        ([BAD, GOOD, GOOD], FlakyRate(3, 1, True)),
        ([BOTH, GOOD], FlakyRate(2, 1, True)),
        ([BOTH, BOTH], FlakyRate(2, 2, True)),
        ([BAD, BAD], FlakyRate(2, 2, False)),  # broken, not flaky
        ([GOOD, GOOD], None),
        ([BAD], None),
    ],
)
def test_the_rate_over_several_runs(results, rate):
    assert flaky_rate(results) == rate


def test_rates_are_told_of_jobs_that_failed_here_and_are_known():
    earlier = EarlierRuns(past(), {key_of(job(name)): [GOOD, BAD] for name in ("bad", "good")})
    rows = [row("bad", state="failed"), row("good", state="ok"), row("new", state="failed")]
    for number, one in enumerate(rows):
        one.seq = number
    assert earlier.rates(rows) == {0: FlakyRate(3, 2, True)}
    assert str(earlier.rates(rows)[0]) == "failed 2 of its last 3 runs"


def test_the_rate_counts_as_soon_as_it_is_known():
    rate = Throughput(0.0, lambda now, left: 4.2 * left)
    assert (rate.eta(0.1, 10), rate.eta(0.1, 0)) == (42.0, None)
    for at in (1.0, 2.0, 3.0, 4.0, 5.0):
        rate.count(at)
    assert rate.eta(5.0, 10) == 10.0
