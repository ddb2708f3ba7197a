# SPDX-License-Identifier: LGPL-3.0-or-later
"""The pure core: what is to happen next. No clock, no file, no process, no thread; time is an argument.

Others call `Scheduler.decide`, which returns events (what happened) and commands (what to do about it).

    job               jobs, retry policies, exit types and their classification
    job_fields        the table of a job's fields
    values            text to durations, sizes, signals, exit codes, priorities
    settings          what a run is asked to be, as plain values
    states            the states of a job and the transitions between them
    events            what happened            notices   what executors report            errors   ways to fail
    task              one unfinished job: its spec, its state, its place in the queue
    scheduler         observe and decide
    ready_queue       the heap of ready jobs, pools, parked jobs, the starvation guard
    attempts          the attempts that hold a slot, and their timers
    start_policy      what holds starts back: pause, rate, load, refusals, halt conditions
    dependencies      needs, skipped jobs, inherited urgency, cycles
    metrics           the ten numbers          job_table   one row a job
    selectors         ids, globs, `state:`, `tag:`
    throughput        rate and ETA             text        durations, sizes, labels, escaping
    expansion         `$NAME` in values of `env`           unicode_json   JSON that is valid Unicode
"""
