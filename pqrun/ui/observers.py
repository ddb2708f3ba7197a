# SPDX-License-Identifier: LGPL-3.0-or-later
"""All parts that show one run to people, in the order in which they observe."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pqrun.core.job import AttemptId
from pqrun.core.job_table import JobTable, Observer
from pqrun.core.metrics import Metrics
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import Settings
from pqrun.core.text import strip_ansi
from pqrun.engine.clock import Clock
from pqrun.engine.engine import Request
from pqrun.output.ci_markers import CIFences, ci_service, harmless_json, neutralize_commands
from pqrun.output.printer import OutputPrinter, OutputStyle
from pqrun.output.store import Capture
from pqrun.output.writer import StreamWriter
from pqrun.ui.plain_log import PlainLog
from pqrun.ui.run_summary import RunSummary, format_summary
from pqrun.ui.terminal import Style, progress_kind, wants_colour

if TYPE_CHECKING:
    from pqrun.engine.reactor import Reactor
    from pqrun.executors.local.usage import JobUsage
    from pqrun.executors.local.watchdog import WatchdogSupervisor
    from pqrun.ui.live.keys import KeyReader
    from pqrun.ui.live.table import LiveTable


def outlets(
    settings: Settings, environment: Mapping[str, str] = os.environ
) -> tuple[StreamWriter, StreamWriter]:
    """Return the writers of stdout and stderr.

    For GitHub's runner, which mixes the two streams in any order, stdout is used for both.
    """
    out = StreamWriter(1, "standard output")
    together = not settings.json and ci_service(settings.ci, environment) == "github"
    return out, out if together else StreamWriter(2, "standard error")


class RunDisplay:
    """The display of a run: live table, keys, log, output printer and summary.

    Call `open_live` before `observers`, and `close` in any case.
    """

    def __init__(
        self,
        settings: Settings,
        table: JobTable,
        clock: Clock,
        out: StreamWriter,
        err: StreamWriter,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.out = out
        self.err = err
        self.table = table
        self.page = RunSummary(table)
        self.live: LiveTable | None = None
        self.keys: KeyReader | None = None
        self.printer: OutputPrinter | None = None
        self._warden: WatchdogSupervisor | None = None
        self._settings = settings
        self._environment = environment
        self._clock = clock
        terminal = err.is_terminal
        self._colour = wants_colour(settings.color, terminal=terminal, environment=environment)
        self._paint = Style(on=self._colour)
        self._kind = progress_kind(
            settings.progress,
            terminal=terminal,
            quiet=settings.quiet,
            json=settings.json,
            raw=settings.output == "raw",
            environment=environment,
        )
        self.plain = PlainLog(
            table,
            err,
            clock,
            self._paint,
            quiet=settings.quiet or self._kind == "none" or (self._kind == "live" and not settings.verbose),
            verbose=settings.verbose,
        )
        self._make_printer(ci_service(settings.ci, environment))

    def open_live(
        self,
        *,
        began: float,
        files: Sequence[str],
        run: str,
        metrics: Callable[[], Metrics],
        workers: Callable[[], int],
        holding: Callable[[], str],
        resize: Callable[[int], None],
        output_of: Callable[[AttemptId], Capture | None],
        report_path: Callable[[AttemptId], str],
        loads: Callable[[], Mapping[AttemptId, JobUsage]],
        unread: Callable[[], Sequence[int]],
        reactor: Reactor,
        watchdogs: WatchdogSupervisor | None,
    ) -> None:
        """Prepare the live table if it is wanted; its modules are only loaded then.

        `watchdogs` restore the terminal if pqrun is killed; without them the display starts its own.
        """
        if self._kind != "live":
            return
        from pqrun.executors.local.usage import is_possible
        from pqrun.executors.local.watchdog import guard_terminal
        from pqrun.ui.live.keys import KeyReader, Typed
        from pqrun.ui.live.screen import BottomLines, keeps_cursor
        from pqrun.ui.live.state import JobPreviews, LiveTableState
        from pqrun.ui.live.table import LiveTable

        if watchdogs is None:
            watchdogs = self._warden = guard_terminal()
        keep = watchdogs.keep_terminal
        typed = Typed(unread)
        screen = BottomLines(
            self.err,
            reactor.wake,
            cursor_kept=keeps_cursor(self._environment),
            keep_text=lambda text: keep(text=text),
        )
        self.keys = keys = KeyReader(
            self._acts(workers, resize),
            shared=self.out.is_pipe,
            typed=typed.maybe,
            keep_modes=lambda before, ours: keep(before=before, ours=ours),
        )
        self.live = live = LiveTable(
            screen,
            self._clock,
            began,
            LiveTableState(self.table),
            JobPreviews(output_of, report_path),
            title=_title(self._settings, files),
            run=strip_ansi(run),
            metrics=metrics,
            workers=workers,
            holding=holding,
            keys_on=lambda: keys.on,
            colour=self._colour,
            loads=loads if is_possible() else None,
            typed=typed.here,
        )
        for writer in (self.out, self.err):
            if writer.is_terminal:
                writer.before_write = screen.step_aside
        if self.printer is not None:
            self.printer.hidden = lambda: live.output_hidden
        reactor.add(keys)
        reactor.on_signal(signal.SIGCONT, self._continued)

    def observers(self) -> list[Observer]:
        """Return the observers in their order: readers of output before the printer, which may remove it."""
        parts = (self.live, self.page, self.plain, self.printer)
        return [part for part in parts if part is not None]

    def suspend(self) -> None:
        """Restore the terminal, because pqrun is about to be stopped (Ctrl-Z)."""
        if self.live is not None and self.keys is not None:
            self.live.suspend()
            self.keys.suspend()

    def resume(self) -> None:
        """Use the terminal again, because pqrun continues."""
        if self.live is not None and self.keys is not None:
            self.keys.resume()
            self.live.resume()

    def _continued(self, _number: int) -> Iterable[Request]:
        """Handle SIGCONT: pqrun may have been stopped by SIGSTOP, without a call of `suspend`."""
        self.resume()
        return ()

    def close(self) -> None:
        """Restore the terminal. This is safe to call in any state."""
        if self.live is not None and self.keys is not None:
            self.live.close()
            self.keys.close()
        if self._warden is not None:
            self._warden.close()

    def say_last_page(self, metrics: Metrics, seconds: float, *, run: str = "") -> None:
        """Print the summary. `run` is the run's name on a command line, if it is recorded."""
        if self._settings.quiet and not self.table.failed:
            return
        self.err.say(format_summary(self.page, metrics, seconds, self._paint, run=run))

    def failures(self) -> list[str]:
        """Return the messages of all parts that could not be written."""
        return [part.failure for part in dict.fromkeys((self.out, self.err)) if part.failure]

    def _make_printer(self, service: str) -> None:
        settings, clock = self._settings, self._clock
        if service == "github":
            self.out.neutralize = harmless_json if settings.json else neutralize_commands
            self.err.neutralize = neutralize_commands
        fences = CIFences(service, lambda: os.urandom(12).hex(), lambda: clock.wall(clock.now()))
        if settings.output in ("group", "line"):
            style = OutputStyle(settings.output, settings.keep_order, settings.tag, settings.show)
            out = self.err if settings.json else self.out
            self.printer = OutputPrinter(style, out, self.err, fences)

    def _acts(
        self, workers: Callable[[], int], resize: Callable[[int], None]
    ) -> dict[str, Callable[[], Iterable[Request]]]:
        """Return the function of each key.

        A returned request is carried out in a turn; other keys only change the table.
        """

        def drain(scheduler: Scheduler, now: float) -> None:
            if scheduler.stopping is None:
                scheduler.stop("stop", now, drain=True)

        def pause(scheduler: Scheduler, now: float) -> None:
            scheduler.pause(paused=not scheduler.paused, now=now, by="key")

        def change(more: int) -> Iterable[Request]:
            return [lambda _scheduler, _now: resize(max(1, workers() + more))]

        def switch(name: str) -> Callable[[], Iterable[Request]]:
            def act() -> Iterable[Request]:
                setattr(self.live, name, not getattr(self.live, name))
                return ()

            return act

        return {
            "q": lambda: [drain],
            "p": lambda: [pause],
            "+": lambda: change(1),
            "=": lambda: change(1),
            "-": lambda: change(-1),
            "o": switch("output_hidden"),
            "?": switch("help"),
        }


def _title(settings: Settings, files: Sequence[str]) -> str:
    if settings.each is not None and settings.each.words:
        return strip_ansi(" ".join(settings.each.words))
    if list(files) in ([], ["-"]):
        return "stdin"
    return strip_ansi(os.path.basename(files[0])) if len(files) == 1 else f"{len(files)} files"
