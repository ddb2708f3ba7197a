# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of a moment as a long answer, written out piece by piece as it is sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring_ascii as quote
from typing import Any, NamedTuple

from pqrun import lifecycle as life
from pqrun.control.selectors import state_of
from pqrun.model import JobSpec
from pqrun.task import Task

A_PIECE = 200


class _Row(NamedTuple):
    """A job as it was: what changes later is another object."""

    seq: int
    spec: JobSpec
    state: life.State
    entry: tuple[int, int, int] | None
    attempts: int
    retries: int


class Listing:
    """Jobs, the running ones first, then in starting order; with what else is to be told."""

    def __init__(self, tasks: Iterable[Task], now: float, facts: dict[str, Any]) -> None:
        self._rows = [_Row(t.seq, t.spec, t.state, t.entry, t.attempts, t.retries) for t in tasks]
        self._now = now
        self._facts = facts

    def __len__(self) -> int:
        return len(self._rows)

    def pieces(self) -> Iterator[bytes]:
        """The answer, a line of JSON."""
        beginning = json.dumps({"ok": True, **self._facts}, separators=(",", ":"))
        yield f'{beginning[:-1]},"jobs":['.encode()
        rows = self._in_order()
        for start in range(0, len(rows), A_PIECE):
            comma = "," if start else ""
            yield (comma + ",".join(map(self._entry, rows[start : start + A_PIECE]))).encode()
        yield b"]}\n"

    def entries(self) -> list[dict[str, Any]]:
        """The jobs of the answer."""
        found: list[dict[str, Any]] = json.loads(b"".join(self.pieces()))["jobs"]
        return found

    def _in_order(self) -> list[_Row]:
        running, queued, waiting, pending = [], [], [], []
        for row in self._rows:
            match row.state:
                case life.Queued():
                    queued.append((row.entry or (0, 0, row.seq), row))
                case life.Waiting(until=until):
                    waiting.append((until, row.seq, row))
                case life.Pending():
                    pending.append(row)
                case _:
                    running.append(row)
        queued.sort()
        waiting.sort()
        return [*running, *(row for _, row in queued), *(row for _, _, row in waiting), *pending]

    def _entry(self, row: _Row) -> str:
        spec, state = row.spec, row.state
        seconds, next_one = "", 1
        match state:
            case life.Running(started=started):
                seconds, next_one = f"{self._now - started:.3f}", 0
            case life.Queued(since=since):
                seconds = f"{self._now - since:.3f}"
            case life.Waiting(until=until):
                seconds = f"{until - self._now:.3f}"
            case life.Submitted() | life.Stopping():
                next_one = 0
        run = getattr(spec.work, "run", None)
        most = row.attempts + next_one - row.retries + spec.retry.max
        return (
            f'{{"id":{quote(spec.id)},"seq":{row.seq},"state":"{state_of(state)}",'
            f'"priority":"{spec.priority.name.lower()}","attempts":{row.attempts},"max_attempts":{most},'
            f'"run":{quote(run) if isinstance(run, str) else json.dumps(run)},"tags":{_list(spec.tags)},'
            f'"needs":{_list(need.job for need in spec.needs) if spec.needs else "[]"},'
            f'"timeout":{"null" if spec.timeout is None else spec.timeout},"seconds":{seconds or "null"}}}'
        )


def _list(words: Iterable[str]) -> str:
    return "[" + ",".join(map(quote, words)) + "]"
