# SPDX-License-Identifier: LGPL-3.0-or-later
"""Looks after what a run has on the disk: its directory has to stay, its socket is made anew."""

from __future__ import annotations

from collections.abc import Callable

from pqrun.control.server import Server
from pqrun.engine import Engine
from pqrun.journal.record import Record


def upkeep(record: Record, engine: Engine, server: Server) -> Callable[[], None]:
    """What is to be called now and then, from any thread, while the run goes on."""

    def look() -> None:
        if (failure := record.failure()) is not None:
            engine.fail(failure)
        else:
            server.look_after()

    return look
