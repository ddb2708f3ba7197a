# SPDX-License-Identifier: LGPL-3.0-or-later
"""JUnit XML in the dialect that Jenkins, GitLab and GitHub's readers accept: a suite a file, a case a job.

Cases wait in a spool, because their totals come before them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from pqrun.core import events as ev
from pqrun.core.job import JobSpec, is_gone
from pqrun.core.job_table import Row
from pqrun.reports.cases import (
    Case,
    Cases,
    about,
    how,
    is_error,
    name_for,
    one_line,
    printed,
    story,
    why_skipped,
)
from pqrun.reports.run_info import Ending, RunFacts
from pqrun.reports.spool import Place, Shelf, Spool
from pqrun.reports.targets import Whole

A_CASE = 32 * 1024  # bytes of each stream
A_RETRY = 4 * 1024
A_FILE = 20 * 1024 * 1024  # GitLab refuses more than 30 MB; what comes later keeps a little
A_LITTLE = 1024
MOST_RETRIES = 10
PASSED, FAILURE, ERROR, SKIPPED = 1, 2, 3, 4
KINDS = {
    "ok": PASSED, "flaky": PASSED, "failed": FAILURE, "error": ERROR,
    "allowed": SKIPPED, "skipped": SKIPPED, "unneeded": SKIPPED, "left": SKIPPED,
}  # fmt: skip


class JUnit:
    """Collects cases; `finish` writes the file."""

    def __init__(self, target: Whole, run: RunFacts) -> None:
        self.target = target
        self._run = run
        self._spool = Spool()
        self._shelf = Shelf(self._spool)
        self._cases = Cases(self._put, self._shelf.remove, tail=A_CASE, tried=self._tried)
        self._tries: dict[int, list[tuple[Place, bool]]] = {}
        self._names: dict[int, int] = {}
        self._dropped: set[int] = set()

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Takes in what happened. Who is known first has his name first, whoever ends first."""
        for event in events:
            match event:
                case ev.JobAdded(_, seq, spec):
                    self._is_free(_suite_of(spec), name_for(spec), seq)
                case ev.JobDropped(_, seq):
                    self._dropped.add(seq)
        self._cases.hear(events)

    def finish(self, ending: Ending) -> None:
        """Adds what never ended, and writes the file."""
        why = self._cases.ledger.stopped or "the run ended"
        for case in self._cases.rest(live=ending.live):
            if case.verdict == "left":
                running = case.row.state == "running"
                case.row.message = "still running" if running else f"not run: {why}"
            self._put(case)
        self.target.write(self._pieces())
        self._spool.close()

    def _tried(self, row: Row, event: ev.AttemptEnded, case: Case) -> None:
        places = self._tries.setdefault(row.seq, [])
        error = is_error(row)
        element = ET.Element("rerunError" if error else "rerunFailure", about(row))
        ET.SubElement(element, "stackTrace").text = f"attempt {event.attempt}: {how(row)}"
        self._add_output(element, case, A_RETRY)
        places.append((self._spool.put(ET.tostring(element)), is_gone(event.exit)))
        del places[:-MOST_RETRIES]

    def _put(self, case: Case) -> None:
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
            if gone and row.state == "ok":  # it would make a job flaky that has never failed
                continue
            tried = ET.fromstring(self._spool.get(place))
            if row.state == "ok":
                tried.tag = tried.tag.replace("rerun", "flaky")
            element.append(tried)
        self._add_output(element, case, A_CASE)
        text = ET.tostring(element, encoding="utf-8", xml_declaration=False) + b"\n"
        self._shelf.put(row.seq, text, kind=kind, suite=suite, seconds=seconds)

    def _name(self, suite: str, row: Row) -> str:
        """Two jobs of a suite never have the same, because a reader would drop one of them."""
        name = name_for(row.spec)
        while not self._is_free(suite, name, row.seq):
            name = f"{name} #{row.seq}"
        return name

    def _is_free(self, suite: str, name: str, seq: int) -> bool:
        """Whether a job may be called so; then it is."""
        key = hash((suite, name))
        if self._names.setdefault(key, seq) in self._dropped:
            self._names[key] = seq
        return self._names[key] == seq

    def _add_output(self, parent: ET.Element, case: Case, limit: int) -> None:
        if self._spool.size > A_FILE:
            limit = A_LITTLE
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


def _totals(shelf: Shelf, jobs: Sequence[int]) -> dict[str, str]:
    return {
        "tests": str(len(jobs)),
        "failures": str(shelf.count(jobs, FAILURE)),
        "errors": str(shelf.count(jobs, ERROR)),
        "time": f"{shelf.seconds(jobs):.3f}",
    }


def _opening(element: ET.Element) -> bytes:
    return ET.tostring(element).replace(b" />", b">") + b"\n"


def _suite_of(spec: JobSpec) -> str:
    """The job's file; a dot would begin a package."""
    name = os.path.splitext(spec.file or "pqrun")[0].removeprefix("./")
    return one_line(name.replace(".", "_"), 200) or "pqrun"
