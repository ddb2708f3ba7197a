# SPDX-License-Identifier: LGPL-3.0-or-later
"""A future gets its condition when somebody waits: whoever comes before, beside or after the result misses nothing."""

import gc
import sys
import threading
import weakref
from collections import Counter
from concurrent.futures import ALL_COMPLETED, CancelledError, Future, as_completed, wait

import pytest

from pqrun import Job
from pqrun.core import events as ev
from pqrun.library.admission import MAX_SHARED_SPECS

from .conftest import echo


@pytest.fixture
def hasty():
    """Threads change after a few steps, so that many meet between two of them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_future_for_which_nobody_waits_has_no_condition(make_queue):
    queue = make_queue(echo)
    handles = queue.enqueue_many(Job(payload=n) for n in range(50))
    queue.join(30)
    assert [handle.result() for handle in handles] == list(range(50))
    assert all(handle.done() and not handle.running() for handle in handles)
    assert [handle for handle in handles if handle._own_condition is not None] == []
    assert all(isinstance(handle, Future) for handle in handles)


def test_callbacks_run_once_whether_they_come_before_or_after_the_result(make_queue, hasty):
    queue = make_queue(echo, max_workers=4, max_queue_size=5_000)
    called = Counter()
    lock = threading.Lock()

    def call_back(handle):
        with lock:
            called[handle.result()] += 1

    for n in range(3_000):
        queue.enqueue(Job(payload=n)).add_done_callback(call_back)
    queue.join(60)
    assert called == dict.fromkeys(range(3_000), 1)


def test_many_threads_that_wait_for_the_same_futures_all_get_the_results(make_queue, hasty):
    queue = make_queue(echo, max_workers=4, max_queue_size=5_000)
    handles = queue.enqueue_many(Job(payload=n) for n in range(1_500))
    found = {}

    def wait_for_them(name, how):
        found[name] = how()

    ways = {
        "result": lambda: [handle.result(30) for handle in handles],
        "backwards": lambda: [handle.result(30) for handle in reversed(handles)][::-1],
        "exception": lambda: [handle.exception(30) or n for n, handle in enumerate(handles)],
        "wait": lambda: sorted(handle.result(0) for handle in wait(handles, 30, ALL_COMPLETED).done),
        "as_completed": lambda: sorted(handle.result(0) for handle in as_completed(handles, 30)),
    }
    threads = [threading.Thread(target=wait_for_them, args=way) for way in ways.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {way: list(range(1_500)) for way in ways}


def test_what_is_not_there_yet_is_waited_for_as_long_as_one_likes(make_queue, gate):
    handle = make_queue().enqueue(Job(payload=1))
    with pytest.raises(TimeoutError):
        handle.result(0.01)
    assert not handle.done() and "pending" in repr(handle)
    gate.open()
    assert handle.result(30) == 1 and handle.exception(0) is None
    assert "finished" in repr(handle)


def test_the_error_and_the_cancellation_of_a_future_without_a_waiter(make_queue, gate):
    def handler(context, job):
        raise LookupError(job.id)

    failing = make_queue(handler)
    broken = failing.enqueue(Job("a"))
    failing.join(30)
    with pytest.raises(LookupError, match="a"):
        broken.result(0)
    queue = make_queue()
    queue.enqueue(Job("first"))
    gate.wait_for(1)
    handle = queue.enqueue(Job("b"))
    assert handle.cancel() and handle.cancelled() and handle.done()
    with pytest.raises(CancelledError):
        handle.result(0)


def test_a_future_with_an_exception_is_freed_without_the_garbage_collector(make_queue):
    class Payload:
        pass

    def handler(context, job):
        raise LookupError("on purpose")

    def ask():
        """The traceback of the exception refers to all frames that it has passed."""
        handle = queue.enqueue(Job(payload=Payload()))
        gone = weakref.ref(handle.job.payload)
        try:
            handle.result(30)
        except LookupError:
            del handle  # so that this frame does not keep it alive
        return gone

    queue = make_queue(handler)
    gc.collect()
    gc.disable()
    try:
        gone = ask()
        queue.join(30)
        queue.enqueue(Job()).exception(30)  # the worker's last job is another one now
        queue.join(30)
        assert gone() is None
    finally:
        gc.enable()


def test_calls_share_a_spec_but_a_listener_sees_each_with_its_id_and_its_settings(make_queue, gate):
    heard = []
    queue = make_queue()
    first, second = queue.enqueue(Job("before", max_retries=2)), queue.enqueue(Job("early", max_retries=2))
    assert first.spec is second.spec and first.spec.id == ""
    gate.wait_for(1)
    assert queue.metrics().current_queue_size == 1  # "early" is in the queue, before anybody listens
    stop = queue.subscribe(heard.extend)
    queue.enqueue(Job("a", priority=2, timeout=7, max_retries=1))
    queue.set_priority("early", 3)
    queue.set_priority("a", 0)
    gate.open()
    queue.join(30)
    queue.shutdown(30)
    stop()
    spec = {event.spec.id: event.spec for event in heard if isinstance(event, ev.JobAdded)}["a"]
    assert (spec.id, spec.priority, spec.timeout, spec.retry.max) == ("a", 2, 7, 1)
    changed = [event.spec for event in heard if isinstance(event, ev.JobChanged)]
    assert [(spec.id, spec.priority, spec.retry.max) for spec in changed] == [("early", 3, 2), ("a", 0, 1)]


def test_a_listener_that_comes_in_the_middle_of_a_turn_hears_no_job_without_its_id(make_queue, monkeypatch):
    heard, threads = [], []
    queue = make_queue(echo)
    add = queue._runtime.scheduler.add

    def add_slowly(specs, now):
        numbers = add(specs, now)
        if not threads:
            threads.append(threading.Thread(target=queue.subscribe, args=(heard.extend,)))
            threads[0].start()
            threads[0].join(0.2)  # it waits for the end of this turn
        return numbers

    monkeypatch.setattr(queue._runtime.scheduler, "add", add_slowly)
    queue.enqueue(Job("first")).result(30)
    threads[0].join(30)
    queue.enqueue(Job("second")).result(30)
    queue.shutdown(30)
    assert [event.spec.id for event in heard if isinstance(event, ev.JobAdded)] == ["second"]


def test_a_program_with_thousands_of_different_timeouts_keeps_few_specs(make_queue):
    queue = make_queue(echo, max_queue_size=10_000)
    queue.enqueue_many(Job(timeout=1000 + n / 8) for n in range(2 * MAX_SHARED_SPECS + 5))
    queue.join(60)
    assert len(queue._admission._specs) <= MAX_SHARED_SPECS


def test_a_listener_hears_of_jobs_while_all_workers_are_busy(make_queue, gate, until):
    heard = []
    queue = make_queue()
    queue.enqueue(Job("first"))
    gate.wait_for(1)
    queue.subscribe(heard.extend)
    for n in range(3):
        queue.enqueue_many([Job(f"a{n}"), Job(f"b{n}")])
        until(lambda n=n: sum(isinstance(event, ev.JobQueued) for event in heard) == 2 * (n + 1))
