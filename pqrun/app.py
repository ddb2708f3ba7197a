# SPDX-License-Identifier: LGPL-3.0-or-later
"""Builds everything from `Settings`, runs it, and says how it went as an exit code."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from pqrun.capture import Logs
from pqrun.clock import SystemClock
from pqrun.display.lastpage import LastPage
from pqrun.display.outlet import Outlet
from pqrun.display.output import OutputPrinter, OutputStyle
from pqrun.display.plain import PlainLog
from pqrun.engine import Engine, NoJournal
from pqrun.errors import OwnFailure, UserError
from pqrun.executors.child import Child, Surroundings
from pqrun.executors.containment import Containment
from pqrun.executors.launch import Launcher
from pqrun.executors.slots import Slots
from pqrun.executors.warden import Warden
from pqrun.input import Input, open_input
from pqrun.metrics import RunningMetrics
from pqrun.model import Attempt, Outcome
from pqrun.reactor import Reactor
from pqrun.scheduler import Scheduler
from pqrun.settings import MAX_QUEUE, Settings, count_workers
from pqrun.signals import SignalPolicy, end_by, make_sure_of_descriptors, make_sure_of_signals
from pqrun.teller import Listener, Teller

if TYPE_CHECKING:
    from pqrun.ledger import Ledger

OK, SOME_FAILED, USAGE, NOT_ALL_RUN, OWN_FAILURE, BUG = 0, 1, 2, 3, 4, 70
LAST_WORDS = 1.0
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


def run(settings: Settings) -> int:
    """A whole run, from its input to its exit code; `UserError` before anything was started."""
    make_sure_of_descriptors()
    make_sure_of_signals()
    if settings.cwd is not None:
        _enter(settings.cwd)
    source = open_input(settings)
    if settings.dry_run:
        from pqrun.dryrun import dry_run

        return dry_run(settings, source)
    return Run(settings, source).run()


def _enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise UserError(f"cannot enter {directory}: {error.strerror}") from None


def new_run_id() -> str:
    """Short, random, easy to type."""
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in os.urandom(6))


class Run:
    """One run of the command line's: its parts, and how they are put together."""

    def __init__(self, settings: Settings, source: Input) -> None:
        self.settings = settings
        self.source = source
        self.run_id = new_run_id()
        self.clock = SystemClock()
        self.workers = count_workers(settings.jobs or source.workers)
        self.out = Outlet(1, "standard output")
        self.err = Outlet(2, "standard error")
        self.reactor = Reactor()
        self.metrics = RunningMetrics(self.clock.now())
        self.page = LastPage()
        self.ledger: Ledger | None = None
        self.scheduler = Scheduler(
            pools=settings.pools or source.pools,
            max_queue=settings.max_queue or source.max_queue or MAX_QUEUE,
            halt=settings.halt,
            deadline=inf if settings.deadline is None else self.clock.now() + settings.deadline,
            random=Random(self.run_id),
        )

    def run(self) -> int:
        """Runs all; ends this process by a signal if one stopped the run."""
        workspace = tempfile.mkdtemp(prefix="pqrun-")
        try:
            code = self._run_in(workspace)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
        if self.signals.stopped_by and code != BUG:
            end_by(self.signals.stopped_by)
        return code

    def _run_in(self, workspace: str) -> int:
        launcher = Launcher(
            run_id=self.run_id, directory=os.getcwd(), workspace=workspace, token=os.urandom(8).hex()
        )
        warden = Warden(launcher.mark)
        warden.fork()
        containment = Containment()
        containment.open()
        plain = PlainLog(
            self.err,
            self.clock,
            quiet=self.settings.quiet or self.settings.progress == "none",
            verbose=self.settings.verbose,
        )
        teller = Teller(self._listeners(plain), lambda: self.engine.post())
        self.engine = Engine(
            clock=self.clock,
            scheduler=self.scheduler,
            reactor=self.reactor,
            journal=NoJournal(),
            metrics=self.metrics,
            teller=teller,
        )
        around = Surroundings(
            clock=self.clock,
            reporter=self.engine,
            launcher=launcher,
            logs=Logs(workspace + "/logs", keep=False),
            containment=containment,
            warden=warden,
            capture=self.settings.output != "raw",
            follow=self.settings.output == "line",
        )
        slots = Slots(self.workers, lambda attempt: _child(attempt, around), self.engine, self.engine.fail)
        self.engine.executor = slots
        self.signals = SignalPolicy(
            self.reactor,
            self.clock,
            suspend=lambda stopped: [task.suspend(stopped=stopped) for task in slots.live()],  # type: ignore
            tell=plain.list_running,
        )
        teller.start()
        self.source.feed(self.engine, self.scheduler, self.reactor)
        self.engine.run()
        slots.close()
        if not self.scheduler.input_ended and not self.engine.broken:
            self.engine.turn(ask=lambda s, now: s.end_input(now, complete=False, why="the run was stopped"))
        containment.close()
        warden.close()
        told = self._finish_telling(teller)
        return self._conclude(told=told)

    def _listeners(self, plain: PlainLog) -> Sequence[Listener]:
        settings = self.settings
        style = OutputStyle(settings.output, settings.keep_order, settings.tag, settings.show)
        listeners: list[Listener] = []
        if settings.output in ("group", "line"):
            out = self.err if settings.json else self.out
            listeners.append(OutputPrinter(style, out, self.err))
        listeners += [plain, self.page]
        if settings.json:
            from pqrun.ledger import Ledger

            self.ledger = Ledger()
            listeners.append(self.ledger)
        return listeners

    def _finish_telling(self, teller: Teller) -> bool:
        """Waits for slow readers, but no longer than a second once somebody wants us to stop."""
        patience = LAST_WORDS if self.signals.stopped_by else inf
        while not teller.close(0.02):
            self.reactor.wait(0)
            if self.signals.stopped_by:
                patience = min(patience, LAST_WORDS) - 0.02
            if patience <= 0:
                return False
        return True

    def _conclude(self, *, told: bool) -> int:
        broken = self.engine.broken
        if broken is not None and not isinstance(broken, OwnFailure):
            raise broken
        if broken is not None:
            self.err.say(f"pqrun: {broken}")
        if told:
            self._last_words()
        return self._exit_code(broken)

    def _last_words(self) -> None:
        snapshot = self.metrics.snapshot(self.clock.now())
        if self.ledger is not None:
            from pqrun.reports.document import as_text, document

            self.out.say(
                as_text(document(self._facts(), snapshot, self.ledger.rows.values(), self.clock.wall))
            )
        if not (self.settings.quiet and not self.page.failed):
            seconds = self.clock.now() - self.metrics.began
            if self.page.added or not self.settings.quiet:
                self.err.say(self.page.text(snapshot, seconds, again=""))
        for outlet in (self.out, self.err):
            if outlet.failure:
                self.err.say(f"pqrun: {outlet.failure}")

    def _facts(self) -> dict[str, Any]:
        from pqrun.reports.document import timestamp

        return {
            "id": self.run_id,
            "state": "stopped" if self.scheduler.stopping else "ended",
            "files": list(self.settings.files),
            "workers": self.workers,
            "started_at": timestamp(self.clock.wall(self.metrics.began)),
            "ended_at": timestamp(self.clock.wall(self.clock.now())),
            "input_complete": self.page.input_complete,
        }

    def _exit_code(self, broken: BaseException | None) -> int:
        if isinstance(broken, OwnFailure):
            return broken.code
        if self.out.failure or self.err.failure:
            return OWN_FAILURE
        if self.source.wrong:
            if not self.page.added:
                raise UserError(self.source.wrong)
            return SOME_FAILED
        if self.page.failed:
            return SOME_FAILED
        outcomes = self.page.outcomes
        if sum(outcomes.values()) < self.page.added or outcomes.get(Outcome.INTERRUPTED):
            return NOT_ALL_RUN
        return OK if self.page.input_complete else NOT_ALL_RUN


def _child(attempt: Attempt, around: Surroundings) -> Child:
    return Child(attempt, around)
