# SPDX-License-Identifier: LGPL-3.0-or-later
"""All reports of a run, as one listener that never raises."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any

from pqrun import events as ev
from pqrun.errors import BUG, OWN_FAILURE, refusal
from pqrun.reports.facts import Ending, Report, RunFacts, Ticking
from pqrun.reports.wanted import Wanted

if TYPE_CHECKING:
    from pqrun.display.outlet import Outlet
    from pqrun.reports.digest import Digest
    from pqrun.reports.hooks import Hook

BY_SIGNAL = 128
A_BATCH = 1000
LAST_WORDS = 1.0


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


class Reports:
    """All reports of a run: a listener that never raises. `failures` says what could not be written.

    Make it before anything is created: what its user got wrong is known then. `begin` it before it
    hears anything, and `finish` it when all is over, whether or not it was told everything.
    """

    def __init__(self, settings: Any, *, environment: Mapping[str, str] = os.environ) -> None:
        self.failures: list[str] = []
        self.digest: Digest | None = None
        self._wanted = Wanted(settings, environment)
        self._hooks: Sequence[Hook] = ()
        if any(getattr(settings, name, None) for name in ("on_finish", "on_failure", "hooks")):
            from pqrun.reports.hooks import hooks_of

            self._hooks = hooks_of(settings)
        self._reports: list[Report] = []
        self._run: RunFacts
        self._lock = RLock()
        self._over = False

    @property
    def warnings(self) -> Sequence[str]:
        """What its user should know before it begins."""
        return self._wanted.warnings

    def begin(self, run: RunFacts) -> None:
        """Opens what was asked for."""
        self._run = run
        if self._wanted.digest or self._hooks:
            from pqrun.reports.digest import Digest

            self.digest = Digest()
        self._reports = self._wanted.make(run, self.digest)

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Tells all of them."""
        with self._lock:
            for start in range(0, 0 if self._over else len(events), A_BATCH):
                batch = events[start : start + A_BATCH]
                for report in list(self._reports):
                    with self._guarded(report):
                        report.hear(batch)

    def tick(self) -> float:
        """Those act that do while nothing happens."""
        waits = [3600.0]
        with self._lock:
            for report in [] if self._over else list(self._reports):
                if isinstance(report, Ticking):
                    with self._guarded(report):
                        waits.append(report.tick())
        return min(waits)

    def close(self) -> None:
        """How the run ended is not known yet: `finish` tells."""

    def finish(
        self,
        ending: Ending,
        *,
        err: Outlet | None = None,
        untold: Sequence[Sequence[ev.Event]] = (),
        hurry: bool = False,
        wait: Callable[[float], bool] = _sleep,
    ) -> int:
        """Completes all of them, and runs hooks; the run's exit code after that.

        `untold` is what nobody has told us yet; `hurry`: slow readers are not waited for any more;
        `wait` waits and says whether somebody wants us to stop. What is to be said is said on `err`.
        """
        for target in self._wanted.targets.values():
            target.patience = LAST_WORDS if hurry else target.patience
        with self._lock:
            for batch in untold:
                self.hear(batch)
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
    def _guarded(self, report: Report) -> Iterator[None]:
        """One that fails is dropped and told of; the run and the others go on."""
        try:
            yield
        except OSError as error:
            self._drop(report, f"cannot write the {type(report).__name__} report: {error.strerror or error}")
        except Exception as error:
            failure = refusal(error)
            why = "failed and was dropped" if failure is None else f"was dropped: {failure}"
            self._drop(report, f"the {type(report).__name__} report {why}")
            if failure is None:
                sys.stderr.write(traceback.format_exc())

    def _drop(self, report: Report, why: str) -> None:
        self._reports.remove(report)
        self.failures.append(why)

    def _considered(self, ending: Ending) -> Ending:
        """A report that could not be written is graver than a job that failed."""
        for target in self._wanted.targets.values():
            if target.failure and target.failure not in self.failures:
                self.failures.append(target.failure)
        graver = ending.code == BUG or ending.code > BY_SIGNAL
        return ending._replace(code=OWN_FAILURE) if self.failures and not graver else ending

    def _step_failed(self, why: str, err: Outlet | None) -> None:
        if not self._wanted.ci_by_guess:
            self.failures.append(why)
        elif err is not None:  # nobody asked for it, and in a container it may well not be there
            err.say(f"pqrun: {why}")
