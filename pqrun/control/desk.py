# SPDX-License-Identifier: LGPL-3.0-or-later
"""Finds what a request asks for, and has it done: what each verb leads to is in a room of its own."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from pqrun.capture import Capture
from pqrun.control.adding import Intake, Offer
from pqrun.control.listing import Listing
from pqrun.control.protocol import VERSION, Answer, Rejected, Request, Steps, by_of, is_whole
from pqrun.control.selectors import state_of
from pqrun.control.verbs import VERBS
from pqrun.control.waiting import ForJobs, ForRoom
from pqrun.metrics import Metrics
from pqrun.model import JobSpec, Key
from pqrun.scheduler import Scheduler

OUTPUT_PIECE = 256 * 1024
MOST_WORKERS = 100_000
Result = Answer | Listing | Steps | ForJobs | ForRoom


class Desk:
    """What a live run knows and can do beside its scheduler.

    `facts` tells of the run itself, `output_of` gives a running job's output, `defaults` is what the
    run says for jobs that don't say otherwise, and what does not `fit` it raises UserError; an `endless`
    one does not end when it is empty.
    """

    def __init__(
        self,
        *,
        facts: Callable[[], dict[str, Any]],
        metrics: Callable[[], Metrics],
        resize: Callable[[int], None],
        output_of: Callable[[Key], Capture | None],
        defaults: dict[str, Any] | None = None,
        endless: bool = False,
        fit: Callable[[JobSpec], None] | None = None,
    ) -> None:
        self._facts = facts
        self._metrics = metrics
        self._resize = resize
        self._output_of = output_of
        self._endless = endless
        self._intake = Intake(defaults, fit)
        self._offers: dict[object, Offer] = {}

    def begin(self, client: object, request: Request, scheduler: Scheduler, now: float) -> Result:
        """The answer, or what leads to it; `Rejected` if it can't be done."""
        match request["verb"]:
            case "add":
                return self._add(client, request, scheduler, now)
            case "wait":
                return ForJobs(request, scheduler, endless=self._endless)
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

    def is_in_between(self, client: object) -> bool:
        """Whether it has said that there is more to come."""
        return client in self._offers

    def forget(self, client: object) -> None:
        """It has gone, and what it had not finished with it."""
        self._offers.pop(client, None)

    def _add(self, client: object, request: Request, scheduler: Scheduler, now: float) -> Result:
        result = self._intake.add(request, scheduler, now, self._offers.pop(client, None))
        if not isinstance(result, Offer):
            return result
        if result.wait:
            return ForRoom(result)
        self._offers[client] = result
        return {"ids": []}

    def _info(self) -> Answer:
        numbers = {
            k: round(v, 6) if isinstance(v, float) else v for k, v in self._metrics().as_dict().items()
        }
        return {"pqrun": VERSION, "run": self._facts(), "metrics": numbers}

    def _set_workers(self, request: Request, scheduler: Scheduler, now: float) -> Answer:
        workers = request.get("workers")
        if not isinstance(workers, int) or not is_whole(workers, 1, MOST_WORKERS):
            raise Rejected(f"`workers` is a number from 1 to {MOST_WORKERS:,}")
        self._resize(workers)
        scheduler.set_workers(workers, now, by_of(request))
        return {"workers": workers}

    def _output(self, request: Request, scheduler: Scheduler) -> Answer:
        """A piece of what the present attempt of a job has printed so far."""
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
        capture = self._output_of(Key(task.seq, task.attempts)) if state == "running" else None
        data, size = b"", 0
        if capture is not None:
            printed = capture.stream(stream)
            size = printed.size
            try:
                data = b"".join(printed.pieces(offset, min(size, offset + OUTPUT_PIECE)))
            except OSError:
                size = 0  # just now moved or gone: nothing to be had at this moment
        return {
            "state": state, "seq": task.seq, "attempt": task.attempts, "size": size,
            "data": base64.b64encode(data).decode(),
        }  # fmt: skip
