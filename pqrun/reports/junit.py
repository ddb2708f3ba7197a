# SPDX-License-Identifier: LGPL-3.0-or-later
"""JUnit XML that Jenkins, GitLab and GitHub's readers accept: a suite for each file, a case for each job.

The cases wait in a spool, because the totals stand before them in the file.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from pqrun.core import events as ev
from pqrun.core.job import (
    ExitedWith,
    JobSpec,
    KilledBySignal,
    NotStarted,
    StopReason,
    format_command,
    is_gone,
)
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.reports.cases import CaseReport, ReportedCase, case_name_for, describe_case
from pqrun.reports.report import Ending, RunInfo
from pqrun.reports.safe_text import last_lines, one_line, printed
from pqrun.reports.targets import AtomicFile
from pqrun.reports.text_spool import SpooledText, TextSpool

MAX_CASE_BYTES = 32 * 1024  # bytes of each stream
MAX_RETRY_BYTES = 4 * 1024
MAX_FILE_BYTES = 20 * 1024 * 1024  # GitLab refuses more than 30 MB: later cases keep 1 KiB of output
REDUCED_CASE_BYTES = 1024
MAX_RETRIES_SHOWN = 10
MAX_STORY_COMMAND_LENGTH = 2000
_NOT_XML = re.compile("[^\t\n\r -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""The characters that XML 1.0 forbids, and those that terminals obey."""
PASSED, FAILURE, ERROR, SKIPPED = 1, 2, 3, 4
KINDS = {
    "ok": PASSED, "flaky": PASSED, "failed": FAILURE, "error": ERROR,
    "allowed": SKIPPED, "skipped": SKIPPED, "unneeded": SKIPPED, "left": SKIPPED,
}  # fmt: skip


class JUnitReport(CaseReport):
    """The JUnit report of a run. Cases are collected in a spool; `finish` writes the file."""

    tail = MAX_CASE_BYTES

    def __init__(self, target: AtomicFile, run: RunInfo, table: JobTable) -> None:
        super().__init__(table)
        self.option = target.option
        self._target = target
        self._run = run
        self._spool = TextSpool()
        self._texts = SpooledTexts(self._spool)
        self._tries: dict[int, list[tuple[SpooledText, bool]]] = {}
        self._names: dict[int, int] = {}
        self._dropped: set[int] = set()
        self.handlers |= {ev.JobAdded: self._added, ev.JobDropped: self._drop}

    def finish(self, ending: Ending) -> None:
        """Add the jobs that have not ended, and write the file."""
        why = self.table.stopped or "the run ended"
        for case in self.rest(live=ending.live):
            if case.verdict == "left":
                running = case.row.state == "running"
                row = case.row.copy()
                row.message = "still running" if running else f"not run: {why}"
                case = case._replace(row=row)
            self.put(case)
        self._target.write(self._pieces())
        self._spool.close()

    def forget(self, seq: int) -> None:
        """Take the case of a job out."""
        self._texts.remove(seq)

    def _added(self, event: ev.JobAdded, row: JobRow) -> None:
        """Reserve the name of a job, so that names do not depend on the order of ends."""
        self._is_free(_suite_of(row.spec), _case_name(row.spec), event.seq)

    def _drop(self, event: ev.JobDropped, _: JobRow | None) -> None:
        self._dropped.add(event.seq)
        self.forget(event.seq)

    def put_try(self, event: ev.AttemptEnded, case: ReportedCase) -> None:
        """Keep a failed attempt until the job has ended, which decides what the attempt is called."""
        row = case.row
        places = self._tries.setdefault(row.seq, [])
        error = _is_error(row)
        element = ET.Element("rerunError" if error else "rerunFailure", _failure_of(row))
        ET.SubElement(element, "stackTrace").text = f"attempt {event.attempt}: {describe_case(row)}"
        self._add_output(element, case, MAX_RETRY_BYTES)
        places.append((self._spool.put(ET.tostring(element)), is_gone(event.exit)))
        del places[:-MAX_RETRIES_SHOWN]

    def put(self, case: ReportedCase) -> None:
        """Write the case of a job to the spool."""
        row = case.row
        suite = _suite_of(row.spec)
        seconds = row.run_seconds or 0.0
        element = ET.Element("testcase", classname=suite, name=self._name(suite, row), time=f"{seconds:.3f}")
        kind = KINDS[case.verdict]
        if kind in (FAILURE, ERROR):
            verdict = ET.SubElement(element, "failure" if kind == FAILURE else "error", _failure_of(row))
            verdict.text = _story(case)
        elif kind == SKIPPED:
            ET.SubElement(element, "skipped", message=_why_skipped(case))
        for place, gone in self._tries.pop(row.seq, ()):
            if gone and row.state == "ok":  # the worker was lost: the job itself has never failed
                continue
            tried = ET.fromstring(self._spool.get(place))
            if row.state == "ok":
                tried.tag = tried.tag.replace("rerun", "flaky")
            element.append(tried)
        self._add_output(element, case, MAX_CASE_BYTES)
        text = ET.tostring(element, encoding="utf-8", xml_declaration=False) + b"\n"
        self._texts.put(row.seq, text, kind=kind, suite=suite, seconds=seconds)

    def _name(self, suite: str, row: JobRow) -> str:
        """Return a name that is unique in its suite, because readers drop a second case of one name."""
        name = _case_name(row.spec)
        while not self._is_free(suite, name, row.seq):
            name = f"{name} #{row.seq}"
        return name

    def _is_free(self, suite: str, name: str, seq: int) -> bool:
        """Return whether the job may have this name, and reserve the name if so."""
        key = hash((suite, name))
        if self._names.setdefault(key, seq) in self._dropped:
            self._names[key] = seq
        return self._names[key] == seq

    def _add_output(self, parent: ET.Element, case: ReportedCase, limit: int) -> None:
        if self._spool.size > MAX_FILE_BYTES:
            limit = REDUCED_CASE_BYTES
        sizes = (case.row.stdout_bytes, case.row.stderr_bytes)
        for tag, data, size in zip(("system-out", "system-err"), (case.out, case.err), sizes, strict=True):
            if text := printed(data[-limit:]):
                left_out = size - min(len(data), limit)
                note = f"[{left_out} bytes before this are left out]\n" if left_out > 0 else ""
                ET.SubElement(parent, tag).text = note + text

    def _pieces(self) -> Iterator[bytes]:
        texts = self._texts
        began = datetime.fromtimestamp(self._run.wall(self._run.began), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        yield b'<?xml version="1.0" encoding="utf-8"?>\n'
        yield _opening(ET.Element("testsuites", _totals(texts, texts.all())))
        for suite in texts.suites:
            own = texts.all(suite)
            skipped = str(texts.count(own, SKIPPED))
            facts = {"name": suite, "timestamp": began, **_totals(texts, own), "skipped": skipped}
            yield _opening(ET.Element("testsuite", facts))
            properties = ET.Element("properties")
            ET.SubElement(properties, "property", name="pqrun.run", value=self._run.run_id)
            yield ET.tostring(properties) + b"\n"
            yield from map(texts.get, own)
            yield b"</testsuite>\n"
        yield b"</testsuites>\n"


class SpooledTexts:
    """The texts of jobs in a spool, by sequence number.

    The facts about a job are in typed arrays, because a run may have a million jobs.
    """

    def __init__(self, spool: TextSpool) -> None:
        self.suites: dict[str, int] = {}
        self._spool = spool
        self._kind = bytearray(1)
        self._suite = array("I", [0])
        self._at = array("Q", [0])
        self._length = array("I", [0])
        self._seconds = array("d", [0.0])

    def put(self, seq: int, text: bytes, *, kind: int, suite: str, seconds: float) -> None:
        """Set a job's text, in place of an earlier one. `kind` must not be 0, which means no text."""
        for column in (self._kind, self._suite, self._at, self._length, self._seconds):
            column.extend([0] * max(0, seq + 1 - len(column)))
        self._kind[seq] = kind
        self._suite[seq] = self.suites.setdefault(suite, len(self.suites))
        self._at[seq], self._length[seq] = self._spool.put(text)
        self._seconds[seq] = seconds

    def remove(self, seq: int) -> None:
        """Remove a job's text."""
        if seq < len(self._kind):
            self._kind[seq] = 0

    def get(self, seq: int) -> bytes:
        """Return a job's text."""
        return self._spool.get(SpooledText(self._at[seq], self._length[seq]))

    def all(self, suite: str | None = None) -> Sequence[int]:
        """Return the sequence numbers of a suite's jobs, or of all jobs, in order."""
        wanted = None if suite is None else self.suites[suite]
        there = [seq for seq, kind in enumerate(self._kind) if kind]
        return there if wanted is None else [seq for seq in there if self._suite[seq] == wanted]

    def count(self, jobs: Sequence[int], kind: int) -> int:
        """Return how many of the jobs have that kind."""
        return sum(self._kind[seq] == kind for seq in jobs)

    def seconds(self, jobs: Sequence[int]) -> float:
        """Return the sum of the jobs' durations in seconds."""
        return sum(self._seconds[seq] for seq in jobs)


def _totals(texts: SpooledTexts, jobs: Sequence[int]) -> dict[str, str]:
    return {
        "tests": str(len(jobs)),
        "failures": str(texts.count(jobs, FAILURE)),
        "errors": str(texts.count(jobs, ERROR)),
        "time": f"{texts.seconds(jobs):.3f}",
    }


def _opening(element: ET.Element) -> bytes:
    return ET.tostring(element).replace(b" />", b">") + b"\n"


def _case_name(spec: JobSpec) -> str:
    """Return the name of a job's case: a given id as it is, with its blanks, because readers look for that id."""
    # An attribute may have tabs and line ends: ElementTree writes them as character references.
    return _NOT_XML.sub("\ufffd", spec.id) if spec.named else case_name_for(spec)


def _suite_of(spec: JobSpec) -> str:
    """Return the name of a job's suite: its file, without dots, which readers take for packages."""
    name = os.path.splitext(spec.file or "pqrun")[0].removeprefix("./")
    return one_line(name.replace(".", "_"), 200) or "pqrun"


def _is_error(row: JobRow) -> bool:
    """Return whether an attempt failed without an exit code or signal of the job's own."""
    return row.asked is not None or not isinstance(row.exit, ExitedWith | KilledBySignal)


def _failure_of(row: JobRow) -> dict[str, str]:
    """Return the attributes of a failure: its type and message."""
    match row.exit, row.asked:
        case _, StopReason.TIMEOUT | StopReason.IDLE:
            kind = "timeout"
        case ExitedWith(), _:
            kind = "exit"
        case KilledBySignal(), _:
            kind = "signal"
        case NotStarted(), _:
            kind = "not-started"
        case None, _:
            kind = row.state
        case _:
            kind = "lost"
    words = [describe_case(row) or row.state, *([one_line(row.message)] if row.message else [])]
    return {"type": kind, "message": ": ".join(words)}


def _why_skipped(case: ReportedCase) -> str:
    row = case.row
    if case.verdict == "allowed":
        return f"failed, with allow_failure: {describe_case(row)}"
    return one_line(row.message) or row.state


def _story(case: ReportedCase) -> str:
    """Return the text of a failed case: command, failure, and the last 20 lines of output."""
    row = case.row
    written = format_command(row.spec.work)[:MAX_STORY_COMMAND_LENGTH].split("\n")
    command = "\n".join(f"$ {line}" for part in written if (line := one_line(part, MAX_STORY_COMMAND_LENGTH)))
    tries = f", attempt {row.attempts}" if row.attempts > 1 else ""
    lines = last_lines(case.err, 20) or last_lines(case.out, 20)
    return "\n".join([command, f"{_failure_of(row)['message']}{tries}", *lines])
