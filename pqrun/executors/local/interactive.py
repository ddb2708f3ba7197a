# SPDX-License-Identifier: LGPL-3.0-or-later
"""The streams of jobs that want a terminal of their own, or an open standard input; and the terminals.

Loaded for the first such job. `docs/design/interactive.md` explains the choices.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections.abc import Callable, Iterator, Sequence

from pqrun.core.errors import InternalFailure
from pqrun.core.job import OPEN_STDIN, AttemptId, Command
from pqrun.executors.local.open_stdin import END_OF_INPUT, ENDS_OF_INPUT, OpenStdin
from pqrun.executors.local.spawn import TRANSIENT_ERRNOS, PipeReader, StartError, cannot_write
from pqrun.output.store import Logs, Stream

MAX_READ_BYTES = 64 * 1024
MAX_REST_BYTES = 1 << 20
"""More than a terminal buffers. A leftover that prints for ever must not delay the end of its job."""
DEFAULT_SIZE = (24, 80)
DEFAULT_TERM = b"TERM=xterm-256color"
_IGNORE_HANGUP = b'trap "" HUP; '
_ALL_STREAMS = b'exec <>"$1" >&0 2>&0; shift; exec "$@"'
_OUTPUT_STREAMS = b'exec 3<>"$1" >&3 2>&3 3>&-; shift; exec "$@"'


class InteractiveReader(PipeReader):
    """The reader of a job with a terminal or an open standard input. `terminal`: the terminal's side of pqrun, or -1.

    `stdin` is closed together with the pipes.
    """

    __slots__ = ("_stdin", "_terminal")

    def __init__(
        self,
        pipes: Sequence[int],
        logs: Logs,
        key: AttemptId,
        grew: Callable[[Stream], None] | None,
        *,
        by_line: bool,
        terminal: int,
        stdin: OpenStdin | None,
    ) -> None:
        super().__init__(pipes, logs, key, grew, by_line=by_line)
        self._terminal = terminal
        self._stdin = stdin

    def close(self) -> None:
        if self._stdin is not None:
            self._stdin.close()
        super().close()

    def read_rest(self) -> None:
        """Store what the streams hold now. One read takes only a part of what a terminal holds."""
        if self.capture is None:
            self._begin()
        for fd in self._open:
            self._drain(fd)

    def _drain(self, fd: int) -> None:
        """Store what is there now. The kernel counts only a part of what a terminal's reader can read."""
        if fd != self._terminal:
            super()._drain(fd)
            return
        left = MAX_REST_BYTES
        while left > 0 and (moved := self._move(fd, left)) > 0:
            left -= moved

    def _move(self, fd: int, limit: int) -> int:
        """Store some output. Returns 0 at the end, and -1 if there is nothing now."""
        if fd != self._terminal:
            return super()._move(fd, limit)
        try:
            data = os.read(fd, min(limit, MAX_READ_BYTES))
        except BlockingIOError:
            return -1
        except OSError as error:
            if error.errno == errno.EIO:  # no process has the terminal open any more
                return 0
            raise
        if not self.lost:
            self._store(self._open[fd], data)
        return len(data)

    def _store(self, stream: Stream, data: bytes) -> None:
        try:
            stream.put(data, by_line=self._by_line)
        except InternalFailure:
            raise
        except OSError as error:
            self.lost = cannot_write(stream, error)
        if self._grew is not None and (stream.last_line_end or stream.size >= self._next_growth):
            self._tell_growth(stream)


class InteractiveStreams:
    """The descriptors of one attempt with a terminal or an open standard input, until its process has them.

    `pipes`: as of every job, the read and the write end of stdout, then those of stderr; empty if output is not captured.
    With a terminal its two sides stand in place of stdout's pipe; stderr's pipe then tells only why the command could
    not be executed.
    """

    def __init__(self, work: Command, stdin: OpenStdin | None, *, capture: bool) -> None:
        self.pipes: tuple[int, ...] = ()
        self.path = b""
        self._work = work
        self._stdin = stdin
        self._read_end = -1
        self._ours: tuple[int, ...] = ()
        try:
            if work.pty:
                master, slave, path = open_terminal(reads=stdin is not None)
                self.pipes, self.path = (master, slave), os.fsencode(path)
                if stdin is not None:
                    self._ours = (os.dup(master),)
            else:
                self._read_end, write_end = os.pipe()
                self._ours = (write_end,)
                if capture:
                    self.pipes = os.pipe()
            if self.pipes:
                self.pipes += os.pipe()
            if stdin is not None:
                self._ours += os.pipe()
        except BaseException:
            self.abandon()
            raise

    @property
    def highest(self) -> int:
        """The highest descriptor."""
        return max(*self.pipes, *self._ours, self._read_end)

    def applied(
        self, null: int, argv: list[bytes], environment: list[bytes]
    ) -> tuple[int, list[bytes], list[bytes]]:
        """Return the stdin, the arguments and the environment to start the job with, made of those of other jobs.

        The caller closes a stdin that is not `null`.
        """
        if self.path:
            reads = self._work.stdin in (None, OPEN_STDIN)
            words = on_terminal(self.path, argv, stdin=reads, stop_signal=self._work.signal)
            return null, words, with_term(environment)
        return os.dup(self._read_end), argv, environment

    def started(
        self, logs: Logs, key: AttemptId, grew: Callable[[Stream], None] | None, *, by_line: bool
    ) -> InteractiveReader:
        """Close the job's ends, since its process has them, and return the reader of ours."""
        for fd in self.pipes[1::2]:
            os.close(fd)
        if self._stdin is not None:
            self._stdin.attach(*self._ours)
            self._ours = ()
        self._close_stdin()
        terminal = self.pipes[0] if self.path else -1
        return InteractiveReader(
            self.pipes[::2], logs, key, grew, by_line=by_line, terminal=terminal, stdin=self._stdin
        )

    def abandon(self) -> None:
        """Close everything, because the job was not started."""
        for fd in self.pipes:
            os.close(fd)
        self.pipes = ()
        self._close_stdin()

    def _close_stdin(self) -> None:
        for fd in (self._read_end, *self._ours):
            if fd >= 0:
                os.close(fd)
        self._read_end, self._ours = -1, ()


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
