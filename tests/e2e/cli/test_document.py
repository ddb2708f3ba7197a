# SPDX-License-Identifier: LGPL-3.0-or-later
"""The JSON document at the end of a run."""

import os
import re
from datetime import datetime

import pytest

JOB = """
    id seq run state exit signal attempts max_attempts priority tags queued_at started_at ended_at wait_s
    run_s stdout stderr stdout_at stderr_at stdout_bytes stderr_bytes message user_s sys_s
"""
METRICS = """
    jobs_enqueued jobs_dequeued jobs_completed jobs_failed jobs_timeout jobs_retried current_queue_size
    active_workers average_wait_time average_processing jobs_cancelled jobs_skipped jobs_removed
    attempts_stopped attempts_timeout queue_by_priority oldest_wait p50_processing p95_processing throughput
"""
MIXED = [
    "echo a; echo e >&2 # pqrun: id=good priority=high tags=x,y",
    "exit 3 # pqrun: id=bad retries=2 retry_delay=0",
    "sleep 60 # pqrun: id=late timeout=100ms",
    "kill -9 $$ # pqrun: id=killed",
    "true # pqrun: id=skipped needs=bad",
    "[ $PQRUN_ATTEMPT = 2 ] # pqrun: id=flaky retries=1 retry_delay=0",
    "false # pqrun: id=allowed allow_failure=true",
]


NUMBERS = b"".join(b"%d\n" % number for number in range(1, 100_001))


def add_up(m):
    """Both sums of the queue model."""
    assert m["jobs_enqueued"] - m["jobs_dequeued"] == m["current_queue_size"]
    assert m["current_queue_size"] == sum(m["queue_by_priority"].values())
    assert m["jobs_dequeued"] == (
        m["jobs_completed"] + m["jobs_failed"] + m["jobs_timeout"] + m["jobs_retried"] + m["active_workers"]
        + m["attempts_stopped"] + m["jobs_removed"]
    )  # fmt: skip


@pytest.mark.slow
def test_its_shape_and_numbers_are_those_that_are_promised(run):
    done = run("--json", "-j2", lines=MIXED)
    assert done.code == 1
    document = done.document
    assert list(document) == ["schema", "run", "metrics", "jobs"] and document["schema"] == 1
    assert list(document["metrics"]) == METRICS.split()
    assert all(list(job) == JOB.split() for job in document["jobs"])
    add_up(document["metrics"])
    m = document["metrics"]
    counts = {name: m[name] for name in METRICS.split() if name.startswith(("jobs_", "attempts_"))}
    assert counts == {
        "jobs_enqueued": 9,
        "jobs_dequeued": 9,
        "jobs_completed": 2,
        "jobs_failed": 3,
        "jobs_timeout": 1,
        "jobs_retried": 3,
        "jobs_cancelled": 0,
        "jobs_skipped": 1,
        "jobs_removed": 0,
        "attempts_stopped": 0,
        "attempts_timeout": 1,
    }
    assert m["queue_by_priority"] == {"critical": 0, "high": 0, "normal": 0, "low": 0}


@pytest.mark.slow
def test_each_job_tells_how_it_went(run):
    done = run("--json", "-j2", lines=MIXED)
    jobs = done.jobs
    told = {
        name: (j["state"], j["exit"], j["signal"], j["attempts"], j["max_attempts"])
        for name, j in jobs.items()
    }
    assert told == {
        "good": ("ok", 0, None, 1, 1),
        "bad": ("failed", 3, None, 3, 3),
        "late": ("timeout", None, "SIGTERM", 1, 1),
        "killed": ("failed", None, "SIGKILL", 1, 1),
        "skipped": ("skipped", None, None, 0, 1),
        "flaky": ("ok", 0, None, 2, 2),
        "allowed": ("failed", 1, None, 1, 1),
    }
    good = jobs["good"]
    assert (good["seq"], good["priority"], good["tags"]) == (1, "high", ["x", "y"])
    assert good["run"] == "echo a; echo e >&2"
    assert (good["stdout_bytes"], good["stderr_bytes"]) == (2, 2)
    assert [job["seq"] for job in done.document["jobs"]] == list(range(1, 8))


@pytest.mark.slow
def test_times_are_rfc_3339_in_utc_and_durations_seconds(run):
    job = run("--json", lines=["sleep 0.2"]).jobs["1"]
    moments = [job[name] for name in ("queued_at", "started_at", "ended_at")]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", moment) for moment in moments)
    queued, started, ended = map(datetime.fromisoformat, moments)
    assert queued <= started <= ended
    assert abs((ended - started).total_seconds() - job["run_s"]) < 0.01
    assert 0.1 < job["run_s"] < 30 and job["wait_s"] >= 0


@pytest.mark.slow
def test_it_says_where_the_last_attempts_output_is_and_names_no_file_that_holds_more(run):
    lines = [
        "echo try $PQRUN_ATTEMPT; echo e >&2; [ $PQRUN_ATTEMPT = 2 ]", "true", "seq 100000 | tee /dev/stderr",
    ]  # fmt: skip
    small, silent, large = run("--json", "-r1", "--retry-delay", "0", lines=lines).document["jobs"]
    for job, name, expected in (
        (small, "stdout", b"try 2\n"), (small, "stderr", b"e\n"),
        (large, "stdout", NUMBERS), (large, "stderr", NUMBERS),
    ):  # fmt: skip
        place = job[f"{name}_at"]
        with open(place["file"], "rb") as file:
            assert os.pread(file.fileno(), place["bytes"], place["offset"]) == expected
        assert job[name] == (place["file"] if job is large else None)
        assert place["file"].startswith("/") and place["bytes"] == job[f"{name}_bytes"]
    assert [silent[name] for name in ("stdout", "stderr", "stdout_at", "stderr_at")] == [None] * 4


@pytest.mark.slow
def test_cpu_time_is_told(run):
    job = run("--json", lines=["i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"]).jobs["1"]
    assert job["user_s"] + job["sys_s"] > 0.01


@pytest.mark.slow
def test_jobs_that_never_ran_are_in_it_too_and_the_sums_hold(run):
    done = run(
        "--json", "-j1", "--fail-fast", lines=["false", "true", "true # pqrun: id=a", "true # pqrun: needs=a"]
    )
    assert done.states == {"1": "failed", "2": "queued", "a": "queued", "4": "pending"}
    add_up(done.metrics)
    assert done.metrics["current_queue_size"] == 2
    assert done.jobs["2"]["started_at"] is None and done.jobs["2"]["exit"] is None


@pytest.mark.slow
def test_stdout_is_only_the_document_and_output_goes_to_stderr_if_it_is_asked_for(run):
    without = run("--json", "-q", lines=["echo words"])
    assert without.document and "words\n" not in without.err
    asked = run("--json", "-q", "--output", "group", lines=["echo words"])
    assert asked.document and "words\n" in asked.err
    by_line = run("--json", "-q", "--output", "line", lines=["echo words"])
    assert by_line.document and "words\n" in by_line.err
    raw = run("--json", "-q", "--output", "raw", lines=["echo words"])
    assert raw.document and "words\n" in raw.err


def test_an_empty_run_has_a_document_too(run):
    done = run("--json", input="")
    assert done.code == 0 and done.document["jobs"] == []
    add_up(done.metrics)


def test_text_that_is_no_text_is_still_json(run):
    done = run("--json", input=b"true '\xff' \xe2\x82\xac\n")
    assert done.jobs["1"]["run"].startswith("true '")
