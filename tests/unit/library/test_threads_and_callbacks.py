# SPDX-License-Identifier: LGPL-3.0-or-later
"""Callbacks that use the queue, handlers that do, listeners, metrics, asyncio; an idle queue is idle."""

import asyncio
import logging
import threading
import time
from concurrent.futures import as_completed, wait

import pytest

from pqrun import Job, Metrics, QueueFull
from pqrun.core import events as ev

from .conftest import echo

TEN = [
    "jobs_enqueued",
    "jobs_dequeued",
    "jobs_completed",
    "jobs_failed",
    "jobs_timeout",
    "jobs_retried",
    "current_queue_size",
    "active_workers",
    "average_wait_time",
    "average_processing",
]


def test_a_callback_may_put_in_the_next_job(make_queue):
    queue = make_queue(echo)
    done = threading.Event()
    results = []

    def follow(handle):
        results.append(handle.result())
        if len(results) < 200:
            queue.enqueue(Job(payload=len(results))).add_done_callback(follow)
        else:
            done.set()

    queue.enqueue(Job(payload=0)).add_done_callback(follow)
    assert done.wait(30)
    assert results == list(range(200))


def test_a_callback_may_call_everything_that_does_not_wait(make_queue, gate, until):
    queue = make_queue(max_queue_size=3)
    told = []

    def call_back(handle):
        told.append(queue.metrics().jobs_completed)
        queue.pause()
        queue.set_priority("b", 3)
        told.append((queue.cancel("a"), queue.dequeue().id, queue.size()))
        queue.enqueue(Job("c"))
        queue.unpause()

    first = queue.enqueue(Job("first"))
    first.add_done_callback(call_back)
    gate.wait_for(1)
    queue.pause()  # else the next one starts before the callback comes
    queue.enqueue_many([Job("a"), Job("b")])
    gate.open()
    until(lambda: len(told) == 2)
    queue.join(30)
    assert told == [1, (True, "b", 0)]
    assert gate.calls == ["first", "c"]


def test_callbacks_of_cancelled_jobs_run_where_they_were_cancelled(make_queue, gate):
    queue = make_queue()
    queue.enqueue(Job("first"))
    gate.wait_for(1)
    where = []
    handles = queue.enqueue_many(Job(f"j{n}") for n in range(50))
    for n, handle in enumerate(handles):
        handle.add_done_callback(lambda _, n=n: where.append(threading.current_thread()))
        handle.add_done_callback(lambda _, n=n: queue.cancel(f"j{n + 1}"))
    queue.cancel("j0")  # and that one cancels the next, and so on
    assert wait(handles, 0).not_done == set()
    assert set(where) == {threading.current_thread()}


def test_joining_waits_for_a_callback_that_still_runs(make_queue):
    start, called, go_on = (threading.Event() for _ in range(3))
    queue = make_queue(lambda context, job: start.wait(30))
    queue.enqueue(Job("a")).add_done_callback(lambda _: (called.set(), go_on.wait(30)))
    start.set()
    assert called.wait(30)
    try:
        with pytest.raises(TimeoutError):
            queue.join(0.01)
    finally:
        go_on.set()
    queue.join(30)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_callback_that_raises_does_no_harm(make_queue, error, caplog):
    def call_back(handle):
        raise error("on purpose")

    queue = make_queue(echo)
    handle = queue.enqueue(Job(payload=1))
    handle.add_done_callback(call_back)
    assert handle.result(30) == 1
    assert queue.enqueue(Job(payload=2)).result(30) == 2
    queue.join(30)
    caplog.clear()


def test_a_handler_may_put_in_more(make_queue):
    def handler(context, job):
        if job.payload:
            return [queue.enqueue(Job(payload=job.payload - 1)) for _ in range(2)]
        return []

    queue = make_queue(handler, max_workers=4)
    queue.enqueue(Job(payload=8))
    queue.join(60)
    assert queue.metrics().jobs_completed == 2**9 - 1


def test_a_handler_can_tell_that_the_queue_is_full(make_queue):
    def handler(context, job):
        if job.payload == "nested":
            return None
        try:
            for _ in range(3):
                queue.enqueue(Job(payload="nested"))
        except QueueFull:
            return "degraded"
        return "all"

    queue = make_queue(handler, max_queue_size=2)
    assert queue.enqueue(Job()).result(30) == "degraded"


def test_a_handler_may_look_at_and_change_its_own_queue(make_queue):
    def handler(context, job):
        queue.set_priority(job.id, 3)
        return queue.metrics().active_workers, queue.size(), queue.cancel("nobody")

    queue = make_queue(handler)
    assert queue.enqueue(Job()).result(30) == (1, 0, False)


def test_who_waits_for_himself_is_told(make_queue):
    def handler(context, job):
        return {"join": queue.join, "shutdown": queue.shutdown}[job.payload]()

    queue = make_queue(handler)
    for what in ("join", "shutdown"):
        with pytest.raises(RuntimeError, match=f"^{what}"):
            queue.enqueue(Job(payload=what)).result(30)


@pytest.mark.parametrize("what", ["join", "shutdown"])
def test_a_callback_that_would_wait_for_itself_is_told_wherever_it_runs(make_queue, gate, what):
    told = []

    def call_back(handle):
        try:
            getattr(queue, what)()
        except RuntimeError as error:
            told.append(str(error).partition(":")[0])

    queue = make_queue()
    running, queued = queue.enqueue(Job("first")), queue.enqueue(Job("queued"))
    for handle in (running, queued):
        handle.add_done_callback(call_back)
    queue.cancel("queued")
    assert told == [what]
    gate.open()
    queue.join(30)
    assert told == [what, what]


def test_a_handler_may_wait_for_another_queue(make_queue):
    inner = make_queue(echo)

    def handler(context, job):
        inner.enqueue(Job(payload=1)).result(30)
        inner.join(30)
        return "both"

    assert make_queue(handler).enqueue(Job()).result(30) == "both"


def test_a_listener_hears_everything_in_order(make_queue):
    heard = []
    queue = make_queue(echo)
    queue.subscribe(heard.extend)
    queue.enqueue(Job("a")).result(30)
    queue.shutdown(timeout=30)
    assert [type(event) for event in heard] == [
        ev.JobAdded, ev.JobQueued, ev.AttemptSubmitted, ev.AttemptStarted, ev.AttemptEnded, ev.JobEnded,
        ev.RunStopping,
    ]  # fmt: skip


def test_a_listener_hears_of_jobs_that_are_put_in_while_all_workers_are_busy(make_queue, gate, until):
    queue, heard = make_queue(), []
    queue.subscribe(heard.extend)
    queue.enqueue(Job("busy"))
    gate.wait_for(1)
    for name in ("one", "two"):
        queue.enqueue(Job(name))
        until(lambda name=name: name in [event.spec.id for event in heard if isinstance(event, ev.JobAdded)])
    assert gate.calls == ["busy"]


def test_a_listener_may_be_an_object_and_is_told_that_it_is_over(make_queue):
    class Keeper:
        def __init__(self):
            self.heard = []

        def on_events(self, events):
            self.heard.extend(events)

        def close(self):
            self.heard.append("closed")

    keeper = Keeper()
    queue = make_queue(echo)
    queue.subscribe(keeper)
    queue.enqueue(Job()).result(30)
    queue.shutdown(timeout=30)
    assert isinstance(keeper.heard[0], ev.JobAdded) and keeper.heard[-1] == "closed"


def test_who_does_not_want_to_hear_any_more_does_not(make_queue, until):
    first, second = [], []
    queue = make_queue(echo)
    stop = queue.subscribe(first.extend)
    queue.subscribe(second.extend)
    queue.enqueue(Job("a")).result(30)
    until(lambda: any(isinstance(event, ev.JobEnded) for event in first))
    stop()
    stop()
    count = len(first)
    queue.enqueue(Job("b")).result(30)
    queue.shutdown(timeout=30)
    assert len(first) == count < len(second)


def test_a_listener_that_fails_is_dropped_and_reported(make_queue, caplog):
    heard = []

    def failing_listener(events):
        raise ValueError("on purpose")

    caplog.set_level(logging.ERROR, "pqrun")
    queue = make_queue(echo)
    queue.subscribe(failing_listener)
    queue.subscribe(heard.extend)
    for n in range(3):
        assert queue.enqueue(Job(payload=n)).result(30) == n
    queue.shutdown(timeout=30)
    (message,) = caplog.messages
    assert "failing_listener" in message
    assert sum(isinstance(event, ev.JobEnded) for event in heard) == 3


def test_a_listener_may_use_the_queue(make_queue, until):
    added = []

    def listener(events):
        for event in events:
            if isinstance(event, ev.JobEnded) and len(added) < 5:
                added.append(queue.enqueue(Job(payload=len(added))))

    queue = make_queue(echo)
    queue.subscribe(listener)
    queue.enqueue(Job())
    until(lambda: len(added) == 5)
    assert [handle.result(30) for handle in added] == [0, 1, 2, 3, 4]


def test_metrics_are_a_frozen_snapshot_with_the_ten_names(make_queue):
    queue = make_queue(echo)
    before = queue.metrics()
    queue.enqueue(Job()).result(30)
    queue.join(30)
    after = queue.metrics()
    assert isinstance(after, Metrics)
    assert [name for name in TEN if name not in after.as_dict()] == []
    assert (before.jobs_completed, after.jobs_completed) == (0, 1)
    with pytest.raises(AttributeError):
        after.jobs_completed = 2


def test_averages_are_true_averages(make_queue):
    ends = []

    def listener(events):
        ends.extend(event for event in events if isinstance(event, ev.AttemptEnded))

    queue = make_queue(lambda context, job: time.sleep(job.payload), max_workers=2)
    queue.subscribe(listener)
    queue.enqueue_many(Job(payload=seconds) for seconds in (0.0, 0.01, 0.03, 0.001))
    queue.join(30)
    metrics = queue.metrics()
    queue.shutdown(timeout=30)
    assert metrics.average_processing == pytest.approx(sum(e.ended - e.began for e in ends) / 4)


def test_a_queue_may_do_without_metrics(make_queue):
    queue = make_queue(echo, enable_metrics=False)
    assert queue.enqueue(Job(payload=1)).result(30) == 1
    with pytest.raises(RuntimeError, match="enable_metrics"):
        queue.metrics()


@pytest.mark.slow
def test_an_idle_queue_uses_no_cpu(make_queue, until):
    queue = make_queue(echo, max_workers=10)
    queue.subscribe(len)
    for handle in queue.enqueue_many(Job(timeout=3600) for _ in range(50)):
        handle.result(30)
    queue.enqueue(Job("later", max_retries=1))
    queue.join(30)
    names = {t.native_id: t.name for t in threading.enumerate() if t.name.startswith("pqrun")}
    assert len(names) >= 3

    def switches():
        found = {}
        for thread in names:
            with open(f"/proc/self/task/{thread}/status", encoding="utf-8") as status:
                found[thread] = [line for line in status if "ctxt_switches" in line]
        return found

    def idle():
        before = switches()
        time.sleep(0.3)  # what polls would be seen in that time
        return switches() == before

    until(idle)  # on a busy machine the last one may take a while to settle


def test_handles_work_with_wait_and_as_completed(make_queue, gate):
    queue = make_queue(max_workers=2)
    handles = queue.enqueue_many(Job(f"j{n}", payload=n) for n in range(6))
    gate.wait_for(2)
    queue.cancel("j5")
    assert wait(handles, 0.01).done == {handles[5]}
    gate.open()
    assert set(as_completed(handles, 30)) == set(handles)


def test_a_handle_can_be_awaited(make_queue):
    queue = make_queue(echo, max_workers=4)

    async def main():
        handles = [asyncio.wrap_future(queue.enqueue(Job(payload=n))) for n in range(20)]
        return await asyncio.gather(*handles)

    assert asyncio.run(main()) == list(range(20))


def test_an_exception_comes_through_asyncio(make_queue):
    def handler(context, job):
        raise LookupError(job.id)

    queue = make_queue(handler)

    async def main():
        await asyncio.wrap_future(queue.enqueue(Job("a")))

    with pytest.raises(LookupError, match="a"):
        asyncio.run(main())


def test_who_stops_waiting_in_asyncio_cancels_the_job(make_queue, gate):
    queue = make_queue()

    async def main():
        running = asyncio.wrap_future(queue.enqueue(Job("running")))
        gate.wait_for(1)
        queued = asyncio.wrap_future(queue.enqueue(Job("queued")))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.gather(running, queued), 0.05)

    asyncio.run(main())
    queue.join(30)
    assert gate.calls == ["running"]
    metrics = queue.metrics()
    assert (metrics.jobs_cancelled, metrics.attempts_stopped, metrics.jobs_removed) == (2, 1, 1)


def test_cancelling_a_job_cancels_who_awaits_it(make_queue, gate):
    queue = make_queue()

    async def main():
        queue.enqueue(Job("first"))
        awaited = asyncio.wrap_future(queue.enqueue(Job("a")))
        queue.cancel("a")
        with pytest.raises(asyncio.CancelledError):
            await awaited

    asyncio.run(main())
