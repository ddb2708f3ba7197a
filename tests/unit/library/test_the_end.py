# SPDX-License-Identifier: LGPL-3.0-or-later
"""Shutting down, leaving the `with` block, and programs that end without doing either."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, wait

import pytest

from pqrun import Config, Job, JobTimeout, Priority, Queue, QueueClosed, QueueEmpty

from .conftest import echo


def busy(queue, gate, *jobs):
    """One job runs, the others are queued."""
    running = queue.enqueue(Job("running", payload="fine"))
    gate.wait_for(1)
    return running, queue.enqueue_many(jobs)


def test_leaving_the_block_waits_for_every_job():
    with Queue(echo) as queue:
        handles = queue.enqueue_many(Job(payload=n) for n in range(500))
    assert [handle.result(0) for handle in handles] == list(range(500))


def test_leaving_the_block_waits_for_retries_and_for_jobs_that_jobs_put_in():
    def handler(context, job):
        if job.id == "flaky" and job.retry_count == 0:
            raise OSError
        if job.id == "flaky":
            late.append(queue.enqueue(Job("late", payload="late")))
        return job.payload

    late = []
    with Queue(handler, Config(max_workers=1, retry_delay=0.05)) as queue:
        handle = queue.enqueue(Job("flaky", payload=1, max_retries=1))
    assert (handle.result(0), late[0].result(0)) == (1, "late")


def test_an_exception_in_the_block_cancels_everything(gate):
    with pytest.raises(LookupError), Queue(gate.handler, Config(max_workers=1)) as queue:
        running, queued = busy(queue, gate, Job("a"), Job("b", priority=Priority.HIGH))
        raise LookupError
    assert [handle.cancelled() for handle in (running, *queued)] == [True] * 3
    assert gate.calls == ["running"]


def test_who_interrupts_the_waiting_at_the_end_of_the_block_cancels_too(gate, monkeypatch):
    def interrupted(timeout=None):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Queue(gate.handler, Config(max_workers=1)) as queue:
        running, _ = busy(queue, gate)
        monkeypatch.setattr(queue, "join", interrupted)
    assert running.cancelled()


def test_shutting_down_lets_what_runs_finish_and_returns_what_is_undone(make_queue, gate):
    queue = make_queue()
    jobs = [Job("low", priority=Priority.LOW), Job("a"), Job("b"), Job("high", priority=Priority.HIGH)]
    running, handles = busy(queue, gate, *jobs)
    threading.Timer(0.05, gate.open).start()
    undone = queue.shutdown(timeout=30)
    assert [job.id for job in undone] == ["high", "a", "b", "low"]
    assert undone[0] is jobs[3]
    assert running.result(0) == "fine"
    assert all(handle.cancelled() for handle in handles)
    assert len(queue) == 0
    assert gate.calls == ["running"]


def test_what_waits_for_another_attempt_is_undone_too(make_queue, gate, until):
    def handler(context, job):
        gate.handler(context, job)
        if job.id.startswith("flaky"):
            raise OSError

    queue = make_queue(handler, retry_delay=60)
    gate.open()
    early = queue.enqueue(Job("flaky-1", max_retries=1))
    until(lambda: queue.metrics().jobs_retried == 1)
    gate._open.clear()
    late = queue.enqueue(Job("flaky-2", max_retries=1))
    gate.wait_for(2)
    queued = queue.enqueue(Job("queued"))
    threading.Timer(0.05, gate.open).start()  # then the second one fails, while the queue shuts down
    assert [job.id for job in queue.shutdown(timeout=30)] == ["queued", "flaky-1", "flaky-2"]
    assert [handle.cancelled() for handle in (early, late, queued)] == [True] * 3


def test_shutting_down_may_cancel_what_runs(make_queue, gate):
    queue = make_queue(max_workers=3)
    handles = [queue.enqueue(Job(f"j{n}")) for n in range(5)]
    gate.wait_for(3)
    assert [job.id for job in queue.shutdown(timeout=30, cancel=True)] == ["j3", "j4"]
    assert [handle.cancelled() for handle in handles] == [True] * 5
    assert queue.metrics().attempts_stopped == 3


def test_when_the_time_is_over_it_can_be_tried_again(make_queue, gate):
    queue = make_queue()
    running, (queued,) = busy(queue, gate, Job("queued"))
    with pytest.raises(TimeoutError, match="running"):
        queue.shutdown(timeout=0.02)
    assert queued.cancelled() and running.running()
    with pytest.raises(QueueClosed):
        queue.enqueue(Job())
    with pytest.raises(TimeoutError):
        queue.shutdown(timeout=0)
    gate.open()
    assert [job.id for job in queue.shutdown(timeout=30)] == ["queued"]
    assert running.result(0) == "fine"


def test_what_was_not_cancelled_at_first_can_be_cancelled_then(make_queue, gate):
    queue = make_queue()
    running, _ = busy(queue, gate)
    with pytest.raises(TimeoutError):
        queue.shutdown(timeout=0.02)
    assert queue.shutdown(timeout=30, cancel=True) == []
    assert running.cancelled()


def test_a_closed_queue_takes_nothing_but_still_tells(make_queue):
    queue = make_queue(echo)
    queue.enqueue(Job()).result(30)
    assert queue.shutdown(30) == []
    for put in (
        lambda: queue.enqueue(Job()),
        lambda: queue.enqueue(Job(), block=True),
        lambda: queue.enqueue_many([Job()]),
    ):
        with pytest.raises(QueueClosed):
            put()
    with pytest.raises(RuntimeError):
        queue.enqueue(Job())
    with pytest.raises(QueueEmpty):
        queue.dequeue()
    assert queue.cancel("a") is False
    assert queue.metrics().jobs_completed == 1
    assert (len(queue), queue.is_empty()) == (0, True)
    queue.join(0)
    assert queue.shutdown(0) == queue.shutdown(0, cancel=True) == []


def test_shutting_down_an_unused_or_a_paused_queue(make_queue):
    assert make_queue(echo).shutdown(30) == []
    queue = make_queue(echo)
    queue.pause()
    queue.enqueue(Job("a"))
    assert [job.id for job in queue.shutdown(30)] == ["a"]


def test_several_threads_may_shut_down_at_a_time(make_queue, gate):
    queue = make_queue()
    busy(queue, gate, Job("a"))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(queue.shutdown(30))) for _ in range(5)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(30)
    assert [[job.id for job in undone] for undone in answers] == [["a"]] * 5


def test_a_job_that_runs_out_of_time_while_the_queue_shuts_down(make_queue, gate):
    queue = make_queue()
    handle = queue.enqueue(Job(timeout=0.1))
    gate.wait_for(1)
    assert queue.shutdown(timeout=30) == []
    assert isinstance(handle.exception(0), JobTimeout)


def test_undone_jobs_can_be_given_to_another_queue(make_queue, gate):
    queue = make_queue()
    busy(queue, gate, Job("a", payload=1), Job("b", payload=2))
    undone = queue.shutdown(timeout=30, cancel=True)
    other = make_queue(echo)
    assert [handle.result(30) for handle in other.enqueue_many(undone)] == [1, 2]


def test_the_handles_of_undone_jobs_wake_whoever_waits(make_queue, gate):
    queue = make_queue()
    running, (handle,) = busy(queue, gate, Job("a"))
    waiting = threading.Event()
    raised = []

    def waits():
        waiting.set()
        try:
            handle.result(30)
        except CancelledError as error:
            raised.append(error)

    thread = threading.Thread(target=waits)
    thread.start()
    waiting.wait(30)
    queue.shutdown(timeout=30, cancel=True)
    thread.join(30)
    assert len(raised) == 1 and wait([running, handle], 0).not_done == set()


def test_a_failure_of_its_own_is_told_to_everybody_who_waits(make_queue, gate, monkeypatch):
    queue = make_queue()
    running, (queued,) = busy(queue, gate, Job("a"))
    bug = ZeroDivisionError("a bug of ours")

    def fail(*_):
        raise bug

    monkeypatch.setattr(queue._runtime.engine.metrics, "fold", fail)
    late = queue.enqueue(Job("one too many"))
    assert late.exception(30) is bug
    assert queued.exception(30) is bug
    assert running.exception(30) is bug
    with pytest.raises(QueueClosed) as caught:
        queue.enqueue(Job())
    assert caught.value.__cause__ is bug
    gate.open()
    queue.join(30)
    queue.shutdown(timeout=30)


PROGRAM = """
import threading, time
from pqrun import Config, Job, Queue
def handler(context, job):
    begun.set()
    while True:
        time.sleep(0.01)
begun = threading.Event()
queue = Queue(handler, Config(max_workers=2))
queue.enqueue_many(Job() for _ in range(100))
begun.wait()
print("bye")
"""


def test_a_program_that_forgets_to_shut_down_ends_all_the_same():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "bye\n", "")


INTERRUPTED = """
import sys
from pqrun import Config, Job, Queue
with Queue(lambda context, job: job.id, Config(max_workers=4, max_queue_size=50_000)) as queue:
    for n in range(1_000_000):
        handles = [queue.enqueue(Job(), block=True) for _ in range(200)]
        queue.metrics()
        if n == {after}:
            print("now", flush=True)
        if {wait}:
            [handle.result() for handle in handles]
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 5, 20])
@pytest.mark.parametrize("wait", [False, True])
def test_an_interrupt_in_the_middle_of_it_all_ends_the_program(after, wait):
    program = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(after=after, wait=wait)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert program.stdout.readline() == "now\n"
    program.send_signal(signal.SIGINT)
    _, told = program.communicate(timeout=60)
    assert (program.returncode, told.strip().splitlines()[-1]) == (-signal.SIGINT, "KeyboardInterrupt")


class Interrupting(Job):
    """A job in the midst of whose coming in somebody presses Ctrl-C."""

    def __setattr__(self, name, value):
        if name == "submitted_at" and value:
            raise KeyboardInterrupt
        super().__setattr__(name, value)


def test_a_job_that_was_interrupted_when_it_came_in_has_not_come():
    with Queue(lambda context, job: job.id) as queue:
        assert queue.enqueue(Job(id="a")).result(30) == "a"
        with pytest.raises(KeyboardInterrupt):
            queue.enqueue(Interrupting(id="b"))
        queue.join(timeout=30)
        assert queue.enqueue(Job(id="b")).result(30) == "b"
