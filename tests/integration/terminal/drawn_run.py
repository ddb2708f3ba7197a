# SPDX-License-Identifier: LGPL-3.0-or-later
"""Tells the display of a run, on this terminal, what has happened in an invented one, so that each time is the same.

python drawn_run.py ok|stopped [OPTION=VALUE…]
"""

import os
import sys

from pqrun.core import events as ev
from pqrun.core.job import (
    NO_REPORT,
    AttemptId,
    Command,
    CountedAs,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    Outcome,
    RetryPolicy,
    StopReason,
    Usage,
)
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import MetricsCollector
from pqrun.core.settings import OutputSettings
from pqrun.engine.dispatcher import Observers
from pqrun.output.store import Capture, Logs
from pqrun.testing import FakeClock
from pqrun.ui.observers import RunDisplay, outlets

ENVIRONMENT = {name: os.environ[name] for name in ("TERM", "NO_COLOR") if name in os.environ}
TRACEBACK = """\
Traceback (most recent call last):
  File "conv.py", line 31, in rows
    return [float(x) for x in line.split(";")]
ValueError: could not convert string to float: 'n/a'
"""


class Story:
    """The events of a run, one job after another."""

    def __init__(self):
        self.events = []
        self.now = 0.0
        self._logs = Logs("/nowhere", keep=False)
        self._seq = 0

    def add(self, spec):
        self._seq += 1
        self.events.append(ev.JobAdded(self.now, self._seq, spec))
        return self._seq

    def attempt(self, seq, attempt, seconds, counted, exit, out="", err="", asked=None):
        """An attempt, from the queue to its end."""
        capture = Capture(self._logs, AttemptId(seq, attempt))
        capture.out.put(out.encode())
        capture.err.put(err.encode())
        began, self.now = self.now, self.now + seconds
        self.events += [
            ev.JobQueued(began, seq, attempt, JobSpec("x", Command("x")).priority),
            ev.AttemptSubmitted(began, seq, attempt, 0.0),
            ev.AttemptStarted(began, seq, attempt, "slot 1"),
            ev.AttemptEnded(
                self.now, seq, attempt, counted, exit, asked, began, self.now, Usage(), NO_REPORT, capture
            ),
        ]

    def job(self, name, seconds, out="", err="", code=0, run="true", retries=0):
        """A job of one attempt, or of one more after a failed one."""
        seq = self.add(JobSpec(name, Command(run), retry=RetryPolicy(max=retries)))
        if retries:
            self.attempt(seq, 1, 3.0, CountedAs.RETRIED, ExitedWith(7), err="curl: (7) no route to host\n")
            self.events.append(ev.JobWaiting(self.now, seq, 2, self.now + 4.0))
        attempt, good = 1 + bool(retries), code == 0
        counted = CountedAs.COMPLETED if good else CountedAs.FAILED
        self.attempt(seq, attempt, seconds, counted, ExitedWith(code), out, err)
        outcome = Outcome.OK if good else Outcome.FAILED
        self.events.append(ev.JobEnded(self.now, seq, outcome, attempt, False))


def ok(story):
    story.job("lint", 4.1, "All checks passed!\n")
    story.job("typecheck", 38.0, "Success: no issues found in 212 source files\n")
    story.job("sync[東京]", 42.0, "out/受注.pdf\nsent 1.2G bytes  received 84K bytes\n")
    story.job("fetch", 22.0, "0.4 MB, HTTP 200\n", retries=3)
    story.job("build[wheel]", 31.0, "Successfully built shop-4.2.0-py3-none-any.whl\n")
    story.job("quiet", 0.2)
    story.events.append(ev.InputEnded(story.now, 6, complete=True))


def stopped(story):
    conv = "./conv.sh --from csv --to parquet --strict"
    story.job("in/1092.csv", 0.3, "11 rows\n")
    story.job("in/1093.csv", 1.2, err=TRACEBACK, code=1, run=f"{conv} in/1093.csv")
    story.job("in/1117.csv", 0.4, err="in/1117.csv: 0 rows\n", code=65, run=f"{conv} in/1117.csv", retries=1)
    skipped = story.add(JobSpec("report", Command("make report")))
    story.events.append(ev.JobEnded(story.now, skipped, Outcome.SKIPPED, 0, False, "in/1117.csv"))
    for n in range(1200, 2010):
        story.add(JobSpec(f"in/{n}.csv", Command(f"{conv} in/{n}.csv")))
    story.events.append(ev.InputEnded(story.now, 814, complete=True))
    cut_short = CountedAs.STOPPED, KilledBySignal("SIGTERM")
    story.attempt(5, 1, 2.0, *cut_short, "half\n", asked=StopReason.INTERRUPTED)
    story.events.insert(-1, ev.RunStopping(story.now, "signal SIGINT", drain=False))
    story.events.append(ev.JobEnded(story.now, 5, Outcome.INTERRUPTED, 1, False))


def main(case, options):
    story, table, clock = Story(), JobTable(0.0), FakeClock()
    {"ok": ok, "stopped": stopped}[case](story)
    settings = OutputSettings(**options)
    out, err = outlets(settings, {})
    display = RunDisplay(settings, table, clock, out, err, ENVIRONMENT)
    observers = Observers(table, display.observers())
    metrics = MetricsCollector(0.0)
    for event in story.events:
        observers.deliver([event])
        metrics.fold([event])
    observers.close()
    display.say_last_page(metrics.snapshot(story.now), story.now, run="w2ekc5")


if __name__ == "__main__":
    main(sys.argv[1], dict(word.split("=") for word in sys.argv[2:]))
