# SPDX-License-Identifier: LGPL-3.0-or-later
"""The attempts on the cluster, and what messages mean for them. No clock, no connection.

A message may come late, twice, or never. Only the worker plugin's own report of an exit ends an attempt
as succeeded or failed; every other end is a loss. Whatever arrives, each attempt gets exactly one answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pqrun.core.job import Attempt, AttemptId, Exit, LostExit, NotStarted
from pqrun.core.notices import ProcessFinished, ProcessRestarted, ProcessStarted, StartRejected

if TYPE_CHECKING:
    from pqrun.output.store import Capture

STOPPED_EARLY = "stopped before it started"


class DaskFuture(Protocol):
    """The part of a future of Dask that is used here."""

    def release(self) -> None: ...


class RemoteAttempt:
    """An attempt that has not been answered yet.

    `nonce`: names the start that was reported first; empty before. `asked`, `forced`: a stop was requested,
    with force. `finishing`: the rest of its output is being fetched. `over`: it was answered. `unknown`: how
    many times in a row the scheduler did not know it.
    """

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
        self.future: DaskFuture | None = None
        self.output: Capture | None = None


class RemoteAttempts:
    """The attempts on the cluster.

    `twice` lists, as texts, those that were started more than once. `lost_jobs`: the numbers of jobs of which
    an attempt was lost.
    """

    def __init__(self) -> None:
        self.lost_jobs: set[int] = set()
        self.live: dict[AttemptId, RemoteAttempt] = {}
        self.twice: list[str] = []

    def submit(self, attempt: Attempt) -> RemoteAttempt:
        """Add an attempt that is being sent to the cluster."""
        self.live[attempt.key] = live = RemoteAttempt(attempt)
        return live

    def started(
        self, key: AttemptId, nonce: str, worker: str, host: str, at: float
    ) -> ProcessStarted | ProcessRestarted | None:
        """Handle the report of a start at time `at`.

        Returns the notice for the engine, None for a repeated or late report.
        """
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
        """Handle the report of an end. Returns None if the attempt was answered before."""
        live = self.live.pop(report.key, None)
        if live is None:
            return None
        live.over = True
        return report

    def lost(self, key: AttemptId, why: str, now: float) -> ProcessFinished | None:
        """Answer an attempt whose end will never be reported."""
        live = self.live.get(key)
        if live is None:
            return None
        self.lost_jobs.add(key.seq)
        return self._answer(live, LostExit(why, worker_lost=True), now, stopped=live.asked)

    def never_started(self, key: AttemptId, now: float) -> ProcessFinished | None:
        """Answer an attempt that was stopped before a worker started it."""
        live = self.live.get(key)
        return None if live is None else self._answer(live, NotStarted(126, STOPPED_EARLY), now, stopped=True)

    def impossible(self, key: AttemptId, why: str, now: float) -> ProcessFinished | None:
        """Answer an attempt that this cluster can't run."""
        live = self.live.get(key)
        return None if live is None else self._answer(live, NotStarted(126, why), now, stopped=False)

    def missing(self, known: set[AttemptId], asked_about: set[AttemptId]) -> list[AttemptId]:
        """Return the attempts that the cluster did not know two times in a row.

        `known`: the attempts that the cluster knows. `asked_about`: those that were compared.
        """
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
        # An attempt without a reported start gets a duration of 0, by which it can be recognized later.
        began = now if live.began is None else live.began
        return ProcessFinished(key, exit, stopped, began, now, where=live.host)
