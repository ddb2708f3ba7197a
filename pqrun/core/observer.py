# SPDX-License-Identifier: LGPL-3.0-or-later
"""The observer of a run: what the live table, the logs and the reports have in common.

Apart from `job_table`, because the table knows nothing of its readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any

Handler = Callable[[Any, Any], None]


class Observer:
    """A receiver of events. Its methods are called on the dispatcher thread.

    `handlers` names a method for each type of event that the observer wants. The method gets the event and,
    after the table has folded the event, the row of the event's job (None if the event is about the run).
    `wants_past`: the observer also gets the events of earlier processes of the run.
    """

    handlers: Mapping[type, Handler] = {}
    wants_past = False

    def tick(self) -> float:
        """Act after each delivery of events, and return the seconds until the next call is wanted."""
        return inf

    def close(self) -> None:
        """Handle the end of the run: no more events will come."""
