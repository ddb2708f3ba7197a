# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where an engine waits that has nothing to read and no signals to heed: a thread of its own."""

from __future__ import annotations

import contextlib
from threading import TIMEOUT_MAX, Lock

from pqrun.engine import Ask


class Bell:
    """Any thread may ring it; one waits. Waiting takes no CPU."""

    def __init__(self) -> None:
        self._silence = Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """`wait` returns soon, or the next time at once."""
        if self._silence.locked():
            with contextlib.suppress(RuntimeError):  # another thread rang in the same moment
                self._silence.release()

    def wait(self, seconds: float) -> list[Ask]:
        """Up to so many seconds, until somebody rings."""
        self._silence.acquire(timeout=min(max(seconds, 0.0), TIMEOUT_MAX))
        return []
