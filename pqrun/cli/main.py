# SPDX-License-Identifier: LGPL-3.0-or-later
"""The program: runs a command, and turns its failure into a message and an exit code.

A reader of stdout that goes away (`| head -1`) is no failure: the exit code stays.
"""

from __future__ import annotations

import gc
import os
import sys
from errno import EDQUOT, EFBIG, EIO, ENOSPC
from typing import TYPE_CHECKING

from pqrun.core.errors import BUG, OK, OWN_FAILURE, USAGE, UserError, refusal

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# On stdout, these errors mean that its disk is full or broken. They have no file name there; errors of
# our own files have one.
NO_ROOM = {ENOSPC, EDQUOT, EFBIG, EIO}


def main() -> None:
    """Run the command line, and raise SystemExit with the exit code."""
    sys.exit(run())


_spare_descriptor: int | None = None
COLLECT_EVERY = 30_000
"""New objects, net, between two looks of the garbage collector. A short run makes 20,000, nearly all for good; with
Python's own value, 700, the collector would look through the loaded modules 30 times. A run changes it for its jobs.
"""


def entry() -> None:
    """Run the command line, and end the process with the exit code, without the cleanup of Python itself.

    That cleanup takes 10 ms, and everything has been closed before.
    """
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    if sys.getfilesystemencoding() != "utf-8":
        from pqrun.cli.utf8_mode import restart_in_utf8

        restart_in_utf8()
    elif b"LC_CTYPE" in os.environb:
        from pqrun.cli.utf8_mode import undo_coercion

        undo_coercion()
    code = run()
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # the reader has closed the pipe
    except (OSError, ValueError) as error:
        code = code or _not_written(error)
    os._exit(code)


def run() -> int:
    """Run the command line and return the exit code.

    A failure that the user caused is shown as one line, a bug of pqrun with a traceback.
    """
    try:
        _make_sure_of_streams()
        _make_sure_of_own_files()
        return _run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UserError as error:
        _tell_error(error)
        return USAGE
    except KeyboardInterrupt:  # Ctrl-C before the run's own signal handlers were there
        from signal import SIGINT

        from pqrun.engine.signals import die_by_signal

        die_by_signal(SIGINT)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM and error.filename is None:
            return _not_written(error)
        if isinstance(error, FileNotFoundError) and error.filename is None and _is_nowhere():
            from pqrun.engine.signals import NO_DIRECTORY

            _tell_error(NO_DIRECTORY)  # a relative path has no meaning without a current directory
            return USAGE
        if (failure := refusal(error)) is not None:
            _tell_error(str(failure))
            return failure.code
        if isinstance(error, MemoryError):
            _tell_error("out of memory")
            return BUG
        import traceback

        _tell(traceback.format_exc())
        _tell("pqrun: this is a bug in pqrun: please report the lines above to the issue tracker")
        return BUG


def _run() -> int:
    words = sys.argv[1:]
    if words in (["--version"], ["-V"]):
        from pqrun import __version__

        print_text(f"pqrun {__version__}\n")
        return OK
    if words[1:2] == ["-h"] or words[:1] == ["-h"] or not (words or "_PQRUN_COMPLETE" in os.environ):
        from pqrun.cli.short_help import print_if_asked

        if (code := print_if_asked(words)) is not None:
            return code
    if words:
        from pqrun.cli.fast_parser import run_if_plain

        if (code := run_if_plain(words[0], words[1:], os.environ)) is not None:
            return code
        from pqrun.cli.foreign_verbs import refuse_foreign

        refuse_foreign(words)
    from pqrun.cli.app import run_with_typer

    return run_with_typer()


def print_text(text: str) -> bool:
    """Print to stdout; return whether its reader is still there."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        return False
    return True


def ignore_a_reader_that_goes_away() -> None:
    """Replace `sys.stdout` for libraries that end the process with 1 when the reader has closed the pipe."""
    import io

    class Pipe(io.FileIO):
        """A file that takes what is written when nobody reads it any more."""

        owner = sys.stdout  # without this reference, it might be collected, and would close the descriptor

        def write(self, data: ReadableBuffer) -> int:
            try:
                return super().write(data)
            except BrokenPipeError:
                return memoryview(data).nbytes

    shown = sys.stdout
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(Pipe(shown.fileno(), "w", closefd=False)),
        shown.encoding,
        shown.errors,
        line_buffering=bool(shown.line_buffering),
    )


def _make_sure_of_own_files() -> None:
    """Drop the bits of the umask that would keep pqrun from the files that it creates."""
    umask = os.umask(0o077)
    os.umask(umask & 0o077)


def _make_sure_of_streams() -> None:
    """Open /dev/null in place of each standard stream that the caller closed.

    Without this, the next file that is opened, such as the journal, would get the number 0, 1 or 2,
    and output would be written into it.
    """
    global _spare_descriptor
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    _spare_descriptor = fd
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _is_nowhere() -> bool:
    """Return whether the current directory has been deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _not_written(error: Exception) -> int:
    """Print a message about a failed write to stdout; return the exit code."""
    _tell_error(f"cannot write to standard output: {getattr(error, 'strerror', None) or error}")
    return OWN_FAILURE


def _make_room_for_a_module() -> None:
    """Close the spare descriptor: where all others are used, modules for an error's text can still be read."""
    global _spare_descriptor
    if _spare_descriptor is not None:
        os.close(_spare_descriptor)
        _spare_descriptor = None


def _tell(text: str) -> None:
    """Write lines to stderr, with control characters escaped."""
    _make_room_for_a_module()
    from pqrun.cli.messages import write_lines

    write_lines(text.split("\n"), escape=True)


def _tell_error(error: UserError | str) -> None:
    """Write an error message to stderr."""
    _make_room_for_a_module()
    from pqrun.cli.messages import print_error

    print_error(error)


if __name__ == "__main__":
    entry()
