# SPDX-License-Identifier: LGPL-3.0-or-later
"""The index tells what the ledger and the metrics of a live run tell; it may be lost at any time."""

import json
import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from pqrun.cli.commands.logs import output_of
from pqrun.core import events as ev
from pqrun.core.job import NO_REPORT, Command, CountedAs, ExitedWith, JobSpec, Outcome, Usage
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import MetricsCollector
from pqrun.journal.index import Index, as_seen, metrics_of, query_index, watch
from pqrun.journal.projection import Decoder
from pqrun.journal.reader import JournalReader
from pqrun.reports.json_document import job_entry

from .records import BEGAN, Record, random_story


def told_live(record):
    """Jobs and numbers by the ledger and the metrics, from the same events."""
    table, metrics = JobTable(BEGAN, keeps_ended=True), MetricsCollector(BEGAN)
    decode = Decoder(lambda *_: None)
    for line in JournalReader(str(record.journal)):
        if "pqrun" in line or line["e"] in ("resume", "close"):
            continue
        events = decode(line)
        table.fold_all(events)
        metrics.fold(events)
    return [job_entry(row, float) for row in table.all_rows()], metrics.snapshot().rounded()


def told_by(index: Index):
    """The same by an index."""
    jobs = [job_entry(as_seen(row, live=True), float) for row in index.jobs()]
    return jobs, metrics_of(index.metrics, now=index.metrics.last_end, live=True).rounded()


def without_what_only_runs(jobs):
    """What of a job whose attempt is going on the ledger still has of the one before."""
    return [job for job in jobs if job["state"] != "running"]


@pytest.mark.parametrize("seed", range(40))
def test_the_index_tells_what_a_live_run_tells(tmp_path, seed):
    record = Record(tmp_path / "abc")
    record.tell(*random_story(seed))
    assert query_index(record.run, told_by) == told_live(record)


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_brought_up_to_date_after_every_line_it_tells_the_same_as_made_at_once(tmp_path, seed):
    record = Record(tmp_path / "abc")
    for event in random_story(seed):
        record.tell(event)
        jobs, found = query_index(record.run, told_by)
        wanted_jobs, wanted = told_live(record)
        assert without_what_only_runs(jobs) == without_what_only_runs(wanted_jobs)
        assert found == wanted
    at_once = tmp_path / "again"
    os.rename(record.run.index, at_once)
    assert query_index(record.run, lambda index: index.jobs()) != []
    with sqlite3.connect(at_once) as one, sqlite3.connect(record.run.index) as other:
        for table in ("job", "attempt"):
            query = f"SELECT * FROM {table} ORDER BY 1, 2"
            assert one.execute(query).fetchall() == other.execute(query).fetchall()


def test_more_jobs_than_are_kept_in_memory_make_no_difference(tmp_path, monkeypatch):
    monkeypatch.setattr("pqrun.journal.index.MAX_ROWS", 2)
    monkeypatch.setattr("pqrun.journal.index.MAX_ENDED_ROWS", 1)
    monkeypatch.setattr("pqrun.journal.reader._READ_CHUNK_BYTES", 200)
    record = Record(tmp_path / "abc")
    record.tell(*random_story(8))
    assert query_index(record.run, told_by) == told_live(record)


def test_the_output_of_a_job_is_that_of_the_attempt_that_runs(tmp_path):
    record = Record(tmp_path / "abc")
    spec = JobSpec("a", Command("true"))
    failed = ev.AttemptEnded(
        BEGAN, 1, 1, CountedAs.RETRIED, ExitedWith(1), None, BEGAN, BEGAN, Usage(), NO_REPORT, (2, 0)
    )
    begin = [ev.JobQueued(BEGAN, 1, 1, spec.priority), ev.AttemptSubmitted(BEGAN, 1, 1, 0.0), failed]
    record.tell(ev.JobAdded(BEGAN, 1, spec), *begin, ev.JobWaiting(BEGAN, 1, 2, BEGAN))

    def found(attempt=None):
        output = query_index(record.run, lambda index: output_of(index, 1, attempt))
        return output and (output.key.attempt, output.recorded is not None)

    assert (found(), found(1), found(2)) == ((1, True), (1, True), None)
    record.tell(ev.JobQueued(BEGAN, 1, 2, spec.priority), ev.AttemptSubmitted(BEGAN, 1, 2, 0.0))
    assert (found(), found(1), found(2)) == ((2, False), (1, True), (2, False))


def test_held_and_queued_jobs_have_not_ended(tmp_path):
    record = Record(tmp_path / "abc")
    spec = JobSpec("a", Command("true"))
    record.tell(ev.JobAdded(BEGAN, 1, spec), ev.JobHeld(BEGAN, 1, True, ""))
    record.tell(ev.JobAdded(BEGAN, 2, spec), ev.JobQueued(BEGAN, 2, 1, spec.priority))
    assert query_index(record.run, lambda index: index.unfinished()) == {1, 2}
    record.tell(ev.JobEnded(BEGAN, 1, Outcome.CANCELLED, 0))
    assert query_index(record.run, lambda index: index.unfinished()) == {2}


def test_what_ran_when_the_run_died_counts_as_stopped(tmp_path):
    record = Record(tmp_path / "abc")
    events = random_story(8)
    at = next(n for n, event in enumerate(events) if type(event).__name__ == "AttemptStarted")
    record.tell(*events[: at + 1])

    def numbers_of_a_dead_run(index):
        metrics = metrics_of(index.metrics, now=BEGAN, live=False)
        ended = metrics.jobs_completed + metrics.jobs_failed + metrics.jobs_timeout + metrics.jobs_retried
        assert metrics.jobs_dequeued == ended + metrics.attempts_stopped + metrics.jobs_removed
        assert metrics.active_workers == 0 and metrics.attempts_stopped > 0
        return {as_seen(row, live=False).state for row in index.jobs()}

    assert "interrupted" in query_index(record.run, numbers_of_a_dead_run)


@pytest.fixture
def record(tmp_path):
    record = Record(tmp_path / "abc")
    record.tell(*random_story(3))
    query_index(record.run, told_by)
    return record


def damages():
    yield "deleted", lambda path: os.unlink(path)
    yield "emptied", lambda path: os.truncate(path, 0)
    yield "cut in half", lambda path: os.truncate(path, os.path.getsize(path) // 2)
    yield "cut at a page", lambda path: os.truncate(path, 4096)
    yield "no database", lambda path: _write(path, b"hello " * 5000)
    yield "garbage inside", lambda path: _overwrite(path, 4096, os.urandom(os.path.getsize(path) - 4096))
    yield "header lost", lambda path: _overwrite(path, 0, bytes(100))
    yield "another program's", lambda path: _sql(path, "DROP TABLE job", "PRAGMA user_version = 7")
    yield "without its jobs", lambda path: _sql(path, "DELETE FROM job")
    yield "without a table", lambda path: _sql(path, "DROP TABLE attempt")
    yield "state not JSON", lambda path: _sql(path, "UPDATE progress SET state = 'x'")
    yield "state not ours", lambda path: _sql(path, "UPDATE progress SET state = '{}'")
    yield "no state", lambda path: _sql(path, "DELETE FROM progress")


def _write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def _overwrite(path, at, data):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def _sql(path, *statements):
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize(("damage"), [d for _, d in damages()], ids=[name for name, _ in damages()])
@pytest.mark.parametrize("grown", [False, True], ids=["", "and the journal has grown"])
def test_a_lost_or_damaged_index_is_made_anew_without_a_word(record, damage, grown, capfd):
    damage(record.run.index)
    if grown:
        record.note({"e": "pause", "t": BEGAN + 100, "on": True, "by": "x"})
    assert query_index(record.run, told_by) == told_live(record)
    assert query_index(record.run, told_by) == told_live(record)
    assert capfd.readouterr() == ("", "")
    assert sqlite3.connect(record.run.index).execute("PRAGMA quick_check").fetchall() == [("ok",)]


def test_an_index_of_another_journal_is_made_anew(record, tmp_path):
    other = Record(tmp_path / "other")
    other.tell(*random_story(9))
    record.journal.write_bytes(other.journal.read_bytes())
    assert query_index(record.run, told_by) == told_live(other)


def test_a_journal_that_was_changed_but_did_not_grow_is_read_again(record):
    before = record.journal.stat()
    whole = record.journal.read_bytes()
    half = len(whole) // 2
    record.journal.write_bytes(whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :])
    os.utime(record.journal, ns=(before.st_atime_ns, before.st_mtime_ns + 1000))
    with pytest.raises(Exception, match="is damaged"):
        query_index(record.run, told_by)


def test_the_index_is_for_us_alone_whatever_the_umask(tmp_path):
    for umask in (0o000, 0o077):
        record = Record(tmp_path / f"{umask}")
        old = os.umask(umask)
        try:
            query_index(record.run, told_by)
        finally:
            os.umask(old)
        assert stat.S_IMODE(os.stat(record.run.index).st_mode) == 0o600


def test_a_planted_link_is_not_followed(record, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    os.unlink(record.run.index)
    os.symlink(victim, record.run.index)
    assert query_index(record.run, told_by) == told_live(record)
    assert victim.read_text() == "precious"
    assert not os.path.islink(record.run.index)


def test_where_no_index_can_be_it_is_made_in_memory(record):
    os.unlink(record.run.index)
    os.mkdir(record.run.index)
    assert query_index(record.run, told_by) == told_live(record)
    assert os.listdir(record.run.index) == []


def as_somebody_else(question):
    """The answer of a child process that is nobody in particular."""
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.setuid(65534)
            os.write(writing, json.dumps(question()).encode())
        except BaseException as error:
            os.write(writing, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(pid, 0)
    return answer


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("there", [True, False], ids=["with an index", "without one"])
def test_in_a_directory_that_we_may_only_read_an_index_that_is_old_is_made_in_memory(record, there):
    if there:
        record.tell(*random_story(3)[:0])
        os.chown(record.run.index, 65534, 65534)
        record.note({"e": "pause", "t": BEGAN + 100, "on": True, "by": "x"})
    else:
        os.unlink(record.run.index)
    for path in (record.path, *record.path.parents):
        if path.stat().st_uid == os.geteuid() and str(path) not in ("/", "/tmp"):
            path.chmod(0o755)
    record.journal.chmod(0o644)
    wanted = told_live(record)[0]
    assert as_somebody_else(lambda: query_index(record.run, told_by)[0]) == wanted
    assert os.path.exists(record.run.index) == there


def test_an_answer_is_of_one_moment_though_the_journal_grows_meanwhile(record):
    def ask_while_it_grows(index):
        before = index.metrics.added, index.count("1")
        record.note({"e": "add", "t": BEGAN, "s": 900, "job": {"id": "new", "run": "true"}})
        return before, (index.metrics.added, index.count("1"))

    before, after = query_index(record.run, ask_while_it_grows)
    assert before == after
    assert query_index(record.run, lambda index: index.count("1")) == after[0] + 1


def test_two_readers_that_make_the_index_at_once_agree(tmp_path):
    record = Record(tmp_path / "abc")
    record.tell(*random_story(3))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: query_index(record.run, told_by), range(8)))
    assert answers == [told_live(record)] * 8


def test_watching_writes_nothing_and_sees_what_comes(record):
    query_index(record.run, told_by)
    before = os.stat(record.run.index).st_mtime_ns
    with watch(record.run) as index:
        assert index.catch_up() == set()
        known = index.metrics.added
        job = {"e": "add", "t": BEGAN, "s": 500, "job": {"id": "new", "run": "true"}}
        record.note(job)
        assert index.catch_up() == {500}
        assert index.metrics.added == known + 1
    assert os.stat(record.run.index).st_mtime_ns == before


def test_a_torn_line_that_was_cut_off_since_is_nothing_to_be_read_again_for(record):
    with record.journal.open("ab") as file:
        file.write(b'{"e":"add","t":')
    before = query_index(record.run, told_by)
    made = os.stat(record.run.index).st_ino
    os.truncate(record.journal, record.journal.stat().st_size - 4)
    assert query_index(record.run, told_by) == before
    os.truncate(record.journal, record.journal.stat().st_size - 11)
    assert query_index(record.run, told_by) == before == told_live(record)
    assert os.stat(record.run.index).st_ino == made


def test_text_that_no_encoding_can_hold_is_kept_readable(tmp_path):
    record = Record(tmp_path / "abc")
    job = {"id": "1", "run": "echo \udcff", "tags": ["\udcfe"]}
    record.note({"e": "add", "t": BEGAN, "s": 1, "job": job, "q": True})
    record.note({"e": "start", "t": BEGAN, "s": 1, "n": 1, "w": 0.0})
    end = {
        "e": "end",
        "t": BEGAN,
        "s": 1,
        "n": 1,
        "as": "failed",
        "x": 1,
        "b": BEGAN,
        "f": BEGAN,
        "u": 0.0,
        "y": 0.0,
    }
    record.note({**end, "message": "\udcfd", "o": "failed"})
    (job,), _ = query_index(record.run, told_by)
    assert (job["run"], job["tags"], job["message"]) == ("echo \udcff", ["\udcfe"], "\\udcfd")
    json.dumps(job).encode("ascii")


def test_an_attempt_that_was_not_the_last_is_kept_too(tmp_path):
    record = Record(tmp_path / "abc")
    record.note(
        {"e": "add", "t": BEGAN, "s": 1, "job": {"id": "a", "run": "x", "retry": {"max": 1}}, "q": True}
    )
    for attempt, counted in ((1, CountedAs.RETRIED), (2, CountedAs.COMPLETED)):
        if attempt > 1:
            record.note({"e": "wait", "t": BEGAN, "s": 1, "n": 2, "until": BEGAN})
            record.note({"e": "queue", "t": BEGAN, "s": 1, "n": 2, "p": 1})
        record.note({"e": "start", "t": BEGAN, "s": 1, "n": attempt, "w": 0.0})
        record.note({
            "e": "end", "t": BEGAN, "s": 1, "n": attempt, "as": str(counted), "x": 2 - attempt,
            "b": BEGAN, "f": BEGAN + 1, "u": 0.0, "y": 0.0, "out": attempt * 10, "err": 0,
        })  # fmt: skip
    earlier, last = query_index(record.run, lambda index: index.attempts(1))
    assert (earlier.last, earlier.code, earlier.stdout_bytes) == (1, 1, 10)
    assert (last.last, last.code, last.stdout_bytes) == (2, 0, 20)


def test_a_lost_worker_is_no_retry_though_the_index_was_asked_in_between(tmp_path):
    record = Record(tmp_path / "abc")
    record.note({"e": "add", "t": BEGAN, "s": 1, "job": {"id": "a", "run": "x"}, "q": True})
    record.note({"e": "start", "t": BEGAN, "s": 1, "n": 1, "w": 0.0})
    end = {"e": "end", "t": BEGAN, "s": 1, "n": 1, "as": "retried", "lost": "gone", "gone": True}
    record.note({**end, "b": BEGAN, "f": BEGAN + 1, "u": 0.0, "y": 0.0})
    query_index(record.run, told_by)
    record.note({"e": "wait", "t": BEGAN + 1, "s": 1, "n": 2, "until": BEGAN + 1})
    (row,) = query_index(record.run, lambda index: index.jobs())
    assert (row.state, row.retries, row.last) == ("waiting", 0, 1)
    assert query_index(record.run, told_by) == told_live(record)


def test_what_died_is_counted_as_stopped_for_one_answer_only(tmp_path):
    record = Record(tmp_path / "abc")
    record.note({"e": "add", "t": BEGAN, "s": 1, "job": {"id": "a", "run": "x"}, "q": True})
    record.note({"e": "start", "t": BEGAN, "s": 1, "n": 1, "w": 0.0})
    with watch(record.run) as index:
        index.catch_up()
        for live in (False, True, False):
            found = metrics_of(index.metrics, now=BEGAN, live=live)
            assert (found.attempts_stopped, found.active_workers) == ((0, 1) if live else (1, 0))
