# SPDX-License-Identifier: LGPL-3.0-or-later
"""Layers of settings, and the builder that makes JobSpecs from them.

From top to bottom, the layers are the job's own fields, the command line, the file's defaults, and the
built-in defaults. Values arrive converted and checked. Equal values (a retry policy, an environment) are one
object for all jobs, because 100,000 queued jobs are common.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, Final, TypeVar

from pqrun.core.expansion import join_templates, layered, split_templates
from pqrun.core.job import NO_RETRIES, Command, JobSpec, RetryPolicy
from pqrun.core.job_fields import LIMITS, STORED_FIELDS
from pqrun.core.values import InvalidValue, duration

T = TypeVar("T")
Values = Mapping[str, Any]

_COMMAND_FIELDS: Final = frozenset(Command._fields)
_BUILT_IN: Final[dict[str, Any]] = {
    **Command._field_defaults,
    **JobSpec._field_defaults,
    "env": {},
    "retry": {},
}
_MAX_CACHED: Final = 10_000


def settled_shell(shell: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of a shell; for `auto`, those of the user's shell. Raises InvalidValue if that is unknown."""
    if shell != ("auto",):
        return shell
    program = os.environ.get("SHELL", "")
    if not program:
        raise InvalidValue("`auto` is the shell of $SHELL, which is not set", "name a shell, as in 'bash -c'")
    return (program, "-c")


def overlay(layer: Values, below: Values) -> dict[str, Any]:
    """Merge a layer over another: `env` by name, `retry` part by part, every other value replaced."""
    both = {**below, **layer}
    if "env" in below and "env" in layer:
        both["env"] = layered(below["env"], layer["env"])
    if "retry" in below and "retry" in layer:
        both["retry"] = {**below["retry"], **layer["retry"]}
    return both


def replaced(spec: JobSpec, layer: Values) -> JobSpec:
    """Return the job with the values of a layer in place of its own; `env` and `retry` are merged."""
    job: dict[str, Any] = {}
    command: dict[str, Any] = {}
    for name, value in layer.items():
        if name == "retry":
            job["retry"] = spec.retry._replace(**value)
        elif name == "env":
            env = layered(join_templates(spec.work.env, spec.work.expand), value)
            command["env"], command["expand"] = split_templates(env)
        else:
            stored = value or None if name in LIMITS else value
            (command if name in _COMMAND_FIELDS else job)[name] = stored
    return spec._replace(work=spec.work._replace(**command), **job)


class SpecBuilder:
    """Builder of JobSpecs. `given` is the command line's layer, `defaults` the file's."""

    def __init__(self, given: Values, defaults: Values | None = None) -> None:
        base = overlay(overlay(given, defaults or {}), _BUILT_IN)
        self._env: Values = base["env"]
        self._retry: Values = base["retry"]
        self._same: dict[Any, Any] = {}
        self._policies: dict[Any, RetryPolicy] = {}
        self._stamps: dict[tuple[str, ...], tuple[Callable[..., Command], Callable[..., JobSpec]]] = {}
        of_command: dict[str, Any] = {}
        of_job: dict[str, Any] = {}
        for name in (field.attribute for field in STORED_FIELDS if field.attribute in base):
            (of_command if name in _COMMAND_FIELDS else of_job)[name] = self._settled(name, base[name])
        of_command["env"], of_command["expand"] = self._variables({})
        self._command = Command("", **of_command)
        self._job = JobSpec("", None, **of_job)

    def make(
        self, run: str | tuple[str, ...], own: Values, *, id: str, named: bool, file: str | None, line: int
    ) -> JobSpec:
        """Return the job that runs `run`, with the fields `own` over the layers below."""
        shape = tuple(own)
        command, job = self._stamps.get(shape) or self._new_stamps(shape)
        of_command: list[Any] = []
        of_job: list[Any] = []
        for name, value in own.items():
            if name == "env":
                of_command += self._variables(value)
                continue
            (of_command if name in _COMMAND_FIELDS else of_job).append(self._settled(name, value))
        return job(id, command(run, *of_command), named, file, line, *of_job)

    def _new_stamps(self, shape: tuple[str, ...]) -> tuple[Callable[..., Command], Callable[..., JobSpec]]:
        """Build and cache the copy functions for jobs that set exactly the fields in `shape`."""
        _bound(self._stamps)
        own_command = (
            field
            for name in shape
            if name in _COMMAND_FIELDS
            for field in (("env", "expand") if name == "env" else (name,))
        )
        own_job = (name for name in shape if name not in _COMMAND_FIELDS)
        self._stamps[shape] = found = (
            stamp(self._command, "run", *own_command),
            stamp(self._job, "id", "work", "named", "file", "line", *own_job),
        )
        return found

    def _settled(self, name: str, value: Any) -> Any:
        """Return a value as the job stores it, merged over the layers below."""
        if name == "retry":
            return self.policy({**self._retry, **value})
        if name in LIMITS:
            if isinstance(value, str):
                value = start_time(value)
            return value or None
        return self.one(value)

    def _variables(self, own: Mapping[str, str]) -> tuple[Any, Any]:
        """Return `env` and `expand` of a job with these variables over those of the layers below."""
        env, expand = split_templates(layered(self._env, own))
        return self.one(env), self.one(expand)

    def policy(self, parts: Values) -> RetryPolicy:
        """Return the one RetryPolicy object for these parts."""
        if not parts:
            return NO_RETRIES
        key = tuple(sorted(parts.items()))
        found = self._policies.get(key)
        if found is None:
            _bound(self._policies)
            found = self._policies[key] = RetryPolicy(**parts)
        return found

    def one(self, value: T) -> T:
        """Return the first text or tuple that equals `value`, so that equal values share one object.

        Other types are returned as they are: sharing would turn 2.0 into 2, which compares equal.
        """
        if not value or not isinstance(value, str | tuple):
            return value
        found: T | None = self._same.get(value)
        if found is None:
            _bound(self._same)
            found = self._same[value] = value
        return found


def _bound(table: dict[Any, Any]) -> None:
    # A stream may have no end, so a full cache is emptied; equal values then exist once more.
    if len(table) >= _MAX_CACHED:
        table.clear()


def stamp(template: T, *changing: str) -> Callable[..., T]:
    """Return a function that copies a named tuple with other values for `changing`, in that order.

    The function does the same as `_replace` at a fraction of the cost: a list of a million lines makes a
    million such copies.
    """
    cls: Any = type(template)
    usual: tuple[Any, ...] = tuple(template)  # type: ignore[arg-type]
    at = {name: place for place, name in enumerate((*changing, *cls._fields)) if place < len(changing)}
    pick = itemgetter(*(at.get(name, len(changing) + place) for place, name in enumerate(cls._fields)))
    new: Any = tuple.__new__

    def copy(*values: Any) -> T:
        made: T = new(cls, pick(values + usual))
        return made

    return copy


def start_time(text: str, now: float | None = None) -> float:
    """Return the seconds since the epoch for a time; 0 for `now`. `field_types.start_time` has checked the text.

    A time without a day is the next moment at which the clock shows it, in the zone of the text or else the local one.
    `now`: the present time of the wall clock.
    """
    now = time.time() if now is None else now
    if text == "now":
        return 0.0
    if text[0] == "+":
        return now + duration(text[1:].strip())
    if text[0] == "@":
        return float(text[1:])
    return _moment(text.replace("T", " ").replace("Z", "+00:00"), now)


def _moment(text: str, now: float) -> float:
    from datetime import datetime, timedelta

    day, _, clock = text.partition(" ") if text[4:5] == "-" else ("", "", text)
    if clock[1:2] == ":":
        clock = f"0{clock}"
    if day:
        return datetime.fromisoformat(f"{day} {clock or '00:00'}").timestamp()
    zone = datetime.fromisoformat(f"2000-01-01 {clock}").tzinfo
    today = datetime.fromtimestamp(now, zone).date()
    moments = (datetime.fromisoformat(f"{today + timedelta(days)} {clock}").timestamp() for days in (0, 1))
    return next((moment for moment in moments if moment > now), now)
