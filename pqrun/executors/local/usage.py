# SPDX-License-Identifier: LGPL-3.0-or-later
"""The CPU and memory that running jobs use, measured once a second with psutil.

The measurements run in a thread of their own, so that a blocked stdout does not stop them. They begin
when an attempt is a second old, so that short jobs pay nothing for them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Event, Thread
from typing import TYPE_CHECKING

from pqrun.core.job import AttemptId
from pqrun.engine.threads import NoThread, start_thread

if TYPE_CHECKING:
    from pqrun.engine.live_run import JobUsage, LiveRun
    from pqrun.executors.local.usage_sampler import UsageSampler

EVERY, SOON = 1.0, 0.25
COST_SHARE = 20  # sampling may take 1/20 of a CPU, however many processes there are
CLOSE_TIMEOUT_SECONDS = 0.5


def is_possible() -> bool:
    """Say whether psutil is installed."""
    from importlib.util import find_spec

    return find_spec("psutil") is not None


class UsageMonitor:
    """A thread that samples the usage of the attempts of a run."""

    def __init__(self, live: LiveRun) -> None:
        self._live = live
        self._loads: Mapping[AttemptId, JobUsage] = {}
        self._over = Event()
        self._thread = Thread(target=self._sample_repeatedly, name="pqrun-watch", daemon=True)

    def start(self) -> None:
        """Start the thread. Without room for another thread nothing is measured."""
        try:
            start_thread(self._thread)
        except NoThread:  # run without measurements: the jobs need the remaining threads
            self._over.set()

    def spare(self) -> None:
        """Stop measuring, because the jobs need the thread. Earlier samples stay available.

        May be called on any thread.
        """
        self._over.set()

    def close(self) -> None:
        """Stop measuring and wait up to 0.5 seconds for the thread."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_SECONDS)

    def loads(self) -> Mapping[AttemptId, JobUsage]:
        """Return the last sample, by attempt. An attempt appears in it from its second sample on."""
        return self._loads

    def peak_of(self, key: AttemptId) -> int | None:
        """Return the most memory that the attempt was seen with, in bytes; None before its second sample."""
        load = self._loads.get(key)
        return None if load is None else load.peak

    def _sample_repeatedly(self) -> None:
        if not self._wait_for_long_attempt() or not is_possible():
            return
        try:
            from pqrun.executors.local.usage_sampler import UsageSampler
        except (ImportError, OSError):  # psutil is installed but can't be loaded
            return
        sampler = UsageSampler(self._live.pids, self._live.clock.now)
        self._sample_while_long(sampler)
        while self._wait_for_long_attempt():
            self._sample_while_long(sampler)

    def _wait_for_long_attempt(self) -> bool:
        """Wait until some attempt has lived for about a second. Returns False if the monitor was closed.

        Without this wait, a run of short jobs would load psutil and measure processes that are gone a moment
        later, for up to 5 % of a CPU.
        """
        looks: dict[AttemptId, int] = {}
        pause = SOON
        while not self._over.wait(pause):
            looks = {key: looks.get(key, 0) + 1 for key in self._live.pids()}
            if max(looks.values(), default=0) * SOON >= EVERY:
                return True
            pause = SOON if looks else EVERY
        return False

    def _sample_while_long(self, sampler: UsageSampler) -> None:
        """Sample until no attempt lives from one sample to the next."""
        samples, pause = 0, 0.0
        while not self._over.wait(pause):
            began = time.thread_time()
            try:
                self._loads = sampler.sample()
            except OSError:
                pass  # perhaps no descriptor is left; the next sample may succeed
            samples += 1
            if samples > 1 and not self._loads:
                return
            pause = max(EVERY if samples > 1 else SOON, COST_SHARE * (time.thread_time() - began))
