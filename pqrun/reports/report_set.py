# SPDX-License-Identifier: LGPL-3.0-or-later
"""All reports of a run, as one observer that never raises."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import combinations
from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING, Any

from pqrun.core import events as ev
from pqrun.core.errors import BUG, OWN_FAILURE, UserError, refusal
from pqrun.core.settings import OutputSettings, ReportSettings
from pqrun.output.ci_markers import ci_service
from pqrun.reports.run_info import Ending, RunInfo, RunReport, TickingReport
from pqrun.reports.targets import AtomicFile, ReportTarget, StreamingFile, is_stdout, same_file

if TYPE_CHECKING:
    from pqrun.output.writer import StreamWriter
    from pqrun.reports.digest import RunDigest
    from pqrun.reports.hooks import Hook


WHOLE, GROWING = ("junit", "html", "trace", "summary", "metrics"), ("joblog", "events")


class ReportRequest:
    """The reports that settings ask for, checked.

    Raises `UserError` if a report cannot be written.
    """

    def __init__(
        self, settings: ReportSettings, output: OutputSettings, environment: Mapping[str, str]
    ) -> None:
        self.targets: dict[str, ReportTarget] = {}
        for names, kind in ((WHOLE, AtomicFile), (GROWING, StreamingFile)):
            for name in names:
                if (path := getattr(settings, name)) is not None:
                    self.targets[name] = kind(f"--{name}", path)
        self.warnings: list[str] = []
        self._json = output.json
        self.address = settings.metrics_listen
        self.ci_autodetected = output.ci == "auto"
        self.service = ci_service(output.ci, environment)
        self.step = environment.get("GITHUB_STEP_SUMMARY", "") if self.service == "github" else ""
        self._check()

    @property
    def digest(self) -> bool:
        """Whether a report needs the digest."""
        return "summary" in self.targets or self.service == "github"

    @property
    def growing(self) -> list[StreamingFile]:
        """The files that are written during the run."""
        return [target for target in self.targets.values() if isinstance(target, StreamingFile)]

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
        if "metrics" not in self.targets and self.address is None:
            return
        if find_spec("prometheus_client") is None:
            option = "--metrics" if "metrics" in self.targets else "--metrics-listen"
            raise UserError(
                f"{option} needs prometheus-client: install it with `pip install 'pqrun-cli[metrics]'`"
            )
        if self.address is not None:
            from pqrun.reports.prometheus import check_address

            check_address(self.address)

    def make(self, run: RunInfo, digest: RunDigest | None) -> list[RunReport]:
        """Open all files and return the reports."""
        reports: list[RunReport] = [] if digest is None else [digest]
        for target in self.growing:
            target.open()
        reports += [_made(name, target, run, digest) for name, target in self.targets.items()]
        if self.address is not None:
            from pqrun.reports.prometheus import MetricsEndpoint

            reports.append(MetricsEndpoint(self.address, run))
        return reports


def _made(name: str, target: Any, run: RunInfo, digest: RunDigest | None) -> RunReport:
    match name:
        case "junit":
            from pqrun.reports.junit import JUnitReport

            return JUnitReport(target, run)
        case "html":
            from pqrun.reports.html import HtmlReport

            return HtmlReport(target, run)
        case "trace":
            from pqrun.reports.chrome_trace import ChromeTrace

            return ChromeTrace(target, run)
        case "summary":
            from pqrun.reports.markdown import MarkdownSummary

            assert digest is not None
            return MarkdownSummary(target, run, digest)
        case "metrics":
            from pqrun.reports.prometheus import PromFile

            return PromFile(target, run, monotonic)
        case "joblog":
            from pqrun.reports.job_log import JobLog

            return JobLog(target, run)
        case _:
            from pqrun.reports.event_log import EventLog

            return EventLog(target, run)


BY_SIGNAL = 128
EVENTS_PER_BATCH = 1000
FLUSH_TIMEOUT_SECONDS = 1.0


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class ReportSet:
    """All reports of a run, as an observer that never raises. `failures`: what could not be written.

    Create the set before anything of the run is created, because the constructor finds the user's
    mistakes (`UserError`). Call `begin` before the first event, and `finish` when the run is over, even
    if some events were not delivered.
    """

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
        self._reports: list[RunReport] = []
        self._run: RunInfo
        self._lock = RLock()
        self._over = False

    @property
    def warnings(self) -> Sequence[str]:
        """Messages for the user before the run begins."""
        return self._wanted.warnings

    def begin(self, run: RunInfo) -> None:
        """Open the reports."""
        self._run = run
        if self._wanted.digest or self._hooks:
            from pqrun.reports.digest import RunDigest

            self.digest = RunDigest()
        self._reports = self._wanted.make(run, self.digest)

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Pass the events to all reports. Called on the dispatcher thread."""
        with self._lock:
            for start in range(0, 0 if self._over else len(events), EVENTS_PER_BATCH):
                batch = events[start : start + EVENTS_PER_BATCH]
                for report in list(self._reports):
                    with self._guarded(report):
                        report.on_events(batch)

    def tick(self) -> float:
        """Let those reports act that do so without events; return the seconds until the next time."""
        waits = [3600.0]
        with self._lock:
            for report in [] if self._over else list(self._reports):
                if isinstance(report, TickingReport):
                    with self._guarded(report):
                        waits.append(report.tick())
        return min(waits)

    def close(self) -> None:
        """Do nothing: `finish` closes the reports, because the exit code is not known yet."""

    def finish(
        self,
        ending: Ending,
        *,
        err: StreamWriter | None = None,
        untold: Sequence[Sequence[ev.Event]] = (),
        hurry: bool = False,
        wait: Callable[[float], bool] = _sleep,
    ) -> int:
        """Complete all reports and run the hooks; return the run's exit code after that.

        `untold`: batches of events that the dispatcher has not delivered. `hurry`: do not wait for slow
        readers. `wait(seconds)` waits and returns whether the user wants pqrun to stop. `err`: the
        stream for messages, or None if another thread still writes to it.
        """
        for target in self._wanted.targets.values():
            target.patience = FLUSH_TIMEOUT_SECONDS if hurry else target.patience
        with self._lock:
            for batch in untold:
                self.on_events(batch)
            self._over = True
        for target in self._wanted.targets.values():
            target.wanted_to_stop = lambda: wait(0.0)
        for report in list(self._reports):
            with self._guarded(report):
                report.finish(ending)
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
                err.say(f"pqrun: {failure}")
        return ending.code

    @contextmanager
    def _guarded(self, report: RunReport) -> Iterator[None]:
        """Drop a report that raises and record the failure; the run and the other reports go on."""
        try:
            yield
        except OSError as error:
            self._drop(report, f"cannot write the report of {_option(report)}: {error.strerror or error}")
        except Exception as error:
            failure = refusal(error)
            why = "failed and was dropped" if failure is None else f"was dropped: {failure}"
            self._drop(report, f"the report of {_option(report)} {why}")
            if failure is None:
                sys.stderr.write(traceback.format_exc())

    def _drop(self, report: RunReport, why: str) -> None:
        self._reports.remove(report)
        self.failures.append(why)

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
            err.say(f"pqrun: {why}")


def _option(report: RunReport) -> str:
    """Return the option that asked for a report, as messages name it."""
    target = getattr(report, "target", None)
    return str(target.option) if target is not None else "--metrics-listen"
