# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verb `send`: pass text to a running job that has an open standard input."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

from pqrun.control.protocol import NONE, Answer, ClientRequest, flag
from pqrun.core.errors import Rejected
from pqrun.core.job import OPEN_STDIN, AttemptId, Command
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import state_of

if TYPE_CHECKING:
    from pqrun.engine.live_run import JobStdin

HOW_TO_ASK = "add it with `--stdin open`, or write `stdin: open` in its job file"


def send(
    stdin_of: Callable[[AttemptId], JobStdin | None],
    request: ClientRequest,
    scheduler: Scheduler,
    _now: float,
) -> Answer:
    """Send bytes to the standard input of a running job, all or nothing, and its end if `end` is true."""
    job, end = request.get("job"), flag(request, "end")
    if not isinstance(job, str):
        raise Rejected("`job` is the id of a job")
    data = _decoded(request.get("data", ""))
    task = scheduler.find(job)
    if task is None:
        raise Rejected(f"no unfinished job `{job}`: `pqrun ps` lists them", NONE)
    work = task.spec.work
    if not isinstance(work, Command) or work.stdin != OPEN_STDIN:
        raise Rejected(f"job `{job}` has no open standard input: {HOW_TO_ASK}")
    stdin = stdin_of(AttemptId(task.seq, task.attempts))
    if stdin is None:
        state = state_of(task.state)
        raise Rejected(
            f"job `{job}` is not running ({state}): wait until `pqrun ps` shows it as running", NONE
        )
    try:
        waiting = stdin.send(data, end=end)
    except Rejected as error:
        raise Rejected(f"job `{job}` got nothing: {error}", error.code) from None
    return {"count": len(data), "waiting": waiting}


def _decoded(data: object) -> bytes:
    try:
        if isinstance(data, str):
            return base64.b64decode(data, validate=True)
    except ValueError:
        pass  # refused below, as what is no text
    raise Rejected("`data` is a text in base64")
