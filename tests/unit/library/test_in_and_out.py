# SPDX-License-Identifier: LGPL-3.0-or-later
"""Putting jobs in, in order; a full queue; taking them out again, moving and cancelling them."""

import concurrent.futures
import queue as standard_queue
import threading
import time

import pytest

from pqrun import Config, Job, Priority, Queue, QueueClosed, QueueEmpty, QueueFull

from .conftest import echo


def fill(queue, gate, *jobs):
    """One job holds the only worker; the others wait behind it."""
    first = queue.enqueue(Job("first"))
    gate.wait_for(1)
    return [first, *(queue.enqueue(job) for job in jobs)]


def in_a_thread(act):
    """Runs it there; a future of what it answers."""
    future = concurrent.futures.Future()

    def run():
        try:
            future.set_result(act())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_a_queue_without_a_handler_is_refused():
    for handler in (None, 3, "handler"):
        with pytest.raises(TypeError, match="^handler: "):
            Queue(handler)


def test_only_jobs_can_be_enqueued(make_queue):
    queue = make_queue(print)
    for enqueue in (queue.enqueue, lambda job: queue.enqueue_many([Job(), job])):
        with pytest.raises(TypeError, match=r"^job: a Job, not 'text'"):
            enqueue("text")
    assert queue.metrics().jobs_enqueued == 0


def test_what_the_handler_returns_is_the_result():
    with Queue(lambda context, job: job.payload * 2) as queue:
        handles = [queue.enqueue(Job(payload=n)) for n in range(20)]
        assert isinstance(handles[0], concurrent.futures.Future)
        assert [handle.result(timeout=30) for handle in handles] == [2 * n for n in range(20)]


def test_a_queue_without_a_config_is_a_medium_one(gate):
    with Queue(gate.handler) as queue:
        handles = [queue.enqueue(Job()) for _ in range(1010)]
        gate.wait_for(10)
        assert (queue.metrics().active_workers, queue.size()) == (10, 1000)
        with pytest.raises(QueueFull):
            queue.enqueue(Job())
        gate.open()
    assert all(handle.done() for handle in handles)


def test_higher_priority_first_and_within_one_first_come_first_served(make_queue, gate):
    queue = make_queue()
    levels = [Priority.LOW, Priority.HIGH, Priority.NORMAL, Priority.CRITICAL] * 3
    fill(queue, gate, *(Job(f"{level.name}-{n}", priority=level) for n, level in enumerate(levels)))
    gate.open()
    queue.join(30)
    expected = [f"{level.name}-{n}" for n, level in sorted(enumerate(levels), key=lambda p: (-p[1], p[0]))]
    assert gate.calls == ["first", *expected]


def test_enqueueing_sets_when_it_was_and_starts_the_count_of_retries_anew(make_queue):
    queue = make_queue(echo)
    job = Job("again")
    before = time.time()
    queue.enqueue(job).result(30)
    assert before - 1 < job.submitted_at < time.time() + 1
    job.retry_count = 7
    queue.enqueue(job).result(30)
    assert job.retry_count == 0


def test_an_id_is_unique_among_unfinished_jobs_only(make_queue, gate):
    queue = make_queue()
    running, queued = fill(queue, gate, Job("queued"))
    for job_id in ("first", "queued"):
        with pytest.raises(ValueError, match=f"^id: .*`{job_id}`"):
            queue.enqueue(Job(job_id))
    gate.open()
    concurrent.futures.wait([running, queued], 30)
    queue.enqueue(Job("first")).result(30)


def test_a_field_that_was_spoilt_after_the_job_was_made_is_refused(make_queue):
    queue = make_queue(echo)
    for field, value in (("priority", 9), ("timeout", -1), ("max_retries", None), ("id", "")):
        job = Job()
        setattr(job, field, value)
        with pytest.raises(ValueError, match=f"^{field}: "):
            queue.enqueue(job)
    assert queue.enqueue(Job(payload=1)).result(30) == 1


def test_a_full_queue_says_so_at_once_and_loses_nothing(make_queue, gate):
    queue = make_queue(max_queue_size=2)
    fill(queue, gate, Job("a"), Job("b"))
    assert queue.is_full()
    job = Job("c")
    with pytest.raises(QueueFull, match="full"):
        queue.enqueue(job)
    assert job.submitted_at is None
    with pytest.raises(standard_queue.Full):
        queue.enqueue(Job())
    gate.open()
    queue.join(30)
    assert gate.calls == ["first", "a", "b"]


def test_a_blocked_enqueue_goes_on_when_there_is_room(make_queue, gate):
    queue = make_queue(max_queue_size=1)
    fill(queue, gate, Job("a"))
    blocked = [in_a_thread(lambda n=n: queue.enqueue(Job(payload=n), block=True)) for n in range(5)]
    gate.open()
    assert sorted(future.result(30).result(30) for future in blocked) == [0, 1, 2, 3, 4]


def test_a_blocked_enqueue_gives_up_after_its_timeout(make_queue, gate):
    queue = make_queue(max_queue_size=1)
    fill(queue, gate, Job("a"))
    for timeout in (0, 0.02, -1):
        with pytest.raises(QueueFull):
            queue.enqueue(Job("late"), block=True, timeout=timeout)
    gate.open()
    queue.join(30)
    assert gate.calls == ["first", "a"]


def test_a_blocked_enqueue_is_told_when_the_queue_is_shut_down(make_queue, gate, until):
    queue = make_queue(max_queue_size=1)
    fill(queue, gate, Job("a"))
    blocked = [in_a_thread(lambda: queue.enqueue(Job(), block=True)) for _ in range(3)]
    until(lambda: queue._admission._blocked == 3)
    queue.shutdown(cancel=True, timeout=30)
    for future in blocked:
        with pytest.raises(QueueClosed):
            future.result(30)


def test_room_that_is_made_by_cancelling_and_dequeueing_is_room(make_queue, gate, until):
    queue = make_queue(max_queue_size=1)
    fill(queue, gate, Job("a"))
    for give_way in (lambda: queue.cancel("a"), queue.dequeue):
        blocked = in_a_thread(lambda: queue.enqueue(Job(), block=True))
        until(lambda: queue._admission._blocked == 1)
        give_way()
        blocked.result(30)


def test_many_go_in_together_or_not_at_all(make_queue, gate):
    queue = make_queue(max_queue_size=3)
    fill(queue, gate, Job("a"))
    with pytest.raises(QueueFull):
        queue.enqueue_many(Job() for _ in range(3))
    with pytest.raises(ValueError, match="^id: "):
        queue.enqueue_many([Job("b"), Job("b")])
    with pytest.raises(ValueError, match="^id: "):
        queue.enqueue_many([Job("b"), Job("a")])
    assert queue.size() == 1
    handles = queue.enqueue_many([Job("b", payload=1), Job("c", payload=2, priority=Priority.HIGH)])
    assert queue.enqueue_many([]) == []
    gate.open()
    assert [handle.result(30) for handle in handles] == [1, 2]
    assert gate.calls == ["first", "c", "a", "b"]


def test_more_than_fits_goes_in_bit_by_bit(make_queue, gate):
    queue = make_queue(max_queue_size=2)
    fill(queue, gate, Job("a"))
    blocked = in_a_thread(lambda: queue.enqueue_many((Job(payload=n) for n in range(20)), block=True))
    gate.open()
    assert [handle.result(30) for handle in blocked.result(30)] == list(range(20))


def test_many_that_ran_out_of_time_tell_which_of_them_are_in(make_queue, gate):
    queue = make_queue(max_queue_size=2)
    fill(queue, gate)
    with pytest.raises(QueueFull) as caught:
        queue.enqueue_many((Job(payload=n) for n in range(5)), block=True, timeout=0.02)
    gate.open()
    assert [handle.result(30) for handle in caught.value.accepted] == [0, 1]


def test_dequeue_takes_the_next_one_out_for_somebody_else(make_queue, gate):
    queue = make_queue()
    low, high = Job("low", priority=Priority.LOW, payload="l"), Job("high", priority=Priority.HIGH)
    _, its_handle, _ = fill(queue, gate, low, high)
    assert queue.dequeue() is high
    assert queue.dequeue() is low
    assert its_handle.cancelled()
    with pytest.raises(QueueEmpty):
        queue.dequeue()
    with pytest.raises(standard_queue.Empty):
        queue.dequeue()
    queue.enqueue(low)  # it may be put in again
    metrics = queue.metrics()
    assert (metrics.jobs_removed, metrics.jobs_dequeued, metrics.jobs_cancelled) == (2, 3, 0)
    gate.open()
    queue.join(30)
    assert gate.calls == ["first", "low"]


def test_size_and_its_relatives(make_queue, gate):
    queue = make_queue(max_queue_size=2)
    assert (len(queue), queue.size(), queue.is_empty(), queue.is_full()) == (0, 0, True, False)
    fill(queue, gate, Job())
    assert (len(queue), queue.size(), queue.is_empty(), queue.is_full()) == (1, 1, False, False)
    queue.enqueue(Job())
    assert (len(queue), queue.size(), queue.is_empty(), queue.is_full()) == (2, 2, False, True)


def test_a_paused_queue_starts_nothing(make_queue, gate):
    queue = make_queue(max_workers=2)
    fill(queue, gate)
    queue.pause()
    queue.pause()
    handle = queue.enqueue(Job("held", payload=1))
    assert (queue.size(), gate.calls, handle.running()) == (1, ["first"], False)
    queue.unpause()
    gate.wait_for(2)
    assert handle.running()
    gate.open()
    assert handle.result(30) == 1
    assert not handle.running()


def test_what_is_queued_is_cancelled_at_once(make_queue, gate):
    queue = make_queue()
    _, handle = fill(queue, gate, Job("a"))
    assert queue.cancel("a") is True
    assert handle.cancelled()
    assert queue.cancel("a") is False
    with pytest.raises(concurrent.futures.CancelledError):
        handle.result(0)
    assert concurrent.futures.wait([handle], 0).done == {handle}
    assert queue.metrics().jobs_cancelled == 1


def test_what_runs_is_asked_to_end(make_queue, gate):
    queue = make_queue()
    (handle,) = fill(queue, gate)
    assert queue.cancel("first") is True
    assert concurrent.futures.wait([handle], 30).done == {handle}
    assert handle.cancelled()
    metrics = queue.metrics()
    assert (metrics.jobs_cancelled, metrics.attempts_stopped, metrics.jobs_failed) == (1, 1, 0)


def test_a_cancelled_job_is_not_tried_again(make_queue, gate):
    queue = make_queue()
    handle = queue.enqueue(Job("a", max_retries=5))
    gate.wait_for(1)
    queue.cancel("a")
    concurrent.futures.wait([handle], 30)
    assert (handle.cancelled(), gate.calls) == (True, ["a"])


def test_a_handle_cancels_its_job(make_queue, gate):
    queue = make_queue()
    first, queued = fill(queue, gate, Job("a"))
    assert queued.cancel() is True
    assert queue.size() == 0
    assert first.cancel() is False  # not yet: it runs, and has been asked to end
    assert concurrent.futures.wait([first], 30).done == {first}
    assert first.cancelled() and first.cancel()


def test_a_handle_that_is_done_cancels_no_other_job_of_its_id(make_queue, gate):
    queue = make_queue()
    gate.open()
    old = queue.enqueue(Job("a", payload=1))
    old.result(30)
    queue.pause()
    new = queue.enqueue(Job("a"))
    assert old.cancel() is False
    assert not new.cancelled() and old.result(0) == 1
    queue.unpause()


def test_set_priority_moves_a_queued_job(make_queue, gate):
    queue = make_queue()
    jobs = [Job(name, priority=Priority.LOW) for name in "abcd"]
    fill(queue, gate, *jobs)
    assert queue.set_priority("c", Priority.HIGH)
    assert queue.set_priority("d", Priority.HIGH, front=True)
    assert not queue.set_priority("z", Priority.HIGH)
    with pytest.raises(ValueError, match="^priority: "):
        queue.set_priority("a", 17)
    assert jobs[2].priority is Priority.HIGH
    assert queue.metrics().queue_by_priority == {"critical": 0, "high": 2, "normal": 0, "low": 2}
    gate.open()
    queue.join(30)
    assert gate.calls == ["first", "d", "c", "a", "b"]


def test_a_higher_priority_of_what_runs_is_for_its_next_attempt(make_queue, gate):
    calls = []

    def handler(context, job):
        calls.append(job.id)
        gate.handler(context, job)
        if calls.count(job.id) < 2 and job.max_retries:
            raise OSError

    queue = make_queue(handler)
    queue.enqueue(Job("flaky", priority=Priority.LOW, max_retries=1))
    gate.wait_for(1)
    queue.enqueue_many([Job("a"), Job("b")])
    assert queue.set_priority("flaky", Priority.CRITICAL)
    gate.open()
    queue.join(30)
    assert calls.index("flaky", 1) <= 2, "the retry goes before what was queued below it"


def test_waiting_for_all_ends_when_all_handles_are_resolved(make_queue, gate):
    queue = make_queue(max_workers=3)
    handles = [queue.enqueue(Job(payload=n)) for n in range(30)]
    with pytest.raises(TimeoutError, match="30 jobs"):
        queue.join(0.02)
    gate.open()
    queue.join(30)
    assert all(handle.done() for handle in handles)
    queue.join(0)


def test_a_medium_config_is_used_when_none_is_given():
    with Queue(echo, Config.small()) as queue:
        assert queue.enqueue(Job(payload=1)).result(30) == 1
