# SPDX-License-Identifier: LGPL-3.0-or-later
"""Starts a process in a session of its own, as cheaply as this Python can.

`subprocess` takes 100 µs a job for the sake of cases that can't occur here: it encodes the whole
environment anew and opens a pipe to learn whether the program could be executed. Where its engine
is known (Linux, CPython 3.11 to 3.13) it is called directly; a failure to execute is then told
through the job's own stderr, which nobody else has written to yet. Elsewhere `Popen` does it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pqrun.core.errors import InternalFailure
from pqrun.output.store import Capture, Stream, bytes_available

DEFAULT_SHELL = ("/bin/sh", "-c")
HAS_FORK_EXEC = sys.platform == "linux" and (3, 11) <= sys.version_info[:2] <= (3, 13)
_FAILED = re.compile(rb"OSError:([0-9a-f]{1,4}):(noexec(?::chdir)?)?")  # the last since 3.13
MAX_EXEC_FAILURE_BYTES = 32

_fork_exec: Callable[..., int]
if HAS_FORK_EXEC:
    from _posixsubprocess import fork_exec as _fork_exec


def no_option(command: str) -> str:
    """The command such that the shell behind whose `-c` it stands does not take it for an option.

    Most shells do so with what begins with `-` or `+`, and not all of them know `--`. An empty line before it
    means nothing to any of them, nor to other interpreters.
    """
    return f"\n{command}" if command[:1] in ("-", "+") else command


def spawn(
    argv: Sequence[bytes],
    environment: list[bytes],
    *,
    cwd: bytes | None,
    stdin: int,
    pipes: Sequence[int],
    keep: tuple[int, ...] = (),
) -> int:
    """The new process's number. `pipes`: stdout's ends to read and write, then stderr's.

    `keep`: further descriptors for it, in ascending order.

    Raises OSError if there can't be a process, or (but see `failure_told`) if it can't be executed.
    """
    if not HAS_FORK_EXEC:
        return _by_popen(argv, environment, cwd, stdin, pipes[1], pipes[3], keep)
    program = argv[0]
    programs = (program,) if b"/" in program else tuple(_on_path(program, environment))
    out_read, out_write, err_read, err_write = pipes
    return _fork_exec(
        argv, programs,
        True, tuple(sorted((err_write, *keep))),
        cwd, environment,
        stdin, -1, -1, out_write,
        err_read, err_write,
        out_read, err_write,
        True, True,
        -1, None, None, None, -1,
        None, True,
    )  # fmt: skip


def spawn_uncaptured(
    argv: Sequence[bytes],
    environment: list[bytes],
    *,
    cwd: bytes | None,
    stdin: int,
    stdout: int,
    keep: tuple[int, ...] = (),
) -> int:
    """The same with streams of our own, stderr among them; every failure is raised."""
    return _by_popen(argv, environment, cwd, stdin, stdout, 2, keep)


def parse_exec_failure(stderr: bytes) -> OSError | None:
    """What a process that ended with 255 has told on its stderr, if it was never executed."""
    found = _FAILED.fullmatch(stderr)
    if found is None:
        return None
    number = int(found[1], 16)
    return OSError(number, os.strerror(number), "cwd" if found[2] else None)


def _by_popen(
    argv: Sequence[bytes],
    environment: list[bytes],
    cwd: bytes | None,
    stdin: int,
    out: int,
    err: int,
    keep: tuple[int, ...],
) -> int:
    import subprocess

    variables: Any = dict(variable.partition(b"=")[::2] for variable in environment)
    try:
        process = subprocess.Popen(
            argv, env=variables, cwd=cwd, stdin=stdin, stdout=out, stderr=err, start_new_session=True,
            pass_fds=keep,
        )  # fmt: skip
    except OSError as error:
        in_cwd = cwd is not None and error.filename is not None and os.fsencode(error.filename) == cwd
        raise OSError(error.errno, error.strerror, "cwd" if in_cwd else None) from None
    process.returncode = 0  # whoever spawned it reaps it, by its number
    return process.pid


def _on_path(program: bytes, environment: list[bytes]) -> list[bytes]:
    path = next((v[5:] for v in environment if v.startswith(b"PATH=")), os.fsencode(os.defpath))
    return [os.path.join(directory, program) for directory in path.split(b":")]


def signal_name(number: int) -> str:
    """`SIGKILL` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


class ExitWatcher(Protocol):
    """Readable when the child has ended."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...


class _Handle:
    """A process by a descriptor of its own."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


if sys.platform != "darwin":

    def has_ended(pid: int) -> bool:
        """Peeks. Also if somebody else in this program has reaped it."""
        try:
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def watch(pid: int) -> ExitWatcher | None:
        """None: there is no such thing here, or there are no descriptors left; look now and then."""
        with contextlib.suppress(AttributeError, OSError):
            return _Handle(os.pidfd_open(pid))
        return None

else:  # no pidfd, and no waitid before Python 3.13

    def has_ended(pid: int) -> bool:
        """Peeks."""
        try:
            queue = select.kqueue()
        except OSError:
            return False
        try:
            return bool(queue.control([_end_of(pid)], 1, 0))
        except OSError as error:
            return error.errno == errno.ESRCH  # a zombie can't be watched any more
        finally:
            queue.close()

    def watch(pid: int) -> ExitWatcher | None:
        """None: it has ended, or there are no descriptors left; look now and then."""
        with contextlib.suppress(OSError):
            queue = select.kqueue()
            try:
                queue.control([_end_of(pid)], 0, 0)
            except OSError:
                queue.close()
                raise
            return queue
        return None

    def _end_of(pid: int) -> select.kevent:
        return select.kevent(
            pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT
        )


MAX_READ_BYTES = 1 << 20


class PipeReader:
    """The reading ends of a job's stdout and stderr; none if it was given our own.

    `lost` says why its output can't be kept any more, if so: the rest is thrown away. `grew` is
    called with a stream that has a new line, if it is to be shown as it comes.
    """

    __slots__ = ("_grew", "_open", "_pipes", "lost")

    def __init__(
        self, pipes: Sequence[int], capture: Capture | None, grew: Callable[[Stream], None] | None
    ) -> None:
        self.lost = ""
        self._pipes = pipes
        self._grew = grew
        self._open = {} if capture is None else dict(zip(pipes, (capture.out, capture.err), strict=True))

    def __contains__(self, fd: int) -> bool:
        return fd in self._open

    def __bool__(self) -> bool:
        """Whether some process may still hold one of them."""
        return bool(self._open)

    def register(self, poll: select.poll) -> None:
        """Has it wait for them too."""
        for fd in self._open:
            poll.register(fd, select.POLLIN)

    def read_some(self, fd: int) -> bool:
        """Moves some output; whether there may be more."""
        if self._move(fd, MAX_READ_BYTES):
            return True
        del self._open[fd]
        return False

    def drain(self) -> None:
        """What the pipes hold now; who else may still have them open is not waited for."""
        for fd in self._open:
            left = bytes_available(fd)
            while left > 0 and (moved := self._move(fd, min(left, MAX_READ_BYTES))):
                left -= moved

    def close(self) -> None:
        """Whoever still writes is told that nobody reads."""
        pipes, self._pipes = self._pipes, ()
        self._open.clear()
        for fd in pipes:
            os.close(fd)

    def _move(self, fd: int, limit: int) -> int:
        if self.lost:
            return len(os.read(fd, 65536))
        stream = self._open[fd]
        try:
            moved = stream.take(fd, limit=limit, by_line=self._grew is not None)
        except InternalFailure:
            raise
        except OSError as error:
            self.lost = f"cannot write its output to {stream.path}: {error.strerror}"
            return len(os.read(fd, 65536)) if bytes_available(fd) else 1
        if self._grew is not None and stream.last_line_end:
            self._grew(stream)
        return moved
