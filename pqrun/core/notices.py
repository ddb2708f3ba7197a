# SPDX-License-Identifier: LGPL-3.0-or-later
"""What executors report to the scheduler, as frozen data. Times are the engine's clock's."""

from __future__ import annotations

from typing import Any, NamedTuple

from pqrun.core.job import NOTHING_SAID, Exit, Key, Said, Usage


class Started(NamedTuple):
    """The attempt runs since `at`; `where` names the slot or the host."""

    key: Key
    at: float
    where: str


class Restarted(NamedTuple):
    """The attempt was begun a second time, without being asked for."""

    key: Key
    where: str


class Idle(NamedTuple):
    """The attempt has been silent for as long as it may."""

    key: Key


class Told(NamedTuple):
    """The attempt told its status or progress."""

    key: Key
    status: str | None
    progress: float | None


class Grew(NamedTuple):
    """The attempt's output may be shown up to `upto` bytes of `stream` (1 or 2)."""

    key: Key
    stream: int
    upto: int
    output: Any


class Ended(NamedTuple):
    """The attempt is over and nothing of it is left; `stopped`: our signal met it alive.

    `where`: the host, if it was another one.
    """

    key: Key
    exit: Exit
    stopped: bool
    began: float
    ended: float
    usage: Usage = Usage()
    said: Said = NOTHING_SAID
    output: Any = None
    where: str = ""


class Refused(NamedTuple):
    """The machine could not start the attempt now (no descriptors, no processes)."""

    key: Key
    why: str


News = Started | Restarted | Idle | Told | Grew | Ended | Refused
