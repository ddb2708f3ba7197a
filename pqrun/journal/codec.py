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


def encode(event: ev.Event, wall: Wall) -> str | None:
    """The event as the text of a JSON object; `None` for what is not kept."""
    match event:
        case ev.AttemptSubmitted(at, seq, attempt, waited):
            return f'{{"e":"start","t":{wall(at):.6f},"s":{seq},"n":{attempt},"w":{waited:.6f}}}'
        case ev.AttemptEnded():
            return _ended(event, wall)
        case ev.JobEnded(at, seq, outcome, attempts, allowed, because):
            more = ',"ok":true' if allowed else ""
            more += f',"because":{quote(because)}' if because else ""
            return f'{{"e":"done","t":{wall(at):.6f},"s":{seq},"o":"{outcome}","n":{attempts}{more}}}'
        case ev.JobQueued(at, seq, attempt, priority):
            return f'{{"e":"queue","t":{wall(at):.6f},"s":{seq},"n":{attempt},"p":{priority:d}}}'
        case ev.JobAdded(at, seq, spec):
            return f'{{"e":"add","t":{wall(at):.6f},"s":{seq},"job":{_spec_text(spec)}}}'
        case ev.JobWaiting(at, seq, attempt, until):
            return f'{{"e":"wait","t":{wall(at):.6f},"s":{seq},"n":{attempt},"until":{wall(until):.6f}}}'
        case ev.AttemptRefused(at, seq, attempt, why):
            return f'{{"e":"refuse","t":{wall(at):.6f},"s":{seq},"n":{attempt},"why":{quote(why)}}}'
        case ev.JobRemoved(at, seq):
            return f'{{"e":"remove","t":{wall(at):.6f},"s":{seq}}}'
        case ev.JobReopened(at, seq, outcome, _):
            return f'{{"e":"again","t":{wall(at):.6f},"s":{seq},"o":"{outcome}"}}'
        case ev.JobDropped(at, seq, outcome):
            return f'{{"e":"drop","t":{wall(at):.6f},"s":{seq},"o":"{outcome or ""}"}}'
        case ev.JobChanged(at, seq, spec, by):
            body = f'"job":{_spec_text(spec)},"by":{quote(by)}'
            return f'{{"e":"change","t":{wall(at):.6f},"s":{seq},{body}}}'
        case ev.InputEnded(at, jobs, complete, why):
            body = f'"jobs":{jobs},"complete":{_bool(complete)},"why":{quote(why)}'
            return f'{{"e":"input","t":{wall(at):.6f},{body}}}'
        case ev.RunPaused(at, paused, by):
            return f'{{"e":"pause","t":{wall(at):.6f},"on":{_bool(paused)},"by":{quote(by)}}}'
        case ev.RunStopping(at, cause, drain, force):
            body = f'"cause":{quote(cause)},"drain":{_bool(drain)},"force":{_bool(force)}'
            return f'{{"e":"stop","t":{wall(at):.6f},{body}}}'
        case ev.SlotsChanged(at, slots, why):
            return f'{{"e":"slots","t":{wall(at):.6f},"slots":{slots},"why":{quote(why)}}}'
        case ev.AttemptStarted() | ev.AttemptStopping() | ev.JobSaid() | ev.OutputGrew():
            return None


def _ended(event: ev.AttemptEnded, wall: Wall) -> str:
    at, began, ended = wall(event.at), wall(event.began), wall(event.ended)
    match event.exit:
        case Exited(code):
            how = f'"x":{code}'
        case Signalled(name):
            how = f'"sig":"{name}"'
        case NotStarted(code, why):
            how = f'"x":{code},"not":{quote(why)}'
        case Lost(why):
            how = f'"lost":{quote(why)}'
    text = (
        f'{{"e":"end","t":{at:.6f},"s":{event.seq},"n":{event.attempt},"as":"{event.counted}",{how}'
        f',"b":{began:.6f},"f":{ended:.6f},"u":{event.usage.user:.4f},"y":{event.usage.system:.4f}'
    )
    if event.asked is not None:
        text += f',"asked":"{event.asked}"'
    if event.output is not None and (event.output.out.size or event.output.err.size):
        text += f',"out":{event.output.out.size},"err":{event.output.err.size}'
    if event.said.message is not None:
        text += f',"message":{quote(event.said.message)}'
    return text + "}"


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


def _spec_text(spec: JobSpec) -> str:
    return json.dumps(spec_facts(spec), ensure_ascii=True, separators=(",", ":"))


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
