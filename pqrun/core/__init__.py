# SPDX-License-Identifier: LGPL-3.0-or-later
"""The pure core: decides what happens next. No clock, file, process or thread; time is an argument.

From outside, create a `Scheduler`, tell it what was asked for and what executors report, then call
`Scheduler.decide`. It returns events (what happened) and commands (which attempts to start or stop).

    job               jobs, needs, pools, retry policies, and what the exit of an attempt means
    job_fields        the one table of a job's fields: name, type, default, help, option
    field_types       their types: how a text becomes a value, which values are allowed
    values            parses text: durations, sizes, signals, exit codes, priorities, tags
    settings          the settings of a run in groups, and the options that set them
    option_spec       how an option is declared: names, help, parser
    expansion         expands `$NAME` in the values of `env`
    states            the states of a job, and the functions that lead from one to the next
    events            the events of a run: what happened; and the observer, which receives them
    notices           the notices of executors: what they report to the scheduler
    errors            the exceptions for expected failures, and the exit codes of a run
    task              one unfinished job: its spec, its state, its place in the queue
    scheduler         takes in requests and notices, decides
    ready_queue       the ready jobs in starting order, parked jobs, pools, the starvation guard
    attempts          the attempts that hold slots, and their timers
    admission         the way of a job into the queue: needs met, not held, its time has come
    median_timeout    a time limit by the median of the jobs that succeeded (`--median-timeout`)
    past              what follows from earlier runs: time left, flaky rates, order, equal parts
    start_policy      what holds back starts: slots, rate, load, refused starts; the halt condition
    dependencies      needs, skipped jobs, inherited urgency, cycles
    metrics           the ten metrics of the queue and a few more, folded from events
    job_row           the row of one job: its state, its last attempt, what follows from them
    job_table         the rows of unfinished jobs, counts and the rate of ends, folded from events
    selectors         chooses jobs by id, glob, `state:`, `priority:`, `tag:`
    layout            lays text out for a terminal: width in cells, cutting, wrapping
    text              texts for people: durations, labels, quoting, escaping, command lines
    unicode_json      JSON that every reader accepts
"""
