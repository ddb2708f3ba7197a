# SPDX-License-Identifier: LGPL-3.0-or-later
"""Facts in few words, for people."""

from __future__ import annotations

from pqrun.model import Exit, Exited, Lost, NotStarted, Signalled, StopReason


def how_it_ended(exit: Exit | None, asked: StopReason | None, timeout: float | None = None) -> str:
    """In two words, for people: `exit 3`, `SIGKILL`, `timeout 60s`."""
    match asked:
        case StopReason.TIMEOUT:
            return "timeout" if timeout is None else f"timeout {duration_text(timeout)}"
        case StopReason.IDLE:
            return "silent too long"
        case StopReason.CANCELLED | StopReason.INTERRUPTED:
            return str(asked)
    match exit:
        case Exited(code):
            return f"exit {code}"
        case Signalled(name):
            return name
        case NotStarted(code):
            return f"exit {code}"
        case Lost():
            return "lost"
    return ""


def duration_text(seconds: float) -> str:
    """As people write it: `0.4s`, `12.6s`, `3m04s`, `2h05m`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def host_of(where: str) -> str:
    """The machine of a place as executors name it; empty for a slot of this one."""
    return "" if where == "slot" or where.startswith("slot ") else where
