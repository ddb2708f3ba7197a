# SPDX-License-Identifier: LGPL-3.0-or-later
"""`show RUN JOB`: all that is known of one job, and never the value of a variable."""

import json
from datetime import UTC, datetime

import pytest
from journal.records import BEGAN, Record

from pqrun.core import events as ev
from pqrun.core.job import NO_REPORT, Command, CountedAs, ExitedWith, JobSpec, Priority, RetryPolicy, Usage

JOBS = """
env: {SECRET: hunter2}
jobs:
- {id: fetch, run: echo fetched}
- id: build
  run: 'seq 12; printf "\\033[31mbad\\033[0m\\n" >&2; exit $((3 - PQRUN_ATTEMPT))'
  needs: [fetch]
  retries: {max: 3, delay: 0}
  env: {TOKEN: hunter3}
  timeout: 5m
  tags: [a, b]
- {id: tell, run: "true", needs: {failed: [build]}}
- "false"
"""


@pytest.fixture
def ran(pqrun, tmp_path):
    (tmp_path / "jobs.yaml").write_text(JOBS)
    pqrun("run", "-q", "jobs.yaml")
    return pqrun


def words(page: str) -> list[str]:
    return [" ".join(line.split()) for line in page.splitlines()]


@pytest.mark.slow
def test_the_page_has_the_attempts_the_fields_and_the_jobs_around_it(ran):
    page = ran("show", "latest", "build").out
    lines = words(page)
    assert lines[0].startswith("job build #2 ok, flaky run ")
    assert {
        "variables SECRET, TOKEN", "timeout 5m00s", "tags a, b", "retries 3", "retry delay <1ms", "from jobs.yaml:5",
        "waited for fetch (ok)", "needed by tell (skipped)",
    } <= set(lines)  # fmt: skip
    assert "hunter" not in page
    assert [line.split()[:3] for line in lines if " exit " in line[:8]] == [
        ["1", "exit", "2"], ["2", "exit", "1"], ["3", "exit", "0"],
    ]  # fmt: skip
    assert lines[lines.index("stderr of try 3, 13 B:") + 1] == "bad"
    start = next(number for number, line in enumerate(lines) if line.startswith("stdout of try 3"))
    assert lines[start + 1 : start + 11] == [str(number) for number in range(3, 13)]
    assert lines[-1] == "all output: pqrun logs latest build"


@pytest.mark.slow
def test_a_command_of_several_lines_is_shown_as_it_was_written(pqrun, tmp_path):
    (tmp_path / "jobs.yaml").write_text(
        "jobs:\n- id: a\n  run: |\n    if true; then\n      echo 'b\tc'\n\n    fi\n"
    )
    assert pqrun("run", "-q", "jobs.yaml").code == 0
    shown = pqrun("show", "latest", "a").out
    assert f"\ncommand       if true; then\n{' ' * 16}echo 'b\\x09c'\n{' ' * 14}fi\nfrom " in shown, shown


def test_fields_have_the_words_of_a_job_file(pqrun, tmp_path):
    fields = "allow_failure: true, pty: true, rerun: never, leftovers: keep, on_lost: fail"
    (tmp_path / "jobs.yaml").write_text(f"jobs:\n- {{id: a, run: 'true', {fields}}}\n")
    pqrun("run", "-q", "jobs.yaml")
    expected = {"allow failure true", "pty true", "rerun never", "leftovers keep", "on lost fail"}
    assert expected <= set(words(pqrun("show", "latest", "a").out))
    assert json.loads(pqrun("show", "latest", "a", "--json").out)["job"]["fields"] == {
        "allow_failure": True, "pty": True, "rerun": "never", "leftovers": "keep", "on_lost": "fail",
    }  # fmt: skip


@pytest.mark.slow
def test_jobs_that_wait_or_run_are_shown_with_what_is_known_so_far(pqrun, tmp_path):
    record = Record(tmp_path / "r")
    for seq, spec in (
        (1, JobSpec("a", Command("make"), retry=RetryPolicy(max=2))),
        (2, JobSpec("b", Command("b"))),
    ):
        record.tell(
            ev.JobAdded(BEGAN, seq, spec), ev.JobQueued(BEGAN, seq, 1, Priority.NORMAL),
            ev.AttemptSubmitted(BEGAN + 1, seq, 1, 1.0), ev.AttemptStarted(BEGAN + 1, seq, 1, "slot 1"),
        )  # fmt: skip
    usage, until = Usage(0.5, 0.25, 5_000_000), BEGAN + 3600
    record.tell(
        ev.AttemptEnded(
            BEGAN + 9, 1, 1, CountedAs.RETRIED, ExitedWith(3), None, BEGAN + 1, BEGAN + 9, usage, NO_REPORT
        ),
        ev.JobWaiting(BEGAN + 9, 1, 2, until),
    )
    record.run.lock()
    try:
        waits, runs = (words(pqrun("show", "./r", job).out) for job in "ab")
        document, other = (json.loads(pqrun("show", "./r", job, "--json").out)["job"] for job in "ab")
    finally:
        record.run.unlock()
    assert waits[0] == "job a #1 waiting run r" and runs[0] == "job b #2 running run r"
    assert f"due {datetime.fromtimestamp(until):%Y-%m-%d %H:%M:%S}" in waits
    assert not any(line.startswith("due") for line in runs)
    began = f"{datetime.fromtimestamp(BEGAN + 1):%Y-%m-%d %H:%M:%S}"
    assert [line for line in waits if line[:2] in ("1 ", "2 ")] == [f"1 exit 3 {began} 8s 1s 750ms 5.0 MB"]
    assert [line for line in runs if line[:2] in ("1 ", "2 ")] == [f"1 running {began}"]
    assert (document["due_at"], other["due_at"]) == (
        f"{datetime.fromtimestamp(until, UTC):%FT%T}.000000Z",
        None,
    )
    (tried,) = document["tries"]
    assert (tried["attempt"], tried["exit"], tried["memory_peak_bytes"]) == (1, 3, 5_000_000)
    assert (tried["run_s"], tried["wait_s"], tried["user_s"]) == (8.0, 1.0, 0.5)
    assert other["tries"] == []


@pytest.mark.slow
def test_a_job_is_found_by_its_number_and_a_wrong_name_is_answered_with_a_similar_one(ran):
    assert words(ran("show", "latest", "4").out)[0].startswith("job false failed run ")
    assert words(ran("show", "latest", "1").out)[0].startswith("job fetch #1 ok run ")
    wrong = ran("show", "latest", "biuld")
    assert wrong.code == 2
    assert wrong.err.endswith(" has no job `biuld` (did you mean `build`?)\n")


@pytest.mark.slow
def test_the_document_has_no_value_of_a_variable(ran):
    text = ran("show", "latest", "build", "--json").out
    job = json.loads(text)["job"]
    assert "hunter" not in text
    assert job["variables"] == ["SECRET", "TOKEN"]
    assert job["fields"] == {"timeout": 300.0, "tags": ["a", "b"], "retries": 3, "retry_delay": 0.0}
    assert job["needs"] == [{"id": "fetch", "when": "ok", "state": "ok"}]
    assert job["needed_by"] == [{"id": "tell", "state": "skipped"}]
    assert [(one["attempt"], one["exit"]) for one in job["tries"]] == [(1, 2), (2, 1), (3, 0)]
    assert (job["state"], job["attempts"], job["due_at"]) == ("ok", 3, None)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--jsonl", "--all", "--junit=x.xml"])
def test_reports_are_of_whole_runs(ran, option):
    assert ran("show", "latest", "build", option).code == 2
