# SPDX-License-Identifier: LGPL-3.0-or-later
"""The ends of attempts whose command was not started. A module of its own, to keep these rare cases out of `child`."""

from __future__ import annotations

from pqrun.core.job import Attempt, AttemptId, ExitedWith, NotStarted, SelfReport
from pqrun.core.notices import ProcessFinished, StartRejected
from pqrun.executors.local.command import TRANSIENT_ERRNOS
from pqrun.executors.local.created_file import Creation
from pqrun.executors.local.niceness import StartError
from pqrun.executors.local.user_paths import Abandoned


def stopped_before(key: AttemptId, now: float, why: str = "") -> ProcessFinished:
    """Return the end of an attempt that was stopped before its command was started."""
    exit = NotStarted(126, f"stopped before it started{why}")
    return ProcessFinished(key, exit, True, now, now)


def already_created(attempt: Attempt, creation: Creation, now: float) -> ProcessFinished | None:
    """Return the end of an attempt whose file exists, None if the command has to run.

    In a later attempt the file may be what a failed one left half made.
    """
    if not creation.exists or attempt.key.attempt > 1:
        return None
    codes = attempt.spec.success_codes
    said = SelfReport(message=f"cached: {creation.name} exists")
    return ProcessFinished(attempt.key, ExitedWith(0 if 0 in codes else codes[0]), False, now, now, said=said)


def failed_start(key: AttemptId, error: BaseException, now: float) -> ProcessFinished | StartRejected:
    """Return the end of an attempt that could not be started. Raises an error that is pqrun's own."""
    if isinstance(error, Abandoned):
        return stopped_before(key, now, ": the file system of its files does not respond")
    if isinstance(error, StartError):
        return ProcessFinished(key, NotStarted(error.code, str(error)), False, now, now)
    if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
        return StartRejected(key, error.strerror or str(error))
    raise error
