# SPDX-License-Identifier: LGPL-3.0-or-later
"""stdout and stderr of commands that print facts about runs: coloured for a terminal, else plain."""

from __future__ import annotations

import os

from pqrun.core.errors import InternalFailure
from pqrun.core.text import last_line
from pqrun.output.writer import StreamWriter
from pqrun.ui.terminal import Style, wants_colour

TAIL_BYTES = 8192


class Console:
    """stdout for the answer, stderr for notes. `width`: the terminal's columns, else None."""

    def __init__(self) -> None:
        self.out = StreamWriter(1, "standard output")
        self.err = StreamWriter(2, "standard error")
        self.is_terminal = self.out.is_terminal
        self.paint = Style(on=wants_colour("auto", terminal=self.is_terminal, environment=os.environ))
        self.width = _columns() if self.is_terminal else None

    def say(self, text: str) -> None:
        """Print one or more lines to stdout."""
        self.out.say(text)

    def note(self, text: str) -> None:
        """Print a message to stderr that is not a part of the answer."""
        self.err.say(f"pqrun: {text}")

    def end(self) -> None:
        """Raise `InternalFailure` if a write failed. A reader that closed its pipe is no failure."""
        if self.out.failure:
            raise InternalFailure(self.out.failure)


def last_line_of(*paths: str | None) -> str:
    """Return the last line that is not blank from the first of these files that has such a line."""
    for path in paths:
        if path is None:
            continue
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
                if line := last_line(file.read(TAIL_BYTES)):
                    return line
        except OSError:
            continue  # the file was removed, for example by `prune`
    return ""


def _columns() -> int:
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80
