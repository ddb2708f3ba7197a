# SPDX-License-Identifier: LGPL-3.0-or-later
"""One job of a past run, with what history shows of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from json.encoder import encode_basestring_ascii as quote
from typing import Any

Line = dict[str, Any]
COLUMNS = (
    "seq", "id", "run", "named", "priority", "tags", "timeout", "most_retries", "state", "allowed",
    "attempts", "retries", "queued", "submitted", "waited",
    "last", "began", "ended", "code", "signal", "asked", "user", "system", "memory", "message", "out", "err",
    "host", "rerun",
)  # fmt: skip
ATTEMPT = ("seq", "last", "began", "ended", "code", "signal", "asked", "timeout", "message", "out", "err")


class Entry:
    """One job. From `last` on: of its last attempt that ended. Times are seconds of the wall clock.

    `run` and `tags` are JSON. What is not set is as it is here, which makes 100,000 of them quick.
    """

    id: str
    run: str
    named = True
    priority = 1
    tags = "[]"
    timeout: float | None = None
    most_retries = 0
    state = "pending"
    allowed = False
    attempts = retries = last = out = err = 0
    queued: float | None = None
    submitted: float | None = None
    waited: float | None = None
    began: float | None = None
    ended: float | None = None
    code: int | None = None
    signal: str | None = None
    asked: str | None = None
    user = system = 0.0
    memory: int | None = None
    message = ""
    host = ""
    rerun = True

    def __init__(self, seq: int) -> None:
        self.seq = seq

    @classmethod
    def stored(cls, values: Iterable[Any]) -> Entry:
        """The entry again, from the values of its columns."""
        entry = cls.__new__(cls)
        entry.__dict__.update(zip(COLUMNS, values, strict=True))
        return entry

    def describe(self, job: Line) -> None:
        """What the job is, as the journal has it."""
        run = job.get("run")
        self.id = storable(job["id"])
        self.run = quote(run) if isinstance(run, str) else json.dumps(run)
        self.named = job.get("named", True)
        self.priority = job.get("priority", 1)
        self.timeout = job.get("timeout")
        self.rerun = job.get("rerun", True)
        if "tags" in job or self.tags != "[]":
            self.tags = json.dumps(job.get("tags", []))
        self.most_retries = job["retry"].get("max", 0) if "retry" in job else 0


class Entries(dict[int, Entry]):
    """Fetches what an earlier reader has stored when it is asked for."""

    def __init__(self, stored: Callable[[int], Iterator[Entry]]) -> None:
        super().__init__()
        self._stored = stored
        self._gone: set[int] = set()

    def __missing__(self, seq: int) -> Entry:
        for entry in self._stored(seq):
            if entry.seq not in self._gone:
                self.setdefault(entry.seq, entry)
        if seq in self:
            return self[seq]
        raise KeyError(seq)

    def __delitem__(self, seq: int) -> None:
        self._gone.add(seq)
        super().__delitem__(seq)


def storable(text: str) -> str:
    """Without what no encoding can hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
