# SPDX-License-Identifier: LGPL-3.0-or-later
"""The one thread that writes to people: batches of events to listeners.

It holds no lock, so that a reader who is slow or stuck keeps nobody waiting but this thread; when
too much is untold, `behind` says that nothing new should start.
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
    """Hears everything, in order."""

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """What has happened since the last time."""

    def close(self) -> None:
        """Nothing more will happen."""


class TickingObserver(Protocol):
    """A listener that also acts while nothing happens."""

    def tick(self) -> float:
        """Acts; seconds until it wants to be called again."""


class EventDispatcher:
    """Tells listeners, one batch after another, in a thread of its own.

    `dropped` says which listeners could not do their part because the machine refused something.
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
        """Begins to tell. `NoThread` if there is no thread to be had for it."""
        start_thread(self.thread, patience=START_TIMEOUT_SECONDS)

    def put(self, events: Sequence[ev.Event]) -> None:
        """Under the engine's lock: never waits."""
        self._undelivered.append(events)
        self._events += len(events)
        for event in events:
            if isinstance(event, ev.AttemptEnded) and event.output is not None:
                self._bytes += event.output.out.size + event.output.err.size
        if self._is_backlogged(MAX_UNDELIVERED_EVENTS, MAX_UNDELIVERED_BYTES):
            self.backlogged = True  # only `_catch_up` ends that: somebody has to be told
        self._pending.set()

    def wake(self) -> None:
        """From any thread: listeners that act by themselves are asked what they want to do now."""
        self._pending.set()

    def close(self, seconds: float | None = None) -> bool:
        """Tells the rest; False if that took longer than so many seconds and was given up."""
        self._closing.set()
        self._pending.set()
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def finish(self, last_words: Callable[[], None]) -> None:
        """Tells the rest, and then has its thread say the last words; does not wait for it.

        The thread has ended when all is said; `failed` is what the last words have raised.
        """
        self._last_words = last_words
        self._closing.set()
        self._pending.set()

    def undelivered(self) -> list[Sequence[ev.Event]]:
        """What nobody will be told by us any more, because we were given up; each batch goes to one of us."""
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
        """A listener that raises is dropped and reported; the run goes on."""
        try:
            act()
        except Exception as error:
            self._observers.remove(listener)
            name = type(listener).__name__
            if failure := refusal(error):
                self.dropped.append(f"{name}: {failure}")
                return
            sys.stderr.write(f"pqrun: {name} failed and was dropped; the run goes on\n")
            sys.__excepthook__(*sys.exc_info())
