# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verb `output`: what the current attempt of a job has printed so far."""

from __future__ import annotations

import base64
from collections.abc import Callable

from pqrun.control.protocol import Answer, ClientRequest
from pqrun.core.errors import Rejected
from pqrun.core.job import AttemptId
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import state_of
from pqrun.core.values import is_whole
from pqrun.output.store import Capture

OUTPUT_CHUNK_BYTES = 256 * 1024


def output(
    output_of: Callable[[AttemptId], Capture | None],
    request: ClientRequest,
    scheduler: Scheduler,
    _now: float,
) -> Answer:
    """Return a piece of what the current attempt of a job has printed so far."""
    seq, stream, offset = request.get("seq"), request.get("stream", 1), request.get("offset", 0)
    job = request.get("job")
    if isinstance(job, str) and (found := scheduler.find(job)) is not None:
        seq = found.seq
    elif isinstance(job, str):
        return {"state": "ended"}
    if not (is_whole(seq, 1) and is_whole(stream, 1, 2) and is_whole(offset, 0)):
        raise Rejected("`seq` (or `job`, an id), `stream` (1 or 2) and `offset` are whole numbers")
    task = scheduler.tasks.get(seq)
    if task is None:
        return {"state": "ended"}
    state = state_of(task.state)
    capture = output_of(AttemptId(task.seq, task.attempts)) if state == "running" else None
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
