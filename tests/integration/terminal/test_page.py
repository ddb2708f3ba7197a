# SPDX-License-Identifier: LGPL-3.0-or-later
"""The last page, and the log before it."""

import re

import pytest

from pqrun.core.events import JobAdded, JobEnded, JobReopened, RunStopping
from pqrun.core.job import Command, JobSpec, Outcome
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import MetricsCollector
from pqrun.engine.dispatcher import Observers
from pqrun.ui.run_summary import MAX_FAILURES, RunSummary, format_summary
from pqrun.ui.terminal import Style

from .conftest import load_picture

night = load_picture()


@pytest.fixture(scope="module")
def told():
    events, page, metrics = night.simulated_events(), RunSummary(JobTable()), MetricsCollector(0.0)
    Observers(page.table, [page]).deliver(events)
    metrics.fold(events)
    return page, metrics.snapshot()


def test_failures_first_then_totals_metrics_and_what_to_type(told):
    page, metrics = told
    text = format_summary(page, metrics, 401.0, Style(on=False), run="k3f9mw")
    assert (
        text
        == """
FAILED lint: exit 2 after 4s
  $ ruff check
  │ pqrun/cli.py:88:5: F841 local variable 'x' is assigned to but never used
FAILED test[PY=3.12,OS=mac]: exit 1 after 8.1s
  $ tox
  │ E  AssertionError: expected 3 workers, got 4
FAILED sync:eu-west: exit 255 after 7s, 3 tries
  $ rsync …
  │ ssh: connect to host eu-west port 22: Connection timed out

pqrun: 3 of 109 jobs failed in 6m41s (106 ok, 3 failed, 3 retried, 1 flaky)
  slowest  render/chapter-07 1m52s, db:backup --full 1m14s, page-66 16.9s
  metrics  enqueued 112, dequeued 112, completed 106, failed 3, timeout 0, retried 3,
           queue size 0, active workers 0, avg wait time 2m20s, avg processing 11.4s
  see a log              pqrun logs k3f9mw lint
  run failed jobs again  pqrun resume k3f9mw --failed"""
    )


def test_colours_change_nothing_but_colours(told):
    page, metrics = told
    plain = format_summary(page, metrics, 401.0, Style(on=False), run="k3f9mw")
    coloured = format_summary(page, metrics, 401.0, Style(on=True), run="k3f9mw")
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_without_a_record_there_is_nothing_to_resume(told):
    assert "pqrun resume" not in format_summary(*told, 401.0, Style(on=False))


def test_what_jobs_are_called_and_say_is_safe(run):
    jobs = "printf 'x\\033[2J\\033]0;t\\007y [/m]\\n' >&2; exit 1  # pqrun: id=[red]x[/nope]\n"
    err = run("--output", "none", jobs=jobs).stderr
    assert b"\x1b" not in err
    assert b"xy [/m]" in err
    assert b"[red]x[/nope]" in err


def test_a_thousand_failures_do_not_fill_the_screen(run):
    err = run("-j8", "--output", "none", jobs="false\n" * 200).stderr.decode()
    page = err.partition("\n\n")[2]
    assert page.count("FAILED") == MAX_FAILURES
    assert f"… and {200 - MAX_FAILURES} more" in page
    assert "200 of 200 jobs failed" in page


def test_last_lines_are_told_even_of_output_that_is_removed_at_once(run):
    jobs = "seq 20000; echo the end of it; exit 1\n"
    err = run("--no-journal", jobs=jobs).stderr.decode()
    assert "    the end of it" in err
    assert "│ the end of it" in err


def test_the_plain_log_is_one_line_a_job(run):
    jobs = "echo hi  # pqrun: id=a\nexit 4  # pqrun: id=b\nexit 3  # pqrun: id=c retries=1 retry_delay=1ms\n"
    lines = run("-j1", jobs=jobs).stderr.decode().split("\n")
    log = [re.sub(r"^\d\d:\d\d:\d\d |<?\d+ms", "", line).rstrip() for line in lines[: lines.index("")]]
    assert [" ".join(line.split()) for line in log if not line.startswith("pqrun:")] == [
        "[1/3] ok a",
        "[2/3] FAILED b exit 4",
        "[2/3] retry c try 2/2 in : exit 3",
        "[3/3] FAILED c exit 3, try 2",
    ]


def test_what_stopped_an_earlier_process_is_not_told_of_the_one_that_went_on(told):
    page = RunSummary(JobTable())
    Observers(page.table, [page]).replay([RunStopping(1.0, "signal SIGINT", drain=False, force=False)])
    assert page.table.stopped == ""


def test_a_failure_is_not_counted_once_its_job_runs_again():
    page, spec = RunSummary(JobTable(keeps_ended=True)), JobSpec("a", Command("true"))
    observers = Observers(page.table, [page])
    observers.deliver([JobAdded(0.0, 1, spec), JobEnded(1.0, 1, Outcome.FAILED, 1, False)])
    assert page.table.failed == 1
    observers.deliver([JobReopened(2.0, 1, Outcome.FAILED, spec), JobEnded(3.0, 1, Outcome.OK, 2, False)])
    table = page.table
    assert (table.failed, page.failures, table.outcomes) == (0, [], {Outcome.FAILED: 0, Outcome.OK: 1})
