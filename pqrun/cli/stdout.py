# SPDX-License-Identifier: LGPL-3.0-or-later
"""Printing to stdout. A reader that goes away (`| head -1`) is no failure: the exit code stays."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


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
