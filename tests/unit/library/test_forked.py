# SPDX-License-Identifier: LGPL-3.0-or-later
"""A queue in a forked child has no threads: it says so at once, and leaves its parent's jobs alone."""

import subprocess
import sys

import pytest

STORY = """
import os, sys, threading
from pqrun import Config, Job, Priority, Queue
go = threading.Event()
queue = Queue(lambda context, job: go.wait(60) and job.payload, Config(max_workers=1))
first = queue.enqueue(Job(payload="first", id="first"))
second = queue.enqueue(Job(payload="second", id="second"))
{around}
child = os.fork()
if child == 0:
    try:
        {use}
    except RuntimeError as error:
        assert str(os.getppid()) in str(error), error
        os._exit(7)
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
{after}
go.set()
assert first.result(30) == "first" and second.result(30) == "second"
queue.shutdown()
print(code)
"""
LOCKED = "locked = (queue._runtime.engine._lock, queue._admission._lock)\nfor lock in locked: lock.acquire()"
USES = [
    "queue.enqueue(Job(payload=1))",
    "queue.enqueue(Job(payload=1), block=True)",
    "queue.enqueue(Job.shell('true'))",
    "queue.enqueue_many([Job(payload=1), Job(payload=2)])",
    "queue.dequeue()",
    "queue.cancel('second')",
    "second.cancel()",
    "queue.set_priority('second', Priority.HIGH)",
    "queue.pause()",
    "queue.unpause()",
    "queue.size()",
    "queue.is_empty()",
    "queue.is_full()",
    "queue.metrics()",
    "queue.unresponsive()",
    "queue.subscribe(print)",
    "queue.join()",
    "queue.shutdown()",
]


def tell(use, around="", after=""):
    story = STORY.format(use=use, around=around, after=after)
    # From Python 3.12 on, one is warned of forking beside threads; here just that is tried.
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", story]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return int(done.stdout)


@pytest.mark.slow
def test_every_method_refuses_at_once_also_if_a_lock_was_held_at_the_fork():
    uses = "\n        ".join(
        f"try: {use}; os._exit({n})\n        except RuntimeError: pass" for n, use in enumerate(USES, 10)
    )
    assert tell(uses + "\n        queue.size()", LOCKED, "for lock in locked: lock.release()") == 7


@pytest.mark.slow
@pytest.mark.parametrize(("leaving", "code"), [("pass", 0), ("sys.exit(3)", 3)])
def test_a_child_that_leaves_the_block_of_the_queue_ends_nothing(leaving, code):
    lines = ["try:", f"    with queue: {leaving}", "except SystemExit as error:", "    os._exit(error.code)"]
    assert tell(("\n" + 8 * " ").join(lines)) == code


def test_a_child_may_make_a_queue_of_its_own():
    own = "new = Queue(lambda context, job: job.payload); code = new.enqueue(Job(payload=5)).result(30)"
    assert tell(f"{own}; new.shutdown(); os._exit(code)") == 5
