#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A dashboard: a thread publishes the ten numbers of a queue every few seconds, as JSON."""

import json
import threading
import time

from pqrun import Config, Job, Queue

TEN = (
    "jobs_enqueued", "jobs_dequeued", "jobs_completed", "jobs_failed", "jobs_timeout", "jobs_retried",
    "current_queue_size", "active_workers", "average_wait_time", "average_processing",
)  # fmt: skip


class Dashboard(threading.Thread):
    """Calls `publish(text)` every `every` seconds until `close`, which publishes the final numbers."""

    def __init__(self, queue, publish, every=5.0):
        super().__init__(name="dashboard", daemon=True)
        self._queue = queue
        self._publish = publish
        self._every = every
        self._closed = threading.Event()

    def run(self):
        while not self._closed.wait(self._every):
            self._send()

    def _send(self):
        metrics = self._queue.metrics().as_dict()  # one consistent moment; cheap enough for every second
        self._publish(json.dumps({"at": time.time(), **{name: metrics[name] for name in TEN}}))

    def close(self):
        self._closed.set()
        self.join()
        self._send()


def handler(context, job):
    time.sleep(0.01)
    if job.payload % 10 == 0 and job.retry_count == 0:
        raise ConnectionError("every tenth job fails once")


feed = []  # in a service: a WebSocket, a message broker, or `print` for a log
with Queue(handler, Config(max_workers=5, retry_delay=0.01)) as queue:
    dashboard = Dashboard(queue, feed.append, every=0.02)
    dashboard.start()
    queue.enqueue_many(Job(payload=number, max_retries=1) for number in range(100))
    queue.join()
    dashboard.close()

last = json.loads(feed[-1])
print(f"published more than once: {len(feed) > 1}")
for name in TEN[:8]:
    print(f"{name}: {last[name]}")
print(f"an attempt takes 10 ms or more: {last['average_processing'] >= 0.01}")
