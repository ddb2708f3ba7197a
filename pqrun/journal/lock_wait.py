# SPDX-License-Identifier: LGPL-3.0-or-later
"""The messages of a wait for the lock of a killed pqrun, which other processes still hold.

The module is imported only if there is something to wait for.
"""

from __future__ import annotations

import contextlib
import os
from typing import NamedTuple

FIRST_AFTER_SECONDS = 2.0
HINT_AFTER_SECONDS = 5.0


class Holder(NamedTuple):
    """A process that has the lock file open. `guards`: it is a watchdog, which holds the lock until no job is left."""

    pid: int
    guards: bool
    stopped: bool


class LockWait:
    """Writer of messages to stderr: the reason for the wait, and after a while how to end it.

    `killed`: the pid of the killed pqrun. `watchdog`: the name of a watchdog's process.
    """

    def __init__(self, fd: int, path: str, killed: str, watchdog: str) -> None:
        self._fd = fd
        self._path = path
        self._killed = killed
        self._watchdog = watchdog
        self._said = 0

    def tell(self, waited: float) -> None:
        """Write the message that is due after `waited` seconds."""
        if self._said == 0 and waited >= FIRST_AFTER_SECONDS:
            self._said = 1
            _say(
                f"pqrun: waiting for {self._path}: {waiting_text(self._killed, holders(self._fd, self._watchdog))}"
            )
        elif self._said == 1 and waited >= HINT_AFTER_SECONDS:
            self._said = 2
            if hint := hint_text(holders(self._fd, self._watchdog)):
                _say(f"  hint: {hint}")


def waiting_text(killed: str, found: list[Holder]) -> str:
    """Return the reason for the wait."""
    text = f"its pqrun (process {killed}) was killed, and "
    if not found:
        return text + "a process that pqrun can't see still holds its lock"
    pids = ", ".join(str(holder.pid) for holder in found)
    stopped = " is stopped" if all(holder.stopped for holder in found) else " is ending its jobs"
    return f"{text}{_what(found)} (process {pids}){stopped}"


def hint_text(found: list[Holder]) -> str:
    """Return how to end the wait; empty if no holder is visible."""
    if not found:
        return ""
    pids = " ".join(str(holder.pid) for holder in found)
    kill = f"`kill -9 {pids}` ends {_what(found)}, and this command then ends the remaining jobs"
    if all(holder.stopped for holder in found):
        return f"`kill -CONT {pids}` continues it; {kill}"
    return kill


def holders(fd: int, watchdog: str) -> list[Holder]:
    """Return the other processes that have the same file open, as far as `/proc` shows them.

    `watchdog`: the name of a watchdog's process.
    """
    own = os.fstat(fd)
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdecimal() and int(name) != os.getpid() and _has_open(name, own):
                with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                    text = file.read(4096)
                    end = text.rfind(b")")
                    comm = text[text.find(b"(") + 1 : end].decode(errors="replace")
                    found.append(Holder(int(name), comm == watchdog, text[end + 2 : end + 3] in b"Tt"))
    return found


def _has_open(pid: str, file: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(f"/proc/{pid}/fd/{number}"), file):
                    return True
    return False


def _what(found: list[Holder]) -> str:
    if all(holder.guards for holder in found):
        return "its watchdog"
    return "the process that holds its lock"


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
