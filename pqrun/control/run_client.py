# SPDX-License-Identifier: LGPL-3.0-or-later
"""The connection to a live run of a program that shows the run for a long time."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from pqrun.control.client import NO_LIVE_RUN, ControlClient
from pqrun.core.errors import InternalFailure

REQUEST_TIMEOUT_SECONDS = 10.0


class MeasuredUsage(NamedTuple):
    """The usage of a running job: the CPUs that it keeps busy, and bytes of memory."""

    cpus: float
    memory: int


NO_USAGE: Mapping[int, MeasuredUsage] = MappingProxyType({})
NO_LIMITS: Mapping[str, int] = MappingProxyType({})


class HeldRun(NamedTuple):
    """Whether a live run is paused or stopping, the usage of its running jobs by number, and the limits of tags."""

    paused: bool = False
    stopping: bool = False
    usage: Mapping[int, MeasuredUsage] = NO_USAGE
    tag_limits: Mapping[str, int] = NO_LIMITS


class RunClient:
    """A connection that is opened at the first request, and again after it was lost."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: ControlClient | None = None

    def held(self) -> HeldRun:
        """Return whether the run is paused or stopping, the usage of its running jobs, and its limits."""
        answer = self.ask("ps", jobs=["state:running"])
        usage = {
            job["seq"]: MeasuredUsage(job["cpus"], job["memory"]) for job in answer["jobs"] if "cpus" in job
        }
        # A run of an older pqrun has no limits of tags.
        return HeldRun(answer["paused"], answer["stopping"], usage, answer.get("tag_limits", NO_LIMITS))

    def change(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request that changes the run; with `seq`, only if `jobs` selects that job and no namesake."""
        if (seq := facts.pop("seq", None)) is not None:
            meant = self.ask("ps", jobs=facts["jobs"])["jobs"]
            if [job["seq"] for job in meant] != [seq]:
                raise InternalFailure("the job has just ended: nothing was changed", 1)
        try:
            return self.ask(verb, **facts)
        except TimeoutError:
            raise InternalFailure("the run has not answered in time: the change may still happen") from None

    def ask(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Send a request. A connection that the run dropped while idle is replaced once."""
        for last in (False, True):
            fresh = self._connection is None
            try:
                self._connection = self._connection or ControlClient(self._path)
                return self._connection.request(verb, timeout=REQUEST_TIMEOUT_SECONDS, **facts)
            except TimeoutError:
                self.close()  # else a late answer would be read as that to the next request
                raise
            except InternalFailure as failure:
                if failure.code != NO_LIVE_RUN:
                    raise
                self.close()
                if last or fresh or verb not in ("ps", "output", "info"):
                    raise
        raise AssertionError

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
