# SPDX-License-Identifier: LGPL-3.0-or-later
"""A terminal for one job, and the start of the job's command on it.

Loaded for the first job with `pty`. `docs/design/interactive.md` explains the choices.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Iterator

from pqrun.executors.local.command import TRANSIENT_ERRNOS
from pqrun.executors.local.niceness import StartError
from pqrun.executors.local.open_stdin import END_OF_INPUT, ENDS_OF_INPUT

DEFAULT_SIZE = (24, 80)
DEFAULT_TERM = b"TERM=xterm-256color"
_IGNORE_HANGUP = b'trap "" HUP; '
_ALL_STREAMS = b'exec <>"$1" >&0 2>&0; shift; exec "$@"'
_OUTPUT_STREAMS = b'exec 3<>"$1" >&3 2>&3 3>&-; shift; exec "$@"'


def on_terminal(path: bytes, argv: list[bytes], *, stdin: bool, stop_signal: str) -> list[bytes]:
    """Return the argument list of a shell that opens the terminal at `path` and then executes `argv`.

    The leader of a session that has no controlling terminal gets the first one that it opens. `stdin`: the terminal is
    the stdin, too. The kernel sends HUP to the terminal's processes at the end of the leader, and when pqrun closes its
    side: the job ignores HUP unless it is its `stop_signal`, or leftovers would have no time to end by themselves, and
    could not be kept.
    """
    script = _ALL_STREAMS if stdin else _OUTPUT_STREAMS
    if stop_signal != "SIGHUP":
        script = _IGNORE_HANGUP + script
    return [b"/bin/sh", b"-c", script, b"sh", path, *argv]


def with_term(environment: list[bytes]) -> list[bytes]:
    """Return the environment with a `TERM`: without one, programs take a terminal for one that can do nothing."""
    has = any(variable.startswith(b"TERM=") for variable in environment)
    return environment if has else [*environment, DEFAULT_TERM]


def open_terminal(*, reads: bool) -> tuple[int, int, str]:
    """Open a new terminal. Return pqrun's side, the job's side, and the path of the job's side.

    Line ends stay as the job writes them. If nothing `reads` for the job, its input is at its end.
    """
    try:
        master, slave = os.openpty()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise OSError(errno.EAGAIN, "no terminal is left (sysctl kernel.pty.max)") from None
        if error.errno in TRANSIENT_ERRNOS:
            raise
        raise _refused(error.strerror or str(error)) from None
    try:
        attributes = termios.tcgetattr(slave)
        attributes[0] |= getattr(termios, "IUTF8", 0)
        attributes[1] &= ~termios.ONLCR
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("4H", *_window_size(), 0, 0))
        os.set_blocking(master, False)
        if not reads:
            os.write(master, END_OF_INPUT * ENDS_OF_INPUT)
        return master, slave, os.ttyname(slave)
    except (OSError, termios.error) as error:
        os.close(master)
        os.close(slave)
        raise _refused(str(error.args[-1])) from None


def _refused(why: str) -> StartError:
    return StartError(
        126, f"cannot be started with a terminal of its own: {why.lower()}; run it without `pty`"
    )


def _window_size() -> tuple[int, int]:
    """Return the lines and columns of the terminal that pqrun runs on, or the usual ones without a terminal."""
    for fd in _terminals():
        with contextlib.suppress(OSError):
            columns, lines = os.get_terminal_size(fd)
            if columns and lines:
                return lines, columns
    return DEFAULT_SIZE


def _terminals() -> Iterator[int]:
    yield from (2, 1, 0)
    with contextlib.suppress(OSError):
        fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
