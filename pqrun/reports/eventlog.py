# SPDX-License-Identifier: LGPL-3.0-or-later
"""What happens, as it happens: a JSON object a line, as `docs/events.md` describes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pqrun import events as ev
from pqrun.reports.document import numbers, timestamp
from pqrun.reports.eventfacts import told
from pqrun.reports.facts import Ending, RunFacts
from pqrun.reports.pipes import Growing
from pqrun.unicodejson import as_json, bytes_beside

SCHEMA = 1


class EventLog:
    """Writes each batch of events in one go."""

    def __init__(self, target: Growing, run: RunFacts) -> None:
        self.target = target
        self._run = run
        self._ids: dict[int, str] = {}
        self._last = run.began
        files = list(run.files)
        facts = {"run": run.run_id, "files": files, "workers": run.workers, **bytes_beside("files", files)}
        began = self._moment(run.began)
        self.target.write(
            _line(
                "run_started",
                began,
                {**facts, "directory": run.directory, **bytes_beside("directory", run.directory)},
            )
        )

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Writes what has happened."""
        lines = [line for event in events if (line := self._told(event))]
        if lines:
            self.target.write(b"".join(lines))

    def tick(self) -> float:
        """A slow reader gets what it has not taken yet."""
        return self.target.flush()

    def finish(self, ending: Ending) -> None:
        """The last line says how it ended."""
        if not ending.live:
            facts = {"state": ending.run["state"], "exit": ending.code, "metrics": numbers(ending.metrics)}
            ended = ending.run["ended_at"] or self._moment(self._last)
            self.target.write(_line("run_ended", ended, facts))
        self.target.close()

    def _told(self, event: ev.Event) -> bytes:
        found = told(event, self._moment)
        if found is None:
            return b""
        name, facts = found
        self._last = event.at
        seq: int | None = getattr(event, "seq", None)
        if seq is None:
            return _line(name, self._moment(event.at), facts)
        if isinstance(event, ev.JobAdded | ev.JobReopened):
            self._ids[seq] = event.spec.id
        line = _line(name, self._moment(event.at), {"seq": seq, "id": self._ids.get(seq), **facts})
        if isinstance(event, ev.JobEnded | ev.JobDropped):
            self._ids.pop(seq, None)
        return line

    def _moment(self, at: float) -> str:
        return timestamp(self._run.wall(at))


def _line(name: str, at: str, facts: dict[str, Any]) -> bytes:
    line = {"schema": SCHEMA, "event": name, "at": at, **facts}
    return as_json(line, separators=(",", ":")).encode() + b"\n"
