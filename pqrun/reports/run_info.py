# SPDX-License-Identifier: LGPL-3.0-or-later
"""What reports know of a run besides its events: when it began, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from pqrun.core import events as ev
from pqrun.core.metrics import Metrics


class RunInfo(NamedTuple):
    """Known when it begins. `began` is on the clock of its events, which `wall` turns into epoch seconds.

    `directory` has its record; in `cwd` its jobs start, and its hooks.
    """

    run_id: str
    files: tuple[str, ...]
    workers: int | None
    began: float
    wall: Callable[[float], float]
    directory: str | None = None
    cwd: str | None = None


class Ending(NamedTuple):
    """Known when it has ended. `run` and `metrics` as the final document has them; `live`: not over yet."""

    code: int
    metrics: Metrics
    run: dict[str, Any]
    live: bool = False


class RunReport(Protocol):
    """Hears everything, and is complete after `finish`."""

    def on_events(self, events: Sequence[ev.Event]) -> None: ...
    def finish(self, ending: Ending) -> None: ...


@runtime_checkable
class TickingReport(Protocol):
    """A report that also acts while nothing happens; the seconds until it wants to again."""

    def tick(self) -> float: ...
