# SPDX-License-Identifier: LGPL-3.0-or-later
"""Opens a run to go on with: its record, what is left of it, and what the command line changes."""

from __future__ import annotations

from typing import Any

from pqrun.display.outlet import Outlet
from pqrun.errors import UserError
from pqrun.input import Input, open_input
from pqrun.journal.record import Record
from pqrun.journal.recovery import Recovery
from pqrun.journal.resume import Restart, plan
from pqrun.model import JobSpec, Pool
from pqrun.settings import Settings

_POLICY = {
    "retries": "max",
    "retry_delay": "delay",
    "max_delay": "max_delay",
    "backoff": "backoff",
    "on": "on",
    "permanent": "permanent",
}


def open_resumed(settings: Settings) -> tuple[Input, Record, Restart]:
    """The run of that name, locked; with files, their jobs are matched to its."""
    assert settings.resume is not None
    specs = None
    edited = None
    if settings.files:
        edited = open_input(settings)
        specs = edited.everything()
    record = Record.reopen(settings.resume, durable=settings.durable)
    found = record.found
    assert found is not None
    if not found.jobs and not specs:
        record.close()
        raise UserError(f"nothing is recorded of {settings.resume} that could be resumed")
    if specs is None and settings.given_again:
        for job in found.jobs.values():
            if job.state != "done" or settings.failed:
                job.spec = _overridden(job.spec, settings.given_again)
    restart = plan(found, found.last, failed=settings.failed, specs=specs)
    if restart.said:
        Outlet(2, "standard error").say(f"pqrun: {restart.said}")
    said = edited or _recalled(found)
    source = Input(
        (),
        None,
        (),
        workers=said.workers,
        max_queue=said.max_queue,
        pools=said.pools,
        complete=edited is not None or (found.input_complete and found.input_ended),
    )
    return source, record, restart


def _recalled(found: Recovery) -> Input:
    """What the job files of the first process said for the run, and what was changed while it ran."""
    said = found.header.get("file") or {}
    pools = {name: Pool(name, size, tuple(items)) for name, size, items in said.get("pools", ())}
    for name, size in found.pools.items():
        if name not in pools or not pools[name].items:
            pools[name] = Pool(name, size)
    pool_list = tuple(pools.values())
    return Input((), None, (), workers=said.get("workers"), max_queue=said.get("max_queue"), pools=pool_list)


def _overridden(spec: JobSpec, given: dict[str, Any]) -> JobSpec:
    """A job of the first run with what the command line says this time."""
    changes = {name: value for name, value in given.items() if name in JobSpec._fields}
    for name in ("timeout", "idle_timeout"):
        if changes.get(name) == 0:
            changes[name] = None
    policy = {_POLICY[name]: value for name, value in given.items() if name in _POLICY}
    if policy:
        changes["retry"] = spec.retry._replace(**policy)
    work = spec.work
    if "signal" in given:
        work = work._replace(signal=given["signal"])
    if "shell" in given and isinstance(work.run, str):
        work = work._replace(shell=given["shell"])
    if "env" in given:
        work = work._replace(env=tuple({**dict(work.env), **given["env"]}.items()))
    return spec._replace(work=work, **changes)
