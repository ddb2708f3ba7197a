# SPDX-License-Identifier: LGPL-3.0-or-later
"""JUnit XML that Jenkins, GitLab and GitHub's readers accept: a suite for each file, a case for each job.

The cases wait in a spool, because the totals stand before them in the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from pqrun.core import events as ev
from pqrun.core.job import JobSpec, is_gone
from pqrun.core.job_table import JobRow
from pqrun.reports.cases import (
    ReportedCase,
    ReportedCases,
    about,
    case_name_for,
    describe_case,
    is_error,
    one_line,
    printed,
    story,
    why_skipped,
)
from pqrun.reports.run_info import Ending, RunInfo
from pqrun.reports.spool import SpooledText, SpooledTexts, TextSpool
from pqrun.reports.targets import AtomicFile

MAX_CASE_BYTES = 32 * 1024  # bytes of each stream
MAX_RETRY_BYTES = 4 * 1024
MAX_FILE_BYTES = 20 * 1024 * 1024  # GitLab refuses more than 30 MB: later cases keep 1 KiB of output
REDUCED_CASE_BYTES = 1024
MAX_RETRIES_SHOWN = 10
PASSED, FAILURE, ERROR, SKIPPED = 1, 2, 3, 4
KINDS = {
    "ok": PASSED, "flaky": PASSED, "failed": FAILURE, "error": ERROR,
    "allowed": SKIPPED, "skipped": SKIPPED, "unneeded": SKIPPED, "left": SKIPPED,
}  # fmt: skip


class JUnitReport:
    """The JUnit report of a run. Cases are collected in a spool; `finish` writes the file."""

    def __init__(self, target: AtomicFile, run: RunInfo) -> None:
        self.target = target
        self._run = run
        self._spool = TextSpool()
        self._shelf = SpooledTexts(self._spool)
        self._cases = ReportedCases(self._put, self._shelf.remove, tail=MAX_CASE_BYTES, tried=self._tried)
        self._tries: dict[int, list[tuple[SpooledText, bool]]] = {}
        self._names: dict[int, int] = {}
        self._dropped: set[int] = set()

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Process the events. A job reserves its name when it is added, so names do not depend on ends."""
        for event in events:
            match event:
                case ev.JobAdded(_, seq, spec):
                    self._is_free(_suite_of(spec), case_name_for(spec), seq)
                case ev.JobDropped(_, seq):
                    self._dropped.add(seq)
        self._cases.hear(events)

    def finish(self, ending: Ending) -> None:
        """Add the jobs that have not ended, and write the file."""
        why = self._cases.table.stopped or "the run ended"
        for case in self._cases.rest(live=ending.live):
            if case.verdict == "left":
                running = case.row.state == "running"
                case.row.message = "still running" if running else f"not run: {why}"
            self._put(case)
        self.target.write(self._pieces())
        self._spool.close()

    def _tried(self, row: JobRow, event: ev.AttemptEnded, case: ReportedCase) -> None:
        places = self._tries.setdefault(row.seq, [])
        error = is_error(row)
        element = ET.Element("rerunError" if error else "rerunFailure", about(row))
        ET.SubElement(element, "stackTrace").text = f"attempt {event.attempt}: {describe_case(row)}"
        self._add_output(element, case, MAX_RETRY_BYTES)
        places.append((self._spool.put(ET.tostring(element)), is_gone(event.exit)))
        del places[:-MAX_RETRIES_SHOWN]

    def _put(self, case: ReportedCase) -> None:
        row = case.row
        suite = _suite_of(row.spec)
        seconds = 0.0 if row.started is None or row.ended is None else max(0.0, row.ended - row.started)
        element = ET.Element("testcase", classname=suite, name=self._name(suite, row), time=f"{seconds:.3f}")
        kind = KINDS[case.verdict]
        if kind in (FAILURE, ERROR):
            verdict = ET.SubElement(element, "failure" if kind == FAILURE else "error", about(row))
            verdict.text = story(case)
        elif kind == SKIPPED:
            ET.SubElement(element, "skipped", message=why_skipped(case))
        for place, gone in self._tries.pop(row.seq, ()):
            if gone and row.state == "ok":  # the worker was lost: the job itself has never failed
                continue
            tried = ET.fromstring(self._spool.get(place))
            if row.state == "ok":
                tried.tag = tried.tag.replace("rerun", "flaky")
            element.append(tried)
        self._add_output(element, case, MAX_CASE_BYTES)
        text = ET.tostring(element, encoding="utf-8", xml_declaration=False) + b"\n"
        self._shelf.put(row.seq, text, kind=kind, suite=suite, seconds=seconds)

    def _name(self, suite: str, row: JobRow) -> str:
        """Return a name that is unique in its suite, because readers drop a second case of one name."""
        name = case_name_for(row.spec)
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
        shelf = self._shelf
        began = datetime.fromtimestamp(self._run.wall(self._run.began), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        yield b'<?xml version="1.0" encoding="utf-8"?>\n'
        yield _opening(ET.Element("testsuites", _totals(shelf, shelf.all())))
        for suite in shelf.suites:
            own = shelf.all(suite)
            skipped = str(shelf.count(own, SKIPPED))
            facts = {"name": suite, "timestamp": began, **_totals(shelf, own), "skipped": skipped}
            yield _opening(ET.Element("testsuite", facts))
            properties = ET.Element("properties")
            ET.SubElement(properties, "property", name="pqrun.run", value=self._run.run_id)
            yield ET.tostring(properties) + b"\n"
            yield from map(shelf.get, own)
            yield b"</testsuite>\n"
        yield b"</testsuites>\n"


def _totals(shelf: SpooledTexts, jobs: Sequence[int]) -> dict[str, str]:
    return {
        "tests": str(len(jobs)),
        "failures": str(shelf.count(jobs, FAILURE)),
        "errors": str(shelf.count(jobs, ERROR)),
        "time": f"{shelf.seconds(jobs):.3f}",
    }


def _opening(element: ET.Element) -> bytes:
    return ET.tostring(element).replace(b" />", b">") + b"\n"


def _suite_of(spec: JobSpec) -> str:
    """Return the name of a job's suite: its file, without dots, which readers take for packages."""
    name = os.path.splitext(spec.file or "pqrun")[0].removeprefix("./")
    return one_line(name.replace(".", "_"), 200) or "pqrun"
