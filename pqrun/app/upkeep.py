# SPDX-License-Identifier: LGPL-3.0-or-later
"""Check that a run's directory and socket are still there.

A module of its own, because every run needs it and only queues need `maintenance`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pqrun.control.server import ControlServer
    from pqrun.engine.engine import Engine
    from pqrun.journal.run_record import RunRecord


def upkeep(record: RunRecord, engine: Engine, server: ControlServer) -> Callable[[], None]:
    """Return a function to call now and then during the run, on any thread.

    The function breaks the engine if nothing more can be recorded, and restores a socket that was
    removed or replaced.
    """

    def look() -> None:
        if (failure := record.failure()) is not None:
            engine.fail(failure)
        else:
            server.check_socket_file()

    return look
