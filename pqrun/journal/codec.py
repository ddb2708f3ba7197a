# SPDX-License-Identifier: LGPL-3.0-or-later
"""Events as lines of JSON, and back. `docs/journal.md` describes the format for others.

Each line ends in a checksum of itself and all before it, so that damage, a missing line and a line
in the wrong place are noticed. Times are seconds of the wall clock's epoch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import fields
from json.encoder import encode_basestring_ascii as quote
from operator import attrgetter, is_
from typing import Any
from zlib import crc32

from pqrun import events as ev
from pqrun.model import (
    NO_RETRIES,
    Command,
    Count,
    Exit,
    Exited,
    JobSpec,
    Lost,
    Need,
    NotStarted,
    Outcome,
    Priority,
    RetryPolicy,
    Said,
    Signalled,
    StopReason,
    Usage,
)

VERSION = 1
Wall = Callable[[float], float]
CRC_LENGTH = len(b',"c":"00000000"}')


def seal(body: str, crc: int) -> tuple[bytes, int]:
    """A whole line of a JSON object's text, and the checksum that the next line builds on."""
    data = body[:-1].encode()
    crc = crc32(data, crc)
    return b'%b,"c":"%08x"}\n' % (data, crc), crc


class Encoder:
    """Events as the text of JSON objects."""

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._like = JobSpec("", Command(""))
        self._rest = ""
        self._by_type: dict[type[Any], Callable[[Any], str]] = {
            ev.AttemptSubmitted: self._submitted,
            ev.AttemptEnded: self._ended,
            ev.JobEnded: self._job_ended,
            ev.JobQueued: self._queued,
            ev.JobAdded: self._added,
        }

    def __call__(self, event: ev.Event) -> str | None:
        """The text; `None` for what is not kept."""
        encode = self._by_type.get(type(event))
        return encode(event) if encode is not None else self._rare(event)

    def _submitted(self, event: ev.AttemptSubmitted) -> str:
        at, seq, attempt, waited = event
        return f'{{"e":"start","t":{self._wall(at):.7f},"s":{seq},"n":{attempt},"w":{waited:.9f}}}'

    def _queued(self, event: ev.JobQueued) -> str:
        at, seq, attempt, priority = event
        return f'{{"e":"queue","t":{self._wall(at):.7f},"s":{seq},"n":{attempt},"p":{priority._value_}}}'

    def _job_ended(self, event: ev.JobEnded) -> str:
        at, seq, outcome, attempts, allowed, because = event
        more = ',"ok":true' if allowed else ""
        if because:
            more += f',"because":{quote(because)}'
        end = f'"o":"{outcome._value_}","n":{attempts}{more}'
        return f'{{"e":"done","t":{self._wall(at):.7f},"s":{seq},{end}}}'

    def _added(self, event: ev.JobAdded) -> str:
        """A job; what it has in common with the one before is not worked out again."""
        at, seq, spec = event
        like, work = self._like, spec.work
        run = work.run if isinstance(work, Command) else None
        if isinstance(run, str) and all(map(is_, _common(spec), _common(like))):
            job = f'{{"id":{quote(spec.id)},"run":{quote(run)},"line":{spec.line}{self._rest}}}'
        else:
            facts = spec_facts(spec)
            job = json.dumps(facts, ensure_ascii=True, separators=(",", ":"))
            if isinstance(run, str):
                rest = {k: v for k, v in facts.items() if k not in ("id", "run", "line")}
                self._like = spec
                self._rest = "," + json.dumps(rest, separators=(",", ":"))[1:-1] if rest else ""
        return f'{{"e":"add","t":{self._wall(at):.7f},"s":{seq},"job":{job}}}'

    def _ended(self, event: ev.AttemptEnded) -> str:
        at, seq, attempt, counted, exit, asked, began, ended, usage, said, output = event
        wall = self._wall
        match exit:
            case Exited(code):
                how = f'"x":{code}'
            case Signalled(name):
                how = f'"sig":"{name}"'
            case NotStarted(code, why):
                how = f'"x":{code},"not":{quote(why)}'
            case Lost(why):
                how = f'"lost":{quote(why)}'
        text = (
            f'{{"e":"end","t":{wall(at):.7f},"s":{seq},"n":{attempt},"as":"{counted._value_}",{how}'
            f',"b":{wall(began):.7f},"f":{wall(ended):.7f},"u":{usage.user:.6f},"y":{usage.system:.6f}'
        )
        if asked is not None:
            text += f',"asked":"{asked}"'
        if output is not None and (output.out.size or output.err.size):
            text += f',"out":{output.out.size},"err":{output.err.size}'
        if said.message is not None:
            text += f',"message":{quote(said.message)}'
        return text + "}"

    def _rare(self, event: ev.Event) -> str | None:
        at = f"{self._wall(event.at):.7f}"
        match event:
            case ev.JobWaiting(_, seq, attempt, until):
                return f'{{"e":"wait","t":{at},"s":{seq},"n":{attempt},"until":{self._wall(until):.7f}}}'
            case ev.AttemptRefused(_, seq, attempt, why):
                return f'{{"e":"refuse","t":{at},"s":{seq},"n":{attempt},"why":{quote(why)}}}'
            case ev.JobRemoved(_, seq):
                return f'{{"e":"remove","t":{at},"s":{seq}}}'
            case ev.JobReopened(_, seq, outcome, _):
                return f'{{"e":"again","t":{at},"s":{seq},"o":"{outcome}"}}'
            case ev.JobDropped(_, seq, dropped):
                return f'{{"e":"drop","t":{at},"s":{seq},"o":"{dropped or ""}"}}'
            case ev.JobChanged(_, seq, spec, by):
                job = json.dumps(spec_facts(spec), ensure_ascii=True, separators=(",", ":"))
                return f'{{"e":"change","t":{at},"s":{seq},"job":{job},"by":{quote(by)}}}'
            case ev.InputEnded(_, jobs, complete, why):
                body = f'"jobs":{jobs},"complete":{_bool(complete)},"why":{quote(why)}'
                return f'{{"e":"input","t":{at},{body}}}'
            case ev.WorkersChanged(_, workers, by):
                return f'{{"e":"workers","t":{at},"workers":{workers},"by":{quote(by)}}}'
            case ev.PoolChanged(_, name, size, by):
                return f'{{"e":"pool","t":{at},"name":{quote(name)},"size":{size},"by":{quote(by)}}}'
            case ev.RunPaused(_, paused, by):
                return f'{{"e":"pause","t":{at},"on":{_bool(paused)},"by":{quote(by)}}}'
            case ev.RunStopping(_, cause, drain, force):
                body = f'"cause":{quote(cause)},"drain":{_bool(drain)},"force":{_bool(force)}'
                return f'{{"e":"stop","t":{at},{body}}}'
            case ev.SlotsChanged(_, slots, why):
                return f'{{"e":"slots","t":{at},"slots":{slots},"why":{quote(why)}}}'
            case _:
                return None


def decode(line: dict[str, Any], output: Callable[[int, int, int, int], Any]) -> ev.Event:
    """The event again; `output(seq, attempt, out, err)` stands for what was printed.

    KeyError, TypeError or ValueError for what is no event of ours.
    """
    at, seq, attempt = line["t"], line.get("s", 0), line.get("n", 0)
    match line["e"]:
        case "start":
            return ev.AttemptSubmitted(at, seq, attempt, line["w"])
        case "end":
            asked = StopReason(line["asked"]) if "asked" in line else None
            return ev.AttemptEnded(
                at, seq, attempt, Count(line["as"]), _exit(line), asked, line["b"], line["f"],
                Usage(line["u"], line["y"]), Said(message=line.get("message")),
                output(seq, attempt, line["out"], line["err"]) if "out" in line else None,
            )  # fmt: skip
        case "done":
            allowed = line.get("ok", False)
            return ev.JobEnded(at, seq, Outcome(line["o"]), attempt, allowed, line.get("because", ""))
        case "queue":
            return ev.JobQueued(at, seq, attempt, Priority(line["p"]))
        case "add":
            return ev.JobAdded(at, seq, spec_of(line["job"]))
        case "wait":
            return ev.JobWaiting(at, seq, attempt, line["until"])
        case "refuse":
            return ev.AttemptRefused(at, seq, attempt, line["why"])
        case "remove":
            return ev.JobRemoved(at, seq)
        case "again":
            return ev.JobReopened(at, seq, Outcome(line["o"]), _UNKNOWN)
        case "drop":
            return ev.JobDropped(at, seq, Outcome(line["o"]) if line["o"] else None)
        case "change":
            return ev.JobChanged(at, seq, spec_of(line["job"]), line["by"])
        case "input":
            return ev.InputEnded(at, line["jobs"], line["complete"], line["why"])
        case "workers":
            return ev.WorkersChanged(at, line["workers"], line["by"])
        case "pool":
            return ev.PoolChanged(at, line["name"], line["size"], line["by"])
        case "pause":
            return ev.RunPaused(at, line["on"], line["by"])
        case "stop":
            return ev.RunStopping(at, line["cause"], line["drain"], line["force"])
        case "slots":
            return ev.SlotsChanged(at, line["slots"], line["why"])
    raise ValueError(f"unknown event {line['e']!r}")


def _exit(line: dict[str, Any]) -> Exit:
    if "lost" in line:
        return Lost(line["lost"])
    if "sig" in line:
        return Signalled(line["sig"])
    return NotStarted(line["x"], line["not"]) if "not" in line else Exited(line["x"])


_DEFAULTS = _UNKNOWN = JobSpec("", None)
_COMMAND = Command("")
_SPEC_FIELDS = [f.name for f in fields(JobSpec) if f.name not in ("id", "work", "retry")]
_COMMAND_FIELDS = [f.name for f in fields(Command) if f.name != "run"]
_spec_common = attrgetter("retry", *(name for name in _SPEC_FIELDS if name != "line"))
_command_common = attrgetter(*_COMMAND_FIELDS)


def _common(spec: JobSpec) -> tuple[Any, ...]:
    """What jobs that were made alike share, object by object."""
    work = spec.work
    return (
        *_spec_common(spec),
        *(_command_common(work) if isinstance(work, Command) else ()),
    )


def spec_facts(spec: JobSpec) -> dict[str, Any]:
    """All of a job that is not as it would be anyway."""
    facts: dict[str, Any] = {"id": spec.id}
    facts.update(_differences(spec, _DEFAULTS, _SPEC_FIELDS))
    if spec.retry is not NO_RETRIES and spec.retry != NO_RETRIES:
        facts["retry"] = _differences(spec.retry, NO_RETRIES, [f.name for f in fields(RetryPolicy)])
    if isinstance(spec.work, Command):
        facts["run"] = spec.work.run
        facts.update(_differences(spec.work, _COMMAND, _COMMAND_FIELDS))
    return facts


def _differences(found: Any, usual: Any, names: Iterable[str]) -> dict[str, Any]:
    different = {}
    for name in names:
        value = getattr(found, name)
        if value is not getattr(usual, name) and value != getattr(usual, name):
            different[name] = sorted(value, key=str) if isinstance(value, frozenset) else value
    return different


def spec_of(facts: dict[str, Any]) -> JobSpec:
    """The job again."""
    command: dict[str, Any] = {name: facts[name] for name in ("run", *_COMMAND_FIELDS) if name in facts}
    spec: dict[str, Any] = {name: facts[name] for name in ("id", *_SPEC_FIELDS) if name in facts}
    for name in ("pools", "needs", "tags", "success_codes"):
        if name in spec:
            spec[name] = tuple(tuple(v) if isinstance(v, list) else v for v in spec[name])
    if "needs" in spec:
        spec["needs"] = tuple(Need(*need) for need in spec["needs"])
    if "priority" in spec:
        spec["priority"] = Priority(spec["priority"])
    if "retry" in facts:
        policy = facts["retry"]
        sets = {name: frozenset(policy[name]) for name in ("on", "permanent") if name in policy}
        spec["retry"] = RetryPolicy(**{**policy, **sets})
    if isinstance(command.get("run"), list):
        command["run"] = tuple(command["run"])
    if "env" in command:
        command["env"] = tuple((name, value) for name, value in command["env"])
    if "shell" in command:
        command["shell"] = tuple(command["shell"])
    return JobSpec(work=Command(**command) if command else None, **spec)


def _bool(value: bool) -> str:
    return "true" if value else "false"
