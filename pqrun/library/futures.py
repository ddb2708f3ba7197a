# SPDX-License-Identifier: LGPL-3.0-or-later
"""The futures of a queue's unfinished jobs.

Futures are resolved after a turn of the engine and never under the engine's lock, because callbacks
are the program's code and may call the queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures._base import FINISHED, PENDING, RUNNING
from contextlib import AbstractContextManager
from itertools import compress
from threading import Condition, current_thread, get_ident, main_thread
from typing import Any, Final, Protocol

from pqrun.core import events as ev
from pqrun.core.job import Command, JobSpec, Outcome, StopReason
from pqrun.executors.local.embedded import ShellResult
from pqrun.library.config import Job, JobFailed, JobTimeout, WaitDeadline

TAIL_BYTES = 500
_ENDS: Final = (ev.JobEnded, ev.JobDropped)
_HANDLED: frozenset[type] = frozenset({*_ENDS, ev.AttemptStopping})


class HandleOwner(Protocol):
    """The parts that all futures of a queue share: the way to cancel a job, and the lock for resolving futures."""

    @property
    def cancel(self) -> Callable[[Handle], object]: ...
    @property
    def resolving(self) -> AbstractContextManager[bool]: ...


class Handle(Future[Any]):
    """The future of a job's result. `job` is the job that was added, `spec` what the scheduler knows of it.

    Most futures are resolved before anybody waits for them. So the condition of a `Future`, whose making costs as much
    as all the rest, is made when a method of `Future` first asks for it. A lock of the queue decides whether the
    condition or the result comes first.
    """

    seq = 0
    started = False
    value: Any = None
    error: BaseException | None = None
    _own_condition: Condition | None = None
    # What `Future.__init__` gives to each future. Its two lists come with the condition.
    _state = PENDING
    _result = _exception = None
    _waiters: list[Any] = []
    _done_callbacks: list[Any] = []

    def __init__(self, job: Job[Any], spec: JobSpec, owner: HandleOwner) -> None:
        self.job = job
        self.id = job.id
        self.spec = spec
        self._owner = owner

    @property
    def _condition(self) -> Condition:  # type: ignore[override]
        if self._own_condition is None:
            condition = Condition()
            with self._owner.resolving:
                if self._own_condition is None:
                    self._waiters, self._done_callbacks = [], []
                    self._own_condition = condition
        return self._own_condition

    def done(self) -> bool:
        """Return whether the future has a result, or was cancelled."""
        return self._state not in (PENDING, RUNNING)

    def result(self, timeout: float | None = None) -> Any:
        """Return the job's result or raise its exception. Wait for it for at most `timeout` seconds."""
        if self._state == FINISHED and self._exception is None:
            return self._result
        try:
            return super().result(timeout)
        finally:
            del self  # the traceback of the exception refers to this frame

    def cancel(self) -> bool:
        """Cancel the job, or ask it to end if it is running; return whether it is cancelled now."""
        if not self.done():
            self._owner.cancel(self)
        return self.cancelled()

    def running(self) -> bool:
        """Return whether the job's first attempt has started and the job has not ended."""
        return self.started and not self.done()

    def succeed(self) -> None:
        """Resolve the future with the job's value. Runs the callbacks on the calling thread."""
        with self._owner.resolving:
            if self._own_condition is None:  # nobody waits, and there are no callbacks
                if self._state == PENDING:
                    self._result = self.value
                    self._state = FINISHED
                return
        if not self.done():
            self.set_result(self.value)

    def settle(self, outcome: Outcome) -> None:
        """Resolve the future of a job without success, unless it is resolved.

        Runs the callbacks on the calling thread.
        """
        value, error = self.value, self.error
        self.value = self.error = None
        if self.done():
            return
        if outcome is Outcome.FAILED:
            self.set_exception(error or _failure(JobFailed, self.job, value))
        elif outcome is Outcome.TIMEOUT:
            self.set_exception(_failure(JobTimeout, self.job, value))
        else:
            self.give_up()

    def give_up(self) -> None:
        """Cancel the future, because no result will come. Runs the callbacks on the calling thread."""
        if super().cancel():
            self.set_running_or_notify_cancel()


def _failure(kind: type[JobFailed], job: Job[Any], result: Any) -> JobFailed:
    how = "ran out of time" if kind is JobTimeout else "failed"
    shell = result if isinstance(result, ShellResult) else None
    if shell is not None and shell.how:
        how = f"{how}: {shell.how}"
    text = shell.stderr[-TAIL_BYTES:].decode("utf-8", "replace").strip() if shell else ""
    failure = kind(f"job `{job.id}` {how}" + (f"\n{text}" if text else ""))
    failure.result = shell
    return failure


class JobHandles:
    """The futures by id (unfinished jobs) and by sequence number (jobs that are not yet resolved).

    `handler_name` is for log messages; `grace` in seconds.
    """

    def __init__(self, handler_name: str, grace: float) -> None:
        self.by_id: dict[str, Handle] = {}
        self.by_seq: dict[int, Handle] = {}
        self._handler_name = handler_name
        self._grace = grace
        self._resolving: list[int] = []
        self._none_left = Condition()
        self._waiting = 0

    def resolve(self, events: Sequence[ev.Event]) -> None:
        """Resolve the futures of the jobs that ended in these events. Runs callbacks.

        Called after each turn, without the engine's lock, on the thread that made the turn.
        """
        self._resolving.append(get_ident())
        try:
            self._resolve(events)
        except BaseException:  # Ctrl-C in the main thread: these events come only once, so resolve the rest
            self._resolve(events)
            raise
        finally:
            self._resolving.remove(get_ident())
            self._wake_waiting()

    def resolving_here(self) -> bool:
        """Return whether the calling thread is in a callback of one of these futures."""
        return get_ident() in self._resolving

    def wait(self, deadline: WaitDeadline) -> bool:
        """Wait until all futures are resolved and their callbacks have run; return False on timeout."""
        with self._none_left:
            self._waiting += 1
            try:
                return self._none_left.wait_for(lambda: not (self.by_id or self.by_seq), deadline.left)
            finally:
                self._waiting -= 1

    def fail_all(self, error: BaseException) -> None:
        """Resolve all futures with `error`, because the engine has failed and no more jobs will end."""
        for handle in list(self.by_id.values()):
            handle.error = error
            self._settle(handle, Outcome.FAILED)
        self._wake_waiting()

    def _resolve(self, events: Sequence[ev.Event]) -> None:
        handles = self.by_seq
        for event in compress(events, map(_HANDLED.__contains__, map(type, events))):
            if type(event) is ev.AttemptStopping:
                self._warn_unresponsive(event)
            elif isinstance(event, _ENDS) and (handle := handles.get(event.seq)) is not None:
                self._settle(handle, event.outcome)

    def _wake_waiting(self) -> None:
        if self._waiting and not (self.by_id or self.by_seq):
            with self._none_left:
                self._none_left.notify_all()

    def _settle(self, handle: Handle, outcome: Outcome | None) -> None:
        # The id goes first, so that a callback can add another job with the same id.
        self.by_id.pop(handle.id, None)
        try:
            if outcome is Outcome.OK:
                handle.succeed()
            else:
                handle.settle(outcome or Outcome.CANCELLED)
        except BaseException as error:  # raised by a callback
            if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
                raise
            logging.getLogger("pqrun").exception("a callback of job `%s` failed", handle.id)
        # The number goes last: `wait` must not return before the future is resolved.
        self.by_seq.pop(handle.seq, None)

    def _warn_unresponsive(self, event: ev.AttemptStopping) -> None:
        handle = self.by_seq.get(event.seq)
        if not event.force or handle is None or isinstance(handle.job.payload, Command):
            return
        if event.reason is StopReason.INTERRUPTED:  # the program exits: nobody has waited for the handler
            return
        logging.getLogger("pqrun").warning(
            "%s still runs job `%s` (%s) %g s after it was asked to end; the job keeps its thread and its worker",
            self._handler_name, handle.job.id, event.reason, self._grace,
        )  # fmt: skip
