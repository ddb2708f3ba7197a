# SPDX-License-Identifier: LGPL-3.0-or-later
"""Queue, running jobs and rate over time, as small curves, and how long the rest may take. Pure.

A curve has a value for each of its columns. What was before somebody looked comes from the times that
the journal has of the jobs, so the curves of a past run are there too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate

from pqrun.top.jobs import Job
from pqrun.top.news import RunNow

BARS = " ▁▂▃▄▅▆▇█"
KEPT = 240
WINDOW = 60.0
ENOUGH = 5
SETTLED = 2.0


def curve(values: Sequence[float], width: int) -> str:
    """The last values as bars of up to one line's height, the newest at the right."""
    shown = list(values)[-width:] if width > 0 else []
    most = max(shown, default=0.0)
    if most <= 0:
        return " " * (width - len(shown)) + BARS[1] * len(shown)
    bars = "".join(BARS[max(1, round(value / most * 8))] for value in shown)
    return " " * (width - len(shown)) + bars


class History:
    """A value of each curve for each `step` seconds."""

    def __init__(self) -> None:
        self.step = 1.0
        self.queue: deque[float] = deque(maxlen=KEPT)
        self.running: deque[float] = deque(maxlen=KEPT)
        self.rate: deque[float] = deque(maxlen=KEPT)
        self._ends: deque[tuple[float, int]] = deque()
        self._sampled = 0.0
        self._counted = 0

    def begin(self, jobs: Iterable[Job], run: RunNow) -> None:
        """The curves up to now. A past run's are drawn over its whole length, a live one's by the second."""
        known = list(jobs)
        until = run.now
        span = max(1.0, until - run.began)
        self.step = 1.0 if run.live else max(0.05, span / 60)
        begin = max(run.began, until - self.step * 120)
        size = max(1, min(KEPT, int((until - begin) / self.step)))
        begin = until - size * self.step
        into, out, ends = [0] * (size + 1), [0] * (size + 1), [0] * (size + 1)

        def slot(at: float) -> int:
            return max(0, min(size, int((at - begin) / self.step)))

        for job in known:
            left = job.began if job.began is not None else job.ended
            if job.queued is not None:
                into[slot(job.queued)] += 1
                if left is not None and job.state not in ("queued", "waiting", "pending"):
                    into[slot(max(left, job.queued))] -= 1
            if job.began is not None and (job.state == "running" or job.ended is not None):
                out[slot(job.began)] += 1
                if job.state != "running" and job.ended is not None:
                    out[slot(max(job.ended, job.began))] -= 1
            if job.ended is not None and not job.unfinished and job.ended >= begin:
                ends[slot(job.ended)] += 1
        ends[size - 1] += ends[size]
        for kept, values in ((self.queue, accumulate(into)), (self.running, accumulate(out))):
            kept.clear()
            kept.extend(max(0, value) for value in list(values)[:size])
        self.rate.clear()
        self.rate.extend(count / self.step for count in ends[:size])
        recent = [job.ended for job in known if job.ended is not None and not job.unfinished]
        self._ends.clear()
        if run.live:
            first = max(run.began, until - WINDOW)
            before = sum(1 for ended in recent if ended < first)
            self._ends.append((first, before))
        self._ends.append((until, run.ended))
        self._sampled, self._counted = until, run.ended

    def sample(self, run: RunNow) -> None:
        """The numbers of this moment, if a second has passed since the last ones."""
        if not run.live or (passed := run.now - self._sampled) < 0.95:
            return
        self.queue.append(run.metrics.current_queue_size)
        self.running.append(run.metrics.active_workers)
        self.rate.append(max(0, run.ended - self._counted) / passed)
        self._sampled, self._counted = run.now, run.ended
        self._ends.append((run.now, run.ended))
        while run.now - self._ends[0][0] > WINDOW:
            self._ends.popleft()

    def per_second(self, run: RunNow) -> float | None:
        """Jobs a second: of the last minute, of a past run's whole length; None if that says nothing."""
        if not run.live:
            span = run.now - run.began
            return run.ended / span if span > 0 and run.ended else None
        if not self._ends:
            return None
        began, before = self._ends[0]
        span, ended = run.now - began, run.ended - before
        return ended / span if ended >= ENOUGH and span >= SETTLED else None

    def eta(self, run: RunNow) -> float | None:
        """Seconds until the rest has ended, if it goes on like that."""
        rate, left = self.per_second(run), run.added - run.ended
        return left / rate if run.live and rate and left > 0 and not run.paused else None
