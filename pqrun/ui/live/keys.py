# SPDX-License-Identifier: LGPL-3.0-or-later
"""Single keys from the terminal while the live table is shown, as a source of the reactor.

Keys are read from the terminal itself, because stdin may be the list of jobs. A background process
that reads a terminal or changes its modes is stopped by the kernel, so both happen only while pqrun
is in the foreground.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import sys
import termios
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from pqrun.engine.executor import TerminalGuard
from pqrun.engine.reactor import Request
from pqrun.executors.local.procfs import LINUX, all_processes
from pqrun.output.store import bytes_available
from pqrun.ui.live.screen import in_foreground
from pqrun.ui.live.type_ahead import CANCEL, CONFIRM, Confirmation, TypeAhead

_FUNCTION_KEY = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)", re.DOTALL)
TEXT_IS_KEPT = "typed text is kept for the shell; a key after a pause of a second drops it"

NO = "  Esc: no"
"""The end of each question."""

Act = Callable[[], Iterable[Request]]
Modes = list[object]


def question_of_drain(running: int) -> str:
    """Return what is asked before the run is drained. `running`: the number of running jobs."""
    rest = f", let the {running} running finish" if running else ""
    return f"q again within 2s: start no more jobs{rest}{NO}"


class Key(NamedTuple):
    """A key of the table. `act` returns its requests; `question` is what is asked first, if anything."""

    act: Act
    question: Callable[[], str] | None = None


class KeyReader:
    """A reader of keys.

    `look_again` limits the reactor's next wait: bytes that are left for the shell (see `type_ahead`) can't
    be polled for, so their number is looked at.
    `shared`: another program, such as a pager behind us in a pipe, may read the terminal, so no key is
    read. While jobs are `typed` on the terminal its modes are left alone, so that lines can be edited
    and Ctrl-D ends them. `guard` gets the modes before and after our change, to restore them if
    pqrun is killed.
    """

    def __init__(
        self,
        keys: Mapping[str, Key],
        guard: TerminalGuard,
        now: Callable[[], float],
        look_again: Callable[[float], None],
        *,
        shared: bool,
        typed: Callable[[], bool],
    ) -> None:
        self._keys = keys
        self._guard = guard
        self._now = now
        self._look_again = look_again
        self._type_ahead = TypeAhead()
        self._confirmation = Confirmation()
        self._fd = -1 if shared else _open_terminal()
        self._modes: Modes | None = None
        self._resting = False
        self._typed = typed

    @property
    def on(self) -> bool:
        """Whether keys are read now."""
        return self._modes is not None

    def fileno(self) -> int:
        return self._fd

    @property
    def prompt(self) -> str:
        """The question before a key acts, or a note on other text that was typed; usually empty."""
        key = self._keys.get(self._confirmation.pending(self._now()))
        if key is not None and key.question is not None:
            return key.question()
        return TEXT_IS_KEPT if self._type_ahead.is_text and _bytes_waiting(self._fd) else ""

    def wanted(self) -> bool:
        """Return whether to read the terminal now; if so, switch off echo and line mode."""
        if self._fd < 0 or self._resting or self._typed() or not in_foreground(self._fd):
            return False
        self._enter()
        return self.on and self._may_read()

    def _may_read(self) -> bool:
        waiting = _bytes_waiting(self._fd)
        if not waiting:
            return True  # to be polled
        delay = self._type_ahead.delay(waiting, self._now())
        if delay:
            if self._type_ahead.is_text:
                self._confirmation.cancel()
            self._look_again(delay)
        return not delay

    def pending(self) -> bool:
        """Return False: keys are not read ahead."""
        return False

    def read(self) -> list[Request]:
        """Return the requests of the key that was pressed; leave text for the shell unread."""
        if not in_foreground(self._fd) or (_bytes_waiting(self._fd) and not self._may_read()):
            return []
        try:
            data = os.read(self._fd, 4096)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.close()
            return []
        now = self._now()
        pressed = _FUNCTION_KEY.sub(b"", data).decode("latin-1")[-1:]
        pending = self._confirmation.pending(now)
        known = pressed in self._keys or bool(pending and pressed in CONFIRM) or pressed == CANCEL
        self._type_ahead.read(pressed, known=known)
        if not known:
            self._confirmation.cancel()
            return []
        key = self._keys.get(pressed)
        act = self._keys.get(self._confirmation.press(pressed, now, asks=bool(key and key.question)))
        return list(act.act()) if act is not None else []

    def suspend(self) -> None:
        """Restore the terminal's modes until `resume`."""
        self._resting = True
        self._leave()

    def resume(self) -> None:
        """Read keys again after pqrun was stopped and continued."""
        self._resting = False
        if self._modes is not None and in_foreground(self._fd):
            self._change()  # a shell may have set its own modes meanwhile

    def close(self) -> None:
        """Restore the terminal's modes and close the terminal."""
        self._leave()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _enter(self) -> None:
        if self._modes is not None:
            return
        try:
            self._modes = termios.tcgetattr(self._fd)
            self._change()
        except termios.error:
            self._modes = None
            self._resting = True

    def _change(self) -> None:
        ours = termios.tcgetattr(self._fd)
        ours[3] &= ~(termios.ECHO | termios.ICANON)
        ours[6][termios.VMIN], ours[6][termios.VTIME] = 1, 0
        self._guard.keep_terminal(before=self._modes, ours=ours)
        self._set(ours)

    def _leave(self) -> None:
        modes, self._modes = self._modes, None
        if modes is not None and in_foreground(self._fd):
            try:
                self._set(modes)
            except termios.error:
                pass  # the terminal is gone
        self._guard.keep_terminal(before=None, ours=None)

    def _set(self, modes: Modes) -> None:
        # If pqrun is moved to the background just now, SIGTTOU would stop it.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, modes)  # type: ignore[arg-type]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _bytes_waiting(terminal: int) -> int:
    """Return the number of bytes in the queue of a terminal, 0 if that is not known."""
    try:
        return bytes_available(terminal)
    except OSError:
        return 0


def _open_terminal() -> int:
    """Open the controlling terminal; return its descriptor, or -1 if there is none."""
    try:
        # macOS can't poll /dev/tty, only the terminal by its own name.
        path = os.ttyname(2) if sys.platform == "darwin" else "/dev/tty"
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1
    try:
        os.tcgetpgrp(fd)
    except OSError:
        os.close(fd)
        return -1
    return fd


class Typed:
    """Detection of jobs that are typed on the terminal. `unread`: the inputs that have not ended."""

    def __init__(self, unread: Callable[[], Sequence[int]]) -> None:
        self._unread = unread
        self._here: dict[int, bool] = {}
        self._fed: dict[int, bool] = {}

    def here(self) -> bool:
        """Return whether an input is the terminal itself."""
        return any(self._once(fd, self._here, _is_our_terminal) for fd in self._unread())

    def maybe(self) -> bool:
        """Return whether an input is the terminal, or a pipe from a program that may read the terminal.

        An example of the latter is `cat | pqrun run`.
        """
        return self.here() or any(self._once(fd, self._fed, _may_be_fed) for fd in self._unread())

    @staticmethod
    def _once(fd: int, known: dict[int, bool], ask: Callable[[int], bool]) -> bool:
        if fd not in known:
            known[fd] = ask(fd)
        return known[fd]


def _is_our_terminal(fd: int) -> bool:
    try:
        os.tcgetpgrp(fd)  # succeeds only for our controlling terminal
    except OSError:
        return False
    return True


def _may_be_fed(fd: int) -> bool:
    """Return whether `fd` is a pipe and a program of our pipeline has the terminal as its stdin.

    Whether that program will read its stdin is not known in advance. Giving up the keys of the table
    then is better than taking away lines that the user types.
    """
    try:
        mode = os.fstat(fd).st_mode
        terminals = {os.fstat(2).st_rdev, os.stat("/dev/tty").st_rdev}
    except OSError:
        return False
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return False
    if not LINUX:
        return True
    group, own = os.getpgrp(), os.getpid()
    beside = (process.pid for process in all_processes() if process.group == group and process.pid != own)
    return any(_stdin_of(pid) in terminals - {0} for pid in beside)


def _stdin_of(pid: int) -> int:
    """Return the device number of a process's stdin; 0 if it is no device or may not be read."""
    try:
        return os.stat(f"/proc/{pid}/fd/0").st_rdev
    except OSError:
        return 0
