# SPDX-License-Identifier: LGPL-3.0-or-later
"""Events go into the journal's lines and come back the same; an old journal stays readable."""

import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pqrun.core import events as ev
from pqrun.core.job import (
    Command,
    CountedAs,
    ExitedWith,
    InputBlock,
    JobSpec,
    KilledBySignal,
    LostExit,
    Need,
    NotStarted,
    Outcome,
    OutputPlace,
    Priority,
    RetryPolicy,
    SelfReport,
    StopReason,
    Usage,
)
from pqrun.journal.format import VERSION, Encoder, append_checksum, spec_facts, spec_of
from pqrun.journal.index import query_index
from pqrun.journal.projection import Decoder
from pqrun.journal.reader import JournalReader
from pqrun.journal.recovery import recover
from pqrun.journal.restart_plan import plan_restart
from pqrun.journal.run_directory import RunDirectory

from .records import BEGAN, Record

NOT_KEPT = {ev.AttemptStarted, ev.AttemptStopping, ev.StatusReported, ev.OutputGrew, ev.StartsHeld}

# Moments as they are on a clock that counts from the epoch: halves, quarters … of a microsecond.
moments = st.integers(1_700_000_000 * 2**22, 2_000_000_000 * 2**22).map(lambda n: n / 2**22)
seqs = st.integers(1, 10**9)
attempts = st.integers(1, 10**6)
texts = st.text(st.characters(exclude_categories=()), max_size=20)
names = st.text(min_size=1, max_size=20)
seconds = st.floats(0, 1e9)
codes = st.frozensets(
    st.one_of(st.integers(0, 255), st.sampled_from(["any", "signal", "SIGKILL"])), max_size=3
)
policies = st.builds(
    RetryPolicy,
    max=st.integers(0, 10**6),
    delay=seconds,
    backoff=st.sampled_from(["exponential", "linear", "constant"]),
    factor=st.floats(1, 10),
    max_delay=seconds,
    jitter=st.floats(0, 1),
    on=codes,
    permanent=codes,
)
blocks = st.builds(
    InputBlock,
    number=st.integers(1, 10**6),
    offset=st.integers(0, 2**63),
    size=st.integers(0, 2**63),
    file=texts,
    header=st.integers(0, 100),
    kept=st.booleans(),
)
commands = st.builds(
    Command,
    run=st.one_of(names, st.lists(texts, min_size=1, max_size=3).map(tuple)),
    cwd=st.none() | texts,
    env=st.lists(st.tuples(names, texts), max_size=2).map(tuple),
    shell=st.none() | st.lists(names, min_size=1, max_size=3).map(tuple),
    stdin=st.none() | texts | blocks,
    signal=st.sampled_from(["SIGTERM", "SIGINT"]),
    keep_leftovers=st.booleans(),
)
specs = st.builds(
    JobSpec,
    id=names,
    work=commands,
    priority=st.sampled_from(Priority),
    timeout=st.none() | seconds,
    idle_timeout=st.none() | seconds,
    grace=seconds,
    retry=policies,
    needs=st.lists(st.builds(Need, names, st.sampled_from(["ok", "ended", "failed"])), max_size=2).map(tuple),
    slots=st.integers(1, 99),
    pools=st.lists(st.tuples(names, st.integers(1, 9)), max_size=2).map(tuple),
    tags=st.lists(names, max_size=2).map(tuple),
    success_codes=st.lists(st.integers(0, 255), min_size=1, max_size=3).map(tuple),
    allow_failure=st.booleans(),
    rerun=st.booleans(),
    creates=st.none() | texts,
    named=st.booleans(),
    file=st.none() | names,
    args=st.lists(texts, max_size=3).map(tuple),
    arg_names=st.lists(texts, max_size=2).map(tuple),
    line=st.integers(0, 10**6),
    not_before=st.none() | moments,
)
exits = st.one_of(
    st.builds(ExitedWith, st.integers(0, 255)),
    st.builds(KilledBySignal, st.sampled_from(["SIGKILL", "SIGTERM"])),
    st.builds(NotStarted, st.sampled_from([126, 127]), texts),
    st.builds(LostExit, texts, st.booleans()),
)
packs = st.none() | st.tuples(st.integers(1, 2**30), st.integers(0, 2**40))
streams = st.tuples(st.integers(1, 2**40), packs) | st.just((0, None))
cpu = st.integers(0, 10**9).map(lambda n: n / 10**6)
kept = {
    ev.JobAdded: st.builds(ev.JobAdded, moments, seqs, specs, texts),
    ev.JobQueued: st.builds(ev.JobQueued, moments, seqs, attempts, st.sampled_from(Priority)),
    ev.AttemptSubmitted: st.builds(ev.AttemptSubmitted, moments, seqs, attempts, cpu),
    ev.AttemptRefused: st.builds(ev.AttemptRefused, moments, seqs, attempts, texts),
    ev.AttemptRestarted: st.builds(ev.AttemptRestarted, moments, seqs, attempts, texts),
    ev.AttemptEnded: st.builds(
        ev.AttemptEnded,
        moments,
        seqs,
        attempts,
        st.sampled_from(CountedAs),
        exits,
        st.none() | st.sampled_from(StopReason),
        moments,
        moments,
        st.builds(Usage, cpu, cpu),
        (st.none() | texts).map(lambda message: SelfReport(message=message)),
        st.none() | st.tuples(streams, streams),
        texts,
    ),
    ev.JobWaiting: st.builds(ev.JobWaiting, moments, seqs, attempts, moments),
    ev.JobDelayed: st.builds(ev.JobDelayed, moments, seqs, attempts, moments),
    ev.JobRemoved: st.builds(ev.JobRemoved, moments, seqs),
    ev.JobEnded: st.builds(
        ev.JobEnded, moments, seqs, st.sampled_from(Outcome), st.integers(0, 99), st.booleans(), texts, texts
    ),
    ev.JobReopened: st.builds(
        ev.JobReopened, moments, seqs, st.sampled_from(Outcome), st.just(JobSpec("", Command(""))), texts
    ),
    ev.JobDropped: st.builds(ev.JobDropped, moments, seqs, st.none() | st.sampled_from(Outcome)),
    ev.JobChanged: st.builds(ev.JobChanged, moments, seqs, specs, texts, st.booleans()),
    ev.JobHeld: st.builds(ev.JobHeld, moments, seqs, st.booleans(), texts),
    ev.InputEnded: st.builds(ev.InputEnded, moments, seqs, st.booleans(), texts),
    ev.SlotsChanged: st.builds(ev.SlotsChanged, moments, seqs, texts),
    ev.WorkersChanged: st.builds(ev.WorkersChanged, moments, seqs, texts),
    ev.PoolChanged: st.builds(ev.PoolChanged, moments, names, seqs, texts),
    ev.RunPaused: st.builds(ev.RunPaused, moments, st.booleans(), texts),
    ev.RunStopping: st.builds(ev.RunStopping, moments, texts, st.booleans(), st.booleans(), texts),
}


def with_output(event):
    """The event as an executor reports it: its output has sizes, and places that are in a pack or a file of its own."""
    if isinstance(event, ev.AttemptEnded) and event.output is not None:
        out, err = (
            SimpleNamespace(size=size, place=OutputPlace("x", *reversed(at)) if at else OutputPlace("y"))
            for size, at in event.output
        )
        return event._replace(output=SimpleNamespace(out=out, err=err))
    return event


NOTHING = ((0, None), (0, None))


def there_and_back(events):
    texts = Encoder(lambda at: at)([with_output(event) for event in events])
    lines = [json.loads(text) for text in texts]
    decode = Decoder(lambda _seq, _attempt, out, err, out_at, err_at: ((out, out_at), (err, err_at)))
    return [event for line in lines for event in decode(line)]


def nothing_printed(event):
    """A journal makes no difference between no output and output that is empty."""
    return event._replace(output=event.output or NOTHING) if isinstance(event, ev.AttemptEnded) else event


def kind_and_seq(event):
    return type(event).__name__, event.seq


def test_every_event_is_kept_or_known_not_to_be():
    assert set(get_args(ev.Event)) == set(kept) | NOT_KEPT


@pytest.mark.parametrize("kind", kept, ids=lambda kind: kind.__name__)
def test_an_event_comes_back_as_it_went(kind):
    @settings(max_examples=15)
    @given(kept[kind])
    def check(event):
        assert there_and_back([event]) == [nothing_printed(event)]

    check()


@settings(max_examples=25)
@given(st.lists(st.one_of(*kept.values()), max_size=8))
def test_many_events_of_a_turn_come_back_in_their_order_whatever_they_are(events):
    assert there_and_back(events) == [nothing_printed(event) for event in events]


@pytest.mark.slow
@settings(max_examples=25)
@given(st.lists(specs, min_size=1, max_size=4), moments)
def test_added_jobs_that_are_queued_at_once_take_one_line_each(jobs, at):
    added = [ev.JobAdded(at, seq, spec) for seq, spec in enumerate(jobs, 1)]
    queued = [ev.JobQueued(at, seq, 1, spec.priority) for seq, spec in enumerate(jobs, 1)]
    assert len(Encoder(lambda at: at)(added + queued)) == len(jobs)
    assert sorted(there_and_back(added + queued), key=kind_and_seq) == added + queued


@pytest.mark.parametrize("most", [1, 2, 3, 5, 8])
def test_a_batch_in_parts_gives_the_same_lines(most):
    """Of the jobs added here, the second waits for another, and the last was not queued at once."""
    added = [ev.JobAdded(1.0, seq, JobSpec(f"j{seq}", Command("true"))) for seq in range(1, 6)]
    queued = [ev.JobQueued(1.0, seq, 1, Priority.NORMAL) for seq in (1, 3, 4)]
    later = [ev.JobQueued(2.0, 5, 1, Priority.NORMAL), ev.AttemptSubmitted(2.0, 1, 1, 1.0)]
    encode = Encoder(lambda at: at)
    parts = list(encode.in_parts([*added, *queued, *later], most))
    whole = encode([*added, *queued, *later])
    assert [text for part in parts for text in part] == whole and max(map(len, parts)) <= most
    assert [(line["e"], line["s"]) for line in map(json.loads, whole)] == [
        *(("add", seq) for seq in range(1, 6)), ("queue", 5), ("start", 1)
    ]  # fmt: skip
    assert [line["s"] for line in map(json.loads, whole) if line.get("q")] == [1, 3, 4]


def test_a_job_that_ends_with_its_attempt_takes_one_line():
    ended = ev.AttemptEnded(
        1.0, 7, 2, CountedAs.FAILED, ExitedWith(3), None, 0.5, 1.0, Usage(0.25, 0.0), SelfReport(), NOTHING
    )
    done = ev.JobEnded(1.0, 7, Outcome.FAILED, 2, True)
    (text,) = Encoder(lambda at: at)([with_output(ended), done])
    assert json.loads(text) == {
        "e": "end", "t": 1.0, "s": 7, "n": 2, "as": "failed", "x": 3, "b": 0.5, "f": 1.0, "u": 0.25, "y": 0.0,
        "o": "failed", "ok": True,
    }  # fmt: skip
    assert there_and_back([ended, done]) == [ended, done]


@pytest.mark.parametrize("event", [ev.AttemptStarted(1.0, 1, 1, "x"), ev.StatusReported(1.0, 1, 1, "s", 0.5)])
def test_what_is_of_the_moment_is_not_kept(event):
    assert Encoder(lambda at: at)([event]) == []


@pytest.mark.slow
@settings(max_examples=40)
@given(specs)
def test_a_job_comes_back_with_all_its_fields(spec):
    assert spec_of(json.loads(json.dumps(spec_facts(spec)))) == spec


def test_what_is_as_it_would_be_anyway_is_not_written():
    assert spec_facts(JobSpec("a", Command("true"))) == {"id": "a", "run": "true"}


def test_jobs_made_alike_are_written_as_if_each_were_alone():
    env = (("A", "1"),)
    jobs = [JobSpec(str(n), Command(f"echo {n}", env=env), timeout=5.0, line=n) for n in range(4)]
    jobs.append(JobSpec("x", Command("echo", env=(("B", "2"),))))
    jobs += [JobSpec(str(n), Command("echo"), args=(str(n), "\udcff"), arg_names=("a",)) for n in range(3)]
    jobs.append(JobSpec("y", Command("echo"), arg_names=("a",)))
    assert [
        event.spec for event in there_and_back([ev.JobAdded(1.0, n, job) for n, job in enumerate(jobs)])
    ] == jobs


@given(texts, st.integers(0, 2**32 - 1))
def test_a_sealed_line_is_one_line_of_json(text, crc):
    line, following = append_checksum(json.dumps({"t": text}), crc)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line) == {"t": text, "c": f"{following:08x}"}


OLD = Path(__file__).parent / "data"


@pytest.fixture(params=range(1, VERSION + 1))
def old_run(request, tmp_path):
    """A run as the first pqrun of each format left it: with every kind of line, killed twice, torn."""
    old = OLD / f"version-{request.param}"
    path = tmp_path / old.name
    path.mkdir(mode=0o700)
    shutil.copy(old / "journal.jsonl", path)
    return RunDirectory(str(path))


def test_an_old_journal_has_every_kind_of_line(old_run):
    kinds = {line.get("e", "run") for line in JournalReader(old_run.journal)}
    assert kinds == {
        "run", "resume", "close", "add", "queue", "start", "refuse", "end", "done", "wait", "remove", "again", "drop",
        "change", "input", "slots", "workers", "pool", "pause", "stop",
    }  # fmt: skip


def test_an_old_journal_is_shown_as_ever(world, old_run):
    document = OLD / os.path.basename(old_run.path) / "document.json"
    wanted = json.loads(document.read_text().replace("DIR", old_run.path))
    assert world.look("show", old_run.path, "--json").document == wanted


def test_an_old_journal_is_gone_on_with_as_ever(old_run):
    found = recover(old_run)
    restart = plan_restart(found, found.last, failed=False)
    assert {
        task.spec.id: (task.attempts, task.retries, type(task.state).__name__) for task in restart.tasks
    } == {
        "test[PY=3.11,DB=pg]": (2, 0, "Pending"),
        "new": (0, 0, "Queued"),
    }
    fetch = found.jobs[1].spec
    assert (fetch.retry.permanent, fetch.pools, fetch.work.env) == (
        frozenset({22}), (("net", 1),), (("URL", "https://example.org/data.gz"),),
    )  # fmt: skip
    assert found.jobs[4].spec.rerun is False
    assert (found.workers, found.pools, found.paused) == (3, {"net": 2}, False)


DOCUMENT = Path(__file__).parents[3] / "docs" / "journal.md"


def test_the_document_names_every_kind_of_line_and_every_field_of_a_job(old_run):
    text = DOCUMENT.read_text()
    kinds = set(re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \|", text, re.MULTILINE))
    named = {kind for pair in kinds for kind in pair if kind} | set(re.findall(r'`"e":"(\w+)"`', text))
    assert {line["e"] for line in JournalReader(old_run.journal) if "e" in line} <= named
    job = text[text.index("A `job` has") :]
    fields = set(re.findall(r"`(\w+)`", job[: job.index("## ")]))
    assert {name for name in (*JobSpec._fields, *Command._fields) if name != "work"} <= fields


def test_the_program_in_the_document_reads_a_journal(old_run, monkeypatch):
    program = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[1]
    monkeypatch.chdir(old_run.path)
    names = {}
    exec(program, names)
    whole = JournalReader(old_run.journal)
    assert list(whole)[-1] == names["event"]
    assert names["line"].startswith(b'{"e":"add"') and not names["line"].endswith(b"\n")


def test_what_a_later_pqrun_of_this_version_adds_is_left_out(tmp_path):
    record = Record(tmp_path / "abc")
    job = {"id": "a", "run": "true", "weather": "fine", "retry": {"max": 1, "moon": "full"}}
    record.note({"e": "add", "t": BEGAN, "s": 1, "job": job, "q": True, "mood": "good"})
    record.note({"e": "dance", "t": BEGAN, "s": 1})
    found = recover(record.run)
    assert {seq: (job.state, job.spec.retry.max) for seq, job in found.jobs.items()} == {1: ("queued", 1)}
    assert query_index(record.run, lambda index: index.states()) == {"queued": 1}
