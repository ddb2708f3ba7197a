# SPDX-License-Identifier: LGPL-3.0-or-later
"""The status file `$PQRUN_REPORT`, in which a job reports on itself.

The file has `key=value` lines. Only the last 64 KiB are read, and lines that can't be understood become notes.
"""

from __future__ import annotations

import contextlib
import os

from pqrun.core.job import NO_REPORT, SelfReport
from pqrun.core.values import boolean, duration

MAX_STATUS_FILE_BYTES = 64 * 1024
MAX_VALUE_LENGTH = 1000
NOTES = 5


def read_report(path: str) -> SelfReport:
    """Read what the job has reported so far. Of a file over 64 KiB only the last part counts.

    Returns the object `NO_REPORT` itself, not a copy, if there is no file.
    """
    if not os.access(path, os.F_OK):  # no exception is made for a file that is nearly always missing
        return NO_REPORT
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return NO_REPORT
    except OSError:
        return SelfReport()
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, MAX_STATUS_FILE_BYTES, max(0, size - MAX_STATUS_FILE_BYTES))
    except OSError:
        return SelfReport()
    finally:
        os.close(fd)
    lines = data.decode("utf-8", "replace").split("\n")
    return parse_report(lines[1:] if size > MAX_STATUS_FILE_BYTES else lines)


def parse_report(lines: list[str]) -> SelfReport:
    """Parse the lines of a status file. Later lines win; lines that can't be understood become notes."""
    facts: dict[str, object] = {}
    notes = []
    for line in lines:
        name, _, value = line.strip().partition("=")
        name, value = name.strip(), value.strip()[:MAX_VALUE_LENGTH]
        if not name:
            continue
        with contextlib.suppress(ValueError, OverflowError):
            match name:
                case "status" | "message":
                    facts[name] = value
                    continue
                case "progress":
                    share = float(value.rstrip("%")) / (100 if value.endswith("%") else 1)
                    if 0 <= share <= 1:
                        facts[name] = share
                        continue
                case "permanent":
                    facts[name] = boolean(value)
                    continue
                case "retry_after":
                    facts[name] = duration(value)
                    continue
        notes.append(line.strip()[:80])
    if notes:
        facts["notes"] = tuple(notes[:NOTES])
    return SelfReport(**facts)  # type: ignore[arg-type]
