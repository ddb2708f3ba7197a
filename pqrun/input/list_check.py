# SPDX-License-Identifier: LGPL-3.0-or-later
"""The check of all ` # pqrun:` comments in a list, before the first job runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pqrun.core.errors import UserError
from pqrun.core.job import JobSpec
from pqrun.input.command_list import CommandList, LineError
from pqrun.input.jobfile.problems import Problem, Problems


class ListPart(NamedTuple):
    """One list to check: `pieces` returns an iterator over its bytes.

    `whole` says that every list before it is checked as well.
    """

    name: str
    pieces: Callable[[], Iterator[bytes]]
    whole: bool = True


class ReportedLines:
    """The text of the lines with problems; other lines are not kept, since a list may be of any size."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[int, str] = {}

    def line(self, number: int) -> str:
        """Return the text of a line with a problem; empty for any other line."""
        return self.lines.get(number, "")


def check_list(
    lines: CommandList,
    parts: Iterable[ListPart],
    *,
    everything: bool = False,
    fits: Callable[[JobSpec], None] = lambda _job: None,
) -> int:
    """Check lists and return the number of their jobs. Raises JobFileError with every problem.

    `fits` raises UserError for a job that can't be part of the run. A line at which reading must end is a
    problem only with `everything`, because a run executes the jobs above such a line.
    """
    problems = Problems()
    shown: dict[int, ReportedLines] = {}
    count = 0
    for rank, part in enumerate(parts):
        shown[rank] = source = ReportedLines(part.name)
        if rank:
            lines.begin(part.name)
        for found in _jobs(lines, part.pieces()):
            if isinstance(found, LineError):
                if (everything or not found.ends) and (part.whole or not found.others):
                    source.lines[found.line] = found.text
                    problems.add(Problem(rank, found.line, found.column, found.message))
                continue
            count += 1
            try:
                fits(found)
            except UserError as error:
                message = str(error).removeprefix(f"{found.file}:{found.line}: ")
                problems.add(Problem(rank, found.line, 1, message))
        if lines.ended_early:  # the run does not read on either
            break
    if problems.count:
        raise problems.error(shown)
    return count


def _jobs(lines: CommandList, pieces: Iterator[bytes]) -> Iterator[JobSpec | LineError]:
    for piece in pieces:
        lines.feed(piece)
        yield from _taken(lines)
        if lines.ended_early:
            return
    lines.end()
    yield from _taken(lines)


def _taken(lines: CommandList) -> Iterator[JobSpec | LineError]:
    while True:
        try:
            job = lines.take()
        except LineError as error:
            yield error
            if not lines.pass_over():
                return
            continue
        if job is None:
            return
        yield job
