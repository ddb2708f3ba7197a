# SPDX-License-Identifier: LGPL-3.0-or-later
"""`serve --detach`: a background process with its own session and log, and no descriptor of the caller."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

from pqrun.core.errors import BUG, OWN_FAILURE, USAGE, InternalFailure, UserError, refusal
from pqrun.core.text import escape_controls
from pqrun.journal.run_directory import LOG_NAME, RunDirectory
from pqrun.output.writer import StreamWriter

_READY = "ready"
_END = b"\0"

Ready = Callable[[], None]


def detached(directory: RunDirectory, serve: Callable[[Ready], int]) -> int:
    """Run `serve` in the background; return 0 when the queue is ready.

    `serve` gets a function to call when it is ready. Raises the background process's failure:
    `UserError`, or `InternalFailure` with the exit code.
    """
    reading, writing = os.pipe()
    first = os.fork()
    if first == 0:
        _daemonize(directory, serve, writing)
    os.close(writing)
    os.waitpid(first, 0)
    word, _, rest = _message(reading).partition(" ")
    if word == _READY:
        out = StreamWriter(1, "standard output")
        out.note(serving(directory.path, rest))
        if out.failure:
            raise InternalFailure(out.failure)
        return 0
    if word == str(USAGE):
        raise UserError(rest)
    raise InternalFailure(
        rest or f"the queue could not be started: see {directory.path}/{LOG_NAME}", int(word or OWN_FAILURE)
    )


def serving(path: str, pid: int | str) -> str:
    """Return the message that the queue in that directory accepts jobs."""
    return f"serving {escape_controls(path)} (pid {pid}): `pqrun add` adds jobs, `pqrun stop` ends it"


def _daemonize(directory: RunDirectory, serve: Callable[[Ready], int], pipe: int) -> None:
    """Fork again: the child exits at once, and the grandchild runs `serve`. Neither returns.

    The grandchild is not a session leader, so it can never get a controlling terminal. `pipe` is the one to
    the caller, for one message.
    """
    code = OWN_FAILURE
    has_told = False

    def tell(text: str) -> None:
        nonlocal has_told
        if not has_told:
            has_told = True
            os.write(pipe, text.encode("utf-8", "surrogateescape") + _END)
            os.close(pipe)

    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        _close_all_but(pipe)
        _take_log(directory)
        code = serve(lambda: tell(f"{_READY} {os.getpid()}"))
    except BaseException as error:
        failure = error if isinstance(error, UserError) else refusal(error)
        if failure is not None:
            code = failure.code if isinstance(failure, InternalFailure) else USAGE
            _log(f"pqrun: {failure}")
            tell(f"{code} {failure}")
        else:
            code = BUG
            _log(traceback.format_exc() + "pqrun: this is a bug in pqrun: please report the lines above")
            tell(f"{code} this is a bug in pqrun: {directory.path}/{LOG_NAME} has the details")
    finally:
        os._exit(code)


def _message(pipe: int) -> str:
    """Return the message from a pipe, up to its end mark or the end of the writer."""
    received = b""
    while not received.endswith(_END) and (data := os.read(pipe, 4096)):
        received += data
    os.close(pipe)
    return received.removesuffix(_END).decode("utf-8", "replace")


def _close_all_but(pipe: int) -> None:
    """Close the caller's descriptors: a reader of one of its pipes would wait as long as the queue lives."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        numbers = list(range(1024))
    for number in numbers:
        if number > 2 and number != pipe:
            try:
                os.close(number)
            except OSError:
                pass  # the descriptor of the directory listing, which is closed already


def _take_log(directory: RunDirectory) -> None:
    directory.create()
    null = os.open(os.devnull, os.O_RDWR)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    log = os.open(f"{directory.path}/{LOG_NAME}", flags, 0o600)
    for fd, taken in ((0, null), (1, log), (2, log)):
        os.dup2(taken, fd)
    for fd in (null, log):
        if fd > 2:
            os.close(fd)


def _log(text: str) -> None:
    try:
        os.write(2, escape_controls(text, keep="\t\n").encode() + b"\n")
    except OSError:
        pass  # the log cannot be written, and there is no other place for a message
