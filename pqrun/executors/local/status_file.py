# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a job writes about itself into `$PQRUN_REPORT`: `key=value` lines, bounded, garbage noted."""

from __future__ import annotations

import contextlib
import os

from pqrun.core.job import NOTHING_SAID, Said
from pqrun.core.values import duration, truth

LONGEST = 64 * 1024
LONGEST_VALUE = 1000
NOTES = 5


def read_report(path: str) -> Said:
    """What the job has said so far; of a report over 64 KiB the last part counts.

    `NOTHING_SAID` itself, and no copy of it, if there is no report.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return NOTHING_SAID
    except OSError:
        return Said()
    try:
        size = os.fstat(fd).st_size
        data = os.pread(fd, LONGEST, max(0, size - LONGEST))
    except OSError:
        return Said()
    finally:
        os.close(fd)
    lines = data.decode("utf-8", "replace").split("\n")
    return said(lines[1:] if size > LONGEST else lines)


def said(lines: list[str]) -> Said:
    """Later lines win; what can't be understood becomes a note."""
    facts: dict[str, object] = {}
    notes = []
    for line in lines:
        name, _, value = line.strip().partition("=")
        name, value = name.strip(), value.strip()[:LONGEST_VALUE]
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
                    facts[name] = truth(value)
                    continue
                case "retry_after":
                    facts[name] = duration(value)
                    continue
        notes.append(line.strip()[:80])
    if notes:
        facts["notes"] = tuple(notes[:NOTES])
    return Said(**facts)  # type: ignore[arg-type]
