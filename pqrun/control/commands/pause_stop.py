# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verbs `pause`, `unpause` and `stop`: stop starting jobs, start again, or end the run."""

from __future__ import annotations

from pqrun.control.protocol import Answer, ClientRequest, flag, origin_of
from pqrun.core.scheduler import Scheduler


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
