# SPDX-License-Identifier: LGPL-3.0-or-later
"""What goes over the socket: one JSON object a line, each way. `docs/control.md` describes it.

Whoever may open the socket may run commands as its owner, so there is nothing to authorise; but
what comes in is believed in nothing: it is checked here, field by field.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from pqrun.journal.codec import spec_of
from pqrun.model import Command, JobSpec, Need, Priority, RetryPolicy

VERSION = 1
LONGEST = 1 << 20
WORDS = ("timeout", "signal", "any")


class Rejected(Exception):
    """A request that can't be carried out; `code` is the exit code that fits."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def encode(message: dict[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """A request; `Rejected` for what is none of ours."""
    try:
        message = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Rejected("not a line of JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("verb"), str):
        raise Rejected("not a request: an object with a `verb`")
    if message.get("pqrun") != VERSION:
        raise Rejected(f"this pqrun speaks version {VERSION} of the protocol")
    return message


def _refuse(_text: str) -> float:
    raise ValueError


def checked_spec(facts: Any) -> JobSpec:
    """A job that came from outside, as good as one from a job file; `Rejected` if it is not."""
    if not isinstance(facts, dict):
        raise Rejected("a job is an object")
    try:
        spec = spec_of(facts)
        _check(spec)
    except Rejected:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Rejected(f"not a job: {error}") from None
    return spec


def _check(spec: JobSpec) -> None:
    _must(isinstance(spec.id, str) and len(spec.id) <= 200 and (spec.id == "" or spec.id.isprintable()), "id")
    command = spec.work
    _must(isinstance(command, Command), "run")
    words = command.run if isinstance(command.run, tuple) else (command.run,)
    _must(words != () and all(_is_text(word) for word in words) and words[0] != "", "run")
    _must(
        all(value is None or _is_text(value) for value in (command.cwd, command.stdin, spec.creates)), "cwd"
    )
    _must(
        all(_is_text(name) and _is_text(value) and name and "=" not in name for name, value in command.env),
        "env",
    )
    _must(command.shell is None or (command.shell != () and all(map(_is_text, command.shell))), "shell")
    _must(isinstance(command.signal, str) and command.signal.startswith("SIG"), "signal")
    _must(isinstance(spec.priority, Priority), "priority")
    for name in ("timeout", "idle_timeout"):
        _must(getattr(spec, name) is None or _is_duration(getattr(spec, name)), name)
    _must(_is_duration(spec.grace), "grace")
    _must(_is_whole(spec.slots, 1), "slots")
    _must(all(isinstance(name, str) and _is_whole(count, 1) for name, count in spec.pools), "pools")
    _must(all(map(_is_text, spec.tags)), "tags")
    _must(all(_is_whole(code, 0) and code < 256 for code in spec.success_codes), "success_codes")
    for need in spec.needs:
        _must(
            isinstance(need, Need) and _is_text(need.job) and need.when in ("ok", "ended", "failed"), "needs"
        )
    for flag in (spec.allow_failure, spec.rerun, spec.named, command.keep_leftovers):
        _must(isinstance(flag, bool), "a flag")
    _check_policy(spec.retry)


def _check_policy(policy: RetryPolicy) -> None:
    _must(_is_whole(policy.max, 0) and policy.max <= 1_000_000, "retries")
    _must(all(map(_is_duration, (policy.delay, policy.factor, policy.max_delay, policy.jitter))), "retries")
    _must(policy.jitter <= 1 and policy.backoff in ("exponential", "linear", "constant"), "retries")
    for code in (*policy.on, *policy.permanent):
        _must(
            _is_whole(code, 0) or (isinstance(code, str) and (code in WORDS or code.startswith("SIG"))),
            "retries",
        )


def _must(good: bool, name: str) -> None:
    if not good:
        raise Rejected(f"not a job: {name} is not as it must be")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= 1 << 53


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0
