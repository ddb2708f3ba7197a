# SPDX-License-Identifier: LGPL-3.0-or-later
"""A look ahead of a fold tells of some jobs what the fold tells later, and costs a small part of it."""

import sys
from random import Random

import pytest

from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure
from pqrun.core.job import NO_REPORT, Command, CountedAs, ExitedWith, JobSpec, Outcome, Priority, Usage
from pqrun.core.job_row import JobRow
from pqrun.journal import ahead
from pqrun.journal.ahead import JournalAhead
from pqrun.journal.projection import RunProjection, fold_journal, output_sizes
from pqrun.journal.reader import JournalReader

from .records import BEGAN, Record, random_story


class Fold:
    """A fold of a journal that reads on in small steps."""

    def __init__(self, record, batch_bytes=200):
        self.run = RunProjection()
        self.lines = JournalReader(str(record.journal), batch_bytes=batch_bytes)

    def read(self, steps=sys.maxsize):
        """Fold up to so many batches."""
        if steps:
            for _ in fold_journal(self.lines, self.run):
                steps -= 1
                if not steps:
                    return

    def look_ahead(self):
        path, offset = self.lines.path, self.lines.position.offset
        return JournalAhead(path, offset, self.run, output_sizes)


def facts(row):
    """All that is known of a job; its place in the queue depends on the other jobs."""
    return {name: getattr(row, name) for name in JobRow.__slots__ if name != "place"}


@pytest.mark.parametrize("seed", range(60))
def test_the_chosen_jobs_are_those_that_the_fold_tells_of_later(tmp_path, seed):
    random, record = Random(seed), Record(tmp_path / "abc")
    story = random_story(seed)
    fold, some = Fold(record), random.randrange(len(story))
    record.tell(*story[:some])
    fold.read(random.randint(1, 30))
    look = fold.look_ahead()
    began = {*fold.run.table.running}
    for event in story[some:]:
        record.tell(event)
        if random.random() < 0.3:
            look.read(fold.lines.position.offset)
        fold.read(random.choice([0, 0, 0, 1]))
    known = {seq for seq, row in fold.run.table.rows.items() if row.outcome is not None}
    look.read(fold.lines.position.offset)
    fold.read()
    chosen, rows = look.run.table.rows, fold.run.table.rows
    assert {seq: facts(row) for seq, row in chosen.items()} == {seq: facts(rows[seq]) for seq in chosen}
    badly = {seq for seq, row in rows.items() if row.outcome not in (Outcome.OK, None)}
    assert badly | began <= chosen.keys() | known
    for name in ("input_ended", "stopped", "complete"):
        assert look.run.facts.get(name) == fold.run.facts.get(name)


def short_jobs(count, *, every=0, first=1):
    """The events of short jobs one after the other; each of so many fails."""
    for seq in range(first, first + count):
        at, bad = BEGAN + seq / 1000, bool(every) and seq % every == 0
        yield ev.JobAdded(at, seq, JobSpec(f"job-{seq}", Command("true")))
        yield ev.JobQueued(at, seq, 1, Priority.NORMAL)
        yield ev.AttemptSubmitted(at, seq, 1, 0.0)
        counted, exit = (CountedAs.FAILED if bad else CountedAs.COMPLETED), ExitedWith(int(bad))
        yield ev.AttemptEnded(at, seq, 1, counted, exit, None, at, at, Usage(), NO_REPORT)
        yield ev.JobEnded(at, seq, Outcome.FAILED if bad else Outcome.OK, 1)


def test_a_job_that_runs_for_longer_than_from_one_look_to_the_next_is_chosen(tmp_path):
    record = Record(tmp_path / "abc")
    fold = Fold(record)
    fold.read()
    look = fold.look_ahead()
    long = list(short_jobs(1, first=1000))
    record.tell(*long[:3], *short_jobs(5))
    assert (look.read(0), dict(look.run.table.rows)) == ([], {})
    record.tell(*short_jobs(5, first=6))
    assert [type(event) for event in look.read(0)] == [ev.JobAdded, ev.JobQueued, ev.AttemptSubmitted]
    assert (look.run.table.rows.keys(), look.run.table.rows[1000].state) == ({1000}, "running")
    record.tell(*long[3:])
    assert [type(event) for event in look.read(0)] == [ev.AttemptEnded, ev.JobEnded]
    assert look.run.table.rows[1000].state == "ok"


def test_the_start_of_a_job_that_runs_already_is_told_again(tmp_path):
    record = Record(tmp_path / "abc")
    fold, (added, queued, submitted, *_) = Fold(record), short_jobs(1)
    record.tell(added, queued, submitted)
    fold.read()
    assert fold.look_ahead().read(fold.lines.position.offset) == [submitted]


def test_the_number_of_chosen_jobs_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "MAX_CHOSEN", 10)
    record = Record(tmp_path / "abc")
    fold = Fold(record)
    fold.read()
    look = fold.look_ahead()
    record.tell(*short_jobs(300, every=2))
    look.read(0)
    assert [*look.run.table.rows] == [*range(2, 22, 2)]


def test_a_line_that_is_being_written_is_left_for_the_next_look(tmp_path):
    record = Record(tmp_path / "abc")
    fold = Fold(record)
    fold.read()
    look = fold.look_ahead()
    record.tell(*short_jobs(4, every=2))
    whole = record.journal.read_bytes()
    record.journal.write_bytes(whole[:-30])
    look.read(0)
    assert look.run.table.rows.keys() == {2}
    record.journal.write_bytes(whole)
    look.read(0)
    assert look.run.table.rows.keys() == {2, 4}


def test_a_line_that_is_longer_than_what_is_read_at_once_is_read_when_it_is_complete(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead, "_READ_BYTES", 100)
    record = Record(tmp_path / "abc")
    fold = Fold(record)
    fold.read()
    look = fold.look_ahead()
    added, *rest = short_jobs(1, every=1)
    spec = JobSpec("long", Command(f"exit 1 # {'x' * 1000}"))
    record.tell(added._replace(spec=spec), *rest)
    whole = record.journal.read_bytes()
    cut = whole.index(b"xxx") + 500
    record.journal.write_bytes(whole[:cut])
    assert look.read(0) == []
    record.journal.write_bytes(whole)
    look.read(0)
    assert [(row.spec.work.run, row.state) for row in look.run.table.rows.values()] == [
        (spec.work.run, "failed")
    ]


def test_a_job_that_succeeds_at_a_retry_is_left_to_the_fold(tmp_path):
    record = Record(tmp_path / "abc")
    fold = Fold(record)
    fold.read()
    look = fold.look_ahead()
    added, queued, submitted, ended, _ = short_jobs(1, every=1)
    at = ended.at
    record.tell(
        added, queued, submitted, ended._replace(counted=CountedAs.RETRIED), ev.JobWaiting(at, 1, 2, at)
    )
    again = (one._replace(attempt=2) for one in list(short_jobs(1))[1:4])
    record.tell(*again, ev.JobEnded(at, 1, Outcome.OK, 2))
    assert (look.read(0), dict(look.run.table.rows)) == ([], {})


def test_a_line_that_is_no_journals_is_an_error(tmp_path):
    record = Record(tmp_path / "abc")
    fold = Fold(record)
    fold.read()
    for nonsense in (b"nonsense\n", b'{"e":"end","t":x,"s":1,"o":"failed"}\n', b'{"a":1,"b":2,"c":3}\n'):
        with record.journal.open("ab") as file:
            file.write(nonsense)
        with pytest.raises(InternalFailure, match="damaged"):
            fold.look_ahead().read(0)


def opcodes(act):
    """How many opcodes of Python a call executes."""
    count = 0

    def trace(frame, kind, _):
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += kind == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def test_a_look_ahead_costs_a_small_part_of_the_fold(tmp_path):
    record, jobs = Record(tmp_path / "abc"), 500
    fold = Fold(record, batch_bytes=1 << 18)
    fold.read()
    look = fold.look_ahead()
    record.tell(*short_jobs(jobs))
    looked, folded = opcodes(lambda: look.read(0)) / jobs, opcodes(fold.read) / jobs
    assert looked < 200 and looked < folded / 4, (looked, folded)
