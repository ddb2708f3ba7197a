# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random runs on a fake clock: each report says of each job what the final document says of it."""

import re
from random import Random

import pytest
import test_every_cell as cells
from random_cells import random_cell
from reported import play

SKIPPED, FAILURE, ERROR = "Skipped", "Failure", "Error"


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
        cells.test_html_has_every_job_with_the_numbers_of_the_document,
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
