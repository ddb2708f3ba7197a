# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The format of the journal: events as lines of JSON, which `projection` reads.

`docs/journal.md` specifies it.

Each line ends in a checksum of the line and all lines before, so that damage, a missing line and a misplaced
line are noticed. Times are seconds since the epoch, on the wall clock.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from json.encoder import encode_basestring_ascii as quote
from math import nan
from types import MappingProxyType
from typing import Any
from zlib import crc32

from pqrun.core import events as ev
from pqrun.core.job import (
    NO_REPORT,
    NO_RETRIES,
    Command,
    Exit,
    ExitedWith,
    InputBlock,
    JobSpec,
    KilledBySignal,
    LostExit,
    Need,
    NotStarted,
    Priority,
    RetryPolicy,
)

VERSION = FIRST_WITH_PACKS = 2
"""A reader of version 1 would look for a file of each output's own."""
CHECKSUM = b',"c":"%08x"}\n'
"""The end of each line. The checksum is that of the line without this end, continued from the line before."""
CHECKSUM_LENGTH = len(CHECKSUM % 0)
UNKNOWN = JobSpec("", Command(""))
Wall = Callable[[float], float]
_USUAL = JobSpec("", None)
_COMMAND = Command("")
_SPEC_FIELDS = [name for name in JobSpec._fields if name not in ("id", "work", "retry")]
_ENTRIES: frozenset[type] = frozenset({ev.JobQueued})
_RARE = (
    ev.JobWaiting, ev.JobDelayed, ev.AttemptRefused, ev.AttemptRestarted, ev.JobRemoved, ev.JobReopened,
    ev.JobDropped, ev.JobChanged, ev.JobHeld, ev.InputEnded, ev.WorkersChanged, ev.PoolChanged, ev.RunPaused,
    ev.RunStopping, ev.SlotsChanged,
)  # fmt: skip
_START = '{"e":"start","t":%s,"s":%d,"n":%d,"w":%.9f}'
_END = '{"e":"end","t":%s,"s":%d,"n":%d,"as":"%s",%s,"b":%.7f,"f":%.7f,"u":%.6f,"y":%.6f'


def spec_facts(spec: JobSpec, always: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Return the fields of a job that differ from their defaults or are in the layer `always`, for JSON."""
    facts: dict[str, Any] = {"id": spec.id}
    facts.update(_differences(spec, _USUAL, _SPEC_FIELDS, always))
    if (always or spec.retry is not NO_RETRIES) and (
        parts := _differences(spec.retry, NO_RETRIES, RetryPolicy._fields, always.get("retry", ()))
    ):
        facts["retry"] = parts
    if isinstance(spec.work, Command):
        facts["run"] = spec.work.run
        facts.update(_differences(spec.work, _COMMAND, Command._fields[1:], always))
    return facts


def _differences(found: Any, usual: Any, names: Iterable[str], always: Container[str]) -> dict[str, Any]:
    different = {}
    for name in names:
        value, default = getattr(found, name), getattr(usual, name)
        if (value is not default and value != default) or name in always:
            different[name] = sorted(value, key=str) if isinstance(value, frozenset) else value
    return different


def spec_of(facts: dict[str, Any]) -> JobSpec:
    """Return the job that `spec_facts` described."""
    facts = {name: _frozen(value) for name, value in facts.items()}
    command = {name: facts[name] for name in Command._fields if name in facts}
    spec = {name: facts[name] for name in ("id", *_SPEC_FIELDS) if name in facts}
    if isinstance(block := command.get("stdin"), tuple):
        command["stdin"] = InputBlock(*block)
    if "needs" in spec:
        spec["needs"] = tuple(Need(*need) for need in spec["needs"])
    if "priority" in spec:
        spec["priority"] = Priority(spec["priority"])
    if "retry" in facts:
        parts = {name: value for name, value in facts["retry"].items() if name in RetryPolicy._fields}
        sets = {name: frozenset(parts[name]) for name in ("on", "permanent") if name in parts}
        spec["retry"] = RetryPolicy(**{**parts, **sets})
    return JobSpec(work=Command(**command) if command else None, **spec)


def _frozen(value: Any) -> Any:
    """Return a value of JSON with tuples in place of lists, as jobs have them."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def append_checksum(body: str, crc: int) -> tuple[bytes, int]:
    """Return the journal line for a JSON object, and the checksum from which the next line continues."""
    data = body[:-1].encode()
    crc = crc32(data, crc)
    return data + CHECKSUM % crc, crc


class Encoder:
    """Encoder of events as the text of JSON objects."""

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._shift = 0.0
        self._like: tuple[object, ...] = (UNKNOWN[2:-2], UNKNOWN.work[1:])
        self._rest = ""
        self._queued: deque[ev.Event] = deque()
        self._merged: deque[ev.Event] = deque()
        self._ended: tuple[float, int, int] | None = None
        self._ended_at = 0
        self._by_type: dict[type[Any], Callable[[Any, str, list[str]], None]] = {
            ev.AttemptSubmitted: self._submitted,
            ev.AttemptEnded: self._attempt_ended,
            ev.JobEnded: self._job_ended,
            ev.JobAdded: self._added,
            ev.JobQueued: self._job_queued,
            **dict.fromkeys(_RARE, self._rare),
        }

    def __call__(self, events: Sequence[ev.Event], *, is_part: bool = False) -> list[str]:
        """Return the texts of the events that the journal keeps.

        Events that nearly always come together become one object: a job's end with the end of its last
        attempt, and a job's entry into the queue with its addition. `is_part`: called by `in_parts`.
        """
        texts: list[str] = []
        if not is_part and events and type(events[0]) is ev.JobAdded:
            self._look_ahead(events)
        at, time = nan, ""
        for event, encode in zip(events, map(self._by_type.get, map(type, events)), strict=True):
            if encode is not None:
                if event.at != at:  # most events of a turn have the same time
                    at = event.at
                    wall = self._wall(at)
                    self._shift = wall - at
                    time = f"{wall:.7f}"
                encode(event, time, texts)
        self._ended = None
        return texts

    def in_parts(self, events: Sequence[ev.Event], most: int) -> Iterator[list[str]]:
        """Yield the texts of a long batch, those of at most `most` events at a time."""
        self._look_ahead(events)
        for first in range(0, len(events), most):
            yield self(events[first : first + most], is_part=True)
        self._queued.clear()
        self._merged.clear()

    def _look_ahead(self, events: Sequence[ev.Event]) -> None:
        """Note which jobs enter the queue, for the lines that add them. New jobs enter it in their order."""
        self._queued = deque(compress(events, map(_ENTRIES.__contains__, map(type, events))))
        self._merged.clear()

    def _submitted(self, event: ev.AttemptSubmitted, time: str, texts: list[str]) -> None:
        _, seq, attempt, waited = event
        texts.append(_START % (time, seq, attempt, waited))

    def _job_queued(self, event: ev.JobQueued, time: str, texts: list[str]) -> None:
        _, seq, attempt, priority = event
        merged = self._merged
        if merged and merged[0] is event:
            merged.popleft()  # it is a part of the line that adds the job
        else:
            texts.append(f'{{"e":"queue","t":{time},"s":{seq},"n":{attempt},"p":{priority._value_}}}')

    def _job_ended(self, event: ev.JobEnded, time: str, texts: list[str]) -> None:
        at, seq, outcome, attempts, allowed, because, by = event
        more = ',"ok":true' if allowed else ""
        if (at, seq, attempts) == self._ended and self._ended_at == len(texts) and not (because or by):
            texts[-1] = f'{texts[-1][:-1]},"o":"{outcome._value_}"{more}}}'
            return
        if because:
            more += f',"because":{quote(because)}'
        if by:
            more += f',"by":{quote(by)}'
        facts = f'"o":"{outcome._value_}","n":{attempts}{more}'
        texts.append(f'{{"e":"done","t":{time},"s":{seq},{facts}}}')

    def _added(self, event: ev.JobAdded, time: str, texts: list[str]) -> None:
        at, seq, spec, by = event
        more = f',"by":{quote(by)}' if by else ""
        queued = self._queued
        if queued and queued[0] == (at, seq, 1, spec.priority):
            self._merged.append(queued.popleft())
            more = f',"q":true{more}'
        texts.append(f'{{"e":"add","t":{time},"s":{seq},"job":{self._job(spec)}{more}}}')

    def _job(self, spec: JobSpec) -> str:
        """Return a job as text. The fields that it shares with the previous job are not encoded again."""
        work = spec.work
        if not (type(work) is Command and type(work.run) is str):
            return json.dumps(spec_facts(spec), ensure_ascii=True, separators=(",", ":"))
        like = (spec[2:-2], work[1:])  # all but the id, the command, the arguments and the line
        if like != self._like:
            facts = spec_facts(spec)
            rest = {k: v for k, v in facts.items() if k not in ("id", "run", "args", "line")}
            self._like = like
            self._rest = "," + json.dumps(rest, separators=(",", ":"))[1:-1] if rest else ""
            return json.dumps(facts, ensure_ascii=True, separators=(",", ":"))
        args = f',"args":{json.dumps(spec.args, separators=(",", ":"))}' if spec.args else ""
        return f'{{"id":{quote(spec.id)},"run":{quote(work.run)},"line":{spec.line}{args}{self._rest}}}'

    def _attempt_ended(self, event: ev.AttemptEnded, time: str, texts: list[str]) -> None:
        at, seq, attempt, counted, exit, asked, began, ended, usage, said, output, where = event
        user, system, memory = usage
        how = f'"x":{exit.code}' if type(exit) is ExitedWith else _exit_text(exit)
        shift = self._shift
        text = _END % (
            time, seq, attempt, counted._value_, how, began + shift, ended + shift, user, system,
        )  # fmt: skip
        if memory is not None:
            text += f',"m":{memory}'
        if asked is not None:
            text += f',"asked":"{asked}"'
        if output is not None and (output.out.size or output.err.size):
            out, err = output.out, output.err
            text += f',"out":{out.size},"err":{err.size}'
            if out.place is not None and out.place.pack:
                text += f',"out_at":[{out.place.pack},{out.place.offset}]'
            if err.place is not None and err.place.pack:
                text += f',"err_at":[{err.place.pack},{err.place.offset}]'
        if said is not NO_REPORT and said.message is not None:
            text += f',"message":{quote(said.message)}'
        if where:
            text += f',"where":{quote(where)}'
        texts.append(text + "}")
        self._ended, self._ended_at = (at, seq, attempt), len(texts)

    def _rare(self, event: ev.Event, time: str, texts: list[str]) -> None:
        texts.append(self._text_of_rare(event, time))

    def _text_of_rare(self, event: ev.Event, at: str) -> str:
        match event:
            case ev.JobWaiting(_, seq, attempt, until):
                return f'{{"e":"wait","t":{at},"s":{seq},"n":{attempt},"until":{self._wall(until):.7f}}}'
            case ev.JobDelayed(_, seq, attempt, until):
                return f'{{"e":"delay","t":{at},"s":{seq},"n":{attempt},"until":{self._wall(until):.7f}}}'
            case ev.AttemptRefused(_, seq, attempt, why):
                return f'{{"e":"refuse","t":{at},"s":{seq},"n":{attempt},"why":{quote(why)}}}'
            case ev.AttemptRestarted(_, seq, attempt, where):
                return f'{{"e":"twice","t":{at},"s":{seq},"n":{attempt},"where":{quote(where)}}}'
            case ev.JobRemoved(_, seq):
                return f'{{"e":"remove","t":{at},"s":{seq}}}'
            case ev.JobReopened(_, seq, outcome, _, by):
                more = f',"by":{quote(by)}' if by else ""
                return f'{{"e":"again","t":{at},"s":{seq},"o":"{outcome}"{more}}}'
            case ev.JobDropped(_, seq, dropped):
                return f'{{"e":"drop","t":{at},"s":{seq},"o":"{dropped or ""}"}}'
            case ev.JobChanged(_, seq, spec, by, front):
                more = ',"front":true' if front else ""
                return f'{{"e":"change","t":{at},"s":{seq},"job":{self._job(spec)},"by":{quote(by)}{more}}}'
            case ev.JobHeld(_, seq, held, by):
                return f'{{"e":"hold","t":{at},"s":{seq},"on":{_bool(held)},"by":{quote(by)}}}'
            case ev.InputEnded(_, jobs, complete, why):
                body = f'"jobs":{jobs},"complete":{_bool(complete)},"why":{quote(why)}'
                return f'{{"e":"input","t":{at},{body}}}'
            case ev.WorkersChanged(_, workers, by):
                return f'{{"e":"workers","t":{at},"workers":{workers},"by":{quote(by)}}}'
            case ev.PoolChanged(_, name, size, by):
                return f'{{"e":"pool","t":{at},"name":{quote(name)},"size":{size},"by":{quote(by)}}}'
            case ev.RunPaused(_, paused, by):
                return f'{{"e":"pause","t":{at},"on":{_bool(paused)},"by":{quote(by)}}}'
            case ev.RunStopping(_, cause, drain, force, by):
                body = (
                    f'"cause":{quote(cause)},"drain":{_bool(drain)},"force":{_bool(force)},"by":{quote(by)}'
                )
                return f'{{"e":"stop","t":{at},{body}}}'
            case ev.SlotsChanged(_, slots, why):
                return f'{{"e":"slots","t":{at},"slots":{slots},"why":{quote(why)}}}'
        raise TypeError(f"not an event that the journal keeps: {event!r}")


def _exit_text(exit: Exit) -> str:
    match exit:
        case ExitedWith(code):
            return f'"x":{code}'
        case KilledBySignal(name):
            return f'"sig":"{name}"'
        case NotStarted(code, why):
            return f'"x":{code},"not":{quote(why)}'
        case LostExit(why, gone):
            return f'"lost":{quote(why)}' + (',"gone":true' if gone else "")


def _bool(value: bool) -> str:
    return "true" if value else "false"
