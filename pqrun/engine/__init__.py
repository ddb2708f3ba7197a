# SPDX-License-Identifier: LGPL-3.0-or-later
"""The turn, and what it needs from the machine: threads, locks, time, signals.

From outside, create an `Engine` with its parts and call `run` on the main thread; other threads report
notices through `post` and `turn`.

engine         the turn: observe, decide, record, act, tell, under one lock
executor       the protocols of a place where jobs run: executor, backend, reporter
live_run       the protocol between a run and the parts that show it, measure it or change it
dispatcher     the one thread that calls observers, with backpressure
reactor        the wait of the main thread: signals, file descriptors, timers
clock          the time, without the time during which pqrun was suspended
signals        what signals do to pqrun, and the checks of its current directory
machine_load   load, free memory, usable CPUs, and the number of workers
threads        the one place that starts threads
"""
