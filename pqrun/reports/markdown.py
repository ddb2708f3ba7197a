# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run as one page of Markdown: totals, failures, and the folded end of their output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING

from pqrun.core.job import Outcome
from pqrun.core.job_row import JobRow
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import CORE_METRICS
from pqrun.core.text import format_duration
from pqrun.reports.cases import case_name, describe_case
from pqrun.reports.digest import DigestFailure, RunDigest
from pqrun.reports.report import Ending, RunInfo
from pqrun.reports.safe_text import one_line
from pqrun.reports.targets import AtomicFile

if TYPE_CHECKING:
    from pqrun.core.past import FlakyRate

MAX_PAGE_BYTES = 1024 * 1024 - 1  # GitHub's limit for the summary of a step
MAX_ROWS = 200
_HARMLESS = re.compile(r"[^`|\\]+")


class MarkdownSummary(RunDigest):
    """The page in a file of its own."""

    def __init__(self, target: AtomicFile, run: RunInfo, table: JobTable) -> None:
        super().__init__(table)
        self.option = target.option
        self._target = target
        self._run = run

    def finish(self, ending: Ending) -> None:
        """Write the page."""
        super().finish(ending)
        self._target.write([page(self, self._run, ending)])


def page(digest: RunDigest, run: RunInfo, ending: Ending, room: int = MAX_PAGE_BYTES) -> bytes:
    """Return the page in at most `room` bytes. Output is left out first, and the page says so."""
    top, metrics = list(_top(digest, ending)), list(_numbers(run, ending))
    rates = digest.flaky_rates(run)
    parts, end = [*top, *_failures(digest, rates)], [*_flaky(digest, rates), *_slowest(digest), *metrics]
    if _size(parts + end) > room:
        parts, end = [*top, "The page is full: more was left out."], metrics
    left_out = 0
    room -= _size(parts + end) + 100
    for failure in digest.failures.values():
        if failure.lines:
            folded = _folded(failure)
            room -= _size([folded])
            if room < 0:
                left_out += 1
            else:
                parts.append(folded)
    if left_out:
        parts.append(f"The output of {left_out} more is left out here.")
    return "\n\n".join([*parts, *end, ""]).encode()


def _size(parts: list[str]) -> int:
    return sum(len(part.encode()) + 2 for part in parts)


def _top(digest: RunDigest, ending: Ending) -> Iterator[str]:
    mark = "✅" if ending.code == 0 else "❌"
    yield f"### {mark} {digest.headline()}"
    stopped = digest.table.stopped
    if stopped and (digest.ended < digest.added or digest.outcomes[Outcome.INTERRUPTED]):
        yield f"Stopped by {code_span(stopped)} before all jobs had ended."
    rows = [("jobs", digest.added), *((str(outcome), digest.outcomes[outcome]) for outcome in Outcome)]
    rows += [("not run", digest.added - digest.ended), ("flaky", digest.table.flaky)]
    rows += [("failed (allowed)", digest.table.allowed)]
    shown = [(name, count) for name, count in rows if count or name in ("jobs", "ok", "failed")]
    yield _table([name for name, _ in shown], [[str(count) for _, count in shown]])


def _failures(digest: RunDigest, rates: Mapping[int, FlakyRate]) -> Iterator[str]:
    if not digest.bad:
        return
    shown = list(digest.failures.values())[:MAX_ROWS]
    rows = [
        [code_span(case_name(failure.row)), code_span(_how(failure)), str(failure.row.attempts),
         _seconds(failure.row), code_span(_last_word(failure))]
        for failure in shown
    ]  # fmt: skip
    heads = ["job", "how it ended", "attempts", "time", "last output"]
    yield _table(*_with_rates(heads, rows, [failure.row for failure in shown], rates))
    if digest.bad > len(rows):
        yield f"and {digest.bad - len(rows)} more"


def _with_rates(
    heads: list[str], rows: list[list[str]], jobs: list[JobRow], rates: Mapping[int, FlakyRate]
) -> tuple[list[str], list[list[str]]]:
    """Add a column about the last runs of each job, if something is known of one of them."""
    found = [rates.get(job.seq) for job in jobs]
    if not any(found):
        return heads, rows
    texts = ["" if rate is None else str(rate) for rate in found]
    return [*heads, "history"], [[*row, text] for row, text in zip(rows, texts, strict=True)]


def _flaky(digest: RunDigest, rates: Mapping[int, FlakyRate]) -> Iterator[str]:
    if digest.flaky:
        yield "#### Passed only after a retry"
        shown = list(digest.flaky.values())[:MAX_ROWS]
        rows = [[code_span(case_name(row)), str(row.attempts)] for row in shown]
        yield _table(*_with_rates(["job", "attempts"], rows, shown, rates))
        if digest.table.flaky > len(rows):
            yield f"and {digest.table.flaky - len(rows)} more"


def _slowest(digest: RunDigest) -> Iterator[str]:
    if digest.added > 1 and digest.slowest:
        yield "#### Slowest"
        yield _table(
            ["job", "time"], [[code_span(case_name(row)), format_duration(s)] for s, row in digest.slowest]
        )


def _numbers(run: RunInfo, ending: Ending) -> Iterator[str]:
    found = ending.metrics.rounded()
    table = _table(["metric", "value"], [[f"`{name}`", str(found[name])] for name in CORE_METRICS])
    yield f"<details><summary>Metrics of run {escape(run.run_id)}</summary>\n\n{table}\n\n</details>"


def _folded(failure: DigestFailure) -> str:
    title = escape(f"{case_name(failure.row)}: {_how(failure)}")
    return f"<details><summary>{title}</summary>\n\n{code_block(chr(10).join(failure.lines))}\n\n</details>"


def _how(failure: DigestFailure) -> str:
    return (describe_case(failure.row) or failure.row.state) + (" (may fail)" if failure.allowed else "")


def _last_word(failure: DigestFailure) -> str:
    return one_line(failure.row.message or (failure.lines[-1] if failure.lines else ""), 200)


def _seconds(row: JobRow) -> str:
    return "" if row.run_seconds is None else format_duration(row.run_seconds)


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def code_span(text: str) -> str:
    """Return Markdown for a table cell that shows the text as it is."""
    text = one_line(text, 200) or " "
    if _HARMLESS.fullmatch(text) and text == text.strip():
        return f"`{text}`"
    # Markdown readers disagree about backslashes and bars in cells; all of them read entities.
    return f"<code>{''.join(c if c.isalnum() or c == ' ' else f'&#{ord(c)};' for c in text)}</code>"


def code_block(text: str) -> str:
    """Return a Markdown block that shows the text as it is."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
