# SPDX-License-Identifier: LGPL-3.0-or-later
"""The program: reads its command line, runs, and says what became of it; `commands` has the commands."""

from __future__ import annotations

import os
import sys
from errno import EDQUOT, EFBIG, EIO, ENOSPC

from pqrun.core.errors import BUG, OWN_FAILURE, USAGE, UserError, refusal

NO_ROOM = {ENOSPC, EDQUOT, EFBIG, EIO}  # what we print has no file name; our own files have one


def main() -> None:
    """Runs, and raises SystemExit with the exit code."""
    sys.exit(run())


def entry() -> None:
    """The program: runs, and leaves at once with the exit code.

    Python's own tidying up takes 10 ms of a command's time, and there is nothing left to tidy.
    """
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
        code = code or 1  # nobody reads it any more
    except (OSError, ValueError) as error:
        code = code or _not_written(error)
    os._exit(code)


def run() -> int:
    """The exit code: what the user did is told in a line, what we did with a traceback."""
    try:
        _make_sure_of_streams()
        return _run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UserError as error:
        _tell(f"{error}" if "\n" in str(error) else f"pqrun: {error}")
        return USAGE
    except KeyboardInterrupt:  # before there was a run that deals with it
        from signal import SIGINT

        from pqrun.engine.signals import die_by_signal

        die_by_signal(SIGINT)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM and error.filename is None:
            return _not_written(error)
        if isinstance(error, FileNotFoundError) and error.filename is None and _is_nowhere():
            from pqrun.engine.signals import NO_DIRECTORY

            _tell(f"pqrun: {NO_DIRECTORY}")  # a relative path, which begins nowhere now
            return USAGE
        if (failure := refusal(error)) is not None:
            _tell(f"pqrun: {failure}")
            return failure.code
        if isinstance(error, MemoryError):
            _tell("pqrun: out of memory")
            return BUG
        import traceback

        _tell(traceback.format_exc())
        _tell("pqrun: this is a bug in pqrun; please report the lines above to its issue tracker")
        return BUG


def _run() -> int:
    if sys.argv[1:2] in (["run"], ["each"]):
        from pqrun.cli.fast_parser import run_if_plain

        if (code := run_if_plain(sys.argv[1], sys.argv[2:], os.environ)) is not None:
            return code
    from pqrun.cli.app import app

    app()
    return 0


def _make_sure_of_streams() -> None:
    """0, 1 and 2 lead nowhere if the caller has closed them, so that nothing else gets these numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _is_nowhere() -> bool:
    """Whether the current directory has been deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _not_written(error: Exception) -> int:
    """Says so; the exit code."""
    _tell(f"pqrun: cannot write to standard output: {getattr(error, 'strerror', None) or error}")
    return OWN_FAILURE


def _tell(text: str) -> None:
    """Says it on stderr; names and texts in it may have been written by anybody."""
    from pqrun.core.text import escape_controls

    text = "\n".join(escape_controls(line, keep="\t") for line in text.split("\n"))
    try:
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass  # nobody is there to be told; the exit code tells


if __name__ == "__main__":
    entry()
