# SPDX-License-Identifier: LGPL-3.0-or-later
"""Who hears what happens in a queue: a teller for them, as soon as there is anybody."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from threading import Lock, Thread

from pqrun.events import Event
from pqrun.teller import Listener, Teller

Hear = Callable[[Sequence[Event]], object]


class Subscribers:
    """Hears for all of them. One that raises is dropped and reported; the queue goes on."""

    def __init__(self, caught_up: Callable[[], None]) -> None:
        self._caught_up = caught_up
        self._listeners: list[Listener | Hear] = []
        self._teller: Teller | None = None
        self._lock = Lock()

    @property
    def behind(self) -> bool:
        """Too much is untold, so nothing new should start."""
        return self._teller is not None and self._teller.behind

    @property
    def thread(self) -> Thread | None:
        """In which they hear."""
        return None if self._teller is None else self._teller.thread

    def add(self, listener: Listener | Hear) -> Callable[[], None]:
        """From now on it hears everything, in order; answers the function that ends it."""
        with self._lock:
            if self._teller is None:
                teller = Teller([self], self._caught_up)
                teller.start()
                self._teller = teller
            self._listeners.append(listener)
        return lambda: self._drop(listener)

    def put(self, events: Sequence[Event]) -> None:
        """Under the engine's lock: never waits."""
        if self._teller is not None:
            self._teller.put(events)

    def end(self) -> None:
        """They hear the rest, and nothing more."""
        if self._teller is not None:
            self._teller.close()

    def hear(self, events: Sequence[Event]) -> None:
        """In the teller's thread."""
        for listener in list(self._listeners):
            hear: Hear = listener.hear if hasattr(listener, "hear") else listener
            self._guard(listener, lambda hear=hear: hear(events))  # type: ignore[misc]

    def close(self) -> None:
        """In the teller's thread: nothing more will happen."""
        for listener in list(self._listeners):
            if hasattr(listener, "hear") and hasattr(listener, "close"):
                self._guard(listener, listener.close)

    def _guard(self, listener: Listener | Hear, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception:
            self._drop(listener)
            name = getattr(listener, "__qualname__", type(listener).__name__)
            logging.getLogger("pqrun").exception("%s failed and was dropped; the queue goes on", name)

    def _drop(self, listener: Listener | Hear) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)
