# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the library's tests share: nothing may be left after each, and handlers that wait for the test."""

import gc
import os
import threading
import time

import pytest

from pqrun import Config, Queue


def descriptors():
    """What is open, and what it is."""
    found = {}
    for fd in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # that of the listing itself
    return found


@pytest.fixture(autouse=True)
def nothing_is_left():
    """After each test the same threads run and the same descriptors are open as before it."""
    gc.collect()  # what another test has left must not be closed during this one
    threads, open_before = set(threading.enumerate()), descriptors()
    yield
    end = time.monotonic() + 10
    while set(threading.enumerate()) - threads and time.monotonic() < end:
        time.sleep(0.005)
    assert set(threading.enumerate()) - threads == set()
    assert descriptors() == open_before


class Gate:
    """Handlers that wait until the test lets them go, and tell which of them have come."""

    def __init__(self):
        self.calls = []
        self._come = threading.Condition()
        self._open = threading.Event()

    def handler(self, context, job):
        """Waits at the gate, but not after it was cancelled; answers the payload."""
        with self._come:
            self.calls.append(job.id)
            self._come.notify_all()
        while not self._open.wait(0.005):
            context.raise_if_cancelled()
        return job.payload

    def wait_for(self, count):
        """Until so many calls have come."""
        with self._come:
            assert self._come.wait_for(lambda: len(self.calls) >= count, 30), self.calls

    def open(self):
        """They all may go, and whoever comes later too."""
        self._open.set()


@pytest.fixture
def gate():
    """A gate, which is opened at the end in any case."""
    one = Gate()
    yield one
    one.open()


@pytest.fixture
def make_queue(gate):
    """`make_queue(handler, **config)`: a queue that is shut down after the test; without delays, one worker."""
    made = []

    def make(handler=None, *, contain=False, **config):
        config = {"max_workers": 1, "retry_delay": 0.0, "grace": 0.05, **config}
        queue = Queue(handler or gate.handler, Config(**config), contain=contain)
        made.append(queue)
        return queue

    yield make
    gate.open()
    for queue in made:
        queue.shutdown(timeout=30, cancel=True)


def echo(context, job):
    """A handler."""
    return job.payload
