# SPDX-License-Identifier: LGPL-3.0-or-later
"""A queue's journal does not grow for ever, and loses nothing that matters by being made short."""

import os
from pathlib import Path
from random import Random
from threading import Lock
from types import SimpleNamespace

import pytest

from pqrun.app.queue_maintenance import MAX_LOG_BYTES, QueueMaintenance, shorten_log
from pqrun.core import events as ev
from pqrun.core.job import (
    AttemptId,
    Command,
    CountedAs,
    ExitedWith,
    JobSpec,
    Need,
    Outcome,
    OutputPlace,
    SelfReport,
    Usage,
)
from pqrun.core.metrics import MetricsCollector
from pqrun.journal.compaction import CompactedJournal, compact, compacted, remove_outputs
from pqrun.journal.recovery import RecoveredRun, recover
from pqrun.journal.run_directory import RunDirectory
from pqrun.journal.stored_rows import recorded_output
from pqrun.journal.writer import JournalWriter
from pqrun.output import pack
from pqrun.output.store import Capture, Logs
from pqrun.testing import FakeClock

from .test_random_verbs import World

HEADER = {"pqrun": 1, "run": "queue", "listed": 0, "token": "t", "version": "0", "at": 0.0, "serve": "queue"}


def written(path, events, more=()) -> RunDirectory:
    """A run whose journal says that."""
    run = RunDirectory(str(path))
    run.create()
    journal = JournalWriter(run.journal, FakeClock())
    journal.start(HEADER)
    for start in range(0, len(events), 7):
        journal.record(events[start : start + 7])
    for event in more:
        journal.record([event])
    journal.close()
    return run


def unfinished(found: RecoveredRun) -> dict:
    return {seq: job for seq, job in found.jobs.items() if job.outcome is None}


def without_place(job):
    return [(name, getattr(job, name)) for name in job.__slots__ if name != "place"]


def in_queue(found: RecoveredRun) -> list[int]:
    queued = [job for job in unfinished(found).values() if job.state == "queued"]
    return [job.seq for job in sorted(queued, key=lambda job: job.place)]


def some_of(story: list, random: Random) -> list:
    """Its beginning, up to the end of a turn."""
    at = story[random.randrange(len(story) // 2, len(story))].at
    return [event for event in story if event.at <= at]


@pytest.mark.slow
@pytest.mark.parametrize("keep", [0, 3])
def test_a_shortened_journal_says_the_same_of_what_is_left_to_do(tmp_path, keep):
    gone = 0
    for seed in range(60):
        world = World(seed, f"{tmp_path}/s")
        world.run()
        world.executor.server.close()
        events = some_of(world.story.events, world.random)
        run = written(tmp_path / f"{keep}-{seed}", events)
        before = recover(run)
        compact(run, keep=keep, worth=1)
        after = recover(run)
        assert {seq: without_place(job) for seq, job in unfinished(before).items()} == {
            seq: without_place(job) for seq, job in unfinished(after).items()
        }
        assert in_queue(before) == in_queue(after)
        assert (before.paused, before.workers, before.pools, before.highest) == (
            after.paused, after.workers, after.pools, after.highest,
        )  # fmt: skip
        assert after.header == before.header
        gone += len(before.jobs) - len(after.jobs)
        ended = sum(job.outcome is not None for job in after.jobs.values())
        needed = {need.job for job in unfinished(after).values() for need in job.spec.needs}
        assert ended <= keep + len(needed) + 1
        metrics = MetricsCollector()
        metrics.fold(after.events)
        numbers = metrics.snapshot()
        assert numbers.jobs_enqueued - numbers.jobs_dequeued == numbers.current_queue_size
    assert gone > 20


def job(seq: int, *needs: str) -> list:
    spec = JobSpec(f"j{seq}", Command("true"), needs=tuple(Need(need, "failed") for need in needs))
    return [ev.JobAdded(seq, seq, spec)]


def over(seq: int, outcome=Outcome.CANCELLED) -> list:
    return [ev.JobEnded(seq, seq, outcome, 0)]


def test_what_an_unfinished_job_needs_stays_and_the_last_word_on_workers_and_pools(tmp_path):
    events = [
        *job(1), *over(1, Outcome.TIMEOUT), *job(2), *over(2), *job(3, "j1", "j4"), *job(4), *job(5), *over(5),
        ev.WorkersChanged(6, 3, "a"), ev.PoolChanged(6, "net", 1, "a"), ev.PoolChanged(6, "gpu", 1, "a"),
        ev.WorkersChanged(7, 4, "b"), ev.PoolChanged(7, "net", 2, "b"), ev.RunPaused(7, True, "b"),
        ev.PoolChanged(8, "tag:x", 1, "a"), ev.PoolChanged(8, "tag:y", 1, "a"), ev.PoolChanged(8, "tag:x", 0, "a"),
    ]  # fmt: skip
    run = written(tmp_path / "r", events)
    compact(run, keep=0, worth=1)
    found = recover(run)
    assert sorted(found.jobs) == [1, 3, 4, 5], "j1 is needed, and j5 has the highest number"
    assert (found.workers, found.pools, found.paused) == (4, {"net": 2, "gpu": 1, "tag:y": 1}, True)
    told = [event for event in found.events if isinstance(event, ev.WorkersChanged | ev.PoolChanged)]
    assert len(told) == 4, "nothing is left of a limit that was lifted"


def test_nothing_is_done_for_little(tmp_path):
    run = written(tmp_path / "r", [*job(1), *over(1), *job(2), *over(2), *job(3)])
    before = Path(run.journal).read_bytes()
    compact(run, keep=0, worth=5)
    compact(run, keep=2, worth=1)
    assert Path(run.journal).read_bytes() == before
    assert sorted(os.listdir(run.path)) == ["journal.jsonl", "logs", "work"]


def test_the_jobs_that_ended_last_stay_whatever_their_numbers(tmp_path):
    events = [*job(1), *job(2), *job(3), *job(4), *over(3), *over(1), *over(2)]
    run = written(tmp_path / "r", events)
    compact(run, keep=2, worth=1)
    assert sorted(recover(run).jobs) == [1, 2, 4]


def test_a_long_journal_is_written_in_parts_that_fit_each_other(tmp_path):
    run = written(
        tmp_path / "r", [*job(1), *over(1), *(event for seq in range(2, 2003) for event in job(seq))]
    )
    compact(run, keep=0, worth=1)
    assert sorted(recover(run).jobs) == [*range(2, 2003)]


def test_a_torn_last_line_goes(tmp_path):
    run = written(tmp_path / "r", [*job(1), *over(1), *job(2)])
    with open(run.journal, "ab") as file:
        file.write(b'{"e":"add","t":1')
    compact(run, keep=0, worth=1)
    assert sorted(recover(run).jobs) == [2]


def test_a_full_disk_leaves_it_as_it_is(tmp_path, monkeypatch):
    run = written(tmp_path / "r", [*job(1), *over(1), *job(2)])
    before = Path(run.journal).read_bytes()

    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    compact(run, keep=0, worth=1)
    assert Path(run.journal).read_bytes() == before
    assert not os.path.exists(f"{run.journal}.new")


class Engine:
    """Carries out requests, one turn at a time."""

    def __init__(self):
        self.lock = Lock()

    def turn(self, *, request):
        with self.lock:
            request(SimpleNamespace(reopened=0), 0.0)


class Record:
    def __init__(self, directory, journal, logs=None):
        self.directory, self.journal = directory, journal
        self.logs = logs or Logs(directory.logs, keep=True)


def outputs(run, *seqs):
    for seq in seqs:
        os.makedirs(f"{run.logs}/{seq // 500:04d}", exist_ok=True)
        open(f"{run.logs}/{seq // 500:04d}/{seq}.1.out", "w").close()


@pytest.mark.slow
def test_a_live_queue_goes_on_in_its_shortened_journal(tmp_path):
    run = RunDirectory(str(tmp_path / "r"))
    run.create()
    journal = JournalWriter(run.journal, FakeClock())
    journal.start(HEADER)
    engine = Engine()
    maintenance = QueueMaintenance(Record(run, journal), 10)
    maintenance.begin(engine)
    maintenance._worth = 100
    outputs(run, *range(1, 600))
    for seq in range(1, 1001):
        events = [*job(seq), *(over(seq) if seq % 100 else [])]
        engine.turn(request=lambda _scheduler, _now, events=events: journal.record(events))
        maintenance.on_events(events)
        if seq % 250 == 0:
            maintenance.close()
    journal.record(job(1001))
    journal.close()
    found = recover(run)
    assert sorted(unfinished(found)) == [*range(100, 1001, 100), 1001]
    assert len(found.jobs) < 400, "a good part is gone"
    assert found.highest == 1001
    left = {int(name.split(".")[0]) for _, _, names in os.walk(run.logs) for name in names}
    assert left < set(range(1, 600)) and left >= {100, 200, 300, 400, 500}
    assert os.stat(run.journal).st_mode & 0o777 == 0o600


def test_what_is_recorded_while_it_is_made_short_is_not_lost(tmp_path):
    run = RunDirectory(str(tmp_path / "r"))
    run.create()
    journal = JournalWriter(run.journal, FakeClock())
    journal.start(HEADER)
    journal.record([*job(1), *over(1), *job(2)])
    shorter = compacted(run.journal, keep=0, worth=1)
    journal.record([*over(2), *job(3)])
    assert journal.go_on_in(shorter) is True
    journal.record(job(4))
    journal.close()
    found = recover(run)
    assert {seq: job.state for seq, job in found.jobs.items()} == {2: "cancelled", 3: "pending", 4: "pending"}
    remove_outputs(run, shorter)


def test_folders_that_an_old_job_kept_go_with_it(tmp_path):
    """A queue lives for years: it must not leave a folder for each five hundred jobs."""
    run = RunDirectory(str(tmp_path / "r"))
    run.create()
    outputs(run, 1, 600, 1400, 1600)
    journal = CompactedJournal(run.journal, 0, 0, frozenset(range(2, 1500)), oldest=1, packs=set())
    remove_outputs(run, journal)
    assert sorted(os.listdir(run.logs)) == ["0000", "0001", "0002", "0003"], "job 1 may write a file yet"
    remove_outputs(run, journal._replace(gone=frozenset({1}), oldest=1600))
    assert sorted(os.listdir(run.logs)) == ["0003"]
    os.mkdir(f"{run.logs}/0004")
    remove_outputs(run, journal._replace(gone=frozenset({1600}), oldest=1601))
    assert sorted(os.listdir(run.logs)) == ["0003", "0004"], "the next jobs write there"


def test_only_files_of_the_jobs_that_are_gone_are_deleted(tmp_path):
    run = RunDirectory(str(tmp_path / "r"))
    run.create()
    outputs(run, 1, 2, 12)
    for name in ("2.2.err", "notes.txt", "².out", "2"):
        open(f"{run.logs}/0000/{name}", "w").close()
    remove_outputs(run, CompactedJournal(run.journal, 0, 0, frozenset({2}), oldest=1))
    assert sorted(os.listdir(f"{run.logs}/0000")) == ["1.1.out", "12.1.out", "notes.txt", "².out"]


def printed(seq, number):
    """The events of a job that printed a line, which is in the pack of that number."""
    place = OutputPlace(f"pack.{number}", seq * 10, number)
    stream, nothing = SimpleNamespace(size=2, place=place), SimpleNamespace(size=0, place=None)
    output = SimpleNamespace(out=stream, err=nothing)
    return [
        *job(seq),
        ev.AttemptSubmitted(0.0, seq, 1, 0.0),
        ev.AttemptEnded(
            0.0, seq, 1, CountedAs.COMPLETED, ExitedWith(0), None, 0.0, 0.0, Usage(), SelfReport(), output
        ),
        ev.JobEnded(0.0, seq, Outcome.OK, 1, False),
    ]


def packs_of(run):
    return sorted(name for name in os.listdir(run.logs) if name.startswith("pack."))


def test_a_pack_goes_when_nothing_in_it_is_to_be_kept(tmp_path):
    events = [event for seq in range(1, 9) for event in printed(seq, (seq + 1) // 2)]
    run = written(tmp_path / "r", events)
    for number in (1, 2, 3, 4, 5):
        open(f"{run.logs}/pack.{number}", "w").close()
    compact(run, keep=3, worth=1)
    assert packs_of(run) == ["pack.3", "pack.4", "pack.5"], (
        "job 6 stays, and shares pack 3; pack 5 is the last one"
    )
    compact(run, keep=0, worth=1)
    assert packs_of(run) == ["pack.4", "pack.5"], "the last job is never removed"


def test_an_output_on_its_way_to_the_journal_keeps_its_pack(tmp_path, monkeypatch):
    """A live queue is made short between the write of an output and the line that points to it."""
    monkeypatch.setattr(pack, "MAX_PACK_BYTES", 1)
    run = RunDirectory(str(tmp_path / "r"))
    run.create()
    logs = Logs(run.logs, keep=True)
    journal = JournalWriter(run.journal, FakeClock())
    journal.start(HEADER)

    def told(seq):
        capture = Capture(logs, AttemptId(seq, 1))
        capture.out.put(b"output of %d" % seq)
        capture.finish()
        _, _, ended, over = printed(seq, 0)[-4:]
        return [ended._replace(output=capture), over]

    for seq in range(1, 5):
        journal.record([*job(seq), ev.AttemptSubmitted(0.0, seq, 1, 0.0)])
    late = told(1)
    journal.record(told(2))
    journal.record(told(3))
    told(4)
    maintenance = QueueMaintenance(Record(run, journal, logs), 0)
    maintenance._worth = 1
    maintenance.begin(Engine())
    maintenance._tidy()
    assert packs_of(run) == ["pack.1", "pack.4"], "those of jobs 2 and 3 went"
    journal.record(late)
    journal.close()
    found = recover(run)
    assert b"".join(recorded_output(found.jobs[1]).out.pieces()) == b"output of 1"


def test_a_log_that_has_become_long_begins_anew(tmp_path):
    path = tmp_path / "serve.log"
    with open(path, "ab", buffering=0) as file:
        file.write(b"x" * 100)
        shorten_log(str(path))
        assert path.stat().st_size == 100
        file.write(b"y" * MAX_LOG_BYTES)
        shorten_log(str(path))
        file.write(b"on")
    assert path.read_bytes() == b"on"
    assert (tmp_path / "serve.log.1").stat().st_size == MAX_LOG_BYTES + 100
