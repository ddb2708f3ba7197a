# SPDX-License-Identifier: LGPL-3.0-or-later
"""`logs -f`: what the jobs of a live run print, until its end.

One job's output comes as it is printed; of several jobs it comes in one piece when each has ended.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence

from pqrun.cli.printing import Printer, jobs_meant, output_of
from pqrun.journal.index import Index, Stale, watch
from pqrun.journal.rundir import RunDirectory
from pqrun.signals import end_by

LOOK_EVERY = 0.1


def follow_run(
    printer: Printer, run: RunDirectory, selectors: Sequence[str], seqs: Sequence[int], attempt: int | None
) -> None:
    """Prints what the chosen jobs have printed, then what they go on to print."""
    told = dict.fromkeys(seqs, 0)
    try:
        with watch(run) as index:
            _print_ended(printer, index, told, attempt, since_last=False)
        while not _follow(printer, run, selectors, told, attempt):
            pass  # the journal of a queue was made shorter: what was told of stays told of
    except KeyboardInterrupt:
        end_by(signal.SIGINT)


def _follow(
    printer: Printer, run: RunDirectory, selectors: Sequence[str], told: dict[int, int], attempt: int | None
) -> bool:
    """Whether all is over; if not, the journal has to be read from its beginning again."""
    with watch(run) as index, contextlib.suppress(Stale):
        touched = set(told)
        while not printer.gone:
            live = run.in_use()
            touched |= index.catch_up()
            if touched:
                meant = set(jobs_meant(index, selectors, live=True)) if selectors else touched
                news = {seq: told.get(seq, 0) for seq in sorted(touched & meant)}
                _print_ended(printer, index, news, attempt, since_last=True)
                told.update(news)
                touched = set()
            if len(told) == 1 and selectors and (output := output_of(index, next(iter(told)), attempt)):
                printer.print(output)
            if not live or (selectors and not index.unfinished() & told.keys()):
                return True
            time.sleep(LOOK_EVERY)
        return True
    return False


def _print_ended(
    printer: Printer, index: Index, told: dict[int, int], attempt: int | None, *, since_last: bool
) -> None:
    """The attempts that have ended since the last that was told of each job; or the last one alone."""
    for seq, last_told in told.items():
        ended = index.ended_attempts(seq)
        wanted = [attempt] if attempt is not None else ended if since_last else ended[-1:]
        for number in wanted:
            if last_told < number and number in ended and (output := output_of(index, seq, number)):
                printer.print(output)
        told[seq] = max(ended, default=last_told)
