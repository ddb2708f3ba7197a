# SPDX-License-Identifier: LGPL-3.0-or-later
"""JUnit XML in the dialect that Jenkins, GitLab and GitHub's readers accept: a suite a file, a case a job.

Cases wait in a spool, because their totals come before them.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from pqrun import events as ev
from pqrun.ledger import Row
from pqrun.model import Exited, NotStarted, Signalled, StopReason, shown_command
from pqrun.reports.cases import Case, Cases
from pqrun.reports.facts import Ending, RunFacts
from pqrun.reports.files import Whole
from pqrun.reports.spool import Place, Spool
from pqrun.reports.text import how, last_lines, name_of, one_line, printed

A_CASE = 32 * 1024  # bytes of each stream
A_RETRY = 4 * 1024
A_FILE = 20 * 1024 * 1024  # GitLab refuses more than 30 MB; what comes later keeps a little
A_LITTLE = 1024
MOST_RETRIES = 10
NOTHING, PASSED, FAILURE, ERROR, SKIPPED = range(5)
KINDS = {
    "ok": PASSED, "flaky": PASSED, "failed": FAILURE, "error": ERROR,
    "allowed": SKIPPED, "skipped": SKIPPED, "left": SKIPPED,
}  # fmt: skip


class JUnit:
    """Collects cases; `finish` writes the file."""

    def __init__(self, target: Whole, run: RunFacts) -> None:
        self.target = target
        self._run = run
        self._cases = Cases(self._put, self._forget, tail=A_CASE, tried=self._tried)
        self._spool = Spool()
        self._tries: dict[int, list[Place]] = {}
        self._suites: dict[str, int] = {}
        self._names: dict[int, int] = {}
        # By a job's number: a run may have a million of them.
        self._kind = bytearray(1)
        self._suite = array("I", [0])
        self._at = array("Q", [0])
        self._length = array("I", [0])
        self._seconds = array("d", [0.0])

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Takes in what happened."""
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

    def _forget(self, seq: int) -> None:
        if seq < len(self._kind):
            self._kind[seq] = NOTHING

    def _tried(self, row: Row, event: ev.AttemptEnded, case: Case) -> None:
        places = self._tries.setdefault(row.seq, [])
        error = _is_error(row)
        element = ET.Element("rerunError" if error else "rerunFailure", _about(row))
        ET.SubElement(element, "stackTrace").text = f"attempt {event.attempt}: {how(row)}"
        self._add_output(element, case, A_RETRY)
        places.append(self._spool.put(ET.tostring(element)))
        del places[:-MOST_RETRIES]

    def _put(self, case: Case) -> None:
        row = case.row
        suite = _suite_of(row)
        seconds = 0.0 if row.started is None or row.ended is None else max(0.0, row.ended - row.started)
        element = ET.Element("testcase", classname=suite, name=self._name(suite, row), time=f"{seconds:.3f}")
        kind = KINDS[case.verdict]
        if kind in (FAILURE, ERROR):
            verdict = ET.SubElement(element, "failure" if kind == FAILURE else "error", _about(row))
            verdict.text = _story(case)
        elif kind == SKIPPED:
            ET.SubElement(element, "skipped", message=_why_skipped(case))
        for place in self._tries.pop(row.seq, ()):
            tried = ET.fromstring(self._spool.get(place))
            if row.state == "ok":
                tried.tag = tried.tag.replace("rerun", "flaky")
            element.append(tried)
        self._add_output(element, case, A_CASE)
        place = self._spool.put(ET.tostring(element, encoding="utf-8", xml_declaration=False) + b"\n")
        self._remember(row.seq, kind, suite, place, seconds)

    def _remember(self, seq: int, kind: int, suite: str, place: Place, seconds: float) -> None:
        if missing := seq + 1 - len(self._kind):
            for column in (self._kind, self._suite, self._at, self._length, self._seconds):
                column.extend([0] * max(0, missing))  # type: ignore[attr-defined]
        self._kind[seq] = kind
        self._suite[seq] = self._suites.setdefault(suite, len(self._suites))
        self._at[seq], self._length[seq] = place
        self._seconds[seq] = seconds

    def _name(self, suite: str, row: Row) -> str:
        """Two jobs of a suite never have the same, because a reader would drop one of them."""
        name = name_of(row)
        if self._names.setdefault(hash((suite, name)), row.seq) != row.seq:
            name = f"{name} #{row.seq}"
            self._names[hash((suite, name))] = row.seq
        return name

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
        yield b'<?xml version="1.0" encoding="utf-8"?>\n'
        jobs = [seq for seq, kind in enumerate(self._kind) if kind]
        began = self._run.wall(self._run.began)
        yield _opening(ET.Element("testsuites", name="pqrun", **self._totals(jobs)))
        for name, suite in self._suites.items():
            own = [seq for seq in jobs if self._suite[seq] == suite]
            skipped = str(sum(self._kind[seq] == SKIPPED for seq in own))
            at = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            yield _opening(
                ET.Element("testsuite", name=name, timestamp=at, skipped=skipped, **self._totals(own))
            )
            properties = ET.Element("properties")
            ET.SubElement(properties, "property", name="pqrun.run", value=self._run.run_id)
            yield ET.tostring(properties) + b"\n"
            for seq in own:
                yield self._spool.get(Place(self._at[seq], self._length[seq]))
            yield b"</testsuite>\n"
        yield b"</testsuites>\n"

    def _totals(self, jobs: list[int]) -> dict[str, str]:
        kinds = [self._kind[seq] for seq in jobs]
        return {
            "tests": str(len(jobs)),
            "failures": str(kinds.count(FAILURE)),
            "errors": str(kinds.count(ERROR)),
            "time": f"{sum(self._seconds[seq] for seq in jobs):.3f}",
        }


def _opening(element: ET.Element) -> bytes:
    return ET.tostring(element).replace(b" />", b">") + b"\n"


def _suite_of(row: Row) -> str:
    """The job's file; a dot would begin a package."""
    name = os.path.splitext(row.spec.file or "pqrun")[0].removeprefix("./")
    return one_line(name.replace(".", "_"), 200) or "pqrun"


def _is_error(row: Row) -> bool:
    return row.asked is not None or not isinstance(row.exit, Exited | Signalled)


def _about(row: Row) -> dict[str, str]:
    """Type and message of what went wrong."""
    match row.exit, row.asked:
        case _, StopReason.TIMEOUT | StopReason.IDLE:
            kind = "timeout"
        case Exited(), _:
            kind = "exit"
        case Signalled(), _:
            kind = "signal"
        case NotStarted(), _:
            kind = "not-started"
        case None, _:
            kind = row.state
        case _:
            kind = "lost"
    words = [how(row) or row.state, *([one_line(row.message)] if row.message else [])]
    return {"type": kind, "message": ": ".join(words)}


def _why_skipped(case: Case) -> str:
    row = case.row
    if case.verdict == "allowed":
        return f"may fail, and did: {how(row)}"
    return one_line(row.message) or row.state


def _story(case: Case) -> str:
    """What a reader shows under the failed case's name."""
    row = case.row
    command = one_line(shown_command(row.spec.work), 2000)
    tries = f", attempt {row.attempts}" if row.attempts > 1 else ""
    lines = last_lines(case.err or case.out, 20)
    return "\n".join([f"$ {command}", f"{_about(row)['message']}{tries}", *lines])
