# SPDX-License-Identifier: LGPL-3.0-or-later
"""All reports of a run, as one observer that never raises."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import combinations
from math import inf
from threading import RLock
from typing import TYPE_CHECKING

from pqrun.core import events as ev
from pqrun.core.errors import BUG, OWN_FAILURE, UserError, refusal
from pqrun.core.events import Observer
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.settings import OutputSettings, ReportSettings
from pqrun.engine.dispatcher import Observers
from pqrun.output.ci_markers import ci_service
from pqrun.reports.report import REPORTS, Ending, Report, ReportKind, RunInfo
from pqrun.reports.targets import AtomicFile, ReportTarget, StreamingFile, is_stdout, same_file

if TYPE_CHECKING:
    from pqrun.output.writer import StreamWriter
    from pqrun.reports.desktop import Desktop
    from pqrun.reports.digest import RunDigest
    from pqrun.reports.hooks import Hook


BY_SIGNAL = 128
"""An exit code above this number says that a signal ended the run."""
FLUSH_TIMEOUT_SECONDS = 1.0


class ReportRequest:
    """The reports that settings ask for, checked.

    Raises `UserError` if a report cannot be written.
    """

    def __init__(
        self, settings: ReportSettings, output: OutputSettings, environment: Mapping[str, str]
    ) -> None:
        self.targets: dict[ReportKind, ReportTarget] = {}
        for kind in REPORTS:
            if (path := getattr(settings, kind.name)) is not None:
                target = StreamingFile if kind.grows else AtomicFile
                self.targets[kind] = target(f"--{kind.name}", path)
        self._json = output.json
        self.address = settings.metrics_listen
        self._desktop: Desktop | None = None
        self.ci_autodetected = output.ci == "auto"
        self.service = ci_service(output.ci, environment)
        self.step = environment.get("GITHUB_STEP_SUMMARY", "") if self.service == "github" else ""
        self._check()
        if settings.notify:
            from pqrun.reports.desktop import desktop_of

            self._desktop = desktop_of(environment)

    def _check(self) -> None:
        for target in self.targets.values():
            target.check()
        for one, other in combinations(self.targets.values(), 2):
            if same_file(one.path, other.path):
                raise UserError(f"{one.option} and {other.option} name the same file: {one.path}")
        for target in self.targets.values() if self._json else ():
            if is_stdout(target.path):
                raise UserError(
                    f"--json and {target.option} both write to standard output: give {target.option} a file"
                )
        metrics = any(kind.name == "metrics" for kind in self.targets)
        if not metrics and self.address is None:
            return
        if find_spec("prometheus_client") is None:
            option = "--metrics" if metrics else "--metrics-listen"
            raise UserError(
                f"{option} needs prometheus-client: install it with `pip install 'pqrun-cli[metrics]'`"
            )
        if self.address is not None:
            from pqrun.reports.prometheus import check_address

            check_address(self.address)

    def make(self, run: RunInfo, table: JobTable) -> list[Report]:
        """Open all files and return the reports."""
        for target in self.targets.values():
            if isinstance(target, StreamingFile):
                target.open()
        reports: list[Report] = []
        for kind, target in self.targets.items():
            report: Callable[..., Report] = getattr(import_module(kind.module), kind.class_name)
            reports.append(report(target, run, table))
        if self.address is not None:
            from pqrun.reports.prometheus import MetricsEndpoint

            reports.append(MetricsEndpoint(self.address, run, table))
        if self._desktop is not None:
            from pqrun.reports.desktop import DesktopNotifier

            reports.append(DesktopNotifier(self._desktop, run, table))
        return reports


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class ReportSet(Observer):
    """All reports of a run, as an observer that never raises. `failures`: what could not be written.

    Create the set before anything of the run is created, because the constructor finds the user's
    mistakes (`UserError`). Call `begin` before the first event, and `finish` when the run is over, even
    if some events were not delivered.
    """

    wants_past = True

    def __init__(
        self,
        settings: ReportSettings,
        output: OutputSettings = OutputSettings(),
        *,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.failures: list[str] = []
        self.digest: RunDigest | None = None
        self._wanted = ReportRequest(settings, output, environment)
        self._hooks: Sequence[Hook] = ()
        if settings.on_finish or settings.on_failure or settings.hooks:
            from pqrun.reports.hooks import hooks_of

            self._hooks = hooks_of(settings)
        self._reports: Observers[Report]
        self._run: RunInfo
        self._lock = RLock()
        self._over = False

    def begin(self, run: RunInfo, table: JobTable) -> None:
        """Open the reports. `table` is the run's table, which is folded before this observer is called."""
        self._run = run
        reports = self._wanted.make(run, table)
        if self._wanted.service == "github" or self._hooks:
            from pqrun.reports.digest import RunDigest

            self.digest = next((one for one in reports if isinstance(one, RunDigest)), None)
            if self.digest is None:
                self.digest = RunDigest(table)
                reports.append(self.digest)
        self._reports = Observers(table, reports, self._failed)
        self.handlers = dict.fromkeys(self._reports.kinds, self._tell)

    def deliver(self, events: Iterable[ev.Event]) -> None:
        """Fold events into the table and pass them to the reports, where no dispatcher does that."""
        with self._lock:
            if not self._over:
                self._reports.deliver(events)

    def _tell(self, event: ev.Event, row: JobRow | None) -> None:
        with self._lock:
            if not self._over:
                self._reports.call(event, row)

    def tick(self) -> float:
        """Let the reports act; return the seconds until the next time."""
        with self._lock:
            return inf if self._over else self._reports.tick()

    def finish(
        self,
        ending: Ending,
        *,
        err: StreamWriter | None = None,
        untold: Iterable[ev.Event] = (),
        hurry: bool = False,
        wait: Callable[[float], bool] = _sleep,
    ) -> int:
        """Complete all reports and run the hooks; return the run's exit code after that.

        `untold`: events that the dispatcher has not delivered. `hurry`: do not wait for slow readers.
        `wait(seconds)` waits and returns whether the user wants pqrun to stop. `err`: the stream for
        messages, or None if another thread still writes to it.
        """
        for target in self._wanted.targets.values():
            target.patience = FLUSH_TIMEOUT_SECONDS if hurry else target.patience
        self.deliver(untold)
        self._close(ended=ending.run.get("state") == "ended")
        for target in self._wanted.targets.values():
            target.wanted_to_stop = lambda: wait(0.0)
        self._reports.each(lambda report: report.finish(self._considered(ending)))
        ending = self._considered(ending)
        if self.digest is not None and self._wanted.service == "github":
            from pqrun.reports.github import annotate

            if why := annotate(self._wanted.step, self.digest, self._run, ending, err):
                self._step_failed(why, err)
            ending = self._considered(ending)
        failures = list(self.failures)
        if self.digest is not None and self._hooks:
            from pqrun.reports.hooks import run_hooks

            failures += run_hooks(self._hooks, self.digest, self._run, ending, wait)
        if err is not None:
            for failure in failures:
                err.note(failure)
        return ending.code

    def _close(self, *, ended: bool) -> None:
        """Take no more events. `ended`: the run is not stopped, though an earlier process of it may have been."""
        with self._lock:
            self._over = True
            if ended:
                self._reports.table.stopped = ""

    def _failed(self, report: Report, error: Exception) -> None:
        """Record the failure of a report, which gets nothing more; the run and the other reports go on."""
        if isinstance(error, OSError):
            self.failures.append(f"cannot write the report of {report.option}: {error.strerror or error}")
            return
        failure = refusal(error)
        why = "failed and was dropped" if failure is None else f"was dropped: {failure}"
        self.failures.append(f"the report of {report.option} {why}")
        if failure is None:
            sys.stderr.write("".join(traceback.format_exception(error)))

    def _considered(self, ending: Ending) -> Ending:
        """Return the ending with exit code 4 if a report failed, unless the run's own code is graver."""
        for target in self._wanted.targets.values():
            if target.failure and target.failure not in self.failures:
                self.failures.append(target.failure)
        graver = ending.code == BUG or ending.code > BY_SIGNAL
        return ending._replace(code=OWN_FAILURE) if self.failures and not graver else ending

    def _step_failed(self, why: str, err: StreamWriter | None) -> None:
        if not self._wanted.ci_autodetected:
            self.failures.append(why)
        elif err is not None:  # the user did not ask for a summary, and a container may lack its file
            err.note(why)
