# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page at the end of a run: the failures, what happened, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from pqrun.core import text as hints
from pqrun.core.job import Outcome, format_command
from pqrun.core.layout import cut_middle
from pqrun.core.metrics import Metrics
from pqrun.core.text import count_of, describe_stop, escape_controls, format_duration, shorten
from pqrun.ui.run_summary import RunSummary, SummaryFailure
from pqrun.ui.terminal import NO_BREAK, OUTCOME_STYLES, Piece, Style, lay_out

if TYPE_CHECKING:
    from pqrun.core.past import FlakyRate

COMMAND_LINES = 3
MAX_COMMAND_LENGTH = 300
MANY_JOBS = 20
_NEITHER = (Outcome.CANCELLED, Outcome.INTERRUPTED, Outcome.SKIPPED)


class SummaryPage:
    """The text of a summary.

    `run`: the name of a recorded run, for commands that continue it or show more. `window`: the columns and
    rows of the terminal, to which lines and the number of failures are fitted; None: no terminal. `verbose`:
    metrics also of a small run without a failure. `queue`: whether the run is a queue. `shown`: the job whose output
    is the last on the screen. `rates`: in how many of its last runs a job failed, by number.
    """

    def __init__(
        self,
        summary: RunSummary,
        metrics: Metrics,
        seconds: float,
        paint: Style,
        *,
        run: str = "",
        window: tuple[int, int] | None = None,
        verbose: bool = False,
        queue: bool = False,
        shown: int = 0,
        rates: Mapping[int, FlakyRate] = MappingProxyType({}),
    ) -> None:
        self._summary = summary
        self._table = summary.table
        self._metrics = metrics
        self._seconds = seconds
        self._paint = paint
        self._run = run if self._table.added else ""
        self._width = window[0] - 1 if window else None  # a full line would wrap on some terminals
        self._rows = window[1] if window else None
        self._verbose = verbose
        self._queue = queue
        self._shown = shown
        self._rates = rates

    def text(self) -> str:
        """Return the page: failures, what happened, and last, next to the prompt, what to do."""
        summary, head = self._summary, self._headline()
        foot = self._next_commands()
        if not self._table.input_complete:
            foot = [*self._laid_out("  ", ("pqrun: the list of jobs was not read completely", "")), *foot]
        worth = self._verbose or self._table.added >= MANY_JOBS or summary.failures
        details = self._details() if worth and self._table.ended_count else []
        if self._rows is None:
            return "\n".join([*self._failures(None), *head, *details, *foot])
        failures, room = self._failures(None), self._rows - len(head) - len(foot) - 1
        if len(failures) + len(details) > room and not self._verbose and failures:
            details = []  # failures are worth more; `show` has the rest
        if len(failures) + len(details) > room:
            failures = self._failures(room - len(details))
        return "\n".join([*(failures or [""] * bool(self._table.added)), *head, *details, *foot])

    def _laid_out(self, indent: str, *pieces: Piece) -> list[str]:
        return lay_out(pieces, self._paint, self._width, indent)

    def _failures(self, rows: int | None) -> list[str]:
        """Return as many failures and skipped jobs as fit into `rows`, but at least one failure."""
        summary, table = self._summary, self._table
        lines: list[str] = []
        room = None if rows is None else rows - 2 * bool(summary.failures) - 3 * bool(summary.skipped)
        left = len(summary.failures) + summary.not_kept
        for failure in summary.failures:
            block = ["", *self._failure(failure)]
            if room is not None and lines and len(lines) + len(block) > room:
                break
            lines += block
            left -= 1
        if left:
            cancelled = summary.not_kept or any(
                job.outcome is Outcome.CANCELLED for job in summary.failures[-left:]
            )
            word = "failed or cancelled" if cancelled and table.outcomes[Outcome.CANCELLED] else "failed"
            lines += ["", *self._more(left, word)]
        if summary.skipped:
            lines.append("")
            kept = sorted(summary.skipped, key=lambda job: job.seq)
            kept = kept if rows is None else kept[: max(1, rows - len(lines) - 2)]
            for job in kept:
                lines += self._ended_badly(job)
            if (left := table.outcomes[Outcome.SKIPPED] - len(kept)) > 0:
                lines += self._more(left, "skipped")
        return [*lines, ""] if lines else []

    def _more(self, count: int, word: str) -> list[str]:
        show = [(": ", "dim"), (hints.command("show", self._run), "bold")] if self._run else []
        return self._laid_out("  ", (f"… and {count} more {word}", "dim"), *show)

    def _failure(self, failure: SummaryFailure) -> list[str]:
        lines = self._ended_badly(failure)
        command = [line for line in format_command(failure.spec.work).split("\n") if line.strip()]
        for line in command[:COMMAND_LINES]:
            said = f"  $ {escape_controls(shorten(line, MAX_COMMAND_LENGTH), keep='')}"
            lines.append(self._paint("cyan", said if self._width is None else cut_middle(said, self._width)))
        for line in [*failure.said, *(failure.lines if failure.seq != self._shown else [])]:
            width = self._width and max(self._width - 4, 8)
            indent = " " * min(len(line) - len(line.lstrip()), 20)
            wrapped = lay_out([(line, "")], self._paint, width, indent)
            lines += [f"  {self._paint('dim', '│')} {part}" for part in wrapped]
        return lines

    def _ended_badly(self, job: SummaryFailure) -> list[str]:
        style = OUTCOME_STYLES[job.outcome]
        took = f" after {format_duration(job.seconds)}" if job.seconds else ""
        tries = f", {job.attempts} tries" if job.attempts > 1 else ""
        return self._laid_out(
            "  ",
            (str(job.outcome).upper(), style),
            (" ", ""),
            (escape_controls(job.spec.id), "bold"),
            (": ", ""),
            (escape_controls(job.how), style.removeprefix("bold ")),
            (took + tries, ""),
            (self._rate(job.seq), "dim"),
        )

    def _rate(self, seq: int) -> str:
        """Return in how many of its last runs a job failed, as the end of a line; empty if that is unknown."""
        return f", {rate}" if (rate := self._rates.get(seq)) is not None else ""

    def _headline(self) -> list[str]:
        """Return what happened: in one line if it fits, else with the counts on a line of their own."""
        head, counts = self._what_happened(), self._counts()
        one = [*head, (" (", ""), *counts, (")", "")] if counts else head
        if self._width is None or not counts:
            return self._laid_out("  ", *one) + self._flaky_jobs()
        if len(found := self._laid_out("  ", *one)) == 1:
            return found
        return self._laid_out("  ", *head) + self._laid_out("  ", ("  ", ""), *counts)

    def _what_happened(self) -> list[Piece]:
        table, style = self._table, "bold"
        jobs = count_of(table.added, "job")
        failed = table.outcomes[Outcome.FAILED] + table.outcomes[Outcome.TIMEOUT] - table.allowed
        took = format_duration(self._seconds)
        if not table.added:
            what = "no jobs"
        elif table.unfinished:
            what = f"{table.unfinished} of {jobs} not run"
        elif failed:
            what, style = f"{failed} of {jobs} failed", "bold red"
        elif bad := next((o for o in _NEITHER if table.outcomes[o]), None):
            what = f"{table.outcomes[bad]} of {jobs} {bad}"
        elif table.outcomes[Outcome.OK] == table.added:
            what, style = f"{jobs} ok", "bold green"
        else:
            what = jobs
        what = self._glued(what)
        start: list[Piece] = [("pqrun: ", "")]
        if table.stopped:
            cause = describe_stop(table.stopped)
            return [*start, (f"stopped by {cause}", "yellow"), (f" after {took}: ", ""), (what, style)]
        return [*start, (what, style), (f" in {took}" if table.added else "", "")]

    def _counts(self) -> list[Piece]:
        table = self._table
        if table.outcomes[Outcome.OK] == table.added:
            return []
        counts = [(f"{table.outcomes[o]} {o}", OUTCOME_STYLES[o]) for o in Outcome if table.outcomes[o]]
        if self._metrics.jobs_retried:
            counts.append((f"{self._metrics.jobs_retried} retried", "yellow"))
        if table.flaky:
            counts.append((f"{table.flaky} flaky", ""))
        return _parted(counts)

    def _flaky_jobs(self) -> list[str]:
        """Return a line on the flaky jobs of a run without a failure."""
        table, flaky = self._table, self._summary.flaky
        if not flaky or table.outcomes[Outcome.OK] != table.added:
            return []
        pieces: list[Piece] = [(f"  {table.flaky} flaky", "yellow"), (": ", "dim")]
        for job in flaky:
            how = f" after {job.how}" if job.how else ""
            passed = f", ok at {job.passed}{how}{self._rate(job.seq)}; "
            pieces += [(shorten(job.label, 40), ""), (passed, "dim")]
        if table.flaky > len(flaky):
            pieces.append((f"and {table.flaky - len(flaky)} more", "dim"))
        pieces[-1] = (pieces[-1][0].removesuffix("; "), "dim")
        return self._laid_out("    ", *pieces)

    def _details(self) -> list[str]:
        slowest = ", ".join(
            f"{shorten(label, 40)}{self._glued(' ')}{format_duration(s)}"
            for label, s in self._summary.slowest
        )
        lines = (
            self._laid_out(" " * 11, ("  ", ""), ("slowest", "dim"), (f"  {slowest}", "")) if slowest else []
        )
        ten = [[(self._glued(f"{name} "), "dim"), (value, "")] for name, value in self._metrics.ten()]
        first = [("  ", ""), ("metrics", "dim"), ("  ", "")]
        if self._width is not None:
            return lines + self._laid_out(" " * 11, *first, *_parted_groups(ten))
        halves = (_parted_groups(ten[:6]), _parted_groups(ten[6:]))
        return [
            *lines,
            *self._laid_out("", *first, *halves[0], (",", "")),
            *self._laid_out("", (" " * 11, ""), *halves[1]),
        ]

    def _glued(self, text: str) -> str:
        """Return words that stay on one line."""
        return text if self._width is None else text.replace(" ", NO_BREAK)

    def _next_commands(self) -> list[str]:
        summary, run = self._summary, self._run
        if not run:
            return []
        commands, resumable = [], summary.resumable
        if resumable:
            again = hints.serve_command(run) if self._queue else hints.command("resume", run)
            commands.append(("continue", again))
        if summary.failures or summary.skipped:
            commands.append(("run failed jobs again", hints.command("resume", run, options="--failed")))
        if summary.failures:
            one = summary.failures[0].spec.id
            name = one if one.isprintable() else str(summary.failures[0].seq)
            commands.append(("see a log", hints.command("logs", run, name)))
        elif not resumable:
            commands.append(("see more", hints.command("show", run)))
        longest = max(len(what) for what, _ in commands)
        fits = self._width is None or all(
            longest + 4 + len(command) <= self._width for _, command in commands
        )
        lines = []
        for what, command in commands:
            if fits:
                lines.append(f"  {self._paint('dim', f'{what:<{longest}}')}  {self._paint('bold', command)}")
            else:  # a command is never broken, because people copy it
                lines += [f"  {self._paint('dim', what)}", f"    {self._paint('bold', command)}"]
        return lines


def _parted(pieces: Iterable[Piece]) -> list[Piece]:
    """Return the pieces with commas between them."""
    return _parted_groups([piece] for piece in pieces)


def _parted_groups(groups: Iterable[list[Piece]]) -> list[Piece]:
    found: list[Piece] = []
    for group in groups:
        found += [(", ", ""), *group] if found else group
    return found


def exported_function_hint(failures: Iterable[SummaryFailure], environment: Iterable[str]) -> str:
    """Return a hint if a command was not found that is a bash function in pqrun's `environment`; else ''.

    Bash exports a function as the variable `BASH_FUNC_name%%`. Other shells, such as `sh`, ignore it.
    """
    functions = {
        name[len("BASH_FUNC_") : -2]
        for name in environment
        if name.startswith("BASH_FUNC_") and name.endswith("%%")
    }
    for failure in failures if functions else ():
        words = format_command(failure.spec.work).split()
        called = functions.intersection(words)
        if called and failure.how.startswith("exit 127"):
            name = escape_controls(next(word for word in words if word in called))
            return f"`{name}` is an exported bash function, which `sh` doesn't know: use --shell 'bash -c'"
    return ""
