# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random runs for tests of reports."""

from reported import Cell, job

from pqrun.core.job import ExitedWith, HaltRule, KilledBySignal, LostExit, Need, NotStarted, Priority

ENDS = [*[ExitedWith(0)] * 4, ExitedWith(1), ExitedWith(2), KilledBySignal("SIGSEGV"), KilledBySignal("SIG40"),
        NotStarted(127, "no such program"), LostExit("its worker is gone")]  # fmt: skip


def random_cell(random):
    """Jobs that go well or not, need each other, have limits, and a run that may be stopped."""
    jobs = []
    for number in range(random.randint(0, 12)):
        end = random.choice(ENDS)
        never = isinstance(end, NotStarted)
        tries = [] if never else random.choices(ENDS[4:8], k=random.choice([0, 0, 0, 1, 2]))
        more = {"priority": random.choice(list(Priority)), "allow_failure": random.random() < 0.2}
        if number and random.random() < 0.2:
            more["needs"] = (Need(f"j{random.randrange(number)}"),)
        if random.random() < 0.2:
            more["timeout"] = random.choice([0.5, 2.0])
        seconds = 0.0 if never else random.choice([0.25, 1.0, 3.0])
        jobs.append(job(f"j{number}", seconds, end, tries=tries, **more))
    options, asks = {}, []
    if random.random() < 0.15:
        options["halt"] = HaltRule(
            random.choice(["now", "soon"]), random.choice(["fail", "success", "done"]), 2
        )
    if random.random() < 0.15:
        options["deadline"] = random.choice([1.0, 2.5])
    if random.random() < 0.2:
        asks.append((1.5, lambda scheduler, now: scheduler.stop("signal SIGINT", now)))
    if random.random() < 0.3:
        asks.append((1.75, lambda scheduler, now: cancel_some(scheduler, now)))
    return Cell(jobs, 0, options, asks, slots=random.randint(1, 2))


def cancel_some(scheduler, now):
    for task in list(scheduler.tasks.values())[:2]:
        scheduler.cancel(task, now)
