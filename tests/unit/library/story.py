# SPDX-License-Identifier: LGPL-3.0-or-later
"""A listener that holds a queue to the scheduler's promises, event by event."""

from collections import Counter

from pqrun.core import events as ev
from pqrun.core.job import Priority
from pqrun.core.metrics import MetricsCollector


class Story:
    """Never more than the slots at work, every job ends once, the order holds, the numbers add up.

    `moves`: priorities are changed while jobs are queued, by whom and whither the events don't all
    tell, so that only the order between priorities is looked at.
    """

    def __init__(self, slots, *, moves=False):
        self.wrong = []
        self.jobs = 0
        self.ended = Counter()
        self.started = 0
        self._slots = slots
        self._moves = moves
        self._queued = {priority: {} for priority in Priority}
        self._priority = {}
        self._active = set()
        self._attempts = Counter()
        self._heard = 0
        self._metrics = MetricsCollector()

    def on_events(self, events):
        """In the order in which it happened."""
        self._metrics.fold(events)
        for event in events:
            try:
                self._check(event)
            except AssertionError as error:
                self.wrong.append((event, error))
        self._heard += len(events)
        if self._heard > 1000:
            self._heard = 0
            check_sums(self._metrics.snapshot())

    def close(self):
        """The end."""
        check_sums(self._metrics.snapshot())

    def _check(self, event):
        match event:
            case ev.JobAdded(seq=seq):
                self.jobs += 1
                assert seq == self.jobs
            case ev.JobQueued(seq=seq, priority=priority):
                assert seq not in self._active and seq not in self._priority
                self._priority[seq] = priority
                self._queued[priority][seq] = None
            case ev.JobChanged(seq=seq, spec=spec) if seq in self._priority:
                self._leave(seq)
                self._priority[seq] = spec.priority
                self._queued[spec.priority][seq] = None
            case ev.AttemptSubmitted(seq=seq, attempt=attempt):
                level = self._priority[seq]
                assert not any(self._queued[higher] for higher in Priority if higher > level), "order"
                assert self._moves or next(iter(self._queued[level])) == seq, "first come, first served"
                self._leave(seq)
                self._active.add(seq)
                self._attempts[seq] += 1
                self.started += 1
                assert attempt == self._attempts[seq]
                assert len(self._active) <= self._slots
            case ev.AttemptEnded(seq=seq):
                self._active.remove(seq)
            case ev.JobRemoved(seq=seq):
                self._leave(seq)
            case ev.JobEnded(seq=seq, outcome=outcome, attempts=attempts):
                assert attempts == self._attempts.pop(seq, 0)
                assert seq not in self._active and seq not in self._priority
                self.ended[outcome] += 1
            case ev.JobDropped():
                self.ended["dropped"] += 1

    def _leave(self, seq):
        del self._queued[self._priority.pop(seq)][seq]


def check_sums(m):
    """The two sums that hold at every moment."""
    assert m.jobs_enqueued - m.jobs_dequeued == m.current_queue_size == sum(m.queue_by_priority.values())
    assert m.jobs_dequeued == (
        m.jobs_completed + m.jobs_failed + m.jobs_timeout + m.jobs_retried
        + m.active_workers + m.attempts_stopped + m.jobs_removed
    )  # fmt: skip
