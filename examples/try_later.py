#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""A web service that answers 202 when it takes a job, and 503 with Retry-After when its queue is full."""

import math
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pqrun import Config, Job, Queue, QueueClosed, QueueFull

MAX_WAIT_SECONDS = 300


def seconds_until_room(queue):
    """Estimate when a place in the queue is free: the mean time of an attempt, shared by the busy workers."""
    metrics = queue.metrics()
    estimate = metrics.average_processing / max(1, metrics.active_workers)
    return min(MAX_WAIT_SECONDS, max(1, math.ceil(estimate)))


class Reports(BaseHTTPRequestHandler):
    """POST /reports: the body names the customer."""

    def do_POST(self):
        customer = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        try:
            handle = self.server.queue.enqueue(Job(payload=customer))  # never blocks
        except QueueFull:
            later = seconds_until_room(self.server.queue)
            self.answer(503, f"try again in {later} s", {"Retry-After": str(later)})
        except QueueClosed:
            self.answer(503, "shutting down", {"Retry-After": "60"})
        else:
            self.server.handles.append(handle)
            self.answer(202, "accepted")

    def answer(self, code, text, headers=None):
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        """Write no access log."""


started, go_on = threading.Event(), threading.Event()


def handler(context, job):
    started.set()
    go_on.wait()  # the work
    return f"report for {job.payload}"


def post(port, customer):
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/reports", body=customer)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return f"{customer}: {answer.status} {text}"


with (
    ThreadingHTTPServer(("127.0.0.1", 0), Reports) as server,
    Queue(handler, Config(max_workers=1, max_queue_size=2)) as queue,
):
    server.queue, server.handles = queue, []
    threading.Thread(target=server.serve_forever).start()
    print(post(server.server_port, "Ann"))
    started.wait()  # Ann's report has the worker; two more fit into the queue
    for customer in ("Bob", "Eve", "Zoe"):
        print(post(server.server_port, customer))
    go_on.set()
    queue.join()
    print(post(server.server_port, "Zoe"))
    server.shutdown()
print([handle.result() for handle in server.handles])
