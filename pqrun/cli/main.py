# SPDX-License-Identifier: LGPL-3.0-or-later
"""The program: reads its command line, runs, and says what became of it; `commands` has the commands."""

from __future__ import annotations

import os
import sys

from pqrun.errors import OwnFailure, UserError

BUG = 70


def main() -> None:
    """Runs, and raises SystemExit with the exit code."""
    sys.exit(run())


def entry() -> None:
    """The program: runs, and leaves at once with the exit code.

    Python's own tidying up takes 10 ms of a command's time, and there is nothing left to tidy.
    """
    code = run()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            code = code or 1  # closed, or nobody reads it any more
    os._exit(code)


def run() -> int:
    """The exit code: what the user did is told in a line, what we did with a traceback."""
    try:
        return _run()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UserError as error:
        _tell(f"{error}" if "\n" in str(error) else f"pqrun: {error}")
        return 2
    except OwnFailure as failure:
        _tell(f"pqrun: {failure}")
        return failure.code
    except (
        KeyboardInterrupt
    ):  # before there was a run that could deal with it, or in a command that only prints
        from signal import SIGINT

        from pqrun.signals import end_by

        end_by(SIGINT)
    except Exception:
        import traceback

        _tell(traceback.format_exc())
        _tell("pqrun: this is a bug in pqrun; please report the lines above to its issue tracker")
        return BUG


def _run() -> int:
    if sys.argv[1:2] in (["run"], ["each"]):
        from pqrun.cli.plain import run_if_plain

        if (code := run_if_plain(sys.argv[1], sys.argv[2:], os.environ)) is not None:
            return code
    from pqrun.cli.commands import app

    app()
    return 0


def _tell(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")
    except OSError:
        pass  # nobody is there to be told; the exit code tells


if __name__ == "__main__":
    entry()
