# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which reports are asked for: checked before anything is created, each loaded only when it is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from itertools import combinations
from time import monotonic
from typing import TYPE_CHECKING, Any

from pqrun.display.choose import ci_service
from pqrun.errors import UserError
from pqrun.reports.facts import Report, RunFacts
from pqrun.reports.files import Whole
from pqrun.reports.pipes import Growing
from pqrun.reports.target import Target, is_stdout, neighbours, same_file

if TYPE_CHECKING:
    from pqrun.reports.digest import Digest

WHOLE, GROWING = ("junit", "trace", "summary", "metrics"), ("joblog", "events")


class Wanted:
    """What some settings ask for; `UserError` for what can't be had.

    `settings` has an attribute a report; what it lacks is not wanted.
    """

    def __init__(self, settings: Any, environment: Mapping[str, str]) -> None:
        self.targets: dict[str, Target] = {}
        for names, kind in ((WHOLE, Whole), (GROWING, Growing)):
            for name in names:
                if (path := getattr(settings, name, None)) is not None:
                    self.targets[name] = kind(f"--{name}", path)
        self.warnings: list[str] = []
        self._json = getattr(settings, "json", False)
        self.address: str | None = getattr(settings, "metrics_listen", None)
        self.ci_by_guess = getattr(settings, "ci", "none") == "auto"
        self.service = ci_service(getattr(settings, "ci", "none"), environment)
        self.step = environment.get("GITHUB_STEP_SUMMARY", "") if self.service == "github" else ""
        self._check()

    @property
    def digest(self) -> bool:
        """Whether anybody wants the run in short."""
        return "summary" in self.targets or self.service == "github"

    @property
    def growing(self) -> list[Growing]:
        """What is written as things happen."""
        return [target for target in self.targets.values() if isinstance(target, Growing)]

    def _check(self) -> None:
        for target in self.targets.values():
            target.check()
        for one, other in combinations(self.targets.values(), 2):
            if same_file(one.path, other.path):
                raise UserError(f"{one.option} and {other.option} name the same file: {one.path}")
        for target in self.targets.values() if self._json else ():
            if is_stdout(target.path):
                raise UserError(f"--json and {target.option} both write to standard output: name a file")
        if "metrics" in self.targets:
            self.warnings = neighbours(self.targets["metrics"].path)
        elif self.address is None:
            return
        if find_spec("prometheus_client") is None:
            option = "--metrics" if "metrics" in self.targets else "--metrics-listen"
            raise UserError(f"{option} needs prometheus-client: install it, or pqrun's extra `metrics`")
        if self.address is not None:
            from pqrun.reports.exposing import check_address

            check_address(self.address)

    def make(self, run: RunFacts, digest: Digest | None) -> list[Report]:
        """Opens all of it."""
        reports: list[Report] = [] if digest is None else [digest]
        for target in self.growing:
            target.open()
        reports += [_made(name, target, run, digest) for name, target in self.targets.items()]
        if self.address is not None:
            from pqrun.reports.exposing import Endpoint

            reports.append(Endpoint(self.address, run))
        return reports


def _made(name: str, target: Any, run: RunFacts, digest: Digest | None) -> Report:
    match name:
        case "junit":
            from pqrun.reports.junit import JUnit

            return JUnit(target, run)
        case "trace":
            from pqrun.reports.trace import Trace

            return Trace(target, run)
        case "summary":
            from pqrun.reports.summary import Summary

            assert digest is not None
            return Summary(target, run, digest)
        case "metrics":
            from pqrun.reports.exposing import PromFile

            return PromFile(target, run, monotonic)
        case "joblog":
            from pqrun.reports.joblog import JobLog

            return JobLog(target, run)
        case _:
            from pqrun.reports.eventlog import EventLog

            return EventLog(target, run)
