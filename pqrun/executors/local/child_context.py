# SPDX-License-Identifier: LGPL-3.0-or-later
"""The parts of a run that all its children share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pqrun.core.job import AttemptId
from pqrun.engine.clock import Clock
from pqrun.engine.executor import Reporter
from pqrun.executors.local.cleanup import ProcessCleanup
from pqrun.executors.local.command import CommandBuilder
from pqrun.executors.local.watchdog import WatchdogSupervisor
from pqrun.output.store import Logs


class ChildContext(NamedTuple):
    """The shared parts of all children of a run.

    `capture`: store output instead of passing it to pqrun's streams. `follow`: report output while a job
    runs. `passes`: report the growth of a large stdout, which may be passed on while the job runs. `prompt`:
    report starts, status and progress without delay. `peak_of`: the most memory, in bytes, that an attempt was
    measured with. `talkative`: the slots whose last job printed much.
    """

    clock: Clock
    reporter: Reporter
    commands: CommandBuilder
    logs: Logs
    cleanup: ProcessCleanup
    talkative: set[int]
    watchdog: WatchdogSupervisor | None = None
    capture: bool = True
    follow: bool = False
    passes: bool = False
    prompt: bool = False
    peak_of: Callable[[AttemptId], int | None] = lambda _key: None
