# SPDX-License-Identifier: LGPL-3.0-or-later
"""The last page, and the log before it."""

import os
import re
from pathlib import Path

import pytest

from pqrun.core.events import AttemptEnded, JobAdded, JobDropped, JobEnded, JobReopened, RunStopping
from pqrun.core.job import NO_REPORT, Command, CountedAs, ExitedWith, JobSpec, Outcome, Usage
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import MetricsCollector
from pqrun.engine.dispatcher import Observers
from pqrun.ui.run_summary import MAX_FAILURES, RunSummary
from pqrun.ui.summary_page import SummaryPage
from pqrun.ui.terminal import Style

from .conftest import load_picture

night = load_picture()
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def told():
    events, page, metrics = night.simulated_events(), RunSummary(JobTable()), MetricsCollector(0.0)
    Observers(page.table, [page]).deliver(events)
    metrics.fold(events)
    return page, metrics.snapshot()


def test_failures_first_then_totals_metrics_and_what_to_type(told):
    page, metrics = told
    text = SummaryPage(page, metrics, 401.0, Style(on=False), run="k3f9mw").text()
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
  run failed jobs again  pqrun resume k3f9mw --failed
  see a log              pqrun logs k3f9mw lint"""
    )


def test_colours_change_nothing_but_colours(told):
    page, metrics = told
    for window in (None, (80, 24), (56, 20), (20, 10)):
        plain, coloured = (
            SummaryPage(page, metrics, 401.0, Style(on=on), run="k3f9mw", window=window).text()
            for on in (False, True)
        )
        assert "\x1b[" in coloured
        assert COLOUR.sub("", coloured) == plain


def test_skipped_jobs_are_no_failures_and_forgotten_when_they_run_again():
    summary = RunSummary(JobTable())
    observers = Observers(summary.table, [summary])
    spec, skipped = JobSpec("a", Command("true")), Outcome.SKIPPED
    for seq in range(1, 2 * MAX_FAILURES):
        observers.deliver([JobAdded(1.0, seq, spec), JobEnded(2.0, seq, skipped, 0, because="b")])
    assert (len(summary.skipped), summary.not_kept) == (MAX_FAILURES, 0)
    observers.deliver([JobReopened(3.0, 1, skipped, spec)])
    assert [job.seq for job in summary.skipped] == [*range(2, MAX_FAILURES + 1)]


def test_a_job_that_has_left_the_run_is_not_one_of_its_slowest():
    summary, spec = RunSummary(JobTable()), JobSpec("a", Command("true"))
    observers = Observers(summary.table, [summary])
    for seq in (1, 2):
        observers.deliver([
            JobAdded(0.0, seq, spec._replace(id=f"job-{seq}")),
            AttemptEnded(9.0, seq, 1, CountedAs.COMPLETED, ExitedWith(0), None, float(seq), 9.0, Usage(), NO_REPORT),
            JobEnded(9.0, seq, Outcome.OK, 1),
        ])  # fmt: skip
    assert summary.slowest == [("job-1", 8.0), ("job-2", 7.0)]
    observers.deliver([JobDropped(9.0, 1, Outcome.OK)])
    assert summary.slowest == [("job-2", 7.0)]


def test_without_a_record_there_is_nothing_to_resume(told):
    assert "pqrun resume" not in SummaryPage(*told, 401.0, Style(on=False)).text()


@pytest.mark.slow
def test_what_jobs_are_called_and_say_is_safe(run):
    jobs = "printf 'x\\033[2J\\033]0;t\\007y [/m]\\n' >&2; exit 1  # pqrun: id=[red]x[/nope]\n"
    err = run("--output", "none", jobs=jobs).stderr
    assert b"\x1b" not in err
    assert b"xy [/m]" in err
    assert b"[red]x[/nope]" in err


@pytest.mark.slow
def test_a_thousand_failures_do_not_fill_the_screen(run):
    err = run("-j8", "--output", "none", jobs="false\n" * 200).stderr.decode()
    page = err.partition("\n\n")[2]
    assert page.count("FAILED") == MAX_FAILURES
    assert f"… and {200 - MAX_FAILURES} more failed: pqrun show " in page
    assert "200 of 200 jobs failed" in page


def test_cancelled_jobs_that_do_not_fit_are_not_called_failed():
    def left(outcomes):
        summary = RunSummary(JobTable())
        observers = Observers(summary.table, [summary])
        for seq, outcome in enumerate(outcomes, 1):
            spec = JobSpec(f"job-{seq}", Command("true"))
            observers.deliver([JobAdded(0.0, seq, spec), JobEnded(1.0, seq, outcome, 1)])
        page = SummaryPage(summary, MetricsCollector(0.0).snapshot(), 1.0, Style(on=False), window=(80, 12))
        return re.findall("… and .*", page.text())

    failed, cancelled = [Outcome.FAILED] * 8, [Outcome.CANCELLED] * 8
    assert left(failed) == ["… and 6 more failed"]
    assert left(failed + cancelled) == ["… and 14 more failed or cancelled"]
    assert left(cancelled + failed) == ["… and 14 more failed or cancelled"]
    many = [Outcome.FAILED] * MAX_FAILURES
    assert left([*many, Outcome.CANCELLED]) == [f"… and {MAX_FAILURES - 1} more failed or cancelled"]


def test_last_lines_are_told_even_of_output_that_is_removed_at_once(run):
    jobs = "seq 20000; echo the end of it; exit 1\n"
    err = run("--no-journal", jobs=jobs).stderr.decode()
    assert "    the end of it" in err
    assert "│ the end of it" in err


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_retry_says_why_also_where_nobody_watches(run):
    jobs = "echo fine; echo no luck >&2; [ $PQRUN_ATTEMPT = 2 ]  # pqrun: id=a retries=1 retry_delay=1ms\n"
    lines = run(jobs=jobs).stderr.decode().split("\n")
    at = next(n for n, line in enumerate(lines) if " retry   a " in line)
    assert lines[at].endswith("try 2/2 in 1ms: exit 1")
    assert lines[at + 1] == "    no luck"


def last_page(err):
    """The page at the end, without times and the run's name."""
    text = re.sub(r"\b\d+(\.\d+)?(ms|s)\b", "T", err.decode())
    text = re.sub(r"(pqrun (?:show|resume|logs)) \w{6}\b", r"\1 RUN", text)
    return text[text.rindex("pqrun: ") :].rstrip("\n").split("\n")


@pytest.mark.slow
def test_a_run_that_went_well_ends_in_two_lines(run):
    assert last_page(run(jobs="true\ntrue\n").stderr) == [
        "pqrun: 2 jobs ok in T",
        "  see more  pqrun show RUN",
    ]
    assert last_page(run("--no-journal", jobs="true\n").stderr) == ["pqrun: 1 job ok in T"]


@pytest.mark.parametrize(
    ("options", "jobs", "told"),
    [
        ((), "true\n" * 19, False), ((), "true\n" * 20, True), (("-v",), "true\n", True),
        ((), "false\n", True), ((), "false # pqrun: allow_failure=true\n", True),
    ],
)  # fmt: skip
def test_metrics_are_told_when_something_is_worth_it(run, options, jobs, told):
    page = last_page(run(*options, jobs=jobs).stderr)
    assert any(line.startswith("  metrics  enqueued ") for line in page) == told
    assert any(line.startswith("  slowest  ") for line in page) == told


def test_what_was_skipped_is_no_failure_and_takes_one_line(run):
    jobs = "jobs: [{id: a, run: exit 3}, {id: b, run: x, needs: [a]}, {id: c, run: x, needs: [b]}]\n"
    err = run("--format", "yaml", "-q", jobs=jobs).stderr
    text = err.decode()
    assert "\nFAILED a: exit 3 after" in text
    assert "\n  $ exit 3\n\nSKIPPED b: needs a\nSKIPPED c: needs b\n\npqrun: 1 of 3 jobs failed in " in text
    assert last_page(err)[0] == "pqrun: 1 of 3 jobs failed in T (1 failed, 2 skipped)"


def test_skipped_jobs_are_listed_in_the_order_of_the_job_file(run):
    needs = "".join(f", {{id: s{n}, run: x, needs: [a]}}" for n in range(4))
    err = run("--format", "yaml", "-q", jobs=f"jobs: [{{id: a, run: exit 3}}{needs}]").stderr.decode()
    assert "".join(f"SKIPPED s{n}: needs a\n" for n in range(4)) in err


def test_many_skipped_jobs_leave_room_for_the_failures(run):
    needs = "".join(f", {{id: s{n}, run: x, needs: [a]}}" for n in range(MAX_FAILURES + 5))
    err = run(
        "--format", "yaml", "-q", "-j1", jobs=f"jobs: [{{id: a, run: exit 3}}{needs}, {{id: z, run: exit 4}}]"
    )
    text = err.stderr.decode()
    assert "FAILED a: exit 3" in text and "FAILED z: exit 4" in text
    assert text.count("\nSKIPPED s") == MAX_FAILURES and "\n… and 5 more skipped: pqrun show " in text


def test_indentation_of_what_a_job_printed_is_kept(run):
    jobs = "printf 'a:\\n\\n  b:\\n\\tc\\033[31m red\\033[0m\\n' >&2; exit 1\n"
    text = run(jobs=jobs).stderr.decode()
    assert "  │ a:\n  │   b:\n  │         c red\n" in text


@pytest.mark.parametrize("options", [(), ("-q",)])
def test_how_to_go_on_is_told_whatever_stopped_the_run(run, options):
    jobs = 'jobs: ["true", "true", "true"]\n'  # read before a job starts, as a list may not be
    done = run(*options, "-j1", "--halt", "now,done=1", "--format", "yaml", jobs=jobs)
    assert done.returncode == 3
    page = last_page(done.stderr)
    assert page == [
        "pqrun: stopped by --halt after T: 2 of 3 jobs not run (1 ok)",
        "  continue  pqrun resume RUN",
    ]


def test_a_job_that_resume_does_not_run_again_is_nothing_to_continue():
    page, spec = RunSummary(JobTable(keeps_ended=True)), JobSpec("a", Command("true"), rerun=False)
    observers = Observers(page.table, [page])
    ended = [JobAdded(0.0, 1, spec), JobEnded(1.0, 1, Outcome.INTERRUPTED, 1, False)]
    observers.deliver(ended)
    assert page.resumable == 0
    again = spec._replace(rerun=True)
    observers.deliver([JobReopened(2.0, 1, Outcome.INTERRUPTED, again)])
    assert page.resumable == 1
    text = SummaryPage(page, MetricsCollector(0.0).snapshot(), 1.0, Style(on=False), run="k3f9mw").text()
    assert text == "pqrun: 1 of 1 job not run in 1s\n  continue  pqrun resume k3f9mw"


@pytest.mark.slow
def test_a_run_without_jobs_leaves_no_record_and_offers_nothing(run, tmp_path):
    kept = tmp_path / "kept"
    for options in ((), ("--run-dir", str(kept))):
        done = run(*options, jobs="# nothing\n")
        assert (done.returncode, done.stderr, done.stdout) == (0, b"pqrun: no jobs\n", b"")
    assert not kept.exists()
    assert list(Path(os.environ["PQRUN_STATE_DIR"], "runs").glob("*")) == []
    assert run("-q", jobs="").stderr == b""


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
