# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--notify`: tells the desktop that a job has failed, or that a run or a queue has finished."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from math import inf
from typing import Protocol

from pqrun.core import events as ev
from pqrun.core.job import Outcome
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.text import count_of, describe_exit, escape_controls, job_label, shorten
from pqrun.output.writer import StreamWriter
from pqrun.reports.digest import headline
from pqrun.reports.report import Ending, Report, RunInfo

MIN_INTERVAL_SECONDS = 10.0
QUIET_SECONDS = 1.0
"""How long a notification waits: another failure may follow, the run may end, or a script add its next job."""
FLUSH_TIMEOUT_SECONDS = 2.0
MAX_TEXT_LENGTH = 200
TITLE = "pqrun"
FAILED = (Outcome.FAILED, Outcome.TIMEOUT)
_OSC_9_PROGRAMS = ("iTerm.app", "WezTerm", "ghostty", "WarpTerminal")
_OSC_9_VARIABLES = ("WT_SESSION", "KITTY_WINDOW_ID", "ConEmuPID")
_LOOP = 'while IFS= read -r text; do notify-send --app-name=pqrun -- pqrun "$text"; done'


class Desktop(Protocol):
    """A way to show a notification to the user of this machine or terminal."""

    def tell(self, text: str) -> None:
        """Show one line of text. This never blocks and never raises."""

    def close(self) -> None:
        """Let the last notifications be shown, for a short time."""


class NoDesktop:
    """Nobody to notify."""

    def tell(self, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class NotifySend:
    """Notifications through `notify-send`.

    A shell that starts before any job runs calls the program for each line of a pipe. So its processes are no
    children of pqrun, which ends what jobs leave behind, and a slow one holds up nobody. The shell ends with
    the pipe, also if pqrun is killed.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._shell: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):  # no process can be created: nobody is notified
            self._shell = subprocess.Popen(
                ["sh", "-c", _LOOP],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environment,
                start_new_session=True,
            )
            assert self._shell.stdin is not None
            os.set_blocking(self._shell.stdin.fileno(), False)

    def tell(self, text: str) -> None:
        """Show the text, unless too many are waiting already."""
        # The text may be shown as markup.
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        if self._shell is not None and self._shell.stdin is not None:
            with contextlib.suppress(OSError):
                os.write(self._shell.stdin.fileno(), text.encode("utf-8", "replace") + b"\n")

    def close(self) -> None:
        """Close the pipe and wait a moment for the shell."""
        if self._shell is not None and self._shell.stdin is not None:
            self._shell.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._shell.wait(FLUSH_TIMEOUT_SECONDS)


class TerminalNotification:
    """Notifications through the terminal, which shows them on the desktop that it is on, also through ssh."""

    def __init__(self, stream: StreamWriter, environment: Mapping[str, str]) -> None:
        self._stream = stream
        program = environment.get("TERM_PROGRAM", "")
        as_iterm = program in _OSC_9_PROGRAMS or any(environment.get(name) for name in _OSC_9_VARIABLES)
        self._begin = "\x1b]9;pqrun: " if as_iterm else f"\x1b]777;notify;{TITLE};"
        self._in_tmux = bool(environment.get("TMUX"))

    def tell(self, text: str) -> None:
        """Write the sequence, which moves no cursor, so the live table stays where it is."""
        sequence = f"{self._begin}{text}\a"
        if self._in_tmux:  # passed on by tmux if its `allow-passthrough` is on
            sequence = "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
        self._stream.draw(sequence)

    def close(self) -> None:
        """Do nothing: the sequences have been written."""


def desktop_of(environment: Mapping[str, str] = os.environ) -> Desktop:
    """Return the way to the user: `notify-send` on this desktop, else the terminal, if there is one.

    A terminal may ignore the sequences, so `notify-send` comes first; through ssh, only the terminal is where
    the user is.
    """
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    has_bus = environment.get("DBUS_SESSION_BUS_ADDRESS") or (runtime and os.path.exists(f"{runtime}/bus"))
    if (
        has_bus
        and not environment.get("SSH_CONNECTION")
        and shutil.which("notify-send", path=environment.get("PATH"))
    ):
        return NotifySend(environment)
    if environment.get("TERM", "") not in ("", "dumb", "unknown", "linux"):
        for stream in (StreamWriter(2, "standard error"), StreamWriter(1, "standard output")):
            if stream.is_terminal:
                return TerminalNotification(stream, environment)
    return NoDesktop()


class DesktopNotifier(Report):
    """Notifications of one run: failed jobs, at most one text in ten seconds, and the end.

    A queue has no end: it counts as finished when no job is left. Events of earlier processes are ignored.
    """

    option = "--notify"

    def __init__(
        self,
        desktop: Desktop,
        run: RunInfo,
        table: JobTable,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desktop = desktop
        self._run = run
        self._table = table
        self._now = now
        self._began = time.time()
        self._failed: list[str] = []
        self._more_failed = 0
        self._new: Counter[Outcome] = Counter()
        self._failed_at = self._idle_at = inf
        self._next = 0.0
        self.handlers = {ev.JobEnded: self._ended, ev.JobAdded: self._busy, ev.JobReopened: self._busy}

    def tick(self) -> float:
        """Show what is due; return the seconds until the next time."""
        now = self._now()
        due = min(self._failed_at, self._idle_at)
        if due == inf:
            return inf
        if now < max(due, self._next):
            return max(due, self._next) - now
        self._next = now + MIN_INTERVAL_SECONDS
        if now >= self._idle_at:
            self._tell_idle()
        else:
            self._tell_failures()
        return self.tick()

    def finish(self, ending: Ending) -> None:
        """Tell that the run has ended. A queue ends only when its user stops it."""
        if not self._run.endless:
            outcome = "ok" if ending.code == 0 else f"exit {ending.code}"
            table = self._table
            self._tell(f"{outcome}: {headline(table.added, table.ended_count, table.outcomes)}")
        elif self._failed:
            self._tell_failures()
        self._desktop.close()

    def _ended(self, event: ev.JobEnded, row: JobRow) -> None:
        if self._run.wall(event.at) < self._began:
            return
        self._new[event.outcome] += 1
        if event.outcome in FAILED and not event.allowed:
            how = describe_exit(row.exit, row.asked, row.spec.timeout)
            if not self._failed:
                self._failed_at = self._now() + QUIET_SECONDS
            if len(self._failed) < 3:
                self._failed.append(f"{shorten(job_label(row.spec))}: {how}")
            else:
                self._more_failed += 1
        if self._run.endless and not self._table.unfinished:
            self._idle_at = self._now() + QUIET_SECONDS

    def _busy(self, _event: ev.JobAdded | ev.JobReopened, _row: JobRow) -> None:
        self._idle_at = inf

    def _tell_failures(self) -> None:
        texts, more = self._failed, self._more_failed
        self._forget_failures()
        rest = f", and {count_of(more, 'other job')}" if more else ""
        self._tell(f"failed: {', '.join(texts)}{rest}")

    def _forget_failures(self) -> None:
        self._failed, self._more_failed, self._failed_at = [], 0, inf

    def _tell_idle(self) -> None:
        new, self._new, self._idle_at = self._new, Counter(), inf
        self._forget_failures()
        self._tell(f"{self._run.run_id} is empty: {headline(new.total(), new.total(), new)}")

    def _tell(self, text: str) -> None:
        self._desktop.tell(shorten(escape_controls(text), MAX_TEXT_LENGTH))
