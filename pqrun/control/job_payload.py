# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of requests: fields in the forms that clients send, checked, over the run's own values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pqrun.core import values
from pqrun.core.errors import Rejected, UserError
from pqrun.core.expansion import Pairs, join_templates, layered, split_templates
from pqrun.core.job import Command, JobSpec
from pqrun.core.job_fields import LIMITS, fields_with_option, put, value_of, wrong_field
from pqrun.core.text import is_printable
from pqrun.core.values import is_text, is_whole
from pqrun.input.defaults import SpecBuilder
from pqrun.journal.format import spec_facts, spec_of

CHANGEABLE = {field.flat_name: field for field, _ in fields_with_option("set")}
"""The fields that may be changed of a job that is in the run."""
MAX_ID_LENGTH = 200
EMPTY = "the command is empty: give a command to run"
NOT_A_JOB = "not a job: see `docs/control.md` for its fields"
OWN = ("id", "run", "named", "line")
"""The fields that are a job's own. The others may be equal in many jobs of a request."""
_FIELDS = {*JobSpec._fields, *Command._fields, "retries"} - {"work"}


class JobPayload:
    """A parser of jobs. `defaults` are the run's values for the fields that a job leaves out.

    `validate` raises `UserError` for a job that cannot run here.
    """

    def __init__(
        self, defaults: dict[str, Any] | None = None, validate: Callable[[JobSpec], None] | None = None
    ) -> None:
        self._validate = validate
        self._defaults = _journal_form(defaults or {})
        self._like: dict[str, Any] | None = None
        self._template = JobSpec("", Command(""))

    def job(self, facts: Any) -> JobSpec:
        """Return the spec of a job, or raise `Rejected`. Fields equal to the last job's are not checked."""
        if not isinstance(facts, dict):
            raise Rejected("a job is an object")
        common = {name: value for name, value in facts.items() if name not in OWN}
        if common != self._like:
            self._template = checked_fields(_over(_journal_form(common), self._defaults))
            self._like = common
        job_id, run, line = facts.get("id", ""), facts.get("run"), facts.get("line", 0)
        _must(isinstance(job_id, str) and len(job_id) <= MAX_ID_LENGTH and is_printable(job_id), "id")
        named = facts.get("named", job_id != "")
        _must(isinstance(named, bool) and (job_id != "" or not named), "named")
        if named and job_id.isdecimal():
            raise Rejected(f"the id `{job_id}` is a number: numbers are the ids of jobs without an id")
        _must(is_whole(line, 0), "line")
        run = checked_run(run)
        template = self._template
        job = template._replace(id=job_id, named=named, line=line, work=template.work._replace(run=run))
        if self._validate is not None:
            try:
                self._validate(job)
            except UserError as error:
                raise Rejected(str(error)) from None
        return job


def settings_for_all(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a command line gives to every job, as fields of the journal."""
    facts = spec_facts(SpecBuilder(given).make("", {}, id="", named=False, file=None, line=0))
    return {name: value for name, value in facts.items() if name not in OWN}


def _journal_form(facts: dict[str, Any]) -> dict[str, Any]:
    """Return a job's fields in the form of the journal.

    Clients may also send a priority by name, `retries` alone, `env` and `pools` as objects, and
    needs as plain ids. Raises `Rejected` for an unknown field.
    """
    found = dict(facts)
    for name in found:
        if name not in _FIELDS:
            raise Rejected(f"a job has no `{name:.40}`")
    _must(isinstance(found.get("expand", []), list | tuple), "expand")
    priority = found.get("priority")
    if isinstance(priority, str):
        try:
            found["priority"] = values.priority(priority)
        except ValueError as error:
            raise Rejected(str(error)) from None
    if "retries" in found:
        retry = found.get("retry", {})
        found["retry"] = {**(retry if isinstance(retry, dict) else {}), "max": found.pop("retries")}
    for name in ("env", "pools"):
        if isinstance(found.get(name), dict):
            found[name] = list(found[name].items())
    if isinstance(found.get("needs"), list):
        found["needs"] = [[need, "ok"] if isinstance(need, str) else need for need in found["needs"]]
    for name in LIMITS & found.keys():
        if found[name] == 0:
            found[name] = None
    return found


def checked_changes(changes: dict[str, Any]) -> tuple[JobSpec, dict[str, Any]]:
    """Return a spec with these changeable fields, and the layer of values that `replaced` puts over a job.

    Raises `Rejected` if a value is not allowed.
    """
    spec = checked_fields(_journal_form(changes))
    layer: dict[str, Any] = {}
    for name in changes:
        put(layer, CHANGEABLE[name], value_of(spec, CHANGEABLE[name]))
    return spec, layer


def checked_fields(facts: dict[str, Any]) -> JobSpec:
    """Return a spec with these fields, which many jobs may have. Raises `Rejected` if a value is not allowed."""
    try:
        spec = spec_of({**facts, "id": "", "run": "true"})
        wrong = wrong_field(spec)
        _must(wrong is None, str(wrong))
        _must(spec.file is None or is_text(spec.file), "file")
        _must(spec.label is None or is_text(spec.label), "label")
        for name, texts in (("args", spec.args), ("arg_names", spec.arg_names)):
            _must(isinstance(texts, tuple) and all(map(is_text, texts)), name)
        _must(set(spec.work.expand) <= dict(spec.work.env).keys(), "expand")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise Rejected(NOT_A_JOB) from None
    return spec


def _over(own: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return a job's own fields over the defaults: `env` merged by name, `retry` by part."""
    both = {**defaults, **own}
    try:
        if "retry" in own and "retry" in defaults:
            both["retry"] = {**defaults["retry"], **own["retry"]}
        if "env" in own and "env" in defaults:
            below, above = (
                join_templates(_pairs(facts["env"]), facts.get("expand", ())) for facts in (defaults, own)
            )
            both["env"], both["expand"] = split_templates(layered(below, above))
    except (TypeError, ValueError):
        raise Rejected(NOT_A_JOB) from None
    except UserError as error:
        raise Rejected(str(error)) from None
    return both


def _pairs(env: Any) -> Pairs:
    return tuple((name, value) for name, value in env)


def checked_run(run: Any) -> str | tuple[str, ...]:
    """Return the command of a job. Raises `Rejected` for an empty or impossible one."""
    words = run if isinstance(run, list) else [run]
    _must(words != [] and all(is_text(word) for word in words), "run")
    if not words[0].strip():
        raise Rejected(EMPTY)
    return tuple(words) if isinstance(run, list) else str(run)


def _must(good: bool, name: str) -> None:
    if not good:
        raise Rejected(f"not a job: its `{name}` is invalid")
