# SPDX-License-Identifier: LGPL-3.0-or-later
"""From a request's verb to the function that carries it out.

`ps`, `cancel`, `set`, `pool`, `pause` and `stop` need only the scheduler and stand in `VERBS`.
`RequestHandler` adds the verbs that need more of the run.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

from pqrun.control.commands.add import AddRequest, JobAdmission, checked, plain
from pqrun.control.commands.ps import Listing, why
from pqrun.control.commands.wait import WaitForJobs, WaitForRoom
from pqrun.control.protocol import (
    VERSION,
    Answer,
    ClientRequest,
    IncrementalAnswer,
    flag,
    origin_of,
)
from pqrun.core import states as life
from pqrun.core.dependencies import UnknownNeed
from pqrun.core.errors import Rejected
from pqrun.core.job import AttemptId, JobSpec, Pool
from pqrun.core.job_fields import fields_with_option, put, value_of
from pqrun.core.metrics import Metrics
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import selected, selectors_of, state_of
from pqrun.core.task import Task
from pqrun.core.values import MAX_SLOTS, is_whole, pool_name
from pqrun.input.defaults import replaced
from pqrun.output.store import Capture

JOBS_PER_TURN = 250
MAX_REASONS = 100
CHANGEABLE = {field.flat_name: field for field, _ in fields_with_option("set")}
Verb = Callable[[ClientRequest, Scheduler, float], Answer | Listing | IncrementalAnswer]


def ps(request: ClientRequest, scheduler: Scheduler, now: float) -> Answer | Listing:
    """List the unfinished jobs, or those selected by `jobs`. With `why`, explain what each waits for."""
    chosen = selected(selectors_of(request), scheduler) if request.get("jobs") else scheduler.tasks.values()
    facts: Answer = {"paused": scheduler.paused, "stopping": scheduler.stopping is not None}
    if flag(request, "why"):
        some = list(chosen)[:MAX_REASONS]
        facts["why"] = {task.spec.id: why(task, scheduler, now) for task in some}
    return Listing(chosen, now, facts)


def cancel(request: ClientRequest, scheduler: Scheduler, now: float) -> IncrementalAnswer:
    """Cancel jobs: at once if they do not run, else after their grace."""
    tasks, by = selected(selectors_of(request), scheduler), origin_of(request)

    def each(task: Task, now: float) -> bool:
        if task.seq in scheduler.tasks:
            scheduler.cancel(task, now, by)
        return True

    # In reverse order: cancelling a job skips its dependents, which would then end as skipped.
    return _in_steps(tasks[::-1], each, now)


def change(request: ClientRequest, scheduler: Scheduler, now: float) -> IncrementalAnswer:
    """Change fields of the selected jobs that hold no slot. The whole request is checked first."""
    changes, front, by = request.get("change", {}), flag(request, "front"), origin_of(request)
    if not isinstance(changes, dict) or not (changes or front):
        raise Rejected("`change` is an object of fields")
    for name in changes:
        if name not in CHANGEABLE:
            raise Rejected(f"`{name:.40}` of a job can't be changed")
    wanted = checked({**plain(changes), "id": "", "run": "true"})
    layer: dict[str, Any] = {}
    for name in changes:
        put(layer, CHANGEABLE[name], value_of(wanted, CHANGEABLE[name]))
    tasks = [task for task in selected(selectors_of(request), scheduler) if _may_change(task, changes)]
    try:
        scheduler.graph.recheck(tasks, wanted.needs, scheduler.jobs)
    except UnknownNeed as error:
        raise Rejected(str(error)) from None

    def each(task: Task, now: float) -> bool:
        if task.seq not in scheduler.tasks or not _may_change(task, changes):
            return False
        spec = replaced(task.spec, layer)
        if spec != task.spec or front:
            scheduler.change(task, spec, now, by, front=front)
        return True

    return _in_steps(tasks[::-1] if front else tasks, each, now)


def _may_change(task: Task, changes: dict[str, Any]) -> bool:
    if "needs" in changes:  # a job that was tried had its needs met, so a new need would come too late
        return isinstance(task.state, life.Pending | life.Queued)
    return isinstance(task.state, life.Pending | life.Queued | life.Waiting)


def _in_steps(tasks: Sequence[Task], each: Callable[[Task, float], bool], now: float) -> IncrementalAnswer:
    done = 0
    for number, task in enumerate(tasks):
        if number % JOBS_PER_TURN == JOBS_PER_TURN - 1:
            now = yield
        done += each(task, now)
    return {"count": done}


def pause(request: ClientRequest, scheduler: Scheduler, now: float) -> Answer:
    """Stop starting jobs, or start them again (`unpause`)."""
    scheduler.pause(paused=request["verb"] == "pause", now=now, by=origin_of(request))
    return {"paused": scheduler.paused}


def stop(request: ClientRequest, scheduler: Scheduler, now: float) -> Answer:
    """End the run when its running jobs have finished.

    With `now`, stop the running jobs too; a second such request kills them.
    """
    before, at_once, by = scheduler.stopping, flag(request, "now"), origin_of(request)
    if at_once:
        scheduler.stop("stop", now, force=before is not None and not before.drain, by=by)
    elif before is None:
        scheduler.stop("stop", now, drain=True, by=by)
    return {"running": len(scheduler.running()), "left": len(scheduler.tasks) - len(scheduler.running())}


def set_pool(request: ClientRequest, scheduler: Scheduler, now: float) -> Answer:
    """Add a pool, or resize a counted one."""
    name, size = request.get("pool"), request.get("size")
    if not isinstance(name, str) or not isinstance(size, int) or not is_whole(size, 1, MAX_SLOTS):
        raise Rejected("a `pool` has a name and a `size` of at least 1")
    try:
        pool_name(name)
    except ValueError as error:
        raise Rejected(str(error)) from None
    if scheduler.ready.pools.is_indexed(name):
        raise Rejected(f"the pool `{name}` is indexed: its size can't be changed")
    if size < scheduler.ready.pools.sizes.get(name, 0):
        wants = next((t for t in scheduler.tasks.values() if dict(t.spec.pools).get(name, 0) > size), None)
        if wants is not None:
            raise Rejected(f"job `{wants.spec.id}` needs more than {size} units of the pool `{name}`")
    scheduler.resize_pool(Pool(name, size), now, origin_of(request))
    return {}


VERBS: dict[str, Verb] = {
    "ps": ps,
    "cancel": cancel,
    "set": change,
    "pool": set_pool,
    "pause": pause,
    "unpause": pause,
    "stop": stop,
}


OUTPUT_CHUNK_BYTES = 256 * 1024
MAX_WORKERS = 100_000
Result = Answer | Listing | IncrementalAnswer | WaitForJobs | WaitForRoom


class RequestHandler:
    """Everything that a live run does for a client.

    `facts` describes the run, and `output_of` returns what a running attempt has printed.
    `defaults` are the run's own values for the fields that a job leaves out. `fit` raises
    `UserError` for a job that cannot run here. An `endless` run (a queue) does not end when
    no jobs are left.
    """

    def __init__(
        self,
        *,
        facts: Callable[[], dict[str, Any]],
        metrics: Callable[[], Metrics],
        resize: Callable[[int], None],
        output_of: Callable[[AttemptId], Capture | None],
        defaults: dict[str, Any] | None = None,
        endless: bool = False,
        fit: Callable[[JobSpec], None] | None = None,
    ) -> None:
        self._facts = facts
        self._metrics = metrics
        self._resize = resize
        self._output_of = output_of
        self._endless = endless
        self._intake = JobAdmission(defaults, fit)
        self._offers: dict[object, AddRequest] = {}

    def begin(self, client: object, request: ClientRequest, scheduler: Scheduler, now: float) -> Result:
        """Begin a request: return its answer, its remaining steps, or a wait.

        Raises `Rejected` if the request cannot be carried out.
        """
        match request["verb"]:
            case "add":
                return self._add(client, request, scheduler, now)
            case "wait":
                return WaitForJobs(request, scheduler, endless=self._endless)
            case "info":
                return self._info()
            case "workers":
                return self._set_workers(request, scheduler, now)
            case "output":
                return self._output(request, scheduler)
            case verb if verb in VERBS:
                return VERBS[verb](request, scheduler, now)
            case verb:
                raise Rejected(f"unknown verb {verb!r:.40}")

    def is_maintenance(self, client: object) -> bool:
        """Return whether a client has sent only a part of an `add` (`more`)."""
        return client in self._offers

    def forget(self, client: object) -> None:
        """Drop the unfinished `add` of a client that has disconnected."""
        self._offers.pop(client, None)

    def _add(self, client: object, request: ClientRequest, scheduler: Scheduler, now: float) -> Result:
        result = self._intake.add(request, scheduler, now, self._offers.pop(client, None))
        if not isinstance(result, AddRequest):
            return result
        if result.wait:
            return WaitForRoom(result)
        self._offers[client] = result
        return {"ids": []}

    def _info(self) -> Answer:
        numbers = {
            k: round(v, 6) if isinstance(v, float) else v for k, v in self._metrics().as_dict().items()
        }
        return {"pqrun": VERSION, "run": self._facts(), "metrics": numbers}

    def _set_workers(self, request: ClientRequest, scheduler: Scheduler, now: float) -> Answer:
        workers = request.get("workers")
        if not isinstance(workers, int) or not is_whole(workers, 1, MAX_WORKERS):
            raise Rejected(f"`workers` is a number from 1 to {MAX_WORKERS:,}")
        self._resize(workers)
        scheduler.set_workers(workers, now, origin_of(request))
        return {"workers": workers}

    def _output(self, request: ClientRequest, scheduler: Scheduler) -> Answer:
        """Return a piece of what the current attempt of a job has printed so far."""
        seq, stream, offset = request.get("seq"), request.get("stream", 1), request.get("offset", 0)
        job = request.get("job")
        if isinstance(job, str) and (found := scheduler.find(job)) is not None:
            seq = found.seq
        elif isinstance(job, str):
            return {"state": "ended"}
        if not (is_whole(seq, 1) and is_whole(stream, 1, 2) and is_whole(offset, 0)):
            raise Rejected("`seq` (or `job`, an id), `stream` (1 or 2) and `offset` are whole numbers")
        task = scheduler.tasks.get(seq)  # type: ignore[arg-type]
        if task is None:
            return {"state": "ended"}
        state = state_of(task.state)
        capture = self._output_of(AttemptId(task.seq, task.attempts)) if state == "running" else None
        data, size = b"", 0
        if capture is not None:
            printed = capture.stream(stream)
            size = printed.size
            try:
                data = b"".join(printed.pieces(offset, min(size, offset + OUTPUT_CHUNK_BYTES)))
            except OSError:
                size = 0  # the output is being moved or removed; the client asks again
        return {
            "state": state, "seq": task.seq, "attempt": task.attempts, "size": size,
            "data": base64.b64encode(data).decode(),
        }  # fmt: skip
