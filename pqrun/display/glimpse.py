# SPDX-License-Identifier: LGPL-3.0-or-later
"""What running jobs show of themselves when somebody looks: status, progress, last line of output.

Nothing is reported while nobody looks, so that this costs jobs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pqrun.capture import Capture
from pqrun.display.safe import last_line, plain
from pqrun.executors.report import read_report
from pqrun.model import Key

LOOK_BACK = 4096


class Glimpse(NamedTuple):
    """`progress` from 0 to 1."""

    status: str = ""
    progress: float | None = None
    line: str = ""


NOTHING = Glimpse()


class _Look:
    __slots__ = ("glimpse", "report", "sizes")

    def __init__(self) -> None:
        self.sizes = (0, 0)
        self.report: tuple[int, int] = (0, 0)
        self.glimpse = NOTHING


class Glimpses:
    """Looks at what has changed since the last time, and only at jobs that are to be shown."""

    def __init__(self, output_of: Callable[[Key], Capture | None], report_path: Callable[[Key], str]) -> None:
        self._output_of = output_of
        self._report_path = report_path
        self._looks: dict[Key, _Look] = {}

    def at(self, keys: Iterable[Key]) -> dict[Key, Glimpse]:
        """By key, of those that show anything; others are forgotten."""
        self._looks = {key: self._looks.get(key) or _Look() for key in keys}
        for key, look in self._looks.items():
            self._renew(key, look)
        return {key: look.glimpse for key, look in self._looks.items() if look.glimpse is not NOTHING}

    def _renew(self, key: Key, look: _Look) -> None:
        try:
            if (output := self._output_of(key)) is not None:
                self._read_output(output, look)
            found = os.stat(self._report_path(key))
        except OSError:
            return  # the job has just ended, or has nothing to report
        if look.report != (found.st_mtime_ns, found.st_size):
            look.report = (found.st_mtime_ns, found.st_size)
            said = read_report(self._report_path(key))
            look.glimpse = look.glimpse._replace(status=plain(said.status or ""), progress=said.progress)

    @staticmethod
    def _read_output(output: Capture, look: _Look) -> None:
        sizes = (output.out.size, output.err.size)
        if sizes == look.sizes:
            return
        newest = output.err if sizes[1] > look.sizes[1] else output.out
        look.sizes = sizes
        if line := last_line(newest.tail(LOOK_BACK)):
            look.glimpse = look.glimpse._replace(line=line)
