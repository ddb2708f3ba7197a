# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The start of a process in a new session, as cheap as this Python allows.

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
import re
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

DEFAULT_SHELL = ("/bin/sh", "-c")
HAS_FORK_EXEC = sys.platform == "linux" and (3, 11) <= sys.version_info[:2] <= (3, 13)
_FAILED = re.compile(rb"OSError:([0-9a-f]{1,4}):(noexec(?::chdir)?)?")  # CPython 3.13 added `:chdir`
MAX_EXEC_FAILURE_BYTES = 32

_fork_exec: Callable[..., int]
if HAS_FORK_EXEC:
    from _posixsubprocess import fork_exec as _fork_exec


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
