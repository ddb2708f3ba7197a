# SPDX-License-Identifier: LGPL-3.0-or-later
"""Many threads at one queue: nothing is lost, nothing happens twice, the order holds."""

import random
import threading
from collections import Counter, deque
from concurrent.futures import wait

import pytest

from pqrun import Config, Job, PermanentError, Priority, Queue, QueueEmpty, QueueFull

from .story import Story, check_sums

THREADS, EACH = 50, 2_000
LEVELS = list(Priority)


def in_threads(count, act):
    """`act(number)` in each of so many threads; what they raise is raised."""
    errors = []

    def run(number):
        try:
            act(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_fifty_threads_put_in_two_thousand_jobs_each_of_mixed_priority():
    ran = deque()

    def handler(context, job):
        ran.append(job.payload)
        return job.payload

    story = Story(slots=10)
    handles = [[] for _ in range(THREADS)]
    over = threading.Event()
    with Queue(handler, Config(max_workers=10, max_queue_size=2_000)) as queue:
        queue.subscribe(story)

        def put_in(number):
            for n in range(EACH):
                job = Job(f"{number}-{n}", priority=LEVELS[(number + n) % 4], payload=(number, n))
                handles[number].append(queue.enqueue(job, block=True))

        def look(_):
            while not over.wait(0.01):
                check_sums(queue.metrics())
                assert len(queue) <= 2_000

        watcher = threading.Thread(target=in_threads, args=(1, look))
        watcher.start()
        in_threads(THREADS, put_in)
        queue.join()
        over.set()
        watcher.join()
        metrics = queue.metrics()
    everything = {(number, n) for number in range(THREADS) for n in range(EACH)}
    assert len(ran) == THREADS * EACH and set(ran) == everything
    assert {handle.result(0) for some in handles for handle in some} == everything
    assert (metrics.jobs_enqueued, metrics.jobs_dequeued, metrics.jobs_completed) == (THREADS * EACH,) * 3
    assert (metrics.current_queue_size, metrics.active_workers) == (0, 0)
    assert story.wrong == []
    assert (story.jobs, story.ended) == (THREADS * EACH, {"ok": THREADS * EACH})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_whatever_threads_do_to_a_queue_every_job_has_one_end(seed):
    def handler(context, job):
        fate = hash((seed, job.id, job.retry_count)) % 12
        if fate == 0:
            raise OSError
        if fate == 1:
            raise PermanentError
        if fate == 2:
            queue.cancel(job.id)
        if fate == 3 and job.payload < 3:
            try:
                more.append(queue.enqueue(Job(payload=job.payload + 1)))
            except QueueFull:
                rejected.append(job)
        return job.payload

    more, rejected, taken, handles = deque(), deque(), deque(), deque()
    story = Story(slots=4, moves=True)
    config = Config(max_workers=4, max_queue_size=50, retry_delay=0.001, max_delay=0.005, grace=0.0)
    with Queue(handler, config) as queue:
        queue.subscribe(story)

        def disturb(number):
            chance = random.Random(seed * 100 + number)
            for n in range(300):
                job_id = f"{chance.randrange(8)}-{chance.randrange(300)}"
                match chance.randrange(14):
                    case 0:
                        queue.cancel(job_id)
                    case 1:
                        queue.set_priority(job_id, chance.choice(LEVELS), front=chance.random() < 0.5)
                    case 2:
                        try:
                            taken.append(queue.dequeue())
                        except QueueEmpty:
                            pass
                    case 3:
                        queue.pause()
                        queue.unpause()
                    case 4:
                        check_sums(queue.metrics())
                    case 5 if handles:
                        chance.choice(handles).cancel()
                job = Job(f"{number}-{n}", priority=chance.choice(LEVELS), payload=0, max_retries=n % 3)
                handles.append(queue.enqueue(job, block=True))

        in_threads(8, disturb)
    everything = [*handles, *more]
    assert wait(everything, 0).not_done == set()
    assert story.wrong == []
    ends = Counter(
        "cancelled" if handle.cancelled() else "failed" if handle.exception(0) else "ok"
        for handle in everything
    )
    assert story.jobs == len(everything) == story.ended.total()
    assert story.ended["dropped"] == len(taken)
    assert ends["cancelled"] == story.ended["cancelled"] + len(taken)
    assert (ends["ok"], ends["failed"]) == (story.ended["ok"], story.ended["failed"])


@pytest.mark.slow
def test_a_shutdown_in_the_middle_loses_no_job():
    def handler(context, job):
        return job.payload

    for _ in range(20):
        queue = Queue(handler, Config(max_workers=4, max_queue_size=10_000))
        handles = queue.enqueue_many(Job(f"j{n}", payload=n) for n in range(300))
        undone = {job.payload for job in queue.shutdown(timeout=60)}
        done = {n for n, handle in enumerate(handles) if not handle.cancelled() and handle.result(0) == n}
        assert done | undone == set(range(300)) and not done & undone


@pytest.mark.slow
def test_opening_and_closing_many_queues_leaves_nothing():
    for n in range(100):
        with Queue(lambda context, job: job.payload, Config.small()) as queue:
            assert queue.enqueue(Job(payload=n)).result(30) == n
