# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of a run one by one as they end, each with the end of what it printed.

A job that has ended is handed on and forgotten, so that a run may have any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pqrun import events as ev
from pqrun.ledger import Ledger, Row
from pqrun.model import Count, Exited, Outcome, Signalled

NEVER_RAN = ("pending", "queued", "waiting")


class Case(NamedTuple):
    """One job. `out` and `err` are the last bytes of its last attempt, empty if that went well."""

    row: Row
    out: bytes = b""
    err: bytes = b""

    @property
    def verdict(self) -> str:
        """`ok`, `flaky`, `failed`, `error` (no code tells), `allowed`, `skipped`, `unneeded`, `left`."""
        row = self.row
        match row.state:
            case "ok":
                return "flaky" if row.retries else "ok"
            case "failed" if not row.allowed:
                return "failed" if isinstance(row.exit, Exited | Signalled) else "error"
            case "timeout" if not row.allowed:
                return "error"
            case "failed" | "timeout":
                return "allowed"
            case "interrupted":
                return "error"
            case "skipped" if row.allowed:
                return "unneeded"
            case "skipped" | "cancelled":
                return "skipped"
        return "left"


class Cases:
    """Folds events. `tail`: so many bytes of each stream of what did not go well are wanted.

    `ended` gets each job when it has ended for good; `again` the number of one that is to be forgotten,
    because it runs once more or is no longer part of the run; `tried` each attempt that is followed by
    another.
    """

    def __init__(
        self,
        ended: Callable[[Case], None],
        again: Callable[[int], None],
        *,
        tail: int,
        tried: Callable[[Row, ev.AttemptEnded, Case], None] | None = None,
    ) -> None:
        self.ledger = Ledger()
        self._ended = ended
        self._again = again
        self._tried = tried
        self._tail = tail
        self._tails: dict[int, tuple[bytes, bytes]] = {}

    def hear(self, events: Iterable[ev.Event]) -> None:
        """Takes in what happened, in order."""
        rows = self.ledger.rows
        for event in events:
            match event:
                case ev.JobReopened(seq=seq, spec=spec):
                    if seq not in rows:
                        rows[seq] = Row(seq, spec)
                    self._again(seq)
                case ev.JobDropped(seq=seq) if seq not in rows:
                    self._again(seq)
                    continue
                case ev.JobSaid() | ev.OutputGrew():
                    continue
            self.ledger.hear((event,))
            match event:
                case ev.AttemptEnded(seq=seq, counted=counted, output=output):
                    self._attempt_ended(rows[seq], event, counted, output)
                case ev.JobEnded(seq=seq):
                    out, err = self._tails.pop(seq, (b"", b""))
                    self._ended(Case(rows.pop(seq), out, err))

    def rest(self, *, live: bool = False) -> list[Case]:
        """The jobs that have not ended; what runs in a run that is over was interrupted."""
        cases = []
        for row in self.ledger.rows.values():
            if row.state == "running" and not live:
                row.state = str(Outcome.INTERRUPTED)
                row.message = row.message or "pqrun ended while it ran"
                row.exit = row.asked = None
            cases.append(Case(row))
        return cases

    def _attempt_ended(self, row: Row, event: ev.AttemptEnded, counted: Count, output: Any) -> None:
        tails = (b"", b"")
        if output is not None and counted is not Count.COMPLETED and self._tail:
            tails = (end_of(output.out, self._tail), end_of(output.err, self._tail))
        if counted is not Count.RETRIED:
            self._tails[row.seq] = tails
        elif self._tried is not None:
            self._tried(row, event, Case(row, *tails))


def end_of(stream: Any, limit: int) -> bytes:
    """The last bytes of what an attempt printed; none if they are gone."""
    try:
        return bytes(stream.tail(limit)) if stream.size else b""
    except OSError:
        return b""
