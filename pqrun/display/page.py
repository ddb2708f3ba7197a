# SPDX-License-Identifier: LGPL-3.0-or-later
"""The end of a run as text: failures first, then totals, the ten metrics, and what to type next."""

from __future__ import annotations

from pqrun import hints
from pqrun.display.lastpage import Failure, LastPage
from pqrun.display.paint import OUTCOME_STYLES, Paint
from pqrun.display.safe import safe
from pqrun.display.words import short
from pqrun.metrics import TEN, Metrics
from pqrun.model import Outcome, shown_command
from pqrun.words import duration_text

COMMAND_LINES = 3
LONGEST_COMMAND = 300


def last_page(page: LastPage, metrics: Metrics, seconds: float, paint: Paint, *, run: str = "") -> str:
    """The page. With `run`, the id under which it is recorded, also the commands to see and do more."""
    lines: list[str] = []
    bad = [failure for failure in page.failures if failure.is_final]
    if bad:
        lines.append("")
        lines += [line for failure in bad for line in _failure(failure, paint)]
        if page.not_kept:
            lines.append(f"… and {page.not_kept} more")
        lines.append("")
    lines.append(f"pqrun: {_headline(page, metrics, seconds, paint)}")
    if sum(page.outcomes.values()):
        lines += _details(page, metrics, paint)
    if not page.input_complete:
        lines.append("pqrun: the list of jobs was not read to its end")
    return "\n".join(lines + (_next_commands(page, run, bad, paint) if run else []))


def _failure(failure: Failure, paint: Paint) -> list[str]:
    style = OUTCOME_STYLES[failure.outcome]
    how = paint(style.removeprefix("bold "), safe(failure.how))
    took = f" after {duration_text(failure.seconds)}" if failure.seconds else ""
    tries = f", {failure.attempts} tries" if failure.attempts > 1 else ""
    heading = f"{paint(style, str(failure.outcome).upper())} {paint('bold', safe(failure.spec.id))}"
    lines = [f"{heading}: {how}{took}{tries}"]
    command = [line for line in shown_command(failure.spec.work).split("\n") if line.strip()]
    for line in command[:COMMAND_LINES]:
        lines.append(paint("cyan", f"  $ {safe(short(line, LONGEST_COMMAND), keep='')}"))
    return lines + [f"  {paint('dim', '│')} {line}" for line in failure.lines]


def _headline(page: LastPage, metrics: Metrics, seconds: float, paint: Paint) -> str:
    if not page.added:
        return "no jobs"
    counts = [paint(OUTCOME_STYLES[o], f"{page.outcomes[o]} {o}") for o in Outcome if page.outcomes.get(o)]
    if metrics.jobs_retried:
        counts.append(paint("yellow", f"{metrics.jobs_retried} retried"))
    if left := page.added - sum(page.outcomes.values()):
        counts.append(f"{left} not run")
    if page.flaky:
        counts.append(f"{page.flaky} flaky")
    took = f"in {duration_text(seconds)} ({', '.join(counts)})"
    jobs = f"{page.added} job{'s' if page.added != 1 else ''}"
    if page.failed:
        return f"{paint('bold red', f'{page.failed} of {jobs} failed')} {took}"
    stopped = f"stopped by {page.stopped.removeprefix('signal ')}: " if page.stopped else ""
    return f"{stopped}{paint('bold', jobs)} {took}"


def _details(page: LastPage, metrics: Metrics, paint: Paint) -> list[str]:
    slowest = ", ".join(f"{short(name, 40)} {duration_text(seconds)}" for name, seconds in page.slowest)
    ten = [f"{paint('dim', _word(name))} {_number(getattr(metrics, name))}" for name in TEN]
    lines = [f"  {paint('dim', 'slowest')}  {slowest}"] if slowest else []
    lines.append(f"  {paint('dim', 'metrics')}  {', '.join(ten[:6])},")
    return [*lines, f"           {', '.join(ten[6:])}"]


def _next_commands(page: LastPage, run: str, bad: list[Failure], paint: Paint) -> list[str]:
    commands = []
    if bad:
        one = bad[0].spec.id
        name = one if one.isprintable() else str(bad[0].seq)
        commands.append(("see a log", hints.command("logs", run, name)))
        commands.append(("run the failed again", hints.command("resume", run, options="--failed")))
    elif sum(page.outcomes.values()) < page.added or page.outcomes.get(Outcome.INTERRUPTED):
        commands.append(("go on", hints.command("resume", run)))
    else:
        commands.append(("see more", hints.command("show", run)))
    width = max(len(what) for what, _ in commands)
    return [f"  {paint('dim', f'{what:<{width}}')}  {paint('bold', command)}" for what, command in commands]


def _word(name: str) -> str:
    return name.removeprefix("jobs_").replace("_", " ").replace("average", "avg").replace("current ", "")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else duration_text(value)
