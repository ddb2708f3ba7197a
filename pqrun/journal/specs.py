# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs as JSON can hold them, and back: only what is not as it would be anyway."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pqrun.model import NO_RETRIES, Command, JobSpec, Need, Priority, RetryPolicy

_USUAL = JobSpec("", None)
_COMMAND = Command("")
_SPEC_FIELDS = [name for name in JobSpec._fields if name not in ("id", "work", "retry")]
_COMMAND_FIELDS = [name for name in Command._fields if name != "run"]


def common(spec: JobSpec) -> tuple[Any, ...]:
    """All but its id, line and command (the first and last of their fields): what jobs made alike share."""
    return (*spec[2:-1], *(spec.work[1:] if isinstance(spec.work, Command) else ()))


def spec_facts(spec: JobSpec) -> dict[str, Any]:
    """All of a job that is not as it would be anyway."""
    facts: dict[str, Any] = {"id": spec.id}
    facts.update(_differences(spec, _USUAL, _SPEC_FIELDS))
    if spec.retry is not NO_RETRIES and spec.retry != NO_RETRIES:
        facts["retry"] = _differences(spec.retry, NO_RETRIES, RetryPolicy._fields)
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
        policy = {name: value for name, value in facts["retry"].items() if name in RetryPolicy._fields}
        sets = {name: frozenset(policy[name]) for name in ("on", "permanent") if name in policy}
        spec["retry"] = RetryPolicy(**{**policy, **sets})
    if isinstance(command.get("run"), list):
        command["run"] = tuple(command["run"])
    if "env" in command:
        command["env"] = tuple((name, value) for name, value in command["env"])
    for name in ("shell", "expand"):
        if name in command:
            command[name] = tuple(command[name])
    return JobSpec(work=Command(**command) if command else None, **spec)
