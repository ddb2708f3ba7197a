# SPDX-License-Identifier: LGPL-3.0-or-later
"""The journal's writer: its checksums, and when it flushes to the disk."""

import pytest

from pqrun.core import events as ev
from pqrun.core.job import Command, JobSpec, Priority
from pqrun.engine.threads import NoThread
from pqrun.journal import writer as module
from pqrun.journal.reader import JournalReader
from pqrun.journal.writer import JournalWriter
from pqrun.testing import FakeClock

from .records import Record


def paused(count):
    return [ev.RunPaused(float(number), True, "me") for number in range(count)]


@pytest.fixture
def record(tmp_path):
    return Record(tmp_path / "run")


@pytest.fixture
def writer(record):
    size = record.journal.stat().st_size
    return JournalWriter(str(record.journal), FakeClock(), crc=record.crc, size=size)


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_a_turn_that_is_written_in_parts_keeps_the_checksums(monkeypatch, record, writer, count):
    monkeypatch.setattr(module, "MAX_EVENTS_PER_WRITE", 3)
    writer.record(paused(count))
    writer.record(paused(1))
    writer.close()
    assert len([line for line in JournalReader(record.journal) if line.get("e") == "pause"]) == count + 1


def test_a_long_turn_is_made_and_written_part_by_part(monkeypatch, record, writer):
    """The lines of 100,000 jobs are never in memory at once."""
    monkeypatch.setattr(module, "MAX_EVENTS_PER_WRITE", 3)
    written = []
    monkeypatch.setattr(writer, "_write", written.append)
    jobs = [JobSpec(str(seq), Command("true"), named=False) for seq in range(1, 9)]
    added = [ev.JobAdded(0.0, seq, spec) for seq, spec in enumerate(jobs, 1)]
    queued = [ev.JobQueued(0.0, seq, 1, Priority.NORMAL) for seq in range(1, 9)]
    writer.record([*added, *queued])
    assert [data.count(b"\n") for data in written] == [3, 3, 2]


def test_without_a_thread_of_its_own_every_turn_flushes(monkeypatch, writer):
    def no_thread(_thread):
        raise NoThread("no room")

    flushed = []
    monkeypatch.setattr(module, "start_thread", no_thread)
    monkeypatch.setattr(module, "_fdatasync", flushed.append)
    writer.start({"e": "resume"})
    writer.record(paused(1))
    writer.record(paused(1))
    assert len(flushed) == 2
    writer.close()
