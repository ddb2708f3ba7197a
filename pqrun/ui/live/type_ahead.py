# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which bytes of the terminal are keys for the run, and which are text for the shell. Pure.

While the table is shown people type the next command. Its letters must not steer the run, and must be there
for the shell afterwards: they stay unread in the queue of the terminal. How many bytes wait there is known,
but not which ones, so the decision depends on their number and on time alone.
"""

from __future__ import annotations

from math import inf

PAUSE_SECONDS = 1.0
ALONE_SECONDS = 0.3
LOOK_AGAIN_SECONDS = 0.1
CONFIRM_SECONDS = 2.0
REPEATED = frozenset("+-=")
CONFIRM, CANCEL = frozenset("\r\n"), "\x1b"


class TypeAhead:
    """The decision when to read the terminal. Times in seconds of one clock.

    A single byte is a key. A byte that comes within a second after a key is read only when it has been alone
    for a moment; if more follow, all of them are text and stay unread. So does everything that comes in
    several bytes at once. After a second without a byte the next single one is a key again.
    """

    def __init__(self) -> None:
        self.is_text = False
        self._waiting = 0
        self._arrived = -inf
        self._read_at = inf
        self._is_repeated = False

    def delay(self, waiting: int, now: float) -> float:
        """Return the seconds after which to look again; 0 to read all bytes now.

        `waiting`: the number of bytes in the queue of the terminal.
        """
        added = waiting - self._waiting
        self._waiting = waiting
        if added > 0:
            paused = now - self._arrived >= PAUSE_SECONDS
            self._arrived = now
            is_first = waiting == 1 and not self.is_text
            if added > 1 or not (paused or is_first):
                self.is_text = True
                self._read_at = inf
            elif waiting == 1 and (paused or self._is_repeated):
                self._read_at = now
            else:
                self._read_at = now + ALONE_SECONDS
        if waiting and now >= self._read_at:
            return 0.0
        return min(LOOK_AGAIN_SECONDS, max(self._read_at - now, 0.001))

    def read(self, data: str, *, known: bool) -> None:
        """Note that all bytes were read. `known`: whether the last of them is a key of the table."""
        self._waiting = 0
        self._read_at = inf
        self._is_repeated = data[-1:] in REPEATED
        self.is_text = not known


class Confirmation:
    """The question before a key that changes the course of the run: it is pressed twice, or with Enter."""

    def __init__(self) -> None:
        self._key = ""
        self._until = -inf

    def pending(self, now: float) -> str:
        """Return the key that waits for its second press, or an empty text."""
        return self._key if now < self._until else ""

    def press(self, key: str, now: float, *, asks: bool) -> str:
        """Return the key that is to act now, or an empty text. `asks`: whether `key` must be confirmed."""
        pending = self.pending(now)
        self.cancel()
        if pending and (key == pending or key in CONFIRM):
            return pending
        if not asks:
            return key
        self._key, self._until = key, now + CONFIRM_SECONDS
        return ""

    def cancel(self) -> None:
        """Withdraw the question."""
        self._until = -inf
