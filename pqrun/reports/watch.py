# SPDX-License-Identifier: LGPL-3.0-or-later
"""Looks once a second at what running jobs take, if psutil is there; without it nothing is known.

In a thread of its own, which loads psutil when the run is a second old: short runs pay nothing, and
a reader of stdout that is stuck keeps nobody from looking.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from threading import Event, Thread
from typing import NamedTuple

from pqrun.model import Key
from pqrun.threads import NoThread, start_thread

EVERY, SOON = 1.0, 0.25
COST_SHARE = 20  # looks may take this part of a CPU, however many processes there are
PATIENCE = 0.5


class Load(NamedTuple):
    """`cpus` that it kept busy since the last look; bytes of memory now, and at most so far."""

    cpus: float
    memory: int
    peak: int


def is_possible() -> bool:
    """Whether anything can be known."""
    return find_spec("psutil") is not None


class Watch:
    """`leaders` says which processes lead the running attempts, `now` what time it is."""

    def __init__(self, leaders: Callable[[], Mapping[Key, int]], now: Callable[[], float]) -> None:
        self._leaders = leaders
        self._now = now
        self._loads: Mapping[Key, Load] = {}
        self._over = Event()
        self._thread = Thread(target=self._look_again_and_again, name="pqrun-watch", daemon=True)

    def start(self) -> None:
        """Begins to look."""
        try:
            start_thread(self._thread)
        except NoThread:  # the jobs need what there is
            self._over.set()

    def spare(self) -> None:
        """From any thread: looks no more, since the jobs need the thread; what was seen stays known."""
        self._over.set()

    def close(self) -> None:
        """Looks no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def loads(self) -> Mapping[Key, Load]:
        """By attempt, as of the last look; an attempt is in it from its second look on."""
        return self._loads

    def peak_of(self, key: Key) -> int | None:
        """Most memory that an attempt was seen with; None if it ended before its second look."""
        load = self._loads.get(key)
        return None if load is None else load.peak

    def _look_again_and_again(self) -> None:
        if self._over.wait(EVERY) or not is_possible():
            return
        try:
            from pqrun.reports.stats import Sampler
        except (ImportError, OSError):  # it is there, but of no use
            return
        sampler, looks, pause = Sampler(self._leaders, self._now), 0, 0.0
        while not self._over.wait(pause):
            began = time.thread_time()
            try:
                self._loads = sampler.look()
            except OSError:
                pass  # out of descriptors, perhaps: the next look may do better
            looks += 1
            pause = max(EVERY if looks > 1 else SOON, COST_SHARE * (time.thread_time() - began))
