# SPDX-License-Identifier: LGPL-3.0-or-later
"""The live table: an observer that draws its state up to four times a second."""

from __future__ import annotations

import io
from collections.abc import Callable

from rich.console import Console

from pqrun.core.events import Observer
from pqrun.core.job_row import WAITING
from pqrun.core.metrics import Metrics
from pqrun.engine.live_run import LiveRun
from pqrun.ui.live.cells import AnsiPainter
from pqrun.ui.live.keys import KeyReader
from pqrun.ui.live.layout import frame, max_failures, max_running, max_waiting
from pqrun.ui.live.screen import BottomLines
from pqrun.ui.live.state import NO_LOADS, JobPreviews, LiveTableState, TableView

REFRESH_INTERVAL_SECONDS = 0.25
FIRST_DRAW_DELAY_SECONDS = 0.3
COST_SHARE = 50


class LiveTable(Observer):
    """An observer that draws the live table of a run that `began` then, on the dispatcher thread.

    `live` is asked for each frame. `measured`: whether the usage of jobs can be measured. `listed` returns
    how many jobs the run's input has, None while that is not known. Nothing is drawn while jobs are `typed`
    on this terminal.
    """

    wants_past = True

    def __init__(
        self,
        screen: BottomLines,
        live: LiveRun,
        live_state: LiveTableState,
        *,
        began: float,
        title: str,
        run: str,
        keys: KeyReader,
        colour: bool,
        measured: bool,
        listed: Callable[[], int | None] = lambda: None,
        typed: Callable[[], bool] = lambda: False,
    ) -> None:
        self.help = False
        self.output_hidden = False
        self._screen = screen
        self._clock = live.clock
        self._live = live
        self._began = began
        self._state = live_state
        self.handlers = live_state.handlers
        self._previews = JobPreviews(live)
        self._title = title
        self._run = run
        self._keys = keys
        self._measured = measured
        self._listed = listed
        self._typed = typed
        console = Console(file=io.StringIO(), force_terminal=True, no_color=not colour, legacy_windows=False)
        self._painter = AnsiPainter(console)
        self._lines: list[str] = []
        self._next = live.clock.now() + FIRST_DRAW_DELAY_SECONDS

    def tick(self) -> float:
        """Draw if a frame is due or the lines were erased; return the seconds until the next frame."""
        now = self._clock.now()
        if self._typed():
            return REFRESH_INTERVAL_SECONDS
        if now >= self._next:
            self._draw()
            cost = self._clock.now() - now
            self._next = now + max(REFRESH_INTERVAL_SECONDS, COST_SHARE * cost)
        elif self._lines and not self._screen.drawn:
            self._screen.draw(self._lines)
        return max(0.0, self._next - self._clock.now())

    @property
    def paused(self) -> bool:
        """Whether the run is paused."""
        return self._state.table.paused

    def toggle(self, *, help: bool, output: bool) -> None:
        """Show or hide the help, or the output of jobs on the terminal. Called on the main thread."""
        self.help ^= help
        self.output_hidden ^= output

    def suspend(self) -> None:
        """Erase the table until `resume`. Called on the main thread."""
        self._screen.suspend()

    def resume(self) -> None:
        """Draw the table again. Called on the main thread."""
        self._screen.resume()

    def close(self) -> None:
        """Erase the table for good."""
        self._screen.close()

    def _draw(self) -> None:
        """Draw a frame; after a failure erase the table, so that no half-drawn table is left behind."""
        try:
            columns, rows = self._screen.size()
            self._lines = frame(self.facts(rows), columns, rows).painted(self._painter)
            self._screen.draw(self._lines)
        except BaseException:
            self._screen.close()
            raise

    def facts(self, rows: int) -> TableView:
        """Return everything that a window of `rows` rows can show."""
        now = self._clock.now()
        live_state, table = self._state, self._state.table
        most = max_running(rows)
        previews = self._previews.at(live_state.running_keys(most))
        loads = self._live.usage() if self._measured else NO_LOADS
        running = live_state.running(now, most, previews, loads)
        waiting = live_state.waiting(now, max_waiting(rows))
        metrics, workers, holding = self._live.metrics(), self._live.workers(), self._live.hold_reason()
        queued = metrics.current_queue_size
        active, waits = len(table.running), table.states[WAITING]
        total, complete = self._total()
        steady = not table.stopping and not table.paused
        return TableView(
            title=self._title,
            run=self._run,
            elapsed=now - self._began,
            total=total,
            complete=complete,
            outcomes=table.outcomes,
            metrics=metrics,
            workers=workers,
            running=running,
            more_running=active - len(running),
            reserve=min(most, workers, active + queued + bool(holding)) if steady else 0,
            measured=self._measured,
            waiting=waiting,
            more_waiting=max(0, waits - len(waiting)),
            pending=max(0, total - table.ended_count - active - queued - waits),
            failures=live_state.failures(now, max_failures(rows)),
            has_progress=live_state.has_progress,
            rate=table.rate.per_second(now),
            eta=self._seconds_left(now, metrics, total) if complete else None,
            state=live_state.state,
            hold_reason=holding,
            keys=self._keys.on,
            prompt=self._keys.prompt,
            help=self.help,
            output_hidden=self.output_hidden,
        )

    def _seconds_left(self, now: float, metrics: Metrics, total: int) -> float | None:
        table = self._state.table
        return table.seconds_left(now, average=metrics.average_processing, unread=total - table.added)

    def _total(self) -> tuple[int, bool]:
        """Return the number of the run's jobs, and whether these are all; if not, some are not read yet."""
        table, read = self._state.table, self._state.listed
        if table.input_ended:
            return table.added, True
        listed = self._listed()
        if listed is None or listed < read:  # a file that has grown since it was counted: by how much?
            return table.added, False
        return table.added + listed - read, True
