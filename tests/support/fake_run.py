# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run, as the parts that show it or talk to others ask it: answers that a test sets."""

from pqrun.core.job_table import JobTable
from pqrun.core.metrics import Metrics
from pqrun.testing import FakeClock


class FakeHistory:
    """The rows of a run's jobs, folded from its events in parts."""

    def __init__(self, events) -> None:
        self._events = events
        self._read = 0
        self._table = JobTable(keeps_ended=True)

    @property
    def rows(self):
        return self._table.rows

    def read(self) -> bool:
        part = self._events[self._read : self._read + 40]
        self._table.fold_all(part)
        self._read += len(part)
        return not part


class FakeRun:
    """A `LiveRun` with plain attributes for answers, and an executor to resize."""

    control_socket = ""

    def __init__(
        self,
        executor=None,
        clock=None,
        *,
        endless=False,
        validate_job=None,
        options=(),
        outputs=(),
        status=None,
        story=None,
        usage=(),
        pids=dict,
        left=None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.endless = endless
        self.validate_job = validate_job
        self._executor = executor
        self._options = dict(options)
        self._outputs = dict(outputs)
        self._status = status
        self._story = story
        self._usage = dict(usage)
        self._pids = pids
        self._left = left

    def metrics(self):
        return Metrics()

    def metrics_in_turn(self, now):
        return Metrics()

    def seconds_left(self, now):
        return self._left

    def states(self):
        return {}

    def facts(self):
        return {"id": "here"}

    def history(self):
        return None if self._story is None else FakeHistory(self._story.events)

    def job_options(self):
        return self._options

    def workers(self):
        return self._executor.capacity()

    def resize(self, count):
        self._executor.resize(count)

    def hold_reason(self):
        return ""

    def output_of(self, key):
        return self._outputs.get(key)

    def stdin_of(self, key):
        return self._executor.stdin_of(key)

    def status_path(self, key):
        return "/nowhere" if self._status is None else str(self._status / f"report{key.seq}")

    def pids(self):
        return self._pids()

    def input_stream(self, number):
        return None

    def usage(self):
        return self._usage
