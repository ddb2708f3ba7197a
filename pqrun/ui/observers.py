# SPDX-License-Identifier: LGPL-3.0-or-later
"""All parts that show one run to people, in the order in which they observe."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pqrun.core import events as ev
from pqrun.core.metrics import Metrics
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import InputSettings, OutputSettings
from pqrun.core.text import strip_ansi
from pqrun.engine.clock import Clock
from pqrun.engine.engine import Request
from pqrun.output.ci_markers import CIFences, ci_service, harmless_json, neutralize_commands
from pqrun.output.printer import OutputPrinter, OutputStyle
from pqrun.output.writer import StreamWriter
from pqrun.ui.plain_log import PlainLog
from pqrun.ui.run_summary import RunSummary, format_summary
from pqrun.ui.terminal import Style, progress_kind, wants_colour

if TYPE_CHECKING:
    from pqrun.engine.executor import TerminalGuard
    from pqrun.engine.live_run import LiveRun
    from pqrun.engine.reactor import Reactor
    from pqrun.executors.local.watchdog import WatchdogSupervisor
    from pqrun.ui.live.keys import Key, KeyReader
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


class ReplayingObserver(Protocol):
    """An observer that can also be told what earlier processes of the run did."""

    failure: str

    def replay(self, events: Sequence[ev.Event]) -> None:
        """Take in events that were told by an earlier process."""

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Take in events as they happen. Called on the dispatcher thread."""

    def close(self) -> None:
        """End the observation, after the last event."""


class RunDisplay:
    """The display of a run: live table, keys, log, output printer and summary.

    Call `open_live` before `listeners`, and `close` in any case.
    """

    def __init__(
        self,
        settings: OutputSettings,
        clock: Clock,
        out: StreamWriter,
        err: StreamWriter,
        environment: Mapping[str, str] = os.environ,
        *,
        results: ReplayingObserver | None = None,
    ) -> None:
        self.out = out
        self.err = err
        self.page = RunSummary()
        self.live: LiveTable | None = None
        self.keys: KeyReader | None = None
        self.printer: OutputPrinter | None = None
        self.results = results
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
        service = ci_service(settings.ci, environment)
        if service == "github":
            out.neutralize = harmless_json if settings.json else neutralize_commands
            err.neutralize = neutralize_commands
        self._fences = CIFences(service, lambda: os.urandom(12).hex(), lambda: clock.wall(clock.now()))
        self.plain = PlainLog(
            err,
            clock,
            self._paint,
            quiet=settings.quiet or self._kind == "none" or (self._kind == "live" and not settings.verbose),
            verbose=settings.verbose,
        )
        self._make_printer()

    def open_live(
        self,
        run: LiveRun,
        reactor: Reactor,
        watchdogs: TerminalGuard | None,
        *,
        began: float,
        title: str,
        address: str,
        unread: Callable[[], Sequence[int]],
    ) -> None:
        """Prepare the live table if it is wanted; its modules are only loaded then.

        `watchdogs` restore the terminal if pqrun is killed; without them the display starts its own.
        """
        if self._kind != "live":
            return
        from pqrun.executors.local.usage import is_possible
        from pqrun.ui.live.keys import KeyReader, Typed
        from pqrun.ui.live.screen import BottomLines, keeps_cursor
        from pqrun.ui.live.state import LiveTableState
        from pqrun.ui.live.table import LiveTable

        guard = watchdogs or self._guard_terminal()
        cursor_kept, typed = keeps_cursor(self._environment), Typed(unread)
        screen = BottomLines(self.err, reactor.wake, guard, cursor_kept=cursor_kept)
        self.keys = keys = KeyReader(
            self._keys(run), guard, self._clock.now, reactor.look_again,
            shared=self.out.is_pipe, typed=typed.maybe,
        )  # fmt: skip
        self.live = LiveTable(
            screen,
            run,
            LiveTableState(began, self._clock.now()),
            title=title,
            run=strip_ansi(address),
            keys=keys,
            colour=self._colour,
            measured=is_possible(),
            typed=typed.here,
        )
        self._share_terminal(screen)
        reactor.add(keys)
        reactor.on_signal(signal.SIGCONT, self._continued)

    def _share_terminal(self, screen: BottomLines) -> None:
        """Have the table erased before other parts write to the terminal, and hide output on request."""
        for writer in (self.out, self.err):
            if writer.is_terminal:
                writer.before_write = screen.step_aside
        if (live := self.live) is not None and self.printer is not None:
            self.printer.hidden = lambda: live.output_hidden

    def _guard_terminal(self) -> TerminalGuard:
        from pqrun.executors.local.watchdog import guard_terminal

        self._warden = guard_terminal()
        return self._warden

    def listeners(self) -> list[Any]:
        """Return the observers in their order: readers of output before those that may remove it."""
        parts = (self.live, self.results, self.page, self.plain, self.printer)
        return [part for part in parts if part is not None]

    def replay(self, events: Sequence[ev.Event]) -> None:
        """Take in the events of earlier processes of this run."""
        self.page.replay(events)
        self.plain.replay(events)
        if self.printer is not None:
            self.printer.replay(events)
        if self.live is not None:
            self.live.replay(events)
        if self.results is not None:
            self.results.replay(events)

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
        if self._settings.quiet and not self.page.failed:
            return
        self.err.say(format_summary(self.page, metrics, seconds, self._paint, run=run))

    def failures(self) -> list[str]:
        """Return the messages of all parts that could not be written."""
        parts = dict.fromkeys((self.out, self.err, self.results))
        return [part.failure for part in parts if part is not None and part.failure]

    def _make_printer(self) -> None:
        settings = self._settings
        if settings.output in ("group", "line"):
            style = OutputStyle(settings.output, settings.keep_order, settings.tag, settings.show)
            out = self.err if settings.json else self.out
            self.printer = OutputPrinter(style, out, self.err, self._fences)

    def _keys(self, run: LiveRun) -> dict[str, Key]:
        """Return the keys of the table.

        A returned request is carried out in a turn; other keys only change the table.
        """
        from pqrun.ui.live.keys import Key

        def drain(scheduler: Scheduler, now: float) -> None:
            if scheduler.stopping is None:
                scheduler.stop("stop", now, drain=True)

        def pause(scheduler: Scheduler, now: float) -> None:
            scheduler.pause(paused=not scheduler.paused, now=now, by="key")

        def change(more: int) -> Iterable[Request]:
            return [lambda _scheduler, _now: run.resize(max(1, run.workers() + more))]

        def toggle(*, help: bool = False, output: bool = False) -> Iterable[Request]:
            if self.live is not None:
                self.live.toggle(help=help, output=output)
            return ()

        def ask_to_drain() -> str:
            running = run.metrics().active_workers
            jobs = "1 running job" if running == 1 else f"{running} running jobs"
            return f"q again within 2s: let the {jobs} finish, start no more.  Esc: no"

        def ask_to_pause() -> str:
            if self.live is not None and self.live.paused:
                return "p again within 2s: start jobs again.  Esc: no"
            return "p again within 2s: start no more jobs for now.  Esc: no"

        return {
            "q": Key(lambda: [drain], ask_to_drain),
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
