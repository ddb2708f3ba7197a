# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where commands that look back write: colours for a terminal, plain text for everything else."""

from __future__ import annotations

import os

from pqrun.display.choose import wants_colour
from pqrun.display.outlet import Outlet
from pqrun.display.paint import Paint
from pqrun.errors import OwnFailure


class Page:
    """stdout, and stderr for remarks. `width` is None where nobody's window limits a line."""

    def __init__(self) -> None:
        self.out = Outlet(1, "standard output")
        self.err = Outlet(2, "standard error")
        self.is_terminal = self.out.is_terminal
        self.paint = Paint(on=wants_colour("auto", terminal=self.is_terminal, environment=os.environ))
        self.width = _columns() if self.is_terminal else None

    def say(self, text: str) -> None:
        """A line, or several."""
        self.out.say(text)

    def remark(self, text: str) -> None:
        """What isn't part of the answer."""
        self.err.say(f"pqrun: {text}")

    def end(self) -> None:
        """`OwnFailure` if not all could be written; a reader that went away has had enough."""
        if self.out.failure:
            raise OwnFailure(self.out.failure)


def _columns() -> int:
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80
