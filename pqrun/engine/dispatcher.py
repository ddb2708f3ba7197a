# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dispatcher: one thread that tells the observers what happened, the only one that writes to people. [HOT]

Budget: for each event, the fold of the table, one dictionary look-up, and the handlers declared for its type.

It holds no lock, so a slow or stuck reader of the output holds up only this thread. When too much is
undelivered, `backlogged` tells the engine to start nothing new.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from math import inf
from threading import Thread
from typing import Any, Generic, Protocol, TypeVar

from pqrun.core import events as ev
from pqrun.core.errors import refusal
from pqrun.core.events import Handler, Observer
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.engine.reactor import ThreadWaker
from pqrun.engine.threads import START_TIMEOUT_SECONDS, start_thread

MAX_UNDELIVERED_BYTES = 64 * 1024 * 1024
MAX_UNDELIVERED_EVENTS = 10_000
MAX_EVENTS_PER_BATCH = 4096
COALESCE_INTERVAL_SECONDS = 0.02
_ENDS: frozenset[type] = frozenset({ev.AttemptEnded})


class EventReceiver(Protocol):
    """The receiver of all events of a run. Its methods are called on the dispatcher thread."""

    def deliver(self, events: Sequence[ev.Event]) -> None:
        """Handle the events since the last call, in order."""

    def tick(self) -> float:
        """Act after each delivery, and return the seconds until the next call is wanted."""

    def close(self) -> None:
        """Handle the end of the run: no more events will come."""


ObserverT = TypeVar("ObserverT", bound=Observer)
Result = TypeVar("Result")


class Observers(Generic[ObserverT]):
    """The observers of a run. Each event is folded into the table once, and given to those that handle its type.

    An observer that raises is passed to `failed` and gets nothing more. By default it is reported, and `dropped`
    names it, with the reason, if the machine refused something.
    """

    def __init__(
        self,
        table: JobTable,
        observers: Iterable[ObserverT],
        failed: Callable[[ObserverT, Exception], None] | None = None,
    ) -> None:
        self.table = table
        self.dropped: list[str] = []
        self._failed = failed or self._report
        self._observers = list(observers)
        self._rest: Iterator[ev.Event] = iter(())
        self._calls: dict[type, list[tuple[ObserverT, Handler]]] = {}
        for observer in self._observers:
            for kind, handler in observer.handlers.items():
                self._calls.setdefault(kind, []).append((observer, handler))
        # The fold and the calls of each type side by side, for one look-up an event.
        self._steps: dict[
            type, tuple[Callable[[Any], JobRow | None], Sequence[tuple[ObserverT, Handler]]]
        ] = {
            kind: (table.folds.get(kind, _no_row), self._calls.get(kind, ()))
            for kind in table.folds.keys() | self._calls.keys()
        }

    @property
    def kinds(self) -> Iterable[type]:
        """The types of events that an observer handles."""
        return self._calls.keys()

    def deliver(self, events: Iterable[ev.Event]) -> None:
        """Fold each event and call its handlers before the next event is folded."""
        self._rest = rest = iter(events)
        steps = self._steps
        for event in rest:
            fold, calls = steps.get(type(event), _NO_STEP)
            row = fold(event)
            for observer, handler in calls:
                try:
                    handler(event, row)
                except Exception as error:
                    self._drop(observer, error)

    def replay(self, events: Iterable[ev.Event]) -> None:
        """Deliver the events of earlier processes of the run to the observers that want them."""
        past = Observers(self.table, (one for one in self._observers if one.wants_past), self._drop)
        keeps_ended, self.table.keeps_ended = self.table.keeps_ended, True  # the restart may undo their ends
        past.deliver(events)
        self.table.keeps_ended = keeps_ended
        self.table.begin_process()

    def call(self, event: ev.Event, row: JobRow | None) -> None:
        """Call the handlers for an event that was folded already."""
        for observer, handler in self._calls.get(type(event), ()):
            try:
                handler(event, row)
            except Exception as error:
                self._drop(observer, error)

    def each(self, act: Callable[[ObserverT], Result]) -> list[Result]:
        """Call `act` with each observer; return the results of those that did not raise."""
        results: list[Result] = []
        for observer in list(self._observers):
            try:
                results.append(act(observer))
            except Exception as error:
                self._drop(observer, error)
        return results

    def take_rest(self) -> list[ev.Event]:
        """Take the events behind the one that is being handled. Called when a handler is stuck, on another thread.

        Each event goes either to this caller or to the handlers, never to both.
        """
        return list(self._rest)

    def tick(self) -> float:
        """Let all observers act; return the seconds until the next call is wanted."""
        wait = inf
        for observer in list(self._observers):
            try:
                wait = min(wait, observer.tick())
            except Exception as error:
                self._drop(observer, error)
        return wait

    def close(self) -> None:
        """Close all observers, in order."""
        self.each(lambda observer: observer.close())

    def _drop(self, observer: ObserverT, error: Exception) -> None:
        if observer in self._observers:
            self._observers.remove(observer)
        for kind, calls in self._calls.items():
            self._calls[kind] = left = [call for call in calls if call[0] is not observer]
            self._steps[kind] = (self._steps[kind][0], left)
        self._failed(observer, error)

    def _report(self, observer: Observer, error: Exception) -> None:
        name = type(observer).__name__
        if failure := refusal(error):
            self.dropped.append(f"{name}: {failure}")
            return
        sys.stderr.write(f"pqrun: {name} failed and was dropped; the run continues\n")
        sys.__excepthook__(type(error), error, error.__traceback__)


def _no_row(_: ev.Event) -> None:
    """Fold nothing: the table does not know this type of event."""


_NO_STEP: tuple[Callable[[Any], None], Sequence[Any]] = (_no_row, ())


def _in_parts(events: Sequence[ev.Event], size: int) -> Iterator[tuple[Sequence[ev.Event], int]]:
    """Yield a long batch in parts, the output's `size` with the last: each part is freed once it was delivered."""
    first = 0
    while len(events) - first > MAX_EVENTS_PER_BATCH:
        yield events[first : first + MAX_EVENTS_PER_BATCH], 0
        first += MAX_EVENTS_PER_BATCH
    yield events[first:], size


class EventDispatcher:
    """The thread that hands batches of events to a receiver, one batch after another.

    `failed`: the first exception of the receiver, or of the function that `finish` got.
    """

    def __init__(self, receiver: EventReceiver, caught_up: Callable[[], None]) -> None:
        self.backlogged = False
        self._receiver = receiver
        self._caught_up = caught_up
        self._undelivered: deque[tuple[Sequence[ev.Event], int]] = deque()
        self._events = 0
        self._bytes = 0
        self._delivered_events = 0
        self._delivered_bytes = 0
        self._pending = ThreadWaker()
        self._closing = False
        self._pause = ThreadWaker()
        self._last_words: Callable[[], None] = lambda: None
        self.failed: BaseException | None = None
        self.thread = Thread(target=self._run, name="pqrun-dispatcher", daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            NoThread: The machine has no room for another thread.
        """
        start_thread(self.thread, patience=START_TIMEOUT_SECONDS)

    def put(self, events: Sequence[ev.Event]) -> None:
        """Add a batch for delivery. Called under the engine's lock, so it never waits."""
        size = 0
        for event in compress(events, map(_ENDS.__contains__, map(type, events))):
            assert type(event) is ev.AttemptEnded
            if event.output is not None:
                size += event.output.out.size + event.output.err.size
        self._events += len(events)
        self._bytes += size
        if (
            self._events - self._delivered_events > MAX_UNDELIVERED_EVENTS
            or self._bytes - self._delivered_bytes > MAX_UNDELIVERED_BYTES
        ):
            self.backlogged = True  # only `_catch_up` clears it, because it also wakes the engine
            self._undelivered.extend(_in_parts(events, size))
        else:
            self._undelivered.append((events, size))
        self._pending.wake()

    def wake(self) -> None:
        """Let the observers act soon. Called on any thread."""
        self._pending.wake()

    def close(self, seconds: float | None = None) -> bool:
        """Deliver the rest and end the thread. Return False if that took longer than `seconds`."""
        self._close()
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def finish(self, last_words: Callable[[], None]) -> None:
        """Let the thread deliver the rest, call `last_words` and end; return without waiting for it."""
        self._last_words = last_words
        self._close()

    def _close(self) -> None:
        self._closing = True
        self._pause.wake()
        self._pending.wake()

    def undelivered(self) -> list[Sequence[ev.Event]]:
        """Take the undelivered batches, after the wait for the thread was given up.

        Each batch goes either to this caller or to the thread, never to both.
        """
        batches = []
        while self._undelivered:
            batches.append(self._undelivered.popleft()[0])
        return batches

    def _run(self) -> None:
        wait = self._receiver.tick()
        while True:
            self._pending.wait(wait)
            closing = self._closing
            self._deliver()
            wait = self._receiver.tick()
            if closing and not self._undelivered:
                break
            if not self._closing:
                self._pause.wait(COALESCE_INTERVAL_SECONDS)
        self._receiver.close()
        try:
            self._last_words()
        except BaseException as error:
            self._note_failure(error)

    def _deliver(self) -> None:
        while self._undelivered:
            batch, size = self._undelivered.popleft()
            try:
                self._receiver.deliver(batch)
            except BaseException as error:
                self._note_failure(error)
            self._delivered_events += len(batch)
            self._delivered_bytes += size
            if self.backlogged:
                self._catch_up()
        if self.backlogged:
            self._catch_up()

    def _catch_up(self) -> None:
        if (
            self._events - self._delivered_events <= MAX_UNDELIVERED_EVENTS // 2
            and self._bytes - self._delivered_bytes <= MAX_UNDELIVERED_BYTES // 2
        ):
            self.backlogged = False
            self._caught_up()

    def _note_failure(self, error: BaseException) -> None:
        """Keep a failure for the main thread: without this thread, the run would stand still."""
        self.failed = self.failed or error
