# SPDX-License-Identifier: LGPL-3.0-or-later
"""One Python call as an attempt, on the thread of a slot.

A thread can't be ended from outside. So a call can only be asked to stop, through its context.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, Protocol

from pqrun.core.job import NO_REPORT, Attempt, ExitedWith, NotStarted, SelfReport, Usage, new
from pqrun.core.notices import ProcessFinished, ProcessStarted
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter

MAX_MESSAGE_LENGTH = 1000
NO_USAGE = Usage()
_OK, _RAISED = ExitedWith(0), ExitedWith(1)


class PermanentError(Exception):
    """An error that a handler raises for a job that must not be retried."""


class Context:
    """The timeout and the cancellation of a running job, for its handler."""

    __slots__ = ("_cancelled", "_clock", "_deadline")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cancelled = False
        self._deadline: float | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the job was cancelled or timed out. The handler should then end soon, with any result."""
        return self._cancelled

    @property
    def remaining(self) -> float | None:
        """Seconds until the timeout, 0 after it; `None` without a timeout."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock.now())

    def raise_if_cancelled(self) -> None:
        """Raise `concurrent.futures.CancelledError` if the job is `cancelled`."""
        if self._cancelled:
            raise CancelledError("the job was cancelled, or its time limit is over")


class PythonCall(Protocol):
    """The job of a call, and the place for its result."""

    job: Any
    value: Any
    error: BaseException | None


@dataclass
class CallContext:
    """The shared parts of all calls of a queue.

    `at_once`: each call reports its start immediately. Otherwise the calls that still run are asked for their
    starts when these are needed: most calls have ended by then, and the end of a call includes its start.
    """

    handler: Callable[[Context, Any], Any]
    clock: Clock
    reporter: Reporter
    at_once: bool = True


class CallTask:
    """One attempt at a call. The result goes to its `PythonCall`."""

    __slots__ = ("_attempt", "_began", "_calls", "_context", "_slot", "_work")

    output = None
    leader = 0
    stdin = None

    def __init__(self, attempt: Attempt, calls: CallContext, work: PythonCall) -> None:
        self._attempt = attempt
        self._work = work
        self._calls = calls
        self._context = Context(calls.clock)
        self._began: float | None = None
        self._slot = 0

    def stop(self, *, force: bool) -> None:
        """Ask the call to end. There is no force for a thread."""
        self._context._cancelled = True

    def signal(self, name: str) -> None:
        """Do nothing: a call has no processes of its own."""

    def tell_start(self) -> None:
        """Report the start if the call has begun and has not reported it. Wakes no thread."""
        began, self._began = self._began, None
        if began is not None:
            self._calls.reporter.post(
                ProcessStarted(self._attempt.key, began, f"slot {self._slot}"), urgent=False
            )

    def run(self, slot: int) -> ProcessFinished:
        """Call the handler and store what it returns or raises in the `PythonCall`."""
        calls, context = self._calls, self._context
        key, spec, _, _ = self._attempt
        work = self._work
        clock = calls.clock
        began = clock.now()
        if context._cancelled:
            return ProcessFinished(key, NotStarted(126, "stopped before it started"), True, began, began)
        if spec.timeout is not None:
            context._deadline = began + spec.timeout
        self._slot, self._began = slot, began
        if calls.at_once:
            self.tell_start()
        exit, said = _OK, NO_REPORT
        try:
            work.value, work.error = calls.handler(context, work.job), None
        except BaseException as error:
            trace = error.__traceback__
            work.value, work.error = None, error.with_traceback(trace and trace.tb_next)
            exit, said = (
                _RAISED,
                SelfReport(permanent=isinstance(error, PermanentError), message=_told(error)),
            )
            # The error refers to this frame and `work` to the error. Without this `del` the cycle would keep
            # both alive until the next garbage collection.
            del self, work, trace
        end = (key, exit, context._cancelled, began, clock.now(), NO_USAGE, said, None, "", "")
        return new(ProcessFinished, end)


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:MAX_MESSAGE_LENGTH]
    except Exception:  # the `__str__` of a user's error may fail
        return type(error).__name__
