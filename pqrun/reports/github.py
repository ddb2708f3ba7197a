# SPDX-License-Identifier: LGPL-3.0-or-later
"""GitHub Actions: annotations in the log of a step, and the step's summary page."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from pqrun.core.job_row import JobRow
from pqrun.output.writer import StreamWriter
from pqrun.reports.cases import case_name, describe_case
from pqrun.reports.digest import RunDigest
from pqrun.reports.markdown import MAX_PAGE_BYTES, page
from pqrun.reports.report import Ending, RunInfo
from pqrun.reports.safe_text import one_line

MAX_ANNOTATIONS = 9  # GitHub shows ten for a step, and the tenth counts the rest
MIN_SUMMARY_BYTES = 4096


class Annotation(NamedTuple):
    """One annotation. `place`: the job whose line in its job file is marked."""

    level: str
    place: JobRow | None
    title: str
    message: str

    def __str__(self) -> str:
        facts = []
        spec = self.place.spec if self.place else None
        if spec is not None and spec.file and spec.file not in ("-", "stdin"):
            facts += [f"file={_fact(spec.file)}", f"line={max(1, spec.line)}"]
        facts.append(f"title={_fact(self.title)}")
        return f"::{self.level} {','.join(facts)}::{_data(self.message)}"


def annotate(step: str, digest: RunDigest, run: RunInfo, ending: Ending, err: StreamWriter | None) -> str:
    """Write the annotations to `err` and the page to the file `step`.

    Returns why the page could not be written, or an empty string.
    """
    if err is not None and (lines := annotations(digest)):
        err.write(lines.encode("utf-8", "backslashreplace"))
    return add_to_step(step, digest, run, ending) if step else ""


def annotations(digest: RunDigest) -> str:
    """Return the lines for the log, failures first: at most ten, the last of which counts the others."""
    notes = list(_notes(digest))
    total = digest.bad + digest.table.flaky
    shown = notes[:MAX_ANNOTATIONS]
    if rest := total - len(shown):
        level = "error" if any(note.level == "error" for note in shown) else "warning"
        shown.append(Annotation(level, None, "pqrun", f"and {rest} more; {digest.headline()}"))
    return "".join(f"{note}\n" for note in shown)


def _notes(digest: RunDigest) -> Iterator[Annotation]:
    for failure in sorted(digest.failures.values(), key=lambda failure: failure.allowed):
        row = failure.row
        level = "warning" if failure.allowed else "error"
        words = [describe_case(row) or row.state]
        words += [f"after {row.attempts} attempts"] if row.attempts > 1 else []
        last = one_line(row.message or (failure.lines[-1] if failure.lines else ""), 300)
        yield Annotation(level, row, case_name(row), ", ".join(words) + (f": {last}" if last else ""))
    for row in digest.flaky.values():
        yield Annotation("warning", row, case_name(row), f"passed only at attempt {row.attempts}")


def add_to_step(path: str, digest: RunDigest, run: RunInfo, ending: Ending) -> str:
    """Append the page to the step's summary; return why that failed, or an empty string."""
    try:
        with open(path, "ab+") as file:
            size = os.fstat(file.fileno()).st_size
            if (room := MAX_PAGE_BYTES - size - 1) < MIN_SUMMARY_BYTES:
                return "the step's summary is full"
            file.seek(max(0, size - 1))
            if file.read(1) not in (b"", b"\n"):  # a heading must begin a line
                file.write(b"\n")
            file.write(page(digest, run, ending, room))
    except OSError as error:
        return f"cannot write the step's summary {path}: {error.strerror}"
    return ""


def _data(text: str) -> str:
    """Escape a message for GitHub's runner: `%`, CR and LF."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _fact(text: str) -> str:
    """Escape a property for GitHub's runner: also `:` and `,`."""
    return _data(one_line(text)).replace(":", "%3A").replace(",", "%2C")
