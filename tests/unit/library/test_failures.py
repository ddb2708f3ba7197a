# SPDX-License-Identifier: LGPL-3.0-or-later
"""Exceptions, retries, time limits, and handlers that do not listen."""

import gc
import logging
import threading
import time
import traceback
import weakref
from concurrent.futures import CancelledError, wait

import pytest

from pqrun import Config, Job, JobFailed, JobTimeout, PermanentError, Priority, Queue, QueueClosed
from pqrun.engine.threads import NoThread
from pqrun.executors import thread_pool as slots
from pqrun.library import runtime as workshop

from .conftest import echo


class Flaky:
    """Fails so often, then answers the payload."""

    def __init__(self, failures, error=OSError):
        self.tries = []
        self._failures = failures
        self._error = error

    def __call__(self, context, job):
        self.tries.append((job.id, job.retry_count))
        if len(self.tries) <= self._failures:
            raise self._error(f"try {len(self.tries)}")
        return job.payload


def until_cancelled(context, job):
    """Listens."""
    while not context.cancelled:
        time.sleep(0.002)
    return "too late"


def test_an_exception_is_what_the_handle_raises(make_queue):
    def handler(context, job):
        raise LookupError(job.id)

    handle = make_queue(handler).enqueue(Job("a"))
    with pytest.raises(LookupError, match="a"):
        handle.result(30)
    assert isinstance(handle.exception(0), LookupError)


def test_what_is_shown_of_an_exception_begins_with_the_handler(make_queue):
    def handler(context, job):
        raise LookupError

    error = make_queue(handler).enqueue(Job()).exception(30)
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)] == ["handler"]


def test_a_handler_that_takes_other_arguments_fails_its_jobs_with_that(make_queue):
    error = make_queue(lambda: None).enqueue(Job()).exception(30)
    assert isinstance(error, TypeError)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_a_worker_survives_everything_that_can_be_raised(make_queue, error):
    def handler(context, job):
        if job.payload:
            raise job.payload
        return "fine"

    queue = make_queue(handler)
    assert isinstance(queue.enqueue(Job(payload=error())).exception(30), error)
    assert queue.enqueue(Job()).result(30) == "fine"


def test_an_exception_without_words_is_no_trouble(make_queue):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def handler(context, job):
        raise Mute

    assert isinstance(make_queue(handler).enqueue(Job()).exception(30), Mute)


def test_a_failed_job_is_tried_again_as_often_as_it_may(make_queue):
    handler = Flaky(2)
    queue = make_queue(handler)
    job = Job("a", payload="done", max_retries=3)
    assert queue.enqueue(job).result(30) == "done"
    assert handler.tries == [("a", 0), ("a", 1), ("a", 2)]
    assert job.retry_count == 2
    metrics = queue.metrics()
    assert (metrics.jobs_retried, metrics.jobs_completed, metrics.jobs_failed) == (2, 1, 0)
    assert (metrics.jobs_enqueued, metrics.jobs_dequeued) == (3, 3)


def test_the_last_exception_counts_when_retries_are_used_up(make_queue):
    handler = Flaky(9)
    queue = make_queue(handler)
    assert str(queue.enqueue(Job(max_retries=2)).exception(30)) == "try 3"
    metrics = queue.metrics()
    assert (metrics.jobs_retried, metrics.jobs_failed) == (2, 1)


def test_a_job_is_not_tried_again_unless_it_says_so(make_queue):
    handler = Flaky(1)
    assert str(make_queue(handler).enqueue(Job()).exception(30)) == "try 1"
    assert len(handler.tries) == 1


def test_a_permanent_error_ends_a_job_at_once(make_queue):
    class WrongFormat(PermanentError):
        """One of the program's own."""

    handler = Flaky(9, WrongFormat)
    error = make_queue(handler).enqueue(Job(max_retries=5)).exception(30)
    assert isinstance(error, WrongFormat) and len(handler.tries) == 1


def test_a_retry_waits_without_a_worker(make_queue):
    order = []
    others_are_done = threading.Event()

    def handler(context, job):
        order.append(job.id)
        if job.id == "flaky" and job.retry_count == 0:
            raise OSError
        if job.id == "last":
            others_are_done.set()
        if job.id == "flaky":
            assert others_are_done.wait(0)

    queue = make_queue(handler, retry_delay=0.2)
    queue.pause()
    handles = queue.enqueue_many([Job("flaky", max_retries=1), Job("a"), Job("b"), Job("last")])
    queue.unpause()
    assert [handle.exception(30) for handle in handles] == [None] * 4
    assert order == ["flaky", "a", "b", "last", "flaky"]


def test_delays_grow_up_to_their_limit(make_queue):
    events = []
    queue = make_queue(Flaky(4), retry_delay=0.01, max_delay=0.03)
    queue.subscribe(events.extend)
    queue.enqueue(Job(max_retries=4)).result(30)
    queue.shutdown(30)
    waits = [round(e.until - e.at, 6) for e in events if type(e).__name__ == "JobWaiting"]
    assert waits == [0.01, 0.02, 0.03, 0.03]


def test_a_retry_keeps_its_priority_and_is_never_turned_away(make_queue, gate):
    def handler(context, job):
        gate.handler(context, job)
        if job.id == "flaky" and job.retry_count == 0:
            raise OSError

    queue = make_queue(handler, max_queue_size=2)
    queue.enqueue(Job("flaky", priority=Priority.HIGH, max_retries=1))
    gate.wait_for(1)
    queue.enqueue_many([Job("a"), Job("b")])
    assert queue.is_full()
    gate.open()
    queue.join(30)
    # The first of the others may have started in the moment before the retry was due.
    assert [call for call in gate.calls if call != "a"] == ["flaky", "flaky", "b"]


def test_results_that_are_falsy_or_exceptions_are_results_all_the_same(make_queue):
    queue = make_queue(echo)
    for result in (None, 0, "", [], ValueError("as a value")):
        assert queue.enqueue(Job(payload=result)).result(30) is result


def test_a_result_is_not_kept_longer_than_its_handle(make_queue):
    class Large:
        """Something to point at."""

    queue = make_queue(lambda context, job: Large())
    handle = queue.enqueue(Job())
    there = weakref.ref(handle.result(30))
    queue.join(30)
    del handle
    gc.collect()
    assert there() is None


def test_an_exception_makes_no_circle_that_keeps_the_payload_alive(make_queue):
    class Large:
        """Something to point at."""

    def handler(context, job):
        raise LookupError

    queue = make_queue(handler)
    gc.disable()
    try:
        job = Job(payload=Large())
        there = weakref.ref(job.payload)
        handle = queue.enqueue(job)
        assert handle.exception(30) is not None
        queue.join(30)
        queue.enqueue(Job()).exception(30)  # the worker's variables are about another one now
        queue.join(30)
        del job, handle
        assert there() is None
    finally:
        gc.enable()


# Time limits


def test_the_context_is_cancelled_at_the_deadline_and_the_attempt_counts_as_timed_out(make_queue):
    queue = make_queue(until_cancelled)
    handle = queue.enqueue(Job("slow", timeout=0.02))
    error = handle.exception(30)
    assert isinstance(error, JobTimeout)
    assert isinstance(error, TimeoutError) and isinstance(error, JobFailed)
    assert "`slow`" in str(error)
    metrics = queue.metrics()
    assert (metrics.jobs_timeout, metrics.attempts_timeout, metrics.jobs_failed) == (1, 1, 0)


def test_a_handler_that_raises_at_its_deadline_has_timed_out_too(make_queue):
    def handler(context, job):
        while True:
            context.raise_if_cancelled()
            time.sleep(0.002)

    assert isinstance(make_queue(handler).enqueue(Job(timeout=0.02)).exception(30), JobTimeout)


def test_a_timeout_is_retried_like_any_failure(make_queue):
    def handler(context, job):
        return "in time" if job.retry_count else until_cancelled(context, job)

    queue = make_queue(handler)
    assert queue.enqueue(Job(timeout=0.3, max_retries=1)).result(30) == "in time"
    metrics = queue.metrics()
    assert (metrics.jobs_retried, metrics.attempts_timeout, metrics.jobs_timeout) == (1, 1, 0)


def test_a_job_without_a_timeout_has_that_of_the_queue(make_queue):
    queue = make_queue(until_cancelled, default_timeout=0.02)
    assert isinstance(queue.enqueue(Job()).exception(30), JobTimeout)


def test_a_timeout_of_nothing_is_no_limit(make_queue):
    seen = []
    queue = make_queue(lambda context, job: seen.append(context.remaining), default_timeout=0.02)
    queue.enqueue(Job(timeout=0)).result(30)
    other = make_queue(lambda context, job: seen.append(context.remaining), default_timeout=None)
    other.enqueue(Job()).result(30)
    assert seen == [None, None]


@pytest.mark.slow
def test_the_context_tells_what_is_left_of_the_time(make_queue):
    def handler(context, job):
        left = [context.remaining]
        while not context.cancelled:
            time.sleep(0.002)
        job.payload = [*left, context.remaining]

    job = Job(timeout=0.5)
    assert isinstance(make_queue(handler).enqueue(job).exception(30), JobTimeout)
    assert 0 < job.payload[0] <= 0.5 and job.payload[1] == 0


@pytest.mark.slow
def test_waiting_in_the_queue_does_not_count_against_the_limit(make_queue, gate):
    queue = make_queue()
    queue.enqueue(Job("first"))
    gate.wait_for(1)
    handle = queue.enqueue(Job(payload=1, timeout=0.5))
    time.sleep(0.6)  # longer than it may run
    gate.open()
    assert handle.result(30) == 1


def test_raise_if_cancelled_is_silent_until_then(make_queue, gate):
    def handler(context, job):
        context.raise_if_cancelled()
        try:
            return gate.handler(context, job)
        except CancelledError as error:
            job.payload = error
            raise

    queue = make_queue(handler)
    job = Job("a")
    handle = queue.enqueue(job)
    gate.wait_for(1)
    queue.cancel("a")
    wait([handle], 30)
    assert handle.cancelled() and isinstance(job.payload, CancelledError)


def test_a_handler_that_does_not_listen_keeps_its_thread_and_that_is_said_once(make_queue, caplog, until):
    go_on = threading.Event()

    def deaf_handler(context, job):
        go_on.wait(30)
        return "at last"

    caplog.set_level(logging.WARNING, "pqrun")
    queue = make_queue(deaf_handler, grace=0.02)
    try:
        handle = queue.enqueue(Job("stuck", timeout=0.02))
        until(lambda: queue.unresponsive() == 1)
        assert until(lambda: caplog.messages)
        assert not handle.done() and handle.running()
        waiting = queue.enqueue(Job("next"))
        assert (queue.metrics().active_workers, queue.size()) == (1, 1), "its slot is not given back"
    finally:
        go_on.set()
    assert isinstance(handle.exception(30), JobTimeout)
    assert waiting.result(30) == "at last"
    assert queue.unresponsive() == 0
    (message,) = caplog.messages
    assert "deaf_handler" in message and "`stuck`" in message and "timeout" in message


def test_a_handler_that_listens_in_time_is_not_complained_about(make_queue, caplog):
    queue = make_queue(until_cancelled, grace=30.0)
    assert queue.enqueue(Job(timeout=0.02)).exception(30)
    assert caplog.messages == []


def test_a_handler_that_was_asked_to_end_is_not_unresponsive_before_its_grace_is_over(make_queue, until):
    go_on = threading.Event()
    queue = make_queue(lambda context, job: go_on.wait(30), grace=30.0)
    try:
        handle = queue.enqueue(Job("asked"))
        until(handle.running)
        queue.cancel("asked")
        assert queue.unresponsive() == 0
    finally:
        go_on.set()


def test_a_queue_that_can_start_nothing_breaks_off_with_the_reason_instead_of_waiting_for_ever(monkeypatch):
    def no_thread(thread):
        raise NoThread("no room")

    monkeypatch.setattr(workshop, "STARVED_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(slots, "start_thread", no_thread)
    queue = Queue(lambda payload: payload, Config(max_workers=2))
    handle = queue.enqueue(Job("x"))
    with pytest.raises(Exception, match="cannot start any job: Resource temporarily unavailable"):
        try:
            handle.result(60)
        except Exception as error:
            raise error.__cause__ or error from None
    with pytest.raises(QueueClosed):
        queue.enqueue(Job("y"))
    queue.shutdown()
