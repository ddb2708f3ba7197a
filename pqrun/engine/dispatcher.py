# SPDX-License-Identifier: LGPL-3.0-or-later
"""The dispatcher: one thread that hands batches of events to observers, the only one that writes to people.

It holds no lock, so a slow or stuck reader of the output holds up only this thread. When too much is
undelivered, `backlogged` tells the engine to start nothing new.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event as Flag
from threading import Thread
from typing import Protocol

from pqrun.core import events as ev
from pqrun.core.errors import refusal
from pqrun.engine.threads import START_TIMEOUT_SECONDS, start_thread

MAX_UNDELIVERED_BYTES = 64 * 1024 * 1024
MAX_UNDELIVERED_EVENTS = 10_000
COALESCE_INTERVAL_SECONDS = 0.02


class Observer(Protocol):
    """A receiver of all events, in order. Its methods are called on the dispatcher thread."""

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Handle the events since the last call."""

    def close(self) -> None:
        """Handle the end of the run: no more events will come."""


class TickingObserver(Protocol):
    """An observer that also acts while nothing happens."""

    def tick(self) -> float:
        """Act, and return the seconds until the next call is wanted."""


class EventDispatcher:
    """The thread that hands batches of events to observers, one batch after another.

    `dropped` names the observers that failed because the machine refused something, with the reason.
    """

    def __init__(self, listeners: Sequence[Observer], caught_up: Callable[[], None]) -> None:
        self.backlogged = False
        self.dropped: list[str] = []
        self._observers = list(listeners)
        self._caught_up = caught_up
        self._undelivered: deque[Sequence[ev.Event]] = deque()
        self._events = 0
        self._bytes = 0
        self._delivered_events = 0
        self._delivered_bytes = 0
        self._pending = Flag()
        self._closing = Flag()
        self._last_words: Callable[[], None] = lambda: None
        self.failed: BaseException | None = None
        self.thread = Thread(target=self._run, name="pqrun-teller", daemon=True)

    def start(self) -> None:
        """Start the thread.

        Raises:
            NoThread: The machine has no room for another thread.
        """
        start_thread(self.thread, patience=START_TIMEOUT_SECONDS)

    def put(self, events: Sequence[ev.Event]) -> None:
        """Add a batch for delivery. Called under the engine's lock, so it never waits."""
        self._undelivered.append(events)
        self._events += len(events)
        for event in events:
            if isinstance(event, ev.AttemptEnded) and event.output is not None:
                self._bytes += event.output.out.size + event.output.err.size
        if self._is_backlogged(MAX_UNDELIVERED_EVENTS, MAX_UNDELIVERED_BYTES):
            self.backlogged = True  # only `_catch_up` clears it, because it also wakes the engine
        self._pending.set()

    def wake(self) -> None:
        """Let the observers with a `tick` act soon. Called on any thread."""
        self._pending.set()

    def close(self, seconds: float | None = None) -> bool:
        """Deliver the rest and end the thread. Return False if that took longer than `seconds`."""
        self._closing.set()
        self._pending.set()
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def finish(self, last_words: Callable[[], None]) -> None:
        """Let the thread deliver the rest, call `last_words` and end; return without waiting for it.

        After the end of the thread, `failed` holds the exception that `last_words` raised, if any.
        """
        self._last_words = last_words
        self._closing.set()
        self._pending.set()

    def undelivered(self) -> list[Sequence[ev.Event]]:
        """Take the undelivered batches, after the wait for the thread was given up.

        Each batch goes either to this caller or to the thread, never to both.
        """
        batches = []
        while self._undelivered:
            batches.append(self._undelivered.popleft())
        return batches

    def _is_backlogged(self, events: int, size: int) -> bool:
        return self._events - self._delivered_events > events or self._bytes - self._delivered_bytes > size

    def _run(self) -> None:
        wait: float | None = self._tick()
        while True:
            self._pending.wait(wait)
            self._pending.clear()
            closing = self._closing.is_set()
            self._deliver()
            wait = self._tick()
            if closing and not self._undelivered:
                break
            self._closing.wait(COALESCE_INTERVAL_SECONDS)
        for listener in list(self._observers):
            self._guard(listener, listener.close)
        try:
            self._last_words()
        except BaseException as error:
            self.failed = error

    def _deliver(self) -> None:
        while self._undelivered:
            batch = self._undelivered.popleft()
            for listener in list(self._observers):
                self._guard(listener, partial(listener.on_events, batch))
            self._delivered_events += len(batch)
            for event in batch:
                if isinstance(event, ev.AttemptEnded) and event.output is not None:
                    self._delivered_bytes += event.output.out.size + event.output.err.size
            self._catch_up()
        self._catch_up()

    def _catch_up(self) -> None:
        if self.backlogged and not self._is_backlogged(
            MAX_UNDELIVERED_EVENTS // 2, MAX_UNDELIVERED_BYTES // 2
        ):
            self.backlogged = False
            self._caught_up()

    def _tick(self) -> float | None:
        waits = []
        for listener in list(self._observers):
            if hasattr(listener, "tick"):
                self._guard(listener, lambda listener=listener: waits.append(listener.tick()))  # type: ignore[misc]
        return min(waits, default=None)

    def _guard(self, listener: Observer, act: Callable[[], object]) -> None:
        """Call an observer. An observer that raises is dropped and reported, and the run continues."""
        try:
            act()
        except Exception as error:
            self._observers.remove(listener)
            name = type(listener).__name__
            if failure := refusal(error):
                self.dropped.append(f"{name}: {failure}")
                return
            sys.stderr.write(f"pqrun: {name} failed and was dropped; the run continues\n")
            sys.__excepthook__(*sys.exc_info())
