# SPDX-License-Identifier: LGPL-3.0-or-later
"""A timeline in Chrome's trace event format, for ui.perfetto.dev.

Each worker has a lane with its attempts; the queue has the waits; counters show jobs and workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from pqrun.core import events as ev
from pqrun.core.job import ExitedWith, JobSpec, KilledBySignal, NotStarted, format_command
from pqrun.core.text import describe_exit
from pqrun.core.unicode_json import as_json
from pqrun.reports.cases import one_line
from pqrun.reports.json_document import numbers
from pqrun.reports.run_info import Ending, RunInfo
from pqrun.reports.spool import TextSpool
from pqrun.reports.targets import AtomicFile


class TraceLanes:
    """The lane of each running job: its worker's number if that is known, else the lowest free number."""

    def __init__(self) -> None:
        self.highest = 0
        self._free: list[int] = []
        self._taken: dict[int, int] = {}
        self._since: dict[int, float] = {}

    def enter(self, seq: int, at: float) -> None:
        """Give the job the lowest free lane. `at`: the start, in seconds on the engine's clock."""
        self._since[seq] = at
        if not self._free:
            self.highest += 1
            heappush(self._free, self.highest)
        self._taken[seq] = heappop(self._free)

    def move(self, seq: int, where: str) -> None:
        """Move the job to its worker's lane, as in `slot 3`; another job in that lane takes the old one."""
        word, _, number = where.partition(" ")
        if word == "slot" and number.isdigit() and seq in self._taken:
            wanted, has = int(number), self._taken[seq]
            while self.highest < wanted:
                self.highest += 1
                heappush(self._free, self.highest)
            for other, lane in self._taken.items():
                if lane == wanted:
                    self._taken[other] = has
                    break
            else:
                self._free = [has, *(lane for lane in self._free if lane != wanted)]
                heapify(self._free)
            self._taken[seq] = wanted

    def leave(self, seq: int) -> int:
        """Free the job's lane and return its number."""
        lane = self._taken.pop(seq)
        del self._since[seq]
        heappush(self._free, lane)
        return lane

    def of(self, seq: int) -> int:
        """Return the job's lane, or 0 if the job has none."""
        return self._taken.get(seq, 0)

    @property
    def taken(self) -> int:
        """The number of lanes in use."""
        return len(self._taken)

    def all(self) -> list[tuple[int, float, int]]:
        """Return the sequence number, start and lane of each running job."""
        return [(seq, self._since[seq], lane) for seq, lane in self._taken.items()]


WORKERS, QUEUE = 1, 2  # process ids in the trace
ACTIVE = "active workers"


class ChromeTrace:
    """The trace of a run. Events are kept in a spool; `finish` writes the file."""

    def __init__(self, target: AtomicFile, run: RunInfo) -> None:
        self.target = target
        self._run = run
        self._spool = TextSpool()
        self._lanes = TraceLanes()
        self._specs: dict[int, JobSpec] = {}
        self._queued: dict[int, float] = {}
        self._counted: dict[str, int] = {}
        self._last = run.began

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Add the events to the spool."""
        for event in events:
            self._last = event.at
            for fact in self._facts(event):
                self._spool.put(as_json(fact, separators=(",", ":")).encode() + b",\n")

    def finish(self, ending: Ending) -> None:
        """Write the file."""
        self.target.write(self._pieces(ending))
        self._spool.close()

    def _facts(self, event: ev.Event) -> Iterator[dict[str, Any]]:
        match event:
            case ev.JobAdded(_, seq, spec) | ev.JobReopened(_, seq, _, spec) | ev.JobChanged(_, seq, spec):
                self._specs[seq] = spec
            case ev.JobQueued(at, seq):
                self._queued[seq] = at
                yield from self._counters(at)
            case ev.AttemptSubmitted(at, seq, attempt, waited):
                self._queued.pop(seq, None)
                self._lanes.enter(seq, at)
                yield from self._wait(seq, attempt, at - waited, at)
                yield from self._counters(at)
            case ev.AttemptRefused(at, seq):
                self._lanes.leave(seq)
                self._queued[seq] = at
                yield from self._counters(at)
            case ev.AttemptStarted(_, seq, _, where):
                self._lanes.move(seq, where)
            case ev.AttemptStopping(at, seq, _, reason, force):
                name = f"{'killed' if force else 'asked to stop'}: {reason}"
                yield self._event("i", name, at, WORKERS, self._lanes.of(seq), s="t", cat="stop")
            case ev.AttemptEnded(at=at, seq=seq):
                yield self._attempt(event, self._lanes.leave(seq))
                yield from self._counters(at)
            case ev.JobRemoved(at, seq):
                self._queued.pop(seq, None)
                yield from self._counters(at)
            case ev.JobEnded(_, seq) | ev.JobDropped(_, seq):
                self._specs.pop(seq, None)
                self._queued.pop(seq, None)
            case ev.RunStopping(at, cause) | ev.SlotsChanged(at, _, cause):
                yield self._event("i", one_line(cause), at, WORKERS, 0, s="g", cat="run")

    def _attempt(self, event: ev.AttemptEnded, lane: int) -> dict[str, Any]:
        spec, exit = self._specs[event.seq], event.exit
        args = {
            "id": spec.id, "seq": event.seq, "attempt": event.attempt, "counted": str(event.counted),
            "how": describe_exit(exit, event.asked, spec.timeout),
            "command": one_line(format_command(spec.work)),
            "exit": exit.code if isinstance(exit, ExitedWith | NotStarted) else None,
            "signal": exit.name if isinstance(exit, KilledBySignal) else None,
            "priority": spec.priority.name.lower(), "slots": spec.slots,
            "user_s": round(event.usage.user, 6), "sys_s": round(event.usage.system, 6),
        }  # fmt: skip
        if event.usage.memory is not None:
            args["memory_peak_bytes"] = event.usage.memory
        more = {"dur": round(max(0.0, event.ended - event.began) * 1e6), "cat": str(event.counted)}
        return self._event("X", self._name(event.seq), event.began, WORKERS, lane, **more, args=args)

    def _wait(self, seq: int, attempt: int, since: float, until: float) -> Iterator[dict[str, Any]]:
        """Yield the begin and end of a wait. Waits overlap, so each has an id of job and attempt."""
        for phase, at in (("b", since), ("e", until)):
            name = self._name(seq)
            yield self._event(phase, name, at, QUEUE, 0, cat="wait", id=f"{seq}.{attempt}")

    def _counters(self, at: float) -> Iterator[dict[str, Any]]:
        for name, number in (("jobs queued", len(self._queued)), (ACTIVE, self._lanes.taken)):
            if self._counted.get(name) != number:
                self._counted[name] = number
                yield self._event("C", name, at, QUEUE, 0, args={"count": number})

    def _name(self, seq: int) -> str:
        spec = self._specs[seq]
        return one_line(spec.id if spec.named else format_command(spec.work), 200)

    def _event(self, phase: str, name: str, at: float, pid: int, tid: int, **more: Any) -> dict[str, Any]:
        """Return a trace event. `ts` is in microseconds since the run began."""
        ts = round((at - self._run.began) * 1e6)
        return {"ph": phase, "name": name, "ts": max(0, ts), "pid": pid, "tid": tid, **more}

    def _pieces(self, ending: Ending) -> Iterator[bytes]:
        names = [_named("process_name", WORKERS, 0, "workers"), _named("process_name", QUEUE, 0, "queue")]
        for lane in range(1, self._lanes.highest + 1):
            names.append(_named("thread_name", WORKERS, lane, f"worker {lane}"))
        yield b'{"traceEvents":[\n'
        yield from self._spool.pieces()
        for seq, since, lane in self._lanes.all():  # a job without an end gets a begin event alone
            args = {"id": self._specs[seq].id, "seq": seq}
            names.append(self._event("B", self._name(seq), since, WORKERS, lane, cat="running", args=args))
        if self._lanes.taken and not ending.live:  # else the last count would last past the run's end
            names.append(self._event("C", ACTIVE, self._last, QUEUE, 0, args={"count": 0}))
        yield b",\n".join(as_json(name, separators=(",", ":")).encode() for name in names)
        facts = {"run": ending.run, "metrics": numbers(ending.metrics)}
        yield b'\n],"displayTimeUnit":"ms","otherData":' + as_json(facts).encode() + b"}\n"


def _named(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "ts": 0, "pid": pid, "tid": tid, "args": {"name": name}}
