# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verb `edit`: the command and the changeable fields of one job that holds no slot, to read or to replace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pqrun.control.job_payload import CHANGEABLE, checked_changes, checked_run
from pqrun.control.protocol import Answer, ClientRequest, origin_of
from pqrun.core import states as life
from pqrun.core.dependencies import UnknownNeed
from pqrun.core.errors import Rejected, UserError
from pqrun.core.job import Need, Priority
from pqrun.core.job_fields import value_of
from pqrun.core.scheduler import Scheduler
from pqrun.core.task import Task
from pqrun.input.defaults import replaced

if TYPE_CHECKING:
    from pqrun.engine.live_run import LiveRun


def edit(run: LiveRun, request: ClientRequest, scheduler: Scheduler, now: float) -> Answer:
    """Return the fields of the job `id`, or replace them by `job` if they are still those in `was`.

    Raises `Rejected` if the job runs or has ended, if it was changed since `was` was read, or for a wrong value.
    """
    task = _task(request.get("id"), scheduler)
    facts = facts_of(task)
    wanted = request.get("job")
    if wanted is None:
        _require_utf8(task)
        return {"job": facts}
    if request.get("was") != json.loads(json.dumps(facts)):
        raise Rejected(f"job `{task.spec.id}` was changed meanwhile: edit it again")
    if not isinstance(wanted, dict) or not wanted.keys() <= facts.keys():
        raise Rejected("`job` is an object with the fields of the answer")
    changes = {name: value for name, value in wanted.items() if name != "run" and value != facts[name]}
    if "needs" in changes and not isinstance(task.state, life.Pending | life.Queued):
        raise Rejected(f"job `{task.spec.id}` has been tried or has a time: its needs can't be changed")
    _, layer = checked_changes(changes)
    new = replaced(task.spec, layer)
    if "run" in wanted:
        new = new._replace(work=new.work._replace(run=checked_run(wanted["run"])))
    try:
        if run.validate_job is not None:
            run.validate_job(new)
        if changed := new != task.spec:
            scheduler.change(task, new, now, origin_of(request))
    except (UnknownNeed, UserError) as error:
        raise Rejected(str(error)) from None
    return {"job": facts_of(task), "changed": changed}


def _require_utf8(task: Task) -> None:
    """Raise `Rejected` if the command has other bytes, which neither the answer nor a file to edit can hold."""
    run = task.spec.work.run
    try:
        for word in (run,) if isinstance(run, str) else run:
            word.encode()
    except UnicodeEncodeError:
        raise Rejected(
            f"the command of job `{task.spec.id}` is not UTF-8, so it can't be edited: `pqrun cancel` the job, then "
            "add it anew"
        ) from None


def facts_of(task: Task) -> dict[str, Any]:
    """Return the command and the changeable fields of a job, in the form in which a request sets them."""
    facts: dict[str, Any] = {"run": task.spec.work.run}
    for name, field in CHANGEABLE.items():
        value = value_of(task.spec, field)
        if isinstance(value, Priority):
            value = value.name.lower()
        elif name == "needs":
            value = [list(need) for need in value if isinstance(need, Need)]
        facts[name] = value
    return facts


def _task(job: object, scheduler: Scheduler) -> Task:
    """Return the task that can be edited. Raises `Rejected`, with the cure, if there is none."""
    if not isinstance(job, str):
        raise Rejected("`id` is the id of a job")
    task = scheduler.find(job)
    if task is None:
        if scheduler.graph.may_be_needed(job, scheduler.jobs + 1):
            raise Rejected(
                f"job `{job}` has ended: `pqrun restart` runs it again as it is, `pqrun add` adds another"
            )
        raise Rejected(f"no unfinished job `{job:.200}`: `pqrun ps` lists them")
    if not isinstance(task.state, life.Pending | life.Queued | life.Waiting):
        raise Rejected(f"job `{job}` is running: `pqrun cancel` ends it, then add it anew")
    return task
