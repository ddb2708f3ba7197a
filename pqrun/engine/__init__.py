# SPDX-License-Identifier: LGPL-3.0-or-later
"""The turn, and what it needs of the machine: threads, locks, time, signals.

engine         observe, decide, record, act, tell, under one lock
executor       the protocol of whatever runs attempts
dispatcher     the one thread that tells observers, with backpressure
reactor        the main thread's wait: signals, descriptors, timers
clock          time                     signals        what signals do to pqrun
machine_load   load, memory, CPUs       threads        the one place that starts threads
"""
