# SPDX-License-Identifier: LGPL-3.0-or-later
"""The facts about a run that reports get besides its events, and the protocols of reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from pqrun.core import events as ev
from pqrun.core.metrics import Metrics


class RunInfo(NamedTuple):
    """The facts that are known when a run begins.

    `began`: seconds on the clock of the events. `wall` turns such a time into seconds since the epoch.
    `directory`: the run directory, if any. `cwd`: the directory where jobs and hooks start.
    `command`: the command line of the run, empty if it is unknown.
    """

    run_id: str
    files: tuple[str, ...]
    workers: int | None
    began: float
    wall: Callable[[float], float]
    directory: str | None = None
    cwd: str | None = None
    command: str = ""


class Ending(NamedTuple):
    """The facts that are known when a run has ended, or so far if it is `live`.

    `code`: the exit code. `run` and `metrics` are those of the final document.
    """

    code: int
    metrics: Metrics
    run: dict[str, Any]
    live: bool = False


class RunReport(Protocol):
    """A report: it gets all events, and is complete after `finish`."""

    def on_events(self, events: Sequence[ev.Event]) -> None: ...
    def finish(self, ending: Ending) -> None: ...


@runtime_checkable
class TickingReport(Protocol):
    """A report that also acts without events. `tick` returns the seconds until its next call."""

    def tick(self) -> float: ...
