# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which attempts are at the cluster, and what the news of them mean. No clock, no connection.

News may come late, twice, or never. Only the runner's own report of an exit ends an attempt well or
badly; all else that ends one is a loss. Whatever comes, each attempt is answered once.
"""

from __future__ import annotations

from typing import Any

from pqrun.core.job import Attempt, AttemptId, Exit, LostExit, NotStarted
from pqrun.core.notices import ProcessFinished, ProcessRestarted, ProcessStarted, StartRejected

STOPPED_EARLY = "stopped before it started"


class RemoteAttempt:
    """An attempt that has not been answered. `nonce` names the start that was heard of first."""

    __slots__ = (
        "asked",
        "attempt",
        "began",
        "finishing",
        "forced",
        "future",
        "host",
        "nonce",
        "output",
        "over",
        "unknown",
        "worker",
    )

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.nonce = ""
        self.worker = self.host = ""
        self.began: float | None = None
        self.asked = self.forced = self.finishing = self.over = False
        self.unknown = 0
        self.future: Any = None
        self.output: Any = None


class RemoteAttempts:
    """The attempts at the cluster. `twice` tells of those that were started more than once."""

    def __init__(self) -> None:
        self.live: dict[AttemptId, RemoteAttempt] = {}
        self.twice: list[str] = []

    def submit(self, attempt: Attempt) -> RemoteAttempt:
        """It is on its way."""
        self.live[attempt.key] = live = RemoteAttempt(attempt)
        return live

    def started(
        self, key: AttemptId, nonce: str, worker: str, host: str, at: float
    ) -> ProcessStarted | ProcessRestarted | None:
        """A runner says that it began."""
        live = self.live.get(key)
        if live is None or live.nonce == nonce:
            return None
        if live.nonce:
            job = f"job {live.attempt.spec.id}, attempt {key.attempt}"
            self.twice.append(f"{job}: was started a second time, on {host} ({worker})")
            return ProcessRestarted(key, host)
        live.nonce, live.worker, live.host, live.began = nonce, worker, host, at
        return ProcessStarted(key, at, host)

    def ended(self, report: ProcessFinished | StartRejected) -> ProcessFinished | StartRejected | None:
        """A runner reports its end; `None` if another one has done so before."""
        live = self.live.pop(report.key, None)
        if live is None:
            return None
        live.over = True
        return report

    def lost(self, key: AttemptId, why: str, now: float) -> ProcessFinished | None:
        """Nobody will report its end."""
        live = self.live.get(key)
        return (
            None
            if live is None
            else self._answer(live, LostExit(why, worker_lost=True), now, stopped=live.asked)
        )

    def never_started(self, key: AttemptId, now: float) -> ProcessFinished | None:
        """It was asked to stop, and no worker had begun it, nor will."""
        live = self.live.get(key)
        return None if live is None else self._answer(live, NotStarted(126, STOPPED_EARLY), now, stopped=True)

    def impossible(self, key: AttemptId, why: str, now: float) -> ProcessFinished | None:
        """It can't be run at this cluster."""
        live = self.live.get(key)
        return None if live is None else self._answer(live, NotStarted(126, why), now, stopped=False)

    def missing(self, known: set[AttemptId], asked_about: set[AttemptId]) -> list[AttemptId]:
        """Of those that were asked about, who is unknown to the cluster for the second time running."""
        gone = []
        for key in asked_about & self.live.keys():
            live = self.live[key]
            live.unknown = 0 if key in known else live.unknown + 1
            if live.unknown > 1:
                gone.append(key)
        return gone

    def _answer(self, live: RemoteAttempt, exit: Exit, now: float, *, stopped: bool) -> ProcessFinished:
        key = live.attempt.key
        del self.live[key]
        live.over = True
        # What never said that it began has taken no time: by that it is told apart afterwards.
        began = now if live.began is None else live.began
        return ProcessFinished(key, exit, stopped, began, now, where=live.host)
