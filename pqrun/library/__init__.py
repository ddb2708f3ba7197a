# SPDX-License-Identifier: LGPL-3.0-or-later
"""The job queue as a Python library: `from pqrun import Queue, Config, Job`.

All public names are imported from `pqrun`; nothing here is imported by a program directly.

queue       `Queue`: the class that a program works with.
config      `Config`, `Job` and the exceptions: plain values and their checks.
futures     The futures that `enqueue` returns, and when they are resolved.
admission   The way of a job into the queue: checks, room, blocking.
runtime     The engine thread, the worker threads and the subscribers behind a queue.
"""
