# SPDX-License-Identifier: LGPL-3.0-or-later
"""All parts that show one run to people, in the order in which they observe."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from pqrun.core.events import Observer
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import Metrics
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import InputSettings, OutputSettings
from pqrun.core.text import strip_ansi
from pqrun.engine.clock import Clock
from pqrun.engine.reactor import Request
from pqrun.output.ci_markers import CIFences, ci_service, harmless_json, neutralize_commands
from pqrun.output.printer import OutputPrinter, OutputStyle
from pqrun.output.writer import StreamWriter
from pqrun.ui.plain_log import PlainLog
from pqrun.ui.run_summary import RunSummary
from pqrun.ui.summary_page import SummaryPage
from pqrun.ui.terminal import Style, progress_kind, wants_colour

if TYPE_CHECKING:
    from pqrun.core.past import FlakyRate
    from pqrun.engine.executor import TerminalGuard
    from pqrun.engine.live_run import LiveRun
    from pqrun.engine.reactor import Reactor
    from pqrun.executors.local.watchdog import WatchdogSupervisor
    from pqrun.input import JobInput
    from pqrun.input.job_count import JobCount
    from pqrun.ui.headings import OutputHeadings
    from pqrun.ui.live.keys import Key, KeyReader, Typed
    from pqrun.ui.live.screen import BottomLines
    from pqrun.ui.live.table import LiveTable


def outlets(
    settings: OutputSettings, environment: Mapping[str, str] = os.environ
) -> tuple[StreamWriter, StreamWriter]:
    """Return the writers of stdout and stderr.

    For GitHub's runner, which mixes the two streams in any order, stdout is used for both.
    """
    out = StreamWriter(1, "standard output")
    together = not settings.json and ci_service(settings.ci, environment) == "github"
    return out, out if together else StreamWriter(2, "standard error")


class TableHead:
    """The head of the live table: the title, the run's name on a command line, and when the run began."""

    def __init__(self, title: str, address: str, began: float) -> None:
        self.title = title
        self.address = address
        self.began = began


class RunDisplay:
    """The display of a run: live table, keys, log, output printer and summary.

    Call `open_live` before `observers`, and `close` in any case.
    """

    def __init__(
        self,
        settings: OutputSettings,
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
        self.headings: OutputHeadings | None = None
        self._watchdog: WatchdogSupervisor | None = None
        self._count: JobCount | None = None
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
        self.plain = self._plain_log()
        if terminal and not settings.quiet:
            from pqrun.ui.headings import OutputHeadings

            retries = self._kind == "live" and not settings.verbose
            self.headings = OutputHeadings(err, self._paint, retries=retries)
        self._make_printer(ci_service(settings.ci, environment))

    def open_live(
        self,
        run: LiveRun,
        head: TableHead,
        source: JobInput,
        reactor: Reactor,
        watchdogs: TerminalGuard | None,
    ) -> None:
        """Prepare the live table if it is wanted; its modules are only loaded then.

        Only a live table counts the jobs of `source`. `watchdogs` restore the terminal if pqrun is killed;
        without them the display starts its own.
        """
        if self._kind != "live":
            return
        from pqrun.executors.local.usage import is_possible
        from pqrun.ui.live.state import LiveTableState
        from pqrun.ui.live.table import LiveTable

        screen, keys, typed = self._open_terminal(run, reactor, watchdogs, source.unread)
        self._count = count = source.job_count()
        self.live = LiveTable(
            screen,
            run,
            LiveTableState(self.table),
            began=head.began,
            title=head.title,
            run=strip_ansi(head.address),
            keys=keys,
            colour=self._colour,
            measured=is_possible(),
            listed=count.number if count is not None else lambda: None,
            typed=typed.here,
        )
        self._share_terminal(screen)

    def _open_terminal(
        self,
        run: LiveRun,
        reactor: Reactor,
        watchdogs: TerminalGuard | None,
        unread: Callable[[], Sequence[int]],
    ) -> tuple[BottomLines, KeyReader, Typed]:
        """Open the lines and the keys of the table; return both, and the detection of jobs that are typed here."""
        from pqrun.ui.live.keys import KeyReader, Typed
        from pqrun.ui.live.screen import BottomLines, keeps_cursor

        guard = watchdogs or self._guard_terminal()
        typed = Typed(unread)
        screen = BottomLines(self.err, reactor.wake, guard, cursor_kept=keeps_cursor(self._environment))
        self.keys = KeyReader(
            self._keys(run), guard, self._clock.now, reactor.look_again,
            shared=self.out.is_pipe, typed=typed.maybe,
        )  # fmt: skip
        reactor.add(self.keys)
        reactor.on_signal(signal.SIGCONT, self._continued)
        return screen, self.keys, typed

    def _share_terminal(self, screen: BottomLines) -> None:
        """Have the table erased before other parts write to the terminal, and hide output on request."""
        for writer in (self.out, self.err):
            if writer.is_terminal:
                writer.before_write = screen.step_aside
        if (live := self.live) is not None and self.printer is not None:
            self.printer.hidden = lambda: live.output_hidden

    def _guard_terminal(self) -> TerminalGuard:
        from pqrun.executors.local.watchdog import guard_terminal

        self._watchdog = guard_terminal()
        return self._watchdog

    def observers(self) -> list[Observer]:
        """Return the observers in their order: readers of output before the printer, which may remove it."""
        parts = (self.live, self.page, self.plain, self.headings, self.printer)
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
        if self._watchdog is not None:
            self._watchdog.close()
        if self._count is not None:
            self._count.close()

    def say_last_page(
        self,
        metrics: Metrics,
        seconds: float,
        *,
        run: str = "",
        queue: bool = False,
        rates: Mapping[int, FlakyRate] = MappingProxyType({}),
    ) -> None:
        """Print the summary. `run` is the run's name on a command line, if it is recorded; `queue`: it is a queue.

        `rates`: in how many of its last runs a job failed, by number.
        With `--quiet` only if something is to be done: jobs failed, or were left undone.
        """
        if self._settings.quiet and not (self.table.failed or self.table.left_undone):
            return
        shown = self.printer.last_shown if self.printer is not None else 0
        page = SummaryPage(
            self.page, metrics, seconds, self._paint,
            run=run, window=self.err.window, verbose=self._settings.verbose, queue=queue, shown=shown, rates=rates,
        )  # fmt: skip
        self.err.say(page.text())

    def failures(self) -> list[str]:
        """Return the messages of all parts that could not be written."""
        return [part.failure for part in dict.fromkeys((self.out, self.err)) if part.failure]

    def _plain_log(self) -> PlainLog:
        settings, kind = self._settings, self._kind
        beside_output = self.err.is_terminal and self.out.is_terminal and settings.output in ("group", "line")
        return PlainLog(
            self.table,
            self.err,
            self._clock,
            self._paint,
            quiet=settings.quiet or kind == "none" or (kind == "live" and not settings.verbose),
            verbose=settings.verbose,
            quotes_failures=not beside_output,
        )

    def _make_printer(self, service: str) -> None:
        settings, clock = self._settings, self._clock
        if service == "github":
            self.out.neutralize = harmless_json if settings.json else neutralize_commands
            self.err.neutralize = neutralize_commands
        fences = CIFences(service, lambda: os.urandom(12).hex(), lambda: clock.wall(clock.now()))
        if settings.output in ("group", "line"):
            style = OutputStyle(settings.output, settings.keep_order, settings.tag, settings.show)
            out = self.err if settings.json else self.out
            heading = self.headings.group if self.headings is not None else None
            self.printer = OutputPrinter(style, out, self.err, fences, heading)
            self.printer.is_alone = lambda: self.table.input_ended and self.table.unfinished == 1

    def _keys(self, run: LiveRun) -> dict[str, Key]:
        """Return the keys of the table.

        A returned request is carried out in a turn; other keys only change the table.
        """
        from pqrun.ui.live.keys import NO, Key, question_of_drain

        def drain(scheduler: Scheduler, now: float) -> None:
            if scheduler.stopping is None:
                scheduler.stop("key q", now, drain=True)

        def pause(scheduler: Scheduler, now: float) -> None:
            scheduler.pause(paused=not scheduler.paused, now=now, by="key")

        def change(more: int) -> Iterable[Request]:
            return [lambda _scheduler, _now: run.resize(max(1, run.workers() + more))]

        def toggle(*, help: bool = False, output: bool = False) -> Iterable[Request]:
            if self.live is not None:
                self.live.toggle(help=help, output=output)
            return ()

        def ask_to_pause() -> str:
            if self.live is not None and self.live.paused:
                return f"p again within 2s: start jobs again{NO}"
            return f"p again within 2s: start no more jobs for now{NO}"

        return {
            "q": Key(lambda: [drain], lambda: question_of_drain(run.metrics().active_workers)),
            "p": Key(lambda: [pause], ask_to_pause),
            "+": Key(lambda: change(1)),
            "=": Key(lambda: change(1)),
            "-": Key(lambda: change(-1)),
            "o": Key(lambda: toggle(output=True)),
            "?": Key(lambda: toggle(help=True)),
        }


def title_of(settings: InputSettings, files: Sequence[str]) -> str:
    """Return the title of the live table: the command of `each`, or the names of the files."""
    if settings.each is not None and settings.each.words:
        return strip_ansi(" ".join(settings.each.words))
    if list(files) in ([], ["-"]):
        return "stdin"
    return strip_ansi(os.path.basename(files[0])) if len(files) == 1 else f"{len(files)} files"
