# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The start of a process in a new session, as cheap as this Python allows; its descriptors and its output.

`subprocess` costs 100 µs a job for cases that don't occur here: it encodes the environment again for each
job, and opens a pipe to learn whether the program could be executed. Where the internal function of
`subprocess` is known (Linux, CPython 3.11 to 3.13) this module calls that function directly. A failed
exec is then reported through the stderr of the job, to which no process has written yet. Everywhere else
`Popen` starts the process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pqrun.core.errors import InternalFailure
from pqrun.core.job import AttemptId
from pqrun.output.store import MAX_IN_MEMORY_BYTES, Capture, Logs, Stream, bytes_available

DEFAULT_SHELL = ("/bin/sh", "-c")
HAS_FORK_EXEC = sys.platform == "linux" and (3, 11) <= sys.version_info[:2] <= (3, 13)
BEFORE_EXEC = (b"noexec", b"noexec:chdir")
"""The words in the message of a failed start if no program was executed. CPython 3.13 and later write the second."""
MAX_EXEC_FAILURE_BYTES = 32
TRANSIENT_ERRNOS = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_fork_exec: Callable[..., int]
if HAS_FORK_EXEC:
    from _posixsubprocess import fork_exec as _fork_exec


class StartError(Exception):
    """An error that makes a start impossible. `code`: 127 if the program was not found, else 126."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def no_option(command: str) -> str:
    """Return a command that the shell does not take for an option after `-c`.

    Most shells read a word that begins with `-` or `+` as an option, and some of them don't know `--`. So
    such a command gets an empty line before it, which every shell and every other interpreter ignores.
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
    """Start a process and return its pid.

    `pipes`: the read and the write end of stdout, then those of stderr. `keep`: further descriptors for the
    process, in ascending order.

    Raises OSError if no process can be created. If the program can't be executed, either OSError is raised or
    the process ends with code 255 (see `parse_exec_failure`).
    """
    if not HAS_FORK_EXEC:
        return _by_popen(argv, environment, cwd, stdin, pipes[1], pipes[3], keep)
    program = argv[0]
    programs = (program,) if b"/" in program else tuple(_on_path(program, environment))
    out_read, out_write, err_read, err_write = pipes
    return _fork_exec(
        argv, programs,
        True, tuple(sorted((err_write, *keep))) if keep else (err_write,),
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
    """Start a process with `stdout` and pqrun's own stderr, and return its pid.

    Raises OSError for every failure, a failed exec included.
    """
    return _by_popen(argv, environment, cwd, stdin, stdout, 2, keep)


def parse_exec_failure(stderr: bytes) -> OSError | None:
    """Return the error of a failed exec, from the stderr of a process that ended with code 255.

    Returns None if the program was executed. The error's `filename` is "cwd" if the directory is at fault.
    """
    kind, _, rest = stderr.partition(b":")
    digits, colon, place = rest.partition(b":")
    if kind != b"OSError" or not colon or not 1 <= len(digits) <= 4 or digits.strip(b"0123456789abcdef"):
        return None
    if place not in (b"", *BEFORE_EXEC):
        return None
    number = int(digits, 16)
    return OSError(number, os.strerror(number), "cwd" if place else None)


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
    process.returncode = 0  # so that Popen never waits for the process: the caller reaps it by its pid
    return process.pid


def _on_path(program: bytes, environment: list[bytes]) -> list[bytes]:
    path = next((v[5:] for v in environment if v.startswith(b"PATH=")), os.fsencode(os.defpath))
    return [os.path.join(directory, program) for directory in path.split(b":")]


def signal_name(number: int) -> str:
    """Return the name of a signal: `SIGKILL` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


if sys.platform != "darwin":

    def has_ended(pid: int) -> bool:
        """Say whether a child has ended, without reaping it.

        True also if another part of this program has reaped it.
        """
        try:
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def watch(pid: int) -> int:
        """Return a descriptor that becomes readable when the child has ended. The caller closes it.

        Returns -1 if this system has no pidfd or no descriptor is left; the caller then has to poll.
        """
        try:
            return os.pidfd_open(pid)
        except (AttributeError, OSError):
            return -1

else:  # macOS has no pidfd, and Python before 3.13 has no waitid there

    def has_ended(pid: int) -> bool:
        """Say whether a child has ended, without reaping it."""
        try:
            queue = select.kqueue()
        except OSError:
            return False
        try:
            return bool(queue.control([_end_of(pid)], 1, 0))
        except OSError as error:
            return error.errno == errno.ESRCH  # kqueue refuses to watch a zombie
        finally:
            queue.close()

    def watch(pid: int) -> int:
        """Return a descriptor that becomes readable when the child has ended. The caller closes it.

        Returns -1 if the child has ended or no descriptor is left; the caller then has to poll.
        """
        with contextlib.suppress(OSError), contextlib.closing(select.kqueue()) as queue:
            queue.control([_end_of(pid)], 0, 0)
            return os.dup(queue.fileno())
        return -1

    def _end_of(pid: int) -> select.kevent:
        return select.kevent(
            pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT
        )


SPARE_DESCRIPTORS = 12
LOG_DESCRIPTORS = 2
RUNNING_DESCRIPTORS = 3 + LOG_DESCRIPTORS  # with the reading ends of both pipes and the pidfd
STDIN_DESCRIPTORS = 3  # of an open stdin: the writing end, and a pipe that wakes the worker's thread


class DescriptorRoom:
    """The room for descriptors. `is_tight`: whether `check` is needed before a start.

    `most_slots`: the highest number of a slot so far, so that no more jobs run at a time.
    """

    def __init__(self) -> None:
        self.most_slots = 0
        self.is_tight = False
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS
        self._first_pipe = self._limit
        self._needed = RUNNING_DESCRIPTORS

    def make_sure(self, slot: int, descriptor: int, running: int, *, with_stdin: bool = False) -> None:
        """Raise EMFILE if a job in this slot would leave too few descriptors. See `expect_slot` and `check`.

        `with_stdin`: the job has an open stdin. From the first such job on, each job counts as if it had one.
        """
        if with_stdin and self._needed == RUNNING_DESCRIPTORS:
            self._needed += STDIN_DESCRIPTORS
            self.expect_slot(max(slot, self.most_slots), descriptor)
        if slot > self.most_slots:
            self.expect_slot(slot, descriptor)
        if self.is_tight:
            self.check(descriptor, running)

    def expect_slot(self, slot: int, descriptor: int) -> None:
        """Note a slot that is higher than all before. `descriptor`: the number that its job's last pipe got."""
        self.most_slots = slot
        self.is_tight = descriptor + self._needed * slot >= self._limit

    def check(self, descriptor: int, running: int) -> None:
        """Raise EMFILE if too few descriptors would be left for pqrun and the running jobs.

        `descriptor`: the number that the job's last pipe got. `running`: the number of running jobs, with those
        that are about to start. Each of them may still open two log files.

        The number alone does not tell: the kernel gives out the lowest free one, which is a low one where a job
        has just ended, even if all above it are in use. So the jobs are counted, too.
        """
        self._first_pipe = min(self._first_pipe, descriptor)
        by_number = descriptor + (self._needed - RUNNING_DESCRIPTORS) + LOG_DESCRIPTORS * running
        by_count = self._first_pipe + self._needed * (running - 1)
        if max(by_number, by_count) >= self._limit:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


MAX_READ_BYTES = 1 << 20
GROWTH_BYTES = 2 << 20
"""The growth of a large stdout that is reported while its job runs, if no lines are."""
NO_LOGS, NO_ATTEMPT = Logs("", keep=False), AttemptId(0, 0)
NOTHING_PRINTED = Capture(NO_LOGS, NO_ATTEMPT)


class PipeReader:
    """The reader of the pipes of a job; without pipes, the job writes to pqrun's own streams.

    `capture`: the output so far, None while nothing had to be read. `lost` says why the output can't be stored any
    more, empty if it can; the rest is then discarded. `grew` is called, if output is shown while the job runs: with
    `by_line` for each stream that has a new complete line, else for a stdout that has grown by GROWTH_BYTES.
    """

    __slots__ = ("_by_line", "_grew", "_key", "_logs", "_next_growth", "_open", "_pipes", "capture", "lost")

    def __init__(
        self,
        pipes: Sequence[int],
        logs: Logs,
        key: AttemptId,
        grew: Callable[[Stream], None] | None = None,
        *,
        by_line: bool = False,
    ) -> None:
        self.capture: Capture | None = None
        self.lost = ""
        self._pipes = pipes
        self._logs = logs
        self._key = key
        self._grew = grew
        self._by_line = by_line
        self._next_growth = GROWTH_BYTES
        self._open: dict[int, Stream] = {}

    def __contains__(self, fd: int) -> bool:
        return fd in self._open

    def __bool__(self) -> bool:
        """Whether a process may still hold a write end."""
        return bool(self._open)

    def register(self, poll: select.poll) -> None:
        """Add the open pipes to `poll`."""
        if self.capture is None:
            self._begin()
        for fd in self._open:
            poll.register(fd, select.POLLIN)

    def read_some(self, fd: int) -> bool:
        """Store some output from one pipe. Returns False once that pipe is at its end."""
        if self._move(fd, MAX_READ_BYTES):
            return True
        del self._open[fd]
        return False

    def read_rest(self) -> None:
        """Store what the pipes hold now, without waiting for processes that hold them open."""
        if self.capture is None and self._pipes:
            if not (ready := self._ready_pipes()):
                self.capture = NOTHING_PRINTED
                return
            self._begin()
            for fd in ready:
                if self._move(fd, MAX_READ_BYTES) >= MAX_IN_MEMORY_BYTES:
                    self._drain(fd)
            return
        for fd in self._open:
            self._drain(fd)

    def close(self) -> None:
        """Close our pipe ends. A process that still writes gets SIGPIPE."""
        pipes, self._pipes = self._pipes, ()
        self._open.clear()
        for fd in pipes:
            os.close(fd)

    def _ready_pipes(self) -> list[int]:
        """Return the pipes that hold output. One read takes all that a pipe of the usual size holds."""
        poll = select.poll()
        for fd in self._pipes:
            poll.register(fd, select.POLLIN)
        ready = []
        for fd, what in poll.poll(0):
            if what & select.POLLIN:
                ready.append(fd)  # a comprehension would cost silent jobs a call
        return ready

    def _drain(self, fd: int) -> None:
        left = bytes_available(fd)
        while left > 0 and (moved := self._move(fd, min(left, MAX_READ_BYTES))):
            left -= moved

    def _begin(self) -> None:
        if self._pipes:
            self.capture = capture = Capture(self._logs, self._key)
            self._open = dict(zip(self._pipes, (capture.out, capture.err), strict=True))

    def _move(self, fd: int, limit: int) -> int:
        if self.lost:
            return len(os.read(fd, 65536))
        stream = self._open[fd]
        try:
            moved = stream.take(fd, limit=limit, by_line=self._by_line)
        except InternalFailure:
            raise
        except OSError as error:
            self.lost = cannot_write(stream, error)
            return len(os.read(fd, 65536)) if bytes_available(fd) else 1
        if self._grew is not None and (stream.last_line_end or stream.size >= self._next_growth):
            self._tell_growth(stream)
        return moved

    def _tell_growth(self, stream: Stream) -> None:
        assert self._grew is not None
        if not self._by_line:
            if stream.number != 1:
                return
            self._next_growth = stream.size + GROWTH_BYTES
        self._grew(stream)


def cannot_write(stream: Stream, error: OSError) -> str:
    """Return why the output of a job is lost."""
    return f"cannot write its output to {stream.path}: {error.strerror}"


NO_PIPES = PipeReader((), NO_LOGS, NO_ATTEMPT)
"""The reader of a job whose output is no longer read."""
