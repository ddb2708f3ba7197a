# SPDX-License-Identifier: LGPL-3.0-or-later
"""The decoder of the journal's lines to events, the way back from `format`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pqrun.core import events as ev
from pqrun.core.job import (
    NO_REPORT,
    Command,
    CountedAs,
    Exit,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    NotStarted,
    Outcome,
    Priority,
    SelfReport,
    StopReason,
    Usage,
)
from pqrun.journal.format import UNKNOWN, spec_of
from pqrun.output.store import PackPlace

Facts = dict[str, Any]
CaptureOf = Callable[[int, int, int, int, PackPlace | None, PackPlace | None], Any]
_new = tuple.__new__
"""The constructor of a tuple's class, without the check of its arguments: each job needs eight of them."""
_EXIT_OK = ExitedWith(0)
_COUNTED = {str(counted): counted for counted in CountedAs}
_OUTCOMES = {str(outcome): outcome for outcome in Outcome}


class Decoder:
    """Decoder of journal lines to events.

    `output(seq, attempt, out, err, out_at, err_at)` returns the captured output of an attempt, by its bytes and
    their places in packs; `spec(seq)` returns the present description of a job.
    """

    def __init__(self, output: CaptureOf, spec: Callable[[int], JobSpec] = lambda _: UNKNOWN) -> None:
        self._output = output
        self._nothing = output(0, 0, 0, 0, None, None)
        self._like = UNKNOWN
        self._rest: Facts | None = None
        self._several: dict[str, Callable[[Facts, float], Sequence[ev.Event]]] = {
            "add": self._added,
            "end": self._ended,
        }
        self._single: dict[str, Callable[[Facts, float], ev.Event]] = {
            **_SINGLE,
            "again": lambda line, at: ev.JobReopened(
                at, line["s"], _OUTCOMES[line["o"]], spec(line["s"]), line.get("by", "")
            ),
            "change": lambda line, at: ev.JobChanged(
                at, line["s"], self._spec(line["job"]), line["by"], line.get("front", False)
            ),
        }

    def __call__(self, line: Facts) -> Sequence[ev.Event]:
        """Return the events of a line.

        A line of an unknown kind gives no events: within a version, only kinds that may be skipped are
        added. Raises KeyError, TypeError or ValueError for a malformed line.
        """
        kind, at = line["e"], line["t"]
        if several := self._several.get(kind):
            return several(line, at)
        single = self._single.get(kind)
        return () if single is None else (single(line, at),)

    def _added(self, line: Facts, at: float) -> Sequence[ev.Event]:
        seq, spec = line["s"], self._spec(line["job"])
        added = _new(ev.JobAdded, (at, seq, spec, line.get("by", "")))
        return (added, _new(ev.JobQueued, (at, seq, 1, spec.priority))) if "q" in line else (added,)

    def _output_of(self, line: Facts) -> Any:
        out_at, err_at = _place(line.get("out_at")), _place(line.get("err_at"))
        return self._output(line["s"], line["n"], line["out"], line["err"], out_at, err_at)

    def _spec(self, facts: Facts) -> JobSpec:
        """Return a job. The fields that it shares with the previous job are not decoded again."""
        run, like = facts.get("run"), self._like
        rest = facts.copy()
        job_id, args, line = rest.pop("id"), rest.pop("args", ()), rest.pop("line", 0)
        if rest.pop("run", None).__class__ is str and rest == self._rest:
            work = _new(Command, (run, *like.work[1:]))
            return _new(JobSpec, (job_id, work, *like[2:-2], tuple(args), line))
        spec = spec_of(facts)
        if isinstance(run, str):
            self._like, self._rest = spec, rest
        return spec

    def _ended(self, line: Facts, at: float) -> Sequence[ev.Event]:
        get, seq, attempt = line.get, line["s"], line["n"]
        asked, message = get("asked"), get("message")
        out = self._output_of(line) if "out" in line else self._nothing
        ended = _new(ev.AttemptEnded, (
            at, seq, attempt, _COUNTED[line["as"]], _exit(line), None if asked is None else StopReason(asked),
            line["b"], line["f"], _new(Usage, (line["u"], line["y"], get("m"))),
            NO_REPORT if message is None else SelfReport(message=message), out, get("where", ""),
        ))  # fmt: skip
        return (ended, _job_ended(line, at)) if "o" in line else (ended,)


def _place(at: list[int] | None) -> PackPlace | None:
    """Return a place in a pack. Raises ValueError for a malformed one."""
    if at is None:
        return None
    pack, offset = map(int, at)
    return pack, offset


def _job_ended(line: Facts, at: float) -> ev.JobEnded:
    get = line.get
    outcome = _OUTCOMES[line["o"]]
    return ev.JobEnded(at, line["s"], outcome, line["n"], get("ok", False), get("because", ""), get("by", ""))


def _exit(line: Facts) -> Exit:
    if "lost" in line:
        return LostExit(line["lost"], line.get("gone", False))
    if "sig" in line:
        return KilledBySignal(line["sig"])
    if "not" in line:
        return NotStarted(line["x"], line["not"])
    code = line["x"]
    return ExitedWith(code) if code else _EXIT_OK


_SINGLE: dict[str, Callable[[Facts, float], ev.Event]] = {
    "start": lambda line, at: _new(ev.AttemptSubmitted, (at, line["s"], line["n"], line["w"])),
    "done": _job_ended,
    "queue": lambda line, at: ev.JobQueued(at, line["s"], line["n"], Priority(line["p"])),
    "wait": lambda line, at: ev.JobWaiting(at, line["s"], line["n"], line["until"]),
    "delay": lambda line, at: ev.JobDelayed(at, line["s"], line["n"], line["until"]),
    "refuse": lambda line, at: ev.AttemptRefused(at, line["s"], line["n"], line["why"]),
    "twice": lambda line, at: ev.AttemptRestarted(at, line["s"], line["n"], line["where"]),
    "remove": lambda line, at: ev.JobRemoved(at, line["s"]),
    "drop": lambda line, at: ev.JobDropped(at, line["s"], _OUTCOMES[line["o"]] if line["o"] else None),
    "hold": lambda line, at: ev.JobHeld(at, line["s"], line["on"], line["by"]),
    "input": lambda line, at: ev.InputEnded(at, line["jobs"], line["complete"], line["why"]),
    "workers": lambda line, at: ev.WorkersChanged(at, line["workers"], line["by"]),
    "pool": lambda line, at: ev.PoolChanged(at, line["name"], line["size"], line["by"]),
    "pause": lambda line, at: ev.RunPaused(at, line["on"], line["by"]),
    "stop": lambda line, at: ev.RunStopping(
        at, line["cause"], line["drain"], line["force"], line.get("by", "")
    ),
    "slots": lambda line, at: ev.SlotsChanged(at, line["slots"], line["why"]),
}
"""For each kind of line that describes one event on its own: the function that makes the event."""
