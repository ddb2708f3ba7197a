# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random runs on a fake clock: each report says of each job what the final document says of it."""

import re
from random import Random

import pytest
import test_every_cell as cells
from reported import Cell, job, play

from pqrun.core.job import ExitedWith, HaltRule, KilledBySignal, LostExit, Need, NotStarted, Priority

ENDS = [*[ExitedWith(0)] * 4, ExitedWith(1), ExitedWith(2), KilledBySignal("SIGSEGV"), KilledBySignal("SIG40"),
        NotStarted(127, "no such program"), LostExit("its worker is gone")]  # fmt: skip
SKIPPED, FAILURE, ERROR = "Skipped", "Failure", "Error"


def random_cell(random):
    """Jobs that go well or not, need each other, have limits, and a run that may be stopped."""
    jobs = []
    for number in range(random.randint(0, 12)):
        end = random.choice(ENDS)
        never = isinstance(end, NotStarted)
        tries = [] if never else random.choices(ENDS[4:8], k=random.choice([0, 0, 0, 1, 2]))
        more = {"priority": random.choice(list(Priority)), "allow_failure": random.random() < 0.2}
        if number and random.random() < 0.2:
            more["needs"] = (Need(f"j{random.randrange(number)}"),)
        if random.random() < 0.2:
            more["timeout"] = random.choice([0.5, 2.0])
        seconds = 0.0 if never else random.choice([0.25, 1.0, 3.0])
        jobs.append(job(f"j{number}", seconds, end, tries=tries, **more))
    options, asks = {}, []
    if random.random() < 0.15:
        options["halt"] = HaltRule(
            random.choice(["now", "soon"]), random.choice(["fail", "success", "done"]), 2
        )
    if random.random() < 0.15:
        options["deadline"] = random.choice([1.0, 2.5])
    if random.random() < 0.2:
        asks.append((1.5, lambda scheduler, now: scheduler.stop("signal SIGINT", now)))
    if random.random() < 0.3:
        asks.append((1.75, lambda scheduler, now: cancel_some(scheduler, now)))
    return Cell(jobs, 0, options, asks, slots=random.randint(1, 2))


def cancel_some(scheduler, now):
    for task in list(scheduler.tasks.values())[:2]:
        scheduler.cancel(task, now)


def expected(entry, *, allowed):
    """What a reader of test results is to be told of a job."""
    match entry["state"]:
        case "ok":
            return ""
        case "failed" | "timeout" if allowed:
            return SKIPPED
        case "failed":
            return FAILURE if entry["signal"] or entry["exit"] in (1, 2) else ERROR
        case "timeout" | "interrupted":
            return ERROR
    return SKIPPED


@pytest.mark.parametrize("seed", range(60))
def test_all_reports_agree(seed, tmp_path):
    junitparser = pytest.importorskip("junitparser")
    cell = random_cell(Random(seed))
    played = play(tmp_path, cell, outputs={"all": (b"some output\n", b"and an error\n")})
    assert played.reports.failures == []
    for check in (
        cells.test_joblog_has_every_job_that_ended_by_itself_or_by_its_limit,
        cells.test_trace_has_every_attempt_in_a_lane_of_its_own,
        cells.test_prometheus_adds_up_to_the_metrics,
        cells.test_events_tell_the_same_story_and_how_it_ended,
    ):
        check(played)
    allowed = {spec.id for spec, _, _ in cell.jobs if spec.allow_failure}
    told = {}
    for suite in junitparser.JUnitXml.fromfile(str(played.path("junit"))):
        for case in suite:
            found = [type(one).__name__ for one in case.result]
            told[case.name] = next((one for one in found if one in (SKIPPED, FAILURE, ERROR)), "")
    wanted = {name: expected(entry, allowed=name in allowed) for name, entry in played.jobs().items()}
    assert told == wanted
    heads, numbers = re.search(
        r"\n\| jobs \| (.*) \|\n\| ---.*\n\| (.*) \|\n", played.path("summary").read_text()
    ).groups()
    page = dict(zip(["jobs", *heads.split(" | ")], map(int, numbers.split(" | ")), strict=True))
    states = [entry["state"] for entry in played.document["jobs"]]
    assert page["jobs"] == len(states)
    for state in ("ok", "failed", "timeout", "cancelled", "skipped", "interrupted"):
        assert page.get(state, 0) == states.count(state)
    assert page.get("failed (allowed)", 0) == sum(
        entry["state"] in ("failed", "timeout") and name in allowed for name, entry in played.jobs().items()
    )
