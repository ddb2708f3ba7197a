# SPDX-License-Identifier: LGPL-3.0-or-later
"""`logs`: which jobs are meant, and their output printed as it is, or followed."""

from __future__ import annotations

from collections.abc import Sequence

from pqrun.cli.looking import Page
from pqrun.cli.printing import Output, Printer, jobs_meant, output_of
from pqrun.display.safe import safe
from pqrun.errors import UserError
from pqrun.journal.index import Index, consult
from pqrun.journal.rundir import find_run

NOTHING_CHOSEN = 1


def print_logs(
    name: str, selectors: Sequence[str], *, attempt: int | None, stderr_only: bool, follow: bool
) -> int:
    """Prints; the exit code: 1 if patterns or words mean no job."""
    page = Page()
    run = find_run(name)
    live = run.in_use()
    seqs = consult(run, lambda index: jobs_meant(index, selectors, live=live))
    if not seqs and selectors:
        page.remark(f"no job is {' or '.join(safe(text) for text in selectors)}")
        return NOTHING_CHOSEN
    headings = len(seqs) != 1 and page.is_terminal
    printer = Printer(page, run, live=live, stderr_only=stderr_only, headings=headings)
    if follow and live:
        from pqrun.cli.following import follow_run

        follow_run(printer, run, selectors, seqs, attempt)
    else:
        for output in consult(run, lambda index: _outputs(index, seqs, attempt)):
            printer.print(output)
    page.end()
    return 0


def _outputs(index: Index, seqs: Sequence[int], attempt: int | None) -> list[Output]:
    outputs = [output for seq in seqs if (output := output_of(index, seq, attempt)) is not None]
    if attempt is not None and not outputs:
        raise UserError(f"there was no attempt {attempt}")
    return outputs
