# SPDX-License-Identifier: LGPL-3.0-or-later
"""No-op jobs a second through one queue, side by side with what the standard library has.

    python benchmarks/library.py [JOBS [ROUNDS]]

The rounds take turns, so that whatever else the machine does meets all of them; ratios are what counts.
`Future` says that each job has one; the plain priority queue with futures is what one would write
by hand: no limits, no retries, no metrics.
"""

import gc
import queue
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from statistics import median

from pqrun import Config, Job, Queue

WORKERS = 10


def no_op(context, job):
    """Nothing."""


def our_queue(jobs, *, many=False, metrics=True):
    config = Config(max_workers=WORKERS, max_queue_size=jobs, enable_metrics=metrics)
    with Queue(no_op, config) as q:
        todo = [Job() for _ in range(jobs)]
        began = time.perf_counter()
        handles = q.enqueue_many(todo) if many else [q.enqueue(job) for job in todo]
        for handle in handles:
            handle.result()
        return jobs / (time.perf_counter() - began)


def pool_of_threads(jobs):
    with ThreadPoolExecutor(WORKERS) as pool:
        began = time.perf_counter()
        for future in [pool.submit(no_op, None, None) for _ in range(jobs)]:
            future.result()
        return jobs / (time.perf_counter() - began)


def priority_queue_and_threads(jobs):
    todo = queue.PriorityQueue()

    def work():
        while (entry := todo.get())[2] is not None:
            entry[2].set_result(no_op(None, None))

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    futures = []
    for number in range(jobs):
        futures.append(Future())
        todo.put((0, number, futures[-1]))
    for future in futures:
        future.result()
    took = time.perf_counter() - began
    for number in range(WORKERS):
        todo.put((1, number, None))
    for thread in threads:
        thread.join()
    return jobs / took


CONTENDERS = {
    "pqrun.Queue, enqueue": our_queue,
    "pqrun.Queue, enqueue_many": lambda jobs: our_queue(jobs, many=True),
    "pqrun.Queue, without metrics": lambda jobs: our_queue(jobs, metrics=False),
    "queue.PriorityQueue + threads": priority_queue_and_threads,
    "ThreadPoolExecutor": pool_of_threads,
}


def main():
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    rates = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, contender in CONTENDERS.items():
            gc.collect()
            rates[name].append(contender(jobs))
    pool = median(rates["ThreadPoolExecutor"])
    sys.stdout.write(f"{jobs:,} jobs that do nothing, {WORKERS} workers, median of {rounds} (best)\n")
    for name, found in rates.items():
        middle = median(found)
        sys.stdout.write(
            f"{name:32} {middle:9,.0f}/s ({max(found):9,.0f})  {middle / pool:5.2f} of the pool\n"
        )


if __name__ == "__main__":
    main()
