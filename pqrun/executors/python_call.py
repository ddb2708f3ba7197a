# SPDX-License-Identifier: LGPL-3.0-or-later
"""One Python call, in a slot's thread.

A thread can't be ended from outside: to stop a call is to ask it, through its context.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any, Protocol

from pqrun.core.job import NO_REPORT, Attempt, ExitedWith, NotStarted, SelfReport
from pqrun.core.notices import ProcessFinished, ProcessStarted
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter

MAX_MESSAGE_LENGTH = 1000
_OK, _RAISED = ExitedWith(0), ExitedWith(1)


class PermanentError(Exception):
    """Raised by a handler: this job must not be tried again."""


class Context:
    """What a handler is told while it runs, and whether it should end."""

    __slots__ = ("_cancelled", "_clock", "_deadline")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cancelled = False
        self._deadline: float | None = None

    @property
    def cancelled(self) -> bool:
        """Whether the job has been cancelled or its time is over: end soon, whatever the result."""
        return self._cancelled

    @property
    def remaining(self) -> float | None:
        """Seconds until the time limit, 0 when it is over; `None` without a limit."""
        return None if self._deadline is None else max(0.0, self._deadline - self._clock.now())

    def raise_if_cancelled(self) -> None:
        """`concurrent.futures.CancelledError` if `cancelled`."""
        if self._cancelled:
            raise CancelledError("the job was cancelled, or its time is over")


class PythonCall(Protocol):
    """What a call is about, and where its result goes."""

    job: Any
    value: Any
    error: BaseException | None


@dataclass
class CallContext:
    """What all calls of a queue share. `at_once`: each says that it began as soon as it did.

    Otherwise those that are still at it are asked when that matters: most have ended by then, and
    an end tells when it began.
    """

    handler: Callable[[Context, Any], Any]
    clock: Clock
    reporter: Reporter
    at_once: bool = True


class CallTask:
    """One attempt at a call. Its `spec.work` is a `Work`."""

    __slots__ = ("_attempt", "_began", "_calls", "_context", "_slot")

    def __init__(self, attempt: Attempt, calls: CallContext) -> None:
        self._attempt = attempt
        self._calls = calls
        self._context = Context(calls.clock)
        self._began: float | None = None
        self._slot = 0

    def stop(self, *, force: bool) -> None:
        """Asks it to end; there is no force."""
        self._context._cancelled = True

    def tell_start(self) -> None:
        """If it has begun and has not said so, it does; nobody is woken for that."""
        began, self._began = self._began, None
        if began is not None:
            self._calls.reporter.post(
                ProcessStarted(self._attempt.key, began, f"slot {self._slot}"), urgent=False
            )

    def run(self, slot: int) -> ProcessFinished:
        """Calls the handler. What it returns or raises goes to its `Work`."""
        calls, context = self._calls, self._context
        key, spec = self._attempt.key, self._attempt.spec
        work: PythonCall = spec.work
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
            # The error knows this frame, and the work knows the error: a circle, unless this forgets it.
            del self, spec, work, trace
        return ProcessFinished(key, exit, context._cancelled, began, clock.now(), said=said)


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:MAX_MESSAGE_LENGTH]
    except Exception:  # its author's own `__str__`
        return type(error).__name__
