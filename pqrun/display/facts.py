# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the live table shows at one moment, as frozen data. Texts in it are safe for a screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pqrun.metrics import Metrics
from pqrun.model import Outcome, Priority


class RunningJob(NamedTuple):
    """One running attempt; `seconds` it has run, of `limit`; `ending`: why we asked it to end.

    `cpus` that it keeps busy and bytes of memory, if that was looked at.
    """

    seq: int
    name: str
    priority: Priority
    attempt: int
    of: int
    seconds: float
    limit: float | None = None
    ending: str = ""
    status: str = ""
    progress: float | None = None
    line: str = ""
    cpus: float | None = None
    memory: int | None = None


class FailedAttempt(NamedTuple):
    """One failed attempt; `final`: no other follows."""

    seq: int
    name: str
    how: str
    timeout: bool
    attempt: int
    of: int
    ago: float
    line: str
    final: bool


class Facts(NamedTuple):
    """The run. `total` jobs are known so far, and no more will come if `complete`.

    `rate` in jobs a second, `eta` in seconds, None while neither means anything. `state` is `paused`,
    `draining`, `stopping`, `killing` or nothing special.
    `holding` says why nothing starts though slots are free. `reserve` rows keep the table's height steady.
    `measured`: somebody looks at what jobs take of the machine.
    """

    title: str
    run: str
    elapsed: float
    total: int
    complete: bool
    outcomes: Mapping[Outcome, int]
    metrics: Metrics
    workers: int
    running: tuple[RunningJob, ...] = ()
    more_running: int = 0
    reserve: int = 0
    measured: bool = False
    waiting: int = 0
    pending: int = 0
    failures: tuple[FailedAttempt, ...] = ()
    limits: bool = False
    rate: float | None = None
    eta: float | None = None
    state: str = ""
    holding: str = ""
    keys: bool = False
    help: bool = False
    output_hidden: bool = False

    @property
    def ended(self) -> int:
        """Jobs that have ended, in whatever way."""
        return sum(self.outcomes.values())

    @property
    def active(self) -> int:
        """Attempts that have a slot."""
        return len(self.running) + self.more_running
