# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the table knows agrees with the metrics at every moment of many random runs."""

from collections import deque
from random import Random

import pytest
from support.fake_run import FakeRun

from pqrun.core import events as ev
from pqrun.core.job import AttemptId, Command, ExitedWith, JobSpec, Outcome, Priority, RetryPolicy, SelfReport
from pqrun.core.job_row import WAITING
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import MetricsCollector
from pqrun.core.scheduler import Scheduler
from pqrun.engine.dispatcher import Observers
from pqrun.testing import FakeClock, Fate, SimulatedExecutor, simulate
from pqrun.ui.live.state import MAX_FAILURES_KEPT, JobPreviews, LiveTableState


def night(seed):
    random = Random(seed)

    def fate(attempt):
        chance = random.randrange(10)
        said = SelfReport(message=f"went wrong {attempt.key.seq}") if chance < 3 else SelfReport()
        return Fate(
            0.5 + chance, ExitedWith(1 if chance < 3 else 0), deaf=chance == 7, refuse=chance == 8, said=said
        )

    specs = [
        JobSpec(
            f"job-{n}", Command("true"), priority=list(Priority)[n % 4], timeout=5.0 if n % 3 else None,
            retry=RetryPolicy(max=n % 3), grace=1.0,
        )
        for n in range(40)
    ]  # fmt: skip
    scheduler = Scheduler()
    scheduler.add(specs, 0.0)
    scheduler.end_input(0.0)
    return simulate(scheduler, SimulatedExecutor(FakeClock(), 1 + seed % 5, fate)).events


def watching():
    """The state of a live table, and what tells it of a run."""
    live_state = LiveTableState(JobTable())
    return live_state, Observers(live_state.table, [live_state])


@pytest.mark.parametrize("seed", range(6))
def test_it_agrees_with_the_metrics_after_every_event(seed):
    live_state, observers, metrics = *watching(), MetricsCollector(0.0)
    table = observers.table
    for event in night(seed):
        observers.deliver([event])
        metrics.fold([event])
        now = metrics.snapshot(event.at)
        assert len(table.running) == now.active_workers
        assert table.states["queued"] == now.current_queue_size
        assert table.outcomes == metrics.outcomes
        assert table.added == metrics.added
        assert len(table.rows) == metrics.added - metrics.ended == sum(table.states.values())
        shown = live_state.failures(event.at, MAX_FAILURES_KEPT)
        assert len(shown) <= MAX_FAILURES_KEPT
        assert list(shown) == sorted(shown, key=lambda failure: failure.ago)
    assert (table.rows, table.running, set(table.states.values())) == ({}, {}, {0})


def test_failures_are_final_and_a_failed_try_before_another_one_is_a_wait():
    live_state, observers, seen = *watching(), 0
    for event in night(1):
        observers.deliver([event])
        rows = [row for row in observers.table.rows.values() if row.state == WAITING]
        waiting = live_state.waiting(event.at, 100)
        assert [job.seq for job in waiting] == [row.seq for row in sorted(rows, key=lambda row: row.until)]
        longest = max((row.until - event.at for row in rows), default=0.0)
        assert observers.table.waits(event.at) == (len(rows), 0, longest)
        for job in waiting:
            row = observers.table.rows[job.seq]
            assert (job.attempt, job.of) == (row.attempts + 1, row.spec.retry.max + 1)
            assert job.why.endswith(f": went wrong {job.seq}") or not job.why.startswith("exit 1")
            assert 0 <= job.seconds == row.until - event.at
        seen += len(waiting)
    assert seen > 10 and live_state.waiting(1000.0, 9) == ()
    failed = live_state.failures(1000.0, 100)
    assert {failure.seq for failure in failed} <= {e.seq for e in night(1) if isinstance(e, ev.JobEnded)}
    assert len(failed) == MAX_FAILURES_KEPT and live_state.failures(1000.0, 3) == failed[:3]


def test_the_jobs_that_wait_longest_come_last_and_only_some_are_asked_for():
    live_state, observers = watching()
    spec = JobSpec("a", Command("true"), retry=RetryPolicy(max=2))
    observers.deliver(ev.JobAdded(0.0, n, spec) for n in range(1, 9))
    observers.deliver(ev.JobWaiting(1.0, n, 2, 100.0 - n) for n in range(1, 9))
    assert [job.seq for job in live_state.waiting(90.0, 3)] == [8, 7, 6]
    assert observers.table.waits(90.0) == (8, 0, 9.0)
    observers.deliver([ev.JobDropped(91.0, 8, None), ev.JobQueued(91.0, 7, 2, Priority.NORMAL)])
    assert [job.seq for job in live_state.waiting(91.0, 3)] == [6, 5, 4]


def test_jobs_that_wait_for_their_time_count_down_and_do_not_count_at_the_present_rate():
    live_state, observers = watching()
    late = JobSpec("late", Command("true"), not_before=0.0)
    observers.deliver([ev.JobAdded(0.0, 1, late), ev.JobDelayed(0.0, 1, 1, 100.0)])
    [job] = live_state.waiting(90.0, 3)
    assert (job.attempt, job.seconds, job.delayed) == (1, 10.0, True)
    assert job.why.startswith("not before 19")
    table = observers.table
    assert table.waits(90.0) == (1, 1, 10.0)
    for n in range(10):
        table.rate.count(80.0 + n)
    assert table.rate.eta(90.0, 11, waiting=1, delayed=1, last_retry=10.0) == 60.0
    assert table.rate.eta(90.0, 1, waiting=1, delayed=1, last_retry=10.0) == 10.0
    observers.deliver([ev.JobQueued(100.0, 1, 1, Priority.NORMAL)])
    assert live_state.waiting(100.0, 3) == () and not table.rows[1].is_delayed


def test_what_failed_before_a_crash_is_known_but_not_how_that_ended():
    live_state, observers = watching()
    table = observers.table
    observers.replay(
        [*night(2), ev.RunPaused(99.0, True, "key"), ev.RunStopping(99.0, "signal SIGINT", drain=False)]
    )
    assert (live_state.state, table.input_ended) == ("", False)
    failed = table.outcomes[Outcome.FAILED]
    assert failed > 0 and live_state.failures(100.0, 1)
    observers.deliver([ev.JobReopened(100.0, 1, Outcome.FAILED, JobSpec("job-0", Command("true")))])
    assert table.outcomes[Outcome.FAILED] == failed - 1
    assert table.unfinished == 1


def test_a_restarted_job_is_no_longer_among_the_failures():
    live_state, observers = watching()
    observers.replay(night(1))
    first, *rest = live_state.failures(100.0, MAX_FAILURES_KEPT)
    spec = JobSpec(first.name, Command("true"))
    observers.deliver([ev.JobReopened(100.0, first.seq, Outcome.FAILED, spec, "cli")])
    kept = live_state.failures(100.0, MAX_FAILURES_KEPT)
    assert rest and list(kept) == [failure for failure in rest if failure.seq != first.seq]


class Output:
    """Stands for the capture of a running job."""

    class Stream:
        def __init__(self):
            self.data, self.reads = b"", 0

        @property
        def size(self):
            return len(self.data)

        def tail(self, limit):
            self.reads += 1
            return self.data[-limit:]

    def __init__(self):
        self.out, self.err = self.Stream(), self.Stream()


def test_a_running_job_is_read_only_when_it_has_printed_more(tmp_path):
    output, key = Output(), AttemptId(1, 1)
    previews = JobPreviews(FakeRun(outputs={key: output}, status=tmp_path))
    assert previews.at([key]) == {}
    output.out.data = b"one\n"
    assert previews.at([key])[key].line == "one"
    assert previews.at([key])[key].line == "one"
    assert output.out.reads == 1
    output.err.data = b"\x1b[31mbad\x1b[0m \x1b[2J"
    assert previews.at([key])[key].line == "bad"
    (tmp_path / "report1").write_text("status=\x1b]0;t\x07step [/x] 1\nprogress=25%\n")
    seen = previews.at([key])[key]
    assert (seen.status, seen.progress, seen.line) == ("step [/x] 1", 0.25, "bad")
    assert previews.at([]) == {}
    assert previews.at([AttemptId(2, 1)]) == {}


def test_a_job_that_ends_while_it_is_looked_at_does_no_harm(tmp_path):
    class Gone(Output.Stream):
        def tail(self, limit):
            raise FileNotFoundError

    output = Output()
    output.out = Gone()
    output.out.data = b"x"
    assert JobPreviews(FakeRun(outputs={AttemptId(1, 1): output})).at([AttemptId(1, 1)]) == {}


def test_memory_follows_the_unfinished_jobs():
    live_state, observers = watching()
    observers.deliver(night(3))
    table = observers.table
    parts = [*vars(live_state).values(), *(v for v in vars(table).values() if v is not table.folds)]
    sizes = [len(v) for v in parts if isinstance(v, dict | set | deque)]
    assert max(sizes) <= max(MAX_FAILURES_KEPT, len(Outcome))
