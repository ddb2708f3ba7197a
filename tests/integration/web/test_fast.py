# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run whose jobs end faster than anybody can read: its page has numbers and failures at once, the other rows later."""

import json
from collections import Counter
from types import SimpleNamespace

import pytest
from journal.records import BEGAN, Record
from journal.test_ahead import short_jobs
from support.process import environment, run_pqrun
from support.web import Told

from pqrun.app.web import page_records, run_feed
from pqrun.app.web.page_records import PageAhead
from pqrun.app.web.run_feed import POLL_SECONDS, RunFeed
from pqrun.control import run_view
from pqrun.control.run_view import RunNumbers, RunView, ViewedRun
from pqrun.core import events as ev
from pqrun.core.job import Outcome, Priority
from pqrun.core.metrics import Metrics
from pqrun.journal.run_directory import RunDirectory

from .test_runs import check

FAST_GROWTH = 1 << 30  # bytes


def told_by(feed):
    """What a browser has that has read all of a feed."""
    texts = feed.file.file.read(feed.file.size) if feed.file.file.seek(0) == 0 else b""

    def events():
        for text in (texts + feed.file.head).decode().split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in text.split("\n"))
            yield fields.get("id", ""), fields["event"], json.loads(fields["data"])

    return Told(events()).until(lambda _: True)


class FastRun:
    """A run that never ran, and its feed, which folds one batch of the journal in each poll while it is behind."""

    def __init__(self, path, monkeypatch):
        self.record = Record(path)
        self.is_live, self.numbers, self.rows_made = True, None, []
        monkeypatch.setattr(run_feed, "FAST_CPU_SECONDS", 0.0)
        monkeypatch.setattr(RunDirectory, "in_use", lambda _: self.is_live)
        monkeypatch.setattr(RunView, "numbers", lambda _: self.numbers)
        made = page_records.job_record

        def count(row, *values, **more):
            self.rows_made.append(row.seq)
            return made(row, *values, **more)

        monkeypatch.setattr(page_records, "job_record", count)
        self.feed = self.new_feed()

    def new_feed(self):
        return RunFeed(self.record.run, read_only=False)

    def counts(self, **counts):
        """The run tells these numbers of jobs when it is asked the next time."""
        self.numbers = RunNumbers(Metrics(jobs_completed=counts.get("ok", 0)), counts)

    def poll(self, *, fast=True):
        """Poll once, of a journal that seems to have grown fast or not at all."""
        _, size = self.feed._measured or (0.0, 0)
        self.feed._measured = (float("inf"), size - FAST_GROWTH) if fast else (-1e9, size)
        wanted = self.feed.poll()
        return wanted, told_by(self.feed)

    def end(self):
        """The run ends, and the feed is polled until it is complete."""
        self.is_live = False
        while self.feed.poll() == 0:
            pass
        return told_by(self.feed)


@pytest.fixture
def fast_run(tmp_path, monkeypatch):
    return FastRun(tmp_path / "abc", monkeypatch)


def test_a_fast_run_is_told_by_its_numbers_and_failures_and_completely_at_its_end(fast_run):
    fast_run.record.tell(*short_jobs(1000, every=300))
    fast_run.counts(ok=997, failed=3)
    wanted, told = fast_run.poll()
    assert wanted == run_feed.FAST_POLL_SECONDS
    assert told.head["ahead"] == {"ok": 997, "failed": 3}
    assert told.head["metrics"]["jobs_completed"] == 997
    assert {seq for seq, job in told.jobs.items() if job["state"] == "failed"} == {300, 600, 900}
    assert {(seq, 1) for seq in (300, 600, 900)} <= told.attempts.keys()
    first = len(told.jobs)
    assert first < 150
    fast_run.record.tell(*short_jobs(1000, every=300, first=1001))
    fast_run.counts(ok=1994, failed=6)
    _, told = fast_run.poll()
    assert (told.head["ahead"], len(told.jobs)) == ({"ok": 1994, "failed": 6}, first + 3)
    assert told.head["run"]["state"] == "live"
    told = fast_run.end()
    assert (told.head["ahead"], told.head["live"], len(told.jobs)) == (None, False, 2000)
    at_once = fast_run.new_feed()
    while at_once.poll() == 0:
        pass
    other = told_by(at_once)
    assert (told.jobs, told.attempts, told.waits, told.head) == (
        other.jobs, other.attempts, other.waits, other.head
    )  # fmt: skip


def test_the_time_left_of_a_fast_run_follows_from_the_times_of_its_numbers(fast_run):
    fast_run.record.tell(*short_jobs(1000))
    fast_run.poll()
    one = fast_run.feed._ahead
    ahead = PageAhead(one.journal, one.records, 5000.0)
    counts = {}
    for second in range(21):
        counts = {"ok": 40 * second, "queued": 1000 - 40 * second}
        ahead.look(fast_run.feed._position.offset, RunNumbers(Metrics(), counts), 5000.0 + second)
    seen = ViewedRun(fast_run.record.run, True, {}, Metrics(), "live", 5020.0, 0, 0, counts)
    assert ahead.seconds_left(seen) == 200 / 40


def test_the_page_of_a_live_run_has_the_time_of_its_facts(fast_run, monkeypatch):
    fast_run.record.tell(*short_jobs(10))
    monkeypatch.setattr(run_view, "time", SimpleNamespace(time=lambda: BEGAN + 90.0))
    _, told = fast_run.poll(fast=False)
    assert (told.head["live"], told.head["now"]) == (True, BEGAN + 90.0)
    assert fast_run.end().head["now"] is None


def test_a_fast_run_costs_few_rows_while_it_lives(fast_run):
    for first in range(1, 5001, 500):
        fast_run.record.tell(*short_jobs(500, first=first))
        fast_run.counts(ok=first + 499)
        fast_run.poll()
    folded = len(fast_run.feed._folded.table.rows)
    assert folded < 10 * 200 and len(fast_run.rows_made) < 150, (folded, fast_run.rows_made)
    assert len(fast_run.end().jobs) == 5000
    assert len(fast_run.rows_made) <= 5010  # each row is made once, but for the few that were shown at once


def test_what_has_ended_is_written_once(fast_run):
    for first in (1, 11, 21):
        fast_run.record.tell(*short_jobs(10, first=first))
        fast_run.poll(fast=False)
    written = Counter()
    for event in fast_run.feed.file.read(0).split(b"\n\n")[:-1]:
        chunk = json.loads(event.split(b"data: ", 1)[1])
        written[chunk["kind"]] += chunk["rows"]
    assert written == {"jobs": 30, "attempts": 30}


def test_the_rows_come_when_the_run_goes_on_more_slowly(fast_run):
    fast_run.record.tell(*short_jobs(1000, every=300))
    fast_run.counts(ok=997, failed=3)
    assert fast_run.poll()[1].head["ahead"]
    wanted, told = fast_run.poll(fast=False)
    while not wanted:
        wanted, told = fast_run.poll(fast=False)
    assert (wanted, told.head["ahead"], len(told.jobs)) == (POLL_SECONDS, None, 1000)
    assert told.head["live"]


def test_a_job_that_runs_for_long_is_shown_and_what_is_set_holds(fast_run):
    long = list(short_jobs(1, first=5000))
    fast_run.record.tell(*long[:3])
    fast_run.counts(running=1)
    assert fast_run.poll()[1].states == {"job-5000": "running"}
    fast_run.record.tell(
        *short_jobs(500), ev.RunPaused(BEGAN + 1, True, ""), ev.WorkersChanged(BEGAN + 1, 7, "")
    )
    fast_run.counts(running=1, ok=500)
    _, told = fast_run.poll()
    assert (told.states["job-5000"], told.attempts[5000, 1]["ended"]) == ("running", None)
    assert (told.head["paused"], told.head["run"]["workers"]) == (True, 7)
    assert fast_run.feed.printed(5000, 1, 1, None).over is False
    fast_run.record.tell(*long[3:], *short_jobs(500, first=501))
    fast_run.counts(ok=1001)
    _, told = fast_run.poll()
    assert told.states["job-5000"] == "ok" and told.attempts[5000, 1]["ended"] is not None
    assert {job["state"] for job in fast_run.end().jobs.values()} == {"ok"}


def test_a_job_that_runs_already_when_the_page_falls_behind_keeps_its_priority_and_lane(fast_run):
    first = [list(short_jobs(1, first=seq)) for seq in (5000, 5001)]
    for added, queued, submitted, *_ in first:
        fast_run.record.tell(added, queued._replace(priority=Priority.HIGH), submitted)
    fast_run.poll(fast=False)
    fast_run.record.tell(*first[0][3:], *short_jobs(1000))
    fast_run.counts(running=1, ok=1001)
    _, told = fast_run.poll()
    assert told.head["ahead"] and told.states["job-5001"] == "running"
    running = told.attempts[5001, 1]
    assert (running["priority"], running["lane"]) == (int(Priority.HIGH), 2)
    assert [running[name] for name in ("submitted", "began")] == [pytest.approx(5_001_000, abs=2)] * 2


def test_a_job_that_ended_and_was_removed_before_its_row_was_written_is_not_on_the_page(fast_run):
    fast_run.record.tell(*short_jobs(2), ev.JobDropped(BEGAN + 1, 1, Outcome.OK), *short_jobs(500, first=3))
    fast_run.counts(ok=501)
    _, told = fast_run.poll()
    assert told.head["ahead"] and told.head["dropped"] == [1]
    assert 2 in told.jobs and 1 not in told.jobs


def test_the_time_left_of_a_fast_run_follows_from_its_own_numbers(fast_run, monkeypatch):
    clock = [BEGAN]
    monkeypatch.setattr(run_feed.time, "time", lambda: clock[0])

    def left(after, **counts):
        clock[0] += after
        fast_run.record.tell(*short_jobs(500, first=int(clock[0] - BEGAN) * 500 + 1))
        fast_run.counts(**counts)
        fast_run.numbers = fast_run.numbers._replace(metrics=Metrics(average_processing=30.0))
        return fast_run.poll()[1].head["secondsLeft"]

    fast_run.record.tell(ev.InputEnded(BEGAN, 9000, True))
    assert left(0, ok=1000, queued=7900, failed=100) is None  # nothing ended since the page was opened
    assert left(10, ok=1400, queued=7480, running=10, held=10, failed=100) == 187.5  # 7,500 jobs, 40 a second
    assert left(10, ok=8800, waiting=10, skipped=190) == 30.0  # a retry takes longer than the rate tells


def test_jobs_that_end_one_at_a_time_count_for_the_time_left_of_a_fast_run(fast_run, monkeypatch):
    clock = [BEGAN]
    monkeypatch.setattr(run_feed.time, "time", lambda: clock[0])
    fast_run.record.tell(*short_jobs(5000), ev.InputEnded(BEGAN, 5000, True))
    found = []
    for ended in range(6):
        clock[0] = BEGAN + 4.0 * ended
        fast_run.counts(ok=4985 + ended, queued=15 - ended)
        found.append(fast_run.poll()[1].head["secondsLeft"])
    assert found == [None] * 5 + [40.0]  # 10 jobs, of which one ends in 4 seconds


def test_a_run_that_tells_no_numbers_is_told_as_far_as_it_was_read(fast_run):
    fast_run.record.tell(*short_jobs(1000, every=300))
    wanted, told = fast_run.poll()
    assert (wanted, told.head["ahead"]) == (run_feed.FAST_POLL_SECONDS, None)
    assert 300 in told.jobs
    assert len(fast_run.end().jobs) == 1000


def test_the_end_of_a_run_is_told_only_as_a_whole(fast_run, monkeypatch):
    monkeypatch.setattr(run_feed, "SLICE_CPU_SECONDS", 0.0)
    fast_run.record.tell(*short_jobs(1000))
    fast_run.counts(ok=1000)
    before = fast_run.poll()[1].head
    fast_run.is_live = False
    polls = 1
    while fast_run.feed.poll() == 0:
        assert told_by(fast_run.feed).head == before
        polls += 1
    assert polls > 5 and len(told_by(fast_run.feed).jobs) == 1000


@pytest.mark.slow
def test_a_watched_run_of_short_jobs_is_told_as_its_document_says(server, live_run, tmp_path, state):
    (tmp_path / "list").write_text("".join(f"exit {int(n % 500 == 7)} # {n}\n" for n in range(4000)))
    run = live_run("-q", "list")
    told = server.told(run.run).until(lambda told: told.head["ahead"] or not told.head["live"])
    told.until(lambda told: not told.head["live"])
    document = run_pqrun("show", run.run, "--json", cwd=tmp_path, env=environment(state=state)).document
    check(told, document)
    assert told.head["ahead"] is None and len(told.jobs) == 4000
