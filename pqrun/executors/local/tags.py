# SPDX-License-Identifier: LGPL-3.0-or-later
"""A sign of its slot that a process can't shed with its session and its environment.

Linux keeps a word for each thread that says how it wants to be treated, passes it on over fork and
exec, and shows it in `/proc/PID/personality`. Bits that mean nothing to any kernel hold the slot's
number. It is only a sign more: where it can't be had, or a filter of system calls might take
offence, there is none.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from pqrun.executors.local.procfs import LINUX

_LOW_BITS, _LOW_SHIFT = 0x1FF, 8
_HIGH_BITS, _HIGH_SHIFT = 0x7, 28
_MEANINGLESS = _LOW_BITS << _LOW_SHIFT | _HIGH_BITS << _HIGH_SHIFT
_TELL = 0xFFFFFFFF
MOST_SLOTS = (_HIGH_BITS + 1) * (_LOW_BITS + 1) - 1


class Tags:
    """Threads wear them; whatever a thread starts from then on inherits its tag."""

    def __init__(self) -> None:
        self._set: Callable[[int], int] | None = None
        self._thread = threading.local()

    def open(self) -> None:
        """Tries whether they can be had."""
        if LINUX:
            with contextlib.suppress(OSError, AttributeError):
                self._set = _usable()

    def wear(self, slot: int) -> None:
        """The calling thread is that slot's; 0: nobody's."""
        if self._set is None or getattr(self._thread, "slot", 0) == slot:
            return
        tag = slot if slot <= MOST_SLOTS else 0
        self._set((self._set(_TELL) & _TELL & ~_MEANINGLESS) | _spread(tag))
        self._thread.slot = slot

    def slot_of(self, pid: int) -> int:
        """The slot in which a process was begun; 0 if it does not say."""
        if self._set is None:
            return 0
        with contextlib.suppress(OSError, ValueError):
            return _gather(_read(pid))
        return 0


def _usable() -> Callable[[int], int] | None:
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        if any(line.startswith("Seccomp:") and line.split()[1] != "0" for line in status):
            return None
    import ctypes

    personality: Callable[[int], int] = ctypes.CDLL(None, use_errno=True).personality
    before = personality(_TELL) & _TELL
    if before & _MEANINGLESS:
        return None  # another pqrun's, above this one: it relies on its own
    personality(before | _spread(MOST_SLOTS))
    try:
        told = _gather(_read("thread-self"))
    finally:
        personality(before)
    return personality if told == MOST_SLOTS else None


def _read(pid: int | str) -> int:
    with open(f"/proc/{pid}/personality", "rb", buffering=0) as file:
        return int(file.read(64), 16)


def _spread(tag: int) -> int:
    return (tag & _LOW_BITS) << _LOW_SHIFT | (tag >> 9 & _HIGH_BITS) << _HIGH_SHIFT


def _gather(word: int) -> int:
    return (word >> _LOW_SHIFT & _LOW_BITS) | (word >> _HIGH_SHIFT & _HIGH_BITS) << 9
